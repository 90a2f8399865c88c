/* httpd/conn.c: the life of a connection after it has left its worker thread.
 *
 *   hand over (worker)  ->  RUN (loop)  ->  FLUSH  ->  request logged and freed  ->  DRAIN
 *     ->  LINGER  ->  closed  ->  QUARANTINE  ->  the connection's pool destroyed
 *
 * Until the suspend hook the worker owns connection, request and filters; from there on the
 * loop's thread does, to the end. On MPMs that cannot suspend, the worker sleeps in
 * hand_over() while the loop works and takes connection and request back after FLUSH.
 *
 * CORE's output filter blocks only for FLUSH buckets, for more than FlushMaxThreshold bytes
 * and for buckets of unknown length. Our filter just above it swallows the FLUSHes (which
 * mod_ssl needs, or its coalescing filter keeps bytes back), we pass at most half of that
 * threshold, and only when CORE holds nothing.
 */
#include "httpd/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_atomic.h>
#include <apr_optional.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mpm_common.h>
#include <ap_mpm.h>
#include <scoreboard.h>
#include <util_filter.h>

#include "httpd/logio.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

#define WRITE_MAX 32768     /* half of CORE's default FlushMaxThreshold */
#define SEND_PIECES 16
#define JUNK_MAX 131072     /* bytes that are read and discarded in one turn */
#define DRAIN_TIME apr_time_from_sec(10)
#define ENDING_TIME apr_time_from_msec(500)     /* instead, when the child ends */
#define ENDING_LOOK apr_time_from_msec(250)     /* whether it does */
#define LINGER_TIME apr_time_from_sec(2)
#define QUARANTINE_TIME apr_time_from_sec(2)
#define QUARANTINE_LOOK apr_time_from_msec(20)

typedef enum { CONN_RUN, CONN_FLUSH, CONN_DRAIN, CONN_LINGER, CONN_QUARANTINE } conn_phase_t;

typedef struct rpc_conn {
    rpc_stream_t s;             /* first: a stream is one of these */
    conn_rec *c;
    request_rec *r;             /* NULL once logged */
    rpc_record_t *record;       /* of r */
    apr_off_t in, out;          /* mod_logio's counts when it was taken */
    rpc_conn_home_t home;
    conn_phase_t phase;
    apr_bucket_brigade *bb;     /* of c, for both directions */
    ap_filter_t *core;          /* CORE's output filter */
    apr_int64_t body_left;
    int stay;
    struct rpc_conn **armed;    /* of our filter: NULL in it makes the filter pass all */
    APR_OPTIONAL_FN_TYPE(ap_logio_add_bytes_out) *count_out;    /* mod_logio's %O, or NULL */
    apr_os_thread_t thread;     /* the loop's, for c->current_thread */
    worker_score *score;        /* of the worker that handed it over */
    int wake_worker;            /* eventfd of a worker that waits, or -1 */
    rpc_job_t job;              /* arrival, then the phases after RUN */
    rpc_timer_t timer;
    apr_time_t deadline;        /* of the phase */
} rpc_conn_t;

static rpc_conn_t *conn_of(rpc_stream_t *s)
{
    return (rpc_conn_t *)s;
}

/* ---- the filter above CORE ---- */

static const char FILTER_NAME[] = "RPCPROXY_NONBLOCKING";

/* One non-blocking try to send what CORE holds. */
static apr_status_t core_push(rpc_conn_t *conn)
{
    return conn->core->frec->filter_func.out_func(conn->core, NULL);
}

/* The data at the head of BB as an I/O vector; returns its number of pieces. */
static int gather_buckets(apr_bucket_brigade *bb, struct iovec *vec, int max)
{
    apr_bucket *b;
    int n = 0;

    for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb) && n < max;
         b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t len;

        if (APR_BUCKET_IS_METADATA(b) || b->length == (apr_size_t)-1
            || apr_bucket_read(b, &data, &len, APR_NONBLOCK_READ) != APR_SUCCESS)
            break;
        vec[n].iov_base = (void *)data;
        vec[n++].iov_len = len;
    }
    return n;
}

