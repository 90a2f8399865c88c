/* proxy/mixed.c: the mixed proxy, [MS-RPCH] 3.1.2 (fig. 14).
 *
 *   Client Opened --connected--> Server Opened --banner: 200--> Opened --either closes--> Closed
 *
 * The banner proves that the server wants to be reached over HTTP (3.1.2.5.1); it is not passed on.
 * What the client sends before the banner has come stays unread in its socket. Once Opened, a pipe
 * moves bytes from the server, and whole PDUs from the client: the firewall needs them, and version
 * 1 does not allow RTS PDUs.
 */
#include "proxy/mixed.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "base/list.h"
#include "io/pipe.h"
#include "proxy/answer.h"
#include "proxy/bind_filter.h"

typedef enum { MIXED_CLIENT_OPENED, MIXED_SERVER_OPENED, MIXED_OPENED } mixed_state_t;

struct rpc_mixed {
    rpc_pipe_t pipe;            /* holds both streams; the server's is NULL until connected */
    const rpc_channel_spec_t *spec;
    mixed_state_t state;
    size_t banner;              /* bytes of it seen */
    rpc_firewall_t firewall;
    dcerpc_framer_t framer;     /* of what the client says */
    rpc_reason_t reason;        /* set: it waits for its end */
    char why[RPC_FILTER_WHY_MAX];   /* why it ends */
    rpc_dial_t *connecting;
    rpc_job_t turn;             /* until Opened; then for its end */
    rpc_timer_t timer;          /* until Opened for the banner, then for what the client says */
    rpc_mixed_t **list, *next, *prev;
};

static const char *state_name(const rpc_mixed_t *m)
{
    static const char *const names[] = { "Client Opened", "Server Opened", "Opened" };

    return names[m->state];
}

static void mixed_free(rpc_mixed_t *m)
{
    rpc_reason_t reason = m->reason;
    rpc_stream_t *client = m->pipe.client, *server = m->pipe.server;
    rpc_loop_t *loop = client->loop;
    char where[48];
    rpc_end_t ended = { .reason = reason, .where = where, .why = m->why,
                        .received = client->received, .sent = rpc_stream_sent(client) };

    apr_snprintf(where, sizeof(where), "mixed in %s", state_name(m));

    if (m->state != MIXED_OPENED && rpc_reason_info(reason)->rpc_error && !client->hup
        && !client->error)
        rpc_error_answer(client, reason);
    rpc_loop_unschedule(loop, &m->turn);
    dcerpc_framer_reset(&m->framer);
    RPC_LIST_REMOVE(*m->list, m);
    rpc_meter_show(&m->spec->metered, ended.received, ended.sent, m->pipe.heard_at);
    m->spec->ended(m->spec->ctx, &ended);
    if (server)
        rpc_stream_close(server, reason == RPC_REASON_SERVER_ERROR);
    rpc_stream_close(client, reason == RPC_REASON_CLIENT_ERROR);
    free(m);
}

static void mixed_finish(rpc_job_t *job)
{
    mixed_free(RPC_OWNER_OF(job, rpc_mixed_t, turn));
}

/* Nothing happens to it any more but its end, in a turn for ends. The first reason stays. */
static void mixed_end(rpc_mixed_t *m, rpc_reason_t reason, const char *why)
{
    rpc_loop_t *loop = m->pipe.client->loop;

    if (m->reason)
        return;
    rpc_log(m->spec->log, RPC_LOG_DEBUG, 0, "mixed proxy in %s ends: %s: %s", state_name(m),
            rpc_reason_info(reason)->token, why);
    m->reason = reason;
    if (why != m->why)
        apr_cpystrn(m->why, why, sizeof(m->why));
    rpc_timer_cancel(loop, &m->timer);
    if (m->connecting)
        rpc_dial_cancel(m->connecting);
    m->connecting = NULL;
    m->turn.run = mixed_finish;
    rpc_pipe_end(&m->pipe, loop, &m->turn);
}

static rpc_reason_t mixed_refuse(rpc_mixed_t *m, rpc_reason_t reason, const char *why)
{
    apr_snprintf(m->why, sizeof(m->why), "%s", why);
    return reason;
}

