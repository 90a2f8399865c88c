/* proxy/inbound.c: the inbound proxy, [MS-RPCH] 3.2.3 (fig. 27).
 *
 *   Connecting --CONN/B1: B2--> B3W --B3--> Opened --IN_R2/A1: A2--> Opened_A5W --A5--> Opened
 *   Connecting --IN_R1/A1: A2--> Wait_B2 --B2--> Opened --A5: A6, rest, B1--> Finished
 *   (A5 may come before B3 or B2, and then waits for it.)
 *
 * RPC PDUs go from the client to the leg. Hop 1 is the window that this proxy grants the client,
 * hop 2 the window that the server grants this proxy. Until B3 or B2 the leg is plugged, and
 * everything waits in order. A PDU passes the firewall once, in the order in which the server
 * receives it.
 */
#include "proxy/virtual.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/bind_filter.h"

/* ---- hop 1 and hop 2 ---- */

/* SIZE bytes have been passed on to the server, so the client may send as many more. The ack goes
 * through the server and the outbound proxy (doc/protocol.md, "Hops"). */
static void consumed(rpc_virtual_t *v, uint32_t size)
{
    rpc_channel_t *ch = v->current;
    rts_ack_t ack;
    rts_pdu_t pdu;

    if (v->predecessors >= size) {  /* it counted in the window of the predecessor, which is gone */
        v->predecessors -= size;
        return;
    }
    if (!rpc_flow_consumed(&ch->hop1, size))
        return;
    rpc_flow_ack(&ch->hop1, &ack.bytes_received, &ack.available_window);
    ack.cookie = ch->cookie;
    rts_begin(&pdu, RTS_FLOW_CONTROL_ACK_WITH_DESTINATION);
    rts_set_u32(&pdu, RTS_CMD_DESTINATION, RTS_FD_CLIENT);
    rts_set_ack(&pdu, &ack);
    rpc_send_leg(v, &pdu);
}

static int leg_takes(const rpc_virtual_t *v, uint32_t size)
{
    return rpc_flow_may_send(&v->hop2, size) && rpc_stream_pending(v->leg) < RPC_STREAM_HIGH;
}

static void to_leg(rpc_virtual_t *v, const uint8_t *pdu, uint32_t size)
{
    rpc_put_leg(v, pdu, size);
    rpc_flow_sent(&v->hop2, size);
    consumed(v, size);
}

/* Sends the next PDU now, or queues it behind those that wait for a window. */
static void send_or_hold(rpc_virtual_t *v, const uint8_t *pdu, uint32_t size)
{
    if (v->waiting.first || !leg_takes(v, size))
        rpc_hold(v, &v->waiting, pdu, size, 1);
    else
        to_leg(v, pdu, size);
}

static void filter(rpc_virtual_t *v, const uint8_t *pdu, uint32_t size)
{
    rpc_filtered_t filtered;

    rpc_filter(&v->firewall, v->current->spec, pdu, &filtered);
    if (filtered.reason)
        rpc_virtual_end(v, filtered.reason, "%s", filtered.why);
    else
        send_or_hold(v, filtered.instead ? filtered.instead : pdu, size);
    free(filtered.instead);
}

static void in_relay(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size)
{
    if (from == v->successor)
        rpc_hold(v, &from->held, pdu, size, 1);
    else if (!v->unplugged)
        rpc_hold(v, &v->waiting, pdu, size, 1);
    else if (rpc_firewall_wants(&v->firewall, dcerpc_ptype(pdu)))
        filter(v, pdu, size);
    else
        send_or_hold(v, pdu, size);
    if (v->unplugged && !rpc_flow_fits(&v->hop2, size))
        rpc_virtual_end(v, RPC_REASON_PDU_TOO_BIG, "a PDU of %u bytes, the server's window is %u",
                        size, (unsigned)v->hop2.window);
}

static void in_rpc_pdu(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size)
{
    if (!from) {
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "an RPC PDU from the server on the IN leg");
        return;
    }
    /* A client that exceeds its window is not ended; client_room() only stops reading from it. */
    rpc_flow_received(&from->hop1, size);
    rpc_flow_fragment(&from->hop1, dcerpc_max_xmit_frag(pdu, size));
    in_relay(v, from, pdu, size);
}

