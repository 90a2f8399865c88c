/* bench_rpc: what the load client and the server double share: their RPC PDUs, the bytes in these,
 * and a buffer for output.
 */
#ifndef BENCH_RPC_H
#define BENCH_RPC_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_HEADER  24        /* of a request or response: its stub begins here */
#define BENCH_WINDOW  262144    /* receive window of client and server */
#define BENCH_HIGH    65536     /* output waiting above this: make no more */

/* What a request asks of the server, in its opnum. */
typedef enum {
    BENCH_ECHO,         /* the same bytes as a response */
    BENCH_SINK,         /* nothing */
    BENCH_SINK_END,     /* a response whose stub is a u64: bytes sunk, this PDU included */
    BENCH_SOURCE,       /* stub: u64 bytes, u32 PDU size: responses of that many bytes in all */
    BENCH_BEGIN,        /* stub: u64 seed, u64 bytes: a pattern both ways (below) begins */
    BENCH_PATTERN,      /* a piece of it: of SEED to the server, of ~SEED back */
    BENCH_PATTERN_END   /* its last piece; the answer's stub is two u64: bytes, their hash */
} bench_op_t;

/* Pieces of a pattern have PDUs of any size from this to BENCH_PIECE_MAX. */
#define BENCH_PIECE_MIN (BENCH_HEADER + 16)
#define BENCH_PIECE_MAX 5840    /* Windows' usual largest fragment */

/* Fills the header of an RPC PDU of SIZE bytes at PDU; the stub stays as it is. */
void bench_pdu(uint8_t *pdu, uint8_t ptype, bench_op_t op, uint16_t size);
bench_op_t bench_op(const uint8_t *pdu);
/* Writes a bind to rpcecho, for a proxy with a firewall, and returns its size. The server does not
 * answer it. */
#define BENCH_BIND_SIZE 72
size_t bench_bind(uint8_t pdu[BENCH_BIND_SIZE]);
void bench_put_u64(uint8_t *p, uint64_t value);
uint64_t bench_get_u64(const uint8_t *p);

/* A pattern is a stream of bytes that differ at each place. So a piece that is lost, doubled, out
 * of order or from another virtual connection is noticed. */
typedef struct bench_pattern {
    uint64_t seed, at;      /* bytes made or checked so far */
    uint64_t size;          /* bytes in all */
    uint64_t hash;          /* of those so far */
} bench_pattern_t;

/* The size of the PDU with the next piece, the same at both ends; 0: there is no more. */
uint32_t bench_pattern_next(const bench_pattern_t *p);
/* Writes SIZE bytes of it to DATA; or compares them with DATA, 0: they differ. */
void bench_pattern_make(bench_pattern_t *p, uint8_t *data, size_t size);
int bench_pattern_check(bench_pattern_t *p, const uint8_t *data, size_t size);

typedef struct bench_out { uint8_t *data; size_t off, len, cap; } bench_out_t;

/* Makes room for SIZE bytes at the end; and notes that they have been written. */
uint8_t *bench_out_room(bench_out_t *out, size_t size);
void bench_out_put(bench_out_t *out, const void *data, size_t size);
size_t bench_out_pending(const bench_out_t *out);
void bench_out_drop(bench_out_t *out, size_t size);

int bench_listen(uint16_t *port);   /* on 127.0.0.1; 0: a free one */
void bench_nodelay(int fd);

/* Prints why and ends the program with status 1. */
void bench_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
