/* endpoint/states.c: the server's state machines (3.2.5.5, figure 29).
 *
 * Three machines, each a table of actions by state and PDU; an empty place is a protocol
 * error. The opening machine pairs the halves. From Opened on the IN machine and the OUT
 * machine run independently, one for each kind of channel that may be replaced. First PDUs
 * of newcomers have tables of their own: their actions can refuse. A PDU that carries a
 * Destination other than the server is forwarded and touches no state (3.2.1.5.2).
 */
#include "endpoint/vc.h"

typedef rpc_reason_t join_t(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu);
typedef void action_t(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu);

static void protocol_error(rpc_vc_t *vc, const rpc_leg_t *leg, const char *what)
{
    char state[64];

    rpc_vc_end(vc, RPC_REASON_PROTOCOL, 0, "%s on the %s leg in %s", what,
               leg->is_out ? "OUT" : "IN", rpc_vc_state_text(vc, state));
}

static void vc_set_setup_timer(rpc_vc_t *vc)
{
    rpc_loop_t *loop = vc->ep->loop;

    rpc_timer_set(loop, &vc->setup, rpc_loop_now(loop) + vc->setup_timeout);
}

/* ---- opening ---- */

void rpc_vc_try_open(rpc_vc_t *vc)
{
    rts_pdu_t pdu;

    if (vc->state != RPC_VC_CONNECTING || !vc->target || vc->reason)
        return;
    vc->state = RPC_VC_OPENED;
    vc->in_state = RPC_IN_OPENED;
    vc->out_state = RPC_OUT_OPENED;

    rts_begin(&pdu, RTS_CONN_C1);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, vc->in->peer_window);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, vc->in->peer_timeout);
    rpc_leg_send(vc->out, &pdu);

    rts_begin(&pdu, RTS_CONN_B3);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, vc->receive_window);
    rpc_leg_send(vc->in, &pdu);
}

/* Either half: the first starts the timer, the second stops it (3.2.5.5.3, 3.2.5.5.4). */
static void half_came(rpc_vc_t *vc)
{
    if (vc->in && vc->out) {
        rpc_timer_cancel(vc->ep->loop, &vc->setup);
        vc->state = RPC_VC_CONNECTING;
        rpc_vc_try_open(vc);
        return;
    }
    vc->state = vc->in ? RPC_VC_A2W : RPC_VC_B2W;
    vc_set_setup_timer(vc);
}

static void in_leg_begin(rpc_vc_t *vc, rpc_leg_t *leg, const rts_cookie_t *cookie,
                         const rts_pdu_t *pdu)
{
    leg->cookie = *cookie;
    leg->peer_window = rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0);
    leg->peer_timeout = rts_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 0);
    rpc_flow_receiver_start(&leg->hop2, vc->receive_window);
}

/* The response contains CONN/A3, 28 bytes, before anything from the endpoint (doc/protocol.md,
 * "Lifetime"). The response of a successor is still empty. */
