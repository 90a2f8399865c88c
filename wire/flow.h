/* rpc_flow: receive windows and acknowledgements of one hop ([MS-RPCH] 3.2.1.1.4,
 * 3.2.1.1.5, 3.2.1.4.1, 3.2.1.5.1). Only RPC PDUs count; sizes are bytes.
 * Each struct belongs to the owner of the channel.
 */
#ifndef RPC_FLOW_H
#define RPC_FLOW_H

#include <stdint.h>

/* 2.2.3.5.1: what a ReceiveWindowSize may say */
#define RPC_FLOW_WINDOW_MIN 8192
#define RPC_FLOW_WINDOW_MAX 262144
/* The largest fragment that common clients and servers send. */
#define RPC_FLOW_FRAGMENT 5840

typedef struct rpc_flow_sender {
    int64_t window;     /* what the peer announced */
    int64_t available;  /* what may still be sent */
    uint64_t sent;      /* RPC bytes sent on this channel instance */
    uint64_t mark;      /* SENT when a recycling in place changed the channel's cookie, or 0 */
    unsigned clamped;   /* impossible acks that were corrected (doc/protocol.md,
                         * "Acknowledgements") */
} rpc_flow_sender_t;

typedef struct rpc_flow_receiver {
    int64_t window;     /* what we announced */
    int64_t free;       /* the window minus the bytes that we hold */
    int64_t advertised; /* the bytes that the peer may still send, as far as it knows */
    uint64_t received;  /* RPC bytes received on this channel instance */
    uint32_t fragment;  /* size of the largest PDU that is expected */
} rpc_flow_receiver_t;

/* A new channel instance: the peer announced WINDOW bytes. */
void rpc_flow_sender_start(rpc_flow_sender_t *s, uint32_t window);
/* May a PDU of SIZE bytes be sent now? available >= size (3.2.1.4.1.3: doc/protocol.md, "Gaps"). */
int rpc_flow_may_send(const rpc_flow_sender_t *s, uint32_t size);
/* Can it ever be sent? size <= window. */
int rpc_flow_fits(const rpc_flow_sender_t *s, uint32_t size);
void rpc_flow_sent(rpc_flow_sender_t *s, uint32_t size);
/* IN_R2 or OUT_R2 has given the leg a new cookie. The specification does not say whether the peer
 * continues its count or restarts from 0. rpc_flow_acked() then accepts the plausible one. */
void rpc_flow_sender_mark(rpc_flow_sender_t *s);
/* available = ack.available - (sent - ack.received), the wire's 32-bit counts taken
 * modulo 2^32, clamped to 0..window; returns 1 when it had to be clamped. */
int rpc_flow_acked(rpc_flow_sender_t *s, uint32_t received, uint32_t available);

void rpc_flow_receiver_start(rpc_flow_receiver_t *r, uint32_t window);
/* The peer has announced that it sends fragments of up to SIZE bytes (0: it has not). Before that,
 * fragments of RPC_FLOW_FRAGMENT are expected. A larger fragment that arrives raises the value. */
void rpc_flow_fragment(rpc_flow_receiver_t *r, uint32_t size);
/* Returns 1 when the peer sent more than the window allowed it. */
int rpc_flow_received(rpc_flow_receiver_t *r, uint32_t size);
/* SIZE bytes have gone on to the next hop. Returns 1 when an ack is due now; then call
 * rpc_flow_ack(). An ack is due when advertised < window / 2, as with Windows, and the ack would
 * grant a quarter of the window or all of it: while the window stays nearly full, not every PDU
 * must cause an ack. An ack is also due when nothing is held any more and less than a fragment is
 * advertised: if the window is smaller than two fragments, the peer could not go on, and no other
 * ack would ever be due. See doc/protocol.md, "Acknowledgements". */
int rpc_flow_consumed(rpc_flow_receiver_t *r, uint32_t size);
/* Fills in the values of the ack to be sent; afterwards advertised == free. */
void rpc_flow_ack(rpc_flow_receiver_t *r, uint32_t *received, uint32_t *available);

#endif
