/* delegate/gate.c: see delegate/gate.h. */
#include "delegate/gate.h"

#include <errno.h>
#include <pthread.h>

#include "base/clock.h"

struct delegate_gate {
    pthread_mutex_t lock;
    pthread_cond_t left;        /* a thread has left, or a KDC was found to be down or up */
    delegate_gate_limits_t limits;
    int inside;
    int down;                   /* the last answer about a KDC is that there is none */
    apr_time_t retry_at;        /* when it is down */
};

static apr_status_t end(void *data)
{
    delegate_gate_t *gate = data;

    pthread_cond_destroy(&gate->left);
    pthread_mutex_destroy(&gate->lock);
    return APR_SUCCESS;
}

delegate_gate_t *delegate_gate_make(apr_pool_t *pool, const delegate_gate_limits_t *limits)
{
    delegate_gate_t *gate = apr_pcalloc(pool, sizeof(*gate));

    gate->limits = *limits;
    if (pthread_mutex_init(&gate->lock, NULL) != 0)
        return NULL;
    if (pthread_cond_init(&gate->left, NULL) != 0) {
        pthread_mutex_destroy(&gate->lock);
        return NULL;
    }
    apr_pool_cleanup_register(pool, gate, end, apr_pool_cleanup_null);
    return gate;
}

/* Nobody asks a KDC that is down, but for one thread after the pause. */
static int is_closed(const delegate_gate_t *gate)
{
    return gate->down && (gate->inside || rpc_clock_now() < gate->retry_at);
}

const char *delegate_gate_enter(delegate_gate_t *gate)
{
    struct timespec until = rpc_clock_in(gate->limits.patience);
    const char *why = NULL;

    pthread_mutex_lock(&gate->lock);
    while (!why && (is_closed(gate) || gate->inside >= gate->limits.at_once)) {
        if (is_closed(gate))
            why = "no KDC has answered a moment ago";
        else if (pthread_cond_clockwait(&gate->left, &gate->lock, CLOCK_MONOTONIC, &until)
                 == ETIMEDOUT)
            why = "too many others wait for the KDC";
    }
    if (!why)
        gate->inside++;
    pthread_mutex_unlock(&gate->lock);
    return why;
}

void delegate_gate_leave(delegate_gate_t *gate, int answered)
{
    pthread_mutex_lock(&gate->lock);
    gate->inside--;
    gate->down = !answered;
    if (gate->down)
        gate->retry_at = rpc_clock_now() + gate->limits.pause;
    pthread_cond_broadcast(&gate->left);
    pthread_mutex_unlock(&gate->lock);
}
