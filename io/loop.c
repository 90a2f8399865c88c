/* io/loop.c: one turn of a loop is
 *
 *   wait (epoll)  ->  descriptors that are ready  ->  timers that are due
 *                 ->  work from other threads     ->  the run queues
 *
 * A descriptor's readiness only sets flags and schedules its owner's job; owners do their work in
 * the run queues, each a bounded piece, so all get their turn. A job that schedules itself again
 * goes to the end and the loop looks at its descriptors before.
 *
 * There are three run queues: for what has just become possible, for owners that have had a turn
 * and have more to do, and for ends. Each has a share of every turn. So a bulk transfer, or
 * thousands of connections that a dead server has closed, never make those wait who have something
 * to say.
 */
#include "io/loop.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <apr_strings.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/thread.h"
#include "io/loan.h"
#include "io/timers.h"

#define LOOP_EVENTS 256
#define KEPT_MEMORY (1 << 20)   /* bytes that are free and stay in the process */
/* What runs between two looks at the descriptors. */
#define TIMERS_A_TURN 32
typedef enum { QUEUE_NOW, QUEUE_MORE, QUEUE_END, QUEUES } queue_kind_t;
static const int jobs_a_turn[QUEUES] = { [QUEUE_NOW] = 64, [QUEUE_MORE] = 16, [QUEUE_END] = 4 };

typedef struct run_queue {
    rpc_job_t *first, *last;
} run_queue_t;

struct rpc_loop {
    int epoll_fd;
    rpc_watch_t wakeup;             /* the eventfd that posts ring */
    apr_time_t now;

    run_queue_t queues[QUEUES];
    rpc_job_t marker;

    rpc_timers_t timers;

    struct epoll_event events[LOOP_EVENTS];
    int event_count, event_at;      /* the batch being handled */

    pthread_mutex_t lock;           /* guards posted and stopping */
    rpc_job_t *posted_first, *posted_last;
    int stopping;

    pthread_t thread;
    int has_thread;

    rpc_loan_t *loan;               /* of the scratch, or NULL */
    struct rpc_socket *closing;
    uint8_t scratch[RPC_LOOP_SCRATCH];
};

static _Thread_local int loop_is_here;

/* ---- the run queues ---- */

/* Which queue a job is in: queued is its number and 1. */
static void enqueue(rpc_loop_t *loop, rpc_job_t *job, queue_kind_t kind)
{
    if (job->queued)
        return;
    job->queued = (int)kind + 1;
    RPC_QUEUE_APPEND(&loop->queues[kind], job);
}

void rpc_loop_schedule(rpc_loop_t *loop, rpc_job_t *job)
{
    enqueue(loop, job, QUEUE_NOW);
}

void rpc_loop_schedule_more(rpc_loop_t *loop, rpc_job_t *job)
{
    enqueue(loop, job, QUEUE_MORE);
}

void rpc_loop_schedule_end(rpc_loop_t *loop, rpc_job_t *job)
{
    enqueue(loop, job, QUEUE_END);
}

void rpc_loop_unschedule(rpc_loop_t *loop, rpc_job_t *job)
{
    run_queue_t *queue;

    if (!job->queued)
        return;
    queue = &loop->queues[job->queued - 1];
    job->queued = 0;
    RPC_QUEUE_REMOVE(queue, job);
}

/* Runs jobs that are queued now, but not those that are queued meanwhile: the marker stands behind
 * them. */
static void run_jobs(rpc_loop_t *loop, queue_kind_t kind)
{
    rpc_job_t *job, *marker = &loop->marker;
    int left;

    if (!loop->queues[kind].first)
        return;
    enqueue(loop, marker, kind);
    for (left = jobs_a_turn[kind]; left && (job = loop->queues[kind].first) != marker; left--) {
        rpc_loop_unschedule(loop, job);
        job->run(job);
    }
    rpc_loop_unschedule(loop, marker);
}

static int has_jobs(const rpc_loop_t *loop)
{
    return loop->queues[QUEUE_NOW].first || loop->queues[QUEUE_MORE].first
        || loop->queues[QUEUE_END].first;
}

