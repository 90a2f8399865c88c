/* fake_loop.c: io/loop.h with a clock that stands still until a script moves it. A turn is the same
 * as in io/loop.c: events, timers that are due, then the run queue, once through.
 */
#include "fake.h"

#include <sys/epoll.h>

#include "base/list.h"
#include "io/loan.h"
#include "io/timers.h"

#define TIMERS_MAX 512
#define TURNS_MAX 1000          /* in which no byte moves */
#define FIRES_MAX 3000

struct rpc_loop {
    fake_world_t *world;
    rpc_job_t *first, *last;
    rpc_timers_t timers;
    int timer_count;
    uint8_t *scratch;           /* of its own, so that a sanitizer sees its end */
    rpc_loan_t *loan;
    struct rpc_socket *closing;
};

fake_world_t *fake_world_of(const rpc_loop_t *loop)
{
    return loop->world;
}

void rpc_loop_schedule(rpc_loop_t *loop, rpc_job_t *job)
{
    if (job->queued)
        return;
    job->queued = 1;
    RPC_QUEUE_APPEND(loop, job);
}

void rpc_loop_schedule_more(rpc_loop_t *loop, rpc_job_t *job)
{
    rpc_loop_schedule(loop, job);
}

void rpc_loop_schedule_end(rpc_loop_t *loop, rpc_job_t *job)
{
    rpc_loop_schedule(loop, job);
}

void rpc_loop_unschedule(rpc_loop_t *loop, rpc_job_t *job)
{
    if (!job->queued)
        return;
    job->queued = 0;
    RPC_QUEUE_REMOVE(loop, job);
}

void rpc_loop_post(rpc_loop_t *loop, rpc_job_t *job)
{
    MUST(!job->queued, "a job that waits on one loop is posted to another");
    rpc_loop_schedule(loop, job);
}

/* Is TIMER in the list that begins with FIRST, or below one of it? */
static int is_among(const rpc_timer_t *first, const rpc_timer_t *timer)
{
    for (; first; first = first->next) {
        if (first == timer || is_among(first->child, timer))
            return 1;
    }
    return 0;
}

static void must_be_ours(const rpc_loop_t *loop, const rpc_timer_t *timer)
{
    MUST(!timer->link || is_among(loop->timers.first, timer), "a timer of another loop");
}

void rpc_timer_set(rpc_loop_t *loop, rpc_timer_t *timer, apr_time_t due)
{
    must_be_ours(loop, timer);
    loop->timer_count += !timer->link;
    rpc_timers_set(&loop->timers, timer, due);
    MUST(loop->timer_count <= TIMERS_MAX, "too many timers");
}

void rpc_timer_cancel(rpc_loop_t *loop, rpc_timer_t *timer)
{
    must_be_ours(loop, timer);
    loop->timer_count -= timer->link != NULL;
    rpc_timers_cancel(&loop->timers, timer);
}

apr_status_t rpc_watch_add(rpc_loop_t *loop, rpc_watch_t *watch)
{
    loop->world->peers[watch->fd]->watched = 1;
    rpc_watch_again(loop, watch);
    return APR_SUCCESS;
}

void rpc_watch_again(rpc_loop_t *loop, rpc_watch_t *watch)
{
    fake_peer_t *peer = loop->world->peers[watch->fd];

    peer->events |= EPOLLIN | EPOLLOUT | (peer->eof ? EPOLLRDHUP : 0);
}

void rpc_watch_remove(rpc_loop_t *loop, rpc_watch_t *watch)
{
    loop->world->peers[watch->fd]->watched = 0;
}

apr_time_t rpc_loop_now(const rpc_loop_t *loop)
{
    return loop->world->now;
}

struct rpc_socket **rpc_loop_closing(rpc_loop_t *loop)
{
    return &loop->closing;
}

