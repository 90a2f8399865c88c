/* shared/row_index.c: a hash table without chains, because a process that dies could leave a broken
 * chain.
 *
 * An entry is one word: a part of the key's hash, the kind and the row. A key has a home, which is
 * one group of slots; its entries lie there or in the groups that follow. The home's reach is the
 * number of these groups. It is doubled before an entry is put farther away, and it never shrinks.
 * A search for a key looks at all groups within the reach. An entry never moves.
 *
 *   add:     write the number of the slot to the row, then take the slot by compare-and-swap
 *   remove:  clear the slot whose number the row has, if it holds this row's entry
 *
 * So whenever a process dies, the rows have the numbers of all slots that it took, and no row has
 * two entries of a kind.
 *
 * The table is divided into parts: rows 0 to 1023 use the first 1024 groups, rows 1024 to 2047 the
 * next, and each following part is twice as large as the one before. So a table with few rows takes
 * little memory, each row finds a free slot, and a search visits one home in each part. A key that
 * very many rows share gets a reach as large as their number; each row then begins at another
 * group.
 */
#include "shared/row_index.h"

/* Slots, 64 bytes: as many as a row has kinds, so that one is always free. */
#define GROUP 8u
#define TRIES 4u            /* groups that are looked at before the reach grows */
#define ROW_BITS 21
#define KIND_BITS 3
#define ROW_MASK ((1u << ROW_BITS) - 1)

_Static_assert(RPC_ROW_INDEX_KINDS <= GROUP && RPC_ROW_INDEX_KINDS <= 1 << KIND_BITS,
               "no free slot");
_Static_assert(RPC_ROW_INDEX_MAX < ROW_MASK, "a row's number and 1 fit");

size_t rpc_row_index_size(uint32_t rows)
{
    size_t slots = GROUP * sizeof(uint64_t);
    size_t kinds = RPC_ROW_INDEX_KINDS * (sizeof(uint32_t) + sizeof(uint8_t));

    return rows * (slots + kinds);
}

void rpc_row_index_init(rpc_row_index_t *index, void *base, uint32_t rows)
{
    index->rows = rows;
    index->slots = base;
    index->at = (_Atomic uint32_t *)(index->slots + (size_t)rows * GROUP);
    index->reach = (_Atomic uint8_t *)(index->at + (size_t)rows * RPC_ROW_INDEX_KINDS);
}

static uint64_t hash_key(unsigned kind, uint64_t key)
{
    return (key + kind) * 0x9e3779b97f4a7c15u;
}

/* Without the row. */
static uint64_t word_of(unsigned kind, uint64_t hash)
{
    return (hash >> (ROW_BITS + KIND_BITS) << KIND_BITS | kind) << ROW_BITS;
}

/* The part of the groups that ROW belongs to: its first group, and how many there are. */
static uint32_t part_of(uint32_t row, uint32_t *count)
{
    uint32_t first = RPC_ROW_INDEX_LEAST;

    if (row < first) {
        *count = first;
        return 0;
    }
    while (row >= 2 * first)
        first *= 2;
    *count = first;
    return first;
}

/* Of COUNT groups, the one at STEP on this key's way, which passes all of them once. Each key
 * goes its own way, so the many groups that a key may fill are no wall for others. */
static uint32_t group_at(uint64_t hash, uint32_t step, uint32_t count)
{
    return ((uint32_t)hash + step * ((uint32_t)(hash >> 32) | 1)) & (count - 1);
}

/* The reach is 2 to the power of this. Each kind has its own, so that a key of one kind that
 * very many rows share makes no look of another kind long. */
static _Atomic uint8_t *power_at(const rpc_row_index_t *index, uint32_t group, unsigned kind)
{
    return &index->reach[group * RPC_ROW_INDEX_KINDS + kind];
}

/* ---- adding and removing ---- */

