/* rpc_meter: what a channel shows of itself while it lives, for the status page to read.
 *
 * A meter lies in shared memory (shared/board.h). One thread writes it, the one that owns the
 * channel; anybody reads. Each number is a relaxed store, and only when it has changed, so a
 * channel pays for it no more than its own cache line.
 *
 * The counts of bytes go on from channel to channel: what is read of all meters, summed up, never
 * falls. A channel's own bytes are those since its beginning.
 */
#ifndef RPC_METER_H
#define RPC_METER_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/reason.h"

typedef struct rpc_meter {
    _Atomic uint64_t in, out;   /* bytes read from the client, and written to it */
    _Atomic int64_t heard;      /* when it last said something, as rpc_clock_now() */
    _Atomic uint64_t to_end;    /* an administrator ends the channel of this serial number */
    _Atomic int64_t ends;       /* RpcMaxSessionTime is over then, as rpc_clock_now(); 0: never */
} rpc_meter_t;

/* The channel's view of its meter. */
typedef struct rpc_metered {
    rpc_meter_t *meter;         /* NULL: nobody wants to know */
    uint64_t serial;            /* of the channel; never 0 */
    uint64_t in, out;           /* where the meter stood when the channel began */
} rpc_metered_t;

/* The channel has read and written so many bytes, and heard of its client last at HEARD. */
static inline void rpc_meter_show(const rpc_metered_t *m, uint64_t in, uint64_t out, int64_t heard)
{
    if (!m->meter)
        return;
    if (atomic_load_explicit(&m->meter->in, memory_order_relaxed) != m->in + in) {
        atomic_store_explicit(&m->meter->in, m->in + in, memory_order_relaxed);
        atomic_store_explicit(&m->meter->heard, heard, memory_order_relaxed);
    }
    if (atomic_load_explicit(&m->meter->out, memory_order_relaxed) != m->out + out)
        atomic_store_explicit(&m->meter->out, m->out + out, memory_order_relaxed);
}

/* Why this channel has to end at NOW; NONE: it has not. */
static inline rpc_reason_t rpc_meter_verdict(const rpc_metered_t *m, int64_t now)
{
    int64_t ends = m->meter ? atomic_load_explicit(&m->meter->ends, memory_order_relaxed) : 0;

    if (m->meter && atomic_load(&m->meter->to_end) == m->serial)
        return RPC_REASON_ADMINISTRATOR;
    return ends && now >= ends ? RPC_REASON_SESSION_OVER : RPC_REASON_NONE;
}

#endif
