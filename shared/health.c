/* shared/health.c: open addressing over atomic words. Host names are compared by a 64-bit hash
 * alone: a collision costs a healthy server one place in the order, no more.
 */
#include "shared/health.h"

#include <stdatomic.h>

#include <apr_lib.h>

#define SLOTS 1024              /* a power of 2; a site has a few dozen servers */
#define PROBES 16
#define AVOID_FIRST apr_time_from_sec(2)
#define AVOID_MAX apr_time_from_sec(60)

typedef struct slot {
    _Atomic uint64_t server;    /* hash of host:port; 0: free */
    _Atomic int64_t until;      /* avoided until then */
    _Atomic int64_t avoid;      /* how long the last time; 0: it is healthy */
    _Atomic int64_t unfit;      /* a check has failed, which counts until then; 0: none has */
} slot_t;

struct rpc_health {
    slot_t slots[SLOTS];
};

size_t rpc_health_size(void)
{
    return sizeof(rpc_health_t);
}

rpc_health_t *rpc_health_init(void *memory)
{
    return memory;
}

/* FNV-1a, without case. */
static uint64_t hash_of(const char *host, uint16_t port)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *host; host++)
        h = (h ^ (uint8_t)apr_tolower(*host)) * 0x100000001b3u;
    h = (h ^ port) * 0x100000001b3u;
    return h ? h : 1;
}

/* The server's slot; CLAIM: a free one if it has none yet. */
static slot_t *find(rpc_health_t *health, const char *host, uint16_t port, int claim)
{
    uint64_t server = hash_of(host, port);
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        slot_t *slot = &health->slots[(server + i) % SLOTS];
        uint64_t holds = atomic_load(&slot->server);

        if (holds == server)
            return slot;
        if (holds)
            continue;
        if (!claim)
            return NULL;
        if (atomic_compare_exchange_strong(&slot->server, &holds, server) || holds == server)
            return slot;
    }
    return NULL;
}

void rpc_health_failed(rpc_health_t *health, const char *host, uint16_t port, apr_time_t now)
{
    slot_t *slot = health ? find(health, host, port, 1) : NULL;
    int64_t avoid;

    /* Many channels may fail at once; together they count as one. */
    if (!slot || atomic_load(&slot->until) > now)
        return;
    avoid = atomic_load(&slot->avoid) * 2;
    avoid = avoid < AVOID_FIRST ? AVOID_FIRST : avoid > AVOID_MAX ? AVOID_MAX : avoid;
    atomic_store(&slot->avoid, avoid);
    atomic_store(&slot->until, now + avoid);
}

void rpc_health_good(rpc_health_t *health, const char *host, uint16_t port)
{
    slot_t *slot = health ? find(health, host, port, 0) : NULL;

    if (slot && atomic_load(&slot->avoid)) {
        atomic_store(&slot->avoid, 0);
        atomic_store(&slot->until, 0);
    }
}

int rpc_health_checked(rpc_health_t *health, const char *host, uint16_t port, int good, apr_time_t until)
{
    slot_t *slot = health ? find(health, host, port, !good) : NULL;

    if (!slot)
        return 0;
    if (!good)
        return atomic_exchange(&slot->unfit, until) == 0;
    atomic_store(&slot->avoid, 0);
    atomic_store(&slot->until, 0);
    return atomic_exchange(&slot->unfit, 0) != 0;
}

int rpc_health_up(const rpc_health_t *health, const char *host, uint16_t port, apr_time_t now)
{
    slot_t *slot = health ? find((rpc_health_t *)health, host, port, 0) : NULL;

    return !slot || (atomic_load(&slot->until) <= now && atomic_load(&slot->unfit) <= now);
}
