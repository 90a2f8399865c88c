/* rpc_upstream_config: RpcBackend with the URLs of RPC proxies that are already there.
 *
 * Such a backend is a worker or a balancer of mod_proxy, which serves whatever is sent to it: by
 * RpcBackend, or by a ProxyPass in a section with directives of ours. httpd/upstream.h goes on from
 * there.
 */
#ifndef RPC_UPSTREAM_CONFIG_H
#define RPC_UPSTREAM_CONFIG_H

#include <httpd.h>
#include <http_config.h>

#include "target/backend.h"

/* Makes the worker of BACKEND, or the balancer of several URLs, for the directive at hand. NULL, or
 * what is wrong. */
const char *rpc_upstream_define(cmd_parms *cmd, rpc_backend_t *backend);

/* A worker or a balancer of mod_proxy that a RpcBackend of SERVER leads to. */
typedef struct rpc_upstream_place {
    server_rec *server;
    const char *name;           /* scheme://host[:port], or balancer://name */
    const char *path;           /* of the URL; "": that of requests */
} rpc_upstream_place_t;

/* All of them, rpc_upstream_place_t; NULL: none. */
const apr_array_header_t *rpc_upstream_places(apr_pool_t *pconf);

/* Notes where a ProxyPass stands beside a SetHandler: there a proxy behind us serves. From
 * check_config. */
void rpc_upstream_check(apr_pool_t *pconf, server_rec *s);

/* Has mod_proxy serve R, if SECTION has a backend with URLs for it: 1. Before mod_proxy's hooks
 * look at R. */
int rpc_upstream_lead(request_rec *r, const ap_conf_vector_t *section);

/* What the client has asked for, if R is on its way to a backend with URLs and still with
 * mod_proxy; else NULL. */
const char *rpc_upstream_led(const request_rec *r);

#endif
