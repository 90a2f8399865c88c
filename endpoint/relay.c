/* endpoint/relay.c: what moves between the legs of a virtual connection and its target.
 *
 *   IN leg  --framer--> RPC PDUs --> target's output     hop 2: acknowledged when written
 *   target  --framer--> RPC PDUs --> waiting --> OUT leg hop 3: window, and the lifetime
 *   RTS PDUs of any leg -> endpoint/states.c
 *
 * The bounds: an IN leg is read while the target's output is not larger than the granted windows.
 * So a proxy that obeys its window can always deliver acknowledgements, however slow the target is.
 * The target is read only while nothing waits and the OUT leg accepts its output. RTS PDUs are
 * never delayed; a leg that does not read them ends the VC.
 *
 * One turn reads a limited amount from each stream, then delivers, then writes, and schedules
 * itself again if something can still move.
 */
#include "endpoint/vc.h"

#include "wire/farewell.h"

static void leg_gone(rpc_leg_t *leg, apr_status_t status)
{
    rpc_vc_t *vc = leg->vc;
    char state[64];

    if (leg == vc->out_old) { /* a predecessor that has done its work (3.2.5.5.13) */
        rpc_leg_retire(leg);
        return;
    }
    rpc_vc_end(vc, APR_STATUS_IS_EOF(status) ? RPC_REASON_CLIENT_CLOSED : RPC_REASON_CLIENT_ERROR,
               APR_STATUS_IS_EOF(status) ? 0 : status, "%s leg in %s",
               leg->is_out ? "OUT" : "IN", rpc_vc_state_text(vc, state));
}

/* ---- from the legs ---- */

/* An overrun of hop 2 ends nothing: the leg is only not read for a while.
 * See doc/protocol.md, "Acknowledgements". */
static void rpc_from_leg(rpc_leg_t *leg, const uint8_t *data, uint32_t size)
{
    rpc_vc_t *vc = leg->vc;
    char state[64];

    if (leg != vc->in || vc->state != RPC_VC_OPENED) {
        rpc_vc_end(vc, RPC_REASON_PROTOCOL, 0, "RPC PDU on the %s leg in %s",
                   leg->is_out ? "OUT" : "IN", rpc_vc_state_text(vc, state));
        return;
    }
    rpc_flow_received(&leg->hop2, size);
    rpc_flow_fragment(&leg->hop2, dcerpc_max_xmit_frag(data, size));
    if (!vc->target_ended && rpc_stream_put(vc->target, data, size) != APR_SUCCESS)
        rpc_vc_end(vc, RPC_REASON_NO_MEMORY, 0, "%s", "");
}

void rpc_vc_input(rpc_leg_t *leg, const uint8_t *data, size_t len)
{
    rpc_vc_t *vc = leg->vc;
    dcerpc_header_t header;
    dcerpc_frame_t frame;
    const uint8_t *pdu;

    while (!vc->reason && !leg->retired) {
        frame = dcerpc_framer_next(&leg->framer, &data, &len, &pdu, &header);
        if (frame == DCERPC_FRAME_MORE)
            return;
        if (frame == DCERPC_FRAME_ERROR)
            rpc_vc_end(vc, RPC_REASON_BAD_PDU, 0, "%s leg: %s", leg->is_out ? "OUT" : "IN",
                       leg->framer.error);
        else if (header.ptype == DCERPC_RTS) {
            rpc_vc_rts(leg, pdu, header.frag_length);
            rpc_vc_check_lifetime(vc);
        }
        else
            rpc_from_leg(leg, pdu, header.frag_length);
    }
}

/* Twice the window: the bytes that a predecessor left, and those that its successor may send. */
static int leg_readable(const rpc_leg_t *leg)
{
    const rpc_vc_t *vc = leg->vc;

    return leg->is_out || !vc->target
           || rpc_stream_pending(vc->target) <= 2 * (size_t)vc->receive_window;
}

static void leg_read(rpc_leg_t *leg)
{
    rpc_loop_t *loop = leg->ep->loop;
    size_t budget = RPC_VC_BUDGET;

    while (!leg->vc->reason && !leg->retired && leg_readable(leg) && budget >= RPC_LOOP_SCRATCH) {
        uint8_t *buf = rpc_loop_scratch(loop);
        size_t len = RPC_LOOP_SCRATCH;
        apr_status_t rv = rpc_stream_read(leg->stream, buf, &len);

        if (APR_STATUS_IS_EAGAIN(rv))
            return;
        if (rv != APR_SUCCESS) {
            leg_gone(leg, rv);
            return;
        }
        budget -= len;
        rpc_vc_input(leg, buf, len);
    }
}

/* ---- target to OUT leg ---- */

/* PDUs that cannot be sent wait for a limited time only. */
static void set_patience(rpc_vc_t *vc)
{
    rpc_loop_t *loop = vc->ep->loop;

    rpc_timer_set(loop, &vc->patience, rpc_loop_now(loop) + vc->setup_timeout);
}

