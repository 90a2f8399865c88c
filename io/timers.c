/* io/timers.c: the parent of slot N is slot N / 2. A timer knows its slot, so it is moved and
 * cancelled without a search.
 */
#include "io/timers.h"

#include <stdlib.h>

static void heap_place(rpc_timers_t *timers, size_t slot, rpc_timer_t *timer)
{
    timers->heap[slot] = timer;
    timer->slot = slot;
}

static void heap_up(rpc_timers_t *timers, size_t slot)
{
    rpc_timer_t *timer = timers->heap[slot];

    while (slot > 1 && timers->heap[slot / 2]->due > timer->due) {
        heap_place(timers, slot, timers->heap[slot / 2]);
        slot /= 2;
    }
    heap_place(timers, slot, timer);
}

static void heap_down(rpc_timers_t *timers, size_t slot)
{
    rpc_timer_t *timer = timers->heap[slot];
    size_t child;

    while ((child = slot * 2) <= timers->count) {
        if (child < timers->count && timers->heap[child + 1]->due < timers->heap[child]->due)
            child++;
        if (timers->heap[child]->due >= timer->due)
            break;
        heap_place(timers, slot, timers->heap[child]);
        slot = child;
    }
    heap_place(timers, slot, timer);
}

/* Adds TIMER at the end of the heap, which its due time may not fit yet. */
static void heap_add(rpc_timers_t *timers, rpc_timer_t *timer)
{
    if (timers->count + 1 >= timers->cap) {
        size_t cap = timers->cap ? timers->cap * 2 : 64;
        rpc_timer_t **heap = realloc(timers->heap, cap * sizeof(*heap));

        if (!heap)
            abort();
        timers->heap = heap;
        timers->cap = cap;
    }
    heap_place(timers, ++timers->count, timer);
}

void rpc_timers_set(rpc_timers_t *timers, rpc_timer_t *timer, apr_time_t due)
{
    timer->due = due;
    if (!timer->slot)
        heap_add(timers, timer);
    heap_up(timers, timer->slot);
    heap_down(timers, timer->slot);
}

void rpc_timers_cancel(rpc_timers_t *timers, rpc_timer_t *timer)
{
    size_t slot = timer->slot;
    rpc_timer_t *last;

    if (!slot)
        return;
    timer->slot = 0;
    last = timers->heap[timers->count--];
    if (last != timer) {
        heap_place(timers, slot, last);
        heap_up(timers, slot);
        heap_down(timers, last->slot);
    }
}

rpc_timer_t *rpc_timers_first(const rpc_timers_t *timers)
{
    return timers->count ? timers->heap[1] : NULL;
}

void rpc_timers_free(rpc_timers_t *timers)
{
    free(timers->heap);
    *timers = (rpc_timers_t){ 0 };
}
