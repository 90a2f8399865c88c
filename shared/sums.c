/* shared/sums.c: buckets of slots, found by the id.
 *
 * Each id has a bucket in each of three levels, which are small, larger and large. The next level
 * is looked at only where this bucket has ever been full. So few virtual connections take few pages
 * of memory, of which reading alone would take one.
 *
 * A slot is one word of the id and of its holders, and the sums beside it:
 *
 *   hold:     the word with my id: one holder more, by compare-and-swap, if it has any
 *             else a free word becomes my id's with one holder; then look at the bucket again: of
 *             two that have begun the same id the one in the lower slot stays
 *   release:  add, then one holder less; whoever makes it none owns the slot, and frees it
 *
 * A slot without holders is never held again, so the last one has the sums for itself. If a process
 * dies between two steps, a slot may keep a holder for ever, and its line is never written.
 */
#include "shared/sums.h"

#include <stdatomic.h>

#include <apr_shm.h>

#include "shared/words.h"

#define BUCKET 16u
#define SLOTS (BUCKETS * BUCKET)
#define HOLDERS_BITS 16
#define HOLDERS_MASK ((1u << HOLDERS_BITS) - 1)

static const struct { uint32_t first, buckets; } levels[] = {
    { 0, 256 }, { 256, 4096 }, { 4352, 16384 }
};
#define LEVELS 3u
#define BUCKETS (4352 + 16384)

typedef struct slot {
    _Atomic uint64_t word;      /* 48 bits of the id, and how many hold it; 0: free */
    _Atomic uint64_t in, out;
    _Atomic int64_t began;
    _Atomic uint32_t successors, opened, reason;
} slot_t;

/* What the endpoint says, apart from the slots, since most sites have no endpoint. */
typedef struct said {
    rpc_word_t server[RPC_SUMS_SERVER / sizeof(uint64_t)];
} said_t;

struct rpc_sums {
    _Atomic uint8_t spilled[BUCKETS];   /* an id has had to go to the next level */
    slot_t slots[SLOTS];
    said_t said[SLOTS];
};

apr_status_t rpc_sums_create(rpc_sums_t **sums, apr_pool_t *pool)
{
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, sizeof(rpc_sums_t), NULL, pool);

    if (rv == APR_SUCCESS)
        *sums = apr_shm_baseaddr_get(shm);      /* anonymous, so zeroed */
    return rv;
}

/* ---- holding ---- */

static uint64_t key_of(uint64_t connection)
{
    uint64_t key = connection << HOLDERS_BITS;

    return key ? key : (uint64_t)1 << HOLDERS_BITS;
}

static uint32_t bucket_of(uint64_t connection, unsigned level)
{
    return levels[level].first + (uint32_t)(connection >> 46) % levels[level].buckets;
}

/* One holder more, if it is KEY's and has any. */
static int join_slot(slot_t *slot, uint64_t key)
{
    uint64_t word = atomic_load(&slot->word);

    while ((word & ~(uint64_t)HOLDERS_MASK) == key && (word & HOLDERS_MASK)
           && (word & HOLDERS_MASK) < HOLDERS_MASK)
        if (atomic_compare_exchange_weak(&slot->word, &word, word + 1))
            return 1;
    return 0;
}

static slot_t *join_below(slot_t *bucket, const slot_t *end, uint64_t key)
{
    slot_t *slot;

    for (slot = bucket; slot < end; slot++)
        if (join_slot(slot, key))
            return slot;
    return NULL;
}

static slot_t *take_free(slot_t *bucket, uint64_t key, apr_time_t now)
{
    slot_t *slot;

    for (slot = bucket; slot < bucket + BUCKET; slot++) {
        uint64_t none = 0;

        if (atomic_load(&slot->word)
            || !atomic_compare_exchange_strong(&slot->word, &none, key | 1))
            continue;
        atomic_compare_exchange_strong(&slot->began, &(int64_t){ 0 }, now);
        return slot;
    }
    return NULL;
}

/* The slot is clean before it is free. What nobody has written is left alone, so that it takes no
 * memory. */
static void clean(rpc_sums_t *sums, slot_t *slot)
{
    rpc_word_t *server = sums->said[slot - sums->slots].server;

    if (atomic_load(server))
        atomic_store(server, 0);
    atomic_store(&slot->in, 0);
    atomic_store(&slot->out, 0);
    atomic_store(&slot->began, 0);
    atomic_store(&slot->successors, 0);
    atomic_store(&slot->opened, 0);
    atomic_store(&slot->reason, RPC_REASON_NONE);
    atomic_store(&slot->word, 0);
}

static void look(slot_t *slot, rpc_sum_t *sum)
{
    sum->began = atomic_load(&slot->began);
    sum->in = atomic_load(&slot->in);
    sum->out = atomic_load(&slot->out);
    sum->holders = (uint32_t)(atomic_load(&slot->word) & HOLDERS_MASK);
    sum->successors = atomic_load(&slot->successors);
    sum->opened = atomic_load(&slot->opened);
    sum->reason = (rpc_reason_t)atomic_load(&slot->reason);
}

