/* rpcserver_vc.c: the native server's part of the protocol: opening (3.2.5.5.3, 3.2.5.5.4),
 * IN replacement (3.2.5.5.5 to 3.2.5.5.8), OUT replacement (3.2.5.5.9 to 3.2.5.5.12),
 * forwarding (3.2.1.5.2), windows of hop 2 and hop 3, the lifetime of OUT channels.
 *
 * leg_rts -> first_pdu (a leg without a virtual connection) -> first_conn, in_r1_a2, out_r1_a4
 *         -> forward (a Destination that is not ours)
 *         -> in_pdu, out_pdu
 */
#include "rpcserver.h"

#include <stdio.h>

/* Left free of an OUT channel's lifetime: for the RTS PDUs until its successor is there. */
#define RESERVE 2048
/* Left free by those that are not of its own replacement: A1, A5 and A9 or B1. */
#define LAST_WORDS 128
/* Windows asks for a successor when this is left (doc/protocol.md, "Windows values"). */
#define NEAR_END 8192

/* ---- output ---- */

static void recycle_out(vc_t *vc);

static void use(vc_t *vc, leg_t *leg, uint32_t size)
{
    leg->used += size;
    if (leg->used > leg->lifetime)
        bench_die("rpcserver: more on an OUT channel than its lifetime");
    if (leg == vc->out && leg->used + NEAR_END >= leg->lifetime)
        recycle_out(vc);
}

static void send_rts(vc_t *vc, leg_t *leg, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];
    size_t size = rts_write(pdu, buf, sizeof(buf));

    bench_out_put(&leg->out, buf, size);
    if (leg == vc->out || leg == vc->out_old)
        use(vc, leg, (uint32_t)size);
}

/* To the client. What an OUT channel has not enough room for, beside the RTS PDUs of its own
 * replacement, goes over its successor. */
static void put_client(vc_t *vc, const uint8_t *data, uint32_t size)
{
    leg_t *leg = vc->out;

    if (bench_out_pending(&vc->for_successor) || leg->used + size + LAST_WORDS > leg->lifetime) {
        bench_out_put(&vc->for_successor, data, size);
        recycle_out(vc);
        return;
    }
    bench_out_put(&leg->out, data, size);
    use(vc, leg, size);
}

static void send_client(vc_t *vc, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    put_client(vc, buf, (uint32_t)rts_write(pdu, buf, sizeof(buf)));
}

static void put_held(vc_t *vc)
{
    bench_out_t *held = &vc->for_successor;
    uint32_t size = (uint32_t)bench_out_pending(held);

    if (!size)
        return;
    bench_out_put(&vc->out->out, held->data + held->off, size);
    bench_out_drop(held, size);
    use(vc, vc->out, size);
}

static void recycle_out(vc_t *vc)
{
    rts_pdu_t a1;

    if (vc->out_state != OUT_OPENED)
        return;
    vc->out_state = OUT_A4W;
    rts_begin(&a1, RTS_OUT_R1_A1);
    send_rts(vc, vc->out, &a1);
}

int vc_may_respond(vc_t *vc, uint32_t size)
{
    leg_t *leg = vc->out;

    if (bench_out_pending(&leg->out) >= BENCH_HIGH)
        return 0;
    if (vc->plain)
        return 1;
    if (leg->used + size + NEAR_END > leg->lifetime)
        recycle_out(vc);
    if (leg->used + size + RESERVE > leg->lifetime)
        return 0;
    return rpc_flow_may_send(&leg->hop3, size);
}

uint8_t *vc_respond(vc_t *vc, uint32_t size)
{
    leg_t *leg = vc->out;
    uint8_t *room = bench_out_room(&leg->out, size);

    if (vc->plain)
        return room;
    rpc_flow_sent(&leg->hop3, size);
    leg->used += size;
    return room;
}

