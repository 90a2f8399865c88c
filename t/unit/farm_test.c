/* farm_test: what other machines have told: found, joined, forgotten; read while it is written. */
#include "shared/farm.h"

#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>

#include "base/clock.h"
#include "unit.h"

#define MANY 20000u
#define ROUNDS 300

static rpc_farm_entry_t entry_of(rpc_farm_kind_t kind, uint64_t hash, uint64_t a, uint64_t b)
{
    return (rpc_farm_entry_t){ rpc_farm_key(kind, hash), a, b };
}

static void put(rpc_farm_t *farm, rpc_farm_kind_t kind, uint64_t hash, uint64_t a, uint64_t b)
{
    rpc_farm_entry_t entry = entry_of(kind, hash, a, b);

    rpc_farm_put(farm, &entry);
}

static void test_table(rpc_farm_t *farm)
{
    apr_time_t now = rpc_clock_now();
    rpc_farm_entry_t e;
    uint64_t i, found = 0;

    ok(!rpc_farm_find(NULL, RPC_FARM_USER, 7, &e), "no farm knows nobody");
    rpc_farm_begin(farm, MANY + 8);
    put(farm, RPC_FARM_USER, 7, 2, 1);
    put(farm, RPC_FARM_USER, 7, 3, 0);
    put(farm, RPC_FARM_ADDRESS, 7, 1, 1);
    put(farm, RPC_FARM_COOKIE, 8, 41, 2);
    put(farm, RPC_FARM_COOKIE, 8, 41, 4);
    put(farm, RPC_FARM_COOKIE, 9, 41, 2);
    put(farm, RPC_FARM_COOKIE, 9, 42, 2);
    put(farm, RPC_FARM_GUESSES, 8, 2, 500);
    put(farm, RPC_FARM_GUESSES, 8, 1, 400);
    put(farm, RPC_FARM_SERVER, 8, 10, 20);
    put(farm, RPC_FARM_SERVER, 8, 15, 18);
    for (i = 0; i < MANY; i++)
        put(farm, RPC_FARM_TARGET, 1000 + i, 0, i);
    ok(!rpc_farm_find(farm, RPC_FARM_USER, 7, &e), "what is not published is not found");
    rpc_farm_publish(farm);
    ok(!rpc_farm_find(farm, RPC_FARM_USER, 7, &e), "nor what holds no longer");
    rpc_farm_good_until(farm, now + apr_time_from_sec(3600));
    ok(rpc_farm_find(farm, RPC_FARM_USER, 7, &e) && e.a == 5 && e.b == 1, "channels add up");
    ok(rpc_farm_find(farm, RPC_FARM_ADDRESS, 7, &e) && e.a == 1, "each kind for itself");
    ok(rpc_farm_find(farm, RPC_FARM_COOKIE, 8, &e) && e.a == 41 && e.b == 6,
       "a cookie in two roles");
    ok(rpc_farm_find(farm, RPC_FARM_COOKIE, 9, &e) && e.a == 0,
       "a cookie of two users is nobody's");
    ok(rpc_farm_find(farm, RPC_FARM_GUESSES, 8, &e) && e.a == 3 && e.b == 500, "guesses add up");
    ok(rpc_farm_find(farm, RPC_FARM_SERVER, 8, &e) && e.a == 10 && e.b == 20,
       "a server is avoided for the longer time");
    for (i = 0; i < MANY; i++)
        found += rpc_farm_find(farm, RPC_FARM_TARGET, 1000 + i, &e) && e.b == i;
    is_int((long)found, (long)MANY, "all of many are found");
    ok(!rpc_farm_find(farm, RPC_FARM_TARGET, 999, &e), "and no other");
    rpc_farm_begin(farm, 0);
    ok(rpc_farm_find(farm, RPC_FARM_USER, 7, &e), "a table that is begun changes nothing");
    rpc_farm_publish(farm);
    ok(!rpc_farm_find(farm, RPC_FARM_USER, 7, &e), "an empty one forgets all");
}

static void test_lease(rpc_farm_t *farm)
{
    ok(rpc_farm_lease(farm, 1, apr_time_from_sec(3600)), "a writer");
    ok(!rpc_farm_lease(farm, 2, apr_time_from_sec(1)), "is the only one");
    ok(rpc_farm_lease(farm, 1, 0), "and goes on");
    ok(rpc_farm_lease(farm, 2, apr_time_from_sec(3600)), "until its lease is over");
    rpc_farm_yield(farm, 1);
    ok(!rpc_farm_lease(farm, 1, 0), "another's lease is not given up");
    rpc_farm_yield(farm, 2);
    ok(rpc_farm_lease(farm, 1, 0), "only one's own");
}

static void test_noted(rpc_farm_t *farm)
{
    rpc_farm_entry_t *all = calloc(RPC_FARM_NOTED, sizeof(*all));
    unsigned i;

    is_int((long)rpc_farm_noted(farm, all), 0, "nothing is noted");
    rpc_farm_guess(farm, 5, apr_time_from_sec(3600));
    rpc_farm_guess(farm, 5, apr_time_from_sec(3600));
    rpc_farm_guess(farm, 6, 0);
    is_int((long)rpc_farm_noted(farm, all), 1, "one is noted, and one is over");
    ok(all[0].key == rpc_farm_key(RPC_FARM_GUESSES, 5) && all[0].a == 2, "twice");
    for (i = 0; i < 100000; i++)
        rpc_farm_guess(farm, rpc_farm_hash(farm, &i, sizeof(i)), apr_time_from_sec(10));
    rpc_farm_noted(farm, all);
    for (i = 0; i < RPC_FARM_NOTED && all[i].key != rpc_farm_key(RPC_FARM_GUESSES, 5); i++)
        ;
    ok(i < RPC_FARM_NOTED, "what counts longest is not driven out");
    free(all);
}

/* A child writes tables whose entries all have one number; a table that is read whole has one. */
static void test_race(rpc_farm_t *farm)
{
    pid_t child = fork();
    uint64_t round, i;
    int status = 0, torn = 0, runs = 1;
    rpc_farm_entry_t e;

    for (round = 1; child == 0 && round <= ROUNDS; round++) {
        rpc_farm_begin(farm, 500);
        for (i = 1; i <= 500; i++)
            put(farm, RPC_FARM_USER, i, i, i * 3);
        rpc_farm_publish(farm);
    }
    if (child == 0)
        _exit(0);
    for (i = 1; runs; i = i % 500 + 1) {
        torn += rpc_farm_find(farm, RPC_FARM_USER, i, &e) && (e.a != i || e.b != i * 3);
        runs = i % 50 || waitpid(child, &status, WNOHANG) == 0;
    }
    ok(!torn && WIFEXITED(status), "no entry is read that was never written");
}

int main(void)
{
    apr_pool_t *pool;
    rpc_farm_t *farm;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (!ok(rpc_farm_create(&farm, pool) == APR_SUCCESS, "a table"))
        return unit_done();
    test_table(farm);
    test_lease(farm);
    test_noted(farm);
    test_race(farm);
    apr_terminate();
    return unit_done();
}