static void mixed_pipe_ended(rpc_pipe_t *pipe, rpc_reason_t reason)
{
    rpc_mixed_t *m = RPC_OWNER_OF(pipe, rpc_mixed_t, pipe);

    /* Version 1 has no farewell. But an endpoint that ends a leg in order first sends an end of
     * file, and waits for ours. */
    if (reason == RPC_REASON_SERVER_CLOSED && m->spec->leg.unix_path
        && rpc_stream_is_hung_up(pipe->server)) {
        reason = RPC_REASON_LOCAL_FAILURE;
        mixed_refuse(m, reason, "the endpoint process has ended");
    }
    mixed_end(m, reason, *m->why ? m->why : rpc_reason_info(reason)->text);
}

static rpc_reason_t heard_pdu(rpc_mixed_t *m, const uint8_t *pdu, const dcerpc_header_t *header)
{
    rpc_filtered_t filtered = { .reason = RPC_REASON_NONE };
    apr_status_t rv;

    /* A server could take the client for a proxy of version 2. */
    if (header->ptype == DCERPC_RTS)
        return mixed_refuse(m, RPC_REASON_PROTOCOL, "an RTS PDU in version 1");
    if (rpc_firewall_wants(&m->firewall, header->ptype))
        rpc_filter(&m->firewall, m->spec, pdu, &filtered);
    if (filtered.reason)
        return mixed_refuse(m, filtered.reason, filtered.why);
    rv = rpc_stream_put(m->pipe.server, filtered.instead ? filtered.instead : pdu,
                        header->frag_length);
    free(filtered.instead);
    return rv == APR_SUCCESS ? RPC_REASON_NONE : RPC_REASON_NO_MEMORY;
}

