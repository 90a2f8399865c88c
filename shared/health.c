/* shared/health.c: open addressing over atomic words. Host names are compared only by a 64-bit
 * hash: a collision can only move a healthy server back in the order. The same can happen when a
 * process still writes a number for the server that had the slot before.
 */
#include "shared/health.h"

#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_lib.h>

#include "base/clock.h"
#include "shared/words.h"

#define SLOTS RPC_HEALTH_SLOTS  /* a power of 2; a site has a few dozen servers */
#define PROBES 16
#define TRIES 100               /* reads of texts that are being written */
#define DECISION_BITS 8         /* behind the time of a decision */
#define AVOID_FIRST apr_time_from_sec(2)
#define AVOID_MAX apr_time_from_sec(60)

typedef struct texts {
    char host[RPC_HEALTH_HOST];
    char why[RPC_HEALTH_WHY];
    uint64_t port;
} texts_t;

_Static_assert(sizeof(texts_t) % sizeof(uint64_t) == 0, "whole words");

typedef struct slot {
    _Atomic uint32_t reserved;  /* by this configuration */
    _Atomic int64_t until;      /* avoided until then */
    _Atomic int64_t avoid;      /* how long the last time; 0: it is healthy */
    _Atomic int64_t unfit;      /* a failed check counts until then; 0: no check has failed */
    _Atomic int64_t drain;      /* 0: it is not drained; 1: without an end; else its end */
    _Atomic uint64_t decision;  /* that is what DRAIN follows; see rpc_health_view_t */
    _Atomic uint32_t decider;   /* of these two: pid; 0: nobody */
    _Atomic int64_t good;       /* when it was reached last, or a check succeeded */
    _Atomic int64_t elsewhere;  /* avoided until then, since another machine does so */
    /* For people. */
    _Atomic int64_t since, failed, checked;
    _Atomic uint64_t connects, failures, checks, bad_checks;
    _Atomic uint32_t writer;    /* of the texts: pid; 0: nobody */
    rpc_word_t version;         /* of the texts; odd: they are being written */
    rpc_word_t texts[RPC_WORDS_OF(texts_t)];
} slot_t;

struct rpc_health {
    _Atomic uint32_t configuration;     /* counted; the first is 1 */
    /* Hashes of host:port, apart from the slots: whoever looks for a server, or at all, touches no
     * memory of slots that were never used. 0: it was never used. */
    _Atomic uint64_t servers[SLOTS];
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

/* ---- texts ---- */

/* Replaces the texts of a slot. If another process is writing them, its texts are as good. */
static void write_texts(slot_t *slot, const char *host, uint16_t port, const char *why)
{
    texts_t texts = { .port = port };
    uint32_t nobody = 0;
    uint64_t version;

    if (!atomic_compare_exchange_strong(&slot->writer, &nobody, (uint32_t)getpid()))
        return;
    version = atomic_load(&slot->version) | 1;
    rpc_words_text(texts.host, sizeof(texts.host), host);
    rpc_words_text(texts.why, sizeof(texts.why), why);
    atomic_store_explicit(&slot->version, version, memory_order_relaxed);
    rpc_words_store(slot->texts, &texts, RPC_WORDS_OF(texts));
    atomic_store(&slot->version, version + 1);
    atomic_store(&slot->writer, 0);
}

/* A process that dies in the middle leaves an odd version, and then there are no texts until the
 * next are written. */
static int read_texts(const slot_t *slot, texts_t *texts)
{
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        uint64_t version = atomic_load(&slot->version);

        if (version & 1)
            continue;
        rpc_words_load(slot->texts, texts, RPC_WORDS_OF(*texts));
        if (atomic_load(&slot->version) == version)
            return 1;
    }
    return 0;
}

/* ---- slots ---- */