static void drop_sent(apr_bucket_brigade *bb, apr_size_t sent)
{
    while (sent) {
        apr_bucket *b = APR_BRIGADE_FIRST(bb);

        if (sent < b->length)
            apr_bucket_split(b, sent);
        sent -= b->length;
        apr_bucket_delete(b);
    }
}

/* Sends what the socket takes of BB. CORE would do it, too, but sets less than 4 KB aside
 * first: a pool and a copy for each channel. What is left, and every error, is for CORE. */
static void send_now(rpc_conn_t *conn, apr_bucket_brigade *bb)
{
    struct iovec vec[SEND_PIECES];
    ssize_t n;
    int pieces;

    while ((pieces = gather_buckets(bb, vec, SEND_PIECES)) > 0) {
        struct msghdr msg = { .msg_iov = vec, .msg_iovlen = (size_t)pieces };

        do {
            n = sendmsg(conn->s.watch.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        if (n <= 0)
            return;
        drop_sent(bb, (apr_size_t)n);
        if (conn->count_out)
            conn->count_out(conn->c, n);
    }
}

static apr_status_t nonblocking_filter(ap_filter_t *f, apr_bucket_brigade *bb)
{
    rpc_conn_t *conn = *(rpc_conn_t **)f->ctx;
    apr_bucket *b, *next;
    apr_status_t rv;

    if (!conn)
        return ap_pass_brigade(f->next, bb);
    for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb); b = next) {
        next = APR_BUCKET_NEXT(b);
        if (APR_BUCKET_IS_FLUSH(b))
            apr_bucket_delete(b);
    }
    if (!f->c->data_in_output_filters && !f->c->aborted)
        send_now(conn, bb);
    if (APR_BRIGADE_EMPTY(bb))
        return APR_SUCCESS;
    rv = ap_pass_brigade(f->next, bb);
    if (rv == APR_SUCCESS && f->c->data_in_output_filters)
        rv = core_push(conn);
    return rv;
}

/* ---- reading and writing ---- */

static apr_status_t get_brigade(rpc_conn_t *conn, apr_size_t want)
{
    apr_status_t rv = ap_get_brigade(conn->c->input_filters, conn->bb, AP_MODE_READBYTES,
                                     APR_NONBLOCK_READ, (apr_off_t)want);

    return rv == APR_SUCCESS && APR_BRIGADE_EMPTY(conn->bb) ? APR_EAGAIN : rv;
}

/* "Nothing now" and the first notice of end of file look the same. Only the next call tells them
 * apart, but epoll will report no further event that would cause it. So after the peer has hung up,
 * a second call follows: if that returns no data (end of file, a missing TLS close_notify, a reset),
 * the connection has ended. */
static apr_status_t read_some(rpc_conn_t *conn, void *buf, apr_size_t *len)
{
    apr_size_t want = *len;
    apr_status_t rv = get_brigade(conn, want);

    if (rv != APR_SUCCESS && conn->s.hup && get_brigade(conn, want) != APR_SUCCESS)
        rv = APR_EOF;
    if (!APR_BRIGADE_EMPTY(conn->bb))
        rv = apr_brigade_flatten(conn->bb, buf, len);   /* mod_ssl's buckets are transient */
    apr_brigade_cleanup(conn->bb);
    if (rv == APR_SUCCESS && *len == 0)
        rv = APR_EAGAIN;
    return rv;
}

/* Behind the body only end of file matters. A client that sends more is disconnected. */
static apr_status_t read_junk(rpc_conn_t *conn, void *buf, apr_size_t room)
{
    apr_size_t total = 0, len = room;
    apr_status_t rv;

    while ((rv = read_some(conn, buf, &len)) == APR_SUCCESS) {
        total += len;
        len = room;
        if (total > JUNK_MAX)
            return APR_EGENERAL;
    }
    return rv;
}