/* ---- timers ---- */

void rpc_timer_set(rpc_loop_t *loop, rpc_timer_t *timer, apr_time_t due)
{
    rpc_timers_set(&loop->timers, timer, due);
}

void rpc_timer_cancel(rpc_loop_t *loop, rpc_timer_t *timer)
{
    rpc_timers_cancel(&loop->timers, timer);
}

static void run_timers(rpc_loop_t *loop)
{
    rpc_timer_t *timer;
    int left;

    for (left = TIMERS_A_TURN; left; left--) {
        timer = rpc_timers_first(&loop->timers);
        if (!timer || timer->due > loop->now)
            return;
        rpc_timer_cancel(loop, timer);
        timer->fire(timer);
    }
}

/* The milliseconds that epoll may wait, rounded up so that it never wakes before a timer is due. */
static int wait_time(const rpc_loop_t *loop)
{
    const rpc_timer_t *timer = rpc_timers_first(&loop->timers);
    apr_time_t left;

    if (has_jobs(loop))
        return 0;
    if (!timer)
        return -1;
    left = timer->due - rpc_clock_now();
    if (left <= 0)
        return 0;
    return left > apr_time_from_sec(3600) ? 3600000 : (int)((left + 999) / 1000);
}

/* ---- descriptors ---- */

static int control(rpc_loop_t *loop, int operation, rpc_watch_t *watch)
{
    struct epoll_event event;

    memset(&event, 0, sizeof(event));
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = watch;
    return epoll_ctl(loop->epoll_fd, operation, watch->fd, &event);
}

apr_status_t rpc_watch_add(rpc_loop_t *loop, rpc_watch_t *watch)
{
    return control(loop, EPOLL_CTL_ADD, watch) < 0 ? errno : APR_SUCCESS;
}

void rpc_watch_again(rpc_loop_t *loop, rpc_watch_t *watch)
{
    control(loop, EPOLL_CTL_MOD, watch);
}

void rpc_watch_remove(rpc_loop_t *loop, rpc_watch_t *watch)
{
    int i;

    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    for (i = loop->event_at; i < loop->event_count; i++) {
        if (loop->events[i].data.ptr == watch)
            loop->events[i].data.ptr = NULL;
    }
}

static void run_events(rpc_loop_t *loop)
{
    for (loop->event_at = 0; loop->event_at < loop->event_count; ) {
        struct epoll_event *event = &loop->events[loop->event_at++];
        rpc_watch_t *watch = event->data.ptr;

        if (watch)
            watch->ready(watch, event->events);
    }
    loop->event_at = loop->event_count = 0;
}

/* ---- work from other threads ---- */

/* Each write is an event of its own, so nobody needs to read the counter: it would take centuries
 * to be full. */
