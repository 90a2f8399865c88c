/* rpc_upstream: channels to an RPC proxy that is already there, by mod_proxy.
 *
 * mod_proxy chooses a worker or a member of a balancer and calls us as the handler of the URL's
 * scheme. What is refused or allowed is decided as for any other request (httpd/handler.h); the
 * connection is made by mod_proxy and mod_ssl (httpd/upstream_connect.h). Requests with a small
 * body are answered on the worker (httpd/upstream_leg.h), a channel goes to an I/O thread
 * (proxy/relay.h).
 */
#ifndef RPC_UPSTREAM_HTTPD_H
#define RPC_UPSTREAM_HTTPD_H

#include "httpd/request_channel.h"

/* From register_hooks. CONTEXT stays. */
void rpc_upstream_register(apr_pool_t *p, const rpc_context_t *context);

/* Registers with mod_proxy, if it is there. From pre_config. */
void rpc_upstream_hook(void);

#endif