/* mod_ssl returns at most 8 KB at a time. Filling the buffer makes fewer writes to the server. */
static apr_status_t read_full(rpc_conn_t *conn, uint8_t *buf, apr_size_t *len)
{
    apr_size_t total = 0, n;
    apr_status_t rv;

    do {
        n = *len - total;
        rv = read_some(conn, buf + total, &n);
        if (rv == APR_SUCCESS)
            total += n;
    } while (rv == APR_SUCCESS && total < *len);
    *len = total;
    return total ? APR_SUCCESS : rv;
}

static apr_status_t conn_read(rpc_stream_t *s, void *buf, size_t *len)
{
    rpc_conn_t *conn = conn_of(s);
    apr_status_t rv;

    if (conn->body_left == 0)
        return conn->stay ? read_junk(conn, buf, *len) : APR_EOF;
    if ((apr_int64_t)*len > conn->body_left)
        *len = (size_t)conn->body_left;
    rv = read_full(conn, buf, len);
    if (rv == APR_SUCCESS)
        conn->body_left -= *len;
    return rv;
}

/* Passes the pieces, but not more than WRITE_MAX bytes; *LEN says how many. */
static apr_status_t pass_bytes(rpc_conn_t *conn, const struct iovec *pieces, int count, size_t *len)
{
    apr_bucket_alloc_t *ba = conn->c->bucket_alloc;
    apr_status_t rv;
    size_t n;

    for (*len = 0; count-- && *len < WRITE_MAX; pieces++, *len += n) {
        n = pieces->iov_len < WRITE_MAX - *len ? pieces->iov_len : WRITE_MAX - *len;
        APR_BRIGADE_INSERT_TAIL(conn->bb, apr_bucket_transient_create(pieces->iov_base, n, ba));
    }
    APR_BRIGADE_INSERT_TAIL(conn->bb, apr_bucket_flush_create(ba));
    rv = ap_pass_brigade(conn->c->output_filters, conn->bb);
    apr_brigade_cleanup(conn->bb);
    return conn->c->aborted ? APR_ECONNABORTED : rv;
}

static apr_status_t conn_push(rpc_stream_t *s)
{
    rpc_conn_t *conn = conn_of(s);
    apr_status_t rv;

    if (!conn->c->data_in_output_filters)
        return APR_SUCCESS;
    rv = core_push(conn);
    if (rv == APR_SUCCESS && conn->c->data_in_output_filters)
        rv = APR_EAGAIN;
    return rv;
}

static apr_status_t conn_write(rpc_stream_t *s, const struct iovec *pieces, int count, size_t *len)
{
    apr_status_t rv = conn_push(s);

    if (rv != APR_SUCCESS) {
        *len = 0;
        return rv;
    }
    return pass_bytes(conn_of(s), pieces, count, len);
}

static int note_header(void *record, const char *name, const char *value)
{
    rpc_record_header(record, name, value);
    return 1;
}

/* The header goes through the request's filters, so that mod_headers and the like see it. */
static apr_status_t conn_respond(rpc_stream_t *s, const rpc_answer_t *answer)
{
    rpc_conn_t *conn = conn_of(s);
    request_rec *r = conn->r;
    apr_status_t rv;

    r->status = answer->status;
    r->status_line = apr_psprintf(r->pool, "%d %s", answer->status, answer->reason);
    if (answer->http10) {
        r->proto_num = HTTP_VERSION(1, 0);
        apr_table_setn(r->subprocess_env, "force-response-1.0", "1");
    }
    apr_table_setn(r->subprocess_env, "no-gzip", "1");
    apr_table_setn(r->subprocess_env, "no-brotli", "1");
    ap_set_content_type(r, "application/rpc");
    if (answer->status == HTTP_OK)      /* nginx in front would collect PDUs until its buffers are full */
        apr_table_setn(r->headers_out, "X-Accel-Buffering", "no");
    if (answer->content_length >= 0)
        ap_set_content_length(r, answer->content_length);
    APR_BRIGADE_INSERT_TAIL(conn->bb, apr_bucket_flush_create(conn->c->bucket_alloc));
    rv = ap_pass_brigade(r->output_filters, conn->bb);
    apr_brigade_cleanup(conn->bb);
    apr_table_do(note_header, conn->record, r->headers_out, NULL);
    return conn->c->aborted ? APR_ECONNABORTED : rv;
}

