/* shared/farm.c: two tables with open addressing. Readers use the one that the turn names; the
 * writer fills the other and counts the turn up. A reader that finds the turn changed looks again,
 * since its table may be the one that is being filled.
 */
#include "shared/farm.h"

#include <stdatomic.h>
#include <string.h>

#include <apr_general.h>
#include <apr_shm.h>

#include "base/clock.h"
#include "shared/words.h"

#define SLOTS (2 * RPC_FARM_ENTRIES)    /* a power of 2 */
#define SLOTS_LEAST 1024u
#define KIND_BITS 3
#define TRIES 100                       /* reads of what is being written */
#define PROBES 16                       /* of the noted */

_Static_assert(RPC_FARM_KINDS <= 1 << KIND_BITS, "a key holds the kind");
_Static_assert(sizeof(rpc_farm_facts_t) % sizeof(uint64_t) == 0, "whole words");

typedef struct half {
    _Atomic uint64_t slots;             /* that are used; 0: the table is empty */
    rpc_word_t words[SLOTS][RPC_WORDS_OF(rpc_farm_entry_t)];
} half_t;

typedef struct noted {
    _Atomic uint64_t hash, count;
    _Atomic int64_t until;
} noted_t;

struct rpc_farm_table {
    uint64_t machine;
    _Atomic uint64_t next;
    _Atomic uint64_t turn;
    _Atomic int64_t good_until;
    _Atomic uint32_t writer;            /* pid; 0: nobody */
    _Atomic int64_t lease;              /* until then */
    rpc_word_t version;                 /* of the facts; odd: they are being written */
    rpc_word_t facts[RPC_WORDS_OF(rpc_farm_facts_t)];
    noted_t noted[RPC_FARM_NOTED];
    half_t halves[2];
};

apr_status_t rpc_farm_create(rpc_farm_t **out, apr_pool_t *pool)
{
    rpc_farm_t *farm = apr_pcalloc(pool, sizeof(*farm));
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, sizeof(*farm->table), NULL, pool);

    if (rv != APR_SUCCESS)
        return rv;
    farm->table = apr_shm_baseaddr_get(shm);    /* anonymous, so zeroed */
    *out = farm;
    return apr_generate_random_bytes((unsigned char *)&farm->table->machine, sizeof(uint64_t));
}

uint64_t rpc_farm_machine(const rpc_farm_t *farm)
{
    return farm->table->machine;
}

uint64_t rpc_farm_hash(const rpc_farm_t *farm, const void *data, size_t size)
{
    uint64_t h = apr_siphash24(data, size, farm->key);

    return h ? h : 1;
}

uint64_t rpc_farm_key(rpc_farm_kind_t kind, uint64_t hash)
{
    return hash << KIND_BITS | kind;
}

/* ---- the table ---- */

/* Where the search for KEY begins in a table of so many SLOTS. */
static uint64_t home_of(uint64_t key, uint64_t slots)
{
    return (key * 0x9e3779b97f4a7c15u >> 20) & (slots - 1);
}

static int look_in(const half_t *half, uint64_t key, rpc_farm_entry_t *entry)
{
    uint64_t slots = atomic_load(&half->slots), i, home = slots ? home_of(key, slots) : 0;

    for (i = 0; i < slots; i++) {
        rpc_words_load(half->words[(home + i) & (slots - 1)], entry, RPC_WORDS_OF(*entry));
        if (entry->key == key || !entry->key)
            return entry->key == key;
    }
    return 0;
}

int rpc_farm_find(const rpc_farm_t *farm, rpc_farm_kind_t kind, uint64_t hash,
                  rpc_farm_entry_t *entry)
{
    uint64_t key = rpc_farm_key(kind, hash), turn;
    int tries, found;

    if (!farm || !hash || atomic_load(&farm->table->good_until) <= rpc_clock_now())
        return 0;
    for (tries = 0; tries < TRIES; tries++) {
        turn = atomic_load(&farm->table->turn);
        found = look_in(&farm->table->halves[turn & 1], key, entry);
        if (atomic_load(&farm->table->turn) == turn)
            return found;
    }
    return 0;
}

static half_t *idle_half(const rpc_farm_t *farm)
{
    return &farm->table->halves[(atomic_load(&farm->table->turn) + 1) & 1];
}

void rpc_farm_begin(const rpc_farm_t *farm, size_t count)
{
    static const rpc_farm_entry_t none;
    half_t *half = idle_half(farm);
    uint64_t slots = SLOTS_LEAST, i;

    while (slots < 2 * count && slots < SLOTS)
        slots *= 2;
    for (i = 0; i < slots; i++)
        rpc_words_store(half->words[i], &none, RPC_WORDS_OF(none));
    atomic_store(&half->slots, slots);
}