/* The server's slot, or NULL. The search ends at a slot that was never used. */
static slot_t *find_slot(rpc_health_t *health, uint64_t server)
{
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        size_t n = (server + i) % SLOTS;
        uint64_t holds = atomic_load(&health->servers[n]);

        if (holds == server)
            return &health->slots[n];
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

/* Must the slot stay its server's, whatever the server's health is? */
static int is_kept(slot_t *slot, uint32_t configuration)
{
    return (configuration && atomic_load(&slot->reserved) == configuration)
           || atomic_load(&slot->drain);
}

/* Among the slots for SERVER, one that was never used, or the first that is free at NOW, or that
 * becomes free first. */
static slot_t *find_free(rpc_health_t *health, uint64_t server, apr_time_t now)
{
    uint32_t configuration = atomic_load(&health->configuration);
    slot_t *soonest = NULL;
    unsigned i;

    for (i = 0; i < PROBES; i++) {
        size_t n = (server + i) % SLOTS;
        slot_t *slot = &health->slots[n];

        if (!atomic_load(&health->servers[n]))
            return slot;
        if (is_kept(slot, configuration))
            continue;
        if (!soonest || (end_of(soonest) > now && end_of(slot) < end_of(soonest)))
            soonest = slot;
    }
    return soonest;
}

/* The server's slot; takes one if the server has none. NULL: another process was faster, or the
 * configuration's servers have all of them. */
static slot_t *claim_slot(rpc_health_t *health, const char *host, uint16_t port, apr_time_t now)
{
    uint64_t server = hash_server(host, port), holds;
    slot_t *slot = find_slot(health, server);
    _Atomic uint64_t *place;

    if (slot || !(slot = find_free(health, server, now)))
        return slot;
    place = &health->servers[slot - health->slots];
    holds = atomic_load(place);
    if (!atomic_compare_exchange_strong(place, &holds, server))
        return holds == server ? slot : NULL;
    atomic_store(&slot->reserved, 0);
    atomic_store(&slot->avoid, 0);
    atomic_store(&slot->until, 0);
    atomic_store(&slot->unfit, 0);
    atomic_store(&slot->decision, 0);
    atomic_store(&slot->good, 0);
    atomic_store(&slot->elsewhere, 0);
    atomic_store(&slot->since, 0);
    atomic_store(&slot->failed, 0);
    atomic_store(&slot->checked, 0);
    atomic_store(&slot->connects, 0);
    atomic_store(&slot->failures, 0);
    atomic_store(&slot->checks, 0);
    atomic_store(&slot->bad_checks, 0);
    write_texts(slot, host, port, "");
    return slot;
}

void rpc_health_reserve(rpc_health_t *health, const rpc_health_server_t *servers, int count)
{
    uint32_t configuration = atomic_fetch_add(&health->configuration, 1) + 1;
    int i;

    for (i = 0; i < count; i++) {
        slot_t *slot = claim_slot(health, servers[i].host, servers[i].port, rpc_clock_now());

        if (slot)
            atomic_store(&slot->reserved, configuration);
    }
}

void rpc_health_failed(rpc_health_t *health, const char *host, uint16_t port, apr_time_t now)
{
    slot_t *slot = health ? claim_slot(health, host, port, now) : NULL;
    int64_t avoid;

    if (!slot)
        return;
    atomic_fetch_add(&slot->failures, 1);
    atomic_store(&slot->failed, now);
    /* When many channels fail at the same time, they count as one failure. */
    if (atomic_load(&slot->until) > now)
        return;
    avoid = atomic_load(&slot->avoid) * 2;
    if (!avoid && !atomic_load(&slot->unfit))
        atomic_store(&slot->since, now);
    avoid = avoid < AVOID_FIRST ? AVOID_FIRST : avoid > AVOID_MAX ? AVOID_MAX : avoid;
    atomic_store(&slot->avoid, avoid);
    atomic_store(&slot->until, now + avoid);
}

void rpc_health_explain(rpc_health_t *health, const char *host, uint16_t port, const char *why)
{
    slot_t *slot = health ? find_slot(health, hash_server(host, port)) : NULL;

    if (slot)
        write_texts(slot, host, port, why);
}

/* What this machine has seen itself says more than what another one has seen before. */
static void set_good(slot_t *slot)
{
    atomic_store_explicit(&slot->good, rpc_clock_now(), memory_order_relaxed);
    if (atomic_load(&slot->elsewhere))
        atomic_store(&slot->elsewhere, 0);
}

int rpc_health_heard(rpc_health_t *health, const char *host, uint16_t port, apr_time_t failed,
                     apr_time_t until)
{
    slot_t *slot = find_slot(health, hash_server(host, port));
    apr_time_t before;

    if (!slot)
        return 0;
    if (failed <= atomic_load(&slot->good))
        until = 0;
    before = atomic_exchange(&slot->elsewhere, until);
    return until > rpc_clock_now() && before <= rpc_clock_now();
}

void rpc_health_good(rpc_health_t *health, const char *host, uint16_t port)
{
    slot_t *slot = health ? claim_slot(health, host, port, rpc_clock_now()) : NULL;

    if (!slot)
        return;
    set_good(slot);
    atomic_fetch_add_explicit(&slot->connects, 1, memory_order_relaxed);
    if (atomic_load(&slot->avoid)) {
        atomic_store(&slot->avoid, 0);
        atomic_store(&slot->until, 0);
        if (!atomic_load(&slot->unfit))
            atomic_store(&slot->since, rpc_clock_now());
    }
}

int rpc_health_checked(rpc_health_t *health, const char *host, uint16_t port, int good,
                       apr_time_t now, apr_time_t until)
{
    slot_t *slot = health ? claim_slot(health, host, port, now) : NULL;
    int changed;

    if (!slot)
        return 0;
    atomic_store(&slot->checked, now);
    atomic_fetch_add(&slot->checks, 1);
    if (!good) {
        atomic_fetch_add(&slot->bad_checks, 1);
        atomic_store(&slot->failed, now);
        changed = atomic_exchange(&slot->unfit, until) == 0;
    }
    else {
        set_good(slot);
        atomic_store(&slot->until, 0);
        changed = atomic_exchange(&slot->unfit, 0) != 0;
        if (atomic_exchange(&slot->avoid, 0))
            atomic_store(&slot->since, now);
    }
    if (changed)
        atomic_store(&slot->since, now);
    return changed;
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

    return !slot || (atomic_load(&slot->until) <= now && atomic_load(&slot->unfit) <= now
                     && atomic_load(&slot->elsewhere) <= now && !atomic_load(&slot->drain));
}

/* ---- draining ---- */

/* One process at a time changes DRAIN and DECISION; readers read the decision first, and what was
 * decided is stored before it. 0: others do, for as long as one may wait. */
static int begin_decision(slot_t *slot)
{
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        uint32_t nobody = 0;

        if (atomic_compare_exchange_strong(&slot->decider, &nobody, (uint32_t)getpid()))
            return 1;
        sched_yield();
    }
    return 0;
}