static void wake_loop(rpc_loop_t *loop)
{
    uint64_t one = 1;
    ssize_t n;

    do {
        n = write(loop->wakeup.fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
}

static void woken(rpc_watch_t *watch, uint32_t events)
{
}

/* Where others wait already, whoever was the first wakes the loop for all. */
void rpc_loop_post(rpc_loop_t *loop, rpc_job_t *job)
{
    int first;

    pthread_mutex_lock(&loop->lock);
    first = !loop->posted_first;
    job->next = NULL;
    if (first)
        loop->posted_first = job;
    else
        loop->posted_last->next = job;
    loop->posted_last = job;
    pthread_mutex_unlock(&loop->lock);
    if (first)
        wake_loop(loop);
}

/* Moves the posted jobs into the run queue; returns 1 when the loop is to end. */
static int take_posted(rpc_loop_t *loop)
{
    rpc_job_t *job, *next;
    int stopping;

    pthread_mutex_lock(&loop->lock);
    job = loop->posted_first;
    loop->posted_first = loop->posted_last = NULL;
    stopping = loop->stopping;
    pthread_mutex_unlock(&loop->lock);

    for (; job; job = next) {
        next = job->next;
        rpc_loop_schedule(loop, job);
    }
    return stopping;
}

/* ---- life ---- */

int rpc_loop_is_here(void)
{
    return loop_is_here;
}

void rpc_loop_run(rpc_loop_t *loop)
{
    loop_is_here = 1;
    loop->now = rpc_clock_now();
    while (!take_posted(loop)) {
        int n;

        run_jobs(loop, QUEUE_NOW);
        run_jobs(loop, QUEUE_MORE);
        run_jobs(loop, QUEUE_END);
        n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS, wait_time(loop));
        loop->event_count = n > 0 ? n : 0;
        loop->now = rpc_clock_now();
        run_events(loop);
        run_timers(loop);
    }
    loop_is_here = 0;
}

static void *loop_thread(void *loop)
{
    rpc_loop_run(loop);
    return NULL;
}

apr_status_t rpc_loop_start(rpc_loop_t *loop)
{
    int err = rpc_thread_start(&loop->thread, loop_thread, loop);

    if (!err)
        loop->has_thread = 1;
    return err;
}

void rpc_loop_stop(rpc_loop_t *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stopping = 1;
    pthread_mutex_unlock(&loop->lock);
    wake_loop(loop);
}

void rpc_loop_join(rpc_loop_t *loop)
{
    if (loop->has_thread)
        pthread_join(loop->thread, NULL);
    loop->has_thread = 0;
}

static apr_status_t loop_cleanup(void *data)
{
    rpc_loop_t *loop = data;

    rpc_loop_stop(loop);
    rpc_loop_join(loop);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->wakeup.fd >= 0)
        close(loop->wakeup.fd);
    pthread_mutex_destroy(&loop->lock);
    return APR_SUCCESS;
}

#ifdef __GLIBC__
/* Has the administrator set one of malloc's thresholds? They belong together. */
static int memory_is_tuned(void)
{
    static const char *const names[] = { "mmap_threshold", "mmap_max", "top_pad",
                                         "trim_threshold" };
    static const char *const variables[] = { "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_",
                                             "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_" };
    const char *tunables = getenv("GLIBC_TUNABLES");
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (getenv(variables[i]) || (tunables && strstr(tunables, names[i])))
            return 1;
    return 0;
}
#endif

/* The buffers of bulk transfers come and go. Otherwise glibc would give their memory back to the
 * system and ask for it again, many pages a megabyte, which costs more than the transfer. glibc
 * sets both thresholds to these values by itself when a mapped block of 512 KB has been freed. They
 * are the process's, so its first loop sets them, unless the environment has. */
static void keep_memory(void)
{
#ifdef __GLIBC__
    if (memory_is_tuned())
        return;
    mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY / 2);
    mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
#endif
}

apr_status_t rpc_loop_create(rpc_loop_t **out, apr_pool_t *pool)
{
    static pthread_once_t kept = PTHREAD_ONCE_INIT;
    rpc_loop_t *loop = apr_pcalloc(pool, sizeof(*loop));

    pthread_once(&kept, keep_memory);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wakeup.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->wakeup.ready = woken;
    pthread_mutex_init(&loop->lock, NULL);
    loop->now = rpc_clock_now();
    apr_pool_cleanup_register(pool, loop, loop_cleanup, apr_pool_cleanup_null);
    if (loop->epoll_fd < 0 || loop->wakeup.fd < 0)
        return errno;
    *out = loop;
    return rpc_watch_add(loop, &loop->wakeup);
}

apr_time_t rpc_loop_now(const rpc_loop_t *loop)
{
    return loop->now;
}

struct rpc_socket **rpc_loop_closing(rpc_loop_t *loop)
{
    return &loop->closing;
}

/* ---- the scratch ---- */

uint8_t *rpc_loop_scratch(rpc_loop_t *loop)
{
    rpc_loan_settle(&loop->loan);
    return loop->scratch;
}

int rpc_loop_lend(rpc_loop_t *loop, rpc_loan_t *loan, const void *data)
{
    return rpc_loan_make(&loop->loan, loan, loop->scratch, data);
}

void rpc_loop_return(rpc_loop_t *loop, rpc_loan_t *loan)
{
    rpc_loan_forget(&loop->loan, loan);
}
