/* proxy/outbound.c: the outbound proxy, [MS-RPCH] 3.2.4 (fig. 28).
 *
 *   Connecting --CONN/A1: A2, 200, A3--> C1W --C1: C2--> Opened
 *   Connecting --OUT_R1/A3: A4--> A11W --A11: 200--> Opened --A9: rest, A10--> Finished
 *   Opened --OUT_R2/A3: A4--> B1OrC1W --C1--> B1W --B1: rest, B3, 200--> Opened
 *                                     --B1: rest, B3--> R2C1W --C1: 200--> Opened
 *
 * RPC PDUs go from the leg to the client. Hop 3 is the window that this proxy grants the server,
 * hop 4 the window that the client grants this proxy. PDUs before B1 or A9 belong to the old
 * channel, the rest to the new one.
 */
#include "proxy/virtual.h"

/* PingTrafficSentNotify is sent when pings have more bytes than this (doc/protocol.md,
 * "Lifetime"). */
#define PING_NOTIFY 1031
#define B3_SIZE 24

/* The time between a client's end of file and the ping that shows whether the client still exists.
 * It is longer before C2, because some clients take a ping for C2, and while a successor is
 * expected. */
#define CLOSED_LOOK apr_time_from_msec(250)
#define CLOSED_LOOK_LATE apr_time_from_sec(2)

/* ---- hop 3 and hop 4 ---- */

static void ack_server(rpc_virtual_t *v)
{
    rts_ack_t ack;
    rts_pdu_t pdu;

    rpc_flow_ack(&v->hop3, &ack.bytes_received, &ack.available_window);
    ack.cookie = v->current->cookie;
    rts_begin(&pdu, RTS_FLOW_CONTROL_ACK);
    rts_set_ack(&pdu, &ack);
    rpc_send_leg(v, &pdu);
}

static int client_takes(const rpc_virtual_t *v, uint32_t size)
{
    return rpc_flow_may_send(&v->current->hop4, size)
        && rpc_stream_pending(v->current->client) < RPC_STREAM_HIGH;
}

static void outbound_to_client(rpc_virtual_t *v, const uint8_t *pdu, uint32_t size)
{
    rpc_put_client(v, v->current, pdu, size);
    rpc_flow_sent(&v->current->hop4, size);
    if (rpc_flow_consumed(&v->hop3, size))
        ack_server(v);
}

/* FROM is NULL, or a successor whose held PDUs are replayed. */
static void out_relay(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size)
{
    if (v->last_words && v->successor)
        rpc_hold(v, &v->successor->held, pdu, size, 1);
    else if (!v->unplugged || v->waiting.first || !client_takes(v, size))
        rpc_hold(v, &v->waiting, pdu, size, 1);
    else
        outbound_to_client(v, pdu, size);
    if (v->unplugged && !rpc_flow_fits(&v->current->hop4, size))
        rpc_virtual_end(v, RPC_REASON_PDU_TOO_BIG, "a PDU of %u bytes, the client's window is %u",
                        size, (unsigned)v->current->hop4.window);
}

/* Returns 1 when the server has sent more than the window allows. */
static int server_sent(rpc_virtual_t *v, const uint8_t *pdu, uint32_t size)
{
    int overrun = rpc_flow_received(&v->hop3, size);

    rpc_flow_fragment(&v->hop3, dcerpc_max_xmit_frag(pdu, size));
    return overrun;
}

static void out_rpc_pdu(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size)
{
    if (from)
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "an RPC PDU from the client on the OUT channel");
    else if (v->state == RPC_C1W || v->state == RPC_FINISHED)
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "an RPC PDU from the server in %s",
                        rpc_state_name(v->state));
    else if (server_sent(v, pdu, size))
        rpc_virtual_end(v, RPC_REASON_WINDOW_OVERRUN,
                        "the server sent more than our window of %u",
                        (unsigned)v->hop3.window);
    else
        out_relay(v, from, pdu, size);
}

/* The body of the request is 76 or 120 bytes long; only its PDUs are interpreted. */
static size_t out_client_room(const rpc_virtual_t *v, const rpc_channel_t *from)
{
    return RPC_LOOP_SCRATCH;
}

/* B3 is the last PDU of the old channel and is written before the 200 of the successor (3.2.4.5.10;
 * figure 21 shows the opposite order). Returns 1 when it has been written. */
static int say_b3(rpc_virtual_t *v)
{
    rts_pdu_t b3;

    if (!v->said_last) {
        v->said_last = 1;
        rts_begin(&b3, RTS_OUT_R2_B3);
        rpc_send_client(v, v->current, &b3);
    }
    rpc_stream_flush(v->current->client);
    return rpc_stream_drained(v->current->client);
}

