/* httpd/log_writer.c: a queue and the thread that empties it.
 *
 * A line may take for ever: a pipe whose reader has stopped, a file system that does not answer. So
 * the lock is never held while one is written, and the end does not wait for the thread but for a
 * moment.
 */
#include "httpd/log_writer.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"

#define CANCEL_TIME apr_time_from_msec(200)
#define GATHER_TIME apr_time_from_msec(20)

struct rpc_log_writer {
    size_t room;
    void (*missing)(unsigned long lines);
    apr_pool_t *pool;           /* the thread's, cleared after each line */
    pthread_t thread;
    pthread_mutex_t lock;       /* guards what follows */
    pthread_cond_t more;        /* a line has come to a thread at rest, or the end */
    pthread_cond_t done;        /* all are written */
    int at_rest;                /* until a line comes */
    rpc_line_t *first, **last;
    size_t held;                /* bytes, with those of the line that is being written */
    unsigned long dropped;      /* and not told yet */
    int ending;
};

apr_interval_time_t rpc_line_age(const rpc_line_t *line)
{
    return rpc_clock_now() - line->given;
}

/* ---- the thread ---- */

/* With the lock held, which it gives up meanwhile. */
static void write_first(rpc_log_writer_t *w)
{
    rpc_line_t *line = w->first;
    size_t size = line->size;
    unsigned long dropped = w->dropped;

    w->first = line->next;
    if (!w->first)
        w->last = &w->first;
    w->dropped = 0;
    pthread_mutex_unlock(&w->lock);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    if (dropped)
        w->missing(dropped);
    line->write(line, w->pool);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    apr_pool_clear(w->pool);
    pthread_mutex_lock(&w->lock);
    w->held -= size;
}

/* With the lock held. Where one line was, there are more in a moment: they are left to gather, for
 * to wake a thread is dear. */
static void await_more(rpc_log_writer_t *w)
{
    struct timespec limit = rpc_clock_in(GATHER_TIME);

    if (!w->ending)
        pthread_cond_clockwait(&w->more, &w->lock, CLOCK_MONOTONIC, &limit);
    w->at_rest = !w->first && !w->ending;
    while (w->at_rest)
        pthread_cond_wait(&w->more, &w->lock);
}

static void *writer_thread(void *data)
{
    rpc_log_writer_t *w = data;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_mutex_lock(&w->lock);
    while (w->first || !w->ending) {
        if (w->first)
            write_first(w);
        else
            await_more(w);
    }
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- what others call ---- */

/* With the lock held. */
static void wake(rpc_log_writer_t *w)
{
    w->at_rest = 0;
    pthread_cond_signal(&w->more);
}

unsigned long rpc_log_writer_give(rpc_log_writer_t *w, rpc_line_t *line)
{
    unsigned long dropped = 0;

    if (line) {
        line->given = rpc_clock_now();
        line->next = NULL;
    }
    pthread_mutex_lock(&w->lock);
    if (!line || w->ending || w->held + line->size > w->room)
        dropped = ++w->dropped;
    else {
        w->held += line->size;
        *w->last = line;
        w->last = &line->next;
        if (w->at_rest)
            wake(w);
    }
    pthread_mutex_unlock(&w->lock);
    if (line && dropped)
        line->drop(line);
    return dropped;
}

/* With the lock held: how many lines there are, that which is being written included. */
static unsigned long waiting(const rpc_log_writer_t *w)
{
    unsigned long lines = w->dropped;
    size_t size = 0;
    const rpc_line_t *line;

    for (line = w->first; line; line = line->next) {
        size += line->size;
        lines++;
    }
    return lines + (w->held > size);
}

/* A thread that hangs in write() is cancelled there, for it must not wake up among pools that are
 * gone. */
unsigned long rpc_log_writer_finish(rpc_log_writer_t *w, apr_interval_time_t time)
{
    struct timespec limit = rpc_clock_in(time), last;
    unsigned long lost;
    int late = 0;

    pthread_mutex_lock(&w->lock);
    w->ending = 1;
    wake(w);
    while (w->held && !late)
        late = pthread_cond_clockwait(&w->done, &w->lock, CLOCK_MONOTONIC, &limit);
    lost = waiting(w);
    pthread_mutex_unlock(&w->lock);
    if (lost)
        pthread_cancel(w->thread);
    last = rpc_clock_in(CANCEL_TIME);
    if (pthread_clockjoin_np(w->thread, NULL, CLOCK_MONOTONIC, &last) == 0)
        apr_pool_destroy(w->pool);
    return lost;
}

/* ---- the beginning ---- */

apr_status_t rpc_log_writer_start(rpc_log_writer_t **writer, size_t room,
                                  void (*missing)(unsigned long lines))
{
    rpc_log_writer_t *w = calloc(1, sizeof(*w));
    apr_status_t rv;

    if (!w)
        return APR_ENOMEM;
    rv = apr_pool_create_unmanaged_ex(&w->pool, NULL, NULL);
    if (rv != APR_SUCCESS) {
        free(w);
        return rv;
    }
    w->room = room;
    w->missing = missing;
    w->last = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    pthread_cond_init(&w->done, NULL);
    rv = rpc_thread_start(&w->thread, writer_thread, w);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(w->pool);
        free(w);
        return rv;
    }
    *writer = w;
    return APR_SUCCESS;
}
