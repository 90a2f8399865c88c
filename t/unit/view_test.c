/* view_test: virtual connections of a board, joined, filtered, sorted and in pieces; a hundred
 * thousand of them in little memory.
 */
#include "shared/view.h"

#include <malloc.h>
#include <sys/resource.h>

#include <apr_general.h>

#include "unit.h"

#define CONNECTIONS 100000u
#define USERS 1000u
/* KB that a view of all of them may take; each with a record of its own would be 20 MB and more. */
#define MOST_KB 12288

static const rpc_view_filter_t all = { "", "", "", "", "", .state = -1, .by = RPC_BY_SINCE };

static rpc_board_t *board;
static rpc_sums_t *sums;
static apr_pool_t *pool;

/* A channel of virtual connection ID, of user ID % USERS, that came at SINCE. */
static void enter(int row, rpc_role_t role, uint64_t id, int64_t since)
{
    rpc_board_row_t first = { .since = since, .role = role, .pid = 1 };

    snprintf(first.user, sizeof(first.user), "user%u", (unsigned)(id % USERS));
    snprintf(first.client, sizeof(first.client), "192.0.2.%u", (unsigned)(id % 250));
    snprintf(first.target, sizeof(first.target), "mail:6001");
    first.keys[RPC_BOARD_OF_USER] = id % USERS + 1;
    first.keys[RPC_BOARD_OF_ADDRESS] = id % 250 + 1;
    rpc_board_enter(board, row, &first);
    rpc_board_claimed(board, row, id * 0x9e3779b97f4a7c15u, since, 0, 0);
    rpc_board_reached(board, row, id % 4 ? "MBX1[6001]" : "mbx2[6001]");
    rpc_board_opened(board, row);
}

static rpc_view_t *make(const rpc_view_filter_t *filter)
{
    apr_pool_clear(pool);
    return rpc_view_make(board, sums, filter, pool);
}

/* How many come, MOST at a time, and whether they do in the order of their beginning. */
static size_t walk(rpc_view_t *v, size_t most, int *in_order)
{
    int64_t before = -1;
    size_t n = 0, i;

    *in_order = 1;
    while (rpc_view_next(v, most))
        for (i = 0; i < v->count; i++, n++) {
            *in_order &= v->at[i].began > before && v->at[i].channels == 2;
            before = v->at[i].began;
        }
    return n;
}

static void test_none(void)
{
    rpc_view_t *v = make(&all);

    is_int((int)v->all, 0, "nobody is there");
    is_int((int)rpc_view_next(v, 10), 0, "and nobody comes");
    is_int((int)rpc_view_at_server(v, "mbx1[6001]"), 0, "at no server");
}

static void test_few(void)
{
    rpc_view_filter_t filter = all;
    rpc_board_view_t texts;
    rpc_view_t *v;

    enter(5, RPC_INBOUND, 1, 1000);
    enter(2, RPC_OUTBOUND, 1, 1001);
    enter(3, RPC_OUTBOUND, 1, 1500);        /* a successor, in a row before or behind */
    enter(7, RPC_MIXED, 4, 900);
    v = make(&all);
    is_int((int)v->all, 2, "four channels of two virtual connections");
    is_int((int)v->channels, 4, "are four channels");
    is_int((int)v->user.count, 3, "three of one user");
    is_int((int)rpc_view_at_server(v, "mbx1[6001]"), 3, "at one server, however it is written");
    is_int((int)rpc_view_next(v, 1), 1, "the first");
    is_int(v->at[0].version, 1, "is the older one");
    is_int((int)rpc_view_next(v, 1), 1, "the next");
    is_int((int)v->at[0].rows[0], 5, "has its IN channel");
    is_int((int)v->at[0].rows[1], 3, "and the successor of its OUT channel");
    ok(rpc_view_texts(v, &v->at[0], &texts), "and its texts");
    is_str(texts.row.user, "user1", "of its user");
    rpc_board_leave(board, 5);
    ok(rpc_view_texts(v, &v->at[0], &texts), "from either half");
    rpc_board_leave(board, 2);
    rpc_board_leave(board, 3);
    ok(!rpc_view_texts(v, &v->at[0], &texts), "until it has ended");
    is_int((int)rpc_view_next(v, 1), 0, "there is no other");

    filter.user = "USER4";
    is_int((int)make(&filter)->matching, 1, "a user");
    filter.user = "user";
    is_int((int)make(&filter)->matching, 0, "but no part of one");
    filter.user = "";
    filter.find = "SER4";
    is_int((int)make(&filter)->matching, 1, "which is found, too");
    filter.state = RPC_BOARD_WAITING;
    is_int((int)make(&filter)->matching, 0, "in this state alone");
    rpc_board_leave(board, 7);
}

static long most_kb(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void test_many(void)
{
    rpc_view_filter_t by_user = all;
    int in_order;
    size_t n;
    rpc_view_t *v;
    uint32_t i;
    long before;

    /* The halves of a connection are far from each other, and none is where it will stand. */
    for (i = 0; i < CONNECTIONS; i++) {
        enter((int)i, RPC_INBOUND, (i * 7919u) % CONNECTIONS + 1, (i * 7919u) % CONNECTIONS);
        enter((int)(i + CONNECTIONS), RPC_OUTBOUND, i + 1, i);
    }
    before = most_kb();
    v = make(&all);
    is_int((int)v->all, CONNECTIONS, "%u virtual connections", CONNECTIONS);
    is_int((int)v->channels, 2 * CONNECTIONS, "each of two channels");
    is_int((int)v->user.count, 2 * CONNECTIONS / USERS, "the busiest user");
    is_int((int)rpc_view_at_server(v, "mbx1[6001]"), 2 * CONNECTIONS / 4 * 3, "at a server");
    n = walk(v, RPC_VIEW_MOST, &in_order);
    is_int((int)n, CONNECTIONS, "all of them come, each once");
    ok(in_order, "in order");
    v = make(&all);
    rpc_view_skip(v, 20000);
    is_int((int)rpc_view_next(v, 100), 100, "a late page");
    is_int((int)v->at[0].began, 20000, "begins where the one before ends");
    by_user.by = RPC_BY_USER;
    by_user.descending = 1;
    v = make(&by_user);
    is_int((int)rpc_view_next(v, 100), 100, "by the names of users");
    is_str(v->at[99].key, "user999", "the last name is first");
    is_int((int)v->at[99].began, 99998, "with all that it has, in the order of their beginning");
    if (mallinfo2().arena)      /* a sanitizer's allocator takes memory of its own */
        ok(most_kb() - before < MOST_KB, "in little memory: %ld KB", most_kb() - before);
}

int main(void)
{
    apr_pool_t *top;

    apr_initialize();
    apr_pool_create(&top, NULL);
    apr_pool_create(&pool, top);
    if (rpc_board_create(&board, 2 * CONNECTIONS, top) != APR_SUCCESS
        || rpc_sums_create(&sums, top) != APR_SUCCESS)
        return 1;
    test_none();
    test_few();
    test_many();
    apr_terminate();
    return unit_done();
}
