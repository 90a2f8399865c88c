/* httpd/neighbours.h: a URL for which `SetHandler rpcproxy` is configured is ours, whatever
 * mod_proxy, mod_rewrite and the like have configured for the URLs around it.
 *
 * A channel that another module took would pass RpcValidPorts and the firewall by, and hang that
 * module with its body.
 */
#ifndef RPC_NEIGHBOURS_H
#define RPC_NEIGHBOURS_H

#include <httpd.h>

#define RPC_HANDLER_NAME "rpcproxy"

/* Is SetHandler rpcproxy what the configuration of R's URL says, as it is known so far? */
int rpc_neighbours_ours(request_rec *r);

/* Registers the hooks; from register_hooks. */
void rpc_neighbours_register(apr_pool_t *p);

#endif