/* OUT_R2: the old channel has delivered everything that belonged to it. */
static void outbound_switch_channel(rpc_virtual_t *v)
{
    rpc_channel_t *old = v->current, *successor = v->successor;

    v->last_words = v->said_last = 0;
    v->ping_bytes = 0;      /* they were in the old response, which no longer matters */
    rpc_virtual_wait(v);
    v->old_cookie = old->cookie;
    v->current = successor;
    v->successor = NULL;
    rpc_virtual_release(v, old, RPC_REASON_RECYCLED);
    v->waiting = successor->held;
    successor->held = (rpc_pdus_t){ NULL, NULL, 0 };
    /* The server may have discarded an ack with the old cookie, so the new cookie acks anew. */
    ack_server(v);
    if (v->state == RPC_B1_OR_C1W) {
        rpc_virtual_state(v, RPC_R2C1W);
        return;
    }
    rpc_virtual_state(v, RPC_OPENED);
    rpc_answer_success(v, successor);
    rpc_virtual_unplug(v);
}

static void out_drain(rpc_virtual_t *v)
{
    rts_pdu_t a10;

    while (v->waiting.first && !v->reason) {
        rpc_queued_pdu_t first = rpc_pdus_peek(&v->waiting);

        if (!client_takes(v, first.size))
            break;
        outbound_to_client(v, first.data, first.size);
        rpc_pdus_drop(&v->waiting);
    }
    if (!v->last_words || v->waiting.first || v->reason)
        return;
    if (v->successor) {
        if (say_b3(v))
            outbound_switch_channel(v);
        return;
    }
    rts_begin(&a10, RTS_OUT_R1_A10);
    rpc_send_client(v, v->current, &a10);
    rpc_virtual_end(v, RPC_REASON_RECYCLED, "OUT_R1 is complete");
}

/* ---- RTS PDUs ---- */

/* While a successor waits for B1, the server has already sent OUT_Rx/A1 and can no longer choose R1
 * (3.2.4.5.5). PDUs after B1 are for the successor, which may have to be replaced soon, too. */
static int out_may_forward(const rpc_virtual_t *v, const rpc_channel_t *from, int destination,
                           rts_pdu_id_t id)
{
    int replacing = (v->state == RPC_B1_OR_C1W || v->state == RPC_B1W) && !v->last_words;

    return !from && destination == RTS_FD_CLIENT && v->state != RPC_C1W
        && v->state != RPC_FINISHED
        && !(replacing && (id == RTS_OUT_R1_A1 || id == RTS_OUT_R1_A5));
}

/* After B1 the client still reads the old channel until B3. Acknowledgements and IN_Rx/A4, which
 * the client needs to continue sending, must not wait until the old channel has delivered
 * everything: the client may lack the IN channel on which it sends its own acknowledgements. The
 * next OUT_Rx/A2 is for the successor. */
static int fits_old_channel(const rpc_virtual_t *v, const uint8_t *pdu, uint32_t size)
{
    return !v->said_last && !(pdu[16] & RTS_FLAG_RECYCLE_CHANNEL)
        && v->current->body_left >= (int64_t)(v->waiting.size + size) + B3_SIZE;
}

/* When the client is unplugged, an RTS PDU overtakes the RPC PDUs that wait for a window. */
static void out_forward(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size)
{
    if (v->last_words && v->successor && !fits_old_channel(v, pdu, size))
        rpc_hold(v, &v->successor->held, pdu, size, 0);
    else if (!v->unplugged)
        rpc_hold(v, &v->waiting, pdu, size, 0);
    else
        rpc_put_client(v, v->current, pdu, size);
}

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* CONN/C1 is answered by C2 with the values of C1 (3.2.4.5.4: doc/protocol.md, "Gaps"). Clients
 * refuse values outside the ranges of the commands. */
static void outbound_server_ready(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *c1)
{
    rts_pdu_t c2;

    rts_begin(&c2, RTS_CONN_C2);
    rts_set_u32(&c2, RTS_CMD_RECEIVE_WINDOW_SIZE,
                clamp(rts_u32(c1, RTS_CMD_RECEIVE_WINDOW_SIZE, 0),
                      RPC_FLOW_WINDOW_MIN, RPC_FLOW_WINDOW_MAX));
    rts_set_u32(&c2, RTS_CMD_CONNECTION_TIMEOUT,
                clamp(rts_u32(c1, RTS_CMD_CONNECTION_TIMEOUT, 0), RTS_TIMEOUT_MIN_SECONDS * 1000,
                      RTS_TIMEOUT_MAX_SECONDS * 1000));
    rpc_send_client(v, v->current, &c2);
    rpc_virtual_state(v, RPC_OPENED);
    rpc_virtual_unplug(v);
}

