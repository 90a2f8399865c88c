/* bench_rpc.c: small helpers without state. The bytes of a pattern are 64-bit words, each computed
 * from the seed and its place. The hash of the pattern is FNV-1a over the words in each piece, so
 * it also depends on where the pieces begin, which both ends know.
 */
#include "bench_rpc.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/dcerpc.h"

#define OPNUM_AT 22

void bench_pdu(uint8_t *pdu, uint8_t ptype, bench_op_t op, uint16_t size)
{
    memset(pdu, 0, BENCH_HEADER);
    dcerpc_header_write(pdu, ptype, DCERPC_WHOLE, size, 1);
    pdu[OPNUM_AT] = (uint8_t)op;
}

bench_op_t bench_op(const uint8_t *pdu)
{
    return (bench_op_t)pdu[OPNUM_AT];
}

size_t bench_bind(uint8_t pdu[BENCH_BIND_SIZE])
{
    static const uint8_t body[BENCH_BIND_SIZE - 16] = {
        0xd0, 0x16, 0xd0, 0x16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0,
        0xc5, 0x5e, 0xa1, 0x60, 0xe8, 0x4d, 0xd7, 0x11,
        0xa6, 0x37, 0x00, 0x50, 0x56, 0xa2, 0x01, 0x82,
        1, 0, 0, 0,
        0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11,
        0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60,
        2, 0, 0, 0
    };

    bench_pdu(pdu, DCERPC_BIND, BENCH_ECHO, BENCH_BIND_SIZE);
    memcpy(pdu + 16, body, sizeof(body));
    return BENCH_BIND_SIZE;
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

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* Most pieces are full, as in a large transfer; the others have any size. */
uint32_t bench_pattern_next(const bench_pattern_t *p)
{
    uint64_t r = mix(~p->seed ^ p->at), left = p->size - p->at;
    uint32_t size = BENCH_PIECE_MAX;

    if (r % 4 == 0)
        size = BENCH_PIECE_MIN + (uint32_t)((r >> 8) % (BENCH_PIECE_MAX - BENCH_PIECE_MIN + 1));
    if (left < size - BENCH_HEADER)
        size = left ? BENCH_HEADER + (uint32_t)left : 0;
    return size;
}

/* The word with the byte at place AT in its lowest eight bits, and how many bytes of it lie
 * within SIZE. */
static uint64_t word_at(const bench_pattern_t *p, size_t size, size_t *bytes)
{
    unsigned skip = (unsigned)(p->at % 8);

    *bytes = 8 - skip < size ? 8 - skip : size;
    return mix(p->seed ^ (p->at / 8) * 0xd6e8feb86659fd93) >> 8 * skip;
}

static void advance(bench_pattern_t *p, uint64_t word, size_t bytes)
{
    if (bytes < 8)
        word &= ((uint64_t)1 << 8 * bytes) - 1;
    p->hash = (p->hash ^ word) * 0x100000001b3;
    p->at += bytes;
}

void bench_pattern_make(bench_pattern_t *p, uint8_t *data, size_t size)
{
    size_t n;

    for (; size; data += n, size -= n) {
        uint64_t word = word_at(p, size, &n);

        if (n == 8)
            bench_put_u64(data, word);
        else
            for (size_t i = 0; i < n; i++)
                data[i] = (uint8_t)(word >> 8 * i);
        advance(p, word, n);
    }
}

int bench_pattern_check(bench_pattern_t *p, const uint8_t *data, size_t size)
{
    size_t n;

    if (size > p->size - p->at)
        return 0;
    for (; size; data += n, size -= n) {
        uint64_t word = word_at(p, size, &n);

        if (n == 8 && bench_get_u64(data) != word)
            return 0;
        for (size_t i = 0; n < 8 && i < n; i++)
            if (data[i] != (uint8_t)(word >> 8 * i))
                return 0;
        advance(p, word, n);
    }
    return 1;
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
