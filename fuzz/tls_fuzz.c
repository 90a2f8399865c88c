/* tls_fuzz: a session of TLS, as io/tls.c takes it over, and its peer. An input is a script: its
 * first byte chooses TLS 1.2 or 1.3, then each pair of bytes is a step and its number.
 *
 * Both sides send bytes that tell their own place, so what arrives is checked for order and loss.
 * The peer's records lie in memory; steps hand them to the socket in pieces of any length.
 */
#include "io/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/x509.h>

#include "fuzz.h"

#define STEPS_MAX 200
#define ROOM 40000

enum step {
    PEER_WRITES, DELIVER, READ, WRITE, PEER_READS, PUSH, KEY_UPDATE, PEER_SAYS_GOODBYE, GOODBYE,
    CUT, SPOIL, STEPS
};

typedef struct game {
    rpc_tls_t tls;
    SSL *peer;
    BIO *to_peer, *from_peer;       /* memory; the peer's */
    int fd, peer_fd;
    size_t peer_sent, read;         /* application data to us */
    size_t sent, peer_read;         /* and from us */
    unsigned spoilt:1, cut:1, peer_done:1, done:1, ended:1, peer_failed:1;
} game_t;

static uint8_t scratch[ROOM];

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static const uint8_t *bytes_at(size_t at, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        scratch[i] = byte_at(at + i);
    return scratch;
}

static void must_be_bytes(const uint8_t *bytes, size_t at, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        MUST(bytes[i] == byte_at(at + i), "another byte at %zu", at + i);
}

/* ---- the beginning ---- */

static SSL_CTX *server_context(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();

    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_sign(cert, key, EVP_sha256());
    MUST(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1,
         "certificate");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

static void shake_hands(game_t *g, SSL *server, int version)
{
    BIO *to = BIO_new(BIO_s_mem()), *from = BIO_new(BIO_s_mem());
    int i;

    BIO_set_mem_eof_return(to, -1);
    BIO_set_mem_eof_return(from, -1);
    BIO_up_ref(to);
    BIO_up_ref(from);
    SSL_set_bio(server, from, to);
    SSL_set_bio(g->peer, to, from);
    g->to_peer = to;
    g->from_peer = from;
    SSL_set_min_proto_version(g->peer, version);
    SSL_set_max_proto_version(g->peer, version);
    SSL_set_accept_state(server);
    SSL_set_connect_state(g->peer);
    for (i = 0; i < 4; i++) {
        SSL_do_handshake(g->peer);
        SSL_do_handshake(server);
    }
    MUST(SSL_is_init_finished(g->peer) && SSL_is_init_finished(server), "handshake");
}

static void begin(game_t *g, int version)
{
    static SSL_CTX *ours, *theirs;
    static rpc_tls_kind_t kind;
    int pair[2], small = 4096;
    SSL *ssl;

    if (!ours) {
        ours = server_context();
        theirs = SSL_CTX_new(TLS_client_method());
        kind.method = rpc_tls_method();
    }
    memset(g, 0, sizeof(*g));
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    g->fd = pair[0];
    g->peer_fd = pair[1];
    g->peer = SSL_new(theirs);
    ssl = SSL_new(ours);
    shake_hands(g, ssl, version);
    MUST(rpc_tls_adopt(&g->tls, ssl, g->fd, &kind), "adopt");
}

/* ---- steps ---- */

static void peer_writes(game_t *g, size_t len)
{
    if (len && !g->peer_done && SSL_write(g->peer, bytes_at(g->peer_sent, len), (int)len) > 0)
        g->peer_sent += len;
}

/* To the socket, at most LEN bytes of what the peer has written. */
static void deliver(game_t *g, size_t len)
{
    char *data;
    long there = BIO_get_mem_data(g->from_peer, &data);
    ssize_t n = (size_t)there < len ? there : (ssize_t)len;

    if (n && !g->cut && (n = send(g->peer_fd, data, (size_t)n, MSG_NOSIGNAL)) > 0)
        BIO_read(g->from_peer, scratch, (int)n);
}

static apr_status_t read_once(game_t *g, size_t room)
{
    uint8_t *buf = malloc(room);
    size_t len = room;
    apr_status_t rv = rpc_tls_read(&g->tls, buf, &len);

    if (rv == APR_SUCCESS) {
        MUST(len && len <= room, "%zu bytes", len);
        MUST(g->read + len <= g->peer_sent, "more than was sent");
        must_be_bytes(buf, g->read, len);
        g->read += len;
    }
    free(buf);
    return rv;
}

/* As a stream does it: it waits for an event when all has been read, and asks again else. */
static void read_some(game_t *g, size_t room)
{
    apr_status_t rv;

    if (g->ended || !room)
        return;
    do {
        rv = read_once(g, room);
    } while (rpc_tls_tired(&g->tls) || (rv == APR_SUCCESS && !rpc_tls_drained(&g->tls)));
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv)) {
        MUST(g->spoilt || g->cut || (APR_STATUS_IS_EOF(rv) && g->peer_done) || g->tls.error,
             "status %d", rv);
        MUST(g->spoilt || g->cut || g->tls.error || g->read == g->peer_sent,
             "an end before all was read");
        g->ended = 1;
    }
    /* What was there already no event tells of. The end of the socket is an event of its own. */
    if (rv == APR_SUCCESS) {
        rv = read_once(g, room);
        MUST(APR_STATUS_IS_EAGAIN(rv) || g->cut, "drained, but for status %d", rv);
        g->ended = !APR_STATUS_IS_EAGAIN(rv);
    }
}