/* The window of this proxy bounds the bytes that it holds of each channel; those that an IN_R2
 * predecessor left were granted by the predecessor's window. A PDU larger than the rest of the
 * window may be completed only when nothing else is held. */
static size_t in_client_room(const rpc_virtual_t *v, const rpc_channel_t *from)
{
    size_t partial = dcerpc_framer_held(&from->framer);
    size_t held = from == v->successor ? from->held.size : v->waiting.size - v->predecessors;
    /* Acknowledgements must get through even when RPC PDUs fill the window to the last byte. */
    size_t window = from->spec->receive_window + RTS_MAX_SIZE;

    if (v->last_words || v->leaves || v->state == RPC_FINISHED)
        return 0;
    if (held + partial < window)
        return window - held - partial;
    return held ? 0 : dcerpc_framer_missing(&from->framer);
}

/* All PDUs of this channel have gone to the server, so IN_R1/B1 may follow: 3.2.3.5.6. */
static void say_goodbye(rpc_virtual_t *v)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_IN_R1_B1);
    rpc_send_leg(v, &pdu);
    rpc_virtual_end(v, RPC_REASON_RECYCLED, "IN_R1 is complete");
}

static void in_drain(rpc_virtual_t *v)
{
    while (v->waiting.first && !v->reason) {
        rpc_queued_pdu_t first = rpc_pdus_peek(&v->waiting);

        if (!leg_takes(v, first.size))
            break;
        to_leg(v, first.data, first.size);
        rpc_pdus_drop(&v->waiting);
    }
    if (v->last_words && !v->waiting.first)
        say_goodbye(v);
}

/* ---- RTS PDUs ---- */

static int in_may_forward(const rpc_virtual_t *v, const rpc_channel_t *from, int destination,
                          rts_pdu_id_t id)
{
    /* By the table, a PDU from the server would be sent back (3.2.1.5.2: doc/protocol.md,
     * "Gaps"). */
    return from != NULL;
}

/* When the leg is unplugged, an RTS PDU overtakes the RPC PDUs that wait for a window, because acks
 * must get through. */
static void in_forward(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size)
{
    if (from == v->successor)
        rpc_hold(v, &from->held, pdu, size, 0);
    else if (!v->unplugged)
        rpc_hold(v, &v->waiting, pdu, size, 0);
    else
        rpc_put_leg(v, pdu, size);
}

static void ignore(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    /* Reading a ping is all that is needed (2.2.4.49: doc/protocol.md, "Gaps"). */
}

/* 2.2.4.46: the interval of TCP keep-alive on the leg, which may not be there yet. */
static void set_keepalive(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    uint32_t ms = rts_u32(pdu, RTS_CMD_CLIENT_KEEPALIVE, 0);

    v->keepalive = apr_time_from_msec(ms ? ms : RTS_KEEPALIVE_DEFAULT_MS);
    if (v->leg)
        rpc_stream_keepalive(v->leg, v->keepalive);
}

/* 3.2.1.5.1: an ack for a channel that is not (or no longer) ours is discarded. */
static void hop2_ack(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    const rts_ack_t *ack = rts_ack(pdu);

    if (!rts_cookie_equal(&ack->cookie, &v->current->cookie)
        && !rts_cookie_equal(&ack->cookie, &v->old_cookie)
        && !(v->successor && rts_cookie_equal(&ack->cookie, &v->successor->cookie)))
        return;
    if (rpc_flow_acked(&v->hop2, ack->bytes_received, ack->available_window))
        rpc_log(rpc_virtual_log(v), RPC_LOG_DEBUG, 0,
                "impossible ack from the server clamped: %u received, %u available",
                ack->bytes_received, ack->available_window);
}

/* A6 is sent before the PDUs that wait, B1 after them. */
static void say_a6(rpc_virtual_t *v, const rts_cookie_t *successor)
{
    rts_pdu_t a6;

    rts_begin(&a6, RTS_IN_R1_A6);
    rts_set_cookie(&a6, 0, successor);
    rpc_send_leg(v, &a6);
    rpc_virtual_state(v, RPC_FINISHED);
    v->last_words = 1;
}

