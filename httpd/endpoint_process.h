/* rpc_endpointd_process: an endpoint process, and the messages between it and the parent.
 */
#ifndef RPC_ENDPOINTD_PROCESS_H
#define RPC_ENDPOINTD_PROCESS_H

#include "httpd/endpoint_parent.h"
#include "httpd/endpoint_listen.h"

/* Messages on the control socket. A process of another version of the module ignores letters that
 * it does not know, so a letter must never change its meaning. */
#define RPC_SAY_SUCCESSOR 'H'   /* with a line (endpoint/handover.h): a process follows this one */
#define RPC_SAY_RETIRE    'Q'   /* none follows: listen no more, go when idle */
#define RPC_SAY_LEAVE     'X'   /* go now */
#define RPC_SAY_RESTARTED 'E'   /* a restart is over; with the error log, if there is one */
#define RPC_SAY_UNCERTAIN 'U'   /* a restart begins, after which there may be no module */
#define RPC_SAY_READY     'R'   /* from the process: it serves */

#define RPC_PROCESS_LINES 16

/* The parameters of a new process, which owns all descriptors in them. */
typedef struct rpc_endpointd_birth {
    server_rec *s;
    const rpc_endpointd_params_t *params;
    const rpc_listen_set_t *listeners;
    int control;
    int lines[RPC_PROCESS_LINES];   /* to those of before that still run; -1: none */
    int alone;                      /* none of these listens */
    int attempts;                   /* in vain, before this one */
} rpc_endpointd_birth_t;

/* Lives the life of the process and exits; with this code when it could not begin, which the
 * first of several attempts logs. In the forked child. */
#define RPC_PROCESS_CANNOT_BEGIN 70     /* no signal has this number */
void rpc_endpointd_process(const rpc_endpointd_birth_t *birth) __attribute__((noreturn));

/* In a forked child: closes what it has inherited and would keep alive (log files, pipes to
 * programs, listeners), but for these descriptors and the first three. */
void rpc_endpointd_close_others(const int *keep, int count);

#endif
