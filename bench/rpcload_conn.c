/* rpcload_conn.c: one connection to a proxy, with TLS or without: connect, handshake,
 * vc_speak() -> [200 header on OUT] -> PDUs -> vc_take_pdu().
 *
 * Events are edge-triggered: on each event a connection does everything that it can. Then all
 * connections of the virtual connection are flushed, because an ack is sent on another one.
 */
#define _GNU_SOURCE /* strcasestr() */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpcload_vc.h"

#define PATIENCE_MS 20000
#define EVENTS 256
#define READ_MAX 65536
#define HEAD_MAX 2048
#define BANNER_SIZE 14      /* "ncacn_http/1.0" */

void vc_fail(const conn_t *c, const char *what, const char *why)
{
    char state[256];

    vc_describe(c->vc, state, sizeof(state));
    bench_die("%s, %s%s connection, %s: %s [%s]", c->vc->proxy->name,
              c->is_gone        ? "replaced "
              : c->is_successor ? "successor "
                                : "",
              c->is_out ? "OUT" : "IN", what, why, state);
}

/* ---- bytes: the number moved, 0: not now, -1: closed in order; an error ends the program ---- */

static const char *tls_error(void)
{
    unsigned long e = ERR_get_error();

    return e ? ERR_reason_error_string(e) : errno ? strerror(errno) : "closed";
}

/* Like a close, for those who expect one. */
static int failed(const conn_t *c, const char *what, const char *why)
{
    if (c->vc->events->closed)
        return -1;
    vc_fail(c, what, why);
}

static int tls_result(conn_t *c, int n, const char *what)
{
    int e;

    if (n > 0)
        return n;
    e = SSL_get_error(c->ssl, n);
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return 0;
    if (e == SSL_ERROR_ZERO_RETURN)
        return -1;
    return failed(c, what, tls_error());
}

static int plain_result(conn_t *c, ssize_t n, const char *what)
{
    if (n > 0)
        return (int)n;
    if (n == 0)
        return -1;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return failed(c, what, strerror(errno));
}

static int conn_write(conn_t *c, const uint8_t *data, size_t len)
{
    if (!c->ssl)
        return plain_result(c, send(c->fd, data, len, MSG_NOSIGNAL), "writing");
    ERR_clear_error();
    errno = 0;
    return tls_result(c, SSL_write(c->ssl, data, (int)len), "writing");
}

static int conn_recv(conn_t *c, uint8_t *data, size_t cap)
{
    if (!c->ssl)
        return plain_result(c, recv(c->fd, data, cap, 0), "reading");
    ERR_clear_error();
    errno = 0;
    return tls_result(c, SSL_read(c->ssl, data, (int)cap), "reading");
}

/* ---- output ---- */

void conn_put_rts(conn_t *c, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];
    size_t size = rts_write(pdu, buf, sizeof(buf));

    bench_out_put(&c->out, buf, size);
    if (c->is_out)
        return;
    c->used += size;
    if (c->used > c->lifetime)
        vc_fail(c, "lifetime", "used up");
}

void conn_put_request(conn_t *c, const char *method, unsigned length)
{
    const load_t *load = c->vc->load;
    char text[1024];
    int n = snprintf(text, sizeof(text),
                     "%s /rpc/rpcproxy.dll?%s HTTP/1.1\r\n"
                     "Host: localhost\r\nAccept: application/rpc\r\nUser-Agent: MSRPC\r\n"
                     "Connection: Keep-Alive\r\nCache-Control: no-cache\r\nPragma: No-cache\r\n"
                     "Content-Length: %u\r\nAuthorization: Basic %s\r\n\r\n",
                     method, load->target, length, load->auth);

    if (n >= (int)sizeof(text))
        bench_die("target or password too long");
    bench_out_put(&c->out, text, (size_t)n);
}