static void out_leg_begin(rpc_leg_t *leg, const rts_cookie_t *cookie, const rts_pdu_t *pdu,
                          unsigned already_used)
{
    leg->cookie = leg->former = *cookie;
    leg->lifetime = rts_u32(pdu, RTS_CMD_CHANNEL_LIFETIME, 0);
    leg->used = already_used;
    rpc_flow_sender_start(&leg->hop3, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
}

static rpc_reason_t conn_a2(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    out_leg_begin(leg, rts_cookie(pdu, 1), pdu, 28);
    vc->out = leg;
    leg->vc = vc;
    half_came(vc);
    return RPC_REASON_NONE;
}

static rpc_reason_t conn_b2(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    in_leg_begin(vc, leg, rts_cookie(pdu, 1), pdu);
    vc->in = leg;
    leg->vc = vc;
    half_came(vc);
    return RPC_REASON_NONE;
}

/* ---- IN channel: R1 and R2 ---- */

/* A replacement at another proxy: its leg waits until the old leg has sent its last PDU. */
static rpc_reason_t in_r1_a2(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t a3;

    if (!rts_cookie_equal(rts_cookie(pdu, 1), &vc->in->cookie))
        return RPC_REASON_UNKNOWN_COOKIE;
    in_leg_begin(vc, leg, rts_cookie(pdu, 2), pdu);
    leg->hop2.fragment = vc->in->hop2.fragment;
    vc->in_next = leg;
    leg->vc = vc;
    vc->in_state = RPC_IN_A6W;
    vc_set_setup_timer(vc);

    rts_begin(&a3, RTS_IN_R1_A3);
    rts_set_u32(&a3, RTS_CMD_RECEIVE_WINDOW_SIZE, leg->peer_window);
    rts_set_u32(&a3, RTS_CMD_CONNECTION_TIMEOUT, leg->peer_timeout);
    rpc_leg_send(vc->out, &a3);
    return RPC_REASON_NONE;
}

static void in_r1_a6(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    if (!rts_cookie_equal(rts_cookie(pdu, 0), &vc->in_next->cookie)) {
        protocol_error(vc, leg, "IN_R1/A6 with a foreign cookie");
        return;
    }
    rpc_timer_cancel(vc->ep->loop, &vc->setup);
    vc->in_state = RPC_IN_OPENED_B1W;
}

static void in_r1_b1(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t b2;

    rpc_leg_retire(leg);
    vc->in = vc->in_next;
    vc->in_next = NULL;
    vc->in_state = RPC_IN_OPENED;
    /* Bytes of the old leg that the target has not taken yet need no acknowledgement any more. */
    vc->credited = vc->target->sent + rpc_stream_pending(vc->target);

    rts_begin(&b2, RTS_IN_R1_B2);
    rts_set_u32(&b2, RTS_CMD_RECEIVE_WINDOW_SIZE, vc->receive_window);
    rpc_leg_send(vc->in, &b2);
    rpc_endpoint_wake(vc->ep, &vc->cookie);
}

/* A replacement at the same proxy: only the cookie of the channel changes; the counters of the leg
 * continue (doc/protocol.md, "Receive windows during recycling"). */
static void in_r2_a2(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t a3;

    leg->cookie = *rts_cookie(pdu, 0);
    rts_begin(&a3, RTS_IN_R2_A3);
    rpc_leg_send(vc->out, &a3);
}

/* ---- OUT channel: R1 and R2 ---- */

void rpc_vc_recycle_out(rpc_vc_t *vc)
{
    rts_pdu_t a1;

    if (vc->out_state != RPC_OUT_OPENED)
        return;
    vc->out_state = RPC_OUT_OPENED_A4W;
    rts_begin(&a1, RTS_OUT_R1_A1);
    rpc_leg_send(vc->out, &a1);
}

void rpc_vc_check_lifetime(rpc_vc_t *vc)
{
    const rpc_leg_t *leg = vc->out;
    uint64_t margin;

    if (vc->out_state != RPC_OUT_OPENED)
        return;
    margin = leg->lifetime / 16;
    if (margin < 8192)
        margin = 8192;          /* as Windows: doc/protocol.md, "Lifetime" */
    else if (margin > 256 * 1024)
        margin = 256 * 1024;    /* it should hold a window of data that is on its way */
    if (leg->used + margin >= leg->lifetime)
        rpc_vc_recycle_out(vc);
}

static void out_switched(rpc_vc_t *vc)
{
    vc->out_state = RPC_OUT_OPENED;
    for (; vc->late.first && !vc->reason; rpc_pdus_drop(&vc->late)) {
        rpc_queued_pdu_t first = rpc_pdus_peek(&vc->late);

        rpc_leg_put(vc->out, first.data, first.size, 1);
    }
    vc->starved = 0;
    if (!vc->target_ended)
        rpc_timer_cancel(vc->ep->loop, &vc->patience);
}

static rpc_reason_t out_r1_a4(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t a5;

    if (!rts_cookie_equal(rts_cookie(pdu, 1), &vc->out->cookie))
        return RPC_REASON_UNKNOWN_COOKIE;
    out_leg_begin(leg, rts_cookie(pdu, 2), pdu, 0);
    vc->out_next = leg;
    vc->out_cookie = leg->cookie;
    leg->vc = vc;
    vc->out_state = RPC_OUT_OPENED_A8W;

    rts_begin(&a5, RTS_OUT_R1_A5);
    rts_set_u32(&a5, RTS_CMD_CONNECTION_TIMEOUT, rts_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 0));
    rpc_leg_send(vc->out, &a5);
    return RPC_REASON_NONE;
}

