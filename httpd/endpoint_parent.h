/* rpc_endpointd: the endpoint processes, started and supervised by httpd's parent.
 */
#ifndef RPC_ENDPOINTD_H
#define RPC_ENDPOINTD_H

#include <httpd.h>

#include "shared/channel_table.h"
#include "shared/health.h"
#include "shared/sums.h"
#include <apr_tables.h>

typedef struct rpc_endpointd_params {
    int wanted;                             /* is there anything for it to do? */
    const char *socket;                     /* RpcEndpointSocket, NULL: default */
    const apr_array_header_t *listen;       /* RpcEndpointListen: rpc_listen_t; NULL: none */
    apr_uint32_t receive_window;            /* bytes */
    apr_interval_time_t setup_timeout;
    apr_interval_time_t connect_timeout;
    apr_interval_time_t graceful_timeout;   /* after a restart, for what is open; 0: no limit */
    const char *networks, *sources;         /* of LISTEN: see wire/preface.h */
    rpc_health_t *health;                   /* in shared memory; may be NULL */
    rpc_sums_t *sums;                       /* of virtual connections, is told of servers */
    const rpc_status_t *live;               /* names virtual connections in the log */
} rpc_endpointd_params_t;

/* The path of the Unix socket, which bears the parent's process id; "" before it is known. */
const char *rpc_endpointd_socket(void);

/* Who has opened it. */
pid_t rpc_endpointd_owner(void);

/* RpcEndpointSocket or its default, without the process id. */
const char *rpc_endpointd_base(apr_pool_t *p, const rpc_endpointd_params_t *params);

/* For configtest: could all sockets be opened, or has this server, which runs, opened them? Logs
 * what could not, and what to do. The number of these. */
int rpc_endpointd_check(apr_pool_t *p, server_rec *s, const rpc_endpointd_params_t *params);

/* Opens the addresses of RpcEndpointListen, which then stay open. Early, from the first
 * post_config of a start, so that what cannot be opened ends the start. Logs what goes wrong. */
apr_status_t rpc_endpointd_listen(server_rec *s, const rpc_endpointd_params_t *params);

/* From post_config: starts a process with this configuration, which at a restart takes the place
 * of the one that runs; or sends that one home when nothing is wanted. An error only at a start,
 * for a socket that cannot be opened; all else is logged, and tried again. */
apr_status_t rpc_endpointd_start(apr_pool_t *pconf, server_rec *s,
                                 const rpc_endpointd_params_t *params);

/* The parent's hooks: now and then; and a child has been started. */
void rpc_endpointd_monitor(void);
void rpc_endpointd_child_started(void);

/* In a child of httpd: what is the parent's and the endpoint's is not to be held open there. */
void rpc_endpointd_child_init(void);

#endif