void conn_flush(conn_t *c)
{
    if (c->phase == HANDSHAKE || c->dead || c->is_late)
        return;
    while (bench_out_pending(&c->out)) {
        int n = conn_write(c, c->out.data + c->out.off, bench_out_pending(&c->out));

        if (n < 0 && !c->vc->events->closed)
            vc_fail(c, "writing", "closed");
        if (n <= 0)
            return;
        bench_out_drop(&c->out, (size_t)n);
    }
}

void conn_delay(conn_t *c)
{
    c->is_late = 1;
    c->next_late = c->vc->load->late;
    c->vc->load->late = c;
}

static void flush_late(load_t *load)
{
    while (load->late) {
        conn_t *c = load->late;

        load->late = c->next_late;
        c->is_late = 0;
        vc_flush(c->vc);
    }
}

/* ---- input ---- */

static void take_pdus(conn_t *c, const uint8_t *data, size_t len)
{
    const uint8_t *pdu;
    dcerpc_header_t header;
    dcerpc_frame_t rv;

    for (; c->banner && len; len--, c->banner--)
        data++;
    if (len && c->is_gone)
        vc_fail(c, "PDUs", "after the last one");
    while (!c->is_gone
           && (rv = dcerpc_framer_next(&c->framer, &data, &len, &pdu, &header))
                  != DCERPC_FRAME_MORE) {
        if (rv == DCERPC_FRAME_ERROR)
            vc_fail(c, "PDUs", c->framer.error);
        vc_take_pdu(c, pdu, &header);
    }
    if (len)
        vc_fail(c, "PDUs", "after the last one");
}

/* Reads a 200 with its length. Every other answer ends the program with the first line of the
 * answer. */
static void check_header(conn_t *c)
{
    const char *field = strcasestr(c->head, "\r\nContent-Length:");

    if (!c->is_out || strncmp(c->head, "HTTP/1.1 200 ", 13) != 0) {
        c->head[strcspn(c->head, "\r")] = '\0';
        vc_fail(c, "answer", c->head);
    }
    c->lifetime = field ? strtoull(field + 17, NULL, 10) : 0;
    if (c->lifetime != c->vc->load->lifetime)
        vc_fail(c, "answer", "another Content-Length than expected");
}

static void take_header(conn_t *c, const uint8_t *data, size_t len)
{
    size_t part = len < HEAD_MAX - c->head_len ? len : HEAD_MAX - c->head_len, used;
    char *end;

    if (!c->head && !(c->head = malloc(HEAD_MAX + 1)))
        bench_die("out of memory");
    memcpy(c->head + c->head_len, data, part);
    c->head[c->head_len + part] = '\0';
    end = strstr(c->head, "\r\n\r\n");
    if (!end && c->head_len + part < HEAD_MAX) {
        c->head_len += part;
        return;
    }
    if (!end)
        vc_fail(c, "answer", "too long");
    used = (size_t)(end + 4 - c->head) - c->head_len;
    check_header(c);
    free(c->head);
    c->head = NULL;
    c->phase = PDUS;
    vc_answered(c);
    take_pdus(c, data + used, len - used);
}

void conn_read(conn_t *c)
{
    uint8_t data[READ_MAX]; /* its own: what a predecessor has to say is read meanwhile */

    while (!c->dead && !recycle_waits(c)) {
        int n = conn_recv(c, data, sizeof(data));

        if (n == 0)
            return;
        if (n < 0) {
            vc_closed(c);
            return;
        }
        if (c->phase == HEADER)
            take_header(c, data, (size_t)n);
        else
            take_pdus(c, data, (size_t)n);
        /* An ack that waited for the end of the stream of data would stop that stream. */
        vc_flush(c->vc);
    }
}

/* ---- a connection's turn ---- */

static int handshake(conn_t *c)
{
    if (c->ssl) {
        int n;

        ERR_clear_error();
        errno = 0;
        n = tls_result(c, SSL_connect(c->ssl), "TLS handshake");
        if (n < 0)
            vc_fail(c, "TLS handshake", "closed");
        if (n == 0)
            return 0;
    }
    c->phase = c->vc->proxy->speaks_http ? HEADER : PDUS;
    vc_speak(c);
    return 1;
}