/* ---- the end ---- */

static void conn_free(rpc_conn_t *conn)
{
    volatile apr_uint32_t *alive = conn->home.alive;

    rpc_timer_cancel(conn->s.loop, &conn->timer);
    rpc_bytes_clear(&conn->s.out);
    free(conn);
    apr_atomic_dec32(alive);
}

/* After the suspend hooks the worker still stores c->sbh = NULL and one flag more, and
 * httpd offers no event that follows. So the connection may be freed only when sbh is NULL
 * and the worker is seen elsewhere (or has had two seconds for those two stores). */
static int worker_has_left(const rpc_conn_t *conn, apr_time_t now)
{
    int status = conn->score ? conn->score->status : SERVER_READY;

    if (conn->c->sbh != NULL)
        return 0;
    return status == SERVER_READY || status == SERVER_GRACEFUL || status == SERVER_DEAD
           || now >= conn->deadline;
}

static void quarantine(rpc_conn_t *conn)
{
    apr_time_t now = rpc_loop_now(conn->s.loop);

    if (worker_has_left(conn, now)) {
        apr_pool_t *pool = conn->c->pool;

        conn_free(conn);
        apr_pool_destroy(pool); /* event's own; its clean-ups keep event's counters right */
        return;
    }
    rpc_timer_set(conn->s.loop, &conn->timer, now + QUARANTINE_LOOK);
}

static void close_socket(rpc_conn_t *conn)
{
    rpc_loop_unschedule(conn->s.loop, &conn->job);
    rpc_watch_remove(conn->s.loop, &conn->s.watch);
    apr_socket_close(ap_get_conn_socket(conn->c));
    conn->phase = CONN_QUARANTINE;
    conn->deadline = rpc_loop_now(conn->s.loop) + QUARANTINE_TIME;
    quarantine(conn);
}

/* A child that ends does not wait for a client that does not read or does not close. But the request
 * must be logged; and a worker that waits for it, or the connection, would keep the child alive. */
static void set_timer(rpc_conn_t *conn)
{
    apr_time_t now = rpc_loop_now(conn->s.loop), look = now + ENDING_LOOK;

    if (apr_atomic_read32(conn->home.ending) && conn->deadline > now + ENDING_TIME)
        conn->deadline = now + ENDING_TIME;
    rpc_timer_set(conn->s.loop, &conn->timer, conn->deadline < look ? conn->deadline : look);
}

static void conn_enter(rpc_conn_t *conn, conn_phase_t phase, apr_interval_time_t time)
{
    conn->phase = phase;
    conn->deadline = rpc_loop_now(conn->s.loop) + time;
    set_timer(conn);
    rpc_loop_schedule(conn->s.loop, &conn->job);
}

static void end_record(rpc_conn_t *conn)
{
    rpc_record_end_t end = {
        .status = conn->r->status,
        .aborted = conn->c->aborted != 0,
        .body = conn->s.sent,
    };
    apr_off_t in, out;

    rpc_logio_read(conn->c, &in, &out);
    end.in = (apr_uint64_t)(in - conn->in);
    end.out = (apr_uint64_t)(out - conn->out);
    rpc_record_end(conn->record, &end);
}

