/* endpoint_test: the server role, seen from outside. The endpoint runs on a loop thread of
 * its own; the tests play both proxies over socket pairs and the target over loopback TCP,
 * with blocking reads. A read that gets nothing for PATIENCE seconds fails the test.
 */
#include "endpoint/handover.h"
#include "wire/farewell.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <unistd.h>

#include <apr_general.h>

#include "io/pass.h"
#include "wire/dcerpc.h"
#include "wire/preface.h"
#include "wire/rts.h"

#define PATIENCE 20
#define WINDOW 65536u
#define GIB 1073741824u
#define BANNER "ncacn_http/1.0"

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: in %s: %s\n", __FILE__, __LINE__, __func__, #what); \
            exit(1); \
        } \
    } while (0)

/* ---- the endpoint under test ---- */

/* The secret has the length that prefaces want; the last byte is the NUL of the text. */
static const uint8_t secret[RPC_PREFACE_SECRET + 1] = "the secret of this server, 32 b.";

typedef struct world {
    apr_pool_t *pool;
    rpc_loop_t *loop;
    rpc_endpoint_t *ep;
    rpc_log_t log;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char lines[65536];          /* logged at info and above, and ends */
    int idle;                   /* calls of idle() */
    rpc_handover_t *handover;   /* NULL: not made yet */
    int succeeded;              /* calls of succeeded() */
    int listener;               /* the listener of the target */
    uint16_t port;
    /* a descriptor, or 0 */
    int awaits;
    /* virtual connections that ended before AWAITS could be read */
    unsigned ended_first;
} world_t;

static void log_line(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    world_t *w = log->ctx;
    int unread = 0;

    pthread_mutex_lock(&w->lock);
    if (w->awaits && strstr(text, " ended: ") && ioctl(w->awaits, FIONREAD, &unread) == 0
        && !unread)
        w->ended_first++;
    if ((level <= RPC_LOG_INFO || strstr(text, " ended: "))
        && strlen(w->lines) + strlen(text) + 2 < sizeof(w->lines)) {
        strcat(w->lines, text);
        strcat(w->lines, "\n");
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void gone_idle(void *ctx)
{
    world_t *w = ctx;

    pthread_mutex_lock(&w->lock);
    w->idle++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void deadline(struct timespec *ts)
{
    clock_gettime(CLOCK_REALTIME, ts);
    ts->tv_sec += PATIENCE;
}

static void expect_log(world_t *w, const char *what)
{
    struct timespec ts;
    int rv = 0;

    deadline(&ts);
    pthread_mutex_lock(&w->lock);
    while (!strstr(w->lines, what) && rv == 0)
        rv = pthread_cond_timedwait(&w->changed, &w->lock, &ts);
    if (rv)
        fprintf(stderr, "no \"%s\" in the log:\n%s", what, w->lines);
    CHECK(rv == 0);
    pthread_mutex_unlock(&w->lock);
}

static void expect_idle(world_t *w)
{
    struct timespec ts;
    int rv = 0;

    deadline(&ts);
    pthread_mutex_lock(&w->lock);
    while (!w->idle && rv == 0)
        rv = pthread_cond_timedwait(&w->changed, &w->lock, &ts);
    CHECK(rv == 0);
    pthread_mutex_unlock(&w->lock);
}

/* Things that only the thread of the loop may do. */
typedef struct errand {
    rpc_job_t job;
    world_t *w;
    int fd;                     /* a leg to accept; -1: close the endpoint */
    const rpc_endpoint_listener_t *via;
    int line;                   /* the socket to hand over, if FOLLOW is not 0 */
    /* 1: the endpoint follows the process at the other end; -1: that process follows the
     * endpoint */
    int follow;
    unsigned count;
    int done;
} errand_t;

static void was_succeeded(void *ctx)
{
    world_t *w = ctx;

    pthread_mutex_lock(&w->lock);
    w->succeeded++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void was_flushed(void *ctx)
{
}

static void open_line(world_t *w, int line, int follow)
{
    const rpc_handover_params_t params = { &w->log, was_succeeded, was_flushed, w };

    if (!w->handover)
        w->handover = rpc_handover_create(w->ep, w->loop, &params, w->pool);
    CHECK((follow > 0 ? rpc_handover_follow(w->handover, line)
                      : rpc_handover_offer(w->handover, line)) == APR_SUCCESS);
}

static void run_errand(rpc_job_t *job)
{
    errand_t *e = RPC_OWNER_OF(job, errand_t, job);

    if (e->follow)
        open_line(e->w, e->line, e->follow);
    else if (e->fd >= 0)
        rpc_endpoint_accept(e->w->ep, e->fd, e->via);
    else
        rpc_endpoint_close(e->w->ep);
    pthread_mutex_lock(&e->w->lock);
    e->count = rpc_endpoint_count(e->w->ep);
    e->done = 1;
    pthread_cond_broadcast(&e->w->changed);
    pthread_mutex_unlock(&e->w->lock);
}

static unsigned wait_errand(errand_t *e)
{
    world_t *w = e->w;

    e->job.run = run_errand;
    rpc_loop_post(w->loop, &e->job);
    pthread_mutex_lock(&w->lock);
    while (!e->done)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    return e->count;
}

static unsigned do_errand(world_t *w, int fd, const rpc_endpoint_listener_t *via)
{
    errand_t e = { .w = w, .fd = fd, .via = via };

    return wait_errand(&e);
}

static void be_patient(int fd)
{
    struct timeval tv = { PATIENCE, 0 };

    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
}

static int listen_tcp(uint16_t *port)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    CHECK(listen(fd, 16) == 0 && getsockname(fd, (struct sockaddr *)&addr, &len) == 0);
    be_patient(fd);
    *port = ntohs(addr.sin_port);
    return fd;
}

static world_t *world_new(apr_interval_time_t setup_timeout)
{
    world_t *w = calloc(1, sizeof(*w));
    rpc_endpoint_params_t params;

    CHECK(w != NULL);
    apr_pool_create(&w->pool, NULL);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->log.write = log_line;
    w->log.level = RPC_LOG_DEBUG;
    w->log.ctx = w;
    w->listener = listen_tcp(&w->port);
    memset(&params, 0, sizeof(params));
    params.receive_window = WINDOW;
    params.setup_timeout = setup_timeout;
    params.connect_timeout = apr_time_from_sec(PATIENCE);
    params.log = &w->log;
    params.networks = "loopback";
    params.secret = secret;
    params.idle = gone_idle;
    params.ctx = w;
    CHECK(rpc_loop_create(&w->loop, w->pool) == APR_SUCCESS);
    CHECK(rpc_resolver_make(&params.dialer.resolver, &(rpc_resolver_params_t){ .threads = 1 },
                            w->pool)
          == APR_SUCCESS);
    w->ep = rpc_endpoint_create(w->loop, &params, w->pool);
    CHECK(rpc_loop_start(w->loop) == APR_SUCCESS);
    return w;
}

static void world_end(world_t *w)
{
    int turns;

    /* Streams that were given up are emptied by the loop. In a few turns they see that the test has
     * closed its end. */
    for (turns = 0; turns < 8; turns++)
        CHECK(do_errand(w, -1, NULL) == 0);
    rpc_loop_stop(w->loop);
    close(w->listener);
    apr_pool_destroy(w->pool);
    free(w);
}

/* ---- bytes ---- */

static void put(int fd, const void *data, size_t len)
{
    CHECK(send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static void get(int fd, void *data, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = recv(fd, (char *)data + have, len - have, 0);

        CHECK(n > 0);
        have += (size_t)n;
    }
}

static void expect(int fd, const void *data, size_t len)
{
    uint8_t *got = malloc(len);

    get(fd, got, len);
    CHECK(memcmp(got, data, len) == 0);
    free(got);
}

/* Expects end of file, or a reset, which TCP sends instead when the closing end had unread data. */
static void expect_eof(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, 0);

    CHECK(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

/* Expects the farewell that a proxy of this module gets before its leg is closed. */
static void expect_farewell(int fd, rpc_reason_t reason, const char *words)
{
    uint8_t pdu[RPC_FAREWELL_MAX];
    rpc_reason_t got = RPC_REASON_NONE;
    const char *why;
    size_t size;

    get(fd, pdu, DCERPC_HEADER_SIZE);
    size = (size_t)(pdu[8] | pdu[9] << 8);
    CHECK(size > DCERPC_HEADER_SIZE && size <= sizeof(pdu));
    get(fd, pdu + DCERPC_HEADER_SIZE, size - DCERPC_HEADER_SIZE);
    why = rpc_farewell_read(pdu, size, &got);
    CHECK(why && got == reason && strstr(why, words));
}

static void expect_refused(int fd, rpc_reason_t reason, const char *words)
{
    expect_farewell(fd, reason, words);
    expect_eof(fd);
}

/* A channel that was open ends because the server or the other half has closed. */
static void expect_server_closed(int fd, const char *words)
{
    expect_refused(fd, RPC_REASON_SERVER_CLOSED, words);
}

static void put_rts(int fd, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    put(fd, buf, rts_write(pdu, buf, sizeof(buf)));
}

static void expect_rts(int fd, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    expect(fd, buf, rts_write(pdu, buf, sizeof(buf)));
}

static void expect_short(int fd, rts_pdu_id_t id)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, id);
    expect_rts(fd, &pdu);
}

/* An RPC PDU of SIZE bytes, told from others by its call id. */
static uint8_t *rpc_pdu(uint16_t size, uint8_t call)
{
    static uint8_t buf[65536];

    memset(buf, call, size);
    dcerpc_header_write(buf, DCERPC_REQUEST, DCERPC_WHOLE, size, call);
    return buf;
}

static void put_rpc(int fd, uint16_t size, uint8_t call)
{
    put(fd, rpc_pdu(size, call), size);
}

static void expect_rpc(int fd, uint16_t size, uint8_t call)
{
    expect(fd, rpc_pdu(size, call), size);
}

/* ---- the proxies' half ---- */

static rts_cookie_t cookie(uint8_t first)
{
    rts_cookie_t c;
    int i;

    for (i = 0; i < 16; i++)
        c.b[i] = (uint8_t)(first + i);
    return c;
}

#define VC 0xa0
#define OUT_1 0xb0
#define IN_1 0xc0
#define OUT_2 0x10
#define IN_2 0x20

static int leg_via(world_t *w, const rpc_endpoint_listener_t *via)
{
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(fcntl(pair[1], F_SETFL, O_NONBLOCK) == 0);
    be_patient(pair[0]);
    do_errand(w, pair[1], via);
    expect(pair[0], BANNER, 14);
    return pair[0];
}

static int leg_silent(world_t *w)
{
    return leg_via(w, NULL);
}

static rpc_preface_t sample_preface(const world_t *w, const char *user)
{
    rpc_preface_t p = { .host = "127.0.0.1", .port = w->port, .target = "srv:6001", .user = user,
                        .client = "192.0.2.7",
                        .vhost = "localhost:443", .networks = "loopback", .secret = secret };

    return p;
}

static size_t preface(world_t *w, const char *user, uint8_t *buf)
{
    rpc_preface_t p = sample_preface(w, user);

    return rpc_preface_write(&p, buf, RPC_PREFACE_MAX);
}

static int leg_of(world_t *w, const char *user)
{
    uint8_t buf[RPC_PREFACE_MAX];
    int fd = leg_silent(w);

    put(fd, buf, preface(w, user, buf));
    return fd;
}

static int leg(world_t *w)
{
    return leg_of(w, "demo");
}

static void put_a2(int fd, uint32_t lifetime, uint32_t window)
{
    rts_cookie_t vc = cookie(VC), out = cookie(OUT_1);
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_CONN_A2);
    rts_set_cookie(&pdu, 0, &vc);
    rts_set_cookie(&pdu, 1, &out);
    rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, lifetime);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, window);
    put_rts(fd, &pdu);
}

