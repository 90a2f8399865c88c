/* target/order.c: weighted rendezvous hashing: each server draws a number from the hash of key and
 * server, scaled by its weight; the order of these numbers is the order of the servers.
 */
#include "target/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>

typedef struct ranked {
    const rpc_place_t *place;
    int down;
    double score;
} ranked_t;

/* FNV-1a, without case, and mixed, because similar names must not give similar numbers. */
static uint64_t hash_text(uint64_t h, const char *text)
{
    for (; *text; text++)
        h = (h ^ (uint8_t)apr_tolower(*text)) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

/* An exponential variate whose rate is the weight. */
double rpc_route_draw(const char *host, apr_port_t port, int weight, const char *key)
{
    uint64_t h = hash_text(hash_text(0xcbf29ce484222325u, key), host);
    double even;

    h = hash_text(h ^ port, "");
    even = ((double)(h >> 11) + 1) / 9007199254740993.0;    /* above 0, below 1 */
    return -log(even) / weight;
}

static int is_better(const void *pa, const void *pb)
{
    const ranked_t *a = pa, *b = pb;

    if (a->down != b->down)
        return a->down - b->down;
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

void rpc_route_order(const rpc_place_t *places, int count, const char *key,
                     const rpc_health_t *health, apr_time_t now, rpc_server_list_t *out)
{
    ranked_t ranked[RPC_ROUTE_MAX];
    int i;

    if (count > RPC_ROUTE_MAX)
        count = RPC_ROUTE_MAX;
    for (i = 0; i < count; i++) {
        const rpc_binding_t *b = &places[i].binding;

        ranked[i].place = &places[i];
        ranked[i].down = !rpc_health_up(health, b->host, b->port, now);
        ranked[i].score = places[i].weight
                              ? rpc_route_draw(b->host, b->port, places[i].weight, key) : i;
    }
    qsort(ranked, (size_t)count, sizeof(ranked[0]), is_better);
    out->count = count;
    for (i = 0; i < count; i++)
        out->at[i] = ranked[i].place->binding;
}
