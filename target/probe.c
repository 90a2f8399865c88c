/* target/probe.c: a connect needs one leg, a handshake two. Each leg goes through
 *
 *   connecting -> asked (CONN/A2 or CONN/B2 is out; the banner may come first) -> answered
 *
 * and the probe is over when all are answered, one of them fails, or time is up.
 */
#include "target/probe.h"

#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "wire/dcerpc.h"
#include "io/stream.h"
#include "wire/rts.h"

/* The values that the probe announces as the two proxies; it never relays anything. */
#define WINDOW 65536
#define LIFETIME 0x40000000
#define CONNECTION_TIMEOUT (RTS_TIMEOUT_MIN_SECONDS * 1000)

typedef struct leg {
    rpc_probe_t *probe;
    rpc_connect_t *connecting;
    rpc_stream_t *stream;
    rpc_job_t turn;
    /* bytes of the banner that were skipped; RTS_BANNER_SIZE also when there is no banner */
    size_t banner;
    dcerpc_framer_t framer;
    int answered;
} leg_t;

typedef enum { LEG_OUT, LEG_IN, LEGS } leg_kind_t;

struct rpc_probe {
    rpc_loop_t *loop;
    rpc_probe_done_t *done;
    void *ctx;
    int handshake;
    rts_cookie_t vc, group, channels[LEGS];
    leg_t legs[LEGS];
    rpc_timer_t timer;
};

static void probe_free(rpc_probe_t *p)
{
    int i;

    for (i = 0; i < LEGS; i++) {
        leg_t *leg = &p->legs[i];

        if (leg->connecting)
            rpc_connect_cancel(leg->connecting);
        if (leg->stream)
            rpc_stream_close(leg->stream, 1);
        rpc_loop_unschedule(p->loop, &leg->turn);
        dcerpc_framer_reset(&leg->framer);
    }
    rpc_timer_cancel(p->loop, &p->timer);
    free(p);
}

static void probe_finish(rpc_probe_t *p, rpc_reason_t reason, const char *why)
{
    rpc_probe_done_t *done = p->done;
    void *ctx = p->ctx;

    probe_free(p);
    done(ctx, reason, why);
}

static void probe_timed_out(rpc_timer_t *timer)
{
    rpc_probe_t *p = RPC_OWNER_OF(timer, rpc_probe_t, timer);
    int connecting = p->legs[LEG_OUT].connecting || p->legs[LEG_IN].connecting;

    probe_finish(p, connecting ? RPC_REASON_CONNECT_TIMEOUT : RPC_REASON_SETUP_TIMEOUT,
                 connecting ? "the connection was not made in time"
                            : "the server did not answer the handshake in time");
}

/* ---- the handshake ---- */

static void probe_ask(leg_t *leg)
{
    rpc_probe_t *p = leg->probe;
    leg_kind_t kind = leg == &p->legs[LEG_OUT] ? LEG_OUT : LEG_IN;
    const rts_address_t nobody = { .ipv6 = 0 };
    uint8_t buf[RTS_MAX_SIZE];
    rts_pdu_t pdu;

    rts_begin(&pdu, kind == LEG_OUT ? RTS_CONN_A2 : RTS_CONN_B2);
    rts_set_cookie(&pdu, 0, &p->vc);
    rts_set_cookie(&pdu, 1, &p->channels[kind]);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, WINDOW);
    if (kind == LEG_OUT)
        rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, LIFETIME);
    else {
        rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, CONNECTION_TIMEOUT);
        rts_set_group(&pdu, &p->group);
        rts_set_address(&pdu, &nobody);
    }
    if (rpc_stream_put(leg->stream, buf, rts_write(&pdu, buf, sizeof(buf))) == APR_SUCCESS)
        rpc_loop_schedule(p->loop, &leg->turn);
    else
        probe_finish(p, RPC_REASON_NO_MEMORY, "out of memory");
}

static int is_answer(const leg_t *leg, const uint8_t *data, const dcerpc_header_t *header)
{
    int out = leg == &leg->probe->legs[LEG_OUT];
    rts_pdu_t pdu;

    return header->ptype == DCERPC_RTS && !rts_parse(data, header->frag_length, &pdu)
        && rts_identify(&pdu, out ? RTS_HOP_S_OP : RTS_HOP_S_IP)
               == (out ? RTS_CONN_C1 : RTS_CONN_B3);
}

