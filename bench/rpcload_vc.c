/* rpcload_vc.c: the virtual connections of rpcload: opening, RPC PDUs, windows.
 *
 *   vc_open -> two connections -> vc_speak (start_in, start_out) -> opened() -> received()
 *   for each RPC PDU; replacements in rpcload_recycle.c
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpcload_vc.h"

#define KEEPALIVE 300000
#define TIMEOUT 120000

/* ---- output ---- */

/* Sends what remains of predecessors; 0: something remains. */
static int flush_gone(vc_t *vc)
{
    conn_t *c;
    int done = 1;

    for (c = vc->gone; c; c = c->next) {
        conn_flush(c);
        if (bench_out_pending(&c->out))
            done = 0;
    }
    return done;
}

/* The successor of an IN channel is plugged until the last PDU of the old channel has been sent
 * (3.2.2.5.6). */
void vc_flush(vc_t *vc)
{
    if (flush_gone(vc) || vc->reorders)
        conn_flush(vc->in);
    conn_flush(vc->out);
    if (vc->in_next)
        conn_flush(vc->in_next);
    if (vc->out_next)
        conn_flush(vc->out_next);
}

void vc_put_in(vc_t *vc, const rts_pdu_t *pdu)
{
    conn_put_rts(vc->in, pdu);
    recycle_check_in(vc);
}

/* The FlowControlAck for data on OUT: the client sends it to the outbound proxy on IN, the outbound
 * proxy to the server. */
static void ack(vc_t *vc)
{
    int http = vc->proxy->speaks_http;
    rts_ack_t values;
    rts_pdu_t pdu;

    rpc_flow_ack(&vc->out->hop4, &values.bytes_received, &values.available_window);
    values.cookie = vc->out->cookie;
    rts_begin(&pdu, http ? RTS_FLOW_CONTROL_ACK_WITH_DESTINATION : RTS_FLOW_CONTROL_ACK);
    if (http)
        rts_set_u32(&pdu, RTS_CMD_DESTINATION, RTS_FD_OUT_PROXY);
    rts_set_ack(&pdu, &values);
    if (http)
        vc_put_in(vc, &pdu);
    else
        conn_put_rts(vc->out, &pdu);
}

/* CONN/B1 in an IN request; or CONN/B2. */
static void start_in(conn_t *c)
{
    int http = c->vc->proxy->speaks_http;
    rts_pdu_t pdu;

    rts_begin(&pdu, http ? RTS_CONN_B1 : RTS_CONN_B2);
    rts_set_cookie(&pdu, 0, &c->vc->cookie);
    rts_set_cookie(&pdu, 1, &c->cookie);
    rts_set_group(&pdu, &c->vc->cookie);
    if (http) {
        conn_put_request(c, "RPC_IN_DATA", c->vc->load->lifetime);
        rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, c->vc->load->lifetime);
        rts_set_u32(&pdu, RTS_CMD_CLIENT_KEEPALIVE, KEEPALIVE);
    }
    else {
        rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, BENCH_WINDOW);
        rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, TIMEOUT);
    }
    conn_put_rts(c, &pdu);
}

/* CONN/A1 in an OUT request; or CONN/A2. */
static void start_out(conn_t *c)
{
    int http = c->vc->proxy->speaks_http;
    rts_pdu_t pdu;

    rts_begin(&pdu, http ? RTS_CONN_A1 : RTS_CONN_A2);
    rts_set_cookie(&pdu, 0, &c->vc->cookie);
    rts_set_cookie(&pdu, 1, &c->cookie);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, c->vc->load->window);
    if (http)
        conn_put_request(c, "RPC_OUT_DATA", 76);
    else
        rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, LOAD_LIFETIME);
    conn_put_rts(c, &pdu);
}

void vc_speak(conn_t *c)
{
    if (c->is_successor)
        recycle_speak(c);
    else
        (c->is_out ? start_out : start_in)(c);
}

void vc_answered(conn_t *c)
{
    if (c->is_successor)
        recycle_answered(c);
}