static void put_b2(int fd)
{
    rts_cookie_t vc = cookie(VC), in = cookie(IN_1), group = cookie(0xd0);
    rts_address_t address = { 0, { 192, 0, 2, 10 } };
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_CONN_B2);
    rts_set_cookie(&pdu, 0, &vc);
    rts_set_cookie(&pdu, 1, &in);
    rts_set_group(&pdu, &group);
    rts_set_address(&pdu, &address);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 32768);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, 900000);
    put_rts(fd, &pdu);
}

static void put_cookie(int fd, rts_pdu_id_t id, uint8_t channel)
{
    rts_cookie_t c = cookie(channel);
    rts_pdu_t pdu;

    rts_begin(&pdu, id);
    rts_set_cookie(&pdu, 0, &c);
    put_rts(fd, &pdu);
}

static void make_ack(rts_pdu_t *pdu, int destination, uint32_t received, uint32_t available,
                     uint8_t channel)
{
    rts_ack_t ack = { received, available, cookie(channel) };

    rts_begin(pdu, destination < 0 ? RTS_FLOW_CONTROL_ACK : RTS_FLOW_CONTROL_ACK_WITH_DESTINATION);
    if (destination >= 0)
        rts_set_u32(pdu, RTS_CMD_DESTINATION, (uint32_t)destination);
    rts_set_ack(pdu, &ack);
}

static void put_ack(int fd, int destination, uint32_t received, uint32_t available, uint8_t channel)
{
    rts_pdu_t pdu;

    make_ack(&pdu, destination, received, available, channel);
    put_rts(fd, &pdu);
}

static void expect_ack(int fd, int destination, uint32_t received, uint32_t available,
                       uint8_t channel)
{
    rts_pdu_t pdu;

    make_ack(&pdu, destination, received, available, channel);
    expect_rts(fd, &pdu);
}

static const uint8_t c1_bytes[44] = {
    5, 0, 0x14, 3, 0x10, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0,
    6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 2, 0, 0, 0, 0xa0, 0xbb, 0x0d, 0
};
static const uint8_t b3_bytes[36] = {
    5, 0, 0x14, 3, 0x10, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0,
    0, 0, 0, 0, 0, 0, 1, 0, 6, 0, 0, 0, 1, 0, 0, 0
};

/* foreign: legs that came by a listener, which get no farewells */
typedef struct vc { int in, out, target, foreign; } vc_t;

static int accept_target(world_t *w)
{
    int fd = accept(w->listener, NULL, NULL);

    CHECK(fd >= 0);
    be_patient(fd);
    return fd;
}

static vc_t vc_open(world_t *w, uint32_t lifetime, uint32_t window)
{
    vc_t v = { 0 };

    v.out = leg(w);
    put_a2(v.out, lifetime, window);
    v.in = leg(w);
    put_b2(v.in);
    v.target = accept_target(w);
    expect(v.out, c1_bytes, sizeof(c1_bytes));
    expect(v.in, b3_bytes, sizeof(b3_bytes));
    return v;
}