static void end_decision(slot_t *slot)
{
    atomic_store(&slot->decider, 0);
}

/* A decision later than LAST: the time of day, some bits of chance, and whether it is TO_DRAIN. So
 * it is also later than those that a machine does not know, which has just been started. */
static uint64_t next_decision(uint64_t last, int to_drain)
{
    uint64_t time = (uint64_t)apr_time_now();
    uint8_t chance = 0;

    apr_generate_random_bytes(&chance, sizeof(chance));
    if (time <= last >> DECISION_BITS)
        time = (last >> DECISION_BITS) + 1;
    return time << DECISION_BITS | (uint64_t)(chance & ~1) | (uint64_t)to_drain;
}

static uint64_t later_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

int rpc_health_drain(rpc_health_t *health, const char *host, uint16_t port, apr_time_t end_at,
                     uint64_t before)
{
    slot_t *slot = claim_slot(health, host, port, rpc_clock_now());

    if (!slot || !begin_decision(slot))
        return 0;
    atomic_store(&slot->drain, end_at ? end_at : 1);
    atomic_store(&slot->decision,
                 next_decision(later_of(atomic_load(&slot->decision), before), 1));
    end_decision(slot);
    return 1;
}

int rpc_health_undrain(rpc_health_t *health, const char *host, uint16_t port, uint64_t before)
{
    slot_t *slot = find_slot(health, hash_server(host, port));
    int drained;

    if (!slot || !begin_decision(slot))
        return 0;
    drained = atomic_exchange(&slot->drain, 0) != 0;
    if (drained)
        atomic_store(&slot->decision,
                     next_decision(later_of(atomic_load(&slot->decision), before), 0));
    end_decision(slot);
    return drained;
}

