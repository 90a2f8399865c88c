/* httpd/farm_here.c: a walk over the tables of this machine. */
#include "httpd/farm_here.h"

#include <stdio.h>
#include <stdlib.h>

#include <httpd.h>

/* The same for the same entries in any order. */
static uint64_t mix(const rpc_farm_entry_t *entry)
{
    uint64_t h = entry->key ^ entry->a * 0x9e3779b97f4a7c15u ^ entry->b * 0xc2b2ae3d27d4eb4fu;

    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

static void add(rpc_here_t *h, const rpc_farm_entry_t *entry)
{
    rpc_here_page_t *list = &h->pages[rpc_farm_page_of(entry->key)];

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

uint64_t rpc_here_server(const rpc_farm_t *farm, const char *host, uint16_t port)
{
    char name[RPC_HEALTH_HOST + 8];

    snprintf(name, sizeof(name), "%s:%u", host, port);
    ap_str_tolower(name);
    return rpc_farm_hash(farm, name, strlen(name));
}

static void add_servers(rpc_here_t *h, apr_time_t now)
{
    rpc_health_view_t server;
    int i;

    for (i = 0; i < RPC_HEALTH_SLOTS; i++) {
        uint64_t hash;

        if (!rpc_health_view(h->context->health, i, now, &server))
            continue;
        hash = rpc_here_server(h->context->farm, server.host, server.port);
        if (server.avoided || server.unfit)
            add(h, &(rpc_farm_entry_t){ rpc_farm_key(RPC_FARM_SERVER, hash),
                                        (uint64_t)server.failed, (uint64_t)server.until });
        if (server.decision)
            add(h, &(rpc_farm_entry_t){ rpc_farm_key(RPC_FARM_DRAINED, hash), server.decision,
                                        (uint64_t)server.drain_end });
    }
}

void rpc_here_collect(rpc_here_t *h, apr_time_t now)
{
    uint32_t row, mark = rpc_status_mark(h->context->live);
    rpc_farm_entry_t told[RPC_STATUS_TOLD];
    unsigned page;
    size_t i;
    int k, count;

    for (page = 0; page < RPC_FARM_PAGES; page++)
        h->pages[page].count = h->pages[page].sum = 0;
    for (row = 0; row < mark; row++)
        for (k = 0, count = rpc_status_tell(h->context->live, row, told); k < count; k++)
            add(h, &told[k]);
    for (i = rpc_farm_noted(h->context->farm, h->noted); i > 0; i--)
        add(h, &h->noted[i - 1]);
    add_servers(h, now);
}

static int by_key(const void *one, const void *other)
{
    const rpc_farm_entry_t *a = one, *b = other;

    return a->key < b->key ? -1 : a->key > b->key;
}

void rpc_here_join(rpc_here_page_t *list)
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

static uint64_t sum(const _Atomic uint64_t *counts, int count)
{
    uint64_t all = 0;

    while (count)
        all += atomic_load(&counts[--count]);
    return all;
}

void rpc_here_sums(const rpc_context_t *context, rpc_farm_sums_t *sums)
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
