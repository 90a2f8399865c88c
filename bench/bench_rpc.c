/* bench_rpc.c: little helpers, no state. */
#include "bench_rpc.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define OPNUM_AT 22

void bench_pdu(uint8_t *pdu, uint8_t ptype, bench_op_t op, uint16_t size)
{
    static const uint8_t common[8] = { 5, 0, 0, 3, 0x10, 0, 0, 0 };

    memset(pdu, 0, BENCH_HEADER);
    memcpy(pdu, common, sizeof(common));
    pdu[2] = ptype;
    pdu[8] = (uint8_t)size;
    pdu[9] = (uint8_t)(size >> 8);
    pdu[12] = 1;    /* call_id */
    pdu[OPNUM_AT] = (uint8_t)op;
}

bench_op_t bench_op(const uint8_t *pdu)
{
    return (bench_op_t)pdu[OPNUM_AT];
}

void bench_put_u64(uint8_t *p, uint64_t value)
{
    int i;

    for (i = 0; i < 8; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

uint64_t bench_get_u64(const uint8_t *p)
{
    uint64_t value = 0;
    int i;

    for (i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

uint8_t *bench_out_room(bench_out_t *out, size_t size)
{
    if (out->len + size > out->cap && out->off) {
        memmove(out->data, out->data + out->off, out->len - out->off);
        out->len -= out->off;
        out->off = 0;
    }
    if (out->len + size > out->cap) {
        out->cap = out->len + size < 512 ? 512 : 2 * (out->len + size);
        out->data = realloc(out->data, out->cap);
        if (!out->data)
            bench_die("out of memory");
    }
    out->len += size;
    return out->data + out->len - size;
}

void bench_out_put(bench_out_t *out, const void *data, size_t size)
{
    memcpy(bench_out_room(out, size), data, size);
}

size_t bench_out_pending(const bench_out_t *out)
{
    return out->len - out->off;
}

void bench_out_drop(bench_out_t *out, size_t size)
{
    out->off += size;
    if (out->off == out->len)
        out->off = out->len = 0;
}

int bench_listen(uint16_t *port)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(*port) };
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 4096) < 0
        || getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        bench_die("cannot listen on 127.0.0.1 port %u: %m", *port);
    *port = ntohs(addr.sin_port);
    return fd;
}

void bench_nodelay(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void bench_die(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("bench: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}
