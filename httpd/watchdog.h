/* rpc_watchdog: work that httpd's mod_watchdog does at intervals, in one child at a time. */
#ifndef RPC_WATCHDOG_H
#define RPC_WATCHDOG_H

#include <httpd.h>
#include <mod_watchdog.h>

/* Is mod_watchdog loaded? */
int rpc_watchdog_possible(void);

/* Has a watchdog NAME, whose first character is '_', call ON_WATCH with DATA. From post_config, if
 * mod_watchdog is loaded. Logs what goes wrong. */
apr_status_t rpc_watchdog_start(apr_pool_t *pconf, server_rec *s, const char *name,
                                apr_interval_time_t interval, const void *data,
                                ap_watchdog_callback_fn_t *on_watch);

#endif
