/* httpd/farm_exchange.c: a round: collect what is here, write it, read the others, tell this
 * machine.
 */
#include "httpd/farm_exchange.h"

#include <stdlib.h>
#include <unistd.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <http_log.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "httpd/farm_here.h"
#include "httpd/farm_peers.h"
#include "httpd/farm_seal.h"
#include "httpd/farm_store.h"
#include "httpd/module.h"
#include "httpd/watchdog.h"
#include "shared/words.h"

APLOG_USE_MODULE(rpcproxy);

#define WATCHDOG "_rpcproxy_farm_"
#define INTERVAL apr_time_from_msec(200)
#define STORE_TIME apr_time_from_sec(1)     /* for a store in a round */
#define RETRY apr_time_from_sec(1)          /* between two looks for a store that is away; if a look
                                             * takes time, so many times that: */
#define RETRY_FACTOR 4
#define REST 4                              /* times what a round computes, but no more than: */
#define REST_MOST apr_time_from_msec(300)   /* so others hear of all within a second */
#define LEASE apr_time_from_sec(10)         /* longer than a round may take */
#define PAGE_LIFE 60                        /* seconds */
#define RENEWED 32u                         /* pages that a round writes again, changed or not */

/* A page of this machine as it was written last. */
typedef struct rpc_own_page {
    uint64_t version, sum;
} rpc_own_page_t;

typedef struct exchange {
    server_rec *s;
    const rpc_context_t *context;
    const rpc_farm_t *farm;
    rpc_farm_place_t place;
    apr_array_header_t *stores;                 /* rpc_store_t */
    char name[RPC_FARM_NAME];                   /* of this machine */
    rpc_watchdog_t watchdog;
    /* Of the process that writes. */
    int began;
    apr_time_t retry[RPC_FARM_STORES];
    apr_time_t rest;                            /* no round before */
    rpc_farm_sums_t sums;                       /* of this machine */
    rpc_here_t here;
    rpc_own_page_t own[RPC_FARM_PAGES];
    unsigned renewed;
    unsigned commands[RPC_FARM_STORES];         /* whose replies are to come */
    rpc_peers_t peers;
    rpc_farm_facts_t facts;
} exchange_t;

/* ---- writing ---- */

static rpc_store_t *store_at(const exchange_t *x, int i)
{
    return &APR_ARRAY_IDX(x->stores, i, rpc_store_t);
}

/* Seals SIZE bytes under NAME, for all stores that are open. The number of the seal; 0: failed. */
static uint64_t put_sealed(exchange_t *x, const char *name, const void *text, size_t size,
                           int seconds)
{
    uint64_t number = rpc_farm_next(x->farm), machine = rpc_farm_machine(x->farm);
    uint8_t *sealed = malloc(size + RPC_SEAL_ROOM);
    int i, done = sealed && rpc_seal(x->place.secret, machine, number, name, text, size, sealed);

    for (i = 0; done && i < x->stores->nelts; i++) {
        if (!store_at(x, i)->redis)
            continue;
        redisAppendCommand(store_at(x, i)->redis, "SET %s %b EX %d", name, sealed,
                           size + RPC_SEAL_ROOM, seconds);
        x->commands[i]++;
    }
    free(sealed);
    return done ? number : 0;
}

/* Only pages that have changed. A few are always written again, so that none is lost when it would
 * end, or when a store has been emptied. */
static void put_pages(exchange_t *x, int all)
{
    char name[RPC_FARM_KEY];
    unsigned page;

    for (page = 0; page < RPC_FARM_PAGES; page++) {
        rpc_here_page_t *list = &x->here.pages[page];
        rpc_own_page_t *own = &x->own[page];
        uint64_t sealed;

        if (list->sum == own->sum && !all
            && (page - x->renewed) % RPC_FARM_PAGES >= RENEWED)
            continue;
        rpc_here_join(list);
        rpc_farm_page_name(&x->place, rpc_farm_machine(x->farm), page, name);
        sealed = !list->count ? 0
               : put_sealed(x, name, list->at, list->count * sizeof(*list->at), PAGE_LIFE);
        if (list->count && !sealed)
            continue;           /* the next round tries again; the others keep what they know */
        own->version = sealed;
        own->sum = list->sum;
    }
    x->renewed = (x->renewed + RENEWED) % RPC_FARM_PAGES;
}

