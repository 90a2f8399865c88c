/* rpc_session_cache: keeps loops away from SSLSessionCache.
 *
 * When a connection fails, OpenSSL has mod_ssl remove its session from the cache: behind a mutex of
 * all children, in a file, or on another machine. On a loop this is left to the thread that writes
 * the error log.
 */
#ifndef RPC_SESSION_CACHE_H
#define RPC_SESSION_CACHE_H

#include <apr_pools.h>

/* From register_hooks. */
void rpc_session_cache_register(apr_pool_t *p);

#endif