/* Is there room in the lifetime of the channel for this PDU and for the RTS PDUs that may still
 * come? */
static int lasts(const rpc_leg_t *leg, uint32_t size)
{
    return leg->used + size + RPC_LIFETIME_RESERVE <= leg->lifetime;
}

static int may_go(const rpc_leg_t *leg, uint32_t size)
{
    return lasts(leg, size) && rpc_stream_pending(leg->stream) < RPC_STREAM_HIGH
           && rpc_flow_may_send(&leg->hop3, size);
}

/* 1: the PDU has been sent; 0: it cannot be sent now. */
static int rpc_to_client(rpc_vc_t *vc, const uint8_t *data, uint32_t size)
{
    rpc_leg_t *leg = vc->out;

    if (!rpc_flow_fits(&leg->hop3, size)) {
        rpc_vc_end(vc, RPC_REASON_PDU_TOO_BIG, 0, "%u bytes, window %d", size,
                   (int)leg->hop3.window);
        return 0;
    }
    if (!lasts(leg, size) && !vc->starved) {
        vc->starved = 1;
        rpc_vc_recycle_out(vc);
        set_patience(vc);
    }
    if (!may_go(leg, size))
        return 0;
    rpc_flow_sent(&leg->hop3, size);
    rpc_leg_put(leg, data, size, 1);
    rpc_vc_check_lifetime(vc);
    return 1;
}

static void deliver(rpc_vc_t *vc)
{
    size_t before = vc->waiting.size;

    while (vc->waiting.first && !vc->reason) {
        rpc_queued_pdu_t first = rpc_pdus_peek(&vc->waiting);

        if (!rpc_to_client(vc, first.data, first.size))
            break;
        rpc_pdus_drop(&vc->waiting);
    }
    if (vc->target_ended && vc->waiting.size < before)
        set_patience(vc);
}

/* Does the target send what only the endpoint may send? A proxy would take it for the
 * endpoint's. */
static int is_forged(const dcerpc_header_t *header, const uint8_t *pdu)
{
    rpc_reason_t reason;

    return header->ptype == RPC_FAREWELL_PTYPE
        && rpc_farewell_read(pdu, header->frag_length, &reason);
}

static void target_input(rpc_vc_t *vc, const uint8_t *data, size_t len)
{
    dcerpc_header_t header;
    dcerpc_frame_t frame;
    const uint8_t *pdu;

    while (!vc->reason) {
        frame = dcerpc_framer_next(&vc->target_framer, &data, &len, &pdu, &header);
        if (frame == DCERPC_FRAME_MORE)
            return;
        if (frame == DCERPC_FRAME_ERROR)
            rpc_vc_end(vc, RPC_REASON_BAD_PDU, 0, "target: %s", vc->target_framer.error);
        else if (header.ptype == DCERPC_RTS)
            rpc_vc_end(vc, RPC_REASON_PROTOCOL, 0, "RTS PDU from the target");
        else if (is_forged(&header, pdu))
            rpc_vc_end(vc, RPC_REASON_PROTOCOL, 0,
                       "a PDU from the target that only the endpoint may send");
        else if ((vc->waiting.first || !rpc_to_client(vc, pdu, header.frag_length))
                 && rpc_pdus_put(&vc->waiting, pdu, header.frag_length, 1) != 0)
            rpc_vc_end(vc, RPC_REASON_NO_MEMORY, 0, "%s", "");
    }
}

static int target_readable(const rpc_vc_t *vc)
{
    return vc->state == RPC_VC_OPENED && !vc->target_ended && !vc->waiting.first
           && rpc_stream_pending(vc->out->stream) < RPC_STREAM_HIGH;
}

static void target_over(rpc_vc_t *vc)
{
    char text[120];

    if (vc->target_ended == RPC_REASON_SERVER_CLOSED)
        rpc_vc_end(vc, RPC_REASON_SERVER_CLOSED, 0, "the server closed its connection");
    else
        rpc_vc_end(vc, vc->target_ended, 0, "the connection to the server failed: %s",
                   apr_strerror(vc->target->error, text, sizeof(text)));
}

/* The legs stay until all that was read has been delivered. */
static void target_gone(rpc_vc_t *vc, apr_status_t status)
{
    vc->target_ended = APR_STATUS_IS_EOF(status) ? RPC_REASON_SERVER_CLOSED
                                                 : RPC_REASON_SERVER_ERROR;
    set_patience(vc);
}