static void put_head(exchange_t *x)
{
    rpc_farm_head_t head = { .clock = rpc_clock_now(), .sums = x->sums };
    char name[RPC_FARM_KEY];
    unsigned page;
    int i;

    memcpy(head.name, x->name, sizeof(head.name));
    for (page = 0; page < RPC_FARM_PAGES; page++)
        head.versions[page] = x->own[page].version;
    rpc_farm_head_name(&x->place, rpc_farm_machine(x->farm), name);
    put_sealed(x, name, &head, sizeof(head), RPC_FARM_ALIVE);
    for (i = 0; i < x->stores->nelts; i++) {
        redisContext *redis = store_at(x, i)->redis;

        if (!redis)
            continue;
        redisAppendCommand(redis, "SADD %s:machines %s", x->place.prefix, strrchr(name, ':') + 1);
        redisAppendCommand(redis, "EXPIRE %s:machines 3600", x->place.prefix);
        redisAppendCommand(redis, "SRANDMEMBER %s:machines %u", x->place.prefix,
                           RPC_PEERS_MEMBERS);
        x->commands[i] += 2;        /* and the last, which is read apart */
    }
}

/* ---- a store ---- */

/* A store that this child has left because it ends is not away. */
static void note_store(exchange_t *x, int i)
{
    const rpc_store_t *store = store_at(x, i);
    rpc_farm_store_t *fact = &x->facts.stores[i];
    rpc_store_state_t state = store->redis ? RPC_STORE_UP : RPC_STORE_AWAY;
    rpc_store_state_t before = (rpc_store_state_t)fact->state;

    if (rpc_watchdog_ends())
        return;
    if (!store->redis)
        x->retry[i] = rpc_clock_now() + RETRY;
    if (!store->redis && store->why[0])
        rpc_words_text(fact->why, sizeof(fact->why), store->why);
    if (state == before)
        return;
    fact->state = state;
    fact->since = rpc_clock_now();
    if (state == RPC_STORE_AWAY)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, x->s,
                     RPCNO(0028) "RpcSharedStore: %s is away: %s; until it is back this machine "
                     "knows of the others only what another store tells", store->name, fact->why);
    else
        ap_log_error(APLOG_MARK, before == RPC_STORE_AWAY ? APLOG_NOTICE : APLOG_INFO, 0, x->s,
                     RPCNO(0029) "RpcSharedStore: %s is %s", store->name,
                     before == RPC_STORE_AWAY ? "back" : "there");
}

/* 1: one more store than before is open. One that says nothing is rarely asked, so that the others
 * are as often as ever. */
static int open_stores(exchange_t *x)
{
    int i, opened = 0;

    for (i = 0; i < x->stores->nelts && !rpc_watchdog_ends(); i++) {
        rpc_store_t *store = store_at(x, i);
        apr_time_t began = rpc_clock_now();

        x->commands[i] = 0;
        if (store->redis || x->retry[i] > began)
            continue;
        opened |= rpc_store_open(store, STORE_TIME);
        if (store->redis)
            continue;
        note_store(x, i);
        x->retry[i] += (rpc_clock_now() - began) * RETRY_FACTOR;
    }
    return opened;
}

