/* shared/board.c: rows as words, each row with a counter. The memory is as large as the greatest
 * number of channels needs; what no channel ever used takes no memory of the machine.
 *
 * The texts of a row lie one behind the other, each with its NUL, since most are much shorter than
 * they may be. What does not fit into the row itself lies in a second part of the memory, which is
 * hardly ever used.
 */
#include "shared/board.h"

#include <errno.h>
#include <sys/mman.h>

#include "shared/words.h"

#define TRIES 100       /* reads of a row that is being written */
#define LEAST 1024u     /* rows */

#define NUMBERS offsetof(rpc_board_row_t, serial)   /* behind the texts */
#define NEAR 168                                    /* bytes of texts in the row itself */
#define FAR (NUMBERS - NEAR)

_Static_assert((sizeof(rpc_board_row_t) - NUMBERS) % sizeof(uint64_t) == 0, "whole words");
_Static_assert(NEAR % sizeof(uint64_t) == 0 && FAR % sizeof(uint64_t) == 0, "whole words");

typedef struct shared_row {
    rpc_meter_t meter;
    rpc_word_t version;     /* odd: it is being written */
    rpc_word_t numbers[(sizeof(rpc_board_row_t) - NUMBERS) / sizeof(uint64_t)];
    rpc_word_t near[NEAR / sizeof(uint64_t)];
} __attribute__((aligned(64))) shared_row_t;

typedef struct far {
    rpc_word_t words[FAR / sizeof(uint64_t)];
} far_t;

struct rpc_board {
    uint32_t count;
    _Atomic uint32_t *mark; /* shared: no row at or above it was ever in use */
    shared_row_t *rows;     /* shared */
    far_t *far;             /* shared: what the row of the same number has no room for */
};

/* The system does not set memory aside for rows that nobody uses. They are never unmapped: httpd
 * destroys the pool of the process when this module is unloaded already, so that no cleanup can. */
static void *map_rows(uint32_t count)
{
    size_t size = (count + 1) * sizeof(shared_row_t) + count * sizeof(far_t);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return base == MAP_FAILED ? NULL : base;
}

apr_status_t rpc_board_create(rpc_board_t **out, uint32_t most, apr_pool_t *pool)
{
    rpc_board_t *board = apr_pcalloc(pool, sizeof(*board));
    void *base;

    for (board->count = most; !(base = map_rows(board->count)); board->count /= 2)
        if (board->count <= LEAST)
            return errno;
    board->mark = base;     /* in the place of a row, alone on its cache line */
    board->rows = (shared_row_t *)base + 1;
    board->far = (far_t *)(board->rows + board->count);
    *out = board;
    return APR_SUCCESS;
}

/* ---- texts ---- */

static const struct {
    size_t at, size;
} TEXTS[] = {
    { offsetof(rpc_board_row_t, user), RPC_BOARD_USER },
    { offsetof(rpc_board_row_t, client), RPC_BOARD_CLIENT },
    { offsetof(rpc_board_row_t, vhost), RPC_BOARD_VHOST },
    { offsetof(rpc_board_row_t, target), RPC_BOARD_TARGET },
    { offsetof(rpc_board_row_t, server), RPC_BOARD_SERVER },
};
#define TEXT_COUNT (sizeof(TEXTS) / sizeof(TEXTS[0]))

/* Returns how many bytes of PACKED the texts of ROW take. */
static size_t pack(const rpc_board_row_t *row, char packed[NUMBERS])
{
    size_t i, used = 0;

    for (i = 0; i < TEXT_COUNT; i++) {
        const char *text = (const char *)row + TEXTS[i].at;
        size_t len = strnlen(text, TEXTS[i].size - 1);

        memcpy(packed + used, text, len);
        packed[used + len] = '\0';
        used += len + 1;
    }
    return used;
}

