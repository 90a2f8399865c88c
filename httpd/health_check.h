/* rpc_check: RpcHealthCheck. One child of the server at a time, as httpd's mod_watchdog chooses it,
 * probes the servers that the configuration names, and reports the results to rpc_health.
 */
#ifndef RPC_CHECK_H
#define RPC_CHECK_H

#include <httpd.h>

#include "shared/health.h"

/* Can RpcHealthCheck work? Logs what is missing. Called from check_config. */
int rpc_check_possible(server_rec *s);
/* From post_config. Logs what goes wrong. */
apr_status_t rpc_check_start(apr_pool_t *pconf, server_rec *s, rpc_health_t *health);

#endif
