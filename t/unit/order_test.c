/* order_test: target/order and shared/health: which server is tried first. */
#include "target/order.h"
#include "unit.h"

#define KEYS 3000

static uint64_t memory[1 << 17];    /* of the table, aligned */

static rpc_place_t place(const char *host, int weight)
{
    rpc_place_t p = { .binding = { RPC_PROTSEQ_HTTP, host, 6004 }, .weight = weight };

    return p;
}

static const char *first(const rpc_place_t *places, int count, const char *key,
                         const rpc_health_t *health)
{
    rpc_server_list_t out;

    rpc_route_order(places, count, key, health, apr_time_from_sec(1000), &out);
    return out.at[0].host;
}

static void test_written_order(rpc_health_t *health)
{
    const rpc_place_t places[] = { place("a", 0), place("b", 0), place("c", 0) };
    rpc_server_list_t out;

    rpc_route_order(places, 3, "alice", health, apr_time_from_sec(1000), &out);
    ok(!strcmp(out.at[0].host, "a") && !strcmp(out.at[1].host, "b") && !strcmp(out.at[2].host, "c"),
       "as written");
    rpc_health_failed(health, "A", 6004, apr_time_from_sec(999));
    rpc_route_order(places, 3, "alice", health, apr_time_from_sec(1000), &out);
    ok(!strcmp(out.at[0].host, "b") && !strcmp(out.at[1].host, "c") && !strcmp(out.at[2].host, "a"),
       "who failed comes last, whatever its case");
    rpc_route_order(places, 3, "alice", health, apr_time_from_sec(1001), &out);
    ok(!strcmp(out.at[0].host, "a"), "and first again when it has been avoided for long enough");
    rpc_health_good(health, "a", 6004);
}

/* Clients cannot fill a table by names that they choose. */
static void test_flood(rpc_health_t *health)
{
    const rpc_health_server_t configured = { "configured", 6001 };
    apr_time_t now = apr_time_from_sec(2000);
    char host[32];
    int i;

    rpc_health_reserve(health, &configured, 1);
    rpc_health_failed(health, "configured", 6001, now);
    for (i = 0; i < 20000; i++) {
        snprintf(host, sizeof(host), "flood%d", i);
        rpc_health_failed(health, host, 6001, now);
    }
    ok(!rpc_health_up(health, "configured", 6001, now + 1),
       "a server of the configuration keeps its place");
    rpc_health_failed(health, "real", 6001, now + 1);
    ok(!rpc_health_up(health, "real", 6001, now + 2), "and there is one for any other server");
    now += apr_time_from_sec(100);
    ok(rpc_health_up(health, "configured", 6001, now), "they are avoided no longer than ever");
    for (i = 0; i < 200; i++) {
        snprintf(host, sizeof(host), "server%d", i);
        rpc_health_failed(health, host, 6001, now);
    }
    for (i = 0; i < 200; i++) {
        snprintf(host, sizeof(host), "server%d", i);
        if (rpc_health_up(health, host, 6001, now + 1))
            break;
    }
    is_int(i, 200, "places that are over are used again, before any that is not");
    rpc_health_reserve(health, NULL, 0);
}

static void test_shares(void)
{
    const rpc_place_t places[] = { place("gc1", 1), place("gc2", 1), place("gc3", 4) };
    int i, counts[4] = { 0 }, moved = 0, strayed = 0;
    char key[32];

    for (i = 0; i < KEYS; i++) {
        const char *host, *without;

        snprintf(key, sizeof(key), "user%d", i);
        host = first(places, 3, key, NULL);
        without = first(places, 2, key, NULL);
        counts[host[2] - '0']++;
        moved += strcmp(host, without) != 0;
        strayed += strcmp(host, without) != 0 && strcmp(host, "gc3") != 0;
        if (strcmp(host, first(places, 3, key, NULL)) != 0)
            ok(0, "the same key, the same server");
    }
    ok(counts[1] > KEYS / 8 && counts[1] < KEYS / 5, "a sixth of the keys for a weight of 1: %d",
       counts[1]);
    ok(counts[2] > KEYS / 8 && counts[2] < KEYS / 5, "and for the other: %d", counts[2]);
    ok(counts[3] > KEYS * 3 / 5 && counts[3] < KEYS * 3 / 4, "two thirds for a weight of 4: %d",
       counts[3]);
    ok(moved == counts[3] && strayed == 0, "when one goes only its own keys move");
}

static void test_back_off(rpc_health_t *health)
{
    apr_time_t now = apr_time_from_sec(5000);
    int i;

    rpc_health_failed(health, "gone", 1, now);
    ok(!rpc_health_up(health, "gone", 1, now + apr_time_from_sec(1)), "avoided at first");
    ok(rpc_health_up(health, "gone", 2, now), "not on another port");
    rpc_health_failed(health, "gone", 1, now + 1);
    ok(rpc_health_up(health, "gone", 1, now + apr_time_from_sec(2)),
       "failures at one time count once");
    for (i = 0; i < 10; i++) {
        now += apr_time_from_sec(100);
        rpc_health_failed(health, "gone", 1, now);
    }
    ok(!rpc_health_up(health, "gone", 1, now + apr_time_from_sec(59)), "longer each time");
    ok(rpc_health_up(health, "gone", 1, now + apr_time_from_sec(60)), "up to a minute");
    rpc_health_good(health, "gone", 1);
    ok(rpc_health_up(health, "gone", 1, now), "an answer ends it");
    rpc_health_failed(health, "gone", 1, now);
    ok(rpc_health_up(health, "gone", 1, now + apr_time_from_sec(2)), "and all begins anew");
    for (i = 0; i < 5000; i++) {
        char host[16];

        snprintf(host, sizeof(host), "h%d", i);
        rpc_health_failed(health, host, 1, now);
    }
    ok(rpc_health_up(NULL, "any", 1, now), "without a table all are healthy");
}

int main(void)
{
    rpc_health_t *health = rpc_health_init(memory);

    ok(rpc_health_size() <= sizeof(memory), "the table fits");
    test_written_order(health);
    test_shares();
    test_flood(health);
    test_back_off(health);
    return unit_done();
}
