/* httpd/farm_exchange.c: a round: collect what is here, write it, read the others, tell this
 * machine.
 */
#include "httpd/farm_exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <http_log.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "httpd/farm_seal.h"
#include "httpd/farm_store.h"
#include "httpd/module.h"
#include "httpd/watchdog.h"
#include "shared/words.h"

APLOG_USE_MODULE(rpcproxy);

#define WATCHDOG "_rpcproxy_farm_"
#define INTERVAL apr_time_from_msec(200)
#define STORE_TIME apr_time_from_sec(1)     /* for a store in a round */
#define RETRY apr_time_from_sec(1)          /* between two looks for a store that is away */
#define REST 4                              /* times what a round computes, but no more than: */
#define REST_MOST apr_time_from_msec(400)
#define LEASE apr_time_from_sec(10)         /* longer than a round may take */
#define ALIVE 5                             /* seconds that a machine is remembered */
#define PAGE_LIFE 60                        /* seconds */
#define PAGES 1024u
#define RENEWED 32u                         /* pages that a round writes again, changed or not */
#define BATCH 256                           /* pages that are read at a time */
#define NAME_SIZE 64
#define LAYOUT "1"                          /* of what stands in the store */

typedef struct page {
    uint64_t version;           /* the number that it was sealed with; 0: it is empty */
    size_t count;
    rpc_farm_entry_t *at;       /* malloc'ed */
} page_t;

typedef struct head {
    int64_t clock;              /* rpc_clock_now() of that machine */
    char name[RPC_FARM_NAME];
    rpc_farm_sums_t sums;
    uint64_t versions[PAGES];
} head_t;

/* Another machine. */
typedef struct peer {
    uint64_t number;            /* 0: nobody has this place */
    uint64_t sealed;            /* the number of its last head */
    apr_time_t heard;
    int64_t ahead;              /* our clock less its own */
    head_t head;
    page_t pages[PAGES];
} peer_t;

/* The entries of a page as they are collected. */
typedef struct list {
    rpc_farm_entry_t *at;
    size_t count, room;
    uint64_t sum;               /* of all of them, whatever their order */
} list_t;

typedef struct exchange {
    server_rec *s;
    const rpc_context_t *context;
    const rpc_farm_t *farm;
    const uint8_t *secret;
    apr_array_header_t *stores;                 /* rpc_store_t */
    char prefix[NAME_SIZE / 2];
    char name[RPC_FARM_NAME];                   /* of this machine */
    rpc_watchdog_t watchdog;
    /* Of the process that writes. */
    int began;
    apr_time_t retry[RPC_FARM_STORES];
    apr_time_t rest;                            /* no round before */
    rpc_farm_sums_t sums;                       /* of this machine */
    list_t here[PAGES];
    struct { uint64_t version, sum; } own[PAGES];   /* as they were written last */
    rpc_farm_entry_t *noted;                    /* room for RPC_FARM_NOTED */
    unsigned renewed;
    unsigned commands[RPC_FARM_STORES];         /* whose replies are to come */
    peer_t *peers;                              /* RPC_FARM_MACHINES of them */
    int changed;                                /* what the others have told */
    rpc_farm_facts_t facts;
} exchange_t;

/* ---- what is here ---- */

static unsigned page_of(uint64_t key)
{
    return (unsigned)(key >> 54) % PAGES;
}

/* The same for the same entries in any order. */
static uint64_t mix(const rpc_farm_entry_t *entry)
{
    uint64_t h = entry->key ^ entry->a * 0x9e3779b97f4a7c15u ^ entry->b * 0xc2b2ae3d27d4eb4fu;

    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

static void add(exchange_t *x, const rpc_farm_entry_t *entry)
{
    list_t *list = &x->here[page_of(entry->key)];

    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        rpc_farm_entry_t *at = realloc(list->at, room * sizeof(*at));

        if (!at)
            return;         /* what others do not hear makes no limit stricter */
        list->at = at;
        list->room = room;
    }
    list->at[list->count++] = *entry;
    list->sum += mix(entry);
}

static uint64_t server_hash(const exchange_t *x, const rpc_health_view_t *server)
{
    char name[RPC_HEALTH_HOST + 8];

    snprintf(name, sizeof(name), "%s:%u", server->host, server->port);
    ap_str_tolower(name);
    return rpc_farm_hash(x->farm, name, strlen(name));
}

