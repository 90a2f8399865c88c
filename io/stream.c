/* io/stream.c: what all streams share, and the plain socket.
 *
 * Readiness is kept in sticky flags: an event sets can_read / can_write / hup, and only
 * a read or write that meets the end of what there is clears them. With edge-triggered events that
 * is what makes "read until nothing moves" safe.
 *
 * Most of what is read goes straight on to another stream. So bytes that are put while they lie in
 * the loop's scratch are only lent, and are sent from there.
 */
#include "io/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/list.h"

static void stream_ready(rpc_watch_t *watch, uint32_t events)
{
    rpc_stream_t *s = RPC_OWNER_OF(watch, rpc_stream_t, watch);

    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->can_read = 1;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        s->can_write = 1;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->hup = 1;
    if (events & EPOLLERR)      /* a Unix socket that was closed in order has EPOLLHUP alone */
        s->dead = 1;
    if (!s->owner)
        return;
    if (s->hup)     /* when a server dies there are thousands */
        rpc_loop_schedule_end(s->loop, s->owner);
    else
        rpc_loop_schedule(s->loop, s->owner);
}

/* The scratch is wanted by somebody else. */
static void stream_settle(rpc_loan_t *loan)
{
    rpc_stream_t *s = RPC_OWNER_OF(loan, rpc_stream_t, loan);

    rpc_stream_flush(s);        /* the owner, too, will flush, and see any error */
    if (rpc_bytes_keep(&s->out) == 0)
        return;
    rpc_bytes_clear(&s->out);
    s->error = APR_ENOMEM;
    if (s->owner)
        rpc_loop_schedule(s->loop, s->owner);
}

void rpc_stream_init(rpc_stream_t *s, const rpc_stream_class_t *cls, rpc_loop_t *loop,
                     int fd, rpc_job_t *owner)
{
    memset(s, 0, sizeof(*s));
    s->cls = cls;
    s->loop = loop;
    s->owner = owner;
    s->watch.fd = fd;
    s->watch.ready = stream_ready;
    s->loan.settle = stream_settle;
    s->can_read = s->can_write = 1; /* try once, because epoll reports only later changes */
}

apr_status_t rpc_stream_read(rpc_stream_t *s, void *buf, size_t *len)
{
    apr_status_t rv;

    if (s->eof || s->error || !s->can_read) {
        *len = 0;
        return s->eof ? APR_EOF : s->error ? s->error : APR_EAGAIN;
    }
    rv = s->cls->read(s, buf, len);
    if (rv == APR_SUCCESS) {
        s->received += *len;
        return rv;
    }
    *len = 0;
    if (APR_STATUS_IS_EAGAIN(rv))
        s->can_read = 0;
    else if (APR_STATUS_IS_EOF(rv))
        s->eof = 1;
    else
        s->error = rv;
    return rv;
}

int rpc_stream_read_rest(rpc_stream_t *s)
{
    if (s->error != EPIPE && !APR_STATUS_IS_ECONNRESET(s->error))
        return 0;
    s->error = APR_SUCCESS;
    s->can_read = s->hup = 1;   /* the event for its end may not have come yet */
    rpc_bytes_clear(&s->out);
    return 1;
}

/* A peer that does not take any more will not take this either, so it is copied now. */
apr_status_t rpc_stream_put(rpc_stream_t *s, const void *data, size_t len)
{
    int rv = s->can_write && rpc_loop_lend(s->loop, &s->loan, data)
               ? rpc_bytes_lend(&s->out, data, len)
               : rpc_bytes_put(&s->out, data, len);

    return rv == 0 ? APR_SUCCESS : APR_ENOMEM;
}

