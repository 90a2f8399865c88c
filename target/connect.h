/* rpc_connect: from a name to a connected socket, without blocking a loop.
 *
 * A resolver (target/resolver.h) looks names up; literals need none. The addresses are tried in the
 * system's order (RFC 6724), with alternating families. After 250 ms the next address is tried at
 * the same time, and the first connection wins (RFC 8305). Each address is checked
 * (target/networks.h) immediately before connect().
 *
 * A failure is either the server's or local. It is local when this machine lacked descriptors,
 * memory, ports or a thread, or forbids the connection; then nothing is known about the server.
 */
#ifndef RPC_CONNECT_H
#define RPC_CONNECT_H

#include "io/loop.h"
#include "base/reason.h"
#include "target/resolver.h"
#include "target/sources.h"

typedef struct rpc_connect rpc_connect_t;

typedef struct rpc_connect_params {
    rpc_resolver_t *resolver;
    const char *host;                   /* copied */
    const char *user;                   /* for whom the name is looked up, see
                                         * rpc_look_up_start() */
    uint16_t port;
    apr_interval_time_t timeout;        /* in all */
    const rpc_networks_t *networks;     /* NULL: the default, which denies loopback and the like */
    rpc_sources_t *sources;             /* NULL, or none of a family: the system chooses */
} rpc_connect_params_t;                 /* networks and sources outlive the connect */

/* Valid during the call. */
typedef struct rpc_connect_result {
    /* RPC_REASON_NONE: connected. RPC_REASON_ADDRESS_REFUSED: no address was allowed, so nothing
     * was sent anywhere. RPC_REASON_LOCAL_FAILURE: at least one address failed for a local reason.
     * Else the failure is the server's: RPC_REASON_RESOLVE_FAILED, _CONNECT_FAILED or
     * _CONNECT_TIMEOUT. */
    rpc_reason_t reason;
    apr_status_t status;                /* the last error; of a local failure, that one */
    int fd;                             /* connected, non-blocking, TCP_NODELAY; the callee owns it.
                                         * Else -1 */
    /* the rule that refused the last refused address, or NULL */
    const char *rule;
    /* the connected address; else the one refused last; else the one tried last; or "" */
    char address[RPC_ADDRESS_TEXT];
} rpc_connect_result_t;

/* Called once on the loop's thread. */
typedef void rpc_connect_ended_t(void *ctx, const rpc_connect_result_t *result);

/* ENDED is never called before this returns. NULL: out of memory. */
rpc_connect_t *rpc_connect_start(rpc_loop_t *loop, const rpc_connect_params_t *params,
                                 rpc_connect_ended_t *ended, void *ctx);

/* Like rpc_connect_ended_t, for a Unix socket. */
typedef void rpc_connect_done_t(void *ctx, rpc_reason_t reason, apr_status_t status, int fd);

/* Connects to a Unix socket of a process of this module, so every failure is a local one. */
rpc_connect_t *rpc_connect_unix(rpc_loop_t *loop, const char *path, apr_interval_time_t timeout,
                                rpc_connect_done_t *done, void *ctx);
/* Ends the connect without a call. May be used only before the call. */
void rpc_connect_cancel(rpc_connect_t *connect);

#endif
