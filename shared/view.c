/* shared/view.c: the rows in use, sorted by one name after the other: by address and user for who
 * has most, by server, and at last by virtual connection. Then halves lie side by side, and each
 * walk over them reads the board and keeps the rows that come next.
 */
#include "shared/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_cstr.h>
#include <apr_lib.h>

const char *rpc_view_column_name(rpc_view_column_t column)
{
    static const char *const names[RPC_BY_COUNT] = {
        "user", "address", "target", "server", "state", "since", "in", "out", "heard", "successors",
        "refused"
    };
    return names[column];
}

const char *rpc_view_state_name(uint32_t state)
{
    static const char *const names[RPC_BOARD_STATES] = { "beginning", "connecting", "waiting",
                                                         "open" };
    return names[state < RPC_BOARD_STATES ? state : RPC_BOARD_BEGINNING];
}

int rpc_view_row(const rpc_board_t *board, const rpc_sums_t *sums, uint32_t row,
                 rpc_board_view_t *view)
{
    if (!rpc_board_read(board, row, view))
        return 0;
    if (!view->row.server[0])
        rpc_sums_server(sums, view->row.slot, view->row.server);
    return 1;
}

/* Is that half's row still one of VC? */
static int read_half(const rpc_view_t *v, const rpc_vc_view_t *vc, int half,
                     rpc_board_view_t *texts)
{
    return vc->rows[half] != RPC_VIEW_NO_ROW
           && rpc_view_row(v->board, v->sums, vc->rows[half], texts)
           && texts->row.connection == vc->connection;
}

int rpc_view_texts(const rpc_view_t *v, const rpc_vc_view_t *vc, rpc_board_view_t *texts)
{
    rpc_board_view_t other;

    if (!read_half(v, vc, 0, texts))
        return read_half(v, vc, 1, texts);
    if (!texts->row.server[0] && read_half(v, vc, 1, &other))
        memcpy(texts->row.server, other.row.server, sizeof(texts->row.server));
    return 1;
}

/* ---- the filter ---- */

static int contains(const char *text, const char *part)
{
    size_t len = strlen(part);

    for (; *text; text++)
        if (apr_cstr_casecmpn(text, part, len) == 0)
            return 1;
    return 0;
}

static int found(const char *find, const rpc_board_row_t *row)
{
    char id[17];

    snprintf(id, sizeof(id), "%016" PRIx64, row->connection);
    return contains(row->user, find) || contains(row->client, find) || contains(row->target, find)
           || contains(row->server, find) || contains(row->vhost, find) || contains(id, find);
}

static int is_named(const char *wanted, const char *text)
{
    return !*wanted || apr_cstr_casecmp(wanted, text) == 0;
}

int rpc_view_is(const rpc_view_filter_t *filter, const rpc_board_row_t *row)
{
    return is_named(filter->user, row->user) && is_named(filter->client, row->client)
           && is_named(filter->target, row->target) && is_named(filter->server, row->server)
           && (!filter->connection || filter->connection == row->connection);
}

/* ---- items ---- */

static uint64_t hash_of(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *text; text++)
        h = (h ^ (uint8_t)apr_tolower(*text)) * 0x100000001b3u;
    return h ? h : 1;
}

/* What rows are sorted by. 0: such a row has none. */
typedef uint64_t key_of_t(const rpc_board_row_t *row);

static uint64_t by_user(const rpc_board_row_t *row)
{
    return row->keys[RPC_BOARD_OF_USER];
}

static uint64_t by_client(const rpc_board_row_t *row)
{
    return row->keys[RPC_BOARD_OF_ADDRESS];
}

static uint64_t by_target(const rpc_board_row_t *row)
{
    return row->keys[RPC_BOARD_OF_TARGET];
}

static uint64_t by_server(const rpc_board_row_t *row)
{
    return row->server[0] ? hash_of(row->server) : 0;
}

static uint64_t by_connection(const rpc_board_row_t *row)
{
    return row->connection;
}