static void expect_opened(int out, int in, uint32_t window)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_CONN_C1);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 32768);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, 900000);
    expect_rts(out, &pdu);
    rts_begin(&pdu, RTS_CONN_B3);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, window);
    expect_rts(in, &pdu);
}

static void ping_pong(const vc_t *v)
{
    put_rpc(v->in, 100, 1);
    expect_rpc(v->target, 100, 1);
    put_rpc(v->target, 200, 2);
    expect_rpc(v->out, 200, 2);
}

static void vc_expect_end(world_t *w, const vc_t *v, rpc_reason_t reason, const char *words)
{
    expect_refused(v->in, reason, words);
    expect_refused(v->out, reason, words);
    expect_eof(v->target);
    expect_log(w, words);
}

/* Acknowledgements may still be on their way on the IN leg. */
static void vc_close(world_t *w, const vc_t *v)
{
    char rest[2048];

    shutdown(v->in, SHUT_WR);
    while (recv(v->in, rest, sizeof(rest), 0) > 0)
        ;
    close(v->in);
    if (!v->foreign)
        expect_farewell(v->out, RPC_REASON_SERVER_CLOSED, "the virtual connection ended: IN leg");
    expect_eof(v->out);
    expect_eof(v->target);
    expect_log(w, "client-closed");
    expect_idle(w);
}

/* ---- opening ---- */

static void test_out_first(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);

    ping_pong(&v);
    vc_close(w, &v);
    expect_log(w, "of user \"demo\" to srv:6001");
}

static void test_in_first(world_t *w)
{
    vc_t v = { 0 };

    v.in = leg(w);
    put_b2(v.in);
    v.target = accept_target(w); /* the target was connected when the first half came */
    v.out = leg(w);
    put_a2(v.out, GIB, WINDOW);
    expect(v.in, b3_bytes, sizeof(b3_bytes));
    expect(v.out, c1_bytes, sizeof(c1_bytes));
    ping_pong(&v);
    vc_close(w, &v);
}

/* The preface and the first PDU may come in any pieces, or in one piece. */
static void test_pieces(world_t *w)
{
    uint8_t buf[RPC_PREFACE_MAX];
    size_t i, len = preface(w, "demo", buf);
    vc_t v = { 0 };

    v.out = leg_silent(w);
    for (i = 0; i < len; i++)
        put(v.out, buf + i, 1);
    put_a2(v.out, GIB, WINDOW);
    v.in = leg(w);
    put_b2(v.in);
    v.target = accept_target(w);
    expect(v.out, c1_bytes, sizeof(c1_bytes));
    expect(v.in, b3_bytes, sizeof(b3_bytes));
    for (i = 0; i < 100; i++)
        put(v.in, rpc_pdu(100, 7) + i, 1);
    expect_rpc(v.target, 100, 7);
    vc_close(w, &v);
}

static void test_mismatch(world_t *w)
{
    vc_t v = { 0 };
    int other;

    v.out = leg(w);
    put_a2(v.out, GIB, WINDOW);
    v.target = accept_target(w);
    other = leg_of(w, "mallory");
    put_b2(other);
    expect_refused(other, RPC_REASON_PEER_MISMATCH, "different users");
    expect_log(w, "leg of user \"mallory\" to srv:6001 refused: peer-mismatch");
    v.in = leg(w);
    put_b2(v.in);
    expect(v.in, b3_bytes, sizeof(b3_bytes));
    expect(v.out, c1_bytes, sizeof(c1_bytes));
    ping_pong(&v);
    vc_close(w, &v);
}

static void test_duplicates(world_t *w)
{
    int first = leg(w), second = leg(w), third = leg(w);
    vc_t v = { 0 };

    put_b2(first);
    v.target = accept_target(w);
    put_b2(second);
    expect_refused(second, RPC_REASON_DUPLICATE_COOKIE, "exists already");
    expect_log(w, "duplicate-cookie");
    v.in = first;
    v.out = leg(w);
    put_a2(v.out, GIB, WINDOW);
    expect(v.in, b3_bytes, sizeof(b3_bytes));
    expect(v.out, c1_bytes, sizeof(c1_bytes));
    put_a2(third, GIB, WINDOW);
    expect_refused(third, RPC_REASON_DUPLICATE_COOKIE, "exists already");
    ping_pong(&v);
    vc_close(w, &v);
}

static void test_setup_timeout(world_t *unused)
{
    world_t *w = world_new(apr_time_from_msec(50));
    int fd = leg(w), target, silent = leg_silent(w);

    put_b2(fd);
    target = accept_target(w);
    expect_refused(fd, RPC_REASON_SETUP_TIMEOUT, "in A2W");
    expect_eof(target);
    expect_log(w, "setup-timeout");
    expect_eof(silent);
    expect_log(w, "first-pdu-timeout");
    world_end(w);
}

static void test_connect_failed(world_t *w)
{
    uint16_t port = w->port;
    int fd, closed = listen_tcp(&w->port);

    close(closed);
    fd = leg(w);
    put_b2(fd);
    expect_refused(fd, RPC_REASON_CONNECT_FAILED, "127.0.0.1 port");
    expect_log(w, "connect-failed");
    w->port = port;
}

static void test_half_closes(world_t *w)
{
    int fd = leg(w), target;

    put_a2(fd, GIB, WINDOW);
    target = accept_target(w);
    close(fd);
    expect_eof(target);
    expect_log(w, "client-closed");
    expect_idle(w);
}

/* ---- relay, windows, forwarding ---- */

static void test_hop2_ack(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);
    uint8_t i;

    /* Due when less than half of the 65,536 remains: at the ninth 4 KiB PDU. */
    for (i = 0; i < 9; i++) {
        put_rpc(v.in, 4096, i);
        expect_rpc(v.target, 4096, i);
    }
    expect_ack(v.in, -1, 9 * 4096, WINDOW, IN_1);
    vc_close(w, &v);
}

static void test_hop3_window(world_t *w)
{
    vc_t v = vc_open(w, GIB, 8192);
    uint8_t all[3 * 4096];
    uint8_t i;

    for (i = 0; i < 3; i++)
        memcpy(all + i * 4096, rpc_pdu(4096, i), 4096);
    put(v.target, all, sizeof(all));
    expect_rpc(v.out, 4096, 0);
    expect_rpc(v.out, 4096, 1);
    put_ack(v.out, -1, 8192, 8192, 0x77); /* for another channel, so it is discarded */
    put_ack(v.in, RTS_FD_CLIENT, 1, 2, IN_1);
    expect_ack(v.out, RTS_FD_CLIENT, 1, 2, IN_1); /* it overtakes PDUs that wait */
    put_ack(v.out, -1, 8192, 8192, OUT_1);
    expect_rpc(v.out, 4096, 2);
    vc_close(w, &v);
}

static void test_pdu_too_big(world_t *w)
{
    vc_t v = vc_open(w, GIB, 8192);

    put_rpc(v.target, 8193, 1);
    vc_expect_end(w, &v, RPC_REASON_PDU_TOO_BIG, "8193 bytes, window 8192");
}

