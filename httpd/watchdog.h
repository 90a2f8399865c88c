/* rpc_watchdog: work that httpd's mod_watchdog does at intervals, in one child at a time, on a
 * thread of its own. mod_watchdog does not wait for that thread when the child ends, so this does.
 *
 * A round ends soon when the child is to end: whatever it waits for, it also waits for
 * rpc_watchdog_bell(). What nobody can interrupt, a look-up of names say, is for a thread that the
 * round leaves behind. Should a round be late all the same, nothing ends below it: it uses nothing
 * of the child's pool, and the process ends without the exit handlers of libraries.
 */
#ifndef RPC_WATCHDOG_H
#define RPC_WATCHDOG_H

#include <httpd.h>

/* What is to be done, in pconf. */
typedef struct rpc_watchdog {
    const char *name;               /* its first character is '_' */
    apr_interval_time_t interval;
    apr_status_t (*round)(void *data, apr_pool_t *pool);    /* POOL lives as long as the round.
                                     * Returns why there was none, which is logged once */
    void (*leave)(void *data);      /* no round runs or follows; may come more than once. NULL:
                                     * nothing */
    void *data;
    /* Of watchdog.c: */
    struct rpc_watchdog *next;
    int busy;                       /* it is in a round */
    int failed;                     /* there was none, which has been logged */
} rpc_watchdog_t;

/* Is mod_watchdog loaded? */
int rpc_watchdog_possible(void);

/* From post_config, if mod_watchdog is loaded. Logs what goes wrong. */
apr_status_t rpc_watchdog_start(apr_pool_t *pconf, server_rec *s, rpc_watchdog_t *watchdog);

/* From child_init; no round begins before. POOL, the child's, waits for rounds before it ends, but
 * no longer than for two seconds, and leaves. Fails with the errors of eventfd. */
apr_status_t rpc_watchdog_child_init(apr_pool_t *pool);

/* This child is about to end: no further round begins. Any thread, and signal handlers. */
void rpc_watchdog_end(void);
int rpc_watchdog_ends(void);
/* A descriptor that can be read from then on, to be waited for; nobody reads it. */
int rpc_watchdog_bell(void);

#endif
