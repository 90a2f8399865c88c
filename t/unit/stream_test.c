/* stream_test: how many pieces a stream writes at once, what it sends from the loop's scratch
 * buffer and what it copies first, that a stream misses neither end of file nor room after a short
 * read or write, and that many ends do not hold up a peer that has something to say. */
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_general.h>

#include "unit.h"

/* ---- a stream that notes what it is to write ---- */

typedef struct noted {
    rpc_stream_t s;
    int writes, pieces;         /* calls, and the pieces of the last one */
    const uint8_t *at;          /* where the first piece lay */
    size_t room;                /* bytes that it still takes */
    size_t got;
    uint8_t bytes[200000];
} noted_t;

static apr_status_t noted_write(rpc_stream_t *s, const struct iovec *pieces, int count, size_t *len)
{
    noted_t *n = (noted_t *)s;

    n->writes++;
    n->pieces = count;
    n->at = pieces->iov_base;
    for (*len = 0; count-- && n->room; pieces++) {
        size_t part = pieces->iov_len < n->room ? pieces->iov_len : n->room;

        memcpy(n->bytes + n->got, pieces->iov_base, part);
        n->got += part;
        n->room -= part;
        *len += part;
    }
    return *len ? APR_SUCCESS : APR_EAGAIN;
}

static void noted_close(rpc_stream_t *s, int abort_it)
{
    noted_t *n = (noted_t *)s;

    n->room = sizeof(n->bytes);
    s->can_write = 1;
    rpc_stream_flush(s);
    rpc_bytes_clear(&s->out);
}

static const rpc_stream_class_t noted_class = {
    .name = "noted", .write = noted_write, .close = noted_close,
};

static noted_t *noted_new(rpc_loop_t *loop, size_t room)
{
    noted_t *n = calloc(1, sizeof(*n));

    rpc_stream_init(&n->s, &noted_class, loop, -1, NULL);
    n->room = room;
    return n;
}

static void fill(uint8_t *bytes, size_t len)
{
    unsigned seed = 11;

    while (len--)
        *bytes++ = (uint8_t)unit_random(&seed);
}

static void test_gathered(rpc_loop_t *loop)
{
    static uint8_t bytes[100000];
    noted_t *n = noted_new(loop, sizeof(bytes));
    size_t i;

    fill(bytes, sizeof(bytes));
    for (i = 0; i < sizeof(bytes); i += 500)
        rpc_stream_put(&n->s, bytes + i, 500);
    rpc_stream_flush(&n->s);
    is_int(n->writes, 1, "100,000 bytes that were put in 200 parts are written at once");
    is_bytes(n->bytes, n->got, bytes, sizeof(bytes), "and are the same");
    free(n);
}

/* Others use the scratch buffer. */
static void overwrite(rpc_loop_t *loop)
{
    memset(rpc_loop_scratch(loop), 'x', RPC_LOOP_SCRATCH);
}

static void test_lent(rpc_loop_t *loop)
{
    static uint8_t bytes[60000];
    noted_t *n = noted_new(loop, sizeof(n->bytes));
    uint8_t *scratch = rpc_loop_scratch(loop);

    fill(bytes, sizeof(bytes));
    memcpy(scratch, bytes, sizeof(bytes));
    rpc_stream_put(&n->s, scratch, 20000);
    rpc_stream_put(&n->s, scratch + 20000, 40000);
    is_int((long long)rpc_stream_pending(&n->s), 60000, "what is lent is pending like any other");
    rpc_stream_flush(&n->s);
    ok(n->at == scratch && n->pieces == 1,
       "what lies together in the scratch is one piece, sent from there");
    is_bytes(n->bytes, n->got, bytes, sizeof(bytes), "and arrives");
    n->writes = 0;
    overwrite(loop);
    is_int(n->writes, 0, "nothing is lent any more");
    free(n);
}

static void test_kept(rpc_loop_t *loop)
{
    static uint8_t bytes[60004];
    noted_t *n = noted_new(loop, 25000);
    uint8_t *scratch = rpc_loop_scratch(loop);

    fill(bytes, sizeof(bytes));
    memcpy(scratch + 100, bytes, 60000);
    memcpy(bytes + 60000, "tail", 4);
    rpc_stream_put(&n->s, scratch + 100, 30000);
    rpc_stream_put(&n->s, scratch + 30100, 30000);
    rpc_stream_put(&n->s, "tail", 4);
    overwrite(loop);
    is_bytes(n->bytes, n->got, bytes, 25000,
             "the next user of the scratch lets the peer take what it likes");
    is_int((long long)rpc_stream_pending(&n->s), 35004, "and the rest is kept");
    n->room = sizeof(n->bytes);
    n->s.can_write = 1;
    rpc_stream_flush(&n->s);
    is_bytes(n->bytes, n->got, bytes, sizeof(bytes), "unharmed");
    free(n);
}

