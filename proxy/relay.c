/* proxy/relay.c: a pipe (io/pipe.h) between the client and the upstream. What the client says
 * passes heard(), what the upstream says passes said(): first the head of its answer, then the
 * body.
 *
 * What is known of the conversation:
 *
 *            first PDU       IN: any other PDU; OUT: CONN/C2      IN: IN_Rx/A5
 *                            version 1, other bodies: 2xx, 101    OUT: OUT_R1/A10, OUT_R2/B3
 *   Open_Start ---> Connecting -----------------> Opened -----------------> Finished
 *
 * A successor's first PDU opens it as soon as anything follows. No byte of a body goes on before
 * the first PDU's cookie has been claimed.
 */
#include "proxy/relay.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "base/list.h"
#include "io/pipe.h"
#include "io/secure.h"
#include "proxy/answer.h"
#include "proxy/bind_filter.h"
#include "wire/dcerpc.h"
#include "wire/http_answer.h"

typedef enum {
    RELAY_OPEN_START, RELAY_CONNECTING, RELAY_OPENED, RELAY_FINISHED
} relay_state_t;

struct rpc_relay {
    rpc_pipe_t pipe;            /* holds both streams */
    const rpc_channel_spec_t *spec;
    relay_state_t state;
    dcerpc_framer_t from_client, from_upstream;
    rpc_chunks_t asked;         /* of a chunked request */
    rpc_firewall_t firewall;    /* what the client may ask the server for */
    rpc_http_answer_t answer;
    rpc_reason_t reason;        /* set: it waits for its end */
    char why[256];              /* why it ends */
    rpc_timer_t client_due;     /* for the first PDU, then for what the client says */
    rpc_timer_t upstream_due;   /* for the answer, or what has to follow it */
    apr_interval_time_t waits;  /* how long it was set for */
    rpc_job_t end;
    rpc_relay_t **list, *next, *prev;
};

static rpc_loop_t *loop_of(const rpc_relay_t *relay)
{
    return relay->pipe.client->loop;
}

static rpc_relay_t *relay_of(rpc_pipe_t *pipe)
{
    return RPC_OWNER_OF(pipe, rpc_relay_t, pipe);
}

/* Is the answer what the client has asked for? */
static int is_success(const rpc_relay_t *relay)
{
    return relay->answer.status < 300 && (relay->spec->upstream.carry != RPC_CARRY_UPGRADE
                                          || relay->answer.status == 101);
}

/* Is its body PDUs? */
static int has_pdus(const rpc_relay_t *relay)
{
    return is_success(relay) && relay->spec->upstream.carry == RPC_CARRY_RPC
           && relay->spec->role == RPC_OUTBOUND;
}

/* ---- the end ---- */