/* IN_R1/A5: the client continues at another proxy. */
static void inbound_move_away(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    from->reason = RPC_REASON_RECYCLED; /* bytes behind A5 are ignored */
    say_a6(v, rts_cookie(pdu, 0));
}

/* The client has learned of the next channel's proxy through the OUT channel, before the server's
 * B3 or B2 came here. This is no protocol error, although 3.2.3.5.6 says so. */
static void move_away_later(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    from->reason = RPC_REASON_RECYCLED;
    v->leaves = 1;
    v->next_cookie = *rts_cookie(pdu, 0);
}

/* A successor by IN_R1 continues with the binds of its predecessor, whose last PDU has passed the
 * firewall by now, if they were seen on this machine. */
static void start_firewall(rpc_virtual_t *v)
{
    const rpc_channel_spec_t *spec = v->current->spec;
    unsigned level;
    int bound;

    rpc_firewall_begin(&v->firewall, spec->rules, spec->asked_port, spec->least_level,
                       v->replacing);
    if (v->replacing && spec->recall && spec->recall(spec->ctx, &bound, &level))
        rpc_firewall_recall(&v->firewall, bound, level);
}

/* CONN/B3 and IN_R1/B2: 3.2.3.5.4, 3.2.3.5.7. */
static void inbound_server_ready(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    rpc_flow_sender_start(&v->hop2, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
    start_firewall(v);
    rpc_virtual_state(v, RPC_OPENED);
    rpc_virtual_unplug(v);
    if (v->leaves && !v->reason)
        say_a6(v, &v->next_cookie);
}

/* IN_R2/A5 on the old channel: the successor takes its place (3.2.3.5.8). */
static void inbound_switch_channel(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu)
{
    rpc_channel_t *old = v->current, *successor = v->successor;

    if (from != old) {
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "IN_R2/A5 on the successor channel");
        return;
    }
    v->successor = NULL;
    rpc_virtual_state(v, RPC_OPENED);
    if (!rts_cookie_equal(rts_cookie(pdu, 0), &successor->cookie)) {
        v->old_cookie = successor->cookie;  /* from IN_R2/A2 on the server's acks name it */
        rpc_virtual_release(v, successor, RPC_REASON_UNKNOWN_COOKIE);
        return;
    }
    v->old_cookie = old->cookie;
    v->current = successor;
    v->predecessors = v->waiting.size;
    rpc_firewall_renew(&v->firewall, successor->spec->rules, successor->spec->least_level);
    rpc_virtual_release(v, old, RPC_REASON_RECYCLED);
    rpc_virtual_replay(v, successor, &successor->held);
}

static rpc_action_t *in_action(const rpc_virtual_t *v, const rpc_channel_t *from, rts_pdu_id_t id)
{
    static const struct {
        rts_pdu_id_t id;
        int from_client;
        rpc_action_t *in[RPC_STATE_COUNT];
    } table[] = {
        { RTS_CONN_B3, 0, { [RPC_B3W] = inbound_server_ready } },
        { RTS_IN_R1_B2, 0, { [RPC_WAIT_B2] = inbound_server_ready } },
        { RTS_FLOW_CONTROL_ACK, 0,
          { [RPC_OPENED] = hop2_ack, [RPC_OPENED_A5W] = hop2_ack, [RPC_FINISHED] = hop2_ack } },
        { RTS_IN_R1_A5, 1,
          { [RPC_B3W] = move_away_later, [RPC_WAIT_B2] = move_away_later,
            [RPC_OPENED] = inbound_move_away,
            [RPC_OPENED_A5W] = inbound_switch_channel } },
        { RTS_PING, 1,
          { [RPC_CONNECTING] = ignore, [RPC_B3W] = ignore, [RPC_WAIT_B2] = ignore,
            [RPC_OPENED] = ignore, [RPC_OPENED_A5W] = ignore } },
        { RTS_KEEP_ALIVE, 1,
          { [RPC_CONNECTING] = set_keepalive, [RPC_B3W] = set_keepalive,
            [RPC_WAIT_B2] = set_keepalive, [RPC_OPENED] = set_keepalive,
            [RPC_OPENED_A5W] = set_keepalive } },
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].id == id && table[i].from_client == (from != NULL))
            return table[i].in[v->state];
    }
    return NULL;
}

