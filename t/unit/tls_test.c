/* tls_test: a read of TLS stops after a while, whatever the peer sends, and the next read
 * continues. The records of these peers contain one byte each, or none. Both ends are in this
 * process. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_errno.h>

#include "io/tls.h"
#include "unit.h"

#define RECORDS 1000

/* The cipher suite is anonymous, so that no certificate has to be made. */
static SSL *make_end(int fd, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL *ssl;

    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    SSL_CTX_set_cipher_list(ctx, "AECDH-AES128-SHA@SECLEVEL=0");
    ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_fd(ssl, fd);
    return ssl;
}

typedef struct pair {
    int fds[2];
    SSL *peer;
    rpc_tls_t tls;
    rpc_tls_kind_t kind;
} pair_t;

static int shake_hands(SSL *peer, SSL *ssl)
{
    int left = 20, done = 0;

    SSL_set_connect_state(peer);
    SSL_set_accept_state(ssl);
    while (left-- && done != 2)
        done = (SSL_do_handshake(peer) == 1) + (SSL_do_handshake(ssl) == 1);
    return done == 2;
}

static int make_pair(pair_t *p)
{
    SSL *ssl;
    int i, size = 1 << 20;

    memset(p, 0, sizeof(*p));
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, p->fds) < 0)
        return 0;
    for (i = 0; i < 2; i++) {
        fcntl(p->fds[i], F_SETFL, O_NONBLOCK);
        setsockopt(p->fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    p->peer = make_end(p->fds[0], TLS1_2_VERSION);
    ssl = make_end(p->fds[1], TLS1_2_VERSION);
    p->kind.method = rpc_tls_method();
    return shake_hands(p->peer, ssl) && rpc_tls_adopt(&p->tls, ssl, p->fds[1], &p->kind);
}

static void free_pair(pair_t *p)
{
    SSL_free(p->peer);
    rpc_tls_free(&p->tls);
    BIO_meth_free(p->kind.method);
    close(p->fds[0]);
    close(p->fds[1]);
}

static int send_tiny(SSL *peer, int records)
{
    int sent = 0;

    while (sent < records && SSL_write(peer, "x", 1) == 1)
        sent++;
    return sent;
}

static void tiny_records(void)
{
    pair_t p;
    char buf[2 * RECORDS];
    size_t len, total = 0;
    int reads = 0, sent, largest = 0;
    apr_status_t rv;

    ok(make_pair(&p), "a session");
    sent = send_tiny(p.peer, RECORDS);
    do {
        len = sizeof(buf);
        rv = rpc_tls_read(&p.tls, buf, &len);
        total += len;
        largest = (int)len > largest ? (int)len : largest;
        reads++;
    } while (rv == APR_SUCCESS && rpc_tls_tired(&p.tls));
    ok(reads > 4 && largest < sent / 4, "%d records of a byte take %d reads, of %d at most",
       sent, reads, largest);
    is_int(total, sent, "all of them are read");
    ok(rpc_tls_drained(&p.tls), "the last read has taken all that there was");
    free_pair(&p);
}

static void large_records(void)
{
    static char large[65536];
    pair_t p;
    size_t len = sizeof(large);

    ok(make_pair(&p), "a session");
    is_int(SSL_write(p.peer, large, sizeof(large)), sizeof(large), "64 KB are sent");
    is_int(rpc_tls_read(&p.tls, large, &len), APR_SUCCESS, "and read");
    is_int(len, sizeof(large), "at once");
    ok(!rpc_tls_tired(&p.tls), "by a read that is not tired");
    free_pair(&p);
}

/* A server that takes no more may have said why before. */
static void last_words(void)
{
    pair_t p;
    char buf[16] = "who";
    size_t len = sizeof(buf), written;

    ok(make_pair(&p), "a session");
    is_int(SSL_write(p.peer, "why", 3), 3, "the peer says something");
    shutdown(p.fds[0], SHUT_RD);
    rpc_tls_write(&p.tls, &(struct iovec){ buf, 3 }, 1, &written);
    rpc_tls_push(&p.tls);
    is_int(p.tls.error, EPIPE, "a write to it fails");
    is_int(rpc_tls_read(&p.tls, buf, &len), APR_SUCCESS, "what it has said can be read");
    ok(len == 3 && memcmp(buf, "why", 3) == 0, "all of it");
    free_pair(&p);
}

int main(void)
{
    tiny_records();
    large_records();
    last_words();
    return unit_done();
}
