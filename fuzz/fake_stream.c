/* fake_stream.c: streams in memory, of the two kinds there are: a socket's, and that of an httpd
 * connection, which may hold bytes below the stream and sends a response header.
 */
#include "fake.h"

#include <sys/epoll.h>

#define BELOW_MAX 32768         /* httpd's filters take at most this in one write */

static fake_peer_t *peer_of(const rpc_stream_t *s)
{
    fake_peer_t *peer = fake_world_of(s->loop)->peers[s->watch.fd];

    MUST(peer->stream == s, "stream %d is used after its end", s->watch.fd);
    return peer;
}

static apr_status_t fake_read(rpc_stream_t *s, void *buf, size_t *len)
{
    fake_peer_t *peer = peer_of(s);
    size_t want = *len, got = 0, n;
    const uint8_t *data;

    MUST(*len > 0, "nothing is asked for");
    if (peer->chunk && want > peer->chunk + peer->in.size / 64)
        want = peer->chunk + peer->in.size / 64;
    if (peer->length && want > peer->length - peer->taken)
        want = (size_t)(peer->length - peer->taken);
    while (got < want && (data = rpc_bytes_peek(&peer->in, &n))) {
        if (n > want - got)
            n = want - got;
        memcpy((uint8_t *)buf + got, data, n);
        rpc_bytes_drop(&peer->in, n);
        got += n;
    }
    peer->taken += got;
    peer->world->moved += got;
    *len = got;
    if (got)
        return APR_SUCCESS;
    if (peer->length && peer->taken == peer->length)
        return APR_EOF;
    return peer->read_error ? peer->read_error : peer->eof ? APR_EOF : APR_EAGAIN;
}

/* The peer takes what it has room for. */
static size_t deliver(fake_peer_t *peer, const uint8_t *data, size_t len)
{
    if ((int64_t)len > peer->room)
        len = (size_t)peer->room;
    if (!len)
        return 0;
    if (peer->room != FAKE_EVER)
        peer->room -= (int64_t)len;
    peer->world->moved += len;
    peer->heard(peer, data, len);
    return len;
}

static apr_status_t fake_push(rpc_stream_t *s)
{
    fake_peer_t *peer = peer_of(s);
    const uint8_t *data;
    size_t len;

    if (peer->write_error)
        return peer->write_error;
    while ((data = rpc_bytes_peek(&peer->below, &len))) {
        size_t took = deliver(peer, data, len);

        rpc_bytes_drop(&peer->below, took);
        if (took < len)
            return APR_EAGAIN;
    }
    return APR_SUCCESS;
}

static apr_status_t socket_write(rpc_stream_t *s, const struct iovec *pieces, int count,
                                 size_t *len)
{
    fake_peer_t *peer = peer_of(s);
    size_t took;

    MUST(count > 0 && pieces->iov_len > 0, "nothing is written");
    *len = 0;
    if (peer->write_error)
        return peer->write_error;
    do {
        took = deliver(peer, pieces->iov_base, pieces->iov_len);
        *len += took;
    } while (took == pieces->iov_len && --count && pieces++);
    return *len ? APR_SUCCESS : APR_EAGAIN;
}

/* Several pieces, each to its end or to the limit. */
static apr_status_t http_write(rpc_stream_t *s, const struct iovec *pieces, int count, size_t *len)
{
    fake_peer_t *peer = peer_of(s);
    apr_status_t rv = fake_push(s);

    *len = 0;
    if (rv != APR_SUCCESS)
        return rv;
    for (; count-- && *len < BELOW_MAX; pieces++) {
        size_t left = BELOW_MAX - *len, n = pieces->iov_len < left ? pieces->iov_len : left;
        size_t took = peer->below.size ? 0 : deliver(peer, pieces->iov_base, n);

        if (took < n)
            rpc_bytes_put(&peer->below, (const uint8_t *)pieces->iov_base + took, n - took);
        *len += n;
    }
    return APR_SUCCESS;
}

static apr_status_t http_respond(rpc_stream_t *s, const rpc_answer_t *answer)
{
    fake_peer_t *peer = peer_of(s);

    if (peer->write_error)
        return peer->write_error;
    peer->responded(peer, answer);
    return APR_SUCCESS;
}