/* Logs and frees the request, then lets mod_ssl say good-bye. */
static void end_request(rpc_conn_t *conn)
{
    conn_rec *c = conn->c;
    apr_bucket_alloc_t *ba = c->bucket_alloc;

    end_record(conn);
    APR_BRIGADE_INSERT_TAIL(conn->bb, ap_bucket_eor_create(ba, conn->r));
    conn->r = NULL;
    ap_pass_brigade(c->output_filters, conn->bb);
    apr_brigade_cleanup(conn->bb);
    ap_run_pre_close_connection(c);
    APR_BRIGADE_INSERT_TAIL(conn->bb, ap_bucket_eoc_create(ba));
    APR_BRIGADE_INSERT_TAIL(conn->bb, apr_bucket_flush_create(ba));
    ap_pass_brigade(c->output_filters, conn->bb);
    apr_brigade_cleanup(conn->bb);
    /* Event's clean-up counts by this state. */
    c->cs->state = CONN_STATE_SUSPENDED;
}

static void give_back(rpc_conn_t *conn)
{
    uint64_t one = 1;
    int fd = conn->wake_worker;

    end_record(conn);
    rpc_timer_cancel(conn->s.loop, &conn->timer);
    rpc_loop_unschedule(conn->s.loop, &conn->job);
    rpc_watch_remove(conn->s.loop, &conn->s.watch);
    if (write(fd, &one, sizeof(one)) < 0)
        abort(); /* the counter is 0; a write of 1 cannot fail */
}

static void phase_flush(rpc_conn_t *conn)
{
    apr_status_t rv = rpc_stream_flush(&conn->s);

    if (rv == APR_SUCCESS && conn->s.out.size && rpc_loop_now(conn->s.loop) < conn->deadline) {
        set_timer(conn);
        return;
    }
    if (rv != APR_SUCCESS || conn->s.out.size)
        conn->c->aborted = 1;
    if (conn->wake_worker >= 0) {
        give_back(conn);
        return;
    }
    end_request(conn);
    conn_enter(conn, CONN_DRAIN, DRAIN_TIME);
}

static void phase_drain(rpc_conn_t *conn)
{
    apr_status_t rv = conn_push(&conn->s);

    if (APR_STATUS_IS_EAGAIN(rv) && rpc_loop_now(conn->s.loop) < conn->deadline) {
        set_timer(conn);
        return;
    }
    if (rv != APR_SUCCESS || conn->c->aborted) {
        close_socket(conn);
        return;
    }
    apr_socket_shutdown(ap_get_conn_socket(conn->c), APR_SHUTDOWN_WRITE);
    conn->s.can_read = 1;
    conn_enter(conn, CONN_LINGER, LINGER_TIME);
}

/* Reads from the socket directly, because these bytes need not be decrypted. */
static void phase_linger(rpc_conn_t *conn)
{
    apr_socket_t *sock = ap_get_conn_socket(conn->c);
    apr_size_t total = 0, len;
    apr_status_t rv;

    apr_socket_timeout_set(sock, 0);
    do {
        len = RPC_LOOP_SCRATCH;
        rv = apr_socket_recv(sock, (char *)rpc_loop_scratch(conn->s.loop), &len);
        total += len;
    } while (rv == APR_SUCCESS && total < JUNK_MAX);
    if (rv == APR_SUCCESS && rpc_loop_now(conn->s.loop) < conn->deadline)
        rpc_loop_schedule(conn->s.loop, &conn->job);
    else if (!APR_STATUS_IS_EAGAIN(rv) || rpc_loop_now(conn->s.loop) >= conn->deadline)
        close_socket(conn);
    else
        set_timer(conn);
}

static void run_phase(rpc_conn_t *conn)
{
    switch (conn->phase) {
    case CONN_RUN: break;
    case CONN_FLUSH: phase_flush(conn); break;
    case CONN_DRAIN: phase_drain(conn); break;
    case CONN_LINGER: phase_linger(conn); break;
    case CONN_QUARANTINE: quarantine(conn); break;
    }
}

static void conn_job(rpc_job_t *job)
{
    run_phase(RPC_OWNER_OF(job, rpc_conn_t, job));
}