static void write_some(game_t *g, size_t size)
{
    const uint8_t *bytes = bytes_at(g->sent, size);
    struct iovec pieces[] = { { (void *)bytes, size / 3 },
                              { (void *)(bytes + size / 3), size - size / 3 } };
    size_t len = 0;

    if (g->done || size < 3 || g->ended)
        return;
    if (rpc_tls_write(&g->tls, pieces, 2, &len) == APR_SUCCESS)
        MUST(len && len <= size, "%zu bytes", len);
    g->sent += len;
}

static void peer_reads(game_t *g, size_t len)
{
    uint8_t buf[ROOM];
    ssize_t n = len ? recv(g->peer_fd, buf, len < ROOM ? len : ROOM, 0) : 0;
    int got;

    if (n > 0)
        BIO_write(g->to_peer, buf, (int)n);
    while ((got = SSL_read(g->peer, buf, sizeof(buf))) > 0) {
        MUST(g->peer_read + (size_t)got <= g->sent, "the peer reads more than was sent");
        must_be_bytes(buf, g->peer_read, (size_t)got);
        g->peer_read += (size_t)got;
    }
    g->peer_failed |= SSL_get_error(g->peer, got) == SSL_ERROR_SSL;
}

static void spoil(game_t *g, size_t at)
{
    char *data;
    long there = BIO_get_mem_data(g->from_peer, &data);

    if (!there)
        return;
    data[at % (size_t)there] ^= 1;
    g->spoilt = 1;
}

static void take_step(game_t *g, unsigned step, size_t number)
{
    switch ((enum step)(step % STEPS)) {
    case PEER_WRITES: peer_writes(g, number * number / 2); break;
    case DELIVER: deliver(g, number < 200 ? number : ROOM); break;
    case READ: read_some(g, 1 + number * number / 2); break;
    case WRITE: write_some(g, number * number / 2); break;
    case PEER_READS: peer_reads(g, number < 200 ? number : ROOM); break;
    case PUSH: rpc_tls_push(&g->tls); break;
    case KEY_UPDATE:
        if (!g->peer_done && SSL_version(g->peer) == TLS1_3_VERSION
            && SSL_key_update(g->peer, number % 2))
            SSL_do_handshake(g->peer);
        break;
    case PEER_SAYS_GOODBYE:
        g->peer_done = 1;
        SSL_shutdown(g->peer);
        break;
    case GOODBYE:
        if (!g->done)
            rpc_tls_goodbye(&g->tls);
        g->done = 1;
        break;
    case CUT:
        g->cut = 1;
        shutdown(g->peer_fd, SHUT_WR);
        break;
    case SPOIL: spoil(g, number); break;
    case STEPS: break;
    }
}

/* ---- the end ---- */

/* Nothing is lost between two that have not been disturbed. */
static void settle(game_t *g)
{
    int i;

    for (i = 0; i < 2000 && !g->tls.error; i++) {
        deliver(g, ROOM);
        read_some(g, ROOM);
        rpc_tls_push(&g->tls);
        peer_reads(g, ROOM);
        if (!BIO_ctrl_pending(g->from_peer) && !g->tls.unsent.size && g->read == g->peer_sent
            && g->peer_read == g->sent)
            break;
    }
    if (g->spoilt || g->cut || g->tls.error || g->ended)
        return;
    MUST(g->read == g->peer_sent, "%zu bytes of %zu have been read", g->read, g->peer_sent);
    MUST(!g->peer_failed && g->peer_read == g->sent, "the peer has read %zu bytes of %zu",
         g->peer_read, g->sent);
    MUST(!g->peer_done || (read_some(g, ROOM), g->ended), "the peer's good-bye is not seen");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    game_t g;
    size_t i;

    if (!size)
        return 0;
    begin(&g, *data & 1 ? TLS1_3_VERSION : TLS1_2_VERSION);
    for (i = 1; i + 1 < size && i < 2 * STEPS_MAX; i += 2)
        take_step(&g, data[i], data[i + 1]);
    settle(&g);
    rpc_tls_free(&g.tls);
    SSL_free(g.peer);
    close(g.fd);
    close(g.peer_fd);
    return 0;
}
