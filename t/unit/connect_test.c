/* connect_test: from names and addresses to connected sockets. Listeners on several loopback
 * addresses share a port. The test answers look-ups of names itself, and moves the clock by which
 * the resolver remembers answers. */
#include "target/connect.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <apr_file_io.h>
#include <apr_general.h>

#include "stopped_clock.h"
#include "unit.h"

#define PATIENCE apr_time_from_sec(20)
#define FILL_MAX 8

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("Bail out! %s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
            exit(1); \
        } \
    } while (0)

typedef struct world {
    struct world *before;
    apr_pool_t *pool, *loop_pool;
    rpc_loop_t *loop;               /* the loop of the connects that are under way */
    rpc_resolver_t *resolver;
    rpc_connect_params_t params;
    int pending;
    int fds;                        /* descriptors that are open before the tests */

    pthread_mutex_t lock;           /* protects what the threads of the resolver see */
    pthread_cond_t changed;
    const char *answer;             /* "127.0.0.1 ::1"; NULL: no such name */
    int closed;                     /* look-ups wait */
    int look_ups;                   /* look-ups that have begun */
    stopped_clock_t clock;
    char asked[64];                 /* the name that was looked up last */
} world_t;

/* A connect that is awaited. */
typedef struct wish {
    world_t *w;
    rpc_connect_t *connect;
    int ended;
    rpc_connect_result_t result;
} wish_t;

/* ---- the resolver's world ---- */

static void address(const char *text, uint16_t port, rpc_address_t *out)
{
    memset(out, 0, sizeof(*out));
    if (strchr(text, ':')) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        CHECK(inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1);
    } else {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        CHECK(inet_pton(AF_INET, text, &out->v4.sin_addr) == 1);
    }
}

static int look_up(void *ctx, const char *host, rpc_addresses_t *addresses)
{
    world_t *w = ctx;
    char words[256], *word, *rest = words;
    const char *answer;

    pthread_mutex_lock(&w->lock);
    w->look_ups++;
    snprintf(w->asked, sizeof(w->asked), "%s", host);
    pthread_cond_broadcast(&w->changed);
    while (w->closed)
        pthread_cond_wait(&w->changed, &w->lock);
    answer = w->answer;
    pthread_mutex_unlock(&w->lock);
    if (!answer)
        return EAI_NONAME;
    snprintf(words, sizeof(words), "%s", answer);
    while ((word = strsep(&rest, " ")))
        address(word, 0, &addresses->list[addresses->count++]);
    return 0;
}

static apr_time_t now(void *ctx)
{
    world_t *w = ctx;

    return stopped_clock_read(&w->clock);
}