apr_status_t rpc_stream_flush(rpc_stream_t *s)
{
    while (s->out.size && s->can_write && !s->error) {
        struct iovec pieces[RPC_STREAM_PIECES];
        int count = rpc_bytes_gather(&s->out, pieces, RPC_STREAM_PIECES);
        size_t len = 0;
        apr_status_t rv = s->cls->write(s, pieces, count, &len);

        if (rv == APR_SUCCESS) {
            rpc_bytes_drop(&s->out, len);
            s->sent += len;
        }
        else if (APR_STATUS_IS_EAGAIN(rv))
            s->can_write = 0;
        else
            s->error = rv;
    }
    if (!s->out.size && s->cls->push && s->can_write && !s->error) {
        apr_status_t rv = s->cls->push(s);

        if (APR_STATUS_IS_EAGAIN(rv))
            s->can_write = 0;
        else
            s->error = rv;
    }
    if (s->shuts && !s->error && rpc_stream_drained(s)) {
        s->shuts = 0;
        s->cls->shut(s);
    }
    return s->error;
}

void rpc_stream_shut(rpc_stream_t *s)
{
    s->shuts = s->cls->shut != NULL;
}

uint64_t rpc_stream_sent(const rpc_stream_t *s)
{
    return s->sent > s->header ? s->sent - s->header : 0;
}

size_t rpc_stream_pending(const rpc_stream_t *s)
{
    return s->out.size;
}

int rpc_stream_drained(const rpc_stream_t *s)
{
    return !s->out.size && s->can_write;
}

void rpc_stream_close(rpc_stream_t *s, int abort_it)
{
    rpc_loop_return(s->loop, &s->loan);
    s->owner = NULL;
    if (rpc_bytes_keep(&s->out) != 0)
        s->error = APR_ENOMEM;
    s->cls->close(s, abort_it);
}

/* ---- the plain socket ---- */