static void conn_timer(rpc_timer_t *timer)
{
    run_phase(RPC_OWNER_OF(timer, rpc_conn_t, timer));
}

static void conn_close(rpc_stream_t *s, int abort_it)
{
    rpc_conn_t *conn = conn_of(s);

    if (abort_it || s->error) {
        conn->c->aborted = 1;
        rpc_bytes_clear(&s->out);
    }
    conn->job.run = conn_job;
    s->owner = &conn->job;
    conn_enter(conn, CONN_FLUSH, DRAIN_TIME);
}

static const rpc_stream_class_t conn_class = {
    .name = "httpd connection",
    .socket = 1,
    .read = conn_read,
    .write = conn_write,
    .push = conn_push,
    .close = conn_close,
    .respond = conn_respond,
};

/* ---- the hand-over ---- */

/* Takes a connection filter out of FILTERS, the connection's chain of its kind. ABOVE is the
 * request's chain, which runs into that one and whose link it may be (NULL: nobody uses it). */
static void unlink_filter(ap_filter_t **filters, ap_filter_t *above, const char *name)
{
    ap_filter_t *f, *victim = *filters;

    while (victim && ap_cstr_casecmp(victim->frec->name, name) != 0)
        victim = victim->next;
    if (!victim)
        return;
    if (*filters == victim)
        *filters = victim->next;
    for (f = *filters; f; f = f->next) {
        if (f->next == victim)
            f->next = victim->next;
    }
    for (f = above; f; f = f->next) {
        if (f->next == victim)
            f->next = victim->next;
    }
}

/* mod_reqtimeout would end a channel that is quiet for some seconds. mod_ssl's coalescing
 * gains nothing, as PDUs come here coalesced, and costs 12 KB a channel. */
static void unlink_burdens(request_rec *r)
{
    conn_rec *c = r->connection;

    unlink_filter(&c->input_filters, NULL, "reqtimeout");
    unlink_filter(&c->output_filters, r->output_filters, "SSL/TLS Coalescing Filter");
}

/* Sends "100 Continue". httpd does this in a blocking read of HTTP_IN, which never happens here. */
static void send_continue(request_rec *r)
{
    int status = r->status;
    const char *line = r->status_line;

    r->status = HTTP_CONTINUE;
    r->status_line = NULL;
    ap_send_interim_response(r, 0);     /* clears expecting_100, which it wants to find set */
    r->status = status;
    r->status_line = line;
}

static ap_filter_t *core_filter(conn_rec *c)
{
    ap_filter_t *f = c->output_filters;

    while (f->next)
        f = f->next;
    return f;
}

/* The MPM gives up a connection whose own request is suspended. Behind an internal redirect, of a
 * RewriteRule or an ErrorDocument for example, httpd goes on with the request before it. */
static int can_suspend(const request_rec *r)
{
    const conn_rec *c = r->connection;
    int async = 0;

    return !r->prev && !r->main && ap_mpm_query(AP_MPMQ_IS_ASYNC, &async) == APR_SUCCESS && async
           && c->cs != NULL && !c->clogging_input_filters;
}

/* On the loop's thread, which owns the connection from now on. */
static void conn_arrive(rpc_job_t *job)
{
    rpc_conn_t *conn = RPC_OWNER_OF(job, rpc_conn_t, job);

    if (conn->wake_worker < 0) {
        conn->thread = apr_os_thread_current();
        conn->c->current_thread = NULL;     /* else the worker's own record is overwritten */
        apr_os_thread_put(&conn->c->current_thread, &conn->thread, conn->c->pool);
    }
    if (rpc_watch_add(conn->s.loop, &conn->s.watch) != APR_SUCCESS) {
        rpc_record_log(conn->record, RPC_LOG_ERR, errno, "cannot watch the connection: too many descriptors?");
        conn->s.error = APR_ENOMEM;
    }
    conn->home.arrived(&conn->s, conn->r, conn->home.ctx);
}

