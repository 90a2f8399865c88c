/* rpc_dial: connects to the first of several servers that answers, or to a Unix socket.
 *
 * The servers are tried in the order of their list. Failures and successes are reported to
 * rpc_health. On the loop's thread only.
 */
#ifndef RPC_DIAL_H
#define RPC_DIAL_H

#include <sys/types.h>

#include "target/connect.h"
#include "target/server_list.h"
#include "shared/health.h"
#include "base/log.h"

/* Shared by all connections of a process. */
typedef struct rpc_dialer {
    rpc_resolver_t *resolver;
    rpc_health_t *health;       /* NULL: nobody is told */
} rpc_dialer_t;

/* The servers to dial. NETWORKS, SOURCES and LOG outlive the dialling. The servers are not part of
 * the struct, because a list may be cut off behind its last server. */
typedef struct rpc_dial_params {
    const rpc_server_list_t *servers;   /* copied, with their names */
    int first;                          /* the index of the one that is tried before the others */
    const char *unix_path;              /* not NULL: this Unix socket instead of servers; copied */
    /* the process that must have opened the socket; 0: any process */
    pid_t unix_owner;
    const char *user;                   /* as in rpc_connect_params_t */
    apr_interval_time_t timeout;        /* for each server */
    const rpc_networks_t *networks;     /* as in rpc_connect_params_t */
    rpc_sources_t *sources;
    const rpc_log_t *log;               /* gets the servers that failed before one answered */
} rpc_dial_params_t;

typedef struct rpc_dial rpc_dial_t;

/* Like rpc_connect_done_t. HOST and PORT are those of the connected server, or of the last one that
 * was tried. TRIED says which servers failed and why, for people. All are valid during the call. */
typedef void rpc_dial_done_t(void *ctx, rpc_reason_t reason, apr_status_t status, int fd,
                             const char *host, uint16_t port, const char *tried);

/* NULL: out of memory. */
rpc_dial_t *rpc_dial_start(rpc_loop_t *loop, const rpc_dialer_t *dialer,
                           const rpc_dial_params_t *params, rpc_dial_done_t *done, void *ctx);
/* Ends the dialling without a call of DONE. May be used only before that call. */
void rpc_dial_cancel(rpc_dial_t *dial);

#endif
