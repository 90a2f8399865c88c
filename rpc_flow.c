/* rpc_flow.c: the formulas of [MS-RPCH] 3.2.1.4.1 and 3.2.1.5.1, computed in 64 bits signed
 * although the wire has 32.
 */
#include "rpc_flow.h"

void rpc_flow_sender_start(rpc_flow_sender_t *s, uint32_t window)
{
    s->window = s->available = window;
    s->sent = 0;
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

int rpc_flow_acked(rpc_flow_sender_t *s, uint32_t received, uint32_t available)
{
    /* What is under way: both counts modulo 2^32, as on the wire. */
    uint32_t under_way = (uint32_t)s->sent - received;
    int64_t result = (int64_t)available - (int64_t)under_way;
    int possible = result >= 0 && (int64_t)available <= s->window;

    s->available = result < 0 ? 0 : result > s->window ? s->window : result;
    if (!possible)
        s->clamped++;
    return !possible;
}

void rpc_flow_receiver_start(rpc_flow_receiver_t *r, uint32_t window)
{
    r->window = r->free = r->advertised = window;
    r->received = 0;
}

int rpc_flow_received(rpc_flow_receiver_t *r, uint32_t size)
{
    r->received += size;
    r->free -= size;
    r->advertised -= size;
    return r->advertised < 0;
}

int rpc_flow_consumed(rpc_flow_receiver_t *r, uint32_t size)
{
    r->free += size;
    return r->advertised < r->window / 2;
}

void rpc_flow_ack(rpc_flow_receiver_t *r, uint32_t *received, uint32_t *available)
{
    *received = (uint32_t)r->received;
    *available = r->free < 0 ? 0 : (uint32_t)r->free;
    r->advertised = *available;
}