static void test_forwarding(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);

    put_ack(v.in, RTS_FD_CLIENT, 11, 12, IN_1);
    put_ack(v.in, RTS_FD_OUT_PROXY, 13, 14, OUT_1);
    expect_ack(v.out, RTS_FD_CLIENT, 11, 12, IN_1);
    expect_ack(v.out, RTS_FD_OUT_PROXY, 13, 14, OUT_1);
    put_ack(v.out, RTS_FD_IN_PROXY, 15, 16, IN_1);
    expect_ack(v.in, RTS_FD_IN_PROXY, 15, 16, IN_1);
    ping_pong(&v);
    put_ack(v.in, RTS_FD_IN_PROXY, 1, 2, IN_1); /* it comes back to the sender */
    vc_expect_end(w, &v, RPC_REASON_PROTOCOL, " leg in ");
}

/* All that each party sends, receives and acknowledges, as far as it can. */
typedef struct pump {
    int fd;
    unsigned to_send, sent, received, acked;
    int window;                 /* what may be sent */
    uint8_t have[65536 * 2];
    size_t held;
} pump_t;

#define BULK 2048
#define BULK_SIZE 4096

static void pump_send(pump_t *p)
{
    static uint8_t pdu[BULK_SIZE];

    memcpy(pdu, rpc_pdu(BULK_SIZE, (uint8_t)p->sent), BULK_SIZE);
    put(p->fd, pdu, BULK_SIZE);
    p->sent++;
    p->window -= BULK_SIZE;
}

/* Takes whole PDUs; an acknowledgement opens the window again. */
static void pump_receive(pump_t *p)
{
    ssize_t n = recv(p->fd, p->have + p->held, sizeof(p->have) - p->held, MSG_DONTWAIT);
    size_t at = 0;

    CHECK(n > 0);
    p->held += (size_t)n;
    while (p->held - at >= 16) {
        const uint8_t *pdu = p->have + at;
        size_t size = pdu[8] | pdu[9] << 8;
        rts_pdu_t rts;

        if (p->held - at < size)
            break;
        if (pdu[2] == DCERPC_RTS) {
            CHECK(rts_parse(pdu, size, &rts) == NULL && rts_ack(&rts) != NULL);
            p->window = (int)rts_ack(&rts)->available_window
                        - (int)(p->sent * BULK_SIZE - rts_ack(&rts)->bytes_received);
        }
        else {
            CHECK(size == BULK_SIZE && pdu[20] == (uint8_t)p->received);
            p->received++;
        }
        at += size;
    }
    memmove(p->have, p->have + at, p->held - at);
    p->held -= at;
}

/* 8 MiB each way at once, through windows of 64 KiB. */
static void test_bulk(world_t *w)
{
    static pump_t pumps[3];
    pump_t *in = &pumps[0], *out = &pumps[1], *target = &pumps[2];
    vc_t v = vc_open(w, GIB, WINDOW);
    unsigned i;

    memset(pumps, 0, sizeof(pumps));
    in->fd = v.in, in->to_send = BULK, in->window = WINDOW;
    out->fd = v.out;
    target->fd = v.target, target->to_send = BULK, target->window = 1 << 30;
    while (out->received < BULK || target->received < BULK) {
        struct pollfd fds[3];

        for (i = 0; i < 3; i++) {
            fds[i].fd = pumps[i].fd;
            fds[i].events = POLLIN;
            if (pumps[i].sent < pumps[i].to_send && pumps[i].window >= BULK_SIZE)
                fds[i].events |= POLLOUT;
        }
        CHECK(poll(fds, 3, PATIENCE * 1000) > 0);
        for (i = 0; i < 3; i++) {
            if (fds[i].revents & POLLIN)
                pump_receive(&pumps[i]);
            if (fds[i].revents & POLLOUT)
                pump_send(&pumps[i]);
        }
        if (out->received - out->acked > 8) {
            put_ack(v.out, -1, out->received * BULK_SIZE, WINDOW, OUT_1);
            out->acked = out->received;
        }
    }
    vc_close(w, &v);
}

static void test_unread_leg(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);
    uint8_t buf[RTS_MAX_SIZE];
    rts_pdu_t pdu;
    size_t size;

    make_ack(&pdu, RTS_FD_CLIENT, 1, 2, IN_1);
    size = rts_write(&pdu, buf, sizeof(buf));
    while (send(v.in, buf, size, MSG_NOSIGNAL) > 0)
        ;
    CHECK(errno == EPIPE || errno == ECONNRESET);
    expect_log(w, "buffer-full");
    close(v.in);
    close(v.out);
    expect_eof(v.target);
}

/* ---- ends ---- */

static void test_target_closes(world_t *w)
{
    vc_t v = vc_open(w, GIB, 8192);
    uint8_t i;

    for (i = 0; i < 3; i++)
        put_rpc(v.target, 4096, i);
    close(v.target);
    expect_rpc(v.out, 4096, 0);
    expect_rpc(v.out, 4096, 1);
    put_ack(v.out, -1, 8192, 8192, OUT_1);
    expect_rpc(v.out, 4096, 2);
    expect_server_closed(v.out, "the server closed its connection");
    expect_server_closed(v.in, "the server closed its connection");
    expect_log(w, "server-closed");
}

#define MANY 50

static void open_half(int fd, rts_pdu_id_t id, uint8_t vc)
{
    rts_cookie_t name = cookie(vc), channel = cookie(id == RTS_CONN_A2 ? OUT_1 : IN_1);
    rts_address_t address = { 0, { 192, 0, 2, 10 } };
    rts_pdu_t pdu;

    rts_begin(&pdu, id);
    rts_set_cookie(&pdu, 0, &name);
    rts_set_cookie(&pdu, 1, &channel);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 32768);
    if (id == RTS_CONN_A2)
        rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, GIB);
    else {
        rts_set_group(&pdu, &channel);
        rts_set_address(&pdu, &address);
        rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, 900000);
    }
    put_rts(fd, &pdu);
}

static vc_t vc_of_many(world_t *w, uint8_t vc)
{
    vc_t v = { .in = leg(w), .out = leg(w) };

    open_half(v.out, RTS_CONN_A2, vc);
    open_half(v.in, RTS_CONN_B2, vc);
    v.target = accept_target(w);
    expect(v.out, c1_bytes, sizeof(c1_bytes));
    expect(v.in, b3_bytes, sizeof(b3_bytes));
    return v;
}

/* The loop stands still from one barrier to the next. */
typedef struct standstill {
    rpc_job_t job;
    pthread_barrier_t begins, ends;
} standstill_t;

static void stand_still(rpc_job_t *job)
{
    standstill_t *still = RPC_OWNER_OF(job, standstill_t, job);

    pthread_barrier_wait(&still->begins);
    pthread_barrier_wait(&still->ends);
}

/* Many targets close at once, and then another target sends something, which does not wait until
 * all these ends have been handled. */
static void test_mass_end(world_t *w)
{
    standstill_t still = { .job.run = stand_still };
    vc_t many[MANY], other = vc_of_many(w, 1);
    int i;

    for (i = 0; i < MANY; i++)
        many[i] = vc_of_many(w, (uint8_t)(2 + i));
    pthread_barrier_init(&still.begins, NULL, 2);
    pthread_barrier_init(&still.ends, NULL, 2);
    rpc_loop_post(w->loop, &still.job);
    pthread_barrier_wait(&still.begins);
    w->awaits = other.target;
    for (i = 0; i < MANY; i++)
        close(many[i].target);
    put_rpc(other.in, 100, 1);
    pthread_barrier_wait(&still.ends);
    for (i = 0; i < MANY; i++) {
        expect_server_closed(many[i].out, "the server closed its connection");
        expect_server_closed(many[i].in, "the server closed its connection");
    }
    expect_rpc(other.target, 100, 1);
    pthread_mutex_lock(&w->lock);
    w->awaits = 0;
    CHECK(w->ended_first < MANY / 2);
    pthread_mutex_unlock(&w->lock);
    vc_close(w, &other);
    pthread_barrier_destroy(&still.begins);
    pthread_barrier_destroy(&still.ends);
}

