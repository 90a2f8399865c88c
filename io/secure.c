/* io/secure.c: io/tls.c makes bytes of records; here they become a stream. */
#include "io/secure.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

typedef struct rpc_secure {
    rpc_socket_t socket;        /* first: a stream is one of these */
    rpc_tls_t tls;              /* in use with TLS */
    rpc_bytes_t ahead;          /* what has been read already */
} rpc_secure_t;

static rpc_secure_t *secure_of(rpc_stream_t *s)
{
    return (rpc_secure_t *)s;
}

static void take_ahead(rpc_bytes_t *ahead, void *buf, size_t *len)
{
    size_t size;
    const uint8_t *data = rpc_bytes_peek(ahead, &size);

    *len = size < *len ? size : *len;
    memcpy(buf, data, *len);
    rpc_bytes_drop(ahead, *len);
}

apr_status_t rpc_secure_read(rpc_stream_t *s, rpc_tls_t *tls, rpc_bytes_t *ahead, void *buf,
                             size_t *len)
{
    apr_status_t rv;

    if (ahead->size) {
        take_ahead(ahead, buf, len);
        return APR_SUCCESS;
    }
    if (!tls->ssl)
        return rpc_socket_read(s, buf, len);
    rv = rpc_tls_read(tls, buf, len);
    if (rpc_tls_tired(tls) && s->loop) {
        s->can_read = 0;
        rpc_watch_again(s->loop, &s->watch);
        return rv;
    }
    /* An event will announce bytes that come later. For an end that is known already there will be
     * no event. */
    if (rv == APR_SUCCESS && rpc_tls_drained(tls) && !s->hup)
        s->can_read = 0;
    return rv;
}

static apr_status_t secure_read(rpc_stream_t *s, void *buf, size_t *len)
{
    return rpc_secure_read(s, &secure_of(s)->tls, &secure_of(s)->ahead, buf, len);
}

apr_status_t rpc_secure_write(rpc_stream_t *s, rpc_tls_t *tls, const struct iovec *pieces,
                              int count, size_t *len)
{
    return tls->ssl ? rpc_tls_write(tls, pieces, count, len)
                    : rpc_socket_write(s, pieces, count, len);
}

static apr_status_t secure_write(rpc_stream_t *s, const struct iovec *pieces, int count,
                                 size_t *len)
{
    return rpc_secure_write(s, &secure_of(s)->tls, pieces, count, len);
}

static apr_status_t secure_push(rpc_stream_t *s)
{
    return rpc_tls_push(&secure_of(s)->tls);
}

static void secure_finish(rpc_stream_t *s)
{
    if (secure_of(s)->tls.ssl)
        rpc_tls_goodbye(&secure_of(s)->tls);
}

static void secure_release(rpc_stream_t *s)
{
    rpc_bytes_clear(&secure_of(s)->ahead);
    rpc_tls_free(&secure_of(s)->tls);
}

static const rpc_stream_class_t secure_class = {
    .name = "secure",
    .socket = 1,
    .read = secure_read,
    .write = secure_write,
    .push = secure_push,
    .close = rpc_socket_close,
    .shut = rpc_socket_shut,
    .finish = secure_finish,
    .release = secure_release,
};

rpc_stream_t *rpc_secure_create(int fd, SSL *ssl, const rpc_tls_kind_t *kind)
{
    rpc_secure_t *secure = calloc(1, sizeof(*secure));

    if (!secure)
        return NULL;
    rpc_socket_init(&secure->socket, &secure_class, NULL, fd, NULL);
    if (ssl && !rpc_tls_adopt(&secure->tls, ssl, fd, kind)) {
        free(secure);
        return NULL;
    }
    return &secure->socket.s;
}

apr_status_t rpc_secure_put(rpc_stream_t *s, const void *data, size_t len)
{
    return rpc_bytes_put(&s->out, data, len) == 0 ? APR_SUCCESS : APR_ENOMEM;
}

apr_status_t rpc_secure_join(rpc_stream_t *s, rpc_loop_t *loop)
{
    s->loop = loop;
    s->can_read = s->can_write = 1;     /* whatever has been read and written before */
    return rpc_watch_add(loop, &s->watch);
}

void rpc_secure_drop(rpc_stream_t *s)
{
    secure_release(s);
    close(s->watch.fd);
    rpc_bytes_clear(&s->out);
    free(s);
}

/* ---- on a thread that may wait ---- */

static apr_status_t await(const rpc_stream_t *s, short events, apr_time_t until)
{
    struct pollfd waits = { .fd = s->watch.fd, .events = events };
    apr_interval_time_t left = until - rpc_clock_now();
    int n = left > 0 ? poll(&waits, 1, (int)((left + 999) / 1000)) : 0;

    return n > 0 || (n < 0 && errno == EINTR) ? APR_SUCCESS : n < 0 ? errno : APR_TIMEUP;
}

apr_status_t rpc_secure_send(rpc_stream_t *s, const void *data, size_t len, apr_time_t until)
{
    rpc_tls_t *tls = &secure_of(s)->tls;
    apr_status_t rv = APR_SUCCESS;

    while (rv == APR_SUCCESS && (len || tls->unsent.size)) {
        const struct iovec piece = { (void *)data, len };
        size_t taken = 0;

        rv = len ? secure_write(s, &piece, 1, &taken) : secure_push(s);
        data = (const char *)data + taken;
        len -= taken;
        if (APR_STATUS_IS_EAGAIN(rv))
            rv = await(s, POLLOUT, until);
    }
    return rv;
}

apr_status_t rpc_secure_unread(rpc_stream_t *s, const void *data, size_t len)
{
    return rpc_bytes_put(&secure_of(s)->ahead, data, len) == 0 ? APR_SUCCESS : APR_ENOMEM;
}

apr_status_t rpc_secure_receive(rpc_stream_t *s, void *buf, size_t *len, apr_time_t until)
{
    const rpc_tls_t *tls = &secure_of(s)->tls;
    size_t room = *len;
    apr_status_t rv;

    for (;;) {
        *len = room;
        rv = secure_read(s, buf, len);
        if (!APR_STATUS_IS_EAGAIN(rv))
            return rv;
        if (!(tls->ssl && rpc_tls_tired(tls)) && (rv = await(s, POLLIN, until)) != APR_SUCCESS)
            return rv;
    }
}
