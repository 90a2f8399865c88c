/* stopped_clock.h: a clock that moves only when the test says so. Any thread may read it. */
#ifndef STOPPED_CLOCK_H
#define STOPPED_CLOCK_H

#include <apr_time.h>

typedef struct stopped_clock { apr_time_t time; } stopped_clock_t;

static inline apr_time_t stopped_clock_read(const stopped_clock_t *clock)
{
    return __atomic_load_n(&clock->time, __ATOMIC_SEQ_CST);
}

static inline void stopped_clock_pass(stopped_clock_t *clock, apr_time_t by)
{
    __atomic_add_fetch(&clock->time, by, __ATOMIC_SEQ_CST);
}

#endif
