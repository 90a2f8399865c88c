/* io/tls.c: OpenSSL reads a record in two steps, its header and its body. Our BIO reads a body and
 * the header behind it in one call. Records of one write but the last go out with MSG_MORE, so that
 * TCP fills its segments.
 */
#include "io/tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>

/* bytes; only a peer that makes us answer and reads nothing comes near */
#define UNSENT_MAX 65536
#define READS_MAX 64        /* from the socket in one read of the stream */
#define BIO_TYPE (BIO_TYPE_SOURCE_SINK | 127)   /* below those that BIO_get_new_index() gives out */

/* ---- the BIO ---- */

static int from_header(rpc_tls_t *tls, char *buf, int len)
{
    int n = len < tls->header_len ? len : tls->header_len;

    memcpy(buf, tls->header, (size_t)n);
    tls->header_len -= (uint8_t)n;
    memmove(tls->header, tls->header + n, tls->header_len);
    return n;
}

static ssize_t from_socket(rpc_tls_t *tls, char *buf, size_t len)
{
    struct iovec into[] = { { buf, len }, { tls->header, RPC_TLS_HEADER } };
    int is_body = len > RPC_TLS_HEADER;
    size_t asked = len + (is_body ? RPC_TLS_HEADER : 0);
    ssize_t n;

    tls->turns--;
    do {
        n = readv(tls->fd, into, is_body ? 2 : 1);
    } while (n < 0 && errno == EINTR);
    tls->eof = n == 0;
    tls->drained = n < 0 ? errno == EAGAIN : (size_t)n < asked;
    if (n < 0 && !tls->drained)
        tls->error = errno;
    tls->in += n < 0 ? 0 : (uint64_t)n;
    if (n <= (ssize_t)len)
        return n;
    tls->header_len = (uint8_t)((size_t)n - len);
    return (ssize_t)len;
}

static int bio_read(BIO *bio, char *buf, int len)
{
    rpc_tls_t *tls = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (tls->header_len)
        return from_header(tls, buf, len);
    tls->tired = !tls->drained && !tls->turns;
    n = tls->drained || tls->tired ? -1 : from_socket(tls, buf, (size_t)len);
    if (n < 0 && (tls->drained || tls->tired))
        BIO_set_retry_read(bio);
    return (int)n;
}

/* Returns the number of bytes that the socket has taken. */
static size_t to_socket(rpc_tls_t *tls, const struct iovec *pieces, int count, int more)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count };
    ssize_t n;

    do {
        n = sendmsg(tls->fd, &msg, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        tls->error = errno;
    tls->out += n < 0 ? 0 : (uint64_t)n;
    return n < 0 ? 0 : (size_t)n;
}

static int bio_write(BIO *bio, const char *buf, int len)
{
    rpc_tls_t *tls = BIO_get_data(bio);
    struct iovec all = { (void *)buf, (size_t)len };
    size_t n = tls->unsent.size ? 0 : to_socket(tls, &all, 1, tls->more);

    BIO_clear_retry_flags(bio);
    if (!tls->error && n < all.iov_len && tls->unsent.size > UNSENT_MAX)
        tls->error = ENOBUFS;
    else if (!tls->error && n < all.iov_len
             && rpc_bytes_put(&tls->unsent, buf + n, all.iov_len - n) != 0)
        tls->error = ENOMEM;
    return tls->error ? -1 : len;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    const rpc_tls_t *tls = BIO_get_data(bio);

    return cmd == BIO_CTRL_FLUSH || (cmd == BIO_CTRL_EOF && tls->eof);
}

BIO_METHOD *rpc_tls_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE, "socket");

    if (method) {
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    return method;
}

/* ---- the session ---- */

/* Takes the place of mod_ssl's callback, which needs a connection of httpd. */
static void note_nothing(const SSL *ssl, int where, int ret)
{
}

int rpc_tls_adopt(rpc_tls_t *tls, SSL *ssl, int fd, const rpc_tls_kind_t *kind)
{
    BIO *bio = BIO_new(kind->method);

    if (!bio)
        return 0;
    tls->ssl = ssl;
    tls->fd = fd;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, kind->app_data);
    SSL_set_info_callback(ssl, note_nothing);
    SSL_set_msg_callback(ssl, NULL);
    SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    return 1;
}

