/* io/queue.c: the first chunk of a byte queue has 1 KB when few bytes are put, any other chunk has
 * at least 16 KB, and a chunk is freed as soon as it is empty. So an idle channel holds no memory,
 * a single RTS PDU takes little, and a bulk transfer needs few large pieces. PDUs lie in packs, one
 * behind the other and each in one piece. Lent bytes are chunks that have no room of their own.
 */
#include "io/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"

#define CHUNK_FIRST 1024
#define CHUNK_NEXT 16384

struct rpc_chunk {
    rpc_chunk_t *next;
    const uint8_t *bytes;       /* data, or where lent bytes lie */
    size_t start, end, cap;     /* content is bytes[start..end) */
    uint8_t data[];
};

static rpc_chunk_t *new_chunk(size_t cap)
{
    rpc_chunk_t *chunk = malloc(sizeof(*chunk) + cap);

    if (chunk)
        *chunk = (rpc_chunk_t){ .bytes = chunk->data, .cap = cap };
    return chunk;
}

static void append_chunk(rpc_bytes_t *q, rpc_chunk_t *chunk)
{
    if (q->last)
        q->last->next = chunk;
    else
        q->first = chunk;
    q->last = chunk;
}

static rpc_chunk_t *add_chunk(rpc_bytes_t *q, size_t len)
{
    size_t least = q->first || len > CHUNK_FIRST ? CHUNK_NEXT : CHUNK_FIRST;
    rpc_chunk_t *chunk = new_chunk(len > least ? len : least);

    if (chunk)
        append_chunk(q, chunk);
    return chunk;
}

/* A new chunk for the bytes that do not fit into the last one is made before anything is copied, so
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

static int is_lent(const rpc_chunk_t *chunk)
{
    return chunk->bytes != chunk->data;
}

int rpc_bytes_lend(rpc_bytes_t *q, const void *data, size_t len)
{
    rpc_chunk_t *chunk = q->last;

    if (!len)
        return 0;
    if (!chunk || !is_lent(chunk) || chunk->bytes + chunk->end != data) {
        chunk = new_chunk(0);
        if (!chunk)
            return -1;
        chunk->bytes = data;
        append_chunk(q, chunk);
    }
    chunk->end += len;
    chunk->cap = chunk->end;
    q->size += len;
    return 0;
}

int rpc_bytes_keep(rpc_bytes_t *q)
{
    rpc_chunk_t **link;

    for (link = &q->first; *link; link = &(*link)->next) {
        rpc_chunk_t *lent = *link, *copy;
        size_t len = lent->end - lent->start;

        if (!is_lent(lent))
            continue;
        copy = new_chunk(len);
        if (!copy)
            return -1;
        memcpy(copy->data, lent->bytes + lent->start, len);
        copy->end = len;
        copy->next = lent->next;
        *link = copy;
        if (q->last == lent)
            q->last = copy;
        free(lent);
    }
    return 0;
}

const uint8_t *rpc_bytes_peek(const rpc_bytes_t *q, size_t *len)
{
    if (!q->first) {
        *len = 0;
        return NULL;
    }
    *len = q->first->end - q->first->start;
    return q->first->bytes + q->first->start;
}

int rpc_bytes_gather(const rpc_bytes_t *q, struct iovec *pieces, int max)
{
    const rpc_chunk_t *chunk;
    int count = 0;

    for (chunk = q->first; chunk && count < max; chunk = chunk->next, count++) {
        pieces[count].iov_base = (void *)(chunk->bytes + chunk->start);
        pieces[count].iov_len = chunk->end - chunk->start;
    }
    return count;
}

size_t rpc_pieces_size(const struct iovec *pieces, int count)
{
    size_t size = 0;

    while (count--)
        size += pieces++->iov_len;
    return size;
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
    q->size -= len;
    while (q->first && len >= q->first->end - q->first->start) {
        len -= q->first->end - q->first->start;
        drop_chunk(q);
    }
    if (len)
        q->first->start += len;
}

void rpc_bytes_clear(rpc_bytes_t *q)
{
    while (q->first)
        drop_chunk(q);
    q->size = 0;
}

/* ---- PDUs ---- */

