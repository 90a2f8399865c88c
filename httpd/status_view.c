/* httpd/status_view.c: collect the rows, sort them by virtual connection, join halves, sort
 * again.
 */
#include "httpd/status_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <httpd.h>

/* What is kept of a row until halves are joined. */
typedef struct entry {
    rpc_vc_view_t vc;
    uint64_t user, client;          /* hashes; 0: nobody, or no limit */
    uint32_t row;
} entry_t;

typedef struct collection {
    entry_t *at;
    size_t count, room;
} collection_t;

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

int rpc_view_row(const rpc_context_t *context, uint32_t row, rpc_board_view_t *view)
{
    if (!rpc_board_read(context->board, row, view))
        return 0;
    if (!view->row.server[0])
        rpc_sums_server(context->sums, view->row.slot, view->row.server);
    return 1;
}

/* Is that half's row still one of VC? */
static int read_half(const rpc_context_t *context, const rpc_vc_view_t *vc, int half,
                     rpc_board_view_t *view)
{
    return vc->rows[half] != RPC_VIEW_NO_ROW && rpc_view_row(context, vc->rows[half], view)
           && view->row.connection == vc->connection;
}

int rpc_view_texts(const rpc_context_t *context, const rpc_vc_view_t *vc, rpc_board_view_t *view)
{
    rpc_board_view_t other;

    if (!read_half(context, vc, 0, view))
        return read_half(context, vc, 1, view);
    if (!view->row.server[0] && read_half(context, vc, 1, &other))
        memcpy(view->row.server, other.row.server, sizeof(view->row.server));
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

/* ---- collecting ---- */

static uint64_t hash_of(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *text; text++)
        h = (h ^ (uint8_t)apr_tolower(*text)) * 0x100000001b3u;
    return h ? h : 1;
}

static void fill_key(const rpc_view_filter_t *filter, const rpc_board_row_t *row, char key[24])
{
    const char *const texts[] = { row->user, row->client, row->target, row->server };
    size_t i;

    if (filter->by <= RPC_BY_SERVER)
        for (i = 0; i < 23 && texts[filter->by][i]; i++)
            key[i] = (char)apr_tolower(texts[filter->by][i]);
}

static entry_t entry_of(const rpc_view_filter_t *filter, uint32_t row, const rpc_board_view_t *view)
{
    const rpc_board_row_t *b = &view->row;
    entry_t e = { .vc = {
        .connection = b->connection, .rows = { RPC_VIEW_NO_ROW, RPC_VIEW_NO_ROW },
        .began = b->began ? b->began : b->since, .heard = view->heard,
        .in = view->in, .out = view->out, .state = b->state, .successors = b->successors,
        .refused = b->refused, .channels = 1, .version = b->role == RPC_MIXED ? 1 : 2,
        .matches = rpc_view_is(filter, b) && (!*filter->find || found(filter->find, b)),
    }, .row = row };

    e.vc.rows[b->role == RPC_OUTBOUND] = row;
    e.user = b->user[0] ? hash_of(b->user) : 0;
    e.client = hash_of(b->client);
    fill_key(filter, b, e.vc.key);
    return e;
}

static int add(collection_t *c, const entry_t *entry)
{
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 256;
        entry_t *at = realloc(c->at, room * sizeof(*at));

        if (!at)
            return 0;
        c->at = at;
        c->room = room;
    }
    c->at[c->count++] = *entry;
    return 1;
}

static void count_server(rpc_view_t *v, apr_pool_t *pool, const char *server)
{
    char name[RPC_BOARD_SERVER];
    apr_size_t *count;

    if (!*server)
        return;
    apr_cpystrn(name, server, sizeof(name));
    ap_str_tolower(name);
    count = apr_hash_get(v->servers, name, APR_HASH_KEY_STRING);
    if (!count) {
        count = apr_pcalloc(pool, sizeof(*count));
        apr_hash_set(v->servers, apr_pstrdup(pool, name), APR_HASH_KEY_STRING, count);
    }
    ++*count;
}

static int collect(const rpc_context_t *context, const rpc_view_filter_t *filter, rpc_view_t *v,
                   collection_t *c, apr_pool_t *pool)
{
    uint32_t row, mark = rpc_board_mark(context->board);
    rpc_board_view_t view;

    for (row = 0; row < mark; row++) {
        entry_t entry;

        if (!rpc_view_row(context, row, &view))
            continue;
        entry = entry_of(filter, row, &view);
        if (!add(c, &entry))
            return 0;
        count_server(v, pool, view.row.server);
        if (view.row.role < RPC_ROLES && view.row.state < RPC_BOARD_STATES)
            v->states[view.row.role][view.row.state]++;
    }
    v->channels = (uint32_t)c->count;
    return 1;
}

