/* httpd/neighbours.h: a URL for which `SetHandler rpcproxy` is configured is ours, whatever
 * mod_proxy, mod_rewrite and the like have configured for the URLs around it.
 *
 * A channel that another module took would pass RpcValidPorts and the firewall by, and hang that
 * module with its body.
 */
#ifndef RPC_NEIGHBOURS_H
#define RPC_NEIGHBOURS_H

#include <httpd.h>

/* Is SetHandler rpcproxy what the configuration of R's URL says, as it is known so far, or goes R
 * to a proxy behind us under our rules? */
int rpc_neighbours_ours(request_rec *r);

/* The latter alone: by a RpcBackend with a URL, or by a ProxyPass where directives of ours
 * stand. */
int rpc_neighbours_upstream(request_rec *r);
/* Has R, of any method, come to such a ProxyPass? */
int rpc_neighbours_proxied(request_rec *r);

/* Registers the hooks; from register_hooks. */
void rpc_neighbours_register(apr_pool_t *p);

#endif