static rpc_conn_t *conn_create(request_rec *r, const rpc_conn_home_t *home, apr_int64_t body,
                               int stay, rpc_record_t *record)
{
    conn_rec *c = r->connection;
    rpc_conn_t *conn = calloc(1, sizeof(*conn));
    apr_os_sock_t fd;

    if (!conn || apr_os_sock_get(&fd, ap_get_conn_socket(c)) != APR_SUCCESS) {
        free(conn);
        return NULL;
    }
    rpc_stream_init(&conn->s, &conn_class, home->loop, fd, NULL);
    conn->c = c;
    conn->r = r;
    conn->record = record;
    rpc_logio_read(c, &conn->in, &conn->out);
    conn->home = *home;
    conn->body_left = body;
    conn->stay = stay;
    conn->bb = apr_brigade_create(c->pool, c->bucket_alloc);
    conn->core = core_filter(c);
    conn->count_out = APR_RETRIEVE_OPTIONAL_FN(ap_logio_add_bytes_out);
    conn->wake_worker = -1;
    conn->job.run = conn_arrive;
    conn->timer.fire = conn_timer;
    apr_atomic_inc32(home->alive);
    return conn;
}

/* The loop has the connection until it wakes us. Not a pooled condition variable: prefork
 * destroys pools from a signal handler while its one thread waits here. */
static int wait_for_end(rpc_conn_t *conn)
{
    request_rec *r = conn->r;
    uint64_t count;
    ssize_t n;

    conn->wake_worker = eventfd(0, EFD_CLOEXEC);
    if (conn->wake_worker < 0) {
        *conn->armed = NULL;
        conn_free(conn);
        return HTTP_SERVICE_UNAVAILABLE;
    }
    rpc_loop_post(conn->s.loop, &conn->job);
    do {
        n = read(conn->wake_worker, &count, sizeof(count));
    } while (n < 0 && errno == EINTR);
    close(conn->wake_worker);
    *conn->armed = NULL;
    conn_free(conn);
    r->eos_sent = 1;    /* no answer but what the channel has sent */
    return DONE;
}

int rpc_conn_hand_over(request_rec *r, const rpc_conn_home_t *home, apr_int64_t body, int stay,
                       rpc_record_t *record)
{
    conn_rec *c = r->connection;
    rpc_conn_t *conn = conn_create(r, home, body, stay, record);

    if (!conn)
        return HTTP_SERVICE_UNAVAILABLE;
    c->keepalive = AP_CONN_CLOSE;
    unlink_burdens(r);
    if (r->expecting_100)
        send_continue(r);
    conn->armed = apr_palloc(c->pool, sizeof(*conn->armed));
    *conn->armed = conn;
    ap_add_output_filter(FILTER_NAME, conn->armed, r, c);
    if (!can_suspend(r))
        return wait_for_end(conn);
    conn->score = c->sbh ? ap_get_scoreboard_worker(c->sbh) : NULL;
    ap_set_module_config(c->conn_config, &rpcproxy_module, conn);
    return SUSPENDED;
}

/* The last thing the worker does with the connection, but for two stores (see
 * worker_has_left). Runs REALLY_LAST, so other modules' hooks have had their turn. */
static void conn_suspended(conn_rec *c, request_rec *r)
{
    rpc_conn_t *conn = ap_get_module_config(c->conn_config, &rpcproxy_module);

    if (!conn)
        return;
    ap_set_module_config(c->conn_config, &rpcproxy_module, NULL);
    rpc_loop_post(conn->s.loop, &conn->job);
}

void rpc_conn_register(apr_pool_t *p)
{
    ap_register_output_filter(FILTER_NAME, nonblocking_filter, NULL, AP_FTYPE_NETWORK - 1);
    ap_hook_suspend_connection(conn_suspended, NULL, NULL, APR_HOOK_REALLY_LAST);
}