static void test_two_borrowers(rpc_loop_t *loop)
{
    noted_t *a = noted_new(loop, 0), *b = noted_new(loop, 0);
    uint8_t *scratch = rpc_loop_scratch(loop);

    memcpy(scratch, "aaabbbaaa", 9);
    rpc_stream_put(&a->s, scratch, 3);
    rpc_stream_put(&b->s, scratch + 3, 3);
    rpc_stream_put(&a->s, scratch + 6, 3);
    overwrite(loop);
    rpc_stream_close(&a->s, 0);
    rpc_stream_close(&b->s, 0);
    is_bytes(a->bytes, a->got, "aaaaaa", 6, "two streams that want parts of one scratch: one");
    is_bytes(b->bytes, b->got, "bbb", 3, "and the other");
    free(a);
    free(b);
}

static void test_closed(rpc_loop_t *loop)
{
    noted_t *n = noted_new(loop, 0);
    uint8_t *scratch = rpc_loop_scratch(loop);

    memcpy(scratch, "last", 4);
    rpc_stream_put(&n->s, scratch, 4);
    rpc_stream_flush(&n->s);
    rpc_stream_close(&n->s, 0);
    is_bytes(n->bytes, n->got, "last", 4, "a closed stream still writes what was lent");
    n->writes = 0;
    rpc_bytes_put(&n->s.out, "none", 4);
    overwrite(loop);
    is_int(n->writes, 0, "and is not asked for it afterwards");
    rpc_bytes_clear(&n->s.out);
    free(n);
}

/* ---- sockets ---- */

typedef struct reader {
    rpc_job_t job;
    rpc_stream_t *s;
    rpc_loop_t *loop;
    int peer;
    int runs;
    size_t got;
    apr_status_t end;
} reader_t;

static void read_all(rpc_job_t *job)
{
    reader_t *r = RPC_OWNER_OF(job, reader_t, job);
    size_t len;

    r->runs++;
    do {
        uint8_t buf[100];

        len = sizeof(buf);
        r->end = rpc_stream_read(r->s, buf, &len);
        r->got += len;
    } while (r->end == APR_SUCCESS);
    if (!APR_STATUS_IS_EAGAIN(r->end))
        rpc_loop_stop(r->loop);
}

static void reader_open_on(reader_t *r, rpc_loop_t *loop)
{
    int pair[2];

    memset(r, 0, sizeof(*r));
    r->loop = loop;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        abort();
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    r->job.run = read_all;
    r->s = rpc_stream_open(r->loop, pair[0], &r->job);
    r->peer = pair[1];
}

static void reader_open(reader_t *r, apr_pool_t *pool)
{
    rpc_loop_t *loop;

    if (rpc_loop_create(&loop, pool) != APR_SUCCESS)
        abort();
    reader_open_on(r, loop);
}

static void peer_says(const reader_t *r, const char *text)
{
    if (write(r->peer, text, strlen(text)) < 0)
        abort();
}

static void test_short_read(apr_pool_t *pool)
{
    reader_t r;
    uint8_t buf[100];
    size_t len = sizeof(buf);

    reader_open(&r, pool);
    peer_says(&r, "abc");
    rpc_stream_read(r.s, buf, &len);
    ok(len == 3 && !r.s->can_read, "less than was asked for: there is no more, and no second read");
    peer_says(&r, "defg");
    close(r.peer);
    rpc_loop_run(r.loop);       /* an event announces the rest */
    is_int((long long)r.got, 4, "what comes later is read");
    ok(APR_STATUS_IS_EOF(r.end), "and so is the end of file");
    rpc_stream_close(r.s, 1);
}

/* The event for the end of file comes before the last bytes are read, and does not come again. */
static void test_short_read_at_end(apr_pool_t *pool)
{
    reader_t r;

    reader_open(&r, pool);
    peer_says(&r, "abc");
    close(r.peer);
    rpc_loop_run(r.loop);
    ok(r.s->hup && r.got == 3 && r.runs == 1, "the last bytes, after the event of the end");
    ok(APR_STATUS_IS_EOF(r.end), "do not hide the end of file");
    rpc_stream_close(r.s, 1);
}

/* A stream that writes before it has seen the end of the peer still reads what the peer has sent
 * before. No event is needed. */