/* A target cannot send a farewell in the name of the endpoint. */
static void test_forged_farewell(world_t *w)
{
    uint8_t forged[RPC_FAREWELL_MAX];
    size_t size = rpc_farewell_write(RPC_REASON_LOCAL_FAILURE, "so says the target", forged);
    vc_t v = vc_open(w, GIB, WINDOW);

    ping_pong(&v);
    put(v.target, forged, size);
    vc_expect_end(w, &v, RPC_REASON_PROTOCOL, "that only the endpoint may send");
    v = vc_open(w, GIB, WINDOW);    /* another reject is passed on */
    forged[DCERPC_HEADER_SIZE] ^= 1;
    put(v.target, forged, size);
    expect(v.out, forged, size);
    vc_close(w, &v);
}

/* RpcSetupTimeout of a section counts, and not the endpoint's own. So does RpcConnectTimeout
 * (t/61). */
static void test_setup_timeout_of_section(world_t *w)
{
    rpc_preface_t p = sample_preface(w, "demo");
    uint8_t buf[RPC_PREFACE_MAX];
    int fd = leg_silent(w), target;

    p.setup_timeout = 50;
    put(fd, buf, rpc_preface_write(&p, buf, sizeof(buf)));
    put_b2(fd);
    target = accept_target(w);
    expect_refused(fd, RPC_REASON_SETUP_TIMEOUT, "in A2W");
    expect_eof(target);
    expect_log(w, "setup-timeout, in A2W; client 192.0.2.7, ");
}

/* RpcReceiveWindow of a section goes before the endpoint's own, too: B3 announces it. */
static void test_receive_window_of_section(world_t *w)
{
    rpc_preface_t p = sample_preface(w, "demo");
    uint8_t buf[RPC_PREFACE_MAX];
    size_t len;
    vc_t v = { 0 };

    p.receive_window = 8192;
    len = rpc_preface_write(&p, buf, sizeof(buf));
    v.out = leg_silent(w);
    put(v.out, buf, len);
    put_a2(v.out, GIB, WINDOW);
    v.in = leg_silent(w);
    put(v.in, buf, len);
    put_b2(v.in);
    v.target = accept_target(w);
    expect_opened(v.out, v.in, 8192);
    ping_pong(&v);
    vc_close(w, &v);
}

static void test_garbage_first(world_t *w)
{
    uint8_t buf[RPC_PREFACE_MAX];
    int fd = leg_silent(w);

    put(fd, "GET / HTTP/1.0\r\n\r\n", 18);
    expect_eof(fd);
    expect_log(w, "leg of user \"\" to unknown refused: bad-pdu");
    expect_log(w, "begins without the secret of this server");

    fd = leg_silent(w);
    put(fd, buf, preface(w, "demo", buf) - 1);
    put(fd, "\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377", 17);
    expect_eof(fd);

    fd = leg(w);
    put_a2(fd, 1000, WINDOW); /* a lifetime that is too small for any PDU */
    expect_refused(fd, RPC_REASON_PROTOCOL, "not allowed now");
}

/* Closed by the other end. */
static void until_read(int fd)
{
    int unread = 1;

    while (ioctl(fd, SIOCOUTQ, &unread) == 0 && unread)
        usleep(1000);
}

static unsigned lines_like(world_t *w, const char *what)
{
    const char *at = w->lines;
    unsigned n = 0;

    pthread_mutex_lock(&w->lock);
    for (; (at = strstr(at, what)); at++)
        n++;
    pthread_mutex_unlock(&w->lock);
    return n;
}

/* A process that connects to the Unix socket and is not one of our proxies. Alice's virtual
 * connection goes on. */
static void test_strangers(world_t *w)
{
    uint8_t buf[RPC_PREFACE_MAX], one[RPC_PREFACE_MAX];
    size_t len, part;
    int first = leg(w), fd, i;

    put_b2(first);
    close(accept_target(w));
    len = preface(w, "demo", buf);
    for (i = 0; i < 4; i++) {
        memcpy(one, buf, len);
        if (i == 0)
            one[8] ^= 1;
        else if (i == 1)
            one[8 + RPC_PREFACE_SECRET - 1] ^= 0x80;
        else if (i == 2)
            memset(one + 8, 0, RPC_PREFACE_SECRET);
        else
            one[4] = 2;
        for (part = 0; part < 2; part++) {  /* whole, and in two pieces */
            size_t at = part ? 20 : 0;
            unsigned before = lines_like(w, "begins without the secret of this server: process");

            fd = leg_silent(w);
            if (at)
                put(fd, one, at);
            until_read(fd);
            put(fd, one + at, len - at);
            expect_eof(fd);
            CHECK(lines_like(w, "begins without the secret of this server: process") == before + 1);
        }
    }
    close(first);
}

/* Version 1 (3.1.3): the first PDU is an RPC PDU, and all of it is passed on. */
static void test_version_1(world_t *w)
{
    int fd = leg(w), target;

    put_rpc(fd, 64, 1);
    put(fd, rpc_pdu(100, 2), 30);
    target = accept_target(w);
    expect_rpc(target, 64, 1);
    expect(target, rpc_pdu(100, 2), 30);
    put(fd, rpc_pdu(100, 2) + 30, 70);
    expect(target, rpc_pdu(100, 2) + 30, 70);
    put(target, "bytes as they are", 17);
    expect(fd, "bytes as they are", 17);
    put(target, "the last words", 14);
    close(target);
    expect(fd, "the last words", 14);
    expect_eof(fd);
    expect_log(w, "connection (version 1) of user \"demo\" to srv:6001");
    expect_idle(w);

    fd = leg(w);
    put_rpc(fd, 64, 1);
    target = accept_target(w);
    expect_rpc(target, 64, 1);
    close(fd);
    expect_eof(target);

    fd = leg(w);
    put_rpc(fd, 64, 1);
    target = accept_target(w);
    expect_rpc(target, 64, 1);
    CHECK(do_errand(w, -1, NULL) == 0);
    expect_eof(fd);
    expect_eof(target);
    expect_log(w, "ended: shutdown");
}

/* Legs of RpcEndpointListen have no preface. Both legs of a pair have to come by the same
 * address. */
static void test_listener(world_t *w)
{
    const rpc_endpoint_listener_t a = { "192.0.2.1:6001", "127.0.0.1", w->port, 0 };
    const rpc_endpoint_listener_t b = { "192.0.2.1:6002", "127.0.0.1", w->port, 1 };
    int fd;
    vc_t v = { .foreign = 1 };

    v.out = leg_via(w, &a);
    put_a2(v.out, GIB, WINDOW);
    fd = leg_via(w, &b);
    put_b2(fd);
    expect_eof(fd);
    expect_log(w, "refused: peer-mismatch");
    v.in = leg_via(w, &a);
    put_b2(v.in);
    v.target = accept_target(w);
    expect(v.out, c1_bytes, sizeof(c1_bytes));
    expect(v.in, b3_bytes, sizeof(b3_bytes));
    ping_pong(&v);
    vc_close(w, &v);
    expect_log(w, "of user \"\" to 192.0.2.1:6001 (127.0.0.1 port");

    fd = leg_via(w, &a);
    put_rpc(fd, 64, 1);
    expect_eof(fd);
    expect_log(w, "leg of user \"\" to 192.0.2.1:6001 refused: protocol");
    fd = leg_via(w, &b);
    put_rpc(fd, 64, 1);
    v.target = accept_target(w);
    expect_rpc(v.target, 64, 1);
    close(fd);
    expect_eof(v.target);
}

