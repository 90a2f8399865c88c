/* loop_test: what a loop runs between two looks at its descriptors, and in which order. Each event
 * of a test appends one letter to a text. */
#include "io/loop.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>

#include "unit.h"

#define MANY 9000
/* More jobs than run in one turn, and far fewer than MANY. */
#define A_TURN 150

typedef struct world {
    rpc_loop_t *loop;
    rpc_watch_t watch;      /* 'L': the loop looks at it */
    rpc_job_t echo;         /* 'E': the end that its owner then carries out */
    rpc_job_t busy;         /* 'b': schedules itself again and again */
    rpc_timer_t last;       /* checks whether all events have happened */
    size_t want, got;
    char what[4 * MANY];
} world_t;

typedef struct piece {
    rpc_job_t job;
    rpc_timer_t timer;
    world_t *world;
    char letter;
} piece_t;

static void note(world_t *w, char letter)
{
    if (w->got < sizeof(w->what) - 1)
        w->what[w->got++] = letter;
}

static void run_piece(rpc_job_t *job)
{
    piece_t *p = RPC_OWNER_OF(job, piece_t, job);

    note(p->world, p->letter);
}

static void fire_piece(rpc_timer_t *timer)
{
    piece_t *p = RPC_OWNER_OF(timer, piece_t, timer);

    note(p->world, p->letter);
}

static void look(rpc_watch_t *watch, uint32_t events)
{
    world_t *w = RPC_OWNER_OF(watch, world_t, watch);

    if (!(events & EPOLLIN))
        return;
    note(w, 'L');
    rpc_loop_schedule(w->loop, &w->echo);
}

static void run_echo(rpc_job_t *job)
{
    note(RPC_OWNER_OF(job, world_t, echo), 'E');
}

static void run_busy(rpc_job_t *job)
{
    world_t *w = RPC_OWNER_OF(job, world_t, busy);

    note(w, 'b');
    if (w->got < w->want)
        rpc_loop_schedule(w->loop, job);
}

static void look_for_all(rpc_timer_t *timer)
{
    world_t *w = RPC_OWNER_OF(timer, world_t, last);

    if (w->got >= w->want)
        rpc_loop_stop(w->loop);
    else
        rpc_timer_set(w->loop, timer, rpc_loop_now(w->loop) + 1000);
}

/* A watch whose descriptor can be read from the beginning. */
static world_t *world_new(apr_pool_t *pool, int pipes[2])
{
    world_t *w = calloc(1, sizeof(*w));

    if (rpc_loop_create(&w->loop, pool) != APR_SUCCESS || pipe(pipes) < 0)
        abort();
    w->watch = (rpc_watch_t){ pipes[0], look };
    w->echo.run = run_echo;
    w->busy.run = run_busy;
    w->last.fire = look_for_all;
    rpc_watch_add(w->loop, &w->watch);
    if (write(pipes[1], "x", 1) != 1)
        abort();
    return w;
}

static piece_t *pieces(world_t *w, int count, char letter,
                       void (*schedule)(rpc_loop_t *loop, rpc_job_t *job))
{
    piece_t *all = calloc((size_t)count, sizeof(*all));
    int i;

    for (i = 0; i < count; i++) {
        all[i] = (piece_t){ .job.run = run_piece, .timer.fire = fire_piece,
                            .world = w, .letter = letter };
        if (schedule)
            schedule(w->loop, &all[i].job);
        else
            rpc_timer_set(w->loop, &all[i].timer, rpc_loop_now(w->loop));
    }
    return all;
}

static void run(world_t *w, int want)
{
    w->want = (size_t)want;
    rpc_timer_set(w->loop, &w->last, rpc_loop_now(w->loop) + 1000);
    rpc_loop_run(w->loop);
}

/* Returns how many LETTERs come before the Nth BEFORE. */
static int count_before(const world_t *w, char letter, char before, int n)
{
    int count = 0;
    size_t i;

    for (i = 0; i < w->got; i++) {
        if (w->what[i] == before && --n == 0)
            return count;
        count += w->what[i] == letter;
    }
    return before ? -1 : count;
}

static void test_jobs(apr_pool_t *pool)
{
    int pipes[2];
    world_t *w = world_new(pool, pipes);
    piece_t *all = pieces(w, MANY, 'n', rpc_loop_schedule);
    int before;

    run(w, MANY + 2);
    before = count_before(w, 'n', 'L', 1);
    ok(before >= 1 && before < A_TURN, "of %d jobs %d run before the loop looks at its descriptors",
       MANY, before);
    is_int(count_before(w, 'n', 0, 0), MANY, "and all in the end");
    free(all);
    free(w);
}

static void test_timers(apr_pool_t *pool)
{
    int pipes[2];
    world_t *w = world_new(pool, pipes);
    piece_t *all = pieces(w, MANY, 't', NULL);
    int before;

    run(w, MANY + 2);
    before = count_before(w, 't', 'E', 1);
    ok(before >= 0 && before < A_TURN,
       "of %d timers that are due %d fire before what a descriptor causes", MANY, before);
    is_int(count_before(w, 't', 0, 0), MANY, "and all in the end");
    free(all);
    free(w);
}