static void set_closed(world_t *w, int closed)
{
    pthread_mutex_lock(&w->lock);
    w->closed = closed;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* Waits until threads have begun this number of look-ups. */
static void await_look_ups(world_t *w, int count)
{
    pthread_mutex_lock(&w->lock);
    while (w->look_ups < count)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    CHECK(dir != NULL);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static world_t *world_new(int threads, int names)
{
    world_t *w = calloc(1, sizeof(*w));
    rpc_resolver_params_t params = { .threads = threads, .names = names, .look_up = look_up,
                                     .now = now, .ctx = w };
    rpc_networks_t *everywhere;

    CHECK(w != NULL);
    w->fds = count_fds();
    apr_pool_create(&w->pool, NULL);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    CHECK(rpc_resolver_make(&w->resolver, &params, w->pool) == APR_SUCCESS);
    w->params.resolver = w->resolver;
    w->params.host = "server.example";
    w->params.timeout = PATIENCE;
    CHECK(rpc_networks_parse(w->pool, "any loopback link-local multicast", NULL, &everywhere, NULL)
          == APR_SUCCESS);
    w->params.networks = everywhere;
    return w;
}

/* This memory is not freed, because a look-up that was left behind may still return to it. */
static void world_end(world_t *w)
{
    static world_t *last;

    apr_pool_destroy(w->pool);
    is_int(count_fds(), w->fds, "no descriptor is left over");
    w->before = last;
    last = w;
}

static const rpc_networks_t *networks(world_t *w, const char *text)
{
    rpc_networks_t *result = NULL;
    rpc_syntax_error_t err;

    CHECK(rpc_networks_parse(w->pool, text, NULL, &result, &err) == APR_SUCCESS);
    return result;
}

static rpc_sources_t *sources(world_t *w, const char *text)
{
    rpc_sources_t *result = NULL;
    rpc_syntax_error_t err;

    CHECK(rpc_sources_parse(w->pool, text, NULL, &result, &err) == APR_SUCCESS);
    return result;
}

/* ---- connects, on a loop that lives while there are any ---- */

static void ended(void *ctx, const rpc_connect_result_t *result)
{
    wish_t *wish = ctx;

    wish->ended++;
    wish->result = *result;
    if (--wish->w->pending == 0)
        rpc_loop_stop(wish->w->loop);
}

static void need_loop(world_t *w)
{
    if (w->loop)
        return;
    apr_pool_create(&w->loop_pool, w->pool);
    CHECK(rpc_loop_create(&w->loop, w->loop_pool) == APR_SUCCESS);
}

static void begin(world_t *w, wish_t *wish)
{
    need_loop(w);
    memset(wish, 0, sizeof(*wish));
    wish->w = w;
    w->pending++;
    wish->connect = rpc_connect_start(w->loop, &w->params, ended, wish);
    CHECK(wish->connect != NULL);
}

static void begin_named(world_t *w, wish_t *wish, const char *host)
{
    w->params.host = host;
    begin(w, wish);
}

static void cancel(wish_t *wish)
{
    rpc_connect_cancel(wish->connect);
    wish->w->pending--;
}

/* Waits until all look-ups and connects have ended. */
static void await_all(world_t *w)
{
    if (w->pending)
        rpc_loop_run(w->loop);
    apr_pool_destroy(w->loop_pool);
    w->loop = NULL;
}

static void connect_now(world_t *w, wish_t *wish)
{
    begin(w, wish);
    await_all(w);
}

static void connect_answer(world_t *w, wish_t *wish, const char *answer)
{
    stopped_clock_pass(&w->clock, apr_time_from_sec(3600));
    w->answer = answer;
    connect_now(w, wish);
}

/* Tests that the connect has ended once, connected to ADDRESS, whose listener has the peer in its
 * queue. Closes both sockets. */
static void won(wish_t *wish, int listener, const char *to, const char *what)
{
    int fd = accept(listener, NULL, NULL);

    ok(wish->ended == 1 && wish->result.reason == RPC_REASON_NONE && wish->result.fd >= 0
           && !wish->result.rule,
       "%s: connected", what);
    is_str(wish->result.address, to, "%s: to %s", what, to);
    ok(fd >= 0, "%s: and accepted there", what);
    if (fd >= 0)
        close(fd);
    if (wish->result.fd >= 0)
        close(wish->result.fd);
}

static void lost(wish_t *wish, rpc_reason_t reason, const char *what)
{
    ok(wish->ended == 1 && wish->result.fd == -1, "%s: not connected", what);
    is_str(rpc_reason_info(wish->result.reason)->token, rpc_reason_info(reason)->token, "%s: %s",
           what, rpc_reason_info(reason)->token);
}

/* ---- listeners ---- */

/* Returns -1 when the port is in use at this address, or the address does not exist. */
static int try_listen(const char *text, uint16_t port, int backlog)
{
    rpc_address_t a;
    int fd, one = 1;

    address(text, port, &a);
    fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (a.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, &a.any, rpc_address_size(&a)) == 0 && listen(fd, backlog) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Opens listeners at COUNT addresses, all with one port, which is returned. */
static uint16_t listen_at(const char *const *at, int *fds, int count, int backlog)
{
    int attempts, i;

    for (attempts = 0; attempts < 200; attempts++) {
        rpc_address_t a;
        socklen_t len = sizeof(a);

        fds[0] = try_listen(at[0], 0, backlog);
        CHECK(fds[0] >= 0 && getsockname(fds[0], &a.any, &len) == 0);
        for (i = 1; i < count && (fds[i] = try_listen(at[i], ntohs(a.v4.sin_port), backlog)) >= 0;
             i++)
            ;
        if (i == count)
            return ntohs(a.v4.sin_port);
        while (i-- > 0)
            close(fds[i]);
    }
    CHECK(!"a port that is free at all addresses");
    return 0;
}

static int have_ipv6(void)
{
    int fd = try_listen("::1", 0, 1);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Fills the queue of a listener with backlog 0, so that further connects wait. On the loopback a
 * connection exists when connect() returns, unless it waits. */
typedef struct hole {
    int fds[FILL_MAX], count;
} hole_t;

static void dig(hole_t *hole, const char *text, uint16_t port)
{
    rpc_address_t a;

    address(text, port, &a);
    for (hole->count = 0; hole->count < FILL_MAX; ) {
        int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct pollfd p = { fd, POLLOUT, 0 };

        CHECK(fd >= 0);
        hole->fds[hole->count++] = fd;
        CHECK(connect(fd, &a.any, rpc_address_size(&a)) == 0 || errno == EINPROGRESS);
        if (poll(&p, 1, 0) == 0)
            return;
    }
    CHECK(!"a full queue");
}

static void fill_in(hole_t *hole)
{
    while (hole->count)
        close(hole->fds[--hole->count]);
}

/* ---- order ---- */

static void test_one_address(void)
{
    static const char *const at[] = { "127.0.0.1" };
    world_t *w = world_new(1, 0);
    int fd, one = 0;
    socklen_t len = sizeof(one);
    wish_t wish;

    w->params.port = listen_at(at, &fd, 1, 4);
    w->params.host = "127.0.0.1";
    connect_now(w, &wish);
    ok(fcntl(wish.result.fd, F_GETFL) & O_NONBLOCK, "non-blocking");
    ok(getsockopt(wish.result.fd, IPPROTO_TCP, TCP_NODELAY, &one, &len) == 0 && one,
       "without delay");
    won(&wish, fd, "127.0.0.1", "a literal");
    is_int(w->look_ups, 0, "a literal is not looked up");
    w->params.host = "::ffff:127.0.0.1";
    connect_now(w, &wish);
    won(&wish, fd, "127.0.0.1", "IPv4 in IPv6 dress");
    w->params.host = "server.example";
    connect_answer(w, &wish, "127.0.0.1");
    won(&wish, fd, "127.0.0.1", "a name");
    close(fd);
    connect_now(w, &wish);
    lost(&wish, RPC_REASON_CONNECT_FAILED, "nobody listens");
    is_int(wish.result.status, ECONNREFUSED, "connection refused");
    is_str(wish.result.address, "127.0.0.1", "by that address");
    connect_answer(w, &wish, NULL);
    lost(&wish, RPC_REASON_RESOLVE_FAILED, "no such name");
    is_int(wish.result.status, APR_OS_START_EAIERR + abs(EAI_NONAME), "as the status says");
    is_str(wish.result.address, "", "and no address");
    world_end(w);
}

/* The first address has no listener. */
static void test_next_at_once(void)
{
    static const char *const at[] = { "127.0.0.2", "127.0.0.3" };
    world_t *w = world_new(1, 0);
    int fds[2];
    wish_t wish;

    w->params.port = listen_at(at, fds, 2, 4);
    connect_answer(w, &wish, "127.0.0.2 127.0.0.3");
    won(&wish, fds[0], "127.0.0.2", "the first that listens");
    connect_answer(w, &wish, "127.0.0.3 127.0.0.2");
    won(&wish, fds[1], "127.0.0.3", "in the order of the answer");
    connect_answer(w, &wish, "127.0.0.1 127.0.0.4 127.0.0.3 127.0.0.2");
    won(&wish, fds[1], "127.0.0.3", "behind two that refuse");
    connect_answer(w, &wish, "127.0.0.1 127.0.0.4");
    lost(&wish, RPC_REASON_CONNECT_FAILED, "all refuse");
    is_str(wish.result.address, "127.0.0.4", "the last one is told");
    close(fds[0]);
    close(fds[1]);
    world_end(w);
}

static void test_families(void)
{
    static const char *const at[] = { "::1", "127.0.0.2" };
    world_t *w;
    int fds[2];
    wish_t wish;

    if (!have_ipv6()) {
        ok(1, "families # SKIP no IPv6 here");
        return;
    }
    w = world_new(1, 0);
    w->params.port = listen_at(at, fds, 2, 4);
    connect_answer(w, &wish, "::1 127.0.0.2");
    won(&wish, fds[0], "::1", "IPv6 first");
    connect_answer(w, &wish, "127.0.0.2 ::1");
    won(&wish, fds[1], "127.0.0.2", "IPv4 first");
    connect_answer(w, &wish, "127.0.0.1 127.0.0.2 ::1");
    won(&wish, fds[0], "::1", "families take turns");
    connect_answer(w, &wish, "127.0.0.1 127.0.0.4 127.0.0.2");
    won(&wish, fds[1], "127.0.0.2", "one family is in its order");
    close(fds[0]);
    connect_answer(w, &wish, "::1 127.0.0.2");
    won(&wish, fds[1], "127.0.0.2", "IPv4 when IPv6 refuses");
    close(fds[1]);
    world_end(w);
}

/* ---- addresses that do not answer ---- */

static void test_stagger(const char *silent)
{
    const char *at[] = { silent, "127.0.0.2" };
    world_t *w = world_new(1, 0);
    char answer[100];
    hole_t hole;
    int fds[2], before;
    wish_t wish;

    if (strchr(silent, ':') && !have_ipv6()) {
        ok(1, "silent IPv6 # SKIP no IPv6 here");
        world_end(w);
        return;
    }
    w->params.port = listen_at(at, fds, 2, 0);
    dig(&hole, silent, w->params.port);
    before = count_fds();
    snprintf(answer, sizeof(answer), "%s 127.0.0.2", silent);
    connect_answer(w, &wish, answer);
    is_int(count_fds(), before + 1, "beside a silent %s: what did not win is closed", silent);
    won(&wish, fds[1], "127.0.0.2", "beside a silent one");
    fill_in(&hole);
    close(fds[0]);
    close(fds[1]);
    world_end(w);
}

static void test_silence(void)
{
    static const char *const at[] = { "127.0.0.1", "127.0.0.2" };
    world_t *w = world_new(1, 0);
    hole_t holes[2];
    int fds[2], before;
    wish_t wish;

    w->params.port = listen_at(at, fds, 2, 0);
    dig(&holes[0], "127.0.0.1", w->params.port);
    dig(&holes[1], "127.0.0.2", w->params.port);
    before = count_fds();
    w->params.timeout = apr_time_from_msec(400);
    connect_answer(w, &wish, "127.0.0.1 127.0.0.2 127.0.0.3");
    lost(&wish, RPC_REASON_CONNECT_TIMEOUT, "two silent ones");
    is_int(wish.result.status, APR_TIMEUP, "time is up");
    is_int(count_fds(), before, "both are closed");
    begin(w, &wish);
    cancel(&wish);
    is_int(wish.ended, 0, "cancelled before it began");
    await_all(w);
    fill_in(&holes[0]);
    fill_in(&holes[1]);
    close(fds[0]);
    close(fds[1]);
    world_end(w);
}

typedef struct relief {
    rpc_timer_t timer;
    hole_t *hole;
    int listener;
} relief_t;

/* Makes room in the queue of the first listener. Its connect succeeds when TCP repeats it. */
static void relieve(rpc_timer_t *timer)
{
    relief_t *relief = RPC_OWNER_OF(timer, relief_t, timer);
    int fd;

    fill_in(relief->hole);
    while ((fd = accept(relief->listener, NULL, NULL)) >= 0)
        close(fd);
}

static void test_late_first(void)
{
    static const char *const at[] = { "127.0.0.1", "127.0.0.2" };
    world_t *w = world_new(1, 0);
    hole_t holes[2];
    relief_t relief;
    int fds[2];
    wish_t wish;

    w->params.port = listen_at(at, fds, 2, 0);
    dig(&holes[0], "127.0.0.1", w->params.port);
    dig(&holes[1], "127.0.0.2", w->params.port);
    w->answer = "127.0.0.1 127.0.0.2";
    begin(w, &wish);
    memset(&relief, 0, sizeof(relief));
    relief.timer.fire = relieve;
    relief.hole = &holes[0];
    relief.listener = fds[0];
    rpc_timer_set(w->loop, &relief.timer, rpc_loop_now(w->loop) + apr_time_from_msec(500));
    await_all(w);
    won(&wish, fds[0], "127.0.0.1", "the first may still win when the second was started");
    fill_in(&holes[1]);
    close(fds[0]);
    close(fds[1]);
    world_end(w);
}

/* ---- rules ---- */

static void refused(wish_t *wish, const char *to, const char *rule, const char *what)
{
    lost(wish, RPC_REASON_ADDRESS_REFUSED, what);
    is_str(wish->result.rule, rule, "%s: by %s", what, rule);
    is_str(wish->result.address, to, "%s: %s", what, to);
}

static void test_rules(void)
{
    static const char *const at[] = { "127.0.0.1", "127.0.0.2" };
    world_t *w = world_new(1, 0);
    int fds[2];
    wish_t wish;

    w->params.port = listen_at(at, fds, 2, 4);
    w->params.networks = NULL;
    connect_answer(w, &wish, "127.0.0.1");
    refused(&wish, "127.0.0.1", "!loopback (default)", "loopback is not named");
    w->params.host = "127.0.0.1";
    connect_now(w, &wish);
    refused(&wish, "127.0.0.1", "!loopback (default)", "nor is the literal");
    w->params.host = "::ffff:127.0.0.1";
    connect_now(w, &wish);
    refused(&wish, "127.0.0.1", "!loopback (default)", "nor in IPv6 dress");
    w->params.host = "127.1";
    connect_now(w, &wish);
    refused(&wish, "127.0.0.1", "!loopback (default)", "nor in the short form");
    w->params.host = "0.0.0.0";
    connect_now(w, &wish);
    refused(&wish, "0.0.0.0", "!unspecified (default)", "nor by its other name");
    w->params.host = "server.example";
    w->params.networks = networks(w, "loopback !127.0.0.1");
    connect_answer(w, &wish, "127.0.0.1 127.0.0.2");
    ok(accept(fds[0], NULL, NULL) < 0, "a refused address hears nothing");
    won(&wish, fds[1], "127.0.0.2", "what is refused is left out");
    connect_answer(w, &wish, "127.0.0.1 127.0.0.3");
    lost(&wish, RPC_REASON_CONNECT_FAILED, "the rest does not answer");
    is_str(wish.result.rule, "!127.0.0.1", "the rule is told all the same");
    is_str(wish.result.address, "127.0.0.1", "with its address");
    connect_answer(w, &wish, "127.0.0.2");
    won(&wish, fds[1], "127.0.0.2", "an answer that passes");
    connect_answer(w, &wish, "127.0.0.1");
    refused(&wish, "127.0.0.1", "!127.0.0.1", "the answer has changed");
    ok(accept(fds[0], NULL, NULL) < 0, "nobody came");
    w->params.networks = networks(w, "loopback !127.0.0.2");
    connect_now(w, &wish);
    won(&wish, fds[0], "127.0.0.1", "a remembered answer is judged by the rules of each");
    close(fds[0]);
    close(fds[1]);
    world_end(w);
}

/* ---- the resolver's memory ---- */

static void connect_named(world_t *w, const char *host)
{
    wish_t wish;

    w->params.host = host;
    connect_now(w, &wish);
    if (wish.result.fd >= 0)
        close(wish.result.fd);
}

static void test_memory(void)
{
    static const char *const at[] = { "127.0.0.1" };
    world_t *w = world_new(1, 0);
    int fd;

    w->params.port = listen_at(at, &fd, 1, 64);
    w->answer = "127.0.0.1";
    connect_named(w, "a.example");
    connect_named(w, "a.example");
    connect_named(w, "A.Example");
    is_int(w->look_ups, 1, "asked once, in whatever case");
    stopped_clock_pass(&w->clock, apr_time_from_sec(30) - 1);
    connect_named(w, "a.example");
    is_int(w->look_ups, 1, "for half a minute");
    stopped_clock_pass(&w->clock, 1);
    connect_named(w, "a.example");
    is_int(w->look_ups, 2, "then anew");
    connect_named(w, "b.example");
    is_int(w->look_ups, 3, "each name for itself");
    w->answer = NULL;
    connect_named(w, "c.example");
    connect_named(w, "c.example");
    is_int(w->look_ups, 4, "a failure is remembered");
    w->answer = "127.0.0.1";
    stopped_clock_pass(&w->clock, apr_time_from_sec(5));
    connect_named(w, "c.example");
    is_int(w->look_ups, 5, "for a moment");
    w->answer = "127.0.0.2";
    connect_named(w, "d.example");
    connect_named(w, "d.example");
    is_int(w->look_ups, 7, "addresses where nobody listens are forgotten");
    close(fd);
    world_end(w);
}

static void test_bounds(void)
{
    static const char *const at[] = { "127.0.0.1" };
    world_t *w = world_new(1, 2);
    wish_t wishes[3];
    int fd;

    w->params.port = listen_at(at, &fd, 1, 64);
    w->answer = "127.0.0.1";
    connect_named(w, "a.example");
    connect_named(w, "b.example");
    connect_named(w, "a.example");
    connect_named(w, "c.example");
    connect_named(w, "a.example");
    is_int(w->look_ups, 3, "a name in use stays");
    connect_named(w, "b.example");
    is_int(w->look_ups, 4, "the one used least recently made room");
    set_closed(w, 1);
    begin_named(w, &wishes[0], "d.example");
    begin_named(w, &wishes[1], "e.example");
    begin_named(w, &wishes[2], "f.example");
    await_look_ups(w, 5);
    set_closed(w, 0);
    await_all(w);
    ok(wishes[0].result.fd >= 0 && wishes[1].result.fd >= 0, "as many names are looked up");
    lost(&wishes[2], RPC_REASON_LOCAL_FAILURE, "no more at one time");
    close(wishes[0].result.fd);
    close(wishes[1].result.fd);
    close(fd);
    world_end(w);
}

static void test_shared(void)
{
    static const char *const at[] = { "127.0.0.1" };
    world_t *w = world_new(4, 0);
    wish_t wishes[5];
    int fd, i;

    w->params.port = listen_at(at, &fd, 1, 64);
    w->answer = "127.0.0.1";
    set_closed(w, 1);
    for (i = 0; i < 5; i++)
        begin(w, &wishes[i]);
    await_look_ups(w, 1);
    cancel(&wishes[0]);
    cancel(&wishes[2]);
    set_closed(w, 0);
    await_all(w);
    is_int(w->look_ups, 1, "one look-up for all");
    ok(!wishes[0].ended && !wishes[2].ended, "those who left are not called");
    won(&wishes[1], fd, "127.0.0.1", "the second");
    won(&wishes[3], fd, "127.0.0.1", "the fourth");
    won(&wishes[4], fd, "127.0.0.1", "the fifth");
    close(fd);
    world_end(w);
}

static void test_impatience(void)
{
    world_t *w = world_new(1, 0);
    wish_t wishes[3];

    w->answer = NULL;
    set_closed(w, 1);
    begin_named(w, &wishes[0], "a.example");
    await_look_ups(w, 1);
    begin_named(w, &wishes[1], "b.example");
    w->params.timeout = apr_time_from_msec(20);
    begin_named(w, &wishes[2], "a.example");
    cancel(&wishes[0]);
    cancel(&wishes[1]);
    await_all(w);
    lost(&wishes[2], RPC_REASON_RESOLVE_FAILED, "no answer in time");
    is_int(wishes[2].result.status, APR_TIMEUP, "time is up");
    w->params.timeout = PATIENCE;
    begin_named(w, &wishes[0], "c.example");
    set_closed(w, 0);
    await_all(w);
    is_int(w->look_ups, 2, "what nobody waits for any more is not looked up");
    is_str(w->asked, "c.example", "what somebody waits for is");
    world_end(w);
}

/* ---- where from ---- */

static void accepted_from(int listener, const char *from, const char *what)
{
    char text[RPC_ADDRESS_TEXT] = "";
    rpc_address_t a;
    socklen_t len = sizeof(a);
    int fd = accept(listener, &a.any, &len);

    CHECK(fd >= 0);
    is_str(rpc_address_text(&a, text), from, "%s: from %s", what, from);
    close(fd);
}

/* They are used in turn, but the test does not know which one is first. */
static void test_turns(world_t *w, int listener)
{
    int i, counts[2] = { 0, 0 }, same = 0, last = -1;
    wish_t wish;

    w->params.sources = sources(w, "127.0.0.7 ::1 127.0.0.8");
    for (i = 0; i < 6; i++) {
        rpc_address_t a;
        socklen_t len = sizeof(a);
        int fd, which;

        connect_now(w, &wish);
        fd = accept(listener, &a.any, &len);
        CHECK(fd >= 0);
        which = ntohl(a.v4.sin_addr.s_addr) == 0x7f000008;
        ok(which || ntohl(a.v4.sin_addr.s_addr) == 0x7f000007, "from one of the sources");
        counts[which]++;
        same += which == last;
        last = which;
        close(fd);
        close(wish.result.fd);
    }
    ok(counts[0] == 3 && counts[1] == 3 && !same, "in turn");
}

static void test_sources(void)
{
    static const char *const at[] = { "127.0.0.1" };
    world_t *w = world_new(1, 0);
    int fd;
    wish_t wish;

    w->params.port = listen_at(at, &fd, 1, 64);
    w->params.host = "127.0.0.1";
    test_turns(w, fd);
    w->params.sources = sources(w, "127.0.0.7");
    connect_now(w, &wish);
    accepted_from(fd, "127.0.0.7", "one source");
#ifdef IP_BIND_ADDRESS_NO_PORT
    {
        int one = 0;
        socklen_t len = sizeof(one);

        ok(getsockopt(wish.result.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, &len) == 0 && one,
           "its port is chosen late");
    }
#endif
    close(wish.result.fd);
    w->params.sources = sources(w, "::1");
    connect_now(w, &wish);
    accepted_from(fd, "127.0.0.1", "none of this family");
    close(wish.result.fd);
    w->params.sources = sources(w, "192.0.2.177 198.51.100.177 127.0.0.9");
    connect_now(w, &wish);
    accepted_from(fd, "127.0.0.9", "the only one that is here");
    close(wish.result.fd);
    w->params.sources = sources(w, "198.51.100.177");
    connect_now(w, &wish);
    lost(&wish, RPC_REASON_LOCAL_FAILURE, "a source that is not here");
    is_int(wish.result.status, EADDRNOTAVAIL, "as the status says");
    close(fd);
    world_end(w);
}

/* ---- ours, not theirs ---- */

static void test_descriptors(void)
{
    static const char *const at[] = { "127.0.0.1" };
    world_t *w = world_new(1, 0);
    struct rlimit limit, none;
    wish_t wish;
    int fd, next;

    w->params.port = listen_at(at, &fd, 1, 4);
    w->params.host = "127.0.0.1";
    need_loop(w);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && (next = dup(0)) >= 0);
    close(next);
    none = limit;
    none.rlim_cur = (rlim_t)next;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    connect_now(w, &wish);
    lost(&wish, RPC_REASON_LOCAL_FAILURE, "no descriptor is left");
    is_int(wish.result.status, EMFILE, "as the status says");
    none.rlim_cur = (rlim_t)next + 2;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    connect_now(w, &wish);
    lost(&wish, RPC_REASON_LOCAL_FAILURE, "the last descriptors are not for legs");
    is_int(wish.result.status, EMFILE, "as the status says");
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    close(fd);
    world_end(w);
}

/* ---- without rules ---- */

static void done(void *ctx, rpc_reason_t reason, apr_status_t status, int fd)
{
    rpc_connect_result_t result = { .reason = reason, .status = status, .fd = fd };

    ended(ctx, &result);
}

static void begin_unix(world_t *w, wish_t *wish, const char *path)
{
    need_loop(w);
    memset(wish, 0, sizeof(*wish));
    wish->w = w;
    w->pending++;
    wish->connect = rpc_connect_unix(w->loop, path, PATIENCE, done, wish);
    CHECK(wish->connect != NULL);
}

static void test_unix(void)
{
    world_t *w = world_new(1, 0);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    const char *dir;
    char folder[80];
    wish_t wish;
    int fd;

    need_loop(w);
    CHECK(apr_temp_dir_get(&dir, w->pool) == APR_SUCCESS);
    CHECK((size_t)snprintf(folder, sizeof(folder), "%s/connect_test.XXXXXX", dir) < sizeof(folder));
    CHECK(mkdtemp(folder));
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", folder);
    begin_unix(w, &wish, addr.sun_path);
    await_all(w);
    lost(&wish, RPC_REASON_LOCAL_FAILURE, "no such Unix socket");
    is_int(wish.result.status, ENOENT, "as the status says");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 4) == 0);
    begin_unix(w, &wish, addr.sun_path);
    await_all(w);
    won(&wish, fd, "", "a Unix socket");
    close(fd);
    begin_unix(w, &wish, addr.sun_path);
    await_all(w);
    lost(&wish, RPC_REASON_LOCAL_FAILURE, "a Unix socket where nobody listens");
    unlink(addr.sun_path);
    rmdir(folder);
    world_end(w);
}

/* The resolver of the system. /etc/hosts is enough for this name. */
static void test_system(void)
{
    rpc_resolver_params_t params = { .threads = 0 };
    world_t *w = world_new(1, 0);
    rpc_addresses_t found;
    wish_t wish;

    ok(rpc_resolve_literal("192.0.2.1", &found) && found.count == 1, "a literal has one address");
    ok(!rpc_resolve_literal("localhost", &found), "a name is no literal");
    CHECK(rpc_resolver_make(&w->params.resolver, &params, w->pool) == APR_SUCCESS);
    w->params.networks = NULL;
    w->params.host = "localhost";
    connect_now(w, &wish);
    if (wish.result.reason == RPC_REASON_RESOLVE_FAILED)
        ok(1, "localhost # SKIP there is none");
    else
        is_str(wish.result.rule, "!loopback (default)", "localhost is loopback");
    w->params.host = "no such name";
    connect_now(w, &wish);
    lost(&wish, RPC_REASON_RESOLVE_FAILED, "no such name");
    world_end(w);
}

/* ---- a pool as the endpoint process has it: its allocator has no lock ---- */

#define CROWD 10000
#define AT_A_TIME 6

typedef struct crowd {
    apr_pool_t *pool;
    rpc_loop_t *loop;
    rpc_connect_params_t params;
    char host[32];
    int begun, under_way, unknown;
} crowd_t;

static int unknown_name(void *ctx, const char *host, rpc_addresses_t *addresses)
{
    return EAI_NONAME;
}

static void crowd_go_on(crowd_t *crowd);

/* Allocates memory while the threads of the resolver run, as the endpoint does for each
 * connection. */
static void crowd_ended(void *ctx, const rpc_connect_result_t *result)
{
    crowd_t *crowd = ctx;
    apr_pool_t *scratch;

    apr_pool_create(&scratch, crowd->pool);
    memset(apr_palloc(scratch, 30000), 1, 30000);
    apr_pool_destroy(scratch);
    crowd->unknown += result->reason == RPC_REASON_RESOLVE_FAILED;
    crowd->under_way--;
    crowd_go_on(crowd);
}

static void crowd_go_on(crowd_t *crowd)
{
    while (crowd->under_way < AT_A_TIME && crowd->begun < CROWD) {
        snprintf(crowd->host, sizeof(crowd->host), "n%d.test", crowd->begun++);
        crowd->under_way++;
        CHECK(rpc_connect_start(crowd->loop, &crowd->params, crowd_ended, crowd));
    }
    if (!crowd->under_way)
        rpc_loop_stop(crowd->loop);
}

static void test_crowd(void)
{
    rpc_resolver_params_t params = { .threads = 4, .look_up = unknown_name };
    crowd_t crowd = { .params = { .port = 1, .timeout = PATIENCE } };

    CHECK(apr_pool_create_unmanaged_ex(&crowd.pool, NULL, NULL) == APR_SUCCESS);
    CHECK(rpc_loop_create(&crowd.loop, crowd.pool) == APR_SUCCESS);
    CHECK(rpc_resolver_make(&crowd.params.resolver, &params, crowd.pool) == APR_SUCCESS);
    crowd.params.host = crowd.host;
    crowd_go_on(&crowd);
    rpc_loop_run(crowd.loop);
    is_int(crowd.unknown, CROWD,
           "%d names, looked up by threads that come and go beside a busy loop", CROWD);
    apr_pool_destroy(crowd.pool);
}

int main(void)
{
    apr_initialize();
    atexit(apr_terminate);
    test_one_address();
    test_next_at_once();
    test_families();
    test_stagger("127.0.0.1");
    test_stagger("::1");
    test_silence();
    test_late_first();
    test_rules();
    test_memory();
    test_bounds();
    test_shared();
    test_impatience();
    test_sources();
    test_descriptors();
    test_unix();
    test_system();
    test_crowd();
    return unit_done();
}
