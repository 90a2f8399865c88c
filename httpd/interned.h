/* rpc_interned: rules and networks of requests, which channels share for as long as the process
 * lives.
 *
 * What a request may do is put together in its pool, from parts that the configuration has. There
 * are only so many ways to do that. So each is kept once, and channels, which outlive their
 * requests, point to it.
 */
#ifndef RPC_INTERNED_H
#define RPC_INTERNED_H

#include "firewall/rules.h"
#include "target/networks.h"

/* In POOL, the child's. From child_init. */
void rpc_interned_start(apr_pool_t *pool);

/* Whatever says the same and stays. NULL stays NULL. Worker threads. */
const rpc_firewall_rules_t *rpc_interned_rules(const rpc_firewall_rules_t *rules);
const rpc_networks_t *rpc_interned_networks(const rpc_networks_t *networks);

#endif
