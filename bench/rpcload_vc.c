/* rpcload_vc.c: the virtual connections of rpcload.
 *
 *   vc_open -> two connections, each: connect, TLS handshake, first bytes (start_in,
 *   start_out) -> [200 header on OUT] -> PDUs -> opened() -> received() for each RPC PDU
 *
 * Edge-triggered: on any event a connection does all it can, then both of the virtual
 * connection are flushed, for an ack goes out on the other one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpcload.h"

#define PATIENCE_MS 20000
#define EVENTS 256
#define HEAD_MAX 2048
#define BANNER_SIZE 14      /* "ncacn_http/1.0" */
#define KEEPALIVE 300000
#define TIMEOUT 120000
#define LIFETIME 1073741824

typedef enum { HANDSHAKE, HEADER, PDUS } phase_t;

typedef struct conn {
    vc_t *vc;
    int fd, is_out;
    phase_t phase;
    SSL *ssl;
    bench_out_t out;
    dcerpc_framer_t framer;
    char *head;             /* of the answer, while it comes */
    size_t head_len;
    unsigned banner;        /* bytes of the banner still to skip */
    rts_cookie_t cookie;
} conn_t;

struct vc {
    load_t *load;
    const proxy_t *proxy;
    const vc_events_t *events;
    void *ctx;
    rts_cookie_t cookie;
    conn_t in, out;
    int c_seen, b_seen;     /* C2 or C1 on OUT; B3 on IN */
    int is_open;
    rpc_flow_sender_t sender;
    rpc_flow_receiver_t receiver;
};

static void vc_fail(const conn_t *c, const char *what, const char *why)
{
    bench_die("%s, %s connection, %s: %s", c->vc->proxy->name, c->is_out ? "OUT" : "IN", what,
              why);
}

static const char *tls_error(void)
{
    unsigned long e = ERR_get_error();

    return e ? ERR_reason_error_string(e) : errno ? strerror(errno) : "closed";
}

/* ---- output ---- */

static void put_rts(conn_t *c, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    bench_out_put(&c->out, buf, rts_write(pdu, buf, sizeof(buf)));
}

static void flush(conn_t *c)
{
    if (c->phase == HANDSHAKE)
        return;
    while (bench_out_pending(&c->out)) {
        int n;

        ERR_clear_error();
        errno = 0;
        n = SSL_write(c->ssl, c->out.data + c->out.off, (int)bench_out_pending(&c->out));
        if (n <= 0) {
            if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_WRITE)
                vc_fail(c, "writing", tls_error());
            return;
        }
        bench_out_drop(&c->out, (size_t)n);
    }
}

/* The FlowControlAck of what came on OUT: to the outbound proxy by way of IN, or from it. */
static void ack(vc_t *vc)
{
    int http = vc->proxy->speaks_http;
    rts_ack_t values;
    rts_pdu_t pdu;

    rpc_flow_ack(&vc->receiver, &values.bytes_received, &values.available_window);
    values.cookie = vc->out.cookie;
    rts_begin(&pdu, http ? RTS_FLOW_CONTROL_ACK_WITH_DESTINATION : RTS_FLOW_CONTROL_ACK);
    if (http)
        rts_set_u32(&pdu, RTS_CMD_DESTINATION, RTS_FD_OUT_PROXY);
    rts_set_ack(&pdu, &values);
    put_rts(http ? &vc->in : &vc->out, &pdu);
}

static void put_request(conn_t *c, const char *method, unsigned length)
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

/* CONN/B1 in an IN request; or CONN/B2. */
static void start_in(conn_t *c)
{
    int http = c->vc->proxy->speaks_http;
    rts_pdu_t pdu;

    rts_begin(&pdu, http ? RTS_CONN_B1 : RTS_CONN_B2);
    rts_set_cookie(&pdu, 0, &c->vc->cookie);
    rts_set_cookie(&pdu, 1, &c->cookie);
    rts_set_group(&pdu, &c->vc->cookie);
    if (http) {
        put_request(c, "RPC_IN_DATA", LIFETIME);
        rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, LIFETIME);
        rts_set_u32(&pdu, RTS_CMD_CLIENT_KEEPALIVE, KEEPALIVE);
    }
    else {
        rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, BENCH_WINDOW);
        rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, TIMEOUT);
    }
    put_rts(c, &pdu);
}

