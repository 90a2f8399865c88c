/* rpc_require: RPC targets in httpd's authorization language. Source: rpc_require.c
 *
 *   Require rpc-target gc1:6004 "exch1:6001-6002;exch2:6001"
 *       granted when the request asks for one of these, written as for RpcValidPorts; and for
 *       requests that ask for none (echoes, the first leg of a handshake), which reach nothing.
 */
#ifndef RPC_REQUIRE_H
#define RPC_REQUIRE_H

#include <apr_pools.h>

/* The provider; from register_hooks. */
void rpc_require_register(apr_pool_t *p);

#endif