static void target_read(rpc_vc_t *vc)
{
    size_t budget = RPC_VC_BUDGET;

    while (!vc->reason && target_readable(vc) && budget >= RPC_LOOP_SCRATCH) {
        uint8_t *buf = rpc_loop_scratch(vc->ep->loop);
        size_t len = RPC_LOOP_SCRATCH;
        apr_status_t rv = rpc_stream_read(vc->target, buf, &len);

        if (APR_STATUS_IS_EAGAIN(rv))
            return;
        if (rv != APR_SUCCESS) {
            target_gone(vc, rv);
            return;
        }
        budget -= len;
        target_input(vc, buf, len);
    }
}

/* ---- writing ---- */

/* Acknowledges on hop 2 what the target has taken since the last time. */
static void acknowledge(rpc_vc_t *vc)
{
    uint64_t taken = vc->target->sent;
    rts_ack_t ack;
    rts_pdu_t pdu;
    uint32_t n;

    if (taken <= vc->credited)
        return;
    n = (uint32_t)(taken - vc->credited);
    vc->credited = taken;
    if (!rpc_flow_consumed(&vc->in->hop2, n))
        return;
    rpc_flow_ack(&vc->in->hop2, &ack.bytes_received, &ack.available_window);
    ack.cookie = vc->in->cookie;
    rts_begin(&pdu, RTS_FLOW_CONTROL_ACK);
    rts_set_ack(&pdu, &ack);
    rpc_leg_send(vc->in, &pdu);
}

/* A target that has closed may have said something before. */
static void target_flush(rpc_vc_t *vc)
{
    apr_status_t rv;

    if (!vc->target || vc->target_ended || vc->state != RPC_VC_OPENED)
        return;
    rv = rpc_stream_flush(vc->target);
    if (rv != APR_SUCCESS) {
        if (rpc_stream_read_rest(vc->target))
            rpc_loop_schedule(vc->ep->loop, &vc->turn);
        else
            target_gone(vc, rv);
        return;
    }
    acknowledge(vc);
}

static void leg_flush(rpc_leg_t *leg)
{
    if (leg && rpc_stream_flush(leg->stream) != APR_SUCCESS)
        leg_gone(leg, leg->stream->error);
}

/* ---- turns ---- */

static void close_retired(rpc_vc_t *vc)
{
    while (vc->retired) {
        rpc_leg_t *leg = vc->retired;

        vc->retired = leg->next;
        rpc_leg_free(leg, 0);
    }
}

static int leg_has_more(const rpc_leg_t *leg)
{
    return leg && leg->stream->can_read && leg_readable(leg);
}

/* Could another turn read or deliver something before the next event? */
static int has_more(const rpc_vc_t *vc)
{
    return leg_has_more(vc->in) || leg_has_more(vc->in_next) || leg_has_more(vc->out)
           || leg_has_more(vc->out_next) || leg_has_more(vc->out_old)
           || (vc->target && vc->target->can_read && target_readable(vc))
           || (vc->waiting.first && may_go(vc->out, rpc_pdus_peek(&vc->waiting).size));
}

static void read_legs(rpc_vc_t *vc)
{
    if (vc->in)
        leg_read(vc->in);
    if (vc->in_next)
        leg_read(vc->in_next);
    if (vc->out)
        leg_read(vc->out);
    if (vc->out_next)
        leg_read(vc->out_next);
    if (vc->out_old)
        leg_read(vc->out_old);
}

static void write_all(rpc_vc_t *vc)
{
    target_flush(vc);
    leg_flush(vc->in);
    leg_flush(vc->in_next);
    leg_flush(vc->out);
    leg_flush(vc->out_next);
    leg_flush(vc->out_old);
}

/* A peer that does not read gets no time to read the rest. */
static void vc_finish(rpc_job_t *job)
{
    rpc_vc_t *vc = RPC_OWNER_OF(job, rpc_vc_t, turn);

    rpc_vc_finish(vc, vc->reason == RPC_REASON_BUFFER_FULL);
}

/* From now on nothing happens to it but its end. */
static void relay_await_end(rpc_vc_t *vc)
{
    rpc_timer_cancel(vc->ep->loop, &vc->setup);
    rpc_timer_cancel(vc->ep->loop, &vc->patience);
    if (vc->connecting)
        rpc_dial_cancel(vc->connecting);
    vc->connecting = NULL;
    vc->turn.run = vc_finish;
    rpc_loop_schedule_end(vc->ep->loop, &vc->turn);
}

void rpc_vc_turn(rpc_job_t *job)
{
    rpc_vc_t *vc = RPC_OWNER_OF(job, rpc_vc_t, turn);

    read_legs(vc);
    if (!vc->reason)
        deliver(vc);
    if (!vc->reason && vc->target)
        target_read(vc);
    if (!vc->reason) {
        rpc_vc_check_lifetime(vc);
        write_all(vc);
    }
    close_retired(vc);
    if (!vc->reason && vc->target_ended && !vc->waiting.first)
        target_over(vc);
    if (vc->reason)
        relay_await_end(vc);
    else if (has_more(vc))
        rpc_loop_schedule_more(vc->ep->loop, job);
}
