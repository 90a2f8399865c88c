/* rpc_block: a struct and its texts in one block of memory.
 *
 * What fills the struct runs twice: first with an empty block, which only counts the bytes, then
 * with the memory for them.
 */
#ifndef RPC_BLOCK_H
#define RPC_BLOCK_H

#include <string.h>

#include <apr_general.h>

/* BASE NULL: it only counts. */
typedef struct rpc_block {
    char *base;
    size_t size;            /* so far */
} rpc_block_t;

/* A copy of SIZE bytes, aligned for anything; NULL while it counts. */
static inline void *rpc_block_put(rpc_block_t *b, const void *data, size_t size)
{
    char *at;

    b->size = APR_ALIGN_DEFAULT(b->size);
    at = b->base ? b->base + b->size : NULL;
    b->size += size;
    return at && size ? memcpy(at, data, size) : at;
}

/* A copy of a text, which may be NULL. */
static inline const char *rpc_block_text(rpc_block_t *b, const char *text)
{
    size_t size = text ? strlen(text) + 1 : 0;
    char *at = b->base && text ? b->base + b->size : NULL;

    b->size += size;
    return at ? memcpy(at, text, size) : NULL;
}

#endif