/* ---- opening and the rest ---- */

/* CONN/B2 (3.2.3.5.3) or IN_R1/A2 (3.2.3.5.5.2). */
static void in_connected(rpc_virtual_t *v, const rts_pdu_t *first)
{
    rpc_channel_t *ch = v->current;
    rts_pdu_t pdu;

    rts_begin(&pdu, v->replacing ? RTS_IN_R1_A2 : RTS_CONN_B2);
    rts_set_cookie(&pdu, 0, &v->cookie);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, ch->spec->receive_window);
    rpc_announce_timeout(ch, &pdu);
    if (v->replacing) {
        rts_set_cookie(&pdu, 1, &v->old_cookie);
        rts_set_cookie(&pdu, 2, &ch->cookie);
        v->old_cookie = (rts_cookie_t){ { 0 } };    /* at another proxy, not acknowledged here */
    }
    else {
        rts_set_cookie(&pdu, 1, &ch->cookie);
        rts_set_group(&pdu, rts_group(first));
        rts_set_address(&pdu, &ch->spec->client_address);
        if (!v->keepalive)
            set_keepalive(v, ch, first);
    }
    if (v->keepalive)
        rpc_stream_keepalive(v->leg, v->keepalive);
    rpc_send_leg(v, &pdu);
    rpc_virtual_state(v, v->replacing ? RPC_WAIT_B2 : RPC_B3W);
}

/* IN_R2/A2: the text does not mention it, but figure 19 shows it. */
static void in_attached(rpc_virtual_t *v)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_IN_R2_A2);
    rts_set_cookie(&pdu, 0, &v->successor->cookie);
    rpc_send_leg(v, &pdu);
    v->successor->hop1.fragment = v->current->hop1.fragment;
    /* A server may count anew from here (doc/protocol.md, "Receive windows during recycling"). */
    rpc_flow_sender_mark(&v->hop2);
    rpc_virtual_state(v, RPC_OPENED_A5W);
}

static void in_leg_ended(rpc_virtual_t *v, rpc_reason_t reason, const char *why)
{
    rpc_virtual_end(v, reason, "%s", why);
}

/* After A5 the client sends nothing more; the PDUs that wait are still delivered. */
static int in_client_ended(rpc_virtual_t *v, rpc_channel_t *from)
{
    return (v->last_words || v->leaves) && from == v->current;
}

/* The specification has no time-out for silent clients, and some are silent for a long time: they
 * ping only in answer to pings of the proxy, which sends none on a busy OUT channel. So this
 * time-out is optional. */
static apr_time_t in_tick(rpc_virtual_t *v)
{
    rpc_channel_t *ch = v->current;
    apr_time_t due = ch->heard + ch->spec->idle_timeout;

    if (!ch->spec->idle_timeout)
        return 0;
    if (due > rpc_loop_now(v->leg->loop))
        return due;
    if (in_client_room(v, ch) && !ch->client->can_read)
        rpc_virtual_end(v, RPC_REASON_IDLE_TIMEOUT, "the client has said nothing for %d seconds",
                        (int)apr_time_sec(ch->spec->idle_timeout));
    return rpc_loop_now(v->leg->loop) + ch->spec->idle_timeout;
}

const rpc_role_ops_t rpc_inbound_role = {
    .name = "inbound",
    .from_client = RTS_HOP_C_IP,
    .from_server = RTS_HOP_S_IP,
    .mine = RTS_FD_IN_PROXY,
    .opener = RTS_CONN_B1,
    .replacer = RTS_IN_R1_A1,
    .connected = in_connected,
    .attached = in_attached,
    .action = in_action,
    .rpc_pdu = in_rpc_pdu,
    .relay = in_relay,
    .may_forward = in_may_forward,
    .forward = in_forward,
    .drain = in_drain,
    .client_room = in_client_room,
    .client_ended = in_client_ended,
    .leg_ended = in_leg_ended,
    .tick = in_tick,
};