/* ---- input ---- */

static void check_open(vc_t *vc)
{
    if (vc->is_open || !vc->c_seen || (!vc->proxy->speaks_http && !vc->b_seen))
        return;
    vc->is_open = 1;
    vc->events->opened(vc);
}

/* An ack of hop 1. An ack for a channel that is no longer the default one is ignored. */
static void take_ack(conn_t *c, const rts_ack_t *values)
{
    vc_t *vc = c->vc;

    if (!rts_cookie_equal(&values->cookie, &vc->in->cookie))
        return;
    if (rpc_flow_acked(&vc->hop1, values->bytes_received, values->available_window))
        vc_fail(c, "acknowledgement", "an impossible one");
}

static void out_rts(conn_t *c, const rts_pdu_t *pdu)
{
    vc_t *vc = c->vc;
    rts_pdu_id_t id = rts_identify(pdu, vc->proxy->speaks_http ? RTS_HOP_OP_C : RTS_HOP_S_OP);
    const rts_ack_t *values = rts_ack(pdu);

    if (id == RTS_CONN_C1 || id == RTS_CONN_C2) {
        vc->c_seen = 1;
        if (vc->proxy->speaks_http)
            rpc_flow_sender_start(&vc->hop1, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
        check_open(vc);
    }
    else if (values)
        take_ack(c, values);
    else if (id != RTS_CONN_A3 && id != RTS_PING && !recycle_rts(c, pdu, id))
        vc_fail(c, "unexpected", rts_info(id)->name);
}

/* Only a server behind a plain TCP proxy sends these. */
static void in_rts(conn_t *c, const rts_pdu_t *pdu)
{
    vc_t *vc = c->vc;
    rts_pdu_id_t id = rts_identify(pdu, RTS_HOP_S_IP);
    const rts_ack_t *values = rts_ack(pdu);

    if (id == RTS_CONN_B3) {
        vc->b_seen = 1;
        rpc_flow_sender_start(&vc->hop1, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
        check_open(vc);
    }
    else if (id == RTS_FLOW_CONTROL_ACK)
        take_ack(c, values);
    else
        vc_fail(c, "unexpected", rts_info(id)->name);
}

static void consumed(vc_t *vc, uint32_t size)
{
    if (rpc_flow_consumed(&vc->out->hop4, size))
        ack(vc);
}

static void take_rpc(conn_t *c, const uint8_t *data, uint32_t size)
{
    vc_t *vc = c->vc;

    if (c != vc->out || !vc->is_open)
        vc_fail(c, "RPC PDU", "too early, or on a channel for others");
    if (rpc_flow_received(&c->hop4, size))
        vc_fail(c, "RPC PDU", "more than our window");
    if (vc->holds)
        c->held += size;
    else
        consumed(vc, size);
    vc->events->received(vc, data, size);
}

void vc_take_pdu(conn_t *c, const uint8_t *data, const dcerpc_header_t *header)
{
    uint32_t size = header->frag_length;
    const char *wrong;
    rts_pdu_t pdu;

    if (c->is_out) {
        c->used += size;
        if (c->used > c->lifetime)
            vc_fail(c, "answer", "more than its Content-Length");
    }
    if (header->ptype != DCERPC_RTS) {
        take_rpc(c, data, size);
        return;
    }
    wrong = rts_parse(data, size, &pdu);
    if (wrong)
        vc_fail(c, "RTS PDU", wrong);
    (c->is_out ? out_rts : in_rts)(c, &pdu);
}

void vc_closed(conn_t *c)
{
    vc_t *vc = c->vc;
    conn_t **place = &vc->gone;

    if (!c->is_gone && vc->events->closed) {
        vc_end(vc);
        vc->events->closed(vc);
        return;
    }
    if (!c->is_gone || bench_out_pending(&c->out))
        vc_fail(c, "reading", "closed");
    while (*place != c)
        place = &(*place)->next;
    *place = c->next;
    conn_close(c);
}

void vc_kick(vc_t *vc)
{
    int more;

    do {
        const conn_t *in;

        if (vc->is_open && vc->events->room)
            vc->events->room(vc);
        in = vc->in;
        more = bench_out_pending(&in->out) > 0;
        vc_flush(vc);
        more = more && in == vc->in && !bench_out_pending(&in->out);
    } while (more && vc->events->room);
}

/* ---- for the measurements ---- */

vc_t *vc_open(load_t *load, const proxy_t *proxy, const vc_events_t *events, void *ctx)
{
    vc_t *vc = calloc(1, sizeof(*vc));

    if (!vc)
        bench_die("out of memory");
    vc->load = load;
    vc->proxy = proxy;
    vc->events = events;
    vc->ctx = ctx;
    vc->near_end = VC_NEAR_END;
    RAND_bytes(vc->cookie.b, sizeof(vc->cookie.b));
    vc->in = conn_open(vc, 0, 0);
    vc->out = conn_open(vc, 1, 0);
    return vc;
}

void *vc_ctx(const vc_t *vc)
{
    return vc->ctx;
}

int vc_may_send(vc_t *vc, uint32_t size)
{
    return rpc_flow_may_send(&vc->hop1, size) && bench_out_pending(&vc->in->out) < BENCH_HIGH
           && recycle_in_room(vc, size);
}

void vc_send(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    bench_out_put(&vc->in->out, pdu, size);
    vc->in->used += size;
    rpc_flow_sent(&vc->hop1, size);
    recycle_check_in(vc);
}

void vc_close(vc_t *vc)
{
    conn_t *c;

    while ((c = vc->gone) != NULL) {
        vc->gone = c->next;
        conn_close(c);
    }
    conn_close(vc->in);
    conn_close(vc->out);
    conn_close(vc->in_next);
    conn_close(vc->out_next);
    free(vc);
}

void vc_end(vc_t *vc)
{
    if (vc->ends)
        return;
    vc->ends = 1;
    vc->next_ended = vc->load->ended;
    vc->load->ended = vc;
}

void vc_near_end(vc_t *vc, uint32_t left)
{
    vc->near_end = left;
}

void vc_reorder(vc_t *vc)
{
    vc->reorders = 1;
}

void vc_hold(vc_t *vc)
{
    vc->holds = 1;
}

/* Bytes from predecessors need no acknowledgement, but come first. */
uint64_t vc_consume(vc_t *vc, uint64_t size)
{
    conn_t *out = vc->out;
    uint64_t first = size < vc->held_before ? size : vc->held_before;

    vc->held_before -= first;
    size -= first;
    if (size > out->held)
        size = out->held;
    out->held -= size;
    if (size)
        consumed(vc, (uint32_t)size);
    return first + size;
}

int vc_settled(const vc_t *vc)
{
    return vc->in_state == IN_OPENED && vc->out_state == OUT_OPENED && !vc->gone;
}

const vc_counts_t *vc_counts(const vc_t *vc)
{
    return &vc->counts;
}

void vc_describe(const vc_t *vc, char *text, size_t size)
{
    static const char *const in[] = { "Opened", "A4W" };
    static const char *const out[] = { "Opened", "A6W", "A10W", "B3W", "200W" };
    const conn_t *c;
    int gone = 0;

    for (c = vc->gone; c; c = c->next)
        gone++;
    snprintf(text, size, "%s, IN %s, %lu used, hop 1 %ld of %lu free; OUT %s, %lu used, %lu held; "
             "%u and %u replaced, %d not closed",
             vc->is_open ? "open" : "not open", in[vc->in_state],
             vc->in ? (unsigned long)vc->in->used : 0,
             (long)vc->hop1.available, (unsigned long)vc->hop1.window, out[vc->out_state],
             vc->out ? (unsigned long)vc->out->used : 0, vc->out ? (unsigned long)vc->out->held : 0,
             vc->counts.in_r1 + vc->counts.in_r2, vc->counts.out_r1 + vc->counts.out_r2, gone);
}