static void test_close_after_end(apr_pool_t *pool)
{
    reader_t r;
    uint8_t buf[100];
    size_t len = sizeof(buf);

    reader_open(&r, pool);
    shutdown(r.peer, SHUT_WR);
    ok(APR_STATUS_IS_EOF(rpc_stream_read(r.s, buf, &len)), "a peer has said all");
    rpc_stream_close(r.s, 0);
    is_int(read(r.peer, buf, sizeof(buf)), 0, "so a stream without more to say closes at once");
    close(r.peer);
}

static void test_read_after_failed_write(apr_pool_t *pool)
{
    uint8_t buf[100];
    size_t len = sizeof(buf);
    reader_t r;

    reader_open(&r, pool);
    rpc_stream_read(r.s, buf, &len);
    ok(!r.s->can_read && !rpc_stream_read_rest(r.s), "nothing has failed yet");
    peer_says(&r, "why");
    close(r.peer);
    rpc_stream_put(r.s, "too late", 8);
    is_int(rpc_stream_flush(r.s), EPIPE, "the peer has closed");
    ok(rpc_stream_read_rest(r.s), "what it has said before");
    read_all(&r.job);
    ok(r.got == 3 && APR_STATUS_IS_EOF(r.end), "is read, and then its end");
    is_int((long long)rpc_stream_pending(r.s), 0, "nothing more is written");
    rpc_stream_close(r.s, 1);
}

static void write_rest(rpc_job_t *job)
{
    reader_t *r = RPC_OWNER_OF(job, reader_t, job);
    uint8_t buf[65536];
    ssize_t n;

    r->runs++;
    rpc_stream_flush(r->s);
    while ((n = read(r->peer, buf, sizeof(buf))) > 0)
        r->got += (size_t)n;
    if (!rpc_stream_pending(r->s))
        rpc_loop_stop(r->loop);
}

static void test_short_write(apr_pool_t *pool)
{
    static uint8_t bytes[1 << 20];
    reader_t r;

    reader_open(&r, pool);
    r.job.run = write_rest;
    rpc_stream_put(r.s, bytes, sizeof(bytes));
    rpc_stream_flush(r.s);
    ok(rpc_stream_pending(r.s) > 0 && !r.s->can_write, "a socket that takes a part is full");
    rpc_loop_schedule(r.loop, &r.job);
    rpc_loop_run(r.loop);       /* an event announces room */
    is_int((long long)r.s->sent, sizeof(bytes), "all is written in the end");
    ok(r.runs > 1, "in several turns");
    rpc_stream_close(r.s, 1);
    close(r.peer);
}

#define CROWD 200

/* Streams that are ready at the same time: all peers have hung up, but the last one says
 * something. */
typedef struct crowd {
    reader_t all[CROWD];
    int turns, before_last;
} crowd_t;

static crowd_t crowd;

static void take_turn(rpc_job_t *job)
{
    reader_t *r = RPC_OWNER_OF(job, reader_t, job);

    if (r == &crowd.all[CROWD - 1])
        crowd.before_last = crowd.turns;
    if (++crowd.turns == CROWD)
        rpc_loop_stop(r->loop);
}

static void test_hung_up(apr_pool_t *pool)
{
    rpc_loop_t *loop;
    int i;

    if (rpc_loop_create(&loop, pool) != APR_SUCCESS)
        abort();
    for (i = 0; i < CROWD; i++) {
        reader_t *r = &crowd.all[i];

        reader_open_on(r, loop);
        r->job.run = take_turn;
        if (i < CROWD - 1)
            close(r->peer);
        else
            peer_says(r, "abc");
    }
    rpc_loop_run(loop);
    ok(crowd.before_last < 20, "who says something waits for %d of %d that have hung up",
       crowd.before_last, CROWD - 1);
    is_int(crowd.turns, CROWD, "which have their turn all the same");
    for (i = 0; i < CROWD; i++)
        rpc_stream_close(crowd.all[i].s, 1);
    close(crowd.all[CROWD - 1].peer);
}

int main(void)
{
    apr_pool_t *pool;
    rpc_loop_t *loop;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    alarm(60);      /* the test would wait for ever if an event were missed */
    if (rpc_loop_create(&loop, pool) != APR_SUCCESS)
        return 1;
    test_gathered(loop);
    test_lent(loop);
    test_kept(loop);
    test_two_borrowers(loop);
    test_closed(loop);
    test_short_read(pool);
    test_short_read_at_end(pool);
    test_close_after_end(pool);
    test_read_after_failed_write(pool);
    test_short_write(pool);
    test_hung_up(pool);
    apr_pool_destroy(pool);
    apr_terminate();
    return unit_done();
}
