/* rpc_queue: two first-in first-out queues that hold no memory while empty.
 *
 * rpc_bytes is a byte queue in chunks (bytes that a stream still has to write); rpc_pdus
 * is a queue of whole PDUs (which wait for a window, or until a channel is unplugged).
 * Neither has a bound of its own: the caller checks the size before it fills one.
 * Each belongs to one loop thread.
 */
#ifndef RPC_QUEUE_H
#define RPC_QUEUE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct rpc_chunk rpc_chunk_t;
typedef struct rpc_bytes { rpc_chunk_t *first, *last; size_t size; } rpc_bytes_t;

/* Copies LEN bytes in; 0, or -1 when out of memory (then nothing was queued). */
int rpc_bytes_put(rpc_bytes_t *q, const void *data, size_t len);
/* Puts in LEN bytes that are not copied yet: they must stay where they are until they are
 * dropped or rpc_bytes_keep() is called. 0 or -1 as before. */
int rpc_bytes_lend(rpc_bytes_t *q, const void *data, size_t len);
/* Copies what was only lent. 0; or -1 when out of memory: then the queue still has lent bytes. */
int rpc_bytes_keep(rpc_bytes_t *q);
/* The first contiguous run of bytes and its length; NULL when empty. */
const uint8_t *rpc_bytes_peek(const rpc_bytes_t *q, size_t *len);
/* The first runs of bytes, up to MAX; returns how many there are. */
int rpc_bytes_gather(const rpc_bytes_t *q, struct iovec *pieces, int max);
/* The number of bytes in COUNT pieces. */
size_t rpc_pieces_size(const struct iovec *pieces, int count);
/* Drops LEN bytes, at most as many as the queue has. */
void rpc_bytes_drop(rpc_bytes_t *q, size_t len);
void rpc_bytes_clear(rpc_bytes_t *q);

typedef struct rpc_pack rpc_pack_t;
typedef struct rpc_pdus {
    rpc_pack_t *first, *last;   /* NULL: empty */
    size_t size;                /* bytes of all PDUs */
} rpc_pdus_t;

typedef struct rpc_queued_pdu {
    const uint8_t *data;        /* in the queue; valid until the PDU is dropped or another is put */
    uint32_t size;
    int counted;                /* an RPC PDU, subject to flow control; 0: RTS */
} rpc_queued_pdu_t;

/* Copies a PDU in; 0, or -1 when out of memory (then nothing was queued). The queue takes little
 * more memory than SIZE bytes for it, however small it is. */
int rpc_pdus_put(rpc_pdus_t *q, const void *pdu, uint32_t size, int counted);
/* The first PDU of a queue that is not empty. */
rpc_queued_pdu_t rpc_pdus_peek(const rpc_pdus_t *q);
/* Takes the first PDU out, if there is one. */
void rpc_pdus_drop(rpc_pdus_t *q);
void rpc_pdus_clear(rpc_pdus_t *q);

#endif