static int has_all_texts(const char *packed, size_t size)
{
    const char *at = packed, *end = packed + size;
    size_t i;

    for (i = 0; i < TEXT_COUNT && at; i++) {
        at = memchr(at, '\0', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    return at != NULL;
}

/* PACKED may be anything when its writer has died, but ends with a NUL. */
static void unpack(const char packed[NUMBERS + 1], rpc_board_row_t *row)
{
    const char *at = packed, *last = packed + NUMBERS;
    size_t i;

    for (i = 0; i < TEXT_COUNT; i++) {
        rpc_words_text((char *)row + TEXTS[i].at, TEXTS[i].size, at);
        at += strlen(at);
        at = at < last ? at + 1 : last;
    }
}

/* ---- the owner of a row ---- */

static shared_row_t *row_at(rpc_board_t *board, int row)
{
    return (uint32_t)row < board->count ? &board->rows[row] : NULL;
}

static uint64_t begin_writing(shared_row_t *row)
{
    uint64_t version = atomic_load_explicit(&row->version, memory_order_relaxed) | 1;

    atomic_store_explicit(&row->version, version, memory_order_relaxed);
    return version;
}

static void end_writing(shared_row_t *row, uint64_t version)
{
    atomic_store_explicit(&row->version, version + 1, memory_order_release);
}

static void write_numbers(shared_row_t *row, const rpc_board_row_t *mine)
{
    uint64_t version = begin_writing(row);

    rpc_words_store(row->numbers, (const char *)mine + NUMBERS, RPC_WORDS_OF(row->numbers));
    end_writing(row, version);
}

static void write_row(rpc_board_t *board, shared_row_t *row, const rpc_board_row_t *mine)
{
    char packed[NUMBERS] = "";
    size_t used = pack(mine, packed);
    uint64_t version = begin_writing(row);

    rpc_words_store(row->numbers, (const char *)mine + NUMBERS, RPC_WORDS_OF(row->numbers));
    rpc_words_store(row->near, packed, RPC_WORDS_OF(row->near));
    if (used > NEAR)
        rpc_words_store(board->far[row - board->rows].words, packed + NEAR, RPC_WORDS_OF(far_t));
    end_writing(row, version);
}

static void load_numbers(const shared_row_t *row, rpc_board_row_t *copy)
{
    rpc_words_load(row->numbers, (char *)copy + NUMBERS, RPC_WORDS_OF(row->numbers));
}

static void load_texts(const rpc_board_t *board, const shared_row_t *row, rpc_board_row_t *copy)
{
    char packed[NUMBERS + 1] = "";

    rpc_words_load(row->near, packed, RPC_WORDS_OF(row->near));
    if (!has_all_texts(packed, NEAR))
        rpc_words_load(board->far[row - board->rows].words, packed + NEAR, RPC_WORDS_OF(far_t));
    unpack(packed, copy);
}

rpc_metered_t rpc_board_enter(rpc_board_t *board, int at, const rpc_board_row_t *first)
{
    shared_row_t *row = row_at(board, at);
    uint32_t mark = atomic_load(board->mark);
    rpc_board_row_t mine = *first;

    if (!row)
        return (rpc_metered_t){ NULL, 0, 0, 0 };
    while (mark <= (uint32_t)at
           && !atomic_compare_exchange_weak(board->mark, &mark, (uint32_t)at + 1))
        ;
    mine.serial = (atomic_load(&row->version) | 1) + 1;     /* the row has never had it before */
    mine.in_before = atomic_load(&row->meter.in);
    mine.out_before = atomic_load(&row->meter.out);
    atomic_store(&row->meter.heard, mine.since);
    atomic_store(&row->meter.to_end, 0);
    atomic_store(&row->meter.ends, 0);
    write_row(board, row, &mine);
    return (rpc_metered_t){ &row->meter, mine.serial, mine.in_before, mine.out_before };
}

void rpc_board_claimed(rpc_board_t *board, int at, uint64_t connection, int64_t began,
                       uint32_t successors, uint32_t slot)
{
    shared_row_t *row = row_at(board, at);
    rpc_board_row_t mine;

    if (!row)
        return;
    load_numbers(row, &mine);
    mine.connection = connection;
    mine.began = began;
    mine.successors = successors;
    mine.slot = slot;
    if (mine.state < RPC_BOARD_CONNECTING)
        mine.state = RPC_BOARD_CONNECTING;
    write_numbers(row, &mine);
}

void rpc_board_reached(rpc_board_t *board, int at, const char *server)
{
    shared_row_t *row = row_at(board, at);
    rpc_board_row_t mine;

    if (!row)
        return;
    load_numbers(row, &mine);
    load_texts(board, row, &mine);
    if (server)
        rpc_words_text(mine.server, sizeof(mine.server), server);
    if (mine.state < RPC_BOARD_WAITING)
        mine.state = RPC_BOARD_WAITING;
    write_row(board, row, &mine);
}

void rpc_board_opened(rpc_board_t *board, int at)
{
    shared_row_t *row = row_at(board, at);
    rpc_board_row_t mine;

    if (!row)
        return;
    load_numbers(row, &mine);
    mine.state = RPC_BOARD_OPEN;
    write_numbers(row, &mine);
}

void rpc_board_refused(rpc_board_t *board, int at, uint32_t refused)
{
    shared_row_t *row = row_at(board, at);
    rpc_board_row_t mine;

    if (!row)
        return;
    load_numbers(row, &mine);
    mine.refused = refused;
    write_numbers(row, &mine);
}

void rpc_board_forget_slot(rpc_board_t *board, int at)
{
    shared_row_t *row = row_at(board, at);
    rpc_board_row_t mine;

    if (!row)
        return;
    load_numbers(row, &mine);
    mine.slot = 0;
    write_numbers(row, &mine);
}

void rpc_board_leave(rpc_board_t *board, int at)
{
    static const rpc_board_row_t nobody;
    shared_row_t *row = row_at(board, at);

    if (row)
        write_row(board, row, &nobody);
}

/* ---- anybody ---- */

uint32_t rpc_board_mark(const rpc_board_t *board)
{
    return atomic_load(board->mark);
}

static void load(const rpc_board_t *board, const shared_row_t *row, rpc_board_view_t *view)
{
    load_numbers(row, &view->row);
    load_texts(board, row, &view->row);
    view->in = atomic_load_explicit(&row->meter.in, memory_order_acquire) - view->row.in_before;
    view->out = atomic_load_explicit(&row->meter.out, memory_order_acquire) - view->row.out_before;
    view->heard = atomic_load_explicit(&row->meter.heard, memory_order_acquire);
}

/* A free row, which most are, costs one word. */
int rpc_board_read(const rpc_board_t *board, uint32_t at, rpc_board_view_t *view)
{
    const shared_row_t *row = &board->rows[at];
    int tries;

    for (tries = 0; at < board->count && tries < TRIES; tries++) {
        uint64_t version = atomic_load_explicit(&row->version, memory_order_acquire);

        if (!version || (!(version & 1) && !atomic_load_explicit(&row->numbers[0],
                                                                  memory_order_acquire)))
            return 0;
        if (version & 1)
            continue;
        load(board, row, view);
        if (atomic_load_explicit(&row->version, memory_order_relaxed) == version)
            return view->row.serial != 0;
    }
    return 0;
}

int rpc_board_read_dead(const rpc_board_t *board, uint32_t at, rpc_board_view_t *view)
{
    if (at >= board->count)
        return 0;
    load(board, &board->rows[at], view);
    return view->row.serial != 0;
}

void rpc_board_end(rpc_board_t *board, uint32_t at, uint64_t serial)
{
    if (at < board->count)
        atomic_store(&board->rows[at].meter.to_end, serial);
}

rpc_board_bytes_t rpc_board_total(const rpc_board_t *board)
{
    uint32_t at, mark = rpc_board_mark(board);
    rpc_board_bytes_t total = { 0, 0 };

    for (at = 0; at < mark; at++) {
        total.in += atomic_load_explicit(&board->rows[at].meter.in, memory_order_relaxed);
        total.out += atomic_load_explicit(&board->rows[at].meter.out, memory_order_relaxed);
    }
    return total;
}