/* ---- the busiest ---- */

static int by_user(const void *a, const void *b)
{
    const entry_t *x = a, *y = b;

    return x->user == y->user ? 0 : x->user < y->user ? -1 : 1;
}

static int by_client(const void *a, const void *b)
{
    const entry_t *x = a, *y = b;

    return x->client == y->client ? 0 : x->client < y->client ? -1 : 1;
}

/* The longest run of a key in a sorted collection, of all and of those that are not open. */
static void longest_run(const collection_t *c, int (*same)(const void *, const void *), int user,
                        rpc_busiest_t *most, rpc_busiest_t *most_unpaired)
{
    uint32_t n = 0, unpaired = 0;
    size_t i;

    for (i = 0; i < c->count; i++) {
        const entry_t *e = &c->at[i];

        if (i && same(e - 1, e) != 0)
            n = unpaired = 0;
        if (user && !e->user)
            continue;
        n++;
        unpaired += e->vc.state != RPC_BOARD_OPEN;
        if (n > most->count)
            *most = (rpc_busiest_t){ n, e->row };
        if (unpaired > most_unpaired->count)
            *most_unpaired = (rpc_busiest_t){ unpaired, e->row };
    }
}

static void find_busiest(rpc_view_t *v, collection_t *c)
{
    if (!c->count)
        return;
    qsort(c->at, c->count, sizeof(*c->at), by_client);
    longest_run(c, by_client, 0, &v->client, &v->unpaired_client);
    qsort(c->at, c->count, sizeof(*c->at), by_user);
    longest_run(c, by_user, 1, &v->user, &v->unpaired_user);
}

/* ---- joining ---- */

/* Successors behind their predecessors. */
static int by_connection(const void *a, const void *b)
{
    const rpc_vc_view_t *x = &((const entry_t *)a)->vc, *y = &((const entry_t *)b)->vc;

    if (x->connection != y->connection)
        return x->connection < y->connection ? -1 : 1;
    return x->heard == y->heard ? 0 : x->heard < y->heard ? -1 : 1;
}

static void join(rpc_vc_view_t *vc, const rpc_vc_view_t *other)
{
    int i;

    for (i = 0; i < 2; i++)
        if (other->rows[i] != RPC_VIEW_NO_ROW)
            vc->rows[i] = other->rows[i];
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

/* Halves of the same connection become one; those that do not match go. */
static void join_halves(rpc_view_t *v, const rpc_view_filter_t *filter, collection_t *c)
{
    size_t i;

    if (c->count)
        qsort(c->at, c->count, sizeof(*c->at), by_connection);
    for (i = 0; i < c->count;) {
        rpc_vc_view_t vc = c->at[i++].vc;

        while (vc.connection && i < c->count && c->at[i].vc.connection == vc.connection)
            join(&vc, &c->at[i++].vc);
        v->all++;
        if (vc.matches && (filter->state < 0 || (uint32_t)filter->state == vc.state))
            v->at[v->count++] = vc;
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

/* In rising order; what is equal by its beginning and its id, so that pages are stable. */
static int compare(const void *a, const void *b, void *filter)
{
    const rpc_view_filter_t *f = filter;
    const rpc_vc_view_t *x = a, *y = b;
    int64_t m = number_of(x, f->by), n = number_of(y, f->by);
    int order = f->by <= RPC_BY_SERVER ? strcmp(x->key, y->key) : m < n ? -1 : m > n;

    if (f->descending)
        order = -order;
    if (!order)
        order = x->began < y->began ? -1 : x->began > y->began;
    return order ? order : x->connection < y->connection ? -1 : x->connection > y->connection;
}

/* ---- all of it ---- */

static apr_status_t free_entries(void *at)
{
    free(at);
    return APR_SUCCESS;
}

rpc_view_t *rpc_view_make(const rpc_context_t *context, const rpc_view_filter_t *filter,
                          apr_pool_t *pool)
{
    rpc_view_t *v = apr_pcalloc(pool, sizeof(*v));
    collection_t c = { NULL, 0, 0 };

    v->servers = apr_hash_make(pool);
    if (!collect(context, filter, v, &c, pool)
        || !(v->at = malloc(sizeof(*v->at) * (c.count + 1)))) {
        free(c.at);
        return NULL;
    }
    apr_pool_cleanup_register(pool, v->at, free_entries, apr_pool_cleanup_null);
    find_busiest(v, &c);
    join_halves(v, filter, &c);
    free(c.at);
    if (v->count)
        qsort_r(v->at, v->count, sizeof(*v->at), compare, (void *)filter);
    return v;
}
