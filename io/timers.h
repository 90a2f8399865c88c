/* rpc_timers: the timers of one loop, those that are due first in front. It needs no memory but the
 * timers, so that setting one cannot fail. io/loop.h describes a timer. Only loops include this
 * header.
 */
#ifndef RPC_TIMERS_H
#define RPC_TIMERS_H

#include "io/loop.h"

/* Zero it. It stays where it is while a timer is set. */
typedef struct rpc_timers {
    rpc_timer_t *first;
} rpc_timers_t;

/* Sets TIMER, or moves it when it is set. */
void rpc_timers_set(rpc_timers_t *timers, rpc_timer_t *timer, apr_time_t due);
/* Does nothing when TIMER is not set. */
void rpc_timers_cancel(rpc_timers_t *timers, rpc_timer_t *timer);
/* The timer that is due first, or NULL. */
rpc_timer_t *rpc_timers_first(const rpc_timers_t *timers);

#endif