static rpc_reason_t heard(rpc_pipe_t *pipe, const uint8_t *data, size_t len)
{
    rpc_mixed_t *m = RPC_OWNER_OF(pipe, rpc_mixed_t, pipe);
    rpc_reason_t reason = RPC_REASON_NONE;
    dcerpc_header_t header;
    const uint8_t *pdu;

    while (!reason) {
        switch (dcerpc_framer_next(&m->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            return RPC_REASON_NONE;
        case DCERPC_FRAME_ERROR:
            return mixed_refuse(m, RPC_REASON_BAD_PDU, m->framer.error);
        case DCERPC_FRAME_PDU:
            reason = heard_pdu(m, pdu, &header);
        }
    }
    return reason;
}

/* Version 1 has no pings, so this timer runs only when RpcIdleTimeout is set. */
static void look_if_idle(rpc_timer_t *timer)
{
    rpc_mixed_t *m = RPC_OWNER_OF(timer, rpc_mixed_t, timer);
    rpc_loop_t *loop = m->pipe.client->loop;
    apr_time_t due = rpc_pipe_idle_until(&m->pipe, m->spec->idle_timeout);

    if (due <= rpc_loop_now(loop))
        mixed_end(m, RPC_REASON_IDLE_TIMEOUT, "the client has said nothing");
    else
        rpc_timer_set(loop, timer, due);
}

/* The banner is complete. The answer has no length and lasts to the end of the connection
 * (2.1.1.1.2). */
static void open_up(rpc_mixed_t *m)
{
    static const rpc_answer_t answer = { 200, "OK", 0, -1 };
    rpc_loop_t *loop = m->pipe.client->loop;

    rpc_timer_cancel(loop, &m->timer);
    m->state = MIXED_OPENED;
    m->pipe.heard = heard;
    rpc_firewall_begin(&m->firewall, m->spec->rules, m->spec->asked_port, m->spec->least_level, 0);
    if (m->spec->opened)
        m->spec->opened(m->spec->ctx);
    if (m->pipe.client->cls->respond(m->pipe.client, &answer) != APR_SUCCESS)
        mixed_end(m, RPC_REASON_CLIENT_ERROR, "the response cannot be written");
    else {
        rpc_pipe_start(&m->pipe);
        m->timer.fire = look_if_idle;
        if (m->spec->idle_timeout)
            rpc_timer_set(loop, &m->timer, rpc_loop_now(loop) + m->spec->idle_timeout);
    }
}

static void read_banner(rpc_mixed_t *m)
{
    char buf[RTS_BANNER_SIZE];
    size_t len = RTS_BANNER_SIZE - m->banner;
    apr_status_t rv = rpc_stream_read(m->pipe.server, buf, &len);

    if (APR_STATUS_IS_EAGAIN(rv))
        return;
    if (rv != APR_SUCCESS && m->spec->leg.unix_path)
        mixed_end(m, RPC_REASON_LOCAL_FAILURE, "the endpoint process has ended");
    else if (rv != APR_SUCCESS)
        mixed_end(m, RPC_REASON_SERVER_REFUSED, "the server closed the leg without a banner, "
                  "as one does that only speaks ncacn_ip_tcp (see RpcBackend)");
    else if (memcmp(buf, &RTS_BANNER[m->banner], len) != 0)
        mixed_end(m, RPC_REASON_PROTOCOL, "something else than the banner from the server");
    else if ((m->banner += len) == RTS_BANNER_SIZE)
        open_up(m);
    else
        rpc_loop_schedule(m->pipe.client->loop, &m->turn);
}

static void mixed_turn(rpc_job_t *job)
{
    rpc_mixed_t *m = RPC_OWNER_OF(job, rpc_mixed_t, turn);
    rpc_stream_t *server = m->pipe.server;

    if (m->pipe.client->hup || m->pipe.client->error)
        mixed_end(m, RPC_REASON_CLIENT_CLOSED, "the client closed its connection");
    else if (server && rpc_stream_flush(server) != APR_SUCCESS)
        mixed_end(m, RPC_REASON_SERVER_ERROR, "writing failed");
    else if (server)
        read_banner(m);
}

static void mixed_connect_done(void *ctx, rpc_reason_t reason, apr_status_t status, int fd,
                               const char *host, uint16_t port, const char *tried)
{
    rpc_mixed_t *m = ctx;
    const rpc_channel_spec_t *spec = m->spec;
    rpc_loop_t *loop = m->pipe.client->loop;

    m->connecting = NULL;
    if (reason) {
        mixed_end(m, reason, tried);
        return;
    }
    m->pipe.server = rpc_stream_open(loop, fd, &m->turn);
    if (!m->pipe.server || (spec->preface_len
        && rpc_stream_put(m->pipe.server, spec->preface, spec->preface_len) != APR_SUCCESS)) {
        mixed_end(m, RPC_REASON_NO_MEMORY, "no memory for the leg");
        return;
    }
    if (spec->reached && !spec->leg.unix_path)
        spec->reached(spec->ctx, host, port);
    rpc_stream_keepalive(m->pipe.server, 0);
    m->state = MIXED_SERVER_OPENED;
    rpc_timer_set(loop, &m->timer, rpc_loop_now(loop) + spec->setup_timeout);
    rpc_loop_schedule(loop, &m->turn);
}

static void mixed_timed_out(rpc_timer_t *timer)
{
    rpc_mixed_t *m = RPC_OWNER_OF(timer, rpc_mixed_t, timer);

    if (m->spec->leg.unix_path)
        mixed_end(m, RPC_REASON_LOCAL_FAILURE, "the endpoint process does not answer");
    else
        mixed_end(m, RPC_REASON_SETUP_TIMEOUT, "no banner in time");
}

void rpc_mixed_start(rpc_loop_t *loop, const rpc_dialer_t *dialer, rpc_mixed_t **list,
                     rpc_stream_t *client, const rpc_channel_spec_t *spec)
{
    rpc_mixed_t *m = calloc(1, sizeof(*m));

    if (!m) {
        spec->ended(spec->ctx, &(rpc_end_t){ .reason = RPC_REASON_NO_MEMORY,
                                             .why = "no memory for a channel" });
        rpc_stream_close(client, 1);
        return;
    }
    m->spec = spec;
    m->pipe.client = client;
    m->pipe.metered = spec->metered;
    m->pipe.ended = mixed_pipe_ended;
    m->turn.run = mixed_turn;
    m->timer.fire = mixed_timed_out;
    m->list = list;
    RPC_LIST_PUSH(*list, m);
    client->owner = &m->turn;
    m->connecting = rpc_dial_start(loop, dialer, &spec->leg, mixed_connect_done, m);
    if (!m->connecting)
        mixed_end(m, RPC_REASON_NO_MEMORY, "no memory to connect");
    else
        rpc_loop_schedule(loop, &m->turn);
}

void rpc_mixed_end(rpc_mixed_t **list, rpc_reason_t reason)
{
    mixed_end(*list, reason, rpc_reason_info(reason)->text);
    mixed_free(*list);
}

void rpc_mixed_end_due(rpc_mixed_t *list, apr_time_t now)
{
    rpc_mixed_t *m;

    for (m = list; m; m = m->next) {
        rpc_reason_t reason = rpc_meter_verdict(&m->spec->metered, now);

        if (reason)
            mixed_end(m, reason, rpc_reason_info(reason)->text);
    }
}