static void hop4_ack(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    const rts_ack_t *ack = rts_ack(pdu);

    if (!rts_cookie_equal(&ack->cookie, &v->current->cookie))
        return; /* 3.2.1.5.1.2: it names a channel that is gone */
    if (rpc_flow_acked(&v->current->hop4, ack->bytes_received, ack->available_window))
        rpc_log(rpc_virtual_log(v), RPC_LOG_DEBUG, 0,
                "impossible ack from the client clamped: %u received, %u available",
                ack->bytes_received, ack->available_window);
}

/* OUT_R1/A9: the server continues over another leg; the rest is delivered, then A10. */
static void outbound_move_away(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    rpc_virtual_state(v, RPC_FINISHED);
    v->last_words = 1;
}

/* OUT_R2/B1. */
static void last_for_old(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    if (v->last_words)
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "OUT_R2/B1 twice");
    v->last_words = 1;
}

/* OUT_R2/B2: the successor is not wanted (also before C1, 3.2.4.5.12: doc/protocol.md, "Gaps"). */
static void drop_successor(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    rpc_channel_t *successor = v->successor;

    if (v->last_words) {
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "OUT_R2/B2 after B1");
        return;
    }
    v->successor = NULL;
    rpc_virtual_state(v, RPC_OPENED);
    rpc_virtual_release(v, successor, RPC_REASON_UNKNOWN_COOKIE);
}

/* OUT_R1/A11: the old channel has finished, and this one may send. */
static void start_speaking(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    rpc_virtual_state(v, RPC_OPENED);
    rpc_answer_success(v, v->current);
    rpc_virtual_unplug(v);
}

/* OUT_R2/C1 before B1. */
static void client_first(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    if (from == v->successor)
        rpc_virtual_state(v, RPC_B1W);
    else
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "OUT_R2/C1 on the old channel");
}

static rpc_action_t *out_action(const rpc_virtual_t *v, const rpc_channel_t *from, rts_pdu_id_t id)
{
    static const struct {
        rts_pdu_id_t id;
        int from_client;
        rpc_action_t *in[RPC_STATE_COUNT];
    } table[] = {
        { RTS_CONN_C1, 0, { [RPC_C1W] = outbound_server_ready } },
        { RTS_OUT_R1_A9, 0,
          { [RPC_OPENED] = outbound_move_away, [RPC_B1_OR_C1W] = last_for_old,
            [RPC_B1W] = last_for_old } },
        { RTS_OUT_R2_B2, 0, { [RPC_B1_OR_C1W] = drop_successor, [RPC_B1W] = drop_successor } },
        { RTS_FLOW_CONTROL_ACK_WITH_DESTINATION, 0,
          { [RPC_A11W] = hop4_ack, [RPC_OPENED] = hop4_ack, [RPC_B1_OR_C1W] = hop4_ack,
            [RPC_B1W] = hop4_ack, [RPC_R2C1W] = hop4_ack, [RPC_FINISHED] = hop4_ack } },
        { RTS_OUT_R1_A11, 1, { [RPC_A11W] = start_speaking } },
        { RTS_OUT_R2_C1, 1, { [RPC_B1_OR_C1W] = client_first, [RPC_R2C1W] = start_speaking } },
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].id == id && table[i].from_client == (from != NULL))
            return table[i].in[v->state];
    }
    return NULL;
}

/* ---- opening and the rest ---- */

/* CONN/A2, then 200 and A3 at once (3.2.4.5.3); or OUT_R1/A4, the 200 only after A11
 * (3.2.4.5.6.2). */
static void out_connected(rpc_virtual_t *v, const rts_pdu_t *first)
{
    rpc_channel_t *ch = v->current;
    rts_pdu_t pdu;

    rpc_flow_receiver_start(&v->hop3, ch->spec->receive_window);
    rts_begin(&pdu, v->replacing ? RTS_OUT_R1_A4 : RTS_CONN_A2);
    rts_set_cookie(&pdu, 0, &v->cookie);
    rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, ch->spec->channel_lifetime);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, ch->spec->receive_window);
    if (v->replacing) {
        rts_set_cookie(&pdu, 1, &v->old_cookie);
        rts_set_cookie(&pdu, 2, &ch->cookie);
        rpc_announce_timeout(ch, &pdu);
        rpc_send_leg(v, &pdu);
        rpc_virtual_state(v, RPC_A11W);
        return;
    }
    rts_set_cookie(&pdu, 1, &ch->cookie);
    rpc_send_leg(v, &pdu);
    rpc_virtual_state(v, RPC_C1W);
    rpc_answer_success(v, ch);
    rts_begin(&pdu, RTS_CONN_A3);
    rpc_announce_timeout(ch, &pdu);
    rpc_send_client(v, ch, &pdu);
}

static void out_attached(rpc_virtual_t *v)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_OUT_R2_A4);
    rts_set_cookie(&pdu, 0, &v->successor->cookie);
    rpc_send_leg(v, &pdu);
    rpc_virtual_state(v, RPC_B1_OR_C1W);
}

