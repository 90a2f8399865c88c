/* shared/health.c: open addressing over atomic words. Host names are compared only by a 64-bit
 * hash: a collision can only move a healthy server back in the order. The same can happen when a
 * process still writes a number for the server that had the slot before.
 */
#include "shared/health.h"

#include <stdatomic.h>

#include <apr_lib.h>

#include "base/clock.h"

#define SLOTS 1024              /* a power of 2; a site has a few dozen servers */
#define PROBES 16
#define AVOID_FIRST apr_time_from_sec(2)
#define AVOID_MAX apr_time_from_sec(60)

typedef struct slot {
    _Atomic uint64_t server;    /* hash of host:port; 0: the slot was never used */
    _Atomic uint32_t reserved;  /* by this configuration */
    _Atomic int64_t until;      /* avoided until then */
    _Atomic int64_t avoid;      /* how long the last time; 0: it is healthy */
    _Atomic int64_t unfit;      /* a failed check counts until then; 0: no check has failed */
} slot_t;

struct rpc_health {
    _Atomic uint32_t configuration;     /* counted; the first is 1 */
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
static uint64_t hash_server(const char *host, uint16_t port)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *host; host++)
        h = (h ^ (uint8_t)apr_tolower(*host)) * 0x100000001b3u;
    h = (h ^ port) * 0x100000001b3u;
    return h ? h : 1;
}

/* The server's slot, or NULL. The search ends at a slot that was never used. */
static slot_t *find_slot(rpc_health_t *health, uint64_t server)
{
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        slot_t *slot = &health->slots[(server + i) % SLOTS];
        uint64_t holds = atomic_load(&slot->server);

        if (holds == server)
            return slot;
        if (!holds)
            return NULL;
    }
    return NULL;
}

/* When its server is not avoided any more. */
static int64_t end_of(slot_t *slot)
{
    int64_t until = atomic_load(&slot->until), unfit = atomic_load(&slot->unfit);

    return until > unfit ? until : unfit;
}

/* Among the slots for SERVER, the first that is free at NOW, or that becomes free first. */
static slot_t *find_free(rpc_health_t *health, uint64_t server, apr_time_t now)
{
    uint32_t configuration = atomic_load(&health->configuration);
    slot_t *soonest = NULL;
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        slot_t *slot = &health->slots[(server + i) % SLOTS];

        if (!atomic_load(&slot->server))
            return slot;
        if (configuration && atomic_load(&slot->reserved) == configuration)
            continue;
        if (end_of(slot) <= now)
            return slot;
        if (!soonest || end_of(slot) < end_of(soonest))
            soonest = slot;
    }
    return soonest;
}

/* The server's slot; takes one if the server has none. NULL: another process was faster, or the
 * configuration's servers have all of them. */
static slot_t *claim_slot(rpc_health_t *health, uint64_t server, apr_time_t now)
{
    slot_t *slot = find_slot(health, server);
    uint64_t holds;

    if (slot || !(slot = find_free(health, server, now)))
        return slot;
    holds = atomic_load(&slot->server);
    if (!atomic_compare_exchange_strong(&slot->server, &holds, server))
        return holds == server ? slot : NULL;
    atomic_store(&slot->reserved, 0);
    atomic_store(&slot->avoid, 0);
    atomic_store(&slot->until, 0);
    atomic_store(&slot->unfit, 0);
    return slot;
}

void rpc_health_reserve(rpc_health_t *health, const rpc_health_server_t *servers, int count)
{
    uint32_t configuration = atomic_fetch_add(&health->configuration, 1) + 1;
    int i;

    for (i = 0; i < count; i++) {
        slot_t *slot = claim_slot(health, hash_server(servers[i].host, servers[i].port),
                                  rpc_clock_now());

        if (slot)
            atomic_store(&slot->reserved, configuration);
    }
}

void rpc_health_failed(rpc_health_t *health, const char *host, uint16_t port, apr_time_t now)
{
    slot_t *slot = health ? claim_slot(health, hash_server(host, port), now) : NULL;
    int64_t avoid;

    /* When many channels fail at the same time, they count as one failure. */
    if (!slot || atomic_load(&slot->until) > now)
        return;
    avoid = atomic_load(&slot->avoid) * 2;
    avoid = avoid < AVOID_FIRST ? AVOID_FIRST : avoid > AVOID_MAX ? AVOID_MAX : avoid;
    atomic_store(&slot->avoid, avoid);
    atomic_store(&slot->until, now + avoid);
}

void rpc_health_good(rpc_health_t *health, const char *host, uint16_t port)
{
    slot_t *slot = health ? find_slot(health, hash_server(host, port)) : NULL;

    if (slot && atomic_load(&slot->avoid)) {
        atomic_store(&slot->avoid, 0);
        atomic_store(&slot->until, 0);
    }
}

int rpc_health_checked(rpc_health_t *health, const char *host, uint16_t port, int good,
                       apr_time_t now, apr_time_t until)
{
    uint64_t server = hash_server(host, port);
    slot_t *slot = !health ? NULL
                 : good    ? find_slot(health, server)
                           : claim_slot(health, server, now);

    if (!slot)
        return 0;
    if (!good)
        return atomic_exchange(&slot->unfit, until) == 0;
    atomic_store(&slot->avoid, 0);
    atomic_store(&slot->until, 0);
    return atomic_exchange(&slot->unfit, 0) != 0;
}

void rpc_health_unchecked(rpc_health_t *health, const char *host, uint16_t port, apr_time_t until)
{
    slot_t *slot = health ? find_slot(health, hash_server(host, port)) : NULL;

    if (slot && atomic_load(&slot->unfit))
        atomic_store(&slot->unfit, until);
}

int rpc_health_up(const rpc_health_t *health, const char *host, uint16_t port, apr_time_t now)
{
    slot_t *slot = health ? find_slot((rpc_health_t *)health, hash_server(host, port)) : NULL;

    return !slot || (atomic_load(&slot->until) <= now && atomic_load(&slot->unfit) <= now);
}
