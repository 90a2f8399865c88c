/* rpc_words: a record in shared memory that one writes while others read.
 *
 * It is copied word by word with atomic accesses, so that neither the compiler nor the processor
 * tears a word, and in an order that a counter beside the record can vouch for: the counter's store
 * before a record is written is seen before any word of it, and words that are read are read before
 * the counter is looked at again. Records have whole words and no pointers.
 */
#ifndef RPC_WORDS_H
#define RPC_WORDS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef _Atomic uint64_t rpc_word_t;

#define RPC_WORDS_OF(type) (sizeof(type) / sizeof(uint64_t))

static inline void rpc_words_store(rpc_word_t *to, const void *from, size_t words)
{
    const char *bytes = from;
    uint64_t word;

    for (; words; words--, bytes += sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        atomic_store_explicit(to++, word, memory_order_release);
    }
}

static inline void rpc_words_load(const rpc_word_t *from, void *to, size_t words)
{
    char *bytes = to;
    uint64_t word;

    for (; words; words--, bytes += sizeof(word)) {
        word = atomic_load_explicit(from++, memory_order_acquire);
        memcpy(bytes, &word, sizeof(word));
    }
}

/* Copies TEXT into a field of SIZE bytes; what does not fit is cut. The rest of the field is 0. */
static inline void rpc_words_text(char *field, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);

    memcpy(field, text, len);
    memset(field + len, 0, size - len);
}

#endif