static void conn_turn(conn_t *c)
{
    vc_t *vc = c->vc;

    if (c->phase == HANDSHAKE && !handshake(c))
        return;
    conn_read(c);
    recycle_after_input(vc);
    vc_kick(vc);
}

/* ---- life ---- */

/* One address has some 28,000 ports to connect to one port from. */
static void bind_source(conn_t *c, const load_t *load)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    int one = 1;

    if (!load->addresses)
        return;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + load->requests % load->addresses);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        vc_fail(c, "binding", strerror(errno));
}

/* Each request goes to the next port, so a successor may come to any machine. */
conn_t *conn_open(vc_t *vc, int is_out, int is_successor)
{
    const proxy_t *proxy = vc->proxy;
    load_t *load = vc->load;
    uint16_t port = proxy->ports[load->requests++ % proxy->port_count];
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
    conn_t *c = calloc(1, sizeof(*c));

    if (!c)
        bench_die("out of memory");
    c->vc = vc;
    c->is_out = is_out;
    c->is_successor = is_successor;
    c->lifetime = load->lifetime;
    c->banner = proxy->speaks_http ? 0 : BANNER_SIZE;
    rpc_flow_receiver_start(&c->hop4, load->window);
    RAND_bytes(c->cookie.b, sizeof(c->cookie.b));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (c->fd < 0)
        vc_fail(c, "connecting", strerror(errno));
    bind_source(c, load);
    if (connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS)
        vc_fail(c, "connecting", strerror(errno));
    bench_nodelay(c->fd);
    if (proxy->tls && (!(c->ssl = SSL_new(load->tls)) || !SSL_set_fd(c->ssl, c->fd)))
        bench_die("out of memory");
    event.data.ptr = c;
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        bench_die("epoll: %m");
    return c;
}

/* Events of this batch may still refer to it. */
void conn_close(conn_t *c)
{
    if (!c)
        return;
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    free(c->head);
    free(c->out.data);
    dcerpc_framer_reset(&c->framer);
    c->dead = 1;
    c->next = c->vc->load->dead;
    c->vc->load->dead = c;
}

/* What ended in a batch of events, now that no event names it. */
static void bury(load_t *load)
{
    while (load->ended) {
        vc_t *vc = load->ended;

        load->ended = vc->next_ended;
        vc_close(vc);
    }
    while (load->dead) {
        conn_t *c = load->dead;

        load->dead = c->next;
        free(c);
    }
}

/* ---- the loop ---- */

void load_run(load_t *load, const int *done, const char *what)
{
    struct epoll_event events[EVENTS];

    bury(load);
    while (!*done) {
        int i, n = epoll_wait(load->epoll, events, EVENTS, PATIENCE_MS);

        if (n == 0 && load->stalled)
            load->stalled(load->stalled_ctx);
        if (n == 0)
            bench_die("nothing moves: %s", what);
        if (n < 0 && errno != EINTR)
            bench_die("epoll: %m");
        for (i = 0; i < n; i++) {
            conn_t *c = events[i].data.ptr;

            if (!c->dead && !c->vc->ends)
                conn_turn(c);
        }
        flush_late(load);
        bury(load);
    }
}

load_t *load_create(const char *auth, const char *target)
{
    load_t *load = calloc(1, sizeof(*load));

    if (!load)
        bench_die("out of memory");
    load->auth = auth;
    load->target = target;
    load->lifetime = LOAD_LIFETIME;
    load->window = BENCH_WINDOW;
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->tls = SSL_CTX_new(TLS_client_method());
    if (load->epoll < 0 || !load->tls)
        bench_die("no epoll, or no TLS");
    SSL_CTX_set_session_cache_mode(load->tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(load->tls, SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(load->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                | SSL_MODE_RELEASE_BUFFERS);
    return load;
}

void load_destroy(load_t *load)
{
    bury(load);
    SSL_CTX_free(load->tls);
    close(load->epoll);
    free(load);
}