static void test_garbage_later(world_t *w)
{
    static const uint8_t junk[] = "this is no PDU at all, is it?";
    vc_t v = vc_open(w, GIB, WINDOW);

    put(v.in, junk, sizeof(junk));
    vc_expect_end(w, &v, RPC_REASON_BAD_PDU, "leg: ");
    v = vc_open(w, GIB, WINDOW);
    put(v.out, junk, sizeof(junk));
    vc_expect_end(w, &v, RPC_REASON_BAD_PDU, "leg: ");
    v = vc_open(w, GIB, WINDOW);
    put(v.target, junk, sizeof(junk));
    vc_expect_end(w, &v, RPC_REASON_BAD_PDU, "target");
    v = vc_open(w, GIB, WINDOW);
    put_rpc(v.out, 100, 1);
    vc_expect_end(w, &v, RPC_REASON_PROTOCOL, "RPC PDU on the OUT leg in IN Opened, OUT Opened");
}

static void test_rpc_before_open(world_t *w)
{
    int fd = leg(w), target;

    put_b2(fd);
    target = accept_target(w);
    put_rpc(fd, 100, 1);
    expect_refused(fd, RPC_REASON_PROTOCOL, "RPC PDU on the IN leg in A2W");
    expect_eof(target);
    expect_log(w, "RPC PDU on the IN leg in A2W");
}

static void test_illegal_rts(world_t *w)
{
    static const rts_pdu_id_t on_in[] = { RTS_IN_R1_B1, RTS_OUT_R1_A8, RTS_CONN_B2,
                                          RTS_FLOW_CONTROL_ACK };
    static const rts_pdu_id_t on_out[] = { RTS_OUT_R2_A4, RTS_CONN_A2, RTS_OUT_R1_A4,
                                           RTS_IN_R1_B2 };
    rts_pdu_t pdu;
    size_t i;
    vc_t v = { 0 };

    for (i = 0; i < sizeof(on_in) / sizeof(on_in[0]); i++) {
        v = vc_open(w, GIB, WINDOW);
        rts_begin(&pdu, on_in[i]);
        put_rts(v.in, &pdu);
        vc_expect_end(w, &v, RPC_REASON_PROTOCOL, " leg in ");
    }
    for (i = 0; i < sizeof(on_out) / sizeof(on_out[0]); i++) {
        v = vc_open(w, GIB, WINDOW);
        rts_begin(&pdu, on_out[i]);
        put_rts(v.out, &pdu);
        vc_expect_end(w, &v, RPC_REASON_PROTOCOL, " leg in ");
    }
}

static void test_endpoint_close(world_t *unused)
{
    world_t *w = world_new(apr_time_from_sec(PATIENCE));
    int newcomer = leg(w);
    vc_t v = vc_open(w, GIB, WINDOW);

    CHECK(do_errand(w, -1, NULL) == 0);
    vc_expect_end(w, &v, RPC_REASON_SHUTDOWN, "");
    expect_eof(newcomer);
    world_end(w);
}

/* ---- replacement of the IN channel ---- */

static void put_in_r1_a2(int fd, uint8_t old)
{
    rts_cookie_t vc = cookie(VC), in_old = cookie(old), in_new = cookie(IN_2);
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_IN_R1_A2);
    rts_set_cookie(&pdu, 0, &vc);
    rts_set_cookie(&pdu, 1, &in_old);
    rts_set_cookie(&pdu, 2, &in_new);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 16384);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, 240000);
    put_rts(fd, &pdu);
}

static void expect_in_r1_a3(int fd)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_IN_R1_A3);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 16384);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, 240000);
    expect_rts(fd, &pdu);
}

static void test_in_r1(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);
    int successor = leg(w);
    rts_pdu_t pdu;
    uint8_t i;

    ping_pong(&v);
    put_in_r1_a2(successor, IN_1);
    expect_in_r1_a3(v.out);
    put_rpc(v.in, 300, 3);
    put_cookie(v.in, RTS_IN_R1_A6, IN_2);
    put_rpc(v.in, 400, 4); /* what the old proxy still held */
    rts_begin(&pdu, RTS_IN_R1_B1);
    put_rts(v.in, &pdu);
    expect_refused(v.in, RPC_REASON_RECYCLED, "");
    v.in = successor;
    rts_begin(&pdu, RTS_IN_R1_B2);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, WINDOW);
    expect_rts(v.in, &pdu);
    expect_rpc(v.target, 300, 3);
    expect_rpc(v.target, 400, 4);
    for (i = 0; i < 9; i++) { /* the count begins at zero, with the new cookie */
        put_rpc(v.in, 4096, i);
        expect_rpc(v.target, 4096, i);
    }
    expect_ack(v.in, -1, 9 * 4096, WINDOW, IN_2);
    vc_close(w, &v);
}

static void test_in_r1_refused(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);
    int fd = leg(w);

    put_in_r1_a2(fd, 0x55); /* the cookie is not that of the predecessor */
    expect_refused(fd, RPC_REASON_UNKNOWN_COOKIE, "no channel here has this successor");
    expect_log(w, "refused: unknown-cookie");
    fd = leg_of(w, "mallory");
    put_in_r1_a2(fd, IN_1);
    expect_refused(fd, RPC_REASON_PEER_MISMATCH, "different users");
    expect_log(w, "refused: peer-mismatch");
    ping_pong(&v);
    vc_close(w, &v);
    fd = leg(w);
    put_in_r1_a2(fd, IN_1); /* the virtual connection has ended */
    expect_refused(fd, RPC_REASON_UNKNOWN_COOKIE, "no channel here has this successor");
}

static void test_in_r1_broken(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);
    int successor = leg(w);

    put_in_r1_a2(successor, IN_1);
    expect_in_r1_a3(v.out);
    put_cookie(v.in, RTS_IN_R1_A6, 0x55);
    vc_expect_end(w, &v, RPC_REASON_PROTOCOL, "IN_R1/A6 with a foreign cookie");
    expect_refused(successor, RPC_REASON_PROTOCOL, "IN_R1/A6 with a foreign cookie");

    v = vc_open(w, GIB, WINDOW);
    successor = leg(w);
    put_in_r1_a2(successor, IN_1);
    expect_in_r1_a3(v.out);
    close(successor);
    vc_expect_end(w, &v, RPC_REASON_SERVER_CLOSED, "IN leg in IN A6W, OUT Opened");
}

static void test_in_r2(world_t *w)
{
    vc_t v = vc_open(w, GIB, WINDOW);
    uint8_t i;

    for (i = 0; i < 8; i++)
        put_rpc(v.in, 4096, i);
    put_cookie(v.in, RTS_IN_R2_A2, IN_2);
    expect_short(v.out, RTS_IN_R2_A3);
    put_rpc(v.in, 4096, 8);
    for (i = 0; i < 9; i++)
        expect_rpc(v.target, 4096, i);
    expect_ack(v.in, -1, 9 * 4096, WINDOW, IN_2); /* the leg's count goes on */
    vc_close(w, &v);
}

/* ---- replacement of the OUT channel ---- */