/* The client is ready: from now on the new leg is used. The old leg sends its queue and closes,
 * which takes as long as the client needs to acknowledge it. Only one such leg is kept. */
static void out_r1_a8(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t a9;

    if (!rts_cookie_equal(rts_cookie(pdu, 0), &vc->out_cookie)) {
        protocol_error(vc, leg, "OUT_R1/A8 with a foreign cookie");
        return;
    }
    rts_begin(&a9, RTS_OUT_R1_A9);
    rpc_leg_send(vc->out, &a9);
    if (vc->out_old)
        rpc_leg_retire(vc->out_old);
    vc->out_old = vc->out;
    vc->out = vc->out_next;
    vc->out_next = NULL;
    out_switched(vc);
}

static void out_r2_a4(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    rts_pdu_t a5;

    vc->out_cookie = *rts_cookie(pdu, 0);
    vc->out_state = RPC_OUT_OPENED_R2A8W;
    rts_begin(&a5, RTS_OUT_R2_A5);
    rpc_leg_send(vc->out, &a5);
}

/* R2 has no new lifetime: the old value applies again, counted from zero. */
static void out_r2_a8(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    int ours = rts_cookie_equal(rts_cookie(pdu, 0), &vc->out_cookie);
    rts_pdu_t answer;

    rts_begin(&answer, ours ? RTS_OUT_R2_B1 : RTS_OUT_R2_B2);
    rpc_leg_send(vc->out, &answer);
    if (!ours) { /* B2 and a protocol error, as the text says (3.2.5.5.12) */
        protocol_error(vc, leg, "OUT_R2/A8 with a foreign cookie");
        return;
    }
    vc->out->former = vc->out->cookie;
    vc->out->cookie = vc->out_cookie;
    vc->out->used = 0;
    rpc_flow_sender_mark(&vc->out->hop3);
    out_switched(vc);
}

/* ---- in any state of the OUT machine ---- */

/* During R2 the proxy may name the old cookie or the new one. */
static int cookie_of_leg(const rpc_vc_t *vc, const rpc_leg_t *leg, const rts_cookie_t *cookie)
{
    return rts_cookie_equal(cookie, &leg->cookie) || rts_cookie_equal(cookie, &leg->former)
           || (vc->out_state == RPC_OUT_OPENED_R2A8W && leg == vc->out
               && rts_cookie_equal(cookie, &vc->out_cookie));
}

static void out_ack(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    const rts_ack_t *ack = rts_ack(pdu);

    if (!cookie_of_leg(vc, leg, &ack->cookie))
        return; /* discarded silently (3.2.1.5.1.2) */
    if (rpc_flow_acked(&leg->hop3, ack->bytes_received, ack->available_window))
        rpc_log(vc->ep->params.log, RPC_LOG_DEBUG, 0,
                "endpoint: impossible acknowledgement: received %u, available %u",
                ack->bytes_received, ack->available_window);
}

/* Pings that the proxy has sent: they count in the response, too (3.2.5.5.14). */
static void out_pings(rpc_vc_t *vc, rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    leg->used += rts_u32(pdu, RTS_CMD_PING_TRAFFIC_SENT_NOTIFY, 0);
}

/* ---- the tables ---- */