/* What the server sent before it closed is still delivered, also beyond the client's window,
 * because no more acks can come. Hop 3 has bounded its size. */
static void out_leg_ended(rpc_virtual_t *v, rpc_reason_t reason, const char *why)
{
    for (; v->unplugged && v->waiting.first && !v->reason; rpc_pdus_drop(&v->waiting)) {
        rpc_queued_pdu_t first = rpc_pdus_peek(&v->waiting);

        rpc_put_client(v, v->current, first.data, first.size);
    }
    if (v->state != RPC_FINISHED)
        rpc_virtual_end(v, reason, "%s", why);
}

static int before_c2(const rpc_virtual_t *v)
{
    return v->state == RPC_CONNECTING || v->state == RPC_C1W;
}

static void ping(rpc_virtual_t *v)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_PING);
    rpc_send_client(v, v->current, &pdu);
    v->ping_bytes += RTS_HEADER_SIZE;
    if (v->ping_bytes > PING_NOTIFY && !before_c2(v)) {
        rts_begin(&pdu, RTS_PING_TRAFFIC_SENT_NOTIFY);
        rts_set_u32(&pdu, RTS_CMD_PING_TRAFFIC_SENT_NOTIFY, v->ping_bytes);
        rpc_send_leg(v, &pdu);
        v->ping_bytes = 0;
    }
}

static apr_interval_time_t time_to_look(const rpc_virtual_t *v, const rpc_channel_t *ch)
{
    return before_c2(v) || ch == v->successor ? CLOSED_LOOK_LATE : CLOSED_LOOK;
}

/* Before C2 nothing else is written, so the look is repeated. A balancer that has passed the end of
 * file on (HAProxy in mode tcp) accepts the first ping, learns by it that the client is gone, and
 * refuses the next. */
static void look_if_closed(rpc_timer_t *timer)
{
    rpc_channel_t *ch = RPC_OWNER_OF(timer, rpc_channel_t, timer);
    rpc_virtual_t *v = ch->virt;
    apr_time_t now = rpc_loop_now(v->proxy->loop);

    if (ch == v->successor) {
        rpc_virtual_end(v, RPC_REASON_CLIENT_CLOSED,
                        "the successor's client closed its connection");
        return;
    }
    if (ch != v->current || v->said_last || v->reason)
        return;
    if (ch->answered && ch->spoke + time_to_look(v, ch) <= now) {
        ping(v);
        rpc_loop_schedule(v->proxy->loop, &v->turn);
    }
    if (before_c2(v))
        rpc_timer_set(v->proxy->loop, timer, now + CLOSED_LOOK_LATE);
}

/* Has the client sent all that it must? Then it may have closed only its sending side, as HTTP
 * allows. A client that has closed both sides looks the same until it answers with a reset. */
static int out_client_ended(rpc_virtual_t *v, rpc_channel_t *from)
{
    int must_speak = from == v->successor ? v->state != RPC_B1W
                     : v->state == RPC_A11W || v->state == RPC_R2C1W
                       || (v->state == RPC_CONNECTING && v->replacing);

    if (must_speak)
        return 0;
    if (!from->ended) {
        from->ended = rpc_loop_now(v->proxy->loop);
        from->timer.fire = look_if_closed;
        rpc_timer_set(v->proxy->loop, &from->timer, from->ended + time_to_look(v, from));
    }
    return 1;
}

/* A ping when idle for half of the announced time-out (3.2.4.6, 3.2.1.2.1). */
static apr_time_t out_tick(rpc_virtual_t *v)
{
    rpc_channel_t *ch = v->current;
    apr_time_t half = ch->spec->connection_timeout / 2;

    if (ch->spoke + half <= rpc_loop_now(v->leg->loop)
        && (v->state == RPC_OPENED || v->state == RPC_B1_OR_C1W || v->state == RPC_B1W)
        && !v->said_last)
        ping(v);
    return rpc_loop_now(v->leg->loop) + half - (rpc_loop_now(v->leg->loop) - ch->spoke) % half;
}

const rpc_role_ops_t rpc_outbound_role = {
    .name = "outbound",
    .from_client = RTS_HOP_C_OP,
    .from_server = RTS_HOP_S_OP,
    .mine = RTS_FD_OUT_PROXY,
    .opener = RTS_CONN_A1,
    .replacer = RTS_OUT_R1_A3,
    .connected = out_connected,
    .attached = out_attached,
    .action = out_action,
    .rpc_pdu = out_rpc_pdu,
    .relay = out_relay,
    .may_forward = out_may_forward,
    .forward = out_forward,
    .drain = out_drain,
    .client_room = out_client_room,
    .client_ended = out_client_ended,
    .leg_ended = out_leg_ended,
    .tick = out_tick,
};