static apr_status_t http_pass(rpc_stream_t *s, int status, const char *phrase)
{
    char line[256];

    if (peer_of(s)->write_error)
        return peer_of(s)->write_error;
    snprintf(line, sizeof(line), "HTTP/1.1 %d %.200s\r\n", status, phrase);
    s->header += strlen(line);
    return rpc_stream_put(s, line, strlen(line));
}

static void fake_shut(rpc_stream_t *s)
{
    peer_of(s)->shut = 1;
}

/* In order: what was put still arrives, however long the peer takes. */
static void fake_close(rpc_stream_t *s, int abort_it)
{
    fake_peer_t *peer = peer_of(s);
    const uint8_t *data;
    size_t len;

    if (!abort_it && !peer->write_error) {
        peer->room = FAKE_EVER;
        fake_push(s);
        while ((data = rpc_bytes_peek(&s->out, &len))) {
            peer->heard(peer, data, len);
            rpc_bytes_drop(&s->out, len);
        }
    }
    rpc_bytes_clear(&s->out);
    peer->stream = NULL;
    peer->closed = 1;
    peer->aborted = abort_it;
    free(s);
}

static const rpc_stream_class_t socket_class = {
    .name = "socket", .read = fake_read, .write = socket_write, .close = fake_close,
    .shut = fake_shut,
};
static const rpc_stream_class_t http_class = {
    .name = "http", .read = fake_read, .write = http_write, .push = fake_push,
    .close = fake_close, .respond = http_respond, .pass = http_pass,
};

static rpc_stream_t *open_stream(fake_peer_t *peer, rpc_loop_t *loop, rpc_job_t *owner)
{
    rpc_stream_t *s = malloc(sizeof(*s));

    MUST(s, "out of memory");
    MUST(!peer->opened, "peer %d is opened twice", peer->number);
    rpc_stream_init(s, peer->http ? &http_class : &socket_class, loop, peer->number, owner);
    peer->stream = s;
    peer->opened = 1;
    rpc_watch_add(loop, &s->watch);
    return s;
}

rpc_stream_t *fake_open_http(fake_peer_t *peer, rpc_loop_t *loop)
{
    return open_stream(peer, loop, NULL);
}

/* The linker puts it in the place of rpc_stream_open(). */
rpc_stream_t *__wrap_rpc_stream_open(rpc_loop_t *loop, int fd, rpc_job_t *owner)
{
    return open_stream(fake_world_of(loop)->peers[fd], loop, owner);
}

/* ---- the peer's side ---- */

fake_peer_t *fake_peer_new(fake_world_t *world, int http)
{
    fake_peer_t *peer;

    if (world->peer_count == FAKE_PEERS)
        return NULL;
    peer = calloc(1, sizeof(*peer));
    MUST(peer, "out of memory");
    peer->world = world;
    peer->number = world->peer_count;
    peer->room = FAKE_EVER;
    peer->http = http;
    world->peers[world->peer_count++] = peer;
    return peer;
}

int fake_alive(const fake_peer_t *peer)
{
    return peer->stream && !peer->eof && !peer->read_error;
}

void fake_say(fake_peer_t *peer, const void *data, size_t len)
{
    if (!fake_alive(peer) || !len)
        return;
    rpc_bytes_put(&peer->in, data, len);
    peer->events |= EPOLLIN;
}

void fake_eof(fake_peer_t *peer)
{
    peer->eof = 1;
    peer->events |= EPOLLIN | EPOLLRDHUP;
}

void fake_fail(fake_peer_t *peer, int reading, int writing)
{
    if (reading && !peer->eof)
        peer->read_error = APR_EGENERAL;
    if (writing)
        peer->write_error = APR_EPIPE;
    peer->events |= EPOLLERR | (reading ? EPOLLHUP : 0);
}

void fake_take(fake_peer_t *peer, int64_t room)
{
    if (room > 0 && peer->room <= 0)
        peer->events |= EPOLLOUT;
    peer->room = room;
}

void fake_tell(fake_peer_t *peer)
{
    uint32_t events = peer->events;

    peer->events = 0;
    peer->stream->watch.ready(&peer->stream->watch, events);
}
