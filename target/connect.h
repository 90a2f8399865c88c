/* rpc_connect: from a name to a connected socket, without blocking a loop.
 *
 * Names are resolved on a few threads of the resolver (APR's thread pool around getaddrinfo),
 * literals at once. A resolver remembers answers for a short while, and those who ask for one name
 * at one time share a look-up.
 *
 * The addresses are tried in the system's order (RFC 6724), the families taking turns; each has
 * 250 ms to itself before the next is tried beside it, and the first that is connected wins
 * (RFC 8305). Each is judged (target/networks.h) in the moment before connect().
 */
#ifndef RPC_CONNECT_H
#define RPC_CONNECT_H

#include "io/loop.h"
#include "target/sources.h"
#include "base/reason.h"

typedef struct rpc_resolver rpc_resolver_t;
typedef struct rpc_connect rpc_connect_t;

/* ---- names ---- */

/* What a name stands for, best first; more than these are not looked at. */
#define RPC_ADDRESSES_MAX 16
typedef struct rpc_addresses {
    int count;
    rpc_address_t list[RPC_ADDRESSES_MAX];
} rpc_addresses_t;

/* The system's answer for HOST, a name or a literal: 0, or an EAI_* error. Blocks. */
int rpc_resolve(const char *host, rpc_addresses_t *addresses);

/* What a resolver may be made of; zero is the usual value of all but THREADS. */
typedef struct rpc_resolver_params {
    int threads;                /* made on first use */
    int names;                  /* as many are remembered, or looked up at one time */
    /* In place of rpc_resolve() and of the monotonic clock. Any thread. */
    int (*look_up)(void *ctx, const char *host, rpc_addresses_t *addresses);
    apr_time_t (*now)(void *ctx);
    void *ctx;
} rpc_resolver_params_t;

/* Lives in POOL. Destroying the pool waits for look-ups under way; connects that wait for one then
 * only can be cancelled. */
apr_status_t rpc_resolver_make(rpc_resolver_t **resolver, const rpc_resolver_params_t *params,
                               apr_pool_t *pool);
/* The usual one with up to THREADS threads. */
apr_status_t rpc_resolver_create(rpc_resolver_t **resolver, int threads, apr_pool_t *pool);

/* ---- connecting ---- */

typedef struct rpc_connect_params {
    rpc_resolver_t *resolver;
    const char *host;                   /* copied */
    uint16_t port;
    apr_interval_time_t timeout;        /* in all */
    const rpc_networks_t *networks;     /* NULL: the default, which denies loopback and the like */
    rpc_sources_t *sources;             /* NULL, or none of a family: the system chooses */
} rpc_connect_params_t;                 /* networks and sources outlive the connect */

/* Good during the call. */
typedef struct rpc_connect_result {
    /* RPC_REASON_NONE: connected. RPC_REASON_ADDRESS_REFUSED: no address was allowed, so nothing was
     * sent anywhere. Else RPC_REASON_RESOLVE_FAILED, _CONNECT_FAILED or _CONNECT_TIMEOUT. */
    rpc_reason_t reason;
    apr_status_t status;                /* the last error */
    int fd;                             /* connected, non-blocking, TCP_NODELAY; the callee owns it. Else -1 */
    const char *rule;                   /* that refused the address refused last, or NULL */
    char address[RPC_ADDRESS_TEXT];     /* connected; else refused last, if so; else tried last; or "" */
} rpc_connect_result_t;

/* Called once on the loop's thread. */
typedef void rpc_connect_ended_t(void *ctx, const rpc_connect_result_t *result);

/* ENDED is never called before this returns. NULL: out of memory. */
rpc_connect_t *rpc_connect_start(rpc_loop_t *loop, const rpc_connect_params_t *params,
                                 rpc_connect_ended_t *ended, void *ctx);

/* As rpc_connect_ended_t, for those who have no rules. */
typedef void rpc_connect_done_t(void *ctx, rpc_reason_t reason, apr_status_t status, int fd);

/* Connects to HOST:PORT wherever that is, from any address. */
rpc_connect_t *rpc_connect_tcp(rpc_loop_t *loop, rpc_resolver_t *resolver, const char *host,
                               uint16_t port, apr_interval_time_t timeout,
                               rpc_connect_done_t *done, void *ctx);
/* The same to a Unix socket. */
rpc_connect_t *rpc_connect_unix(rpc_loop_t *loop, const char *path, apr_interval_time_t timeout,
                                rpc_connect_done_t *done, void *ctx);
/* Nobody will be called. Only before somebody was. */
void rpc_connect_cancel(rpc_connect_t *connect);

#endif
