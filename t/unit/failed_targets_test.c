/* failed_targets_test: how many different targets may fail for one user, and for how long they
 * count. */
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>
#include "shared/failed_targets.h"
#include "unit.h"

#define PROCESSES 4
#define START apr_time_from_sec(1000)

static const rpc_budget_limit_t ten = { 10, apr_time_from_sec(60) };
static const rpc_budget_who_t alice = { "alice", { 0, { 192, 0, 2, 1 } } };

/* Counts the targets with the numbers FROM to FROM + COUNT - 1. Returns how many of them were
 * reported as the one that reaches the limit. */
static int spend(rpc_budgets_t *b, const rpc_budget_who_t *who, const rpc_budget_limit_t *limit,
                 int from, int count, apr_time_t now)
{
    int i, last = 0;

    for (i = from; i < from + count; i++) {
        char target[32];

        snprintf(target, sizeof(target), "server:%d", i);
        last += rpc_budget_spend(b, who, target, limit, now);
    }
    return last;
}

static int is_spent(rpc_budgets_t *b, const rpc_budget_who_t *who, apr_time_t now)
{
    return rpc_budget_spent(b, who, &ten, now) > 0;
}

static void test_window(rpc_budgets_t *b)
{
    rpc_budget_limit_t none = { 0, ten.window }, other = { 1, apr_time_from_sec(61) };

    ok(!is_spent(b, &alice, START), "nothing is spent at first");
    spend(b, &alice, &ten, 0, 1, START);
    ok(spend(b, &alice, &ten, 0, 1, START) + spend(b, &alice, &ten, 0, 1, START) == 0
           && !is_spent(b, &alice, START),
       "one target again and again spends nothing");
    spend(b, &alice, &ten, 1, 4, START + apr_time_from_sec(10));
    ok(!is_spent(b, &alice, START + apr_time_from_sec(10)), "five are fewer than ten");
    ok(spend(b, &alice, &ten, 5, 50, START + apr_time_from_sec(20)) == 1,
       "one of those that follow is the last");
    ok(rpc_budget_spent(b, &alice, &ten, START + apr_time_from_sec(20)) == apr_time_from_sec(40),
       "the window is that of the first");
    ok(is_spent(b, &alice, START + apr_time_from_sec(60) - 1), "up to its end");
    ok(!is_spent(b, &alice, START + apr_time_from_sec(60)), "not beyond");
    ok(rpc_budget_spent(b, &alice, &other, START + apr_time_from_sec(20)) == 0,
       "another window counts for itself");
    ok(rpc_budget_spent(b, &alice, &none, START + apr_time_from_sec(20)) == 0,
       "nor where there is no limit");
    spend(b, &alice, &ten, 0, 5, START + apr_time_from_sec(61));
    ok(!is_spent(b, &alice, START + apr_time_from_sec(61)), "the next window begins with none");
    spend(b, &alice, &ten, 5, 50, START + apr_time_from_sec(62));
    ok(is_spent(b, &alice, START + apr_time_from_sec(120))
           && !is_spent(b, &alice, START + apr_time_from_sec(121)),
       "and has its own end");
}

static void test_who(rpc_budgets_t *b)
{
    const apr_time_t now = START + apr_time_from_sec(300);
    static const rpc_budget_who_t others[] = {
        { "bob", { 0, { 192, 0, 2, 1 } } },
        { "", { 0, { 192, 0, 2, 1 } } },
        { "alice@dom", { 0, { 192, 0, 2, 1 } } },
        { "alice", { 0, { 192, 0, 2, 2 } } },
        { "alice", { 1, { 192, 0, 2, 1 } } },
    };
    static const rpc_budget_who_t six = { "alice", { 1, { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 9 } } };
    static const rpc_budget_who_t same[] = {
        { "alice", { 1, { [10] = 0xff, 0xff, 192, 0, 2, 1 } } },
        { "alice", { 1, { 0, 0x64, 0xff, 0x9b, [12] = 192, 0, 2, 1 } } },
        { "alice", { 1, { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 7 } } },
    };
    static const rpc_budget_who_t next64 = { "alice",
                                             { 1, { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 9 } } };
    unsigned i;

    spend(b, &alice, &ten, 0, 50, now);
    spend(b, &six, &ten, 0, 50, now);
    for (i = 0; i < sizeof(others) / sizeof(*others); i++)
        ok(!is_spent(b, &others[i], now), "somebody else: %u", i);
    for (i = 0; i < sizeof(same) / sizeof(*same); i++)
        ok(is_spent(b, &same[i], now), "the same: %u", i);
    ok(!is_spent(b, &next64, now), "the neighbouring /64");
}

/* Some of many targets share their bits, but never so many that the limit cannot be reached. */
static void test_most(rpc_budgets_t *b)
{
    const apr_time_t now = START + apr_time_from_sec(600);
    const rpc_budget_limit_t most = { RPC_BUDGET_MAX, ten.window };
    int i = 0;

    while (i < 5000 && !rpc_budget_spent(b, &alice, &most, now))
        spend(b, &alice, &most, i++, 1, now);
    ok(i >= RPC_BUDGET_MAX && i < 2 * RPC_BUDGET_MAX,
       "the highest limit is reached after %d targets", i);
}

/* There are more clients than the table has room for. No client gets the count of another, and room
 * becomes free again. */
static void test_full(rpc_budgets_t *b)
{
    const apr_time_t now = START + apr_time_from_sec(900);
    int i, harmed = 0, counted = 0;
    char name[32];
    rpc_budget_who_t who = { name, { 0, { 198, 51, 100, 1 } } };

    for (i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "user%d", i);
        harmed += is_spent(b, &who, now);
        spend(b, &who, &ten, i, 5, now);
        harmed += is_spent(b, &who, now);
    }
    ok(harmed == 0, "a full table blocks nobody");
    for (i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "late%d", i);
        spend(b, &who, &ten, 0, 50, now + ten.window);
        counted += is_spent(b, &who, now + ten.window);
    }
    ok(counted == 100, "its slots are free again with their windows: %d", counted);
}

/* Several processes count failures of one user at once. The limit is reached, and one process is
 * told so. */
static void test_race(rpc_budgets_t *b)
{
    int round, told = 0, spent = 0, i;

    for (round = 0; round < 50; round++) {
        apr_time_t now = START + apr_time_from_sec(2000 + 100 * round);

        for (i = 0; i < PROCESSES; i++)
            if (fork() == 0)
                _exit(spend(b, &alice, &ten, 20 * i, 20, now));
        for (i = 0; i < PROCESSES; i++) {
            int status = 0;

            wait(&status);
            told += WEXITSTATUS(status);
        }
        spent += is_spent(b, &alice, now);
    }
    ok(spent == 50, "processes spend one budget together: %d", spent);
    ok(told == 50, "and one of them hears of its end: %d", told);
}

int main(void)
{
    rpc_budgets_t *b;
    apr_pool_t *pool;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (!ok(rpc_budget_create(&b, pool) == APR_SUCCESS, "a table"))
        return unit_done();
    test_window(b);
    test_who(b);
    test_most(b);
    test_full(b);
    test_race(b);
    apr_pool_destroy(pool);
    apr_terminate();
    return unit_done();
}
