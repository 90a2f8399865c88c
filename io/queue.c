/* io/queue.c: a first chunk for little is 1 KB, any other at least 16 KB, and freed as soon
 * as it is empty: an idle channel holds nothing, a lone RTS PDU little, a bulk transfer few
 * large pieces.
 */
#include "io/queue.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_FIRST 1024
#define CHUNK_NEXT 16384

struct rpc_chunk {
    rpc_chunk_t *next;
    size_t start, end, cap;     /* content is data[start..end) */
    uint8_t data[];
};

static rpc_chunk_t *add_chunk(rpc_bytes_t *q, size_t len)
{
    size_t least = q->first || len > CHUNK_FIRST ? CHUNK_NEXT : CHUNK_FIRST;
    size_t cap = len > least ? len : least;
    rpc_chunk_t *chunk = malloc(sizeof(*chunk) + cap);

    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->start = chunk->end = 0;
    chunk->cap = cap;
    if (q->last)
        q->last->next = chunk;
    else
        q->first = chunk;
    q->last = chunk;
    return chunk;
}

/* What does not fit into the last chunk gets a chunk of its own before anything is copied, so
 * that a failure leaves the queue as it was. */
int rpc_bytes_put(rpc_bytes_t *q, const void *data, size_t len)
{
    rpc_chunk_t *last = q->last;
    size_t room = last ? last->cap - last->end : 0;
    size_t head = len < room ? len : room;

    if (len > head) {
        rpc_chunk_t *chunk = add_chunk(q, len - head);

        if (!chunk)
            return -1;
        memcpy(chunk->data, (const uint8_t *)data + head, len - head);
        chunk->end = len - head;
    }
    if (head) {
        memcpy(last->data + last->end, data, head);
        last->end += head;
    }
    q->size += len;
    return 0;
}

const uint8_t *rpc_bytes_peek(const rpc_bytes_t *q, size_t *len)
{
    if (!q->first) {
        *len = 0;
        return NULL;
    }
    *len = q->first->end - q->first->start;
    return q->first->data + q->first->start;
}

static void drop_chunk(rpc_bytes_t *q)
{
    rpc_chunk_t *chunk = q->first;

    q->first = chunk->next;
    if (!q->first)
        q->last = NULL;
    free(chunk);
}

void rpc_bytes_drop(rpc_bytes_t *q, size_t len)
{
    if (!q->first)
        return;
    q->first->start += len;
    q->size -= len;
    if (q->first->start == q->first->end)
        drop_chunk(q);
}

void rpc_bytes_clear(rpc_bytes_t *q)
{
    while (q->first)
        drop_chunk(q);
    q->size = 0;
}

int rpc_pdus_put(rpc_pdus_t *q, const void *pdu, uint32_t size, int counted)
{
    rpc_queued_pdu_t *entry = malloc(sizeof(*entry) + size);

    if (!entry)
        return -1;
    entry->next = NULL;
    entry->size = size;
    entry->counted = counted;
    memcpy(entry->data, pdu, size);
    if (q->last)
        q->last->next = entry;
    else
        q->first = entry;
    q->last = entry;
    q->size += size;
    return 0;
}

void rpc_pdus_drop(rpc_pdus_t *q)
{
    rpc_queued_pdu_t *entry = q->first;

    if (!entry)
        return;
    q->first = entry->next;
    if (!q->first)
        q->last = NULL;
    q->size -= entry->size;
    free(entry);
}

void rpc_pdus_clear(rpc_pdus_t *q)
{
    while (q->first)
        rpc_pdus_drop(q);
}