/* Notes in words why the relay ends; returns the reason. */
static rpc_reason_t because(rpc_relay_t *relay, rpc_reason_t reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static rpc_reason_t because(rpc_relay_t *relay, rpc_reason_t reason, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    apr_vsnprintf(relay->why, sizeof(relay->why), fmt, args);
    va_end(args);
    return reason;
}

/* May the client still hear an error of ours? */
static int may_answer(const rpc_relay_t *relay)
{
    return !relay->answer.status && relay->state < RELAY_OPENED && !relay->pipe.client->error
           && !relay->pipe.client->dead;
}

static void relay_free(rpc_relay_t *relay)
{
    static const char *const roles[] = { "inbound", "outbound", "mixed" };
    static const char *const states[] = { "Open_Start", "Connecting", "Opened", "Finished" };
    const rpc_reason_info_t *info = rpc_reason_info(relay->reason);
    rpc_stream_t *client = relay->pipe.client, *upstream = relay->pipe.server;
    rpc_loop_t *loop = loop_of(relay);
    char where[48];
    rpc_end_t ended = { .reason = relay->reason, .where = where,
                        .why = *relay->why ? relay->why : info->text,
                        .received = client->received, .sent = rpc_stream_sent(client),
                        .to_upstream = upstream->sent, .from_upstream = upstream->received };

    apr_snprintf(where, sizeof(where), "relayed %s in %s", roles[relay->spec->role],
                 states[relay->state]);
    if (info->rpc_error && may_answer(relay))
        rpc_error_answer(client, relay->reason);
    rpc_loop_unschedule(loop, &relay->end);
    dcerpc_framer_reset(&relay->from_client);
    dcerpc_framer_reset(&relay->from_upstream);
    rpc_http_answer_reset(&relay->answer);
    RPC_LIST_REMOVE(*relay->list, relay);
    rpc_meter_show(&relay->spec->metered, ended.received, ended.sent, relay->pipe.heard_at);
    relay->spec->ended(relay->spec->ctx, &ended);
    rpc_stream_close(upstream, relay->reason == RPC_REASON_SERVER_ERROR);
    rpc_stream_close(client, relay->reason == RPC_REASON_CLIENT_ERROR);
    free(relay);
}

static void relay_finish(rpc_job_t *job)
{
    relay_free(RPC_OWNER_OF(job, rpc_relay_t, end));
}

/* Nothing happens to it any more but its end, in a turn for ends. */
static void relay_end(rpc_relay_t *relay, rpc_reason_t reason)
{
    rpc_loop_t *loop = loop_of(relay);

    relay->reason = reason;
    rpc_timer_cancel(loop, &relay->client_due);
    rpc_timer_cancel(loop, &relay->upstream_due);
    relay->end.run = relay_finish;
    rpc_pipe_end(&relay->pipe, loop, &relay->end);
}

static void pipe_ended(rpc_pipe_t *pipe, rpc_reason_t reason)
{
    relay_end(relay_of(pipe), reason);
}

/* ---- time ---- */

static void set_timer(rpc_relay_t *relay, rpc_timer_t *timer, void (*fire)(rpc_timer_t *),
                      apr_interval_time_t in)
{
    timer->fire = fire;
    rpc_timer_set(loop_of(relay), timer, rpc_loop_now(loop_of(relay)) + in);
}

static void await_upstream(rpc_relay_t *relay, void (*fire)(rpc_timer_t *), apr_interval_time_t in)
{
    relay->waits = in;
    set_timer(relay, &relay->upstream_due, fire, in);
}

static void first_pdu_late(rpc_timer_t *timer)
{
    relay_end(RPC_OWNER_OF(timer, rpc_relay_t, client_due), RPC_REASON_FIRST_PDU_TIMEOUT);
}

static void look_if_idle(rpc_timer_t *timer)
{
    rpc_relay_t *relay = RPC_OWNER_OF(timer, rpc_relay_t, client_due);
    apr_time_t due = rpc_pipe_idle_until(&relay->pipe, relay->spec->idle_timeout);

    if (due <= rpc_loop_now(loop_of(relay)))
        relay_end(relay, RPC_REASON_IDLE_TIMEOUT);
    else
        rpc_timer_set(loop_of(relay), timer, due);
}

static void await_first_pdu(rpc_relay_t *relay)
{
    if (relay->state == RELAY_OPEN_START)
        set_timer(relay, &relay->client_due, first_pdu_late, relay->spec->first_pdu_timeout);
}

/* From now on the client may be silent for RpcIdleTimeout, but on OUT for as long as it likes. */
static void watch_client(rpc_relay_t *relay)
{
    rpc_timer_cancel(loop_of(relay), &relay->client_due);
    if (relay->spec->role != RPC_OUTBOUND && relay->spec->idle_timeout)
        set_timer(relay, &relay->client_due, look_if_idle, relay->spec->idle_timeout);
}

static apr_interval_time_t patience(const rpc_relay_t *relay)
{
    const rpc_channel_spec_t *spec = relay->spec;

    return spec->upstream.timeout ? spec->upstream.timeout : spec->setup_timeout;
}

static void answer_late(rpc_timer_t *timer)
{
    rpc_relay_t *relay = RPC_OWNER_OF(timer, rpc_relay_t, upstream_due);

    relay_end(relay, because(relay, RPC_REASON_UPSTREAM_SILENT, "no answer for %d seconds",
                             (int)apr_time_sec(relay->waits)));
}

static void opening_late(rpc_timer_t *timer)
{
    rpc_relay_t *relay = RPC_OWNER_OF(timer, rpc_relay_t, upstream_due);

    relay_end(relay, because(relay, RPC_REASON_SETUP_TIMEOUT, "no CONN/C2 for %d seconds",
                             (int)apr_time_sec(relay->waits)));
}

/* ---- the conversation ---- */

static void relay_opened(rpc_relay_t *relay)
{
    if (relay->state >= RELAY_OPENED)
        return;
    relay->state = RELAY_OPENED;
    rpc_timer_cancel(loop_of(relay), &relay->upstream_due);
    if (relay->spec->opened)
        relay->spec->opened(relay->spec->ctx);
}

/* How an ordinary end is called. */
static rpc_reason_t good_end(const rpc_relay_t *relay, rpc_reason_t reason)
{
    return relay->state == RELAY_FINISHED ? RPC_REASON_RECYCLED : reason;
}

/* Reads an RTS PDU; NULL: not one that may go on. */
static const char *read_rts(rpc_relay_t *relay, const uint8_t *data, uint32_t size, rts_hop_t hop,
                            rts_pdu_t *pdu, rts_pdu_id_t *id)
{
    const char *wrong = rts_parse(data, size, pdu);

    if (wrong)
        return wrong;
    *id = rts_identify(pdu, hop);
    rpc_log(relay->spec->log, RPC_LOG_DEBUG, 0, "relayed channel: %s from the %s",
            rts_info(*id)->name, hop == RTS_HOP_OP_C ? "upstream" : "client");
    return NULL;
}

static void begin_firewall(rpc_relay_t *relay, int replacing)
{
    const rpc_channel_spec_t *spec = relay->spec;
    unsigned level;
    int bound;

    rpc_firewall_begin(&relay->firewall, spec->rules, spec->asked_port, spec->least_level,
                       replacing);
    if (replacing && spec->recall && spec->recall(spec->ctx, &bound, &level))
        rpc_firewall_recall(&relay->firewall, bound, level);
}

/* The first PDU has come; ID is what it is. */
static rpc_reason_t begin(rpc_relay_t *relay, const rts_pdu_t *first, rts_pdu_id_t id)
{
    const rpc_channel_spec_t *spec = relay->spec;
    int in = spec->role == RPC_INBOUND, replacing = id == (in ? RTS_IN_R1_A1 : RTS_OUT_R1_A3);
    rpc_reason_t reason = RPC_REASON_NONE;
    int nobody;

    if (!replacing && id != (in ? RTS_CONN_B1 : RTS_CONN_A1))
        return because(relay, RPC_REASON_PROTOCOL, "the first PDU opens no channel of this kind");
    if (spec->claim)
        reason = spec->claim(spec->ctx, rts_cookie(first, 0), replacing, &nobody);
    if (reason)
        return reason;
    relay->state = RELAY_CONNECTING;
    begin_firewall(relay, replacing);
    watch_client(relay);
    /* A successor is answered when its predecessor is used up. */
    if (!in && replacing && !relay->answer.status)
        await_upstream(relay, answer_late, spec->setup_timeout + patience(relay));
    return RPC_REASON_NONE;
}

static rpc_reason_t rts_from_client(rpc_relay_t *relay, const uint8_t *data, uint32_t size)
{
    rts_hop_t hop = relay->spec->role == RPC_INBOUND ? RTS_HOP_C_IP : RTS_HOP_C_OP;
    rts_pdu_t pdu;
    rts_pdu_id_t id;
    const char *wrong;

    if (relay->spec->role == RPC_MIXED)
        return because(relay, RPC_REASON_PROTOCOL, "an RTS PDU in version 1");
    wrong = read_rts(relay, data, size, hop, &pdu, &id);
    if (wrong)
        return because(relay, RPC_REASON_BAD_PDU, "RTS PDU from the client: %s", wrong);
    if (relay->state == RELAY_OPEN_START)
        return begin(relay, &pdu, id);
    if (relay->spec->role == RPC_INBOUND)
        relay_opened(relay);
    if (id == RTS_IN_R1_A5)     /* or IN_R2/A5, which looks the same */
        relay->state = RELAY_FINISHED;
    return RPC_REASON_NONE;
}

/* A client that makes calls knows that its connection is open. */
static rpc_reason_t rpc_from_client(rpc_relay_t *relay, const uint8_t *pdu,
                                    rpc_filtered_t *filtered)
{
    if (relay->state == RELAY_OPEN_START)
        return because(relay, RPC_REASON_BAD_PDU, "the first PDU is no RTS PDU");
    if (relay->spec->role == RPC_OUTBOUND)
        return because(relay, RPC_REASON_PROTOCOL,
                       "an RPC PDU from the client on the OUT channel");
    if (rpc_firewall_wants(&relay->firewall, dcerpc_ptype(pdu)))
        rpc_filter(&relay->firewall, relay->spec, pdu, filtered);
    if (filtered->reason)
        return because(relay, filtered->reason, "%s", filtered->why);
    if (relay->spec->role == RPC_INBOUND)
        relay_opened(relay);
    return RPC_REASON_NONE;
}

static rpc_reason_t put(rpc_stream_t *to, const uint8_t *data, size_t len)
{
    return rpc_stream_put(to, data, len) == APR_SUCCESS ? RPC_REASON_NONE : RPC_REASON_NO_MEMORY;
}

static rpc_reason_t pdu_from_client(rpc_relay_t *relay, const uint8_t *pdu,
                                    const dcerpc_header_t *header)
{
    rpc_filtered_t filtered = { .reason = RPC_REASON_NONE };
    rpc_reason_t reason = header->ptype == DCERPC_RTS
        ? rts_from_client(relay, pdu, header->frag_length)
        : rpc_from_client(relay, pdu, &filtered);

    if (!reason)
        reason = put(relay->pipe.server, filtered.instead ? filtered.instead : pdu,
                     header->frag_length);
    free(filtered.instead);
    return reason;
}

static rpc_reason_t pdu_from_upstream(rpc_relay_t *relay, const uint8_t *data,
                                      const dcerpc_header_t *header)
{
    rts_pdu_id_t id = RTS_UNKNOWN;
    rts_pdu_t pdu;
    const char *wrong = header->ptype == DCERPC_RTS
        ? read_rts(relay, data, header->frag_length, RTS_HOP_OP_C, &pdu, &id) : NULL;

    if (wrong)
        return because(relay, RPC_REASON_BAD_PDU, "RTS PDU from the upstream: %s", wrong);
    if (relay->state == RELAY_OPEN_START)   /* which would open what nobody has claimed */
        return because(relay, RPC_REASON_PROTOCOL, "a PDU from the upstream before the first one");
    if (id != RTS_CONN_A3 && id != RTS_PING)
        relay_opened(relay);
    if (id == RTS_OUT_R1_A10 || id == RTS_OUT_R2_B3)
        relay->state = RELAY_FINISHED;
    return put(relay->pipe.client, data, header->frag_length);
}

static rpc_reason_t take_pdus(rpc_relay_t *relay, dcerpc_framer_t *framer, const uint8_t *data,
                              size_t len)
{
    int from_client = framer == &relay->from_client;
    rpc_reason_t reason = RPC_REASON_NONE;
    dcerpc_header_t header;
    const uint8_t *pdu;

    while (!reason) {
        switch (dcerpc_framer_next(framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            return RPC_REASON_NONE;
        case DCERPC_FRAME_ERROR:
            return because(relay, RPC_REASON_BAD_PDU, "from the %s: %s",
                           from_client ? "client" : "upstream", framer->error);
        case DCERPC_FRAME_PDU:
            reason = from_client ? pdu_from_client(relay, pdu, &header)
                                 : pdu_from_upstream(relay, pdu, &header);
        }
    }
    return reason;
}

/* ---- the request ---- */

static int has_asked(const rpc_relay_t *relay)
{
    return relay->asked.done
           || (int64_t)relay->pipe.client->received >= relay->spec->content_length;
}

/* Both are over: the request, and its answer. */
static rpc_reason_t answered(rpc_relay_t *relay)
{
    int used_up = relay->spec->role == RPC_INBOUND && has_asked(relay)
                  && relay->spec->upstream.carry == RPC_CARRY_RPC;

    if (relay->answer.status == 401)
        return RPC_REASON_UPSTREAM_CHALLENGE;
    if (relay->answer.status && !is_success(relay))
        return RPC_REASON_UPSTREAM_REFUSED;
    if (has_pdus(relay) && relay->state < RELAY_OPENED)
        return because(relay, RPC_REASON_SERVER_REFUSED, "the upstream closed before CONN/C2");
    return good_end(relay, used_up ? RPC_REASON_CONTENT_USED_UP : RPC_REASON_SERVER_CLOSED);
}

/* The request is complete. The answer to IN comes at its end. */
static rpc_reason_t request_over(rpc_relay_t *relay)
{
    relay->pipe.deaf = 1;
    rpc_timer_cancel(loop_of(relay), &relay->client_due);
    if (rpc_http_answer_is_complete(&relay->answer))
        return answered(relay);
    if (!relay->answer.status && relay->spec->role != RPC_OUTBOUND)
        await_upstream(relay, answer_late, patience(relay));
    return RPC_REASON_NONE;
}

/* What stands behind the last chunk would be another request, which nobody has allowed. */
static rpc_reason_t take_chunked(rpc_relay_t *relay, const uint8_t *data, size_t len)
{
    const uint8_t *at = data, *run;
    rpc_reason_t reason;

    while (rpc_chunks_next(&relay->asked, &at, &len, &run))
        ;
    if (relay->asked.error)
        return because(relay, RPC_REASON_PROTOCOL, "the request's body: %s", relay->asked.error);
    reason = put(relay->pipe.server, data, (size_t)(at - data));
    return reason || !relay->asked.done ? reason : request_over(relay);
}

static rpc_reason_t heard(rpc_pipe_t *pipe, const uint8_t *data, size_t len)
{
    rpc_relay_t *relay = relay_of(pipe);

    if (relay->spec->upstream.carry == RPC_CARRY_RPC)
        return take_pdus(relay, &relay->from_client, data, len);
    if (relay->spec->upstream.chunked)
        return take_chunked(relay, data, len);
    return put(pipe->server, data, len);
}

/* A client that has sent its whole request may have closed only its sending side, as HTTP allows.
 * On OUT the upstream sees the same end, and decides. */
static rpc_reason_t client_closed(rpc_relay_t *relay)
{
    if (!has_asked(relay))
        return good_end(relay, RPC_REASON_CLIENT_CLOSED);
    if (relay->spec->role == RPC_OUTBOUND)
        rpc_stream_shut(relay->pipe.server);
    return request_over(relay);
}

/* ---- the answer ---- */

static void refusal_late(rpc_timer_t *timer)
{
    rpc_relay_t *relay = RPC_OWNER_OF(timer, rpc_relay_t, upstream_due);

    relay_end(relay, answered(relay));
}

/* The body is an error's, and no more of the request is wanted. */
static void refused(rpc_relay_t *relay)
{
    because(relay, RPC_REASON_UPSTREAM_REFUSED, "the upstream answered %d %.200s",
            relay->answer.status, relay->answer.head.phrase);
    relay->pipe.deaf = 1;
    rpc_timer_cancel(loop_of(relay), &relay->client_due);
    await_upstream(relay, refusal_late, patience(relay));
}

static void accepted(rpc_relay_t *relay)
{
    const rpc_channel_spec_t *spec = relay->spec;

    relay->pipe.deaf &= spec->upstream.carry != RPC_CARRY_UPGRADE;
    if (spec->upstream.expects)
        await_first_pdu(relay);
    if (has_pdus(relay) && relay->state < RELAY_OPENED)
        await_upstream(relay, opening_late, spec->setup_timeout);
    else if (spec->upstream.carry != RPC_CARRY_RPC || spec->role == RPC_MIXED)
        relay_opened(relay);
}

static rpc_reason_t pass_head(rpc_relay_t *relay, rpc_pass_t how)
{
    return rpc_answer_pass(relay->pipe.client, &relay->answer.head, &relay->spec->upstream, how)
           == APR_SUCCESS ? RPC_REASON_NONE : RPC_REASON_NO_MEMORY;
}

/* A 100 is for a client that waits for it, and begins with its body then. */
static rpc_reason_t interim_head(rpc_relay_t *relay)
{
    if (!relay->spec->upstream.expects)
        return RPC_REASON_NONE;
    await_first_pdu(relay);
    if (relay->spec->role == RPC_INBOUND)
        rpc_timer_cancel(loop_of(relay), &relay->upstream_due);
    return pass_head(relay, RPC_PASS_INTERIM);
}

static rpc_reason_t final_head(rpc_relay_t *relay)
{
    const rpc_upstream_t *upstream = &relay->spec->upstream;
    rpc_http_answer_t *answer = &relay->answer;

    rpc_timer_cancel(loop_of(relay), &relay->upstream_due);
    if (relay->spec->answered)
        relay->spec->answered(relay->spec->ctx, answer->status);
    if (upstream->logs_on && answer->status == 401) {
        answer->status = 0;     /* the client has no answer yet */
        return because(relay, RPC_REASON_UPSTREAM_LOGON,
                       "the upstream has refused what RpcBackendAuth has sent: 401 %.200s",
                       answer->head.phrase);
    }
    if (!is_success(relay)) {
        refused(relay);
        return pass_head(relay, RPC_PASS_CLOSE);
    }
    accepted(relay);
    answer->keeps_chunks = upstream->carry == RPC_CARRY_BODY && !upstream->http10;
    return pass_head(relay, upstream->carry == RPC_CARRY_RPC ? RPC_PASS_CLOSE
                            : answer->chunked && answer->keeps_chunks ? RPC_PASS_CHUNKED
                                                                      : RPC_PASS_STAY);
}

/* A body that has an end ends the channel; but requests of other kinds may go on behind it. */
static int is_over(const rpc_relay_t *relay)
{
    return relay->spec->upstream.carry == RPC_CARRY_RPC || !is_success(relay) || has_asked(relay);
}

static rpc_reason_t said(rpc_pipe_t *pipe, const uint8_t *data, size_t len)
{
    rpc_relay_t *relay = relay_of(pipe);
    rpc_reason_t reason = RPC_REASON_NONE;
    const uint8_t *run;
    size_t n;

    while (!reason) {
        switch (rpc_http_answer_next(&relay->answer, &data, &len, &run, &n)) {
        case RPC_ANSWER_MORE:
            return RPC_REASON_NONE;
        case RPC_ANSWER_INTERIM:
            reason = interim_head(relay);
            break;
        case RPC_ANSWER_FINAL:
            reason = final_head(relay);
            break;
        case RPC_ANSWER_BODY:
            reason = has_pdus(relay) ? take_pdus(relay, &relay->from_upstream, run, n)
                                     : put(pipe->client, run, n);
            break;
        case RPC_ANSWER_END:
            return is_over(relay) ? answered(relay) : RPC_REASON_NONE;
        case RPC_ANSWER_ERROR:
            return because(relay, RPC_REASON_UPSTREAM_ANSWER, "its answer is none: %s",
                           relay->answer.error);
        }
    }
    return reason;
}

static rpc_reason_t upstream_closed(rpc_relay_t *relay)
{
    int in = relay->spec->role == RPC_INBOUND;

    if (dcerpc_framer_held(&relay->from_upstream))
        return because(relay, RPC_REASON_SERVER_ERROR, "the upstream closed within a PDU");
    if (relay->answer.status)
        return answered(relay);
    if (relay->answer.head.size)
        return because(relay, RPC_REASON_UPSTREAM_ANSWER,
                       "it closed its connection within the header of its answer");
    if (in && relay->state >= RELAY_OPENED)
        return answered(relay);
    return because(relay, RPC_REASON_UPSTREAM_ANSWER, "it closed its connection without an answer");
}

static rpc_reason_t closed(rpc_pipe_t *pipe, const rpc_stream_t *side)
{
    rpc_relay_t *relay = relay_of(pipe);

    return side == pipe->client ? client_closed(relay) : upstream_closed(relay);
}

/* ---- the beginning ---- */

static void relay_start(rpc_relay_t *relay)
{
    const rpc_channel_spec_t *spec = relay->spec;
    const rpc_upstream_t *upstream = &spec->upstream;
    int speaks_first = upstream->carry != RPC_CARRY_RPC || spec->role == RPC_MIXED;

    relay->pipe.heard = heard;
    relay->pipe.said = said;
    relay->pipe.closed = closed;
    relay->pipe.deaf = relay->answer.upgrades = upstream->carry == RPC_CARRY_UPGRADE;
    rpc_stream_notice_death(relay->pipe.server, 2 * spec->connection_timeout);
    rpc_pipe_start(&relay->pipe);
    if (speaks_first) {
        relay->state = RELAY_CONNECTING;
        begin_firewall(relay, 0);
        watch_client(relay);
    }
    else if (!upstream->expects)
        await_first_pdu(relay);
    if (spec->role != RPC_INBOUND || upstream->expects)
        await_upstream(relay, answer_late, patience(relay));
}

void rpc_relay_start(rpc_loop_t *loop, rpc_relay_t **list, rpc_stream_t *client,
                     const rpc_channel_spec_t *spec)
{
    const rpc_upstream_t *upstream = &spec->upstream;
    apr_status_t rv = rpc_secure_join(upstream->stream, loop);
    rpc_relay_t *relay = calloc(1, sizeof(*relay));

    if (!relay) {
        spec->ended(spec->ctx, &(rpc_end_t){ .reason = RPC_REASON_NO_MEMORY,
                                             .why = "no memory for a channel" });
        rpc_stream_close(upstream->stream, 1);
        rpc_stream_close(client, 1);
        return;
    }
    relay->spec = spec;
    relay->list = list;
    RPC_LIST_PUSH(*list, relay);
    relay->pipe.client = client;
    relay->pipe.metered = spec->metered;
    relay->pipe.server = upstream->stream;
    relay->pipe.ended = pipe_ended;
    if (spec->reached)
        spec->reached(spec->ctx, upstream->host, upstream->port);
    if (rv == APR_SUCCESS)
        relay_start(relay);
    else
        relay_end(relay, RPC_REASON_NO_MEMORY);
}

void rpc_relay_end(rpc_relay_t **list, rpc_reason_t reason)
{
    rpc_relay_t *relay = *list;

    if (!relay->reason)
        relay_end(relay, reason);
    relay_free(relay);
}

void rpc_relay_end_due(rpc_relay_t *list, apr_time_t now)
{
    rpc_relay_t *relay;

    for (relay = list; relay; relay = relay->next) {
        rpc_reason_t reason = rpc_meter_verdict(&relay->spec->metered, now);

        if (reason && !relay->reason)
            relay_end(relay, reason);
    }
}
