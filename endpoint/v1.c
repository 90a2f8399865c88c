/* endpoint/v1.c: the server role of version 1, [MS-RPCH] 3.1.3: after the banner a leg
 * carries plain RPC PDUs both ways. It gets a connection to the target, and a pipe.
 */
#include "endpoint/vc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/message_id.h"
#include "io/pipe.h"

struct rpc_v1 {
    rpc_endpoint_t *ep;
    rpc_preface_t *preface;     /* malloc'ed */
    rpc_pipe_t pipe;            /* leg and target; the target is NULL until connected */
    rpc_bytes_t early;          /* for the target, from before it was connected */
    rpc_dial_t *connecting;
    char *served;               /* by which of the preface's servers, malloc'ed; may be NULL */
    rpc_job_t turn;             /* until connected; then for its end */
    rpc_reason_t reason;        /* set: it waits for its end */
    apr_status_t status;
    apr_time_t born;
    char why[400];              /* the target cannot be reached */
    rpc_v1_t *next, *prev;      /* of the endpoint */
};

static void v1_log_end(const rpc_v1_t *v1, rpc_reason_t reason, apr_status_t status)
{
    const rpc_preface_t *p = v1->preface;
    apr_time_t lived = rpc_loop_now(v1->ep->loop) - v1->born;

    rpc_log(v1->ep->params.log, rpc_endpoint_level(reason), status,
            RPCNO(0043) "endpoint: connection (version 1) of user \"%s\" to %s (%s port %u) ended: "
            "%s%s%s; client %s, %" APR_UINT64_T_FMT " bytes in, %" APR_UINT64_T_FMT " bytes out, "
            "%d.%03d s",
            rpc_preface_user(p), p->target, v1->served ? v1->served : p->host, p->port,
            rpc_reason_info(reason)->token, v1->why[0] ? ", " : "", v1->why, rpc_preface_client(p),
            v1->pipe.server ? v1->pipe.server->sent : 0,
            v1->pipe.server ? v1->pipe.server->received : 0,
            (int)apr_time_sec(lived), (int)apr_time_msec(lived));
}

void rpc_v1_end(rpc_v1_t *v1, rpc_reason_t reason, apr_status_t status, int abort)
{
    rpc_endpoint_t *ep = v1->ep;

    if (v1->reason) {       /* it waited for its end, so that is known */
        reason = v1->reason;
        status = v1->status;
    }
    v1_log_end(v1, reason, status);
    rpc_pipe_stop(&v1->pipe, ep->loop);
    rpc_loop_unschedule(ep->loop, &v1->turn);
    if (v1->connecting)
        rpc_dial_cancel(v1->connecting);
    rpc_endpoint_drop(ep, v1->pipe.client, abort);
    if (v1->pipe.server)
        rpc_endpoint_drop(ep, v1->pipe.server, abort);
    rpc_bytes_clear(&v1->early);
    RPC_LIST_REMOVE(ep->v1s, v1);
    free(v1->served);
    free(v1->preface);
    free(v1);
    rpc_endpoint_count_down(ep);
}

static void v1_finish(rpc_job_t *job)
{
    rpc_v1_t *v1 = RPC_OWNER_OF(job, rpc_v1_t, turn);

    rpc_v1_end(v1, v1->reason, v1->status, 0);
}

/* Nothing happens to it any more but its end, in a turn for ends. */
static void v1_await_end(rpc_v1_t *v1, rpc_reason_t reason, apr_status_t status)
{
    v1->reason = reason;
    v1->status = status;
    if (v1->connecting)
        rpc_dial_cancel(v1->connecting);
    v1->connecting = NULL;
    v1->turn.run = v1_finish;
    rpc_pipe_end(&v1->pipe, v1->ep->loop, &v1->turn);
}

static void v1_pipe_ended(rpc_pipe_t *pipe, rpc_reason_t reason)
{
    const rpc_stream_t *failed = reason == RPC_REASON_CLIENT_ERROR ? pipe->client : pipe->server;

    v1_await_end(RPC_OWNER_OF(pipe, rpc_v1_t, pipe), reason, failed->error);
}

/* While connecting: the leg is not read, only its end is noticed; the banner goes out. */
static void waiting_turn(rpc_job_t *job)
{
    rpc_v1_t *v1 = RPC_OWNER_OF(job, rpc_v1_t, turn);

    if (v1->pipe.client->hup || rpc_stream_flush(v1->pipe.client) != APR_SUCCESS)
        v1_await_end(v1, RPC_REASON_CLIENT_CLOSED, 0);
}

static void v1_connected(void *ctx, rpc_reason_t reason, apr_status_t status, int fd,
                         const char *host, uint16_t port, const char *tried)
{
    rpc_v1_t *v1 = ctx;
    const uint8_t *data;
    size_t len;

    v1->connecting = NULL;
    if (!reason)
        v1->served = strdup(host);
    if (!reason && !(v1->pipe.server = rpc_stream_open(v1->ep->loop, fd, NULL)))
        reason = RPC_REASON_NO_MEMORY;
    while (!reason && (data = rpc_bytes_peek(&v1->early, &len))) {
        if (rpc_stream_put(v1->pipe.server, data, len) != APR_SUCCESS)
            reason = RPC_REASON_NO_MEMORY;
        rpc_bytes_drop(&v1->early, len);
    }
    if (reason) {
        snprintf(v1->why, sizeof(v1->why), "%s", tried);
        v1_await_end(v1, reason, v1->why[0] ? 0 : status);
        return;
    }
    rpc_stream_keepalive(v1->pipe.server, 0);
    rpc_pipe_start(&v1->pipe);
}

rpc_v1_t *rpc_v1_start(rpc_leg_t *leg)
{
    rpc_endpoint_t *ep = leg->ep;
    rpc_v1_t *v1 = calloc(1, sizeof(*v1));

    if (!v1)
        return NULL;
    v1->connecting = rpc_endpoint_dial(ep, leg->preface, v1_connected, v1);
    if (!v1->connecting) {
        free(v1);
        return NULL;
    }
    v1->ep = ep;
    v1->preface = leg->preface;
    v1->pipe.client = leg->stream;
    leg->preface = NULL;
    leg->stream = NULL;
    v1->pipe.ended = v1_pipe_ended;
    v1->turn.run = waiting_turn;
    v1->pipe.client->owner = &v1->turn;
    v1->born = rpc_loop_now(ep->loop);
    RPC_LIST_PUSH(ep->v1s, v1);
    ep->count++;
    rpc_loop_schedule(ep->loop, &v1->turn);
    return v1;
}

int rpc_v1_input(rpc_v1_t *v1, const uint8_t *data, size_t len)
{
    return rpc_bytes_put(&v1->early, data, len);
}