static int add(rpc_view_t *v, const rpc_view_item_t *item)
{
    if (v->item_count == v->item_room) {
        size_t room = v->item_room ? 2 * v->item_room : 256;
        rpc_view_item_t *items = realloc(v->items, room * sizeof(*items));

        if (!items)
            return 0;
        v->items = items;
        v->item_room = room;
    }
    v->items[v->item_count++] = *item;
    return 1;
}

static int compare_items(const void *a, const void *b)
{
    const rpc_view_item_t *x = a, *y = b;

    return x->key == y->key ? 0 : x->key < y->key ? -1 : 1;
}

/* The items of all rows that have KEY, in its order. 0: out of memory. */
static int sort_rows(rpc_view_t *v, key_of_t *key_of, int rows_without)
{
    uint32_t row, mark = rpc_board_mark(v->board);
    rpc_board_view_t view;

    v->item_count = 0;
    for (row = 0; row < mark; row++) {
        rpc_view_item_t item = { .row = row };

        if (!rpc_view_row(v->board, v->sums, row, &view))
            continue;
        item.key = key_of(&view.row);
        item.n = view.row.state == RPC_BOARD_OPEN;
        if ((item.key || rows_without) && !add(v, &item))
            return 0;
    }
    if (v->item_count)
        qsort(v->items, v->item_count, sizeof(*v->items), compare_items);
    return 1;
}

/* ---- what is counted ---- */

static void count_states(rpc_view_t *v)
{
    uint32_t row, mark = rpc_board_mark(v->board);
    rpc_board_view_t view;

    for (row = 0; row < mark; row++) {
        if (!rpc_board_read(v->board, row, &view))
            continue;
        v->channels++;
        if (view.row.role < RPC_ROLES && view.row.state < RPC_BOARD_STATES)
            v->states[view.row.role][view.row.state]++;
    }
}

/* The longest run of a key, of all channels and of those that are not open. */
static void longest_run(const rpc_view_t *v, rpc_busiest_t *most, rpc_busiest_t *most_unpaired)
{
    uint32_t n = 0, unpaired = 0;
    size_t i;

    for (i = 0; i < v->item_count; i++) {
        const rpc_view_item_t *item = &v->items[i];

        if (i && item->key != item[-1].key)
            n = unpaired = 0;
        n++;
        unpaired += !item->n;
        if (n > most->count)
            *most = (rpc_busiest_t){ n, item->row };
        if (unpaired > most_unpaired->count)
            *most_unpaired = (rpc_busiest_t){ unpaired, item->row };
    }
}

/* Of items that are sorted by server, one for each, with their number. 0: out of memory. */
static int keep_servers(rpc_view_t *v)
{
    size_t i, n = 0;

    for (i = 0; i < v->item_count; i++)
        n += !i || v->items[i].key != v->items[i - 1].key;
    v->servers = n ? calloc(n, sizeof(*v->servers)) : NULL;
    for (i = 0; v->servers && i < v->item_count; i++) {
        if (!i || v->items[i].key != v->items[i - 1].key)
            v->servers[v->server_count++].key = v->items[i].key;
        v->servers[v->server_count - 1].n++;
    }
    return !n || v->servers;
}

size_t rpc_view_at_server(const rpc_view_t *v, const char *server)
{
    rpc_view_item_t wanted = { .key = hash_of(server) }, *item = NULL;

    if (v->server_count)
        item = bsearch(&wanted, v->servers, v->server_count, sizeof(wanted), compare_items);
    return item ? item->n : 0;
}

/* ---- joining ---- */

static void fill_key(const rpc_view_filter_t *filter, const rpc_board_row_t *row, char key[24])
{
    const char *const texts[] = { row->user, row->client, row->target, row->server };
    size_t i;

    if (filter->by <= RPC_BY_SERVER)
        for (i = 0; i < 23 && texts[filter->by][i]; i++)
            key[i] = (char)apr_tolower(texts[filter->by][i]);
}