void vc_consumed(vc_t *vc, uint32_t size)
{
    leg_t *leg = vc->in;
    rts_ack_t ack;
    rts_pdu_t pdu;

    if (vc->plain)
        return;
    if (rpc_flow_received(&leg->hop2, size)) {
        leg_error(leg, "more than our window of hop 2");
        return;
    }
    if (!rpc_flow_consumed(&leg->hop2, size))
        return;
    rpc_flow_ack(&leg->hop2, &ack.bytes_received, &ack.available_window);
    ack.cookie = leg->cookie;
    rts_begin(&pdu, RTS_FLOW_CONTROL_ACK);
    rts_set_ack(&pdu, &ack);
    send_rts(vc, leg, &pdu);
}

/* ---- first PDUs ---- */

static void in_leg(leg_t *leg, const rts_cookie_t *cookie, const rts_pdu_t *pdu)
{
    leg->cookie = *cookie;
    leg->ip_window = rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0);
    leg->ip_timeout = rts_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 0);
    rpc_flow_receiver_start(&leg->hop2, leg->server->window);
}

static void out_leg(leg_t *leg, const rts_cookie_t *cookie, const rts_pdu_t *pdu, uint64_t used)
{
    leg->cookie = leg->former = *cookie;
    leg->lifetime = rts_u32(pdu, RTS_CMD_CHANNEL_LIFETIME, 0);
    leg->used = used;
    rpc_flow_sender_start(&leg->hop3, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
}

static void both_are_here(vc_t *vc)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_CONN_C1);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, vc->in->ip_window);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, vc->in->ip_timeout);
    send_rts(vc, vc->out, &pdu);
    rts_begin(&pdu, RTS_CONN_B3);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, vc->in->server->window);
    send_rts(vc, vc->in, &pdu);
}

/* CONN/A2 and CONN/B2. The response holds CONN/A3, of 28 bytes, already
 * (doc/protocol.md, "Lifetime"). */
static void first_conn(leg_t *leg, const rts_pdu_t *pdu, int is_out)
{
    vc_t *vc = server_vc(leg->server, rts_cookie(pdu, 0), 1);

    if (is_out ? vc->out != NULL : vc->in != NULL) {
        leg_error(leg, "a second leg with one cookie");
        return;
    }
    leg->vc = vc;
    if (is_out) {
        vc->out = leg;
        out_leg(leg, rts_cookie(pdu, 1), pdu, 28);
    }
    else {
        vc->in = leg;
        in_leg(leg, rts_cookie(pdu, 1), pdu);
    }
    if (vc->in && vc->out)
        both_are_here(vc);
}

static void in_r1_a2(vc_t *vc, leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t a3;

    if (vc->in_state != IN_OPENED || !rts_cookie_equal(rts_cookie(pdu, 1), &vc->in->cookie)) {
        leg_error(leg, "IN_R1/A2 out of place");
        return;
    }
    leg->vc = vc;
    vc->in_next = leg;
    vc->in_state = IN_A6W;
    in_leg(leg, rts_cookie(pdu, 2), pdu);
    rts_begin(&a3, RTS_IN_R1_A3);
    rts_set_u32(&a3, RTS_CMD_RECEIVE_WINDOW_SIZE, leg->ip_window);
    rts_set_u32(&a3, RTS_CMD_CONNECTION_TIMEOUT, leg->ip_timeout);
    send_client(vc, &a3);
}

static void out_r1_a4(vc_t *vc, leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t a5;

    if (vc->out_state != OUT_A4W || !rts_cookie_equal(rts_cookie(pdu, 1), &vc->out->cookie)) {
        leg_error(leg, "OUT_R1/A4 out of place");
        return;
    }
    leg->vc = vc;
    vc->out_next = leg;
    vc->out_state = OUT_A8W;
    out_leg(leg, rts_cookie(pdu, 2), pdu, 0);
    rts_begin(&a5, RTS_OUT_R1_A5);
    rts_set_u32(&a5, RTS_CMD_CONNECTION_TIMEOUT, rts_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 0));
    send_rts(vc, vc->out, &a5);
}

