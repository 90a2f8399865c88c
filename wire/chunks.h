/* rpc_chunks: the chunked transfer coding (RFC 9112, 7.1), read as it comes. Extensions of chunks
 * and trailers are skipped. Bytes only, no memory.
 */
#ifndef RPC_CHUNKS_H
#define RPC_CHUNKS_H

#include <stddef.h>
#include <stdint.h>

/* Zero it to start. */
typedef struct rpc_chunks {
    uint64_t left;          /* of this chunk's data */
    uint16_t skipped;       /* bytes that are no data, since the last data */
    uint8_t state;          /* private */
    uint8_t digits;         /* of this chunk's size */
    uint8_t done;           /* the last chunk and the trailers have come */
    const char *error;      /* what is wrong; NULL: nothing so far */
} rpc_chunks_t;

/* Takes bytes from *DATA and *LEN, which both move, up to the end of a run of data, which begins at
 * *RUN; returns its size. 0: there is no more of it here; C->done and C->error say why, if it is
 * not that *LEN is used up. */
size_t rpc_chunks_next(rpc_chunks_t *c, const uint8_t **data, size_t *len, const uint8_t **run);

#endif