static rpc_vc_view_t vc_of(const rpc_view_filter_t *filter, uint32_t row,
                           const rpc_board_view_t *view)
{
    const rpc_board_row_t *b = &view->row;
    int half = b->role == RPC_OUTBOUND;
    rpc_vc_view_t vc = {
        .connection = b->connection, .rows = { RPC_VIEW_NO_ROW, RPC_VIEW_NO_ROW },
        .began = b->began ? b->began : b->since, .heard = view->heard,
        .in = view->in, .out = view->out, .state = b->state, .successors = b->successors,
        .refused = b->refused, .channels = 1, .version = b->role == RPC_MIXED ? 1 : 2,
        .matches = rpc_view_is(filter, b) && (!*filter->find || found(filter->find, b)),
    };

    vc.rows[half] = row;
    vc.came[half] = b->since;
    fill_key(filter, b, vc.key);
    return vc;
}

static void join(rpc_vc_view_t *vc, const rpc_vc_view_t *other)
{
    int i;

    for (i = 0; i < 2; i++)
        if (other->rows[i] != RPC_VIEW_NO_ROW && other->came[i] >= vc->came[i]) {
            vc->rows[i] = other->rows[i];
            vc->came[i] = other->came[i];
        }
    if (other->began < vc->began)
        vc->began = other->began;
    if (other->heard > vc->heard)
        vc->heard = other->heard;
    if (other->state < vc->state)
        vc->state = other->state;
    if (other->successors > vc->successors)
        vc->successors = other->successors;
    if (!vc->key[0])
        memcpy(vc->key, other->key, sizeof(vc->key));
    vc->in += other->in;
    vc->out += other->out;
    vc->refused += other->refused;
    vc->channels += other->channels;
    vc->matches |= other->matches;
}

/* The virtual connection of the item at *I, which goes behind it. 0: it has ended. */
static int next_vc(const rpc_view_t *v, size_t *i, rpc_vc_view_t *vc)
{
    uint64_t connection = v->items[*i].key;
    int there = 0;

    do {
        uint32_t row = v->items[(*i)++].row;
        rpc_board_view_t view;
        rpc_vc_view_t half;

        if (!rpc_view_row(v->board, v->sums, row, &view) || view.row.connection != connection)
            continue;
        half = vc_of(v->filter, row, &view);
        if (there++)
            join(vc, &half);
        else
            *vc = half;
    } while (connection && *i < v->item_count && v->items[*i].key == connection);
    return there;
}

static int is_wanted(const rpc_view_filter_t *filter, const rpc_vc_view_t *vc)
{
    return vc->matches && (filter->state < 0 || (uint32_t)filter->state == vc->state);
}

static void count_vcs(rpc_view_t *v)
{
    rpc_vc_view_t vc;
    size_t i = 0;

    while (i < v->item_count) {
        if (!next_vc(v, &i, &vc))
            continue;
        v->all++;
        v->matching += (size_t)is_wanted(v->filter, &vc);
    }
}

/* ---- sorting ---- */

static int64_t number_of(const rpc_vc_view_t *vc, rpc_view_column_t by)
{
    switch (by) {
    case RPC_BY_STATE: return vc->state;
    case RPC_BY_IN: return (int64_t)vc->in;
    case RPC_BY_OUT: return (int64_t)vc->out;
    case RPC_BY_HEARD: return vc->heard;
    case RPC_BY_SUCCESSORS: return vc->successors;
    case RPC_BY_REFUSED: return vc->refused;
    default: return vc->began;
    }
}

/* In rising order; what is equal by its beginning, its id and its row, so that no two are equal and
 * pages are stable. */
