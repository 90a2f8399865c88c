/* delegate_gate: how many threads of a child may wait for the KDC.
 *
 * libkrb5 waits for a KDC that does not answer, as long as it likes, and nobody can interrupt it.
 * So only a few threads ask at once, the others wait for their turn, not for long. When no KDC has
 * answered, nobody asks for a moment, and then one thread tries whether there is one again. So a
 * KDC that is down uses up neither threads nor workers of a child. Any thread.
 */
#ifndef DELEGATE_GATE_H
#define DELEGATE_GATE_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct delegate_gate delegate_gate_t;

typedef struct delegate_gate_limits {
    int at_once;                    /* threads that may ask at once */
    apr_interval_time_t patience;   /* how long a thread waits for its turn */
    apr_interval_time_t pause;      /* nobody asks for so long after no KDC has answered */
} delegate_gate_limits_t;

/* Lives as long as POOL. NULL: no memory. */
delegate_gate_t *delegate_gate_make(apr_pool_t *pool, const delegate_gate_limits_t *limits);

/* Waits for the turn of this thread. NULL: it may ask, and has to leave the gate afterwards; else
 * why it may not. */
const char *delegate_gate_enter(delegate_gate_t *gate);

/* ANSWERED: not that no KDC was there. */
void delegate_gate_leave(delegate_gate_t *gate, int answered);

#endif
