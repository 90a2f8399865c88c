/* rpcserver.c: the server behind both proxies of the benchmark: [MS-RPCH] 3.2.5 as far as
 * opening, flow control and forwarding go, on one thread. Its "RPC layer" are the requests
 * of bench_rpc.h.
 *
 *   leg_turn: reads, cuts into PDUs -> first_pdu (A2, B2: pairs by cookie, C1 and B3 when
 *   both are there) -> rts_pdu / rpc_pdu -> pump (source) -> flush both legs
 *
 * usage: rpcserver [port]; prints the port it listens on, and runs until it is killed.
 */
#define _GNU_SOURCE /* accept4() */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_rpc.h"
#include "dcerpc.h"
#include "rpc_flow.h"
#include "rts.h"

#define BUCKETS 4096
#define EVENTS 256
#define SCRATCH 65536

static const char BANNER[] = "ncacn_http/1.0";

typedef struct vc vc_t;
typedef struct server server_t;

typedef struct leg {
    server_t *server;
    vc_t *vc;               /* NULL until its first PDU */
    int fd, dead;
    dcerpc_framer_t framer;
    bench_out_t out;
    struct leg *next_dead;
} leg_t;

struct vc {
    vc_t *next;             /* in its bucket */
    rts_cookie_t cookie, in_cookie;
    leg_t *in, *out;
    uint32_t ip_window, ip_timeout;
    rpc_flow_receiver_t hop2;
    rpc_flow_sender_t hop3;
    uint64_t sunk, source_left;
    uint32_t source_size;   /* of its PDUs */
};

struct server {
    int epoll, listener;
    vc_t *buckets[BUCKETS];
    leg_t *dead;            /* freed after the batch of events */
    uint8_t scratch[SCRATCH];
};

/* ---- ends ---- */

static vc_t **vc_place(server_t *s, const rts_cookie_t *cookie)
{
    vc_t **place = &s->buckets[(cookie->b[0] | cookie->b[1] << 8) % BUCKETS];

    while (*place && !rts_cookie_equal(&(*place)->cookie, cookie))
        place = &(*place)->next;
    return place;
}

static void leg_end(leg_t *leg)
{
    vc_t *vc = leg->vc;

    if (leg->dead)
        return;
    leg->dead = 1;
    leg->next_dead = leg->server->dead;
    leg->server->dead = leg;
    close(leg->fd);
    leg->vc = NULL;
    if (!vc)
        return;
    if (vc->in == leg)
        vc->in = NULL;
    else
        vc->out = NULL;
    if (vc->in)
        leg_end(vc->in);
    else if (vc->out)
        leg_end(vc->out);
    else {
        *vc_place(leg->server, &vc->cookie) = vc->next;
        free(vc);
    }
}

static void bury(server_t *s)
{
    while (s->dead) {
        leg_t *leg = s->dead;

        s->dead = leg->next_dead;
        dcerpc_framer_reset(&leg->framer);
        free(leg->out.data);
        free(leg);
    }
}

static void protocol_error(leg_t *leg, const char *why)
{
    fprintf(stderr, "rpcserver: %s\n", why);
    leg_end(leg);
}

/* ---- output ---- */

static void send_rts(leg_t *leg, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    bench_out_put(&leg->out, buf, rts_write(pdu, buf, sizeof(buf)));
}

static void flush(leg_t *leg)
{
    while (bench_out_pending(&leg->out)) {
        ssize_t n = send(leg->fd, leg->out.data + leg->out.off, bench_out_pending(&leg->out),
                         MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                leg_end(leg);
            return;
        }
        bench_out_drop(&leg->out, (size_t)n);
    }
}

static void respond(vc_t *vc, uint8_t *pdu, uint32_t size)
{
    bench_out_put(&vc->out->out, pdu, size);
    rpc_flow_sent(&vc->hop3, size);
}