static void first_pdu(leg_t *leg, const rts_pdu_t *pdu)
{
    int is_out = (pdu->flags & RTS_FLAG_OUT_CHANNEL) != 0;
    rts_pdu_id_t id = rts_identify(pdu, is_out ? RTS_HOP_OP_S : RTS_HOP_IP_S);
    vc_t *vc;

    if (id == RTS_CONN_A2 || id == RTS_CONN_B2) {
        first_conn(leg, pdu, is_out);
        return;
    }
    if (id != RTS_IN_R1_A2 && id != RTS_OUT_R1_A4) {
        leg_error(leg, "a leg begins with what is no first PDU");
        return;
    }
    vc = server_vc(leg->server, rts_cookie(pdu, 0), 0);
    if (!vc || !vc->in || !vc->out)
        leg_error(leg, "a replacement in an unknown virtual connection");
    else
        (is_out ? out_r1_a4 : in_r1_a2)(vc, leg, pdu);
}

/* ---- replacing ---- */

static void retire(leg_t *leg)
{
    leg->retired = 1;
    leg->vc = NULL;
}

static void in_r2_a2(vc_t *vc, const rts_pdu_t *pdu)
{
    rts_pdu_t a3;

    vc->in->cookie = *rts_cookie(pdu, 0);
    rts_begin(&a3, RTS_IN_R2_A3);
    send_client(vc, &a3);
}

static void in_r1_b1(vc_t *vc)
{
    leg_t *old = vc->in;
    rts_pdu_t b2;

    vc->in = vc->in_next;
    vc->in_next = NULL;
    vc->in_state = IN_OPENED;
    rts_begin(&b2, RTS_IN_R1_B2);
    rts_set_u32(&b2, RTS_CMD_RECEIVE_WINDOW_SIZE, old->server->window);
    send_rts(vc, vc->in, &b2);
    old->server->taken_over = vc->in;
    retire(old);
}

static void in_pdu(vc_t *vc, leg_t *leg, rts_pdu_id_t id, const rts_pdu_t *pdu)
{
    if (id == RTS_IN_R1_A6 && vc->in_state == IN_OPENED)
        in_r2_a2(vc, pdu);
    else if (id == RTS_IN_R1_A6 && vc->in_state == IN_A6W
             && rts_cookie_equal(rts_cookie(pdu, 0), &vc->in_next->cookie))
        vc->in_state = IN_B1W;
    else if (id == RTS_IN_R1_B1 && vc->in_state == IN_B1W)
        in_r1_b1(vc);
    else
        leg_error(leg, rts_info(id)->name);
}

static void out_r2_a4(vc_t *vc, const rts_pdu_t *pdu)
{
    rts_pdu_t a5;

    vc->out_cookie = *rts_cookie(pdu, 0);
    vc->out_state = OUT_R2A8W;
    rts_begin(&a5, RTS_OUT_R2_A5);
    send_rts(vc, vc->out, &a5);
}

/* A7, as A8: the client listens on the successor. */
static void switch_out(vc_t *vc, leg_t *leg, const rts_pdu_t *pdu)
{
    const rts_cookie_t *cookie = rts_cookie(pdu, 0);
    rts_pdu_t last;

    if (vc->out_state == OUT_A8W && rts_cookie_equal(cookie, &vc->out_next->cookie)) {
        rts_begin(&last, RTS_OUT_R1_A9);
        send_rts(vc, vc->out, &last);
        if (vc->out_old)
            retire(vc->out_old);
        vc->out_old = vc->out;
        vc->out = vc->out_next;
        vc->out_next = NULL;
    }
    else if (vc->out_state == OUT_R2A8W && rts_cookie_equal(cookie, &vc->out_cookie)) {
        rts_begin(&last, RTS_OUT_R2_B1);
        send_rts(vc, vc->out, &last);
        vc->out->former = vc->out->cookie;
        vc->out->cookie = vc->out_cookie;
        vc->out->used = 0;
        rpc_flow_sender_mark(&vc->out->hop3);
    }
    else {
        leg_error(leg, "OUT_Rx/A8 out of place");
        return;
    }
    vc->out_state = OUT_OPENED;
    put_held(vc);
}

