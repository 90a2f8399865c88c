/* rpc_upstream_connect: a connection of mod_proxy's to a proxy behind us, which leaves httpd at
 * once.
 *
 * mod_proxy's worker finds the address and connects, mod_ssl shakes hands, with the settings of
 * both. Then the socket and the TLS session are taken, and nothing of the connection goes back to
 * mod_proxy's pool of them: it is for one client alone.
 */
#ifndef RPC_UPSTREAM_CONNECT_H
#define RPC_UPSTREAM_CONNECT_H

#include "base/reason.h"
#include "httpd/proxy_api.h"
#include "io/secure.h"

/* Registers a filter and a hook of mod_ssl. From register_hooks. */
void rpc_upstream_connect_register(apr_pool_t *p);

/* What a scheme handler of mod_proxy is given. */
typedef struct rpc_upstream_way {
    proxy_worker *worker;
    proxy_server_conf *conf;
    char *url;                  /* scheme://host... */
    const char *proxy_host;     /* of ProxyRemote; NULL: none */
    apr_port_t proxy_port;
} rpc_upstream_way_t;

/* How long WAY's worker waits for its server. */
apr_interval_time_t rpc_upstream_timeout(const request_rec *r, const rpc_upstream_way_t *way);

/* Connects, on R's worker, which waits. NULL: *REASON, and *WHY says what has failed, in R's
 * pool. */
rpc_stream_t *rpc_upstream_connect(request_rec *r, const rpc_upstream_way_t *way,
                                   const rpc_tls_kind_t *tls, rpc_reason_t *reason,
                                   const char **why);

#endif