static int compare(const void *a, const void *b, void *filter)
{
    const rpc_view_filter_t *f = filter;
    const rpc_vc_view_t *x = a, *y = b;
    int64_t m = number_of(x, f->by), n = number_of(y, f->by);
    int order = f->by <= RPC_BY_SERVER ? strcmp(x->key, y->key) : m < n ? -1 : m > n;
    uint32_t p = x->rows[0] < x->rows[1] ? x->rows[0] : x->rows[1];
    uint32_t q = y->rows[0] < y->rows[1] ? y->rows[0] : y->rows[1];

    if (f->descending)
        order = -order;
    if (!order)
        order = x->began < y->began ? -1 : x->began > y->began;
    if (!order)
        order = x->connection < y->connection ? -1 : x->connection > y->connection;
    return order ? order : p < q ? -1 : p > q;
}

static int is_before(const rpc_view_t *v, const rpc_vc_view_t *a, const rpc_vc_view_t *b)
{
    return compare(a, b, (void *)v->filter) < 0;
}

/* Keeps the first MOST of what AT has. */
static void cut(rpc_view_t *v, size_t most)
{
    if (v->count)
        qsort_r(v->at, v->count, sizeof(*v->at), compare, (void *)v->filter);
    if (v->count > most)
        v->count = most;
}

/* AT has room for twice as many as are wanted. When it is full the latter half goes, and then
 * nothing that would be behind the rest comes in. */
static void keep(rpc_view_t *v, const rpc_vc_view_t *vc, size_t most, int *was_cut)
{
    if (*was_cut && !is_before(v, vc, &v->at[most - 1]))
        return;
    v->at[v->count++] = *vc;
    if (v->count == 2 * most) {
        cut(v, most);
        *was_cut = 1;
    }
}

static int make_room(rpc_view_t *v, size_t most)
{
    rpc_vc_view_t *at;

    if (2 * most <= v->room)
        return 1;
    at = realloc(v->at, 2 * most * sizeof(*at));
    if (!at)
        return 0;
    v->at = at;
    v->room = 2 * most;
    return 1;
}

size_t rpc_view_next(rpc_view_t *v, size_t most)
{
    rpc_vc_view_t vc;
    int was_cut = 0;
    size_t i = 0;

    v->count = 0;
    most = most < RPC_VIEW_MOST ? most : RPC_VIEW_MOST;
    if (!most || !make_room(v, most))
        return 0;
    while (i < v->item_count)
        if (next_vc(v, &i, &vc) && is_wanted(v->filter, &vc)
            && (!v->more || is_before(v, &v->last, &vc)))
            keep(v, &vc, most, &was_cut);
    cut(v, most);
    if (v->count) {
        v->last = v->at[v->count - 1];
        v->more = 1;
    }
    return v->count;
}

void rpc_view_skip(rpc_view_t *v, size_t count)
{
    size_t passed;

    for (; count && (passed = rpc_view_next(v, count)); count -= passed)
        ;
}

/* ---- all of it ---- */

static apr_status_t free_view(void *data)
{
    rpc_view_t *v = data;

    free(v->items);
    free(v->servers);
    free(v->at);
    return APR_SUCCESS;
}

rpc_view_t *rpc_view_make(const rpc_board_t *board, const rpc_sums_t *sums,
                          const rpc_view_filter_t *filter, apr_pool_t *pool)
{
    rpc_view_t *v = apr_pcalloc(pool, sizeof(*v));
    rpc_busiest_t target = { 0, 0 };

    v->board = board;
    v->sums = sums;
    v->filter = filter;
    apr_pool_cleanup_register(pool, v, free_view, apr_pool_cleanup_null);
    count_states(v);
    if (!sort_rows(v, by_client, 0))
        return NULL;
    longest_run(v, &v->client, &v->unpaired_client);
    if (!sort_rows(v, by_user, 0))
        return NULL;
    longest_run(v, &v->user, &v->unpaired_user);
    if (!sort_rows(v, by_target, 0))
        return NULL;
    longest_run(v, &target, &v->unpaired_target);
    if (!sort_rows(v, by_server, 0) || !keep_servers(v) || !sort_rows(v, by_connection, 1))
        return NULL;
    count_vcs(v);
    return v;
}