/* Two bytes stand before each PDU: its length, and in the top bit whether it is counted. A length
 * that does not fit there follows in four more bytes. So even a PDU of 16 bytes takes little more
 * memory than 16 bytes. */
#define COUNTED 0x8000u
#define LONG 0x7fffu
#define MARK_MAX 6

/* A new pack has a sixteenth of the bytes that are queued, so its unused part is small in
 * comparison. */
#define PACK_LEAST 512
#define PACK_MOST 8192

struct rpc_pack {
    rpc_pack_t *next, *prev;
    size_t start, end, cap;     /* content is data[start..end) */
    uint8_t data[];
};

static size_t write_mark(uint8_t *at, uint32_t size, int counted)
{
    uint16_t mark = (uint16_t)((size < LONG ? size : LONG) | (counted ? COUNTED : 0));

    memcpy(at, &mark, sizeof(mark));
    if (size < LONG)
        return sizeof(mark);
    memcpy(at + sizeof(mark), &size, sizeof(size));
    return sizeof(mark) + sizeof(size);
}

static size_t read_mark(const uint8_t *at, uint32_t *size, int *counted)
{
    uint16_t mark;

    memcpy(&mark, at, sizeof(mark));
    *counted = (mark & COUNTED) != 0;
    *size = mark & LONG;
    if (*size < LONG)
        return sizeof(mark);
    memcpy(size, at + sizeof(mark), sizeof(*size));
    return sizeof(mark) + sizeof(*size);
}

/* Frees the unused end of the last pack, when the next PDU does not fit there. */
static void trim_last(rpc_pdus_t *q)
{
    rpc_pack_t *pack = q->last ? realloc(q->last, sizeof(*pack) + q->last->end) : NULL;

    if (!pack)
        return;
    pack->cap = pack->end;
    q->last = pack;
    if (pack->prev)
        pack->prev->next = pack;
    else
        q->first = pack;
}

static rpc_pack_t *add_pack(rpc_pdus_t *q, size_t need)
{
    size_t cap = q->size / 16 < PACK_LEAST ? PACK_LEAST
               : q->size / 16 > PACK_MOST  ? PACK_MOST
                                           : q->size / 16;
    rpc_pack_t *pack;

    if (cap < need)
        cap = need;
    pack = malloc(sizeof(*pack) + cap);
    if (!pack)
        return NULL;
    trim_last(q);
    *pack = (rpc_pack_t){ .cap = cap };
    RPC_QUEUE_APPEND(q, pack);
    return pack;
}

int rpc_pdus_put(rpc_pdus_t *q, const void *pdu, uint32_t size, int counted)
{
    uint8_t mark[MARK_MAX];
    size_t head = write_mark(mark, size, counted);
    rpc_pack_t *pack = q->last;

    if ((!pack || pack->cap - pack->end < head + size) && !(pack = add_pack(q, head + size)))
        return -1;
    memcpy(pack->data + pack->end, mark, head);
    memcpy(pack->data + pack->end + head, pdu, size);
    pack->end += head + size;
    q->size += size;
    return 0;
}

rpc_queued_pdu_t rpc_pdus_peek(const rpc_pdus_t *q)
{
    const uint8_t *at = q->first->data + q->first->start;
    rpc_queued_pdu_t pdu;

    pdu.data = at + read_mark(at, &pdu.size, &pdu.counted);
    return pdu;
}

void rpc_pdus_drop(rpc_pdus_t *q)
{
    rpc_pack_t *pack = q->first;
    rpc_queued_pdu_t pdu;

    if (!pack)
        return;
    pdu = rpc_pdus_peek(q);
    q->size -= pdu.size;
    pack->start = (size_t)(pdu.data - pack->data) + pdu.size;
    if (pack->start < pack->end)
        return;
    RPC_QUEUE_REMOVE(q, pack);
    free(pack);
}

void rpc_pdus_clear(rpc_pdus_t *q)
{
    while (q->first)
        rpc_pdus_drop(q);
}