/* Skips the legacy banner (2.1.2.2.1), which may come in pieces or not at all. */
static void probe_skip_banner(leg_t *leg, const uint8_t **data, size_t *len)
{
    while (*len && leg->banner < RTS_BANNER_SIZE && **data == (uint8_t)RTS_BANNER[leg->banner]) {
        leg->banner++;
        (*data)++;
        (*len)--;
    }
    if (*len)
        leg->banner = RTS_BANNER_SIZE;
}

/* Returns 0 when the probe is over. */
static int probe_take(leg_t *leg, const uint8_t *data, size_t len)
{
    dcerpc_header_t header;
    const uint8_t *pdu;

    probe_skip_banner(leg, &data, &len);
    switch (dcerpc_framer_next(&leg->framer, &data, &len, &pdu, &header)) {
    case DCERPC_FRAME_MORE:
        return 1;
    case DCERPC_FRAME_ERROR:
        probe_finish(leg->probe, RPC_REASON_BAD_PDU, "the peer does not speak RPC over HTTP");
        return 0;
    case DCERPC_FRAME_PDU:
        break;
    }
    if (!is_answer(leg, pdu, &header)) {
        probe_finish(leg->probe, RPC_REASON_PROTOCOL,
                     "the server sent a PDU that does not belong to the handshake");
        return 0;
    }
    leg->answered = 1;      /* later bytes are ignored */
    if (!leg->probe->legs[LEG_OUT].answered || !leg->probe->legs[LEG_IN].answered)
        return 1;
    probe_finish(leg->probe, RPC_REASON_NONE, "");
    return 0;
}

static void leg_turn(rpc_job_t *job)
{
    leg_t *leg = RPC_OWNER_OF(job, leg_t, turn);
    rpc_probe_t *p = leg->probe;
    apr_status_t rv = rpc_stream_flush(leg->stream);

    while (rv == APR_SUCCESS && !leg->answered) {
        uint8_t *buf = rpc_loop_scratch(p->loop);
        size_t len = RPC_LOOP_SCRATCH;

        rv = rpc_stream_read(leg->stream, buf, &len);
        if (rv == APR_SUCCESS && !probe_take(leg, buf, len))
            return;
    }
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv))
        probe_finish(p, RPC_REASON_SERVER_REFUSED, "the connection was closed without an answer");
}

/* ---- connecting ---- */

static void probe_connected(void *ctx, const rpc_connect_result_t *result)
{
    leg_t *leg = ctx;
    rpc_probe_t *p = leg->probe;
    char text[120];

    leg->connecting = NULL;
    if (result->rule)
        apr_snprintf(text, sizeof(text), "%s is refused by RpcTargetNetworks", result->address);
    else
        apr_strerror(result->status, text, sizeof(text));
    if (result->reason) {
        probe_finish(p, result->reason, text);
        return;
    }
    leg->stream = rpc_stream_open(p->loop, result->fd, &leg->turn);
    if (!leg->stream)
        probe_finish(p, RPC_REASON_NO_MEMORY, "out of memory");
    else if (p->handshake)
        probe_ask(leg);
    else
        probe_finish(p, RPC_REASON_NONE, "");
}

static int start_leg(rpc_probe_t *p, leg_kind_t kind, const rpc_connect_params_t *params)
{
    leg_t *leg = &p->legs[kind];

    leg->connecting = rpc_connect_start(p->loop, params, probe_connected, leg);
    return leg->connecting != NULL;
}

rpc_probe_t *rpc_probe_start(rpc_loop_t *loop, const rpc_connect_params_t *params, int handshake,
                             rpc_probe_done_t *done, void *ctx)
{
    rpc_probe_t *p = calloc(1, sizeof(*p));
    int i;

    if (!p)
        return NULL;
    p->loop = loop;
    p->done = done;
    p->ctx = ctx;
    p->handshake = handshake;
    p->timer.fire = probe_timed_out;
    for (i = 0; i < LEGS; i++) {
        p->legs[i].probe = p;
        p->legs[i].turn.run = leg_turn;
    }
    /* A cookie has no format. It need not be random, but must differ from all others. */
    if (apr_generate_random_bytes(p->vc.b, sizeof(p->vc.b)) != APR_SUCCESS
        || apr_generate_random_bytes(p->group.b, sizeof(p->group.b)) != APR_SUCCESS
        || apr_generate_random_bytes((unsigned char *)p->channels, sizeof(p->channels))
               != APR_SUCCESS
        || !start_leg(p, LEG_OUT, params) || (handshake && !start_leg(p, LEG_IN, params))) {
        probe_free(p);
        return NULL;
    }
    rpc_timer_set(loop, &p->timer, rpc_loop_now(loop) + params->timeout);
    return p;
}

void rpc_probe_cancel(rpc_probe_t *probe)
{
    probe_free(probe);
}
