/* row_index_test: what an index finds, how far it searches, and that threads which add and remove
 * entries never hide an entry from a thread that searches. */
#include "shared/row_index.h"

#include <pthread.h>

#include "unit.h"

#define ROWS 131072u
#define KINDS RPC_ROW_INDEX_KINDS
#define THREADS 4
#define THREAD_ROWS 300     /* of each */
#define THREAD_ROUNDS 20000

static void index_new(rpc_row_index_t *index)
{
    rpc_row_index_init(index, aligned_alloc(64, rpc_row_index_size(ROWS)), ROWS);
    memset((void *)index->slots, 0, rpc_row_index_size(ROWS));
}

static uint64_t key_of(uint32_t n)
{
    uint64_t key = (n + 1) * 0x9e3779b97f4a7c15u;

    key = (key ^ key >> 31) * 0xbf58476d1ce4e5b9u;
    return key ^ key >> 29;
}

/* Returns how many rows are found. SEEN counts each row. */
static uint32_t find(const rpc_row_index_t *index, unsigned kind, uint64_t key, uint32_t *passed,
                     uint8_t *seen)
{
    rpc_row_walk_t walk = rpc_row_index_walk(index, kind, key, ROWS);
    uint32_t row, n = 0;

    for (; rpc_row_walk_next(&walk, &row); n++) {
        if (seen)
            seen[row]++;
    }
    if (passed)
        *passed = walk.passed;
    return n;
}

/* Tests that exactly the rows of MODEL are found. */
static int agrees(const rpc_row_index_t *index, uint8_t model[KINDS][4000], unsigned kind,
                  uint8_t key)
{
    static uint8_t seen[ROWS];
    uint32_t row;

    memset(seen, 0, sizeof(seen));
    find(index, kind, key_of(key), NULL, seen);
    for (row = 0; row < 4000; row++) {
        if (seen[row] != (model[kind][row] == key))
            return 0;
    }
    return 1;
}

static void test_model(void)
{
    static uint8_t model[KINDS][4000];      /* a key, or 0 */
    rpc_row_index_t index;
    unsigned seed = 5, i, wrong = 0;

    index_new(&index);
    for (i = 0; i < 300000; i++) {
        unsigned kind = unit_random(&seed) % KINDS, row = unit_random(&seed) % 4000;
        uint8_t key = (uint8_t)(1 + unit_random(&seed) % 200);

        if (model[kind][row])
            rpc_row_index_remove(&index, kind, row);
        else
            rpc_row_index_add(&index, kind, key_of(key), row);
        model[kind][row] = model[kind][row] ? 0 : key;
        if (i % 100 == 0)
            wrong += !agrees(&index, model, kind, key);
    }
    is_int(wrong, 0, "rows that come and go, of 8 kinds, under 200 keys");
    for (i = 0; i < 4000 * KINDS; i++) {
        rpc_row_index_remove(&index, i % KINDS, i / KINDS);
        rpc_row_index_remove(&index, i % KINDS, i / KINDS);
    }
    for (i = 0; i < ROWS * 8; i++)
        wrong += index.slots[i] != 0;
    is_int(wrong, 0, "nothing is left when all are removed, and again");
    free((void *)index.slots);
}

