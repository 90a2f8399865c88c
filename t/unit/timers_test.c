/* timers_test: timers that are set, moved and cancelled at random, compared with a plain array. */
#include "io/timers.h"

#include "unit.h"

#define TIMERS 300
#define STEPS 60000

static rpc_timer_t timer[TIMERS];
static int set[TIMERS];

static const rpc_timer_t *first_of_array(void)
{
    const rpc_timer_t *first = NULL;
    int i;

    for (i = 0; i < TIMERS; i++) {
        if (set[i] && (!first || timer[i].due < first->due))
            first = &timer[i];
    }
    return first;
}

/* Tests that the heap and the array agree on the first timer. Of timers with the same time it may
 * be any. */
static int agree(const rpc_timers_t *timers)
{
    const rpc_timer_t *want = first_of_array(), *got = rpc_timers_first(timers);

    return !want || !got ? want == got : got->due == want->due && set[got - timer];
}

int main(void)
{
    rpc_timers_t timers = { 0 };
    unsigned random = 7, wrong = 0;
    int step, fired = 0;

    ok(!rpc_timers_first(&timers), "without timers none is first");
    rpc_timers_cancel(&timers, &timer[0]);
    ok(!rpc_timers_first(&timers), "a timer that is not set may be cancelled");
    for (step = 0; step < STEPS; step++) {
        unsigned i = unit_random(&random) % TIMERS;

        set[i] = unit_random(&random) % 3 > 0;
        if (set[i])
            rpc_timers_set(&timers, &timer[i], unit_random(&random) % 1000);
        else
            rpc_timers_cancel(&timers, &timer[i]);
        wrong += !agree(&timers);
    }
    is_int(wrong, 0, "the first timer is right after each of %d changes", STEPS);
    for (wrong = 0; rpc_timers_first(&timers); fired++) {
        rpc_timer_t *first = rpc_timers_first(&timers);

        wrong += !agree(&timers);
        set[first - timer] = 0;
        rpc_timers_cancel(&timers, first);
    }
    ok(fired && !wrong && !first_of_array(), "all %d that are left come in order, each once",
       fired);
    return unit_done();
}
