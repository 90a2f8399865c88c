/* shared/failed_targets.c: open addressing over atomic words, as in shared/health.c. A slot belongs
 * to its owner until its window has ended and another owner needs it. A process renews a slot by
 * exchanging the start of its window. A target that is counted at that moment goes into the new
 * window or is lost, so that the count may differ by one.
 */
#include "shared/failed_targets.h"

#include <stdatomic.h>
#include <string.h>

#include <apr_general.h>
#include <apr_shm.h>
#include <apr_siphash.h>

#include "base/who.h"

#define SLOTS 4096              /* a power of 2; the clients with failures at the same time */
#define PROBES 16
#define WORDS 16                /* of 64 targets each */

typedef struct slot {
    _Atomic uint64_t owner;     /* hash of user and address; 0: nobody yet */
    _Atomic int64_t start;      /* of the window */
    _Atomic int64_t end;
    _Atomic int64_t told;       /* start of the last window whose end of budget was reported */
    _Atomic uint64_t seen[WORDS];
} slot_t;

struct rpc_budgets {
    unsigned char key[APR_SIPHASH_KSIZE];
    slot_t slots[SLOTS];
};

apr_status_t rpc_budget_create(rpc_budgets_t **budgets, apr_pool_t *pool)
{
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, sizeof(rpc_budgets_t), NULL, pool);

    if (rv != APR_SUCCESS)
        return rv;
    *budgets = apr_shm_baseaddr_get(shm);   /* anonymous, so zeroed */
    return apr_generate_random_bytes((*budgets)->key, sizeof((*budgets)->key));
}

/* ---- hashes ---- */

static uint64_t budget_hash(const rpc_budgets_t *budgets, const void *data, size_t size)
{
    uint64_t h = apr_siphash24(data, size, budgets->key);

    return h ? h : 1;
}

static uint64_t hash_who(const rpc_budgets_t *budgets, const rpc_budget_who_t *who,
                         apr_interval_time_t window)
{
    rpc_who_network_t network = rpc_who_network(who->address.addr, who->address.ipv6 ? 16 : 4);
    struct { apr_interval_time_t window; uint64_t user; rpc_who_network_t network; } whole;

    memset(&whole, 0, sizeof(whole));       /* the padding between the fields is hashed, too */
    whole.window = window;
    whole.user = budget_hash(budgets, who->user, strlen(who->user));
    whole.network = network;
    return budget_hash(budgets, &whole, sizeof(whole));
}

/* ---- slots ---- */

/* OWNER's slot, if it has one. */
static slot_t *find_budget(rpc_budgets_t *budgets, uint64_t owner)
{
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        slot_t *slot = &budgets->slots[(owner + i) % SLOTS];

        if (atomic_load(&slot->owner) == owner)
            return slot;
    }
    return NULL;
}

/* Renews SLOT, whose window began at START, for OWNER, unless another process is faster. */
static int renew_slot(slot_t *slot, int64_t start, uint64_t owner, apr_time_t now,
                      apr_interval_time_t window)
{
    int i;

    if (!atomic_compare_exchange_strong(&slot->start, &start, now))
        return 0;
    for (i = 0; i < WORDS; i++)
        atomic_store(&slot->seen[i], 0);
    atomic_store(&slot->end, now + window);
    atomic_store(&slot->owner, owner);
    return 1;
}

/* OWNER's slot with an open window; taken or renewed if necessary. */
static slot_t *find_open(rpc_budgets_t *budgets, uint64_t owner, apr_time_t now,
                         apr_interval_time_t window)
{
    slot_t *slot = find_budget(budgets, owner);
    unsigned i;

    if (slot) {
        int64_t start = atomic_load(&slot->start);

        if (atomic_load(&slot->end) <= now)
            renew_slot(slot, start, owner, now, window);
        return slot;
    }
    for (i = 0; i < PROBES; i++) {
        int64_t start;

        slot = &budgets->slots[(owner + i) % SLOTS];
        start = atomic_load(&slot->start);
        if (atomic_load(&slot->end) <= now && renew_slot(slot, start, owner, now, window))
            return slot;
    }
    return NULL;
}

static unsigned count_target(const slot_t *slot)
{
    unsigned n = 0, i;

    for (i = 0; i < WORDS; i++)
        n += (unsigned)__builtin_popcountll(atomic_load(&((slot_t *)slot)->seen[i]));
    return n;
}

/* ---- asking and spending ---- */

apr_interval_time_t rpc_budget_spent(rpc_budgets_t *budgets, const rpc_budget_who_t *who,
                                     const rpc_budget_limit_t *limit, apr_time_t now)
{
    slot_t *slot;
    apr_interval_time_t left;

    if (!limit->targets)
        return 0;
    slot = find_budget(budgets, hash_who(budgets, who, limit->window));
    left = slot ? atomic_load(&slot->end) - now : 0;
    return left > 0 && count_target(slot) >= limit->targets ? left : 0;
}

int rpc_budget_spend(rpc_budgets_t *budgets, const rpc_budget_who_t *who, const char *target,
                     const rpc_budget_limit_t *limit, apr_time_t now)
{
    uint64_t h = budget_hash(budgets, target, strlen(target)), bit = UINT64_C(1) << (h & 63);
    slot_t *slot = limit->targets ? find_open(budgets, hash_who(budgets, who, limit->window), now,
                                              limit->window) : NULL;
    int64_t start;

    if (!slot || atomic_fetch_or(&slot->seen[(h >> 6) % WORDS], bit) & bit)
        return 0;
    start = atomic_load(&slot->start);
    return count_target(slot) >= limit->targets && atomic_exchange(&slot->told, start) != start;
}