static void add_servers(exchange_t *x, apr_time_t now)
{
    rpc_health_view_t server;
    int i;

    for (i = 0; i < RPC_HEALTH_SLOTS; i++)
        if (rpc_health_view(x->context->health, i, now, &server)
            && (server.avoided || server.unfit))
            add(x, &(rpc_farm_entry_t){
                    rpc_farm_key(RPC_FARM_SERVER, server_hash(x, &server)),
                    (uint64_t)server.failed, (uint64_t)server.until });
}

static void collect(exchange_t *x, apr_time_t now)
{
    uint32_t row, mark = rpc_status_mark(x->context->live);
    rpc_farm_entry_t told[RPC_STATUS_TOLD];
    unsigned page;
    size_t i;
    int k, count;

    for (page = 0; page < PAGES; page++)
        x->here[page].count = x->here[page].sum = 0;
    for (row = 0; row < mark; row++)
        for (k = 0, count = rpc_status_tell(x->context->live, row, told); k < count; k++)
            add(x, &told[k]);
    for (i = rpc_farm_noted(x->farm, x->noted); i > 0; i--)
        add(x, &x->noted[i - 1]);
    add_servers(x, now);
}

static int by_key(const void *one, const void *other)
{
    const rpc_farm_entry_t *a = one, *b = other;

    return a->key < b->key ? -1 : a->key > b->key;
}

/* One entry for each key. */
static void join_entries(list_t *list)
{
    size_t i, n = 0;

    if (list->count)
        qsort(list->at, list->count, sizeof(*list->at), by_key);
    for (i = 0; i < list->count; i++) {
        if (n && list->at[n - 1].key == list->at[i].key)
            rpc_farm_join(&list->at[n - 1], &list->at[i]);
        else
            list->at[n++] = list->at[i];
    }
    list->count = n;
}

/* ---- writing ---- */

static const char *head_name(const exchange_t *x, uint64_t machine, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "%s:%016" PRIx64, x->prefix, machine);
    return name;
}

static const char *page_name(const exchange_t *x, uint64_t machine, unsigned page,
                             char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "%s:%016" PRIx64 ":%u", x->prefix, machine, page);
    return name;
}

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
    int i, done = sealed && rpc_seal(x->secret, machine, number, name, text, size, sealed);

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
    char name[NAME_SIZE];
    unsigned page;

    for (page = 0; page < PAGES; page++) {
        list_t *list = &x->here[page];
        uint64_t *version = &x->own[page].version;

        if (list->sum == x->own[page].sum && !all && (page - x->renewed) % PAGES >= RENEWED)
            continue;
        x->own[page].sum = list->sum;
        join_entries(list);
        *version = 0;
        if (list->count)
            *version = put_sealed(x, page_name(x, rpc_farm_machine(x->farm), page, name), list->at,
                                  list->count * sizeof(*list->at), PAGE_LIFE);
    }
    x->renewed = (x->renewed + RENEWED) % PAGES;
}

static uint64_t sum(const _Atomic uint64_t *counts, int count)
{
    uint64_t all = 0;

    while (count)
        all += atomic_load(&counts[--count]);
    return all;
}

static void fill_sums(const rpc_context_t *context, rpc_farm_sums_t *sums)
{
    rpc_status_counts_t now = rpc_status_count(context->live);
    rpc_board_bytes_t bytes = rpc_board_total(context->board);
    const rpc_tally_t *tally = context->tally;

    *sums = (rpc_farm_sums_t){
        .channels = now.channels, .unpaired = now.unpaired,
        .begun = sum(tally->begun, RPC_ROLES), .ended = sum(tally->ended, RPC_REASON_COUNT),
        .refused = sum(tally->refused, RPC_REASON_COUNT),
        .connections = atomic_load(&tally->connections),
        .in = bytes.in, .out = bytes.out, .started = atomic_load(&tally->started),
    };
}

static void put_head(exchange_t *x)
{
    head_t head = { .clock = rpc_clock_now(), .sums = x->sums };
    char name[NAME_SIZE];
    unsigned page;
    int i;

    memcpy(head.name, x->name, sizeof(head.name));
    for (page = 0; page < PAGES; page++)
        head.versions[page] = x->own[page].version;
    put_sealed(x, head_name(x, rpc_farm_machine(x->farm), name), &head, sizeof(head), ALIVE);
    for (i = 0; i < x->stores->nelts; i++) {
        redisContext *redis = store_at(x, i)->redis;

        if (!redis)
            continue;
        redisAppendCommand(redis, "SADD %s:machines %s", x->prefix, strrchr(name, ':') + 1);
        redisAppendCommand(redis, "EXPIRE %s:machines 3600", x->prefix);
        redisAppendCommand(redis, "SMEMBERS %s:machines", x->prefix);
        x->commands[i] += 2;        /* and the last, which is read apart */
    }
}