void rpc_health_drain_over(rpc_health_t *health, const char *host, uint16_t port)
{
    slot_t *slot = find_slot(health, hash_server(host, port));
    int64_t drain = slot ? atomic_load(&slot->drain) : 0;

    if (drain)
        atomic_compare_exchange_strong(&slot->drain, &drain, 1);
}

int rpc_health_decided(rpc_health_t *health, const char *host, uint16_t port, uint64_t decision,
                       apr_time_t end_at)
{
    slot_t *slot = find_slot(health, hash_server(host, port));
    int64_t drain = !(decision & 1) ? 0 : end_at ? end_at : 1, before;

    if (!slot || atomic_load(&slot->decision) >= decision || !begin_decision(slot))
        return 0;
    before = atomic_load(&slot->drain);
    if (atomic_load(&slot->decision) < decision) {
        atomic_store(&slot->drain, drain);
        atomic_store(&slot->decision, decision);
    }
    else
        drain = before;
    end_decision(slot);
    return !before != !drain;
}

int rpc_health_drains(const rpc_health_t *health, const char *host, uint16_t port)
{
    slot_t *slot = health ? find_slot((rpc_health_t *)health, hash_server(host, port)) : NULL;

    return slot && atomic_load(&slot->drain) != 0;
}

/* ---- for people ---- */

int rpc_health_view(const rpc_health_t *health, int number, apr_time_t now, rpc_health_view_t *view)
{
    slot_t *slot = (slot_t *)&health->slots[number];
    uint32_t configuration = atomic_load(&((rpc_health_t *)health)->configuration);
    int64_t drain;
    texts_t texts;

    if (!atomic_load(&((rpc_health_t *)health)->servers[number]) || !read_texts(slot, &texts)
        || !texts.host[0])
        return 0;
    memset(view, 0, sizeof(*view));
    view->decision = atomic_load(&slot->decision);
    drain = atomic_load(&slot->drain);
    memcpy(view->host, texts.host, sizeof(view->host));
    memcpy(view->why, texts.why, sizeof(view->why));
    view->port = (uint16_t)texts.port;
    view->avoided = atomic_load(&slot->until) > now;
    view->suspect = !view->avoided && atomic_load(&slot->avoid) != 0;
    view->unfit = atomic_load(&slot->unfit) > now;
    view->drained = drain != 0;
    view->elsewhere = atomic_load(&slot->elsewhere) > now;
    view->configured = configuration && atomic_load(&slot->reserved) == configuration;
    view->since = atomic_load(&slot->since);
    view->until = end_of(slot);
    view->failed = atomic_load(&slot->failed);
    view->checked = atomic_load(&slot->checked);
    view->drain_end = drain > 1 ? drain : 0;
    view->connects = atomic_load(&slot->connects);
    view->failures = atomic_load(&slot->failures);
    view->checks = atomic_load(&slot->checks);
    view->bad_checks = atomic_load(&slot->bad_checks);
    return 1;
}

void rpc_health_gone(rpc_health_t *health, uint32_t pid)
{
    int i;

    for (i = 0; i < SLOTS; i++) {
        uint32_t dead = pid;

        if (!atomic_load(&health->servers[i]))
            continue;
        atomic_compare_exchange_strong(&health->slots[i].writer, &dead, 0);
        dead = pid;
        atomic_compare_exchange_strong(&health->slots[i].decider, &dead, 0);
    }
}
