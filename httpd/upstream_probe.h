/* rpc_upstream_probe: RpcHealthCheck echo. One child at a time, as mod_watchdog chooses it, asks
 * the RPC proxies that RpcBackend leads to for an echo, which is the protocol's own probe
 * (2.1.2.1.5). A balancer's member that does not answer as an RPC proxy does is out of use until it
 * does; mod_proxy and balancer-manager show that as they show the checks of mod_proxy_hcheck. Of a
 * single proxy the log tells.
 */
#ifndef RPC_UPSTREAM_PROBE_H
#define RPC_UPSTREAM_PROBE_H

#include "httpd/request_channel.h"

/* From post_config. Logs what goes wrong. */
apr_status_t rpc_upstream_probe_start(apr_pool_t *pconf, server_rec *s);

#endif
