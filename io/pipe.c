/* io/pipe.c: each turn reads from each side as long as the other side can take it, and writes. */
#include "io/pipe.h"

/* The number of rounds of reading and writing before other jobs get their turn. */
#define TURN_ROUNDS 4

static rpc_reason_t pipe_put(rpc_pipe_t *pipe, rpc_stream_t *to, const uint8_t *data, size_t len)
{
    rpc_reason_t (*taken)(rpc_pipe_t *, const uint8_t *, size_t)
        = to == pipe->server ? pipe->heard : pipe->said;

    if (taken)
        return taken(pipe, data, len);
    return rpc_stream_put(to, data, len) == APR_SUCCESS ? RPC_REASON_NONE : RPC_REASON_NO_MEMORY;
}

/* May FROM be read? */
static int is_wanted(rpc_pipe_t *pipe, const rpc_stream_t *from, const rpc_stream_t *to)
{
    int full = rpc_stream_pending(to) >= RPC_STREAM_HIGH;

    if (from != pipe->client)
        return !full;
    if (full)
        pipe->heard_at = rpc_loop_now(from->loop);  /* its data waits because we do not read */
    return !full && !pipe->deaf;
}

/* Reads once from FROM and puts it into TO. Returns 1 when there was something; sets *ENDED to
 * CLOSED or FAILED when there will be nothing more. */
static int pipe_move(rpc_pipe_t *pipe, rpc_stream_t *from, rpc_stream_t *to, rpc_reason_t closed,
                     rpc_reason_t failed, rpc_reason_t *ended)
{
    uint8_t *buf = rpc_loop_scratch(from->loop);
    size_t len = RPC_LOOP_SCRATCH;
    apr_status_t rv;

    if (*ended || !is_wanted(pipe, from, to))
        return 0;
    if (from == pipe->server)   /* the scratch was wanted, and writing what lay in it has failed */
        rpc_stream_read_rest(from);
    rv = rpc_stream_read(from, buf, &len);
    if (rv == APR_SUCCESS && from == pipe->client)
        pipe->heard_at = rpc_loop_now(from->loop);
    if (rv == APR_SUCCESS)
        *ended = pipe_put(pipe, to, buf, len);
    else if (APR_STATUS_IS_EOF(rv))
        *ended = pipe->closed ? pipe->closed(pipe, from) : closed;
    else if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv))
        *ended = failed;
    return rv == APR_SUCCESS;
}

/* A server that takes no more may have said why before. */
static int pipe_flush(rpc_pipe_t *pipe, rpc_stream_t *s, rpc_reason_t failed, rpc_reason_t *ended)
{
    size_t before = rpc_stream_pending(s);

    if (rpc_stream_flush(s) != APR_SUCCESS && !*ended
        && !(s == pipe->server && rpc_stream_read_rest(s)))
        *ended = failed;
    return rpc_stream_pending(s) < before;
}

/* Is it known that the client has closed, although some of its data is not read yet? */
static int has_closed_unread(const rpc_pipe_t *pipe)
{
    return pipe->client->hup && !pipe->client->eof
        && (pipe->deaf || rpc_stream_pending(pipe->server) >= RPC_STREAM_HIGH);
}

static void watch_unread(rpc_pipe_t *pipe)
{
    rpc_loop_t *loop = pipe->client->loop;

    pipe->taken = pipe->server->sent;
    rpc_timer_set(loop, &pipe->patience, rpc_loop_now(loop) + RPC_PIPE_PATIENCE);
}

static void pipe_out_of_patience(rpc_timer_t *timer)
{
    rpc_pipe_t *pipe = RPC_OWNER_OF(timer, rpc_pipe_t, patience);

    if (!has_closed_unread(pipe))
        pipe->closing = 0;
    else if (pipe->server->sent != pipe->taken)
        watch_unread(pipe);
    else
        pipe->ended(pipe, RPC_REASON_CLIENT_CLOSED);
}

/* After a reset the pipe ends at once. A client that has closed in order may have sent much that a
 * slow server still has to read. */
static void notice_close(rpc_pipe_t *pipe, rpc_reason_t *ended)
{
    if (*ended || !has_closed_unread(pipe))
        return;
    if (pipe->client->dead)
        *ended = RPC_REASON_CLIENT_ERROR;
    else if (!pipe->closing) {
        pipe->closing = 1;
        watch_unread(pipe);
    }
}

static void pipe_turn(rpc_job_t *job)
{
    rpc_pipe_t *pipe = RPC_OWNER_OF(job, rpc_pipe_t, turn);
    rpc_stream_t *client = pipe->client, *server = pipe->server;
    rpc_reason_t ended = RPC_REASON_NONE;
    int rounds = TURN_ROUNDS, moved;

    do {
        moved = pipe_move(pipe, client, server, RPC_REASON_CLIENT_CLOSED, RPC_REASON_CLIENT_ERROR,
                          &ended);
        moved |= pipe_move(pipe, server, client, RPC_REASON_SERVER_CLOSED, RPC_REASON_SERVER_ERROR,
                           &ended);
        moved |= pipe_flush(pipe, server, RPC_REASON_SERVER_ERROR, &ended);
        moved |= pipe_flush(pipe, client, RPC_REASON_CLIENT_ERROR, &ended);
    } while (moved && !ended && --rounds);
    rpc_meter_show(&pipe->metered, client->received, rpc_stream_sent(client), pipe->heard_at);
    notice_close(pipe, &ended);
    if (ended)
        pipe->ended(pipe, ended);
    else if (moved)
        rpc_loop_schedule_more(client->loop, job);
}

void rpc_pipe_start(rpc_pipe_t *pipe)
{
    pipe->turn.run = pipe_turn;
    pipe->patience.fire = pipe_out_of_patience;
    pipe->heard_at = rpc_loop_now(pipe->client->loop);
    pipe->client->owner = pipe->server->owner = &pipe->turn;
    rpc_loop_schedule(pipe->client->loop, &pipe->turn);
}

apr_time_t rpc_pipe_idle_until(const rpc_pipe_t *pipe, apr_interval_time_t idle)
{
    int full = rpc_stream_pending(pipe->server) >= RPC_STREAM_HIGH;

    return (full ? rpc_loop_now(pipe->client->loop) : pipe->heard_at) + idle;
}

void rpc_pipe_stop(rpc_pipe_t *pipe, rpc_loop_t *loop)
{
    rpc_loop_unschedule(loop, &pipe->turn);
    rpc_timer_cancel(loop, &pipe->patience);
}

void rpc_pipe_end(rpc_pipe_t *pipe, rpc_loop_t *loop, rpc_job_t *end)
{
    rpc_pipe_stop(pipe, loop);
    pipe->client->owner = end;
    if (pipe->server)
        pipe->server->owner = end;
    rpc_loop_schedule_end(loop, end);
}