/* The same when the ends were scheduled first. */
static void test_ends(apr_pool_t *pool)
{
    int pipes[2];
    world_t *w = world_new(pool, pipes);
    piece_t *ends = pieces(w, MANY, 'e', rpc_loop_schedule_end);
    piece_t *more = pieces(w, 200, 'm', rpc_loop_schedule_more);
    piece_t *now = pieces(w, 200, 'n', rpc_loop_schedule);

    run(w, MANY + 402);
    ok(count_before(w, 'e', 'E', 1) < 20, "what a descriptor causes waits for %d of %d ends",
       count_before(w, 'e', 'E', 1), MANY);
    ok(count_before(w, 'm', 'E', 1) < 60, "and for %d who have more to do",
       count_before(w, 'm', 'E', 1));
    ok(count_before(w, 'e', 'm', 200) < A_TURN,
       "who waits for more is hardly held up by ends, either");
    ok(count_before(w, 'm', 'n', 200) < A_TURN, "nor what is new by those");
    ok(count_before(w, 'e', 'n', 200) >= 4, "but ends have their share meanwhile");
    is_int(count_before(w, 'e', 0, 0), MANY, "all end");
    free(ends);
    free(more);
    free(now);
    free(w);
}

/* A job that schedules itself does not hold up a job that another loop has posted. */
static void test_again(apr_pool_t *pool)
{
    int pipes[2];
    world_t *w = world_new(pool, pipes);

    rpc_loop_schedule(w->loop, &w->busy);
    run(w, 100);
    is_int(count_before(w, 'b', 'L', 1), 1, "a job that schedules itself runs again after a look");
    is_int(count_before(w, 'b', 'E', 1), 2, "and others have their turn");
    free(w);
}

static void test_unscheduled(apr_pool_t *pool)
{
    int pipes[2];
    world_t *w = world_new(pool, pipes);
    piece_t *now = pieces(w, 3, 'n', rpc_loop_schedule);
    piece_t *more = pieces(w, 3, 'm', rpc_loop_schedule_more);
    piece_t *ends = pieces(w, 3, 'e', rpc_loop_schedule_end);

    rpc_loop_unschedule(w->loop, &now[1].job);
    rpc_loop_unschedule(w->loop, &more[0].job);
    rpc_loop_unschedule(w->loop, &ends[2].job);
    rpc_loop_unschedule(w->loop, &ends[2].job);
    rpc_loop_schedule(w->loop, &ends[0].job);       /* the job is waiting already */
    run(w, 8);
    is_str(w->what, "nnmmeeLE", "jobs of all kinds that are not wanted any more");
    free(now);
    free(more);
    free(ends);
    free(w);
}

/* Buffers come and go in a bulk transfer: their memory is taken from the system once. */
static void test_memory(apr_pool_t *pool)
{
    enum { BUFFERS = 40, SIZE = 16384, ROUNDS = 20 };
    void *volatile buffers[BUFFERS];
    struct rusage before, after;
    rpc_loop_t *loop;
    int i, n;

    if (!ok(rpc_loop_create(&loop, pool) == APR_SUCCESS, "a loop")
        || !mallinfo2().arena)  /* a sanitizer's allocator, which has ways of its own */
        return;
    for (n = 0; n < ROUNDS; n++) {
        if (n == 1)
            getrusage(RUSAGE_SELF, &before);
        for (i = 0; i < BUFFERS; i++)
            if ((buffers[i] = malloc(SIZE)))
                memset(buffers[i], 1, SIZE);
        for (i = 0; i < BUFFERS; i++)
            free(buffers[i]);
    }
    getrusage(RUSAGE_SELF, &after);
    ok(after.ru_minflt - before.ru_minflt < BUFFERS * SIZE / 4096,
       "640 KB of buffers that come and go 19 times: %ld page faults",
       after.ru_minflt - before.ru_minflt);
}

/* Counts the calls of glibc's. */
static int thresholds_set;
int mallopt(int option, int value)
{
    int (*real)(int, int) = dlsym(RTLD_NEXT, "mallopt");

    thresholds_set++;
    return real(option, value);
}

/* The first loop of a process sets them, so each setting has a process of its own. */
static void test_tuned(const char *name, const char *value, int want)
{
    apr_pool_t *pool;
    rpc_loop_t *loop;
    int status = -1;
    pid_t pid;

    pid = fork();
    if (pid == 0) {
        if (value)
            setenv(name, value, 1);
        apr_pool_create(&pool, NULL);
        rpc_loop_create(&loop, pool);
        _exit(thresholds_set);
    }
    waitpid(pid, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == want, "%s=%s: %d of malloc's thresholds are set",
       name, value ? value : "", WEXITSTATUS(status));
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    alarm(60);
    test_tuned("NOTHING", NULL, 2);
    test_tuned("MALLOC_TRIM_THRESHOLD_", "131072", 0);
    test_tuned("MALLOC_TOP_PAD_", "0", 0);
    test_tuned("GLIBC_TUNABLES", "glibc.malloc.check=0:glibc.malloc.mmap_threshold=65536", 0);
    test_tuned("GLIBC_TUNABLES", "glibc.malloc.arena_max=2", 2);
    test_memory(pool);      /* before anything else moves glibc's thresholds */
    test_jobs(pool);
    test_timers(pool);
    test_ends(pool);
    test_again(pool);
    test_unscheduled(pool);
    apr_pool_destroy(pool);
    apr_terminate();
    return unit_done();
}
