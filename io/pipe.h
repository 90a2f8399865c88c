/* rpc_pipe: passes bytes between two streams, both ways, until one of them ends. A connection of
 * version 1 of the protocol is such a pipe once it is open ([MS-RPCH] 3.1.2.5.2).
 */
#ifndef RPC_PIPE_H
#define RPC_PIPE_H

#include "base/meter.h"
#include "base/reason.h"
#include "io/stream.h"

/* When the client has closed and the server has read nothing for this time, the pipe ends, even if
 * data of the client is left. */
#define RPC_PIPE_PATIENCE apr_time_from_sec(2)

typedef struct rpc_pipe rpc_pipe_t;
struct rpc_pipe {
    rpc_stream_t *client, *server;  /* set before the start; the pipe's owner owns both */
    /* Called once, when one side has ended or failed; the pipe does nothing afterwards. The owner
     * closes both streams, in order, so that data which was read still arrives. */
    void (*ended)(rpc_pipe_t *pipe, rpc_reason_t reason);
    /* If not NULL, gets the client's data and puts the part that may go to the server. A reason
     * other than NONE ends the pipe. */
    rpc_reason_t (*heard)(rpc_pipe_t *pipe, const uint8_t *data, size_t len);
    /* Likewise the server's data, for the client. */
    rpc_reason_t (*said)(rpc_pipe_t *pipe, const uint8_t *data, size_t len);
    /* If not NULL: called, perhaps again and again, when one side has sent its last. NONE: the
     * other side goes on; else why the pipe ends. */
    rpc_reason_t (*closed)(rpc_pipe_t *pipe, const rpc_stream_t *side);
    int deaf;                       /* the client is not read; whoever changes that schedules
                                     * TURN */
    rpc_metered_t metered;          /* what the client has said and heard is shown there */
    apr_time_t heard_at;            /* when the client last sent something, or was last not read */
    /* private */
    rpc_job_t turn;
    rpc_timer_t patience;           /* runs after the client has closed, see RPC_PIPE_PATIENCE */
    int closing;                    /* patience is running */
    uint64_t taken;                 /* bytes that the server had read when patience began */
};

/* From now on the pipe's job is the job of both streams. All functions are called on their loop's
 * thread. */
void rpc_pipe_start(rpc_pipe_t *pipe);
/* Until when the client may be silent, if it may be so for IDLE. While the server takes nothing the
 * client may have no way to speak, so that time does not count. */
apr_time_t rpc_pipe_idle_until(const rpc_pipe_t *pipe, apr_interval_time_t idle);
/* Stops the pipe before its streams are closed. May also be called before the start. */
void rpc_pipe_stop(rpc_pipe_t *pipe, rpc_loop_t *loop);
/* Stops the pipe, and runs END in a turn for ends (io/loop.h), where its owner closes the streams.
 * From now on END is the job of both. May also be called before the start. */
void rpc_pipe_end(rpc_pipe_t *pipe, rpc_loop_t *loop, rpc_job_t *end);

#endif