/* The source: as much as the window of hop 3 and the socket take. */
static int pump(vc_t *vc)
{
    uint32_t made = 0;

    while (vc->source_left && bench_out_pending(&vc->out->out) < BENCH_HIGH
           && rpc_flow_may_send(&vc->hop3, vc->source_size)) {
        uint32_t size = vc->source_left < vc->source_size ? (uint32_t)vc->source_left
                                                          : vc->source_size;

        bench_pdu(bench_out_room(&vc->out->out, size), DCERPC_RESPONSE, BENCH_SOURCE,
                  (uint16_t)size);
        rpc_flow_sent(&vc->hop3, size);
        vc->source_left -= size;
        made += size;
    }
    return made > 0;
}

/* ---- input ---- */

static void both_are_here(vc_t *vc)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, RTS_CONN_C1);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, vc->ip_window);
    rts_set_u32(&pdu, RTS_CMD_CONNECTION_TIMEOUT, vc->ip_timeout);
    send_rts(vc->out, &pdu);
    rts_begin(&pdu, RTS_CONN_B3);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, BENCH_WINDOW);
    send_rts(vc->in, &pdu);
}

static vc_t *vc_of(server_t *s, const rts_cookie_t *cookie)
{
    vc_t **place = vc_place(s, cookie);

    if (!*place) {
        *place = calloc(1, sizeof(**place));
        if (!*place)
            bench_die("out of memory");
        (*place)->cookie = *cookie;
        rpc_flow_receiver_start(&(*place)->hop2, BENCH_WINDOW);
    }
    return *place;
}

/* CONN/A2 and CONN/B2 (3.2.5.5.3, 3.2.5.5.4). */
static void first_pdu(leg_t *leg, const rts_pdu_t *pdu)
{
    int is_out = (pdu->flags & RTS_FLAG_OUT_CHANNEL) != 0;
    rts_pdu_id_t id = rts_identify(pdu, is_out ? RTS_HOP_OP_S : RTS_HOP_IP_S);
    vc_t *vc;

    if (id != RTS_CONN_A2 && id != RTS_CONN_B2) {
        protocol_error(leg, "a leg begins with neither CONN/A2 nor CONN/B2");
        return;
    }
    vc = vc_of(leg->server, rts_cookie(pdu, 0));
    if (is_out ? vc->out != NULL : vc->in != NULL) {
        protocol_error(leg, "a second leg with one cookie");
        return;
    }
    leg->vc = vc;
    if (is_out) {
        vc->out = leg;
        rpc_flow_sender_start(&vc->hop3, rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
    }
    else {
        vc->in = leg;
        vc->in_cookie = *rts_cookie(pdu, 1);
        vc->ip_window = rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0);
        vc->ip_timeout = rts_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 0);
    }
    if (vc->in && vc->out)
        both_are_here(vc);
}

static void rts_pdu(leg_t *leg, const uint8_t *data, uint32_t size)
{
    rts_pdu_t pdu;
    const char *wrong = rts_parse(data, size, &pdu);
    vc_t *vc = leg->vc;
    int destination;

    if (wrong)
        protocol_error(leg, wrong);
    else if (!vc)
        first_pdu(leg, &pdu);
    else if (vc->out && ((destination = rts_destination(&pdu)) == RTS_FD_CLIENT
                         || destination == RTS_FD_OUT_PROXY))
        bench_out_put(&vc->out->out, data, size);
    else if (leg == vc->out && rts_identify(&pdu, RTS_HOP_OP_S) == RTS_FLOW_CONTROL_ACK)
        rpc_flow_acked(&vc->hop3, rts_ack(&pdu)->bytes_received,
                       rts_ack(&pdu)->available_window);
    else
        protocol_error(leg, rts_info(rts_identify(&pdu, RTS_HOP_IP_S))->name);
}

static void ack_hop2(vc_t *vc)
{
    rts_ack_t ack;
    rts_pdu_t pdu;

    rpc_flow_ack(&vc->hop2, &ack.bytes_received, &ack.available_window);
    ack.cookie = vc->in_cookie;
    rts_begin(&pdu, RTS_FLOW_CONTROL_ACK);
    rts_set_ack(&pdu, &ack);
    send_rts(vc->in, &pdu);
}

