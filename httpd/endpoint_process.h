/* rpc_endpointd_process: the endpoint process itself; what the parent says to it.
 */
#ifndef RPC_ENDPOINTD_PROCESS_H
#define RPC_ENDPOINTD_PROCESS_H

#include "httpd/endpoint_parent.h"
#include "httpd/endpoint_listen.h"

/* A message on the control socket: one of these letters, for RPC_SAY_LISTEN followed by an
 * rpc_listen_t; with a descriptor where it says so. */
#define RPC_SAY_GO_WHEN_IDLE 'G'    /* with the error log, if there is one to write to */
#define RPC_SAY_FORGET       'F'    /* listen nowhere any more */
#define RPC_SAY_LISTEN       'L'    /* with the socket to listen on, too, from now */

/* Lives the life of the process, on descriptor CONTROL, and exits. In the forked child. */
void rpc_endpointd_process(server_rec *s, const rpc_endpointd_params_t *params,
                           const rpc_listen_set_t *listeners, int control)
    __attribute__((noreturn));

#endif
