/* rpc_connect: from a name to a connected socket, without blocking a loop.
 *
 * Names are resolved on a few threads of the resolver (APR's thread pool around
 * getaddrinfo), literals at once; then each address is tried in order, bounded in time.
 */
#ifndef RPC_CONNECT_H
#define RPC_CONNECT_H

#include "rpc_loop.h"
#include "rpc_reason.h"

typedef struct rpc_resolver rpc_resolver_t;
typedef struct rpc_connect rpc_connect_t;

/* A resolver of up to THREADS threads, made on first use. Lives in POOL; destroying
 * the pool waits for look-ups under way. */
apr_status_t rpc_resolver_create(rpc_resolver_t **resolver, int threads, apr_pool_t *pool);

/* Called once on the loop's thread. RPC_REASON_NONE: FD is a connected, non-blocking
 * socket that the callee owns. Else FD is -1, STATUS the last error, and the reason
 * RPC_REASON_RESOLVE_FAILED, _CONNECT_FAILED or _CONNECT_TIMEOUT. */
typedef void rpc_connect_done_t(void *ctx, rpc_reason_t reason, apr_status_t status, int fd);

/* Connects to HOST:PORT within TIMEOUT in all, TCP_NODELAY set. HOST is copied. DONE is
 * never called before this returns. NULL: out of memory. */
rpc_connect_t *rpc_connect_tcp(rpc_loop_t *loop, rpc_resolver_t *resolver, const char *host,
                               uint16_t port, apr_interval_time_t timeout,
                               rpc_connect_done_t *done, void *ctx);
/* The same to a Unix socket. */
rpc_connect_t *rpc_connect_unix(rpc_loop_t *loop, const char *path, apr_interval_time_t timeout,
                                rpc_connect_done_t *done, void *ctx);
/* DONE will not be called. Only before it was called. */
void rpc_connect_cancel(rpc_connect_t *connect);

#endif