/* Takes a free slot of the group; 0: there is none. */
static int take_slot(rpc_row_index_t *index, uint32_t group, uint64_t word, _Atomic uint32_t *noted)
{
    uint32_t slot;

    for (slot = group * GROUP; slot < (group + 1) * GROUP; slot++) {
        uint64_t none = 0;

        if (atomic_load(&index->slots[slot]))
            continue;
        atomic_store(noted, slot + 1);
        if (atomic_compare_exchange_strong(&index->slots[slot], &none, word))
            return 1;
    }
    return 0;
}

/* Looks at some of the groups within reach, spread over it, or at all when the reach cannot
 * grow. */
void rpc_row_index_add(rpc_row_index_t *index, unsigned kind, uint64_t key, uint32_t row)
{
    _Atomic uint32_t *noted = &index->at[row * RPC_ROW_INDEX_KINDS + kind];
    uint64_t hash = hash_key(kind, key), word = word_of(kind, hash) | (row + 1);
    uint32_t count, first = part_of(row, &count), home = (uint32_t)hash & (count - 1);
    _Atomic uint8_t *power_of = power_at(index, first + home, kind);
    uint32_t from = row * 0x9e3779b1u >> 12;

    for (;;) {
        uint8_t power = atomic_load(power_of);
        uint32_t reach = 1u << power, tries = reach < TRIES || reach == count ? reach : TRIES, i;

        for (i = 0; i < tries; i++) {
            uint32_t step = (from + i * (reach / tries)) & (reach - 1);

            if (take_slot(index, first + group_at(hash, step, count), word, noted))
                return;
        }
        if (reach < count)
            atomic_compare_exchange_strong(power_of, &power, (uint8_t)(power + 1));
    }
}

void rpc_row_index_remove(rpc_row_index_t *index, unsigned kind, uint32_t row)
{
    _Atomic uint32_t *noted = &index->at[row * RPC_ROW_INDEX_KINDS + kind];
    uint32_t at = atomic_load(noted);
    uint64_t word;

    if (!at)
        return;
    word = atomic_load(&index->slots[at - 1]);
    if ((word & ((1u << (ROW_BITS + KIND_BITS)) - 1)) == ((uint64_t)kind << ROW_BITS | (row + 1)))
        atomic_store(&index->slots[at - 1], 0);
    atomic_store(noted, 0);
}

/* ---- walking ---- */

/* Goes to the part that begins at row FIRST. */
static void enter_part(rpc_row_walk_t *walk, uint32_t first)
{
    walk->first = part_of(first, &walk->count);
    walk->home = (uint32_t)walk->hash & (walk->count - 1);
    walk->reach = 1u << atomic_load(power_at(walk->index, first + walk->home, walk->kind));
    walk->slot = 0;
}

rpc_row_walk_t rpc_row_index_walk(const rpc_row_index_t *index, unsigned kind, uint64_t key,
                                  uint32_t mark)
{
    rpc_row_walk_t walk = { .index = index, .kind = kind, .mark = mark };

    walk.hash = hash_key(kind, key);
    walk.wanted = word_of(kind, walk.hash);
    if (mark)
        enter_part(&walk, 0);
    return walk;
}

int rpc_row_walk_next(rpc_row_walk_t *walk, uint32_t *row)
{
    while (walk->first < walk->mark) {
        while (walk->slot < walk->reach * GROUP) {
            uint32_t group = group_at(walk->hash, walk->slot / GROUP, walk->count);
            uint32_t at = (walk->first + group) * GROUP + walk->slot % GROUP;
            uint64_t word = atomic_load(&walk->index->slots[at]);

            walk->slot++;
            walk->passed++;
            if ((word & ~(uint64_t)ROW_MASK) == walk->wanted && (word & ROW_MASK)) {
                *row = (uint32_t)(word & ROW_MASK) - 1;
                return 1;
            }
        }
        if (walk->first + walk->count >= walk->mark)
            break;
        enter_part(walk, walk->first + walk->count);
    }
    return 0;
}