static void test_bounds(void)
{
    static uint8_t seen[ROWS];
    rpc_row_index_t index;
    uint32_t row, passed, most = 0, wrong = 0;
    rpc_row_walk_t walk;

    index_new(&index);
    for (row = 0; row < 100000; row++) {
        rpc_row_index_add(&index, 0, key_of(row / 2), row);     /* halves */
        rpc_row_index_add(&index, 1, key_of(1), row);           /* all rows have the same address */
        rpc_row_index_add(&index, 2, key_of(row / 100), row);
    }
    for (row = 0; row < 100000; row += 2) {
        wrong += find(&index, 0, key_of(row / 2), &passed, NULL) != 2;
        most = passed > most ? passed : most;
    }
    is_int(wrong, 0, "100,000 rows: each pair is found");
    ok(most < 1000, "and no look for one passes more than %u slots", most);
    wrong = find(&index, 2, key_of(77), &passed, NULL) != 100;
    ok(!wrong && passed < 2000, "100 rows of one user: %u slots", passed);
    find(&index, 1, key_of(1), NULL, seen);
    for (row = 0; row < ROWS; row++)
        wrong += seen[row] != (row < 100000);
    is_int(wrong, 0, "all rows under one key are found, once each");
    walk = rpc_row_index_walk(&index, 1, key_of(1), ROWS);
    for (row = 0; row < 50; row++)
        rpc_row_walk_next(&walk, &passed);
    ok(walk.passed < 2000, "who only wants to know whether there are 50 passes %u slots",
       walk.passed);
    ok(find(&index, 0, key_of(99999), NULL, NULL) == 0, "what was not added is not found");
    free((void *)index.slots);
}

/* The process of the row died after it had noted a slot, and another row has taken this slot. */
static void test_begun(void)
{
    rpc_row_index_t index;

    index_new(&index);
    rpc_row_index_add(&index, 3, key_of(1), 17);
    index.at[18 * KINDS + 3] = index.at[17 * KINDS + 3];
    rpc_row_index_remove(&index, 3, 18);
    is_int(find(&index, 3, key_of(1), NULL, NULL), 1, "another row's entry stays");
    is_int((long long)index.at[18 * KINDS + 3], 0, "and nothing is noted any more");
    free((void *)index.slots);
}

typedef struct crowd {
    rpc_row_index_t index;
    _Atomic uint32_t version[THREADS * THREAD_ROWS];   /* odd: the row is entered */
    _Atomic uint32_t missed;
} crowd_t;

typedef struct member {
    crowd_t *crowd;
    unsigned number;
    pthread_t thread;
} member_t;

/* A row that was entered before the search began, and is still entered, has to be found. */
static void look(crowd_t *c)
{
    uint32_t before[THREADS * THREAD_ROWS], row;
    uint8_t seen[THREADS * THREAD_ROWS] = { 0 };

    for (row = 0; row < THREADS * THREAD_ROWS; row++)
        before[row] = atomic_load(&c->version[row]);
    find(&c->index, 0, key_of(1), NULL, seen);
    for (row = 0; row < THREADS * THREAD_ROWS; row++) {
        if (before[row] % 2 && atomic_load(&c->version[row]) == before[row] && seen[row] != 1)
            atomic_fetch_add(&c->missed, 1);
    }
}

static void *run_member(void *ctx)
{
    member_t *m = ctx;
    crowd_t *c = m->crowd;
    unsigned seed = m->number + 1, i;

    for (i = 0; i < THREAD_ROUNDS; i++) {
        uint32_t row = unit_random(&seed) % THREAD_ROWS * THREADS + m->number;

        if (atomic_load(&c->version[row]) % 2) {
            atomic_fetch_add(&c->version[row], 1);
            rpc_row_index_remove(&c->index, 0, row);
        }
        else {
            rpc_row_index_add(&c->index, 0, key_of(1), row);
            atomic_fetch_add(&c->version[row], 1);
        }
        if (i % 64 == 0)
            look(c);
    }
    return NULL;
}

static void test_crowd(void)
{
    static crowd_t c;
    member_t members[THREADS];
    unsigned i;

    index_new(&c.index);
    for (i = 0; i < THREADS; i++) {
        members[i] = (member_t){ .crowd = &c, .number = i };
        pthread_create(&members[i].thread, NULL, run_member, &members[i]);
    }
    for (i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);
    is_int(c.missed, 0, "who is entered is found, whatever others do");
    free((void *)c.index.slots);
}

int main(void)
{
    test_model();
    test_bounds();
    test_begun();
    test_crowd();
    return unit_done();
}