static void out_ack(vc_t *vc, leg_t *leg, const rts_ack_t *ack)
{
    if (!rts_cookie_equal(&ack->cookie, &leg->cookie)
        && !rts_cookie_equal(&ack->cookie, &leg->former)
        && !(vc->out_state == OUT_R2A8W && rts_cookie_equal(&ack->cookie, &vc->out_cookie)))
        leg_error(leg, "an acknowledgement of an unknown channel");
    else if (rpc_flow_acked(&leg->hop3, ack->bytes_received, ack->available_window))
        leg_error(leg, "an impossible acknowledgement");
}

static void out_pdu(vc_t *vc, leg_t *leg, rts_pdu_id_t id, const rts_pdu_t *pdu)
{
    if (id == RTS_FLOW_CONTROL_ACK)
        out_ack(vc, leg, rts_ack(pdu));
    else if (id == RTS_PING_TRAFFIC_SENT_NOTIFY)
        use(vc, leg, rts_u32(pdu, RTS_CMD_PING_TRAFFIC_SENT_NOTIFY, 0));
    else if (id == RTS_OUT_R2_A4 && leg == vc->out && vc->out_state == OUT_A4W)
        out_r2_a4(vc, pdu);
    else
        leg_error(leg, rts_info(id)->name);
}

/* ---- dispatch ---- */

/* Acks of hop 4 go to the proxy of the channel they name (doc/protocol.md, "Forwarding"). */
static void forward(vc_t *vc, leg_t *leg, int destination, const rts_pdu_t *pdu,
                    const uint8_t *data, uint32_t size)
{
    const rts_ack_t *ack = destination == RTS_FD_OUT_PROXY ? rts_ack(pdu) : NULL;
    leg_t *to = vc->out;

    if (leg != vc->in || !to || destination == RTS_FD_IN_PROXY) {
        leg_error(leg, "a PDU for somebody it does not lead to");
        return;
    }
    if (destination == RTS_FD_CLIENT) {
        put_client(vc, data, size);
        return;
    }
    if (ack && vc->out_next && rts_cookie_equal(&ack->cookie, &vc->out_next->cookie))
        to = vc->out_next;
    else if (ack && vc->out_old && rts_cookie_equal(&ack->cookie, &vc->out_old->cookie))
        to = vc->out_old;
    bench_out_put(&to->out, data, size);
}

void leg_rts(leg_t *leg, const uint8_t *data, uint32_t size)
{
    rts_pdu_t pdu;
    const char *wrong = rts_parse(data, size, &pdu);
    vc_t *vc = leg->vc;
    int destination;
    rts_pdu_id_t id;

    if (wrong || leg->server->plain) {
        leg_error(leg, wrong ? wrong : "an RTS PDU over plain TCP");
        return;
    }
    if (!vc) {
        first_pdu(leg, &pdu);
        return;
    }
    destination = rts_destination(&pdu);
    id = rts_identify(&pdu, leg == vc->in ? RTS_HOP_IP_S : RTS_HOP_OP_S);
    if (destination == RTS_FD_SERVER && leg == vc->in)
        switch_out(vc, leg, &pdu);
    else if (destination >= 0)
        forward(vc, leg, destination, &pdu, data, size);
    else if (leg == vc->in)
        in_pdu(vc, leg, id, &pdu);
    else if (leg == vc->in_next)
        leg_error(leg, "a PDU before IN_R1/B2");
    else
        out_pdu(vc, leg, id, &pdu);
}
