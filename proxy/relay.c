/* proxy/relay.c: see proxy/relay.h. */
#include "proxy/relay.h"

#include <stdlib.h>

#include "base/list.h"
#include "io/pipe.h"
#include "io/secure.h"

struct rpc_relay {
    rpc_pipe_t pipe;            /* holds both streams */
    const rpc_channel_spec_t *spec;
    rpc_reason_t reason;        /* set: it waits for its end */
    rpc_job_t turn;             /* for its end */
    rpc_relay_t **list, *next, *prev;
};

static void relay_free(rpc_relay_t *relay)
{
    rpc_stream_t *client = relay->pipe.client;
    rpc_end_t ended = { relay->reason, NULL, rpc_reason_info(relay->reason)->text,
                        client->received, rpc_stream_sent(client) };

    rpc_loop_unschedule(client->loop, &relay->turn);
    RPC_LIST_REMOVE(*relay->list, relay);
    relay->spec->ended(relay->spec->ctx, &ended);
    rpc_stream_close(relay->pipe.server, relay->reason == RPC_REASON_SERVER_ERROR);
    rpc_stream_close(client, relay->reason == RPC_REASON_CLIENT_ERROR);
    free(relay);
}

static void relay_finish(rpc_job_t *job)
{
    relay_free(RPC_OWNER_OF(job, rpc_relay_t, turn));
}

static void relay_end(rpc_relay_t *relay, rpc_reason_t reason)
{
    if (relay->reason)
        return;
    relay->reason = reason;
    relay->turn.run = relay_finish;
    rpc_pipe_end(&relay->pipe, relay->pipe.client->loop, &relay->turn);
}

static void pipe_ended(rpc_pipe_t *pipe, rpc_reason_t reason)
{
    relay_end(RPC_OWNER_OF(pipe, rpc_relay_t, pipe), reason);
}

void rpc_relay_start(rpc_loop_t *loop, rpc_relay_t **list, rpc_stream_t *client,
                     const rpc_channel_spec_t *spec)
{
    rpc_stream_t *upstream = spec->upstream.stream;
    rpc_relay_t *relay = calloc(1, sizeof(*relay));
    apr_status_t rv = rpc_secure_join(upstream, loop);

    if (!relay) {
        spec->ended(spec->ctx,
                    &(rpc_end_t){ RPC_REASON_NO_MEMORY, NULL, "no memory for a channel", 0, 0 });
        rpc_stream_close(upstream, 1);
        rpc_stream_close(client, 1);
        return;
    }
    relay->spec = spec;
    relay->list = list;
    RPC_LIST_PUSH(*list, relay);
    relay->pipe.client = client;
    relay->pipe.server = upstream;
    relay->pipe.ended = pipe_ended;
    if (spec->reached)
        spec->reached(spec->ctx, spec->upstream.host, spec->upstream.port);
    if (rv != APR_SUCCESS
        || rpc_stream_put(upstream, spec->upstream.head, spec->upstream.head_size) != APR_SUCCESS)
        relay_end(relay, RPC_REASON_NO_MEMORY);
    else
        rpc_pipe_start(&relay->pipe);
}

void rpc_relay_end(rpc_relay_t **list, rpc_reason_t reason)
{
    relay_end(*list, reason);
    relay_free(*list);
}