/* Nobody may find in it what was there before. */
uint8_t *rpc_loop_scratch(rpc_loop_t *loop)
{
    rpc_loan_settle(&loop->loan);
    memset(loop->scratch, 0xdb, RPC_LOOP_SCRATCH);
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

/* ---- the world ---- */

fake_world_t *fake_world_new(apr_pool_t *pool)
{
    fake_world_t *world = calloc(1, sizeof(*world));
    int i;

    MUST(world, "out of memory");
    world->now = apr_time_from_sec(1000);
    for (i = 0; i < FAKE_LOOPS; i++) {
        rpc_loop_t *loop = calloc(1, sizeof(*loop));

        MUST(loop, "out of memory");
        loop->world = world;
        loop->scratch = malloc(RPC_LOOP_SCRATCH);
        world->loops[i] = loop;
    }
    return world;
}

static rpc_timer_t *next_timer(fake_world_t *world, apr_time_t until, rpc_loop_t **of)
{
    rpc_timer_t *next = NULL;
    int i;

    for (i = 0; i < FAKE_LOOPS; i++) {
        rpc_loop_t *loop = world->loops[i];
        rpc_timer_t *first = rpc_timers_first(&loop->timers);

        if (first && first->due <= (next ? next->due - 1 : until)) {
            next = first;
            *of = loop;
        }
    }
    return next;
}

static int fire_due(fake_world_t *world)
{
    rpc_timer_t *timer;
    rpc_loop_t *loop;
    int fired = 0;

    while ((timer = next_timer(world, world->now, &loop))) {
        MUST(fired++ < FIRES_MAX, "a timer is set to a time gone by, for ever");
        rpc_timer_cancel(loop, timer);
        timer->fire(timer);
    }
    return fired;
}

/* What is queued now, up to a marker. */
static int run_queue(rpc_loop_t *loop)
{
    rpc_job_t marker = { NULL, NULL, NULL, 0 };

    if (!loop->first)
        return 0;
    rpc_loop_schedule(loop, &marker);
    for (;;) {
        rpc_job_t *job = loop->first;

        rpc_loop_unschedule(loop, job);
        if (job == &marker)
            return 1;
        job->run(job);
    }
}

int fake_turn(fake_world_t *world)
{
    int i, did = 0;

    for (i = 0; i < world->peer_count; i++) {
        fake_peer_t *peer = world->peers[i];

        if (peer->stream && peer->watched && peer->events) {
            fake_tell(peer);
            did = 1;
        }
    }
    did |= fire_due(world);
    for (i = 0; i < FAKE_LOOPS; i++)
        did |= run_queue(world->loops[i]);
    return did;
}

void fake_settle(fake_world_t *world)
{
    uint64_t moved = world->moved;
    int turns = 0;

    while (fake_turn(world)) {
        turns = world->moved == moved ? turns + 1 : 0;
        moved = world->moved;
        MUST(turns < TURNS_MAX, "always something left to do");
    }
}

void fake_advance(fake_world_t *world, apr_interval_time_t time)
{
    apr_time_t until = world->now + time;
    rpc_timer_t *timer;
    rpc_loop_t *loop;
    int fires = 0;

    while ((timer = next_timer(world, until, &loop))) {
        MUST(fires++ < FIRES_MAX, "a timer goes off all the time");
        if (timer->due > world->now)
            world->now = timer->due;
        fake_settle(world);
    }
    world->now = until;
    fake_settle(world);
}

static void free_peer(fake_peer_t *peer)
{
    MUST(!peer->stream, "stream %d was never closed", peer->number);
    rpc_bytes_clear(&peer->in);
    rpc_bytes_clear(&peer->below);
    free(peer);
}

void fake_world_free(fake_world_t *world)
{
    int i;

    MUST(!world->connects, "a connect was never cancelled");
    for (i = 0; i < FAKE_LOOPS; i++) {
        rpc_loop_t *loop = world->loops[i];

        MUST(!loop->first, "a job is still queued");
        MUST(!loop->timer_count, "%d timers are still set", loop->timer_count);
        free(loop->scratch);
        free(loop);
    }
    for (i = 0; i < world->peer_count; i++)
        free_peer(world->peers[i]);
    free(world);
}