#define LIFETIME 131072
/* Besides the 28 bytes of A3 and the 44 of C1/C2, the thirtieth PDU leaves less than 8,192 bytes of
 * the lifetime. */
#define FILL 30

static vc_t vc_filled(world_t *w)
{
    vc_t v = vc_open(w, LIFETIME, 262144);
    uint8_t i;

    for (i = 0; i < FILL; i++) {
        put_rpc(v.target, 4096, i);
        expect_rpc(v.out, 4096, i);
    }
    expect_short(v.out, RTS_OUT_R1_A1);
    return v;
}

static void put_out_r1_a4(int fd, uint8_t old)
{
    rts_cookie_t vc = cookie(VC), out_old = cookie(old), out_new = cookie(OUT_2);
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_OUT_R1_A4);
    rts_set_cookie(&pdu, 0, &vc);
    rts_set_cookie(&pdu, 1, &out_old);
    rts_set_cookie(&pdu, 2, &out_new);
    rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, LIFETIME);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 8192);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, 240000);
    put_rts(fd, &pdu);
}

static void expect_out_r1_a5(int fd)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_OUT_R1_A5);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, 240000);
    expect_rts(fd, &pdu);
}

static void test_out_r1(world_t *w)
{
    vc_t v = vc_filled(w);
    int successor = leg(w), old = v.out;

    put_rpc(v.target, 500, 1);
    expect_rpc(v.out, 500, 1);
    put_out_r1_a4(successor, OUT_1);
    expect_out_r1_a5(old);
    put_cookie(v.in, RTS_OUT_R1_A8, OUT_2);
    expect_short(old, RTS_OUT_R1_A9);
    v.out = successor;
    ping_pong(&v);
    put_ack(v.in, RTS_FD_OUT_PROXY, 7, 8, OUT_1); /* these wait in the queue of the old proxy */
    expect_ack(old, RTS_FD_OUT_PROXY, 7, 8, OUT_1);
    put_ack(v.in, RTS_FD_OUT_PROXY, 9, 10, OUT_2);
    expect_ack(v.out, RTS_FD_OUT_PROXY, 9, 10, OUT_2);
    close(old);
    ping_pong(&v);
    vc_close(w, &v);
}

/* PDUs for which the old lifetime has no room wait for the successor and arrive in order. */
static void test_out_r1_starved(world_t *w)
{
    vc_t v = vc_filled(w);
    int successor = leg(w), old = v.out;

    put_rpc(v.target, 4096, 1);
    expect_rpc(old, 4096, 1);
    put_rpc(v.target, 4096, 2);
    put_rpc(v.target, 100, 3);
    put_out_r1_a4(successor, OUT_1);
    expect_out_r1_a5(old);
    put_cookie(v.in, RTS_OUT_R1_A8, OUT_2);
    expect_short(old, RTS_OUT_R1_A9);
    v.out = successor;
    expect_rpc(v.out, 4096, 2);
    expect_rpc(v.out, 100, 3);
    close(old);
    vc_close(w, &v);
}

/* There are more acknowledgements for the client than the channel has room for. The rest goes out
 * on the successor, in order. */
static void test_out_late_acks(world_t *w)
{
    vc_t v = vc_filled(w);
    uint32_t i, sent = 2 * LIFETIME / 16 / 56;
    rts_pdu_t pdu;

    for (i = 0; i < sent; i++)
        put_ack(v.in, RTS_FD_CLIENT, i, 8, IN_1);
    put_cookie(v.out, RTS_OUT_R2_A4, OUT_2);
    for (i = 0; ; i++) {
        uint8_t got[56], want[RTS_MAX_SIZE];

        get(v.out, got, 32);
        if (got[8] == 32)
            break;  /* OUT_R2/A5 */
        get(v.out, got + 32, 24);
        make_ack(&pdu, RTS_FD_CLIENT, i, 8, IN_1);
        CHECK(rts_write(&pdu, want, sizeof(want)) == 56 && memcmp(got, want, 56) == 0);
    }
    CHECK(i > 20 && i < sent);
    put_cookie(v.in, RTS_OUT_R2_A8, OUT_2);
    expect_short(v.out, RTS_OUT_R2_B1);
    for (; i < sent; i++)
        expect_ack(v.out, RTS_FD_CLIENT, i, 8, IN_1);
    ping_pong(&v);
    vc_close(w, &v);
}

static void test_out_r2(world_t *w)
{
    vc_t v = vc_filled(w);
    uint8_t i;

    put_cookie(v.out, RTS_OUT_R2_A4, OUT_2);
    expect_short(v.out, RTS_OUT_R2_A5);
    put_cookie(v.in, RTS_OUT_R2_A7, OUT_2); /* 56 bytes, with Version */
    expect_short(v.out, RTS_OUT_R2_B1);
    put_ack(v.out, -1, FILL * 4096, 262144, OUT_2);
    /* the count begins at zero, because B1 belongs to the old channel */
    for (i = 0; i < FILL; i++) {
        put_rpc(v.target, 4096, i);
        expect_rpc(v.out, 4096, i);
    }
    expect_short(v.out, RTS_OUT_R2_A1);
    put_cookie(v.out, RTS_OUT_R2_A4, OUT_1);
    expect_short(v.out, RTS_OUT_R2_A5);
    put_cookie(v.in, RTS_OUT_R2_A8, OUT_1); /* 48 bytes, without */
    expect_short(v.out, RTS_OUT_R2_B1);
    ping_pong(&v);
    vc_close(w, &v);
}

static void test_out_r2_foreign(world_t *w)
{
    vc_t v = vc_filled(w);

    put_cookie(v.out, RTS_OUT_R2_A4, OUT_2);
    expect_short(v.out, RTS_OUT_R2_A5);
    put_cookie(v.in, RTS_OUT_R2_A8, 0x55);
    expect_short(v.out, RTS_OUT_R2_B2);
    vc_expect_end(w, &v, RPC_REASON_PROTOCOL, "OUT_R2/A8 with a foreign cookie");
}

/* Pings of the outbound proxy use its response up as well. */
static void test_pings_count(world_t *w)
{
    vc_t v = vc_open(w, LIFETIME, WINDOW);
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_PING_TRAFFIC_SENT_NOTIFY);
    rts_set_u32(&pdu, RTS_CMD_PING_TRAFFIC_SENT_NOTIFY, LIFETIME - 8192 - 28 - 44 - 1);
    put_rts(v.out, &pdu);
    ping_pong(&v);
    expect_short(v.out, RTS_OUT_R1_A1);
    vc_close(w, &v);
}

/* IN and OUT channels may be replaced at the same time. */
static void test_both_r1(world_t *w)
{
    vc_t v = vc_filled(w);
    int new_out = leg(w), new_in = leg(w);
    rts_pdu_t pdu;

    put_in_r1_a2(new_in, IN_1);
    expect_in_r1_a3(v.out);
    put_out_r1_a4(new_out, OUT_1);
    expect_out_r1_a5(v.out);
    put_cookie(v.in, RTS_OUT_R1_A8, OUT_2);
    expect_short(v.out, RTS_OUT_R1_A9);
    put_cookie(v.in, RTS_IN_R1_A6, IN_2);
    rts_begin(&pdu, RTS_IN_R1_B1);
    put_rts(v.in, &pdu);
    expect_refused(v.in, RPC_REASON_RECYCLED, "");
    v.in = new_in;
    rts_begin(&pdu, RTS_IN_R1_B2);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, WINDOW);
    expect_rts(v.in, &pdu);
    close(v.out);
    v.out = new_out;
    ping_pong(&v);
    vc_close(w, &v);
}

