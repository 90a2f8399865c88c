/* rpc_clock: the clock that durations are measured with. It only goes forward, at a constant rate,
 * even when the time of day is set. All processes of the machine read the same clock until the next
 * boot, so its times may stand in shared memory. The time of day (apr_time_now(), r->request_time)
 * is for people and for protocols. Any thread.
 */
#ifndef RPC_CLOCK_H
#define RPC_CLOCK_H

#include <time.h>

#include <apr_time.h>

/* Microseconds since some moment in the past. */
static inline apr_time_t rpc_clock_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return apr_time_from_sec(ts.tv_sec) + ts.tv_nsec / 1000;
}

/* The moment TIME from now, by CLOCK_MONOTONIC, in the form that pthread_cond_clockwait() wants. */
static inline struct timespec rpc_clock_in(apr_interval_time_t time)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    time += at.tv_nsec / 1000;
    at.tv_sec += (time_t)apr_time_sec(time);
    at.tv_nsec = (long)apr_time_usec(time) * 1000;
    return at;
}

#endif