static void read_store(exchange_t *x, int i)
{
    apr_time_t until = rpc_clock_now() + STORE_TIME;
    rpc_store_t *store = store_at(x, i);
    redisReply *members;

    if (!store->redis)
        return;
    for (; x->commands[i] > 0; x->commands[i]--)
        freeReplyObject(rpc_store_reply(store, until));
    members = rpc_store_reply(store, until);
    rpc_peers_read(&x->peers, store, members, until);
    freeReplyObject(members);
    if (store->redis)
        rpc_farm_good_until(x->farm, rpc_clock_now() + apr_time_from_sec(RPC_FARM_ALIVE));
    note_store(x, i);
}

/* ---- telling this machine ---- */

static void tell_facts(exchange_t *x)
{
    rpc_farm_machine_t *this = &x->facts.machines[0];
    unsigned i, n = 1;

    *this = (rpc_farm_machine_t){ .number = rpc_farm_machine(x->farm), .heard = rpc_clock_now() };
    memcpy(this->name, x->name, sizeof(this->name));
    this->sums = x->sums;
    for (i = 0; i < RPC_FARM_MACHINES; i++) {
        const rpc_peer_t *peer = &x->peers.at[i];

        if (!peer->number)
            continue;
        x->facts.machines[n] = (rpc_farm_machine_t){ .number = peer->number, .heard = peer->heard,
                                                     .sums = peer->head.sums };
        rpc_words_text(x->facts.machines[n++].name, RPC_FARM_NAME, peer->head.name);
    }
    x->facts.machine_count = n;
    x->facts.exchanges++;
    rpc_farm_tell(x->farm, &x->facts);
}

static void tell_avoided(exchange_t *x, const rpc_health_view_t *server, uint64_t hash)
{
    rpc_farm_entry_t entry;

    if (!rpc_farm_find(x->farm, RPC_FARM_SERVER, hash, &entry))
        entry.a = entry.b = 0;
    if (rpc_health_heard(x->context->health, server->host, server->port, (apr_time_t)entry.a,
                         (apr_time_t)entry.b))
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, x->s,
                     RPCNO(0030) "RpcSharedStore: %s port %u is avoided, since another machine "
                     "could not reach it", server->host, server->port);
}

static void tell_drained(exchange_t *x, const rpc_health_view_t *server, uint64_t hash)
{
    rpc_farm_entry_t entry;

    if (rpc_farm_find(x->farm, RPC_FARM_DRAINED, hash, &entry)
        && rpc_health_decided(x->context->health, server->host, server->port, entry.a,
                              (apr_time_t)entry.b))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, x->s,
                     RPCNO(0154) "RpcSharedStore: %s[%u] is %s, as was said at another machine",
                     server->host, server->port, entry.a & 1 ? "drained" : "used again");
}

/* What the others say of the servers that this machine knows. */
static void tell_health(exchange_t *x)
{
    apr_time_t now = rpc_clock_now();
    rpc_health_view_t server;
    int i;

    for (i = 0; i < RPC_HEALTH_SLOTS; i++)
        if (rpc_health_view(x->context->health, i, now, &server)) {
            uint64_t hash = rpc_here_server(x->farm, server.host, server.port);

            tell_avoided(x, &server, hash);
            tell_drained(x, &server, hash);
        }
}

/* ---- rounds ---- */

/* This process has become the writer. What is known of the stores has been told before. */
static int begin(exchange_t *x)
{
    int i;

    if (!x->here.noted)
        x->here.noted = malloc(RPC_FARM_NOTED * sizeof(*x->here.noted));
    if (!rpc_peers_make(&x->peers) || !x->here.noted)
        return 0;
    if (!rpc_farm_read(x->farm, &x->facts))
        memset(&x->facts, 0, sizeof(x->facts));
    x->facts.store_count = (uint64_t)x->stores->nelts;
    x->facts.pause = INTERVAL + REST_MOST;
    for (i = 0; i < x->stores->nelts; i++) {
        rpc_farm_store_t *fact = &x->facts.stores[i];

        if (strncmp(fact->name, store_at(x, i)->name, sizeof(fact->name) - 1) == 0)
            continue;
        *fact = (rpc_farm_store_t){ .since = rpc_clock_now() };
        rpc_words_text(fact->name, sizeof(fact->name), store_at(x, i)->name);
    }
    return x->began = 1;
}