/* I go where all that come from now on go, too; who has joined my slot meanwhile stays there. */
static slot_t *settle(rpc_sums_t *sums, slot_t *mine, slot_t *bucket, uint64_t key)
{
    slot_t *lower = join_below(bucket, mine, key);

    if (!lower)
        return mine;
    if ((atomic_fetch_sub(&mine->word, 1) & HOLDERS_MASK) == 1)
        clean(sums, mine);
    return lower;
}

/* Where a bucket has spilled, the id may be in the next level. */
static slot_t *join(rpc_sums_t *sums, uint64_t connection, uint64_t key)
{
    slot_t *slot = NULL;
    unsigned level;

    for (level = 0; level < LEVELS && !slot; level++) {
        uint32_t at = bucket_of(connection, level);
        slot_t *bucket = &sums->slots[at * BUCKET];

        slot = join_below(bucket, bucket + BUCKET, key);
        if (!atomic_load(&sums->spilled[at]))
            break;
    }
    return slot;
}

/* In the first bucket that has room. */
static slot_t *begin(rpc_sums_t *sums, uint64_t connection, uint64_t key, apr_time_t now)
{
    slot_t *slot = NULL;
    unsigned level;

    for (level = 0; level < LEVELS && !slot; level++) {
        uint32_t at = bucket_of(connection, level);
        slot_t *bucket = &sums->slots[at * BUCKET];

        slot = take_free(bucket, key, now);
        if (slot)
            return settle(sums, slot, bucket, key);
        atomic_store(&sums->spilled[at], 1);
    }
    return NULL;
}

uint32_t rpc_sums_hold(rpc_sums_t *sums, uint64_t connection, int successor, apr_time_t now,
                       rpc_sum_t *so_far)
{
    uint64_t key = key_of(connection);
    slot_t *slot = join(sums, connection, key);

    *so_far = (rpc_sum_t){ .began = now };
    if (!slot)
        slot = begin(sums, connection, key, now);
    if (!slot)
        return 0;
    atomic_compare_exchange_strong(&slot->began, &(int64_t){ 0 }, now);
    if (successor)
        atomic_fetch_add(&slot->successors, 1);
    look(slot, so_far);
    return (uint32_t)(slot - sums->slots) + 1;
}

void rpc_sums_opened(rpc_sums_t *sums, uint32_t slot)
{
    if (slot)
        atomic_store(&sums->slots[slot - 1].opened, 1);
}

/* ---- the endpoint's word ---- */

/* That of KEY, without holding it. */
static slot_t *find(rpc_sums_t *sums, uint64_t connection, uint64_t key)
{
    unsigned i;

    for (i = 0; i < LEVELS * BUCKET; i++) {
        uint32_t at = bucket_of(connection, i / BUCKET);
        slot_t *slot = &sums->slots[at * BUCKET + i % BUCKET];

        if ((atomic_load(&slot->word) & ~(uint64_t)HOLDERS_MASK) == key)
            return slot;
        if (i % BUCKET == BUCKET - 1 && !atomic_load(&sums->spilled[at]))
            break;
    }
    return NULL;
}

/* One process, which has the virtual connection, writes; the first word, which says that there is a
 * text, last. */
void rpc_sums_served(rpc_sums_t *sums, uint64_t connection, const char *server)
{
    uint64_t key = key_of(connection);
    slot_t *slot = find(sums, connection, key);
    char text[RPC_SUMS_SERVER];
    rpc_word_t *to;

    if (!slot)
        return;
    to = sums->said[slot - sums->slots].server;
    rpc_words_text(text, sizeof(text), server);
    rpc_words_store(to + 1, text + sizeof(*to), RPC_WORDS_OF(text) - 1);
    rpc_words_store(to, text, 1);
}

int rpc_sums_server(const rpc_sums_t *sums, uint32_t at, char to[RPC_SUMS_SERVER])
{
    const rpc_word_t *server = at ? sums->said[at - 1].server : NULL;

    if (!server || !atomic_load(server))
        return 0;
    rpc_words_load(server, to, RPC_SUMS_SERVER / sizeof(uint64_t));
    to[RPC_SUMS_SERVER - 1] = '\0';
    return to[0] != '\0';
}

/* ---- letting go ---- */

int rpc_sums_release(rpc_sums_t *sums, uint32_t at, uint64_t in, uint64_t out, rpc_reason_t reason,
                     rpc_sum_t *all)
{
    uint32_t none = RPC_REASON_NONE;
    slot_t *slot;

    if (!at)
        return 0;
    slot = &sums->slots[at - 1];
    atomic_fetch_add(&slot->in, in);
    atomic_fetch_add(&slot->out, out);
    if (reason != RPC_REASON_RECYCLED)
        atomic_compare_exchange_strong(&slot->reason, &none, (uint32_t)reason);
    if ((atomic_fetch_sub(&slot->word, 1) & HOLDERS_MASK) != 1)
        return 0;
    look(slot, all);
    clean(sums, slot);
    return 1;
}
