/* rpc_tls_items: %{...}x and %{...}c of LogFormat, %{SSL_...} in expressions. */
#ifndef RPC_TLS_ITEMS_H
#define RPC_TLS_ITEMS_H

#include <apr_pools.h>

/* From register_hooks. */
void rpc_tls_items_register(apr_pool_t *p);

#endif