/* What there is, to the stores. */
static void write_all(exchange_t *x, int all_pages)
{
    rpc_here_sums(x->context, &x->sums);
    rpc_here_collect(&x->here, rpc_clock_now());
    put_pages(x, all_pages);
    put_head(x);
}

/* A great farm costs no more than a part of a processor: the next round waits for a multiple of
 * what this one has computed. */
static apr_status_t make_round(void *data, apr_pool_t *pool)
{
    exchange_t *x = data;
    apr_time_t began, took;
    int i, all;

    if (rpc_clock_now() < x->rest || !rpc_farm_lease(x->farm, (uint32_t)getpid(), LEASE))
        return APR_SUCCESS;
    if (!x->began && !begin(x))
        return APR_ENOMEM;
    all = open_stores(x);
    began = rpc_clock_now();
    write_all(x, all);
    took = rpc_clock_now() - began;
    for (i = 0; i < x->stores->nelts && !rpc_watchdog_ends(); i++)
        read_store(x, i);
    began = rpc_clock_now();
    rpc_peers_drop_silent(&x->peers);
    if (x->peers.changed)
        x->facts.entries = rpc_peers_fill(&x->peers);
    tell_health(x);
    tell_facts(x);
    took += rpc_clock_now() - began;
    x->rest = rpc_clock_now() + (took * REST < REST_MOST ? took * REST : REST_MOST);
    return APR_SUCCESS;
}

/* Another child may go on. */
static void leave_farm(void *data)
{
    exchange_t *x = data;
    int i;

    for (i = 0; i < x->stores->nelts; i++)
        rpc_store_close(store_at(x, i));
    rpc_farm_yield(x->farm, (uint32_t)getpid());
}

/* ---- beginning and end ---- */

int rpc_exchange_possible(server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    const char *missing = !sc->stores ? NULL
        : !sc->store_secret ? "RpcSharedStoreSecret and a file, the same on all machines of the "
                              "farm: make it with \"openssl rand -hex 32\", readable for root alone"
        : !rpc_watchdog_possible() ? "mod_watchdog: add \"LoadModule watchdog_module "
                                     "modules/mod_watchdog.so\"" : NULL;

    if (!missing && sc->store_secret && !sc->stores)
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, s,
                     RPCNO(0031) "RpcSharedStoreSecret has no effect without RpcSharedStore");
    if (missing)
        ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, s,
                     RPCNO(0032) "RpcSharedStore needs %s",
                     missing);
    return !missing;
}

static void name_farm(exchange_t *x, rpc_farm_t *farm)
{
    char host[APRMAXHOSTLEN + 1] = "";

    rpc_seal_derive(x->place.secret, "key of hashes", farm->key, sizeof(farm->key));
    apr_gethostname(host, sizeof(host), x->s->process->pool);
    rpc_words_text(x->name, sizeof(x->name), host);
}

apr_status_t rpc_exchange_start(apr_pool_t *pconf, server_rec *s, rpc_context_t *context)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    rpc_farm_t *farm = context->farm;
    exchange_t *x;

    if (!sc->stores) {
        context->farm = NULL;
        rpc_status_join(context->live, NULL);
        return APR_SUCCESS;
    }
    x = apr_pcalloc(pconf, sizeof(*x));
    x->s = s;
    x->context = context;
    x->farm = farm;
    x->place = rpc_farm_place(sc->store_secret);
    x->here.context = context;
    x->peers.farm = farm;
    x->peers.place = &x->place;
    x->stores = sc->stores;
    name_farm(x, farm);
    rpc_status_join(context->live, farm);
    x->watchdog = (rpc_watchdog_t){ WATCHDOG, INTERVAL, make_round, leave_farm, .data = x };
    return rpc_watchdog_start(pconf, s, &x->watchdog);
}