/* What an SSL function that has failed means. */
static apr_status_t tls_status(const rpc_tls_t *tls)
{
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return APR_EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return APR_EOF;
    default:
        return tls->error ? tls->error : tls->eof ? APR_EOF : EPROTO;
    }
}

/* An end of file behind the last bytes has been read together with them. The next read has to
 * report it, because no event will. OpenSSL reads on when it could not send an alert, for a peer
 * that takes nothing. A peer to whom a write has failed may have said something before. */
apr_status_t rpc_tls_read(rpc_tls_t *tls, void *buf, size_t *len)
{
    size_t room = *len, n;
    apr_status_t rv = APR_SUCCESS;

    tls->drained = tls->tired = 0;
    tls->turns = READS_MAX;
    ERR_clear_error();
    for (*len = 0; *len < room && rv == APR_SUCCESS && tls->error != ENOBUFS; *len += n) {
        if (!SSL_read_ex(tls->ssl, (uint8_t *)buf + *len, room - *len, &n)) {
            n = 0;
            rv = tls_status(tls);
        }
    }
    if (tls->error == ENOBUFS)
        rv = ENOBUFS;
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv))
        tls->drained = tls->tired = 0;
    return *len ? APR_SUCCESS : rv;
}

int rpc_tls_drained(const rpc_tls_t *tls)
{
    return tls->drained && !SSL_pending(tls->ssl);
}

int rpc_tls_tired(const rpc_tls_t *tls)
{
    return tls->tired;
}

apr_status_t rpc_tls_push(rpc_tls_t *tls)
{
    while (tls->unsent.size) {
        struct iovec pieces[8];
        int count = rpc_bytes_gather(&tls->unsent, pieces, 8);
        size_t n = to_socket(tls, pieces, count, 0);

        if (tls->error)
            return tls->error;
        if (!n)
            return APR_EAGAIN;
        rpc_bytes_drop(&tls->unsent, n);
    }
    return APR_SUCCESS;
}

/* The next N bytes of PIECES in one run: where they lie, or in BUF. */
static const void *in_one_run(const struct iovec *pieces, size_t n, uint8_t *buf)
{
    size_t at = 0;

    if (pieces->iov_len >= n)
        return pieces->iov_base;
    for (; at < n; pieces++) {
        size_t some = pieces->iov_len < n - at ? pieces->iov_len : n - at;

        memcpy(buf + at, pieces->iov_base, some);
        at += some;
    }
    return buf;
}

static struct iovec *skip(struct iovec *pieces, size_t n)
{
    for (; n && n >= pieces->iov_len; pieces++)
        n -= pieces->iov_len;
    if (n) {
        pieces->iov_base = (uint8_t *)pieces->iov_base + n;
        pieces->iov_len -= n;
    }
    return pieces;
}

apr_status_t rpc_tls_write(rpc_tls_t *tls, const struct iovec *pieces, int count, size_t *len)
{
    struct iovec left[count], *next = left;
    size_t size = rpc_pieces_size(pieces, count);
    uint8_t record[RPC_TLS_RECORD];
    apr_status_t rv = rpc_tls_push(tls);

    *len = 0;
    memcpy(left, pieces, sizeof(left));
    ERR_clear_error();
    while (rv == APR_SUCCESS && *len < size && !tls->unsent.size) {
        size_t n = size - *len < sizeof(record) ? size - *len : sizeof(record);

        tls->more = *len + n < size;
        if (!SSL_write_ex(tls->ssl, in_one_run(next, n, record), n, &n)) {
            rv = tls_status(tls);
            break;
        }
        next = skip(next, n);
        *len += n;
    }
    tls->more = 0;
    return *len ? APR_SUCCESS : rv;
}

void rpc_tls_goodbye(rpc_tls_t *tls)
{
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
}

/* The flags spare the session mod_ssl's cache, which drops sessions that have not ended in
 * order. */
void rpc_tls_free(rpc_tls_t *tls)
{
    if (!tls->ssl)
        return;
    SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    rpc_bytes_clear(&tls->unsent);
}
