/* rpc_loop: an I/O thread: readiness, timers, and the hand-over of work to it.
 *
 * A loop has one epoll, edge-triggered, with each descriptor registered once; run queues
 * of jobs, so that one busy owner never keeps the others from their turn; a heap of
 * timers; and an eventfd for work from other threads. It knows descriptors, but no protocol.
 * Between two looks at the descriptors some jobs and timers run, however many there are.
 *
 * Every object given to a loop (watch, job, timer) is embedded in its owner's struct and
 * is touched only on the loop's thread, except by rpc_loop_post(). Times are microseconds
 * of rpc_clock_now().
 */
#ifndef RPC_LOOP_H
#define RPC_LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>
#include <apr_time.h>
#include <apr_errno.h>

typedef struct rpc_loop rpc_loop_t;

/* The struct of TYPE whose MEMBER is at PTR: from an embedded job to its owner. */
#define RPC_OWNER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* A piece of work. Zero it, set run. */
typedef struct rpc_job rpc_job_t;
struct rpc_job {
    void (*run)(rpc_job_t *job);
    rpc_job_t *next, *prev; /* private */
    int queued;             /* private: in a run queue */
};

/* A timer, which calls fire at a moment. Zero it, set fire. */
typedef struct rpc_timer rpc_timer_t;
struct rpc_timer {
    void (*fire)(rpc_timer_t *timer);
    apr_time_t due;         /* private */
    /* Private (io/timers.c): the first child, the next child of the same parent, and what points
     * here, NULL when the timer is not set. */
    rpc_timer_t *child, *next, **link;
};

/* A descriptor that is watched. Zero it, set fd and ready. EVENTS are EPOLL* bits. */
typedef struct rpc_watch rpc_watch_t;
struct rpc_watch {
    int fd;
    void (*ready)(rpc_watch_t *watch, uint32_t events);
};

/* Creates a loop in POOL, which does not run yet. Fails with the errors of epoll and
 * eventfd. */
apr_status_t rpc_loop_create(rpc_loop_t **loop, apr_pool_t *pool);

/* Runs the loop on a thread of its own, all signals blocked (httpd handles them). */
apr_status_t rpc_loop_start(rpc_loop_t *loop);
/* Runs the loop on the calling thread until rpc_loop_stop(). */
void rpc_loop_run(rpc_loop_t *loop);
/* Does a loop run on the calling thread? */
int rpc_loop_is_here(void);
/* Ends the loop after its current turn. Jobs that have not run are dropped; their owners
 * clean up. Any thread. */
void rpc_loop_stop(rpc_loop_t *loop);
/* Waits until the loop's thread, if it has one, has ended. Any thread except that one. */
void rpc_loop_join(rpc_loop_t *loop);

/* Hands JOB to the loop. Any thread; JOB must not be queued anywhere. */
void rpc_loop_post(rpc_loop_t *loop, rpc_job_t *job);

/* The functions below are called on the loop's thread only. */

/* Queues JOB behind those that wait; does nothing when JOB waits already. A job that
 * schedules itself runs again after the loop has looked at its descriptors. */
void rpc_loop_schedule(rpc_loop_t *loop, rpc_job_t *job);
/* The same, but in queues of their own: rpc_loop_schedule_more() is for a job that has had a turn
 * and has more to do, rpc_loop_schedule_end() for an end, of which thousands may come at once. Each
 * queue has a share of every turn. A job that waits already keeps its place. */
void rpc_loop_schedule_more(rpc_loop_t *loop, rpc_job_t *job);
void rpc_loop_schedule_end(rpc_loop_t *loop, rpc_job_t *job);
void rpc_loop_unschedule(rpc_loop_t *loop, rpc_job_t *job);

/* Sets or moves a timer, which cannot fail; DUE is a time as rpc_loop_now() returns it. A timer
 * fires once. */
void rpc_timer_set(rpc_loop_t *loop, rpc_timer_t *timer, apr_time_t due);
void rpc_timer_cancel(rpc_loop_t *loop, rpc_timer_t *timer);

/* Watches for EPOLLIN, EPOLLOUT, EPOLLRDHUP, edge-triggered. */
apr_status_t rpc_watch_add(rpc_loop_t *loop, rpc_watch_t *watch);
/* Afterwards ready is not called any more, not even for events already fetched. Does not
 * close the descriptor. */
void rpc_watch_remove(rpc_loop_t *loop, rpc_watch_t *watch);
/* Makes the next turn report again what is true of the descriptor at that time. */
void rpc_watch_again(rpc_loop_t *loop, rpc_watch_t *watch);

/* The time at which this turn began. */
apr_time_t rpc_loop_now(const rpc_loop_t *loop);

/* The list of the sockets that close (io/stream.c). */
struct rpc_socket **rpc_loop_closing(rpc_loop_t *loop);

/* A buffer that any job may use until it returns. It is given to one user after the other: ask
 * for it anew before each use. */
#define RPC_LOOP_SCRATCH 65536
uint8_t *rpc_loop_scratch(rpc_loop_t *loop);

/* A user of the scratch buffer who has not copied the data in it. Zero it, set settle. */
typedef struct rpc_loan rpc_loan_t;
struct rpc_loan {
    void (*settle)(rpc_loan_t *loan);
};

/* When DATA lies in the scratch: LOAN's settle() is called once, before the scratch is given to its
 * next user, and must then be done with DATA. Returns 1. Elsewhere: 0. There is one loan at a time;
 * that of anybody else is settled now. */
int rpc_loop_lend(rpc_loop_t *loop, rpc_loan_t *loan, const void *data);
/* LOAN no longer needs data in the scratch buffer. */
void rpc_loop_return(rpc_loop_t *loop, rpc_loan_t *loan);

#endif