/* ---- reading ---- */

static void drop_page(page_t *page)
{
    free(page->at);
    *page = (page_t){ 0 };
}

static void drop_peer(exchange_t *x, peer_t *peer)
{
    unsigned page;

    for (page = 0; page < PAGES; page++)
        drop_page(&peer->pages[page]);
    peer->number = 0;
    x->changed = 1;
}

/* The machine's place, or a free one; NULL: there are too many. */
static peer_t *peer_of(exchange_t *x, uint64_t number)
{
    peer_t *free_one = NULL;
    unsigned i;

    for (i = 0; i < RPC_FARM_MACHINES; i++) {
        if (x->peers[i].number == number)
            return &x->peers[i];
        if (!x->peers[i].number && !free_one)
            free_one = &x->peers[i];
    }
    if (free_one)
        *free_one = (peer_t){ .number = number };
    return free_one;
}

/* An older head, which another store still has, says nothing new. */
static void take_head(exchange_t *x, uint64_t number, const redisReply *reply)
{
    char name[NAME_SIZE];
    uint64_t sealed;
    head_t head;
    peer_t *peer;

    if (reply->type != REDIS_REPLY_STRING || reply->len != sizeof(head) + RPC_SEAL_ROOM
        || !rpc_unseal(x->secret, number, head_name(x, number, name), reply->str, reply->len,
                       &head, &sealed)
        || !(peer = peer_of(x, number)) || sealed <= peer->sealed)
        return;
    peer->sealed = sealed;
    peer->heard = rpc_clock_now();
    peer->ahead = peer->heard - head.clock;
    peer->head = head;
    peer->head.name[RPC_FARM_NAME - 1] = '\0';
}

static void take_page(exchange_t *x, peer_t *peer, unsigned number, const redisReply *reply)
{
    page_t *page = &peer->pages[number];
    size_t size = reply->len - RPC_SEAL_ROOM;
    rpc_farm_entry_t *at;
    char name[NAME_SIZE];
    uint64_t version;

    if (reply->type != REDIS_REPLY_STRING || reply->len <= RPC_SEAL_ROOM
        || size % sizeof(*at) != 0 || !(at = malloc(size)))
        return;
    if (rpc_unseal(x->secret, peer->number, page_name(x, peer->number, number, name), reply->str,
                   reply->len, at, &version) && version > page->version) {
        free(page->at);
        *page = (page_t){ version, size / sizeof(*at), at };
        x->changed = 1;
    }
    else
        free(at);
}

/* Pages that are newer at this store than what is known. */
static void read_pages(exchange_t *x, rpc_store_t *store, peer_t *peer, apr_time_t until)
{
    unsigned wanted[PAGES], count = 0, page, i;
    char name[NAME_SIZE];

    for (page = 0; page < PAGES; page++) {
        if (!peer->head.versions[page] && peer->pages[page].count) {
            drop_page(&peer->pages[page]);
            x->changed = 1;
        }
        else if (peer->head.versions[page] > peer->pages[page].version)
            wanted[count++] = page;
    }
    for (page = 0; page < count && store->redis; page += BATCH) {
        unsigned last = page + BATCH < count ? page + BATCH : count;

        for (i = page; i < last; i++)
            redisAppendCommand(store->redis, "GET %s", page_name(x, peer->number, wanted[i], name));
        for (i = page; i < last; i++) {
            redisReply *reply = rpc_store_reply(store, until);

            if (reply)
                take_page(x, peer, wanted[i], reply);
            freeReplyObject(reply);
        }
    }
}

/* The heads of the machines that MEMBERS names. Those that have none are no longer named. */
static void read_heads(exchange_t *x, rpc_store_t *store, const redisReply *members,
                       apr_time_t until)
{
    size_t i, count = members->type == REDIS_REPLY_ARRAY ? members->elements : 0;
    char name[NAME_SIZE];
    unsigned removed = 0;

    for (i = 0; i < count; i++) {
        uint64_t number = strtoull(members->element[i]->str, NULL, 16);

        redisAppendCommand(store->redis, "GET %s", head_name(x, number, name));
    }
    for (i = 0; i < count; i++) {
        uint64_t number = strtoull(members->element[i]->str, NULL, 16);
        redisReply *reply = rpc_store_reply(store, until);

        if (reply && reply->type == REDIS_REPLY_NIL) {
            redisAppendCommand(store->redis, "SREM %s:machines %s", x->prefix,
                               members->element[i]->str);
            removed++;
        }
        else if (reply && number && number != rpc_farm_machine(x->farm))
            take_head(x, number, reply);
        freeReplyObject(reply);
    }
    while (removed-- > 0)
        freeReplyObject(rpc_store_reply(store, until));
}