/* ---- one endpoint follows another ---- */

static void line_errand(world_t *w, int line, int follow)
{
    errand_t e = { .w = w, .line = line, .follow = follow };

    wait_errand(&e);
}

static void expect_succeeded(world_t *w)
{
    struct timespec ts;
    int rv = 0;

    deadline(&ts);
    pthread_mutex_lock(&w->lock);
    while (!w->succeeded && rv == 0)
        rv = pthread_cond_timedwait(&w->changed, &w->lock, &ts);
    CHECK(rv == 0);
    pthread_mutex_unlock(&w->lock);
}

/* A leg at N for the target of W. */
static int leg_at(world_t *n, world_t *w)
{
    uint8_t buf[RPC_PREFACE_MAX];
    int fd = leg_silent(n);

    put(fd, buf, preface(w, "demo", buf));
    return fd;
}

/* The second half comes to the successor, which also has a half of another virtual connection. It
 * finds its first half at the process before. */
static void test_handover(world_t *w)
{
    world_t *n = world_new(apr_time_from_sec(PATIENCE));
    uint8_t head[RPC_PREFACE_MAX];
    size_t len = preface(w, "demo", head);
    int line[2], out, in, late, target;

    out = leg(w);
    put_a2(out, GIB, WINDOW);
    target = accept(w->listener, NULL, NULL);
    CHECK(target >= 0);
    be_patient(target);
    late = leg_silent(w);
    put(late, head, 10);

    CHECK(rpc_pass_pair(line) == APR_SUCCESS);
    line_errand(w, line[0], -1);
    line_errand(n, line[1], 1);
    expect_succeeded(w);
    in = leg_at(n, w);
    put_b2(in);
    expect_opened(out, in, WINDOW);
    put_rpc(in, 100, 1);
    expect_rpc(target, 100, 1);

    put(late, head + 10, len - 10);     /* W does not know of it yet */
    put_a2(late, GIB, WINDOW);
    expect_refused(late, RPC_REASON_DUPLICATE_COOKIE, "exists already");
    expect_log(w, "duplicate-cookie");

    close(in);
    expect_server_closed(out, "the virtual connection ended: IN leg");
    expect_eof(target);
    expect_idle(w);
    world_end(n);
}

static uint8_t *message_from(int line, size_t *len, int *fd)
{
    static uint8_t buf[RPC_PREFACE_MAX + 1024];
    struct pollfd pfd = { line, POLLIN, 0 };

    CHECK(poll(&pfd, 1, PATIENCE * 1000) == 1);
    *len = sizeof(buf);
    if (rpc_pass_receive(line, buf, len, fd) != APR_SUCCESS)
        *len = 0;
    return buf;
}

static void say(int line, const void *data, size_t len)
{
    const struct iovec part = { (void *)data, len };

    CHECK(rpc_pass_send(line, &part, 1, -1) == APR_SUCCESS);
}

/* When the loop has read all that was sent on LINE, it has also handled it. */
static void wait_heard(int line)
{
    int unsent = 1;

    while (unsent > 0) {
        CHECK(ioctl(line, SIOCOUTQ, &unsent) == 0);
        poll(NULL, 0, 1);
    }
}

/* The new process judges no leg before the old process has said which virtual connections it has.
 * Legs of those are passed to the old process, with all bytes. When the old process has ended, the
 * new one serves such legs itself. */
static void test_handover_waits(world_t *w)
{
    rts_cookie_t vc = cookie(VC);
    uint8_t has[1 + sizeof(vc)], head[RPC_PREFACE_MAX], *got;
    size_t len, head_len = preface(w, "demo", head);
    int line[2], out, in, target, fd;

    CHECK(rpc_pass_pair(line) == APR_SUCCESS);
    line_errand(w, line[1], 1);
    got = message_from(line[0], &len, &fd);
    CHECK(len == 2 && got[0] == 'R' && got[1] == 2);
    out = leg(w);
    put_a2(out, GIB, WINDOW);
    memcpy(has + 1, &vc, sizeof(vc));
    has[0] = 'H';
    say(line[0], has, sizeof(has));
    say(line[0], "A", 1);
    got = message_from(line[0], &len, &fd);
    CHECK(len > 1 + head_len && got[0] == 'M' && fd >= 0);
    CHECK(memcmp(got + 1, head, head_len) == 0);
    close(fd);
    expect_eof(out);

    has[0] = 'E';
    say(line[0], has, sizeof(has));
    wait_heard(line[0]);
    out = leg(w);
    put_a2(out, GIB, WINDOW);
    target = accept(w->listener, NULL, NULL);
    CHECK(target >= 0);
    in = leg(w);
    put_b2(in);
    expect_opened(out, in, WINDOW);
    close(line[0]);
    close(in);
    expect_server_closed(out, "the virtual connection ended: IN leg");
    close(target);
}

/* A successor with another version of the protocol gets the sockets, and no legs are passed. */
static void test_handover_version(world_t *w)
{
    int line[2], fd, out;
    size_t len;

    out = leg(w);
    CHECK(rpc_pass_pair(line) == APR_SUCCESS);
    line_errand(w, line[0], -1);
    say(line[1], "R\x63", 2);
    expect_succeeded(w);
    message_from(line[1], &len, &fd);
    CHECK(len == 0);
    expect_log(w, "of another version of the module");
    close(line[1]);
    put_a2(out, GIB, WINDOW);           /* legs that connected before are still served */
    fd = accept(w->listener, NULL, NULL);
    CHECK(fd >= 0);
    close(fd);
    close(out);
}

#define TEST(name) { #name, test_##name }
static const struct { const char *name; void (*run)(world_t *w); } tests[] = {
    TEST(out_first), TEST(in_first), TEST(pieces), TEST(mismatch), TEST(duplicates),
    TEST(setup_timeout), TEST(setup_timeout_of_section), TEST(receive_window_of_section),
    TEST(connect_failed), TEST(half_closes),
    TEST(hop2_ack), TEST(hop3_window), TEST(pdu_too_big), TEST(forwarding), TEST(bulk),
    TEST(unread_leg),
    TEST(target_closes), TEST(mass_end), TEST(forged_farewell), TEST(garbage_first),
    TEST(strangers), TEST(version_1), TEST(listener),
    TEST(garbage_later), TEST(rpc_before_open),
    TEST(illegal_rts), TEST(endpoint_close),
    TEST(in_r1), TEST(in_r1_refused), TEST(in_r1_broken), TEST(in_r2),
    TEST(out_r1), TEST(out_r1_starved), TEST(out_late_acks), TEST(out_r2), TEST(out_r2_foreign),
    TEST(pings_count),
    TEST(both_r1),
    TEST(handover), TEST(handover_waits), TEST(handover_version),
};

int main(int argc, char **argv)
{
    const size_t count = sizeof(tests) / sizeof(tests[0]);
    size_t i;

    apr_initialize();
    signal(SIGPIPE, SIG_IGN);
    printf("1..%zu\n", argc > 1 ? 1 : count);
    for (i = 0; i < count; i++) {
        world_t *w;

        if (argc > 1 && strcmp(argv[1], tests[i].name) != 0)
            continue;
        w = world_new(apr_time_from_sec(PATIENCE));
        tests[i].run(w);
        world_end(w);
        printf("ok %zu - %s\n", argc > 1 ? 1 : i + 1, tests[i].name);
        fflush(stdout);
    }
    apr_terminate();
    return 0;
}
