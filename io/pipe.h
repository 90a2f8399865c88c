/* rpc_pipe: two streams joined, bytes as they come, both ways, until one of them ends. What
 * is left of a connection once version 1 of the protocol is open ([MS-RPCH] 3.1.2.5.2).
 */
#ifndef RPC_PIPE_H
#define RPC_PIPE_H

#include "base/reason.h"
#include "io/stream.h"

/* A client that has closed is gone when the server has read nothing for so long, whatever that
 * client said before. */
#define RPC_PIPE_PATIENCE apr_time_from_sec(2)
/* Not read from one side while this much waits to be written to the other. */
#define RPC_PIPE_HIGH 65536

typedef struct rpc_pipe rpc_pipe_t;
struct rpc_pipe {
    rpc_stream_t *client, *server;  /* set before the start; their owner's all the time */
    /* One side has ended or failed: called once, the pipe's turn is over. The owner closes
     * both streams, in order, so that what was read still arrives. */
    void (*ended)(rpc_pipe_t *pipe, rpc_reason_t reason);
    /* Not NULL: takes what the client says, and puts what of it may go to the server. A reason
     * ends the pipe. */
    rpc_reason_t (*heard)(rpc_pipe_t *pipe, const uint8_t *data, size_t len);
    apr_time_t heard_at;            /* when the client last spoke, or was not read; set at the start */
    /* private */
    rpc_job_t turn;
    rpc_timer_t patience;           /* with a server that does not read, of a client that has closed */
    int closing;                    /* that is running */
    uint64_t taken;                 /* what that server had read when it began */
};

/* From now on the pipe's job is that of both streams. On their loop's thread, as all of it. */
void rpc_pipe_start(rpc_pipe_t *pipe);
/* The streams are about to be closed. Also harmless before the start. */
void rpc_pipe_stop(rpc_pipe_t *pipe, rpc_loop_t *loop);

#endif