/* ---- a store ---- */

static void note_store(exchange_t *x, int i)
{
    const rpc_store_t *store = store_at(x, i);
    rpc_farm_store_t *fact = &x->facts.stores[i];
    rpc_store_state_t state = store->redis ? RPC_STORE_UP : RPC_STORE_AWAY;
    rpc_store_state_t before = (rpc_store_state_t)fact->state;

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

/* 1: one more store than before is open. */
static int open_stores(exchange_t *x)
{
    int i, opened = 0;

    for (i = 0; i < x->stores->nelts && !rpc_watchdog_ends(); i++) {
        rpc_store_t *store = store_at(x, i);

        x->commands[i] = 0;
        if (store->redis || x->retry[i] > rpc_clock_now())
            continue;
        opened |= rpc_store_open(store, STORE_TIME);
        if (!store->redis)
            note_store(x, i);
    }
    return opened;
}

static void read_store(exchange_t *x, int i)
{
    apr_time_t until = rpc_clock_now() + STORE_TIME;
    rpc_store_t *store = store_at(x, i);
    redisReply *members;
    unsigned n;

    if (!store->redis)
        return;
    for (; x->commands[i] > 0; x->commands[i]--)
        freeReplyObject(rpc_store_reply(store, until));
    members = rpc_store_reply(store, until);
    if (members)
        read_heads(x, store, members, until);
    freeReplyObject(members);
    for (n = 0; n < RPC_FARM_MACHINES && store->redis; n++)
        if (x->peers[n].number)
            read_pages(x, store, &x->peers[n], until);
    if (store->redis)
        rpc_farm_good_until(x->farm, rpc_clock_now() + apr_time_from_sec(ALIVE));
    note_store(x, i);
}

/* ---- telling this machine ---- */

static size_t count_entries(const exchange_t *x)
{
    size_t count = 0;
    unsigned i, page;

    for (i = 0; i < RPC_FARM_MACHINES; i++)
        for (page = 0; x->peers[i].number && page < PAGES; page++)
            count += x->peers[i].pages[page].count;
    return count;
}

/* Its times by our clock. */
static rpc_farm_entry_t by_our_clock(const peer_t *peer, rpc_farm_entry_t entry)
{
    if (entry.key % 8 == RPC_FARM_GUESSES || entry.key % 8 == RPC_FARM_SERVER)
        entry.b += (uint64_t)peer->ahead;
    if (entry.key % 8 == RPC_FARM_SERVER)
        entry.a += (uint64_t)peer->ahead;
    return entry;
}

static void fill_table(exchange_t *x)
{
    size_t k, left = count_entries(x) < RPC_FARM_ENTRIES ? count_entries(x) : RPC_FARM_ENTRIES;
    unsigned i, page;

    x->facts.entries = left;
    rpc_farm_begin(x->farm, left);
    for (i = 0; i < RPC_FARM_MACHINES; i++) {
        const peer_t *peer = &x->peers[i];

        for (page = 0; peer->number && page < PAGES; page++)
            for (k = 0; k < peer->pages[page].count && left > 0; k++, left--) {
                rpc_farm_entry_t entry = by_our_clock(peer, peer->pages[page].at[k]);

                if (entry.key)
                    rpc_farm_put(x->farm, &entry);
            }
    }
    rpc_farm_publish(x->farm);
    x->changed = 0;
}

static void tell_facts(exchange_t *x)
{
    rpc_farm_machine_t *this = &x->facts.machines[0];
    unsigned i, n = 1;

    *this = (rpc_farm_machine_t){ .number = rpc_farm_machine(x->farm), .heard = rpc_clock_now() };
    memcpy(this->name, x->name, sizeof(this->name));
    this->sums = x->sums;
    for (i = 0; i < RPC_FARM_MACHINES; i++) {
        const peer_t *peer = &x->peers[i];

        if (!peer->number)
            continue;
        x->facts.machines[n] = (rpc_farm_machine_t){ .number = peer->number, .heard = peer->heard,
                                                     .sums = peer->head.sums };
        rpc_words_text(x->facts.machines[n++].name, RPC_FARM_NAME, peer->head.name);
    }
    x->facts.machine_count = n;
    rpc_farm_tell(x->farm, &x->facts);
}

/* What the others say of the servers that this machine knows. */
static void tell_health(exchange_t *x)
{
    rpc_health_t *health = x->context->health;
    apr_time_t now = rpc_clock_now();
    rpc_health_view_t server;
    rpc_farm_entry_t entry;
    int i;

    for (i = 0; i < RPC_HEALTH_SLOTS; i++) {
        if (!rpc_health_view(health, i, now, &server))
            continue;
        if (!rpc_farm_find(x->farm, RPC_FARM_SERVER, server_hash(x, &server), &entry))
            entry.a = entry.b = 0;
        if (rpc_health_heard(health, server.host, server.port, (apr_time_t)entry.a,
                             (apr_time_t)entry.b))
            ap_log_error(APLOG_MARK, APLOG_INFO, 0, x->s,
                         RPCNO(0030) "RpcSharedStore: %s port %u is avoided, since another machine "
                         "could not reach it", server.host, server.port);
    }
}

/* ---- rounds ---- */

/* This process has become the writer. What is known of the stores has been told before. */
static int begin(exchange_t *x)
{
    int i;

    if (!x->peers)
        x->peers = calloc(RPC_FARM_MACHINES, sizeof(*x->peers));
    if (!x->noted)
        x->noted = malloc(RPC_FARM_NOTED * sizeof(*x->noted));
    if (!x->peers || !x->noted)
        return 0;
    if (!rpc_farm_read(x->farm, &x->facts))
        memset(&x->facts, 0, sizeof(x->facts));
    x->facts.store_count = (uint64_t)x->stores->nelts;
    for (i = 0; i < x->stores->nelts; i++) {
        rpc_farm_store_t *fact = &x->facts.stores[i];

        if (strncmp(fact->name, store_at(x, i)->name, sizeof(fact->name) - 1) == 0)
            continue;
        *fact = (rpc_farm_store_t){ .since = rpc_clock_now() };
        rpc_words_text(fact->name, sizeof(fact->name), store_at(x, i)->name);
    }
    return x->began = x->changed = 1;
}

static void drop_silent(exchange_t *x)
{
    unsigned n;

    for (n = 0; n < RPC_FARM_MACHINES; n++)
        if (x->peers[n].number
            && x->peers[n].heard + apr_time_from_sec(ALIVE) < rpc_clock_now())
            drop_peer(x, &x->peers[n]);
}

/* What there is, to the stores. */
static void write_all(exchange_t *x, int all_pages)
{
    fill_sums(x->context, &x->sums);
    collect(x, rpc_clock_now());
    put_pages(x, all_pages);
    put_head(x);
}

/* A great farm costs no more than a part of a processor: the next round waits for a multiple of
 * what this one has computed. */
static void make_round(void *data, apr_pool_t *pool)
{
    exchange_t *x = data;
    apr_time_t began, took;
    int i, all;

    if (rpc_clock_now() < x->rest || !rpc_farm_lease(x->farm, (uint32_t)getpid(), LEASE)
        || (!x->began && !begin(x)))
        return;
    all = open_stores(x);
    began = rpc_clock_now();
    write_all(x, all);
    took = rpc_clock_now() - began;
    for (i = 0; i < x->stores->nelts && !rpc_watchdog_ends(); i++)
        read_store(x, i);
    began = rpc_clock_now();
    drop_silent(x);
    if (x->changed)
        fill_table(x);
    tell_health(x);
    tell_facts(x);
    took += rpc_clock_now() - began;
    x->rest = rpc_clock_now() + (took * REST < REST_MOST ? took * REST : REST_MOST);
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
    uint64_t number = 0;
    char host[APRMAXHOSTLEN + 1] = "";

    rpc_seal_derive(x->secret, "key of hashes", farm->key, sizeof(farm->key));
    rpc_seal_derive(x->secret, "name of the farm, layout " LAYOUT, &number, sizeof(number));
    snprintf(x->prefix, sizeof(x->prefix), "rpcproxy:%016" PRIx64, number);
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
    x->secret = sc->store_secret;
    x->stores = sc->stores;
    name_farm(x, farm);
    rpc_status_join(context->live, farm);
    x->watchdog = (rpc_watchdog_t){ WATCHDOG, INTERVAL, make_round, leave_farm, .data = x };
    return rpc_watchdog_start(pconf, s, &x->watchdog);
}