void rpc_farm_join(rpc_farm_entry_t *entry, const rpc_farm_entry_t *other)
{
    switch (entry->key & ((1 << KIND_BITS) - 1)) {
    case RPC_FARM_COOKIE:
        entry->a = entry->a == other->a ? entry->a : 0;
        entry->b |= other->b;
        break;
    case RPC_FARM_GUESSES:
        entry->a += other->a;
        entry->b = entry->b > other->b ? entry->b : other->b;
        break;
    case RPC_FARM_SERVER:
        if (other->b > entry->b)
            *entry = *other;
        break;
    case RPC_FARM_DRAINED:
        if (other->a > entry->a)
            *entry = *other;
        break;
    default:
        entry->a += other->a;
        entry->b += other->b;
    }
}

/* There are at least twice as many slots as entries, so one is free. */
void rpc_farm_put(const rpc_farm_t *farm, const rpc_farm_entry_t *entry)
{
    half_t *half = idle_half(farm);
    uint64_t slots = atomic_load(&half->slots), i = home_of(entry->key, slots);
    rpc_farm_entry_t found;

    for (;; i = (i + 1) & (slots - 1)) {
        rpc_words_load(half->words[i], &found, RPC_WORDS_OF(found));
        if (!found.key)
            found = *entry;
        else if (found.key == entry->key)
            rpc_farm_join(&found, entry);
        else
            continue;
        rpc_words_store(half->words[i], &found, RPC_WORDS_OF(found));
        return;
    }
}

void rpc_farm_publish(const rpc_farm_t *farm)
{
    atomic_fetch_add(&farm->table->turn, 1);
}

void rpc_farm_good_until(const rpc_farm_t *farm, apr_time_t until)
{
    atomic_store(&farm->table->good_until, until);
}

/* ---- the writer ---- */

int rpc_farm_lease(const rpc_farm_t *farm, uint32_t pid, apr_interval_time_t time)
{
    struct rpc_farm_table *table = farm->table;
    uint32_t writer = atomic_load(&table->writer);
    apr_time_t now = rpc_clock_now();

    if (writer != pid && writer && atomic_load(&table->lease) > now)
        return 0;
    if (writer != pid && !atomic_compare_exchange_strong(&table->writer, &writer, pid))
        return 0;
    atomic_store(&table->lease, now + time);
    return 1;
}

void rpc_farm_yield(const rpc_farm_t *farm, uint32_t pid)
{
    atomic_compare_exchange_strong(&farm->table->writer, &pid, 0);
}

uint64_t rpc_farm_next(const rpc_farm_t *farm)
{
    return atomic_fetch_add(&farm->table->next, 1) + 1;
}

/* ---- what was noted here ---- */

/* The slot of HASH; else the one whose count ends first, which is free if that has ended. */
static noted_t *noted_slot(const rpc_farm_t *farm, uint64_t hash)
{
    noted_t *first = NULL;
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        noted_t *slot = &farm->table->noted[(hash + i) % RPC_FARM_NOTED];

        if (atomic_load(&slot->hash) == hash)
            return slot;
        if (!first || atomic_load(&slot->until) < atomic_load(&first->until))
            first = slot;
    }
    return first;
}

/* Two processes that take one slot at the same time lose a failure, no more. */
void rpc_farm_guess(const rpc_farm_t *farm, uint64_t hash, apr_interval_time_t time)
{
    noted_t *slot = noted_slot(farm, hash);
    apr_time_t now = rpc_clock_now();

    if (atomic_exchange(&slot->hash, hash) != hash || atomic_load(&slot->until) <= now) {
        atomic_store(&slot->count, 0);
        atomic_store(&slot->until, now + time);
    }
    atomic_fetch_add(&slot->count, 1);
}

size_t rpc_farm_noted(const rpc_farm_t *farm, rpc_farm_entry_t *to)
{
    apr_time_t now = rpc_clock_now();
    size_t n = 0;
    unsigned i;

    for (i = 0; i < RPC_FARM_NOTED; i++) {
        noted_t *slot = &farm->table->noted[i];
        int64_t until = atomic_load(&slot->until);

        if (until > now)
            to[n++] = (rpc_farm_entry_t){
                rpc_farm_key(RPC_FARM_GUESSES, atomic_load(&slot->hash)),
                atomic_load(&slot->count), (uint64_t)until
            };
    }
    return n;
}

/* ---- for people ---- */

void rpc_farm_tell(const rpc_farm_t *farm, const rpc_farm_facts_t *facts)
{
    struct rpc_farm_table *table = farm->table;
    uint64_t version = atomic_load(&table->version) | 1;

    atomic_store_explicit(&table->version, version, memory_order_relaxed);
    rpc_words_store(table->facts, facts, RPC_WORDS_OF(*facts));
    atomic_store(&table->version, version + 1);
}

int rpc_farm_read(const rpc_farm_t *farm, rpc_farm_facts_t *facts)
{
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        uint64_t version = atomic_load(&farm->table->version);

        if (version & 1)
            continue;
        rpc_words_load(farm->table->facts, facts, RPC_WORDS_OF(*facts));
        if (atomic_load(&farm->table->version) == version)
            return 1;
    }
    return 0;
}