static join_t *const opening_table[RPC_VC_STATE_COUNT][RTS_PDU_COUNT] = {
    [RPC_VC_START] = { [RTS_CONN_A2] = conn_a2, [RTS_CONN_B2] = conn_b2 },
    [RPC_VC_A2W] = { [RTS_CONN_A2] = conn_a2 },
    [RPC_VC_B2W] = { [RTS_CONN_B2] = conn_b2 },
};

static join_t *const in_joins[RPC_IN_STATE_COUNT] = { [RPC_IN_OPENED] = in_r1_a2 };
static join_t *const out_joins[RPC_OUT_STATE_COUNT] = { [RPC_OUT_OPENED_A4W] = out_r1_a4 };

/* rts_identify() gives PDUs of the same form the name of the first of them: a single Cookie on an
 * IN leg is named IN_R1/A6, and is IN_R2/A2 in some states. */
static action_t *const in_table[RPC_IN_STATE_COUNT][RTS_PDU_COUNT] = {
    [RPC_IN_OPENED] = { [RTS_IN_R1_A6] = in_r2_a2 },
    [RPC_IN_A6W] = { [RTS_IN_R1_A6] = in_r1_a6 },
    [RPC_IN_OPENED_B1W] = { [RTS_IN_R1_B1] = in_r1_b1 },
};

/* A8 comes on the IN leg, with Destination FDServer; with Version it has R2's name. */
#define OUT_ALWAYS [RTS_FLOW_CONTROL_ACK] = out_ack, [RTS_PING_TRAFFIC_SENT_NOTIFY] = out_pings
static action_t *const out_table[RPC_OUT_STATE_COUNT][RTS_PDU_COUNT] = {
    [RPC_OUT_START] = { OUT_ALWAYS },
    [RPC_OUT_OPENED] = { OUT_ALWAYS },
    [RPC_OUT_OPENED_A4W] = { OUT_ALWAYS, [RTS_OUT_R2_A4] = out_r2_a4 },
    [RPC_OUT_OPENED_A8W] = { OUT_ALWAYS, [RTS_OUT_R1_A8] = out_r1_a8, [RTS_OUT_R2_A8] = out_r1_a8 },
    [RPC_OUT_OPENED_R2A8W] = { OUT_ALWAYS, [RTS_OUT_R1_A8] = out_r2_a8,
                               [RTS_OUT_R2_A8] = out_r2_a8 },
};
/* OUT legs before and after their time as the default. */
static action_t *const side_table[RTS_PDU_COUNT] = { OUT_ALWAYS };

rpc_reason_t rpc_vc_join(rpc_vc_t *vc, rpc_leg_t *leg, rts_pdu_id_t id, const rts_pdu_t *pdu)
{
    join_t *join;

    switch (id) {
    case RTS_IN_R1_A2:
        join = in_joins[vc->in_state];
        return join ? join(vc, leg, pdu) : RPC_REASON_PROTOCOL;
    case RTS_OUT_R1_A4:
        join = out_joins[vc->out_state];
        return join ? join(vc, leg, pdu) : RPC_REASON_PROTOCOL;
    default:
        join = opening_table[vc->state][id];
        return join ? join(vc, leg, pdu) : RPC_REASON_DUPLICATE_COOKIE;
    }
}

/* Only IN channels, because the endpoint asks for a successor of the OUT channel only when the one
 * before is in place. */
int rpc_vc_must_wait(const rpc_vc_t *vc, rts_pdu_id_t id, const rts_pdu_t *pdu)
{
    return id == RTS_IN_R1_A2 && vc->in_next && !vc->reason
           && rts_cookie_equal(rts_cookie(pdu, 1), &vc->in_next->cookie);
}

/* ---- dispatch ---- */

