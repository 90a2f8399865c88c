/* resolver_test: the shares of users in the threads, old answers, local failures, and an end while
 * look-ups run. The test answers look-ups itself: each one hangs until the test says so, or all get
 * the answer that is set. */
#include "target/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>

#include <apr_general.h>

#include "stopped_clock.h"
#include "unit.h"

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("Bail out! %s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

typedef struct world {
    apr_pool_t *pool;
    rpc_loop_t *loop;
    rpc_resolver_t *resolver;
    rpc_log_t log;
    int pending;

    pthread_mutex_t lock;       /* protects what the threads of the resolver see */
    pthread_cond_t changed;
    int hang;
    int error;                  /* the error of every look-up, or 0 */
    int begun, ended;           /* look-ups */
    int warnings, notices;
    stopped_clock_t clock;
} world_t;

/* A look-up that is awaited. */
typedef struct wish {
    world_t *w;
    rpc_look_up_t *look_up;
    int answered;
    rpc_resolved_t answer;
} wish_t;

static int look_up(void *ctx, const char *host, rpc_addresses_t *addresses)
{
    world_t *w = ctx;
    int error;

    pthread_mutex_lock(&w->lock);
    w->begun++;
    pthread_cond_broadcast(&w->changed);
    while (w->hang)
        pthread_cond_wait(&w->changed, &w->lock);
    error = w->error;
    w->ended++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (error)
        return error;
    addresses->count = 1;
    memset(addresses->list, 0, sizeof(*addresses->list));
    addresses->list[0].v4.sin_family = AF_INET;
    addresses->list[0].v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return 0;
}

static apr_time_t now(void *ctx)
{
    world_t *w = ctx;

    return stopped_clock_read(&w->clock);
}

static void set(world_t *w, int hang, int error)
{
    pthread_mutex_lock(&w->lock);
    w->hang = hang;
    w->error = error;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void await(world_t *w, const int *count, int most)
{
    pthread_mutex_lock(&w->lock);
    while (*count < most)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static int begun(world_t *w)
{
    int count;

    pthread_mutex_lock(&w->lock);
    count = w->begun;
    pthread_mutex_unlock(&w->lock);
    return count;
}

static void hear(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    world_t *w = log->ctx;

    __atomic_fetch_add(level == RPC_LOG_WARN ? &w->warnings : &w->notices, 1, __ATOMIC_SEQ_CST);
}

/* This memory is not freed, because a look-up that was left behind returns to it. It is volatile,
 * so that the compiler keeps the pointer. */
static world_t *world_new(int names)
{
    static world_t *volatile worlds[16];
    static int count;
    world_t *w = worlds[count++] = calloc(1, sizeof(*w));
    rpc_resolver_params_t params = { .names = names, .look_up = look_up, .now = now, .ctx = w,
                                     .log = &w->log };

    w->log = (rpc_log_t){ hear, RPC_LOG_NOTICE, w };
    w->clock.time = apr_time_from_sec(100);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    apr_pool_create(&w->pool, NULL);
    CHECK(rpc_loop_create(&w->loop, w->pool) == APR_SUCCESS);
    CHECK(rpc_resolver_make(&w->resolver, &params, w->pool) == APR_SUCCESS);
    return w;
}

static void done(void *ctx, const rpc_resolved_t *answer)
{
    wish_t *wish = ctx;

    wish->look_up = NULL;
    wish->answered = 1;
    wish->answer = *answer;
    if (--wish->w->pending == 0)
        rpc_loop_stop(wish->w->loop);
}

static void begin(world_t *w, wish_t *wish, const char *host, const char *user)
{
    memset(wish, 0, sizeof(*wish));
    wish->w = w;
    w->pending++;
    wish->look_up = rpc_look_up_start(w->resolver, w->loop, host, user, done, wish);
    CHECK(wish->look_up != NULL);
}

static rpc_reason_t cancel(wish_t *wish)
{
    wish->w->pending--;
    return rpc_look_up_cancel(wish->look_up);
}

/* A loop can run only once, so each test has a new one. */
static void await_all(world_t *w)
{
    rpc_loop_run(w->loop);
    CHECK(rpc_loop_create(&w->loop, w->pool) == APR_SUCCESS);
}

static const rpc_resolved_t *ask(world_t *w, wish_t *wish, const char *host)
{
    begin(w, wish, host, NULL);
    await_all(w);
    return &wish->answer;
}

/* ---- shares ---- */

#define CROWD 40

/* Asks for COUNT names made by FMT, for users made by USERS; all of them hang. Returns how many are
 * looked up at once. */
static void test_share(const char *fmt, const char *users, int count, int share, const char *what)
{
    world_t *w = world_new(0);
    wish_t wishes[CROWD], other;
    char host[40], user[40];
    int i, starved = 0;

    set(w, 1, EAI_AGAIN);
    for (i = 0; i < count; i++) {
        snprintf(host, sizeof(host), fmt, i, i);
        snprintf(user, sizeof(user), users, i);
        begin(w, &wishes[i], host, user);
    }
    await(w, &w->begun, share);
    begin(w, &other, "srv.other.example", "bob");
    await(w, &w->begun, share + 1);
    is_int(begun(w), share + 1, "%s have %d threads, and another name has one", what, share);
    for (i = 0; i < count; i++)
        starved += cancel(&wishes[i]) == RPC_REASON_LOCAL_FAILURE;
    is_int(starved, count - share, "%s: who got none is told so", what);
    is_int(cancel(&other), RPC_REASON_RESOLVE_FAILED, "%s: who got one failed by the name", what);
    apr_pool_destroy(w->pool);
    set(w, 0, 0);
    await(w, &w->ended, share + 1);
}

static void test_turns(void)
{
    world_t *w = world_new(0);
    wish_t wishes[12];
    char host[40];
    int i, good = 0;

    set(w, 1, 0);
    for (i = 0; i < 12; i++) {
        snprintf(host, sizeof(host), "n%d.d%d.example%d", i, i, i);
        begin(w, &wishes[i], host, "alice");
    }
    await(w, &w->begun, 8);
    set(w, 0, 0);
    await_all(w);
    for (i = 0; i < 12; i++)
        good += wishes[i].answered && !wishes[i].answer.reason;
    is_int(good, 12, "who waits for a share of his own has it when one of his is done");
    apr_pool_destroy(w->pool);
}

static void test_queue(void)
{
    world_t *w = world_new(40);
    wish_t wishes[20], other;
    char host[40];
    int i, refused = 0;

    set(w, 1, 0);
    for (i = 0; i < 20; i++) {
        snprintf(host, sizeof(host), "n%d.d%d.example%d", i, i, i);
        begin(w, &wishes[i], host, "alice");
        await(w, &w->begun, i < 8 ? i + 1 : 8);
    }
    begin(w, &other, "srv.other.example", "bob");
    set(w, 0, 0);
    await_all(w);
    for (i = 0; i < 20; i++)
        refused += wishes[i].answer.reason == RPC_REASON_LOCAL_FAILURE;
    is_int(refused, 2, "of what waits, a user has no more than a quarter");
    ok(!other.answer.reason, "and another has room");
    apr_pool_destroy(w->pool);
}

/* ---- old answers ---- */

static void test_failing(void)
{
    world_t *w = world_new(0);
    wish_t wish;

    ok(!ask(w, &wish, "a.example")->reason, "an answer");
    set(w, 0, EAI_AGAIN);
    stopped_clock_pass(&w->clock, apr_time_from_sec(31));
    ok(!ask(w, &wish, "a.example")->reason && wish.answer.addresses.count == 1,
       "none comes: the last good one");
    is_int(begun(w), 2, "a new one was asked for");
    ok(!ask(w, &wish, "a.example")->reason, "again");
    is_int(begun(w), 2, "at once, for a moment");
    is_int(w->warnings, 1, "the log has one line");
    is_int(ask(w, &wish, "b.example")->reason, RPC_REASON_RESOLVE_FAILED,
           "a name that had none fails");
    is_int(wish.answer.error, EAI_AGAIN, "by its error");
    set(w, 0, 0);
    stopped_clock_pass(&w->clock, apr_time_from_sec(31));
    ok(!ask(w, &wish, "a.example")->reason, "a new one");
    is_int(w->notices, 1, "the log has one line of that");
    set(w, 0, EAI_FAIL);
    stopped_clock_pass(&w->clock, apr_time_from_sec(3600));
    is_int(ask(w, &wish, "a.example")->reason, RPC_REASON_RESOLVE_FAILED, "an hour is too old");
    set(w, 0, 0);
    stopped_clock_pass(&w->clock, apr_time_from_sec(31));
    ok(!ask(w, &wish, "a.example")->reason, "good");
    set(w, 0, EAI_NONAME);
    stopped_clock_pass(&w->clock, apr_time_from_sec(31));
    is_int(ask(w, &wish, "a.example")->reason, RPC_REASON_RESOLVE_FAILED, "a name that is no more");
    set(w, 0, EAI_AGAIN);
    stopped_clock_pass(&w->clock, apr_time_from_sec(31));
    is_int(ask(w, &wish, "a.example")->reason, RPC_REASON_RESOLVE_FAILED, "has no old answer");
    apr_pool_destroy(w->pool);
}

static void test_silent(void)
{
    world_t *w = world_new(0);
    wish_t wish, second;

    ask(w, &wish, "a.example");
    set(w, 1, 0);
    stopped_clock_pass(&w->clock, apr_time_from_sec(31));
    begin(w, &wish, "a.example", NULL);
    await(w, &w->begun, 2);
    stopped_clock_pass(&w->clock, apr_time_from_sec(2));
    begin(w, &second, "a.example", NULL);
    w->pending--;               /* for the first one, which continues to wait */
    rpc_loop_run(w->loop);
    ok(second.answered && !second.answer.reason,
       "who comes when the others have waited has the last good answer at once");
    ok(!wish.answered, "while the first still has patience");
    w->pending++;
    cancel(&wish);
    apr_pool_destroy(w->pool);
    set(w, 0, 0);
    await(w, &w->ended, 2);
}

static void test_ours(void)
{
    world_t *w = world_new(0);
    wish_t wish;

    set(w, 0, EAI_MEMORY);
    is_int(ask(w, &wish, "a.example")->reason, RPC_REASON_LOCAL_FAILURE, "no memory is ours");
    set(w, 0, 0);
    ok(!ask(w, &wish, "a.example")->reason, "and not remembered");
    apr_pool_destroy(w->pool);
}

/* ---- the end ---- */

static void test_end(void)
{
    world_t *w = world_new(0);
    wish_t wishes[2];

    set(w, 1, 0);
    begin(w, &wishes[0], "a.example", NULL);
    begin(w, &wishes[1], "a.example", NULL);
    await(w, &w->begun, 1);
    cancel(&wishes[0]);
    cancel(&wishes[1]);
    apr_pool_destroy(w->pool);
    ok(1, "the end waits for nobody");
    set(w, 0, 0);
    await(w, &w->ended, 1);
}

int main(void)
{
    apr_initialize();
    atexit(apr_terminate);
    test_share("n%d.d%d.example", "alice", 12, 8, "the names of a user");
    test_share("n%d.dead.example", "user%d", 12, 8, "the names of a domain");
    test_share("n%d.d%d.dead.test", "user%d", 24, 16, "the names below a domain");
    test_share("n%d", "user%d", 12, 8, "names without a domain");
    test_turns();
    test_queue();
    test_failing();
    test_silent();
    test_ours();
    test_end();
    return unit_done();
}