apr_status_t rpc_socket_read(rpc_stream_t *s, void *buf, size_t *len)
{
    ssize_t n;

    do {
        n = recv(s->watch.fd, buf, *len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    /* Less than was asked for is all there was, and an event will tell of more. Behind it may be
     * the end of file, and if that event has come already, there will be no other. */
    if ((size_t)n < *len && !s->hup)
        s->can_read = 0;
    *len = (size_t)n;
    return n == 0 ? APR_EOF : APR_SUCCESS;
}

apr_status_t rpc_socket_write(rpc_stream_t *s, const struct iovec *pieces, int count, size_t *len)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count };
    ssize_t n;

    do {
        n = sendmsg(s->watch.fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    *len = n < 0 ? 0 : (size_t)n;
    if (n >= 0 && *len < rpc_pieces_size(pieces, count))
        s->can_write = 0;       /* the socket is full */
    return n < 0 ? errno : APR_SUCCESS;
}

int rpc_stream_detach(rpc_stream_t *s)
{
    rpc_socket_t *sock = (rpc_socket_t *)s;
    int fd = s->watch.fd;

    if (s->owner == &sock->drain)
        RPC_LIST_REMOVE(*rpc_loop_closing(s->loop), sock);
    rpc_loop_unschedule(s->loop, &sock->drain);
    rpc_loop_return(s->loop, &s->loan);
    rpc_timer_cancel(s->loop, &sock->patience);
    rpc_watch_remove(s->loop, &s->watch);
    rpc_bytes_clear(&s->out);
    if (s->cls->release)
        s->cls->release(s);
    free(sock);
    return fd;
}

static void socket_free(rpc_socket_t *sock)
{
    close(rpc_stream_detach(&sock->s));
}

void rpc_socket_shut(rpc_stream_t *s)
{
    rpc_socket_t *sock = (rpc_socket_t *)s;

    if (sock->shut)
        return;
    sock->shut = 1;
    if (s->cls->finish)
        s->cls->finish(s);
    shutdown(s->watch.fd, SHUT_WR);
}

/* Writes the rest, sends end of file, then reads until the peer's end of file. If the socket
 * were closed with input unread, TCP would reset the connection, and the peer would lose data
 * that is still on its way. What is read needs no decrypting. */
static void socket_drain(rpc_job_t *job)
{
    rpc_socket_t *sock = RPC_OWNER_OF(job, rpc_socket_t, drain);
    rpc_stream_t *s = &sock->s;
    apr_status_t rv = rpc_stream_flush(s);
    size_t len = RPC_LOOP_SCRATCH;

    if (rv == APR_SUCCESS && !rpc_stream_drained(s))
        return; /* an event or the timer calls again */
    if (rv == APR_SUCCESS)
        rpc_socket_shut(s);
    if (rv == APR_SUCCESS)
        rv = rpc_socket_read(s, rpc_loop_scratch(s->loop), &len);
    if (rv == APR_SUCCESS)
        rpc_loop_schedule(s->loop, job);
    else if (!APR_STATUS_IS_EAGAIN(rv))
        socket_free(sock);
}

static void socket_out_of_patience(rpc_timer_t *timer)
{
    socket_free(RPC_OWNER_OF(timer, rpc_socket_t, patience));
}

static const rpc_stream_class_t socket_class = {
    .name = "socket",
    .socket = 1,
    .read = rpc_socket_read,
    .write = rpc_socket_write,
    .close = rpc_socket_close,
};

/* Nothing is left to be said, or to be heard: close() alone says the rest. */
static int is_spent(const rpc_stream_t *s)
{
    return s->cls == &socket_class && s->eof && !s->out.size;
}

void rpc_socket_close(rpc_stream_t *s, int abort_it)
{
    rpc_socket_t *sock = (rpc_socket_t *)s;

    if (abort_it || s->error || is_spent(s)) {
        socket_free(sock);
        return;
    }
    RPC_LIST_PUSH(*rpc_loop_closing(s->loop), sock);
    s->owner = &sock->drain;
    rpc_timer_set(s->loop, &sock->patience, rpc_loop_now(s->loop) + RPC_STREAM_DRAIN);
    rpc_loop_schedule_end(s->loop, &sock->drain);
}

void rpc_streams_abandon(rpc_loop_t *loop)
{
    while (*rpc_loop_closing(loop))
        socket_free(*rpc_loop_closing(loop));
}

int rpc_stream_is_hung_up(const rpc_stream_t *s)
{
    struct pollfd p = { .fd = s->watch.fd };

    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

/* TCP takes 1 to 32767 seconds. */
static int tcp_seconds(apr_interval_time_t t)
{
    apr_int64_t seconds = apr_time_sec(t);

    return seconds < 1 ? 1 : seconds > 32767 ? 32767 : (int)seconds;
}

/* A Unix socket refuses these options and does not need them. */
static void set_probes(int fd, int idle, int interval)
{
    int on = 1;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
}

void rpc_stream_keepalive(rpc_stream_t *s, apr_interval_time_t interval)
{
    int seconds = tcp_seconds(interval ? interval : apr_time_from_sec(300));

    if (s->cls->socket)
        set_probes(s->watch.fd, seconds, seconds);
}

/* TCP probes the peer in the second half of the time. TCP_USER_TIMEOUT ends the probes, and also
 * the retransmissions of data, which would otherwise go on for a quarter of an hour. */
void rpc_stream_notice_death(rpc_stream_t *s, apr_interval_time_t patience)
{
    unsigned int timeout = (unsigned int)apr_time_as_msec(patience);
    int count = 8;

    if (!s->cls->socket)
        return;
    set_probes(s->watch.fd, tcp_seconds(patience / 2), tcp_seconds(patience / 16));
    setsockopt(s->watch.fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(s->watch.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

void rpc_socket_init(rpc_socket_t *sock, const rpc_stream_class_t *cls, rpc_loop_t *loop, int fd,
                     rpc_job_t *owner)
{
    rpc_stream_init(&sock->s, cls, loop, fd, owner);
    sock->drain.run = socket_drain;
    sock->patience.fire = socket_out_of_patience;
}

rpc_stream_t *rpc_stream_open(rpc_loop_t *loop, int fd, rpc_job_t *owner)
{
    rpc_socket_t *sock = calloc(1, sizeof(*sock));

    if (!sock) {
        close(fd);
        return NULL;
    }
    rpc_socket_init(sock, &socket_class, loop, fd, owner);
    if (rpc_watch_add(loop, &sock->s.watch) != APR_SUCCESS) {
        close(fd);
        free(sock);
        return NULL;
    }
    return &sock->s;
}