static void rpc_pdu(leg_t *leg, const uint8_t *data, uint32_t size)
{
    vc_t *vc = leg->vc;
    uint8_t answer[BENCH_HEADER + 8], *copy;

    if (!vc || leg != vc->in || !vc->out || size < BENCH_HEADER + 12) {
        protocol_error(leg, "an RPC PDU that has no place here");
        return;
    }
    rpc_flow_received(&vc->hop2, size);
    if (rpc_flow_consumed(&vc->hop2, size))
        ack_hop2(vc);
    switch (bench_op(data)) {
    case BENCH_ECHO:
        copy = bench_out_room(&vc->out->out, size);
        memcpy(copy, data, size);
        copy[2] = DCERPC_RESPONSE;
        rpc_flow_sent(&vc->hop3, size);
        break;
    case BENCH_SINK:
    case BENCH_SINK_END:
        vc->sunk += size;
        if (bench_op(data) == BENCH_SINK)
            break;
        bench_pdu(answer, DCERPC_RESPONSE, BENCH_SINK_END, sizeof(answer));
        bench_put_u64(answer + BENCH_HEADER, vc->sunk);
        respond(vc, answer, sizeof(answer));
        vc->sunk = 0;
        break;
    case BENCH_SOURCE:
        vc->source_left = bench_get_u64(data + BENCH_HEADER);
        vc->source_size = data[BENCH_HEADER + 8] | (uint32_t)data[BENCH_HEADER + 9] << 8;
        break;
    }
}

static void take_bytes(leg_t *leg, const uint8_t *data, size_t len)
{
    while (!leg->dead) {
        const uint8_t *pdu;
        dcerpc_header_t header;

        switch (dcerpc_framer_next(&leg->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            return;
        case DCERPC_FRAME_ERROR:
            protocol_error(leg, leg->framer.error);
            return;
        case DCERPC_FRAME_PDU:
            if (header.ptype == DCERPC_RTS)
                rts_pdu(leg, pdu, header.frag_length);
            else
                rpc_pdu(leg, pdu, header.frag_length);
        }
    }
}

static void write_all(leg_t *leg)
{
    vc_t *vc = leg->vc;

    if (vc && vc->in)
        flush(vc->in);
    vc = leg->vc;
    if (!vc || !vc->out)
        return;
    do {
        flush(vc->out);
    } while (leg->vc && pump(vc));
}

/* Edge-triggered: reads until nothing is there. */
static void leg_turn(leg_t *leg)
{
    while (!leg->dead) {
        ssize_t n = recv(leg->fd, leg->server->scratch, SCRATCH, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            leg_end(leg);
            return;
        }
        take_bytes(leg, leg->server->scratch, (size_t)n);
        write_all(leg);
    }
    write_all(leg);
}

static void accept_all(server_t *s)
{
    int fd;

    while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        leg_t *leg = calloc(1, sizeof(*leg));
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP };

        if (!leg)
            bench_die("out of memory");
        leg->server = s;
        leg->fd = fd;
        bench_nodelay(fd);
        bench_out_put(&leg->out, BANNER, sizeof(BANNER) - 1);
        event.data.ptr = leg;
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            bench_die("epoll: %m");
    }
}

int main(int argc, char **argv)
{
    static server_t s;
    uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 0;
    struct epoll_event event = { .events = EPOLLIN }, events[EVENTS];

    signal(SIGPIPE, SIG_IGN);
    s.listener = bench_listen(&port);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0 || epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.listener, &event) < 0)
        bench_die("epoll: %m");
    printf("%u\n", port);
    fflush(stdout);
    for (;;) {
        int i, n = epoll_wait(s.epoll, events, EVENTS, -1);

        for (i = 0; i < n; i++) {
            leg_t *leg = events[i].data.ptr;

            if (!leg)
                accept_all(&s);
            else if (!leg->dead)
                leg_turn(leg);
        }
        bury(&s);
    }
}