/* CONN/A1 in an OUT request; or CONN/A2. */
static void start_out(conn_t *c)
{
    int http = c->vc->proxy->speaks_http;
    rts_pdu_t pdu;

    rts_begin(&pdu, http ? RTS_CONN_A1 : RTS_CONN_A2);
    rts_set_cookie(&pdu, 0, &c->vc->cookie);
    rts_set_cookie(&pdu, 1, &c->cookie);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, BENCH_WINDOW);
    if (http)
        put_request(c, "RPC_OUT_DATA", 76);
    else
        rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, LIFETIME);
    put_rts(c, &pdu);
}

/* ---- input ---- */

static void check_open(vc_t *vc)
{
    if (vc->is_open || !vc->c_seen || (!vc->proxy->speaks_http && !vc->b_seen))
        return;
    vc->is_open = 1;
    vc->events->opened(vc);
}

static void out_rts(conn_t *c, const rts_pdu_t *pdu)
{
    vc_t *vc = c->vc;
    rts_pdu_id_t id = rts_identify(pdu, vc->proxy->speaks_http ? RTS_HOP_OP_C : RTS_HOP_S_OP);
    const rts_ack_t *values = rts_ack(pdu);

    if (id == RTS_CONN_C1 || id == RTS_CONN_C2) {
        vc->c_seen = 1;
        if (vc->proxy->speaks_http)
            rpc_flow_sender_start(&vc->sender, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
        check_open(vc);
    }
    else if (values)    /* hop 1 */
        rpc_flow_acked(&vc->sender, values->bytes_received, values->available_window);
    else if (id != RTS_CONN_A3 && id != RTS_PING)
        vc_fail(c, "unexpected", rts_info(id)->name);
}

/* Only a server that we reach through a plain proxy talks to us here. */
static void in_rts(conn_t *c, const rts_pdu_t *pdu)
{
    vc_t *vc = c->vc;
    rts_pdu_id_t id = rts_identify(pdu, RTS_HOP_S_IP);
    const rts_ack_t *values = rts_ack(pdu);

    if (id == RTS_CONN_B3) {
        vc->b_seen = 1;
        rpc_flow_sender_start(&vc->sender, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
        check_open(vc);
    }
    else if (id == RTS_FLOW_CONTROL_ACK)
        rpc_flow_acked(&vc->sender, values->bytes_received, values->available_window);
    else
        vc_fail(c, "unexpected", rts_info(id)->name);
}

static void take_pdu(conn_t *c, const uint8_t *data, const dcerpc_header_t *header)
{
    vc_t *vc = c->vc;
    uint32_t size = header->frag_length;

    if (header->ptype == DCERPC_RTS) {
        rts_pdu_t pdu;
        const char *wrong = rts_parse(data, size, &pdu);

        if (wrong)
            vc_fail(c, "RTS PDU", wrong);
        (c->is_out ? out_rts : in_rts)(c, &pdu);
        return;
    }
    if (!c->is_out || !vc->is_open)
        vc_fail(c, "RPC PDU", "too early, or on IN");
    if (rpc_flow_received(&vc->receiver, size))
        vc_fail(c, "RPC PDU", "more than our window");
    if (rpc_flow_consumed(&vc->receiver, size))
        ack(vc);
    vc->events->received(vc, data, size);
}

static void take_pdus(conn_t *c, const uint8_t *data, size_t len)
{
    const uint8_t *pdu;
    dcerpc_header_t header;
    dcerpc_frame_t rv;

    for (; c->banner && len; len--, c->banner--)
        data++;
    while ((rv = dcerpc_framer_next(&c->framer, &data, &len, &pdu, &header)) == DCERPC_FRAME_PDU)
        take_pdu(c, pdu, &header);
    if (rv == DCERPC_FRAME_ERROR)
        vc_fail(c, "PDUs", c->framer.error);
}

static void take_header(conn_t *c, const uint8_t *data, size_t len)
{
    char *end;
    size_t used;

    if (!c->head && !(c->head = malloc(HEAD_MAX + 1)))
        bench_die("out of memory");
    if (len > HEAD_MAX - c->head_len)
        len = HEAD_MAX - c->head_len;
    memcpy(c->head + c->head_len, data, len);
    c->head[c->head_len + len] = '\0';
    end = strstr(c->head, "\r\n\r\n");
    if (!end && c->head_len + len < HEAD_MAX) {
        c->head_len += len;
        return;
    }
    if (!c->is_out || !end || strncmp(c->head, "HTTP/1.1 200 ", 13) != 0) {
        c->head[strcspn(c->head, "\r")] = '\0';
        vc_fail(c, "answer", c->head);
    }
    used = (size_t)(end + 4 - c->head) - c->head_len;
    free(c->head);
    c->head = NULL;
    c->phase = PDUS;
    take_pdus(c, data + used, len - used);
}

static void read_all(conn_t *c)
{
    load_t *load = c->vc->load;

    for (;;) {
        int n;

        ERR_clear_error();
        errno = 0;
        n = SSL_read(c->ssl, load->scratch, sizeof(load->scratch));
        if (n <= 0) {
            int e = SSL_get_error(c->ssl, n);

            if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
                return;
            vc_fail(c, "reading", e == SSL_ERROR_ZERO_RETURN ? "closed" : tls_error());
        }
        if (c->phase == HEADER)
            take_header(c, load->scratch, (size_t)n);
        else
            take_pdus(c, load->scratch, (size_t)n);
        /* An ack that waited for the end of the stream of data would stop that stream. */
        flush(&c->vc->in);
        flush(&c->vc->out);
    }
}

/* ---- a connection's turn ---- */

static int handshake(conn_t *c)
{
    int n, e;

    ERR_clear_error();
    errno = 0;
    n = SSL_connect(c->ssl);
    if (n == 1) {
        c->phase = c->vc->proxy->speaks_http ? HEADER : PDUS;
        (c->is_out ? start_out : start_in)(c);
        return 1;
    }
    e = SSL_get_error(c->ssl, n);
    if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
        vc_fail(c, "TLS handshake", tls_error());
    return 0;
}

void vc_kick(vc_t *vc)
{
    int more;

    do {
        if (vc->is_open && vc->events->room)
            vc->events->room(vc);
        more = bench_out_pending(&vc->in.out) > 0;
        flush(&vc->in);
    } while (more && !bench_out_pending(&vc->in.out) && vc->events->room);
    flush(&vc->out);
}

static void conn_turn(conn_t *c)
{
    if (c->phase == HANDSHAKE && !handshake(c))
        return;
    read_all(c);
    vc_kick(c->vc);
}

void load_run(load_t *load, const int *done, const char *what)
{
    struct epoll_event events[EVENTS];

    while (!*done) {
        int i, n = epoll_wait(load->epoll, events, EVENTS, PATIENCE_MS);

        if (n == 0)
            bench_die("nothing moves: %s", what);
        if (n < 0 && errno != EINTR)
            bench_die("epoll: %m");
        for (i = 0; i < n; i++)
            conn_turn(events[i].data.ptr);
    }
}

load_t *load_create(const char *auth, const char *target)
{
    load_t *load = calloc(1, sizeof(*load));

    if (!load)
        bench_die("out of memory");
    load->auth = auth;
    load->target = target;
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
    SSL_CTX_free(load->tls);
    close(load->epoll);
    free(load);
}

/* ---- life ---- */

static void conn_open(conn_t *c, vc_t *vc, int is_out)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(vc->proxy->port) };
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };

    c->vc = vc;
    c->is_out = is_out;
    c->banner = vc->proxy->speaks_http ? 0 : BANNER_SIZE;
    RAND_bytes(c->cookie.b, sizeof(c->cookie.b));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0
                      && errno != EINPROGRESS))
        vc_fail(c, "connecting", strerror(errno));
    bench_nodelay(c->fd);
    c->ssl = SSL_new(vc->load->tls);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd))
        bench_die("out of memory");
    event.data.ptr = c;
    if (epoll_ctl(vc->load->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        bench_die("epoll: %m");
}

vc_t *vc_open(load_t *load, const proxy_t *proxy, const vc_events_t *events, void *ctx)
{
    vc_t *vc = calloc(1, sizeof(*vc));

    if (!vc)
        bench_die("out of memory");
    vc->load = load;
    vc->proxy = proxy;
    vc->events = events;
    vc->ctx = ctx;
    RAND_bytes(vc->cookie.b, sizeof(vc->cookie.b));
    rpc_flow_receiver_start(&vc->receiver, BENCH_WINDOW);
    conn_open(&vc->in, vc, 0);
    conn_open(&vc->out, vc, 1);
    return vc;
}

void *vc_ctx(const vc_t *vc)
{
    return vc->ctx;
}

int vc_may_send(const vc_t *vc, uint32_t size)
{
    return rpc_flow_may_send(&vc->sender, size) && bench_out_pending(&vc->in.out) < BENCH_HIGH;
}

void vc_send(vc_t *vc, const uint8_t *pdu, uint32_t size)
{
    bench_out_put(&vc->in.out, pdu, size);
    rpc_flow_sent(&vc->sender, size);
}

static void conn_close(conn_t *c)
{
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->fd);
    free(c->head);
    free(c->out.data);
    dcerpc_framer_reset(&c->framer);
}

void vc_close(vc_t *vc)
{
    conn_close(&vc->in);
    conn_close(&vc->out);
    free(vc);
}
