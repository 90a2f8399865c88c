/* rpcserver.c: legs, and the table of virtual connections.
 *
 *   leg_turn: reads, cuts into PDUs -> leg_rts (rpcserver_vc.c), rpc_pdu -> work_request
 *   (rpcserver_work.c) -> work_pump -> all legs of the virtual connection are flushed
 *
 * usage: rpcserver [-t] [-w window] [port]
 * -t: plain TCP, as behind an endpoint; -w: receive window of hop 2. Prints the port it
 * listens on, and runs until it is killed.
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

#include "rpcserver.h"

#define EVENTS 256

static const char BANNER[] = "ncacn_http/1.0";

/* ---- virtual connections ---- */

static vc_t **vc_place(server_t *s, const rts_cookie_t *cookie)
{
    vc_t **place = &s->buckets[(cookie->b[0] | cookie->b[1] << 8) % RPCSERVER_BUCKETS];

    while (*place && !rts_cookie_equal(&(*place)->cookie, cookie))
        place = &(*place)->next;
    return place;
}

static vc_t *vc_create(void)
{
    vc_t *vc = calloc(1, sizeof(*vc));

    if (!vc)
        bench_die("out of memory");
    return vc;
}

vc_t *server_vc(server_t *s, const rts_cookie_t *cookie, int create)
{
    vc_t **place = vc_place(s, cookie);

    if (!*place && create) {
        *place = vc_create();
        (*place)->cookie = *cookie;
    }
    return *place;
}

/* ---- ends ---- */

static void leg_close(leg_t *leg)
{
    if (!leg || leg->dead)
        return;
    leg->dead = 1;
    leg->vc = NULL;
    leg->next_dead = leg->server->dead;
    leg->server->dead = leg;
    close(leg->fd);
}

static void leg_end(leg_t *leg)
{
    vc_t *vc = leg->vc;
    server_t *s = leg->server;

    leg_close(leg);
    if (!vc)
        return;
    if (leg == vc->out_old) {   /* it has done its work (3.2.5.5.13) */
        vc->out_old = NULL;
        return;
    }
    leg_close(vc->in);
    leg_close(vc->out);
    leg_close(vc->in_next);
    leg_close(vc->out_next);
    leg_close(vc->out_old);
    if (!vc->plain)
        *vc_place(s, &vc->cookie) = vc->next;
    free(vc->for_successor.data);
    free(vc);
}

void leg_error(leg_t *leg, const char *why)
{
    const vc_t *vc = leg->vc;

    if (vc)
        fprintf(stderr, "rpcserver: %s leg, states %d and %d: %s\n",
                leg == vc->in || leg == vc->in_next ? "IN" : "OUT", vc->in_state, vc->out_state,
                why);
    else
        fprintf(stderr, "rpcserver: new leg: %s\n", why);
    leg_end(leg);
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

/* ---- input and output ---- */

static void flush(leg_t *leg)
{
    while (leg && bench_out_pending(&leg->out)) {
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

static void rpc_pdu(leg_t *leg, const uint8_t *data, uint32_t size)
{
    vc_t *vc = leg->vc;
    const char *wrong;

    if (!vc || leg != vc->in || !vc->out || size < BENCH_HEADER) {
        leg_error(leg, "an RPC PDU that has no place here");
        return;
    }
    wrong = work_request(vc, data, size);
    if (wrong)
        leg_error(leg, wrong);
    else
        vc_consumed(vc, size);
}

static void take_bytes(leg_t *leg, const uint8_t *data, size_t len)
{
    while (!leg->dead && !leg->retired) {
        const uint8_t *pdu;
        dcerpc_header_t header;

        switch (dcerpc_framer_next(&leg->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            return;
        case DCERPC_FRAME_ERROR:
            leg_error(leg, leg->framer.error);
            return;
        case DCERPC_FRAME_PDU:
            if (header.ptype == DCERPC_RTS)
                leg_rts(leg, pdu, header.frag_length);
            else
                rpc_pdu(leg, pdu, header.frag_length);
        }
    }
}

/* The failure of one leg ends all of them, so the loop looks for each leg again. */
static void write_all(leg_t *leg)
{
    int more = 1;

    if (leg->vc && leg->vc->in && !leg->vc->plain)
        flush(leg->vc->in);
    if (leg->vc)
        flush(leg->vc->in_next);
    if (leg->vc)
        flush(leg->vc->out_next);
    if (leg->vc)
        flush(leg->vc->out_old);
    while (leg->vc && leg->vc->out && more) {
        flush(leg->vc->out);
        more = leg->vc && leg->vc->in && work_pump(leg->vc);
    }
}

/* Events are edge-triggered, so it reads until there is nothing to read. */
static void leg_turn(leg_t *leg)
{
    while (!leg->dead && !leg->retired) {
        ssize_t n = recv(leg->fd, leg->server->scratch, RPCSERVER_SCRATCH, 0);

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
    if (!leg->retired)
        return;
    leg_close(leg);
    if (leg->server->taken_over)
        write_all(leg->server->taken_over);
    leg->server->taken_over = NULL;
}

static void leg_start(leg_t *leg)
{
    if (!leg->server->plain) {
        bench_out_put(&leg->out, BANNER, sizeof(BANNER) - 1);
        return;
    }
    leg->vc = vc_create();
    leg->vc->plain = 1;
    leg->vc->in = leg->vc->out = leg;
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
        leg_start(leg);
        event.data.ptr = leg;
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            bench_die("epoll: %m");
    }
}

static void serve(server_t *s)
{
    struct epoll_event events[EVENTS];

    for (;;) {
        int i, n = epoll_wait(s->epoll, events, EVENTS, -1);

        for (i = 0; i < n; i++) {
            leg_t *leg = events[i].data.ptr;

            if (!leg)
                accept_all(s);
            else if (!leg->dead)
                leg_turn(leg);
        }
        bury(s);
    }
}

int main(int argc, char **argv)
{
    static server_t s = { .window = BENCH_WINDOW };
    struct epoll_event event = { .events = EPOLLIN };
    uint16_t port;
    int opt;

    while ((opt = getopt(argc, argv, "tw:")) != -1) {
        switch (opt) {
        case 't': s.plain = 1; break;
        case 'w': s.window = (uint32_t)atoi(optarg); break;
        default: bench_die("usage: see the top of rpcserver.c");
        }
    }
    port = optind < argc ? (uint16_t)atoi(argv[optind]) : 0;
    signal(SIGPIPE, SIG_IGN);
    s.listener = bench_listen(&port);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0 || epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.listener, &event) < 0)
        bench_die("epoll: %m");
    printf("%u\n", port);
    fflush(stdout);
    serve(&s);
}