/* The machine that this PDU concerns, and its action in the present state. */
static action_t *find_action(const rpc_vc_t *vc, const rpc_leg_t *leg, rts_pdu_id_t id)
{
    if (leg == vc->in)
        return id == RTS_OUT_R1_A8 || id == RTS_OUT_R2_A8 ? out_table[vc->out_state][id]
                                                          : in_table[vc->in_state][id];
    if (leg == vc->out)
        return out_table[vc->out_state][id];
    if (leg == vc->out_next || leg == vc->out_old)
        return side_table[id];
    return NULL; /* an IN successor is plugged until IN_R1/B2 */
}

/* Acknowledgements of hop 4 go to the proxy of the channel that they name, other PDUs to the
 * default one (doc/protocol.md, "Forwarding"). */
static rpc_leg_t *out_leg_for(const rpc_vc_t *vc, int destination, const rts_pdu_t *pdu)
{
    const rts_ack_t *ack = destination == RTS_FD_OUT_PROXY ? rts_ack(pdu) : NULL;

    if (ack && vc->out_next && rts_cookie_equal(&ack->cookie, &vc->out_next->cookie))
        return vc->out_next;
    if (ack && vc->out_old && rts_cookie_equal(&ack->cookie, &vc->out_old->cookie))
        return vc->out_old;
    return vc->out;
}

/* Acknowledgements of hop 1 continue while the OUT channel is replaced. They must not use up the
 * bytes of its lifetime that the replacement needs. */
static void states_to_client(rpc_vc_t *vc, const uint8_t *data, uint32_t size)
{
    int fits = vc->out_state == RPC_OUT_OPENED
               || vc->out->used + size + RPC_LIFETIME_LAST <= vc->out->lifetime;

    if (fits && !vc->late.first)
        rpc_leg_put(vc->out, data, size, 1);
    else if (vc->late.size > RPC_LEG_MAX)
        rpc_vc_end(vc, RPC_REASON_BUFFER_FULL, 0, "no successor of the OUT channel came");
    else if (rpc_pdus_put(&vc->late, data, size, 0) != 0)
        rpc_vc_end(vc, RPC_REASON_NO_MEMORY, 0, "%s", "");
}

static void forward(rpc_vc_t *vc, rpc_leg_t *leg, int destination, const rts_pdu_t *pdu,
                    const uint8_t *data, uint32_t size)
{
    int from_in = leg == vc->in
                  && (destination == RTS_FD_CLIENT || destination == RTS_FD_OUT_PROXY);
    int from_out = (leg == vc->out || leg == vc->out_old) && destination == RTS_FD_IN_PROXY;

    if (vc->state != RPC_VC_OPENED || !(from_in || from_out))
        protocol_error(vc, leg, "a PDU for somebody it does not lead to");
    else if (from_in && destination == RTS_FD_CLIENT)
        states_to_client(vc, data, size);
    else if (from_in)
        rpc_leg_put(out_leg_for(vc, destination, pdu), data, size, 0);
    else
        rpc_leg_put(vc->in, data, size, 0);
}

void rpc_vc_rts(rpc_leg_t *leg, const uint8_t *data, uint32_t size)
{
    rpc_vc_t *vc = leg->vc;
    rts_pdu_t pdu;
    const char *error = rts_parse(data, size, &pdu);
    rts_pdu_id_t id;
    int destination;
    action_t *action;

    if (error) {
        rpc_vc_end(vc, RPC_REASON_BAD_PDU, 0, "RTS PDU on the %s leg: %s",
                   leg->is_out ? "OUT" : "IN", error);
        return;
    }
    id = rts_identify(&pdu, leg->is_out ? RTS_HOP_OP_S : RTS_HOP_IP_S);
    destination = rts_destination(&pdu);
    rpc_log(vc->ep->params.log, RPC_LOG_DEBUG, 0, "endpoint: %s leg: %s",
            leg->is_out ? "OUT" : "IN", rts_info(id)->name);
    if (destination >= 0 && destination != RTS_FD_SERVER) {
        forward(vc, leg, destination, &pdu, data, size);
        return;
    }
    action = find_action(vc, leg, id);
    if (action)
        action(vc, leg, &pdu);
    else
        protocol_error(vc, leg, rts_info(id)->name);
}
