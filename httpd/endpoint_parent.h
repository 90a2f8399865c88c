/* rpc_endpointd: the endpoint process, started and supervised by httpd's parent.
 */
#ifndef RPC_ENDPOINTD_H
#define RPC_ENDPOINTD_H

#include <httpd.h>

#include "shared/health.h"
#include <apr_tables.h>

typedef struct rpc_endpointd_params {
    const char *socket;                     /* RpcEndpointSocket, NULL: default */
    const apr_array_header_t *listen;       /* RpcEndpointListen: rpc_listen_t; NULL: none */
    apr_uint32_t receive_window;            /* bytes */
    apr_interval_time_t setup_timeout;
    apr_interval_time_t connect_timeout;
    const char *networks, *sources;         /* of LISTEN: see wire/preface.h */
    rpc_health_t *health;                   /* in shared memory; may be NULL */
} rpc_endpointd_params_t;

/* The path of its Unix socket. */
const char *rpc_endpointd_socket(apr_pool_t *p, server_rec *s, const char *configured);

/* Opens its sockets, which then stay open. Early, from the first post_config of a start, so
 * that what cannot be opened ends the start. Logs what goes wrong. */
apr_status_t rpc_endpointd_listen(apr_pool_t *pconf, server_rec *s,
                                  const rpc_endpointd_params_t *params);

/* Starts it, or after a restart lets a running one go on or renews it. From post_config.
 * Logs what goes wrong. */
apr_status_t rpc_endpointd_start(apr_pool_t *pconf, server_rec *s,
                                 const rpc_endpointd_params_t *params);

/* In a child of httpd: what is the parent's and the endpoint's is not to be held open there. */
void rpc_endpointd_child_init(void);

#endif
