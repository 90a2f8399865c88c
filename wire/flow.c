/* wire/flow.c: the formulas of [MS-RPCH] 3.2.1.4.1 and 3.2.1.5.1, computed with signed 64-bit
 * numbers, although PDUs have 32-bit numbers.
 */
#include "wire/flow.h"

void rpc_flow_sender_start(rpc_flow_sender_t *s, uint32_t window)
{
    s->window = s->available = window;
    s->sent = s->mark = 0;
    s->clamped = 0;
}

int rpc_flow_may_send(const rpc_flow_sender_t *s, uint32_t size)
{
    return s->available >= (int64_t)size;
}

int rpc_flow_fits(const rpc_flow_sender_t *s, uint32_t size)
{
    return s->window >= (int64_t)size;
}

void rpc_flow_sent(rpc_flow_sender_t *s, uint32_t size)
{
    s->sent += size;
    s->available -= size;
}

void rpc_flow_sender_mark(rpc_flow_sender_t *s)
{
    s->mark = s->sent;
}

/* SENT minus RECEIVED, both modulo 2^32 as in PDUs; negative when the peer has counted more bytes
 * than were sent. */
static int64_t under_way(uint64_t sent, uint32_t received)
{
    return (int32_t)((uint32_t)sent - received);
}

static int ack_is_plausible(const rpc_flow_sender_t *s, int64_t pending)
{
    return pending >= 0 && pending <= s->window;
}

/* If the peer restarted its count with the new cookie of the channel, the sender's count restarts,
 * too. An ack for the old cookie may come before, so the mark stays until then. */
static void follow_reset(rpc_flow_sender_t *s, uint32_t received)
{
    if (ack_is_plausible(s, under_way(s->sent, received)))
        return;
    if (!ack_is_plausible(s, under_way(s->sent - s->mark, received)))
        return;
    s->sent -= s->mark;
    s->mark = 0;
}

int rpc_flow_acked(rpc_flow_sender_t *s, uint32_t received, uint32_t available)
{
    int64_t pending, result;
    int possible;

    if (s->mark)
        follow_reset(s, received);
    pending = under_way(s->sent, received);
    result = (int64_t)available - pending;
    possible = pending >= 0 && result >= 0 && (int64_t)available <= s->window;
    s->available = result < 0 ? 0 : result > s->window ? s->window : result;
    if (!possible)
        s->clamped++;
    return !possible;
}

void rpc_flow_receiver_start(rpc_flow_receiver_t *r, uint32_t window)
{
    r->window = r->free = r->advertised = window;
    r->received = 0;
    r->fragment = RPC_FLOW_FRAGMENT;
}

void rpc_flow_fragment(rpc_flow_receiver_t *r, uint32_t size)
{
    if (size)
        r->fragment = size;
}

/* The least window that must be advertised while we hold nothing. With less, the peer might wait
 * for an ack before it sends a fragment, while we wait for that fragment. */
static int64_t least_advertised(const rpc_flow_receiver_t *r)
{
    return r->fragment < r->window ? (int64_t)r->fragment : r->window;
}

int rpc_flow_received(rpc_flow_receiver_t *r, uint32_t size)
{
    r->received += size;
    r->free -= size;
    r->advertised -= size;
    if (r->fragment < size)
        r->fragment = size;
    return r->advertised < 0;
}

int rpc_flow_consumed(rpc_flow_receiver_t *r, uint32_t size)
{
    r->free += size;
    if (r->free == r->window && r->advertised < least_advertised(r))
        return 1;
    return r->free > 0 && r->advertised < r->window / 2
           && (r->free - r->advertised >= r->window / 4 || r->free == r->window);
}

void rpc_flow_ack(rpc_flow_receiver_t *r, uint32_t *received, uint32_t *available)
{
    *received = (uint32_t)r->received;
    *available = r->free < 0 ? 0 : (uint32_t)r->free;
    r->advertised = r->free;
}
