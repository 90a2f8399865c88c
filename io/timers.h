/* rpc_timers: the timers of one loop, a binary heap by the time at which they are due. io/loop.h
 * describes a timer. Only loops include this header.
 */
#ifndef RPC_TIMERS_H
#define RPC_TIMERS_H

#include "io/loop.h"

/* Zero it. */
typedef struct rpc_timers {
    rpc_timer_t **heap;     /* 1-based; a timer's slot is its place */
    size_t count, cap;
} rpc_timers_t;

/* Sets TIMER, or moves it when it is set. Aborts the process when there is no memory, as APR does:
 * a channel without its timer might never end. */
void rpc_timers_set(rpc_timers_t *timers, rpc_timer_t *timer, apr_time_t due);
/* Does nothing when TIMER is not set. */
void rpc_timers_cancel(rpc_timers_t *timers, rpc_timer_t *timer);
/* The timer that is due first, or NULL. */
rpc_timer_t *rpc_timers_first(const rpc_timers_t *timers);
void rpc_timers_free(rpc_timers_t *timers);

#endif
