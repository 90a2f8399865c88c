/* rpc_tally: what has happened since the server was started, in numbers that never fall: they
 * outlive children and restarts. For the status page and monitoring systems.
 *
 * Each count is one atomic addition, at the beginning or the end of a channel, never for a PDU. Any
 * thread, any process that has inherited the memory.
 */
#ifndef RPC_TALLY_H
#define RPC_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

#include <apr_pools.h>
#include <apr_time.h>

#include "base/reason.h"
#include "wire/role.h"

#define RPC_ROLES 3             /* rpc_role_t */
#define RPC_TALLY_BUCKETS 16

/* How long something took: how often up to each bound, in all, and the sum. */
typedef struct rpc_histogram {
    _Atomic uint64_t upto[RPC_TALLY_BUCKETS];   /* the last has no bound */
    _Atomic uint64_t microseconds;
} rpc_histogram_t;

typedef struct rpc_tally {
    _Atomic int64_t started;                    /* time of day, for people */
    _Atomic uint64_t begun[RPC_ROLES];          /* channels */
    _Atomic uint64_t opened[RPC_ROLES];         /* whose server has answered */
    _Atomic uint64_t ended[RPC_REASON_COUNT];   /* channels */
    _Atomic uint64_t refused[RPC_REASON_COUNT]; /* requests that became none */
    _Atomic uint64_t binds_refused;
    _Atomic uint64_t connections;               /* virtual connections that have ended */
    _Atomic uint64_t successors;                /* channels that have replaced another */
    rpc_histogram_t setup[RPC_ROLES], life[RPC_ROLES];
} rpc_tally_t;

/* All zero, in memory that children inherit. */
apr_status_t rpc_tally_create(rpc_tally_t **tally, apr_pool_t *pool);

static inline void rpc_count(_Atomic uint64_t *what)
{
    atomic_fetch_add_explicit(what, 1, memory_order_relaxed);
}

/* The bounds of the first RPC_TALLY_BUCKETS - 1 buckets, each RPC_ROLES histograms the same. */
extern const apr_interval_time_t rpc_setup_bounds[RPC_TALLY_BUCKETS - 1];
extern const apr_interval_time_t rpc_life_bounds[RPC_TALLY_BUCKETS - 1];
void rpc_tally_setup(rpc_tally_t *tally, rpc_role_t role, apr_interval_time_t took);
void rpc_tally_life(rpc_tally_t *tally, rpc_role_t role, apr_interval_time_t took);

#endif
