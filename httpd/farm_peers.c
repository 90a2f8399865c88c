/* httpd/farm_peers.c: the heads of the machines are read in each round, and of their pages those
 * that a head says are newer than what is known.
 */
#include "httpd/farm_peers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "httpd/farm_seal.h"

#define BATCH 256                           /* pages that are read at a time */
#define DIGITS 16                           /* of a machine's number */

static void drop_page(rpc_peer_page_t *page)
{
    free(page->at);
    *page = (rpc_peer_page_t){ 0 };
}

static void drop_peer(rpc_peers_t *p, rpc_peer_t *peer)
{
    unsigned page;

    for (page = 0; page < RPC_FARM_PAGES; page++)
        drop_page(&peer->pages[page]);
    peer->number = 0;
    p->changed = 1;
}

/* The machine's place, or a free one; NULL: there are too many. */
static rpc_peer_t *peer_of(rpc_peers_t *p, uint64_t number)
{
    rpc_peer_t *free_one = NULL;
    unsigned i;

    for (i = 0; i < RPC_FARM_MACHINES; i++) {
        if (p->at[i].number == number)
            return &p->at[i];
        if (!p->at[i].number && !free_one)
            free_one = &p->at[i];
    }
    if (free_one)
        *free_one = (rpc_peer_t){ .number = number };
    return free_one;
}

/* An older head, which another store still has, says nothing new. */
static void take_head(rpc_peers_t *p, uint64_t number, const redisReply *reply)
{
    char name[RPC_FARM_KEY];
    uint64_t sealed;
    rpc_farm_head_t head;
    rpc_peer_t *peer;

    if (reply->type != REDIS_REPLY_STRING || reply->len != sizeof(head) + RPC_SEAL_ROOM
        || !rpc_unseal(p->place->secret, number, rpc_farm_head_name(p->place, number, name),
                       reply->str, reply->len, &head, &sealed)
        || !(peer = peer_of(p, number)) || sealed <= peer->sealed)
        return;
    peer->sealed = sealed;
    peer->heard = rpc_clock_now();
    peer->ahead = peer->heard - head.clock;
    peer->head = head;
    peer->head.name[RPC_FARM_NAME - 1] = '\0';
}

static void take_page(rpc_peers_t *p, rpc_peer_t *peer, unsigned number, const redisReply *reply)
{
    rpc_peer_page_t *page = &peer->pages[number];
    size_t size = reply->type == REDIS_REPLY_STRING ? reply->len : 0;
    rpc_farm_entry_t *at;
    char name[RPC_FARM_KEY];
    uint64_t version;

    if (size <= RPC_SEAL_ROOM || (size -= RPC_SEAL_ROOM) % sizeof(*at) != 0
        || !(at = malloc(size)))
        return;
    rpc_farm_page_name(p->place, peer->number, number, name);
    if (rpc_unseal(p->place->secret, peer->number, name, reply->str, reply->len, at, &version)
        && version > page->version) {
        free(page->at);
        *page = (rpc_peer_page_t){ version, size / sizeof(*at), at };
        p->changed = 1;
    }
    else
        free(at);
}

/* Pages that are newer at this store than what is known. */
static void read_pages(rpc_peers_t *p, rpc_store_t *store, rpc_peer_t *peer, apr_time_t until)
{
    unsigned wanted[RPC_FARM_PAGES], count = 0, page, i;
    char name[RPC_FARM_KEY];

    for (page = 0; page < RPC_FARM_PAGES; page++) {
        if (!peer->head.versions[page] && peer->pages[page].count) {
            drop_page(&peer->pages[page]);
            p->changed = 1;
        }
        else if (peer->head.versions[page] > peer->pages[page].version)
            wanted[count++] = page;
    }
    for (page = 0; page < count && store->redis; page += BATCH) {
        unsigned last = page + BATCH < count ? page + BATCH : count;

        for (i = page; i < last; i++)
            redisAppendCommand(store->redis, "GET %s",
                               rpc_farm_page_name(p->place, peer->number, wanted[i], name));
        for (i = page; i < last; i++) {
            redisReply *reply = rpc_store_reply(store, until);

            if (reply)
                take_page(p, peer, wanted[i], reply);
            freeReplyObject(reply);
        }
    }
}

/* The number of the machine that the member MEMBER of the list names, spelled as a machine names
 * itself; 0: it names none. */
static uint64_t number_of(const redisReply *member)
{
    if (member->len != DIGITS || strspn(member->str, "0123456789abcdef") != DIGITS)
        return 0;
    return strtoull(member->str, NULL, 16);
}

/* Asks for the head of the machine NUMBER; or has MEMBER, which names none, removed from the
 * list. */
static void ask_about(rpc_peers_t *p, rpc_store_t *store, uint64_t number, const redisReply *member)
{
    char name[RPC_FARM_KEY];

    if (number)
        redisAppendCommand(store->redis, "GET %s", rpc_farm_head_name(p->place, number, name));
    else
        redisAppendCommand(store->redis, "SREM %s:machines %b", p->place->prefix, member->str,
                           member->len);
}

/* The heads of the machines that MEMBERS names. Those that have none are no longer named, nor is
 * what names no machine. */
static void read_heads(rpc_peers_t *p, rpc_store_t *store, const redisReply *members,
                       apr_time_t until)
{
    uint64_t numbers[RPC_PEERS_MEMBERS], number;
    size_t i, count = 0, named = members->type == REDIS_REPLY_ARRAY ? members->elements : 0;
    unsigned removed = 0;

    for (i = 0; i < named && count < RPC_PEERS_MEMBERS; i++) {
        const redisReply *member = members->element[i];

        if (member->type != REDIS_REPLY_STRING
            || (number = number_of(member)) == rpc_farm_machine(p->farm))
            continue;
        numbers[count++] = number;
        ask_about(p, store, number, member);
    }
    for (i = 0; i < count; i++) {
        redisReply *reply = rpc_store_reply(store, until);

        if (reply && numbers[i] && reply->type == REDIS_REPLY_NIL) {
            redisAppendCommand(store->redis, "SREM %s:machines %016" PRIx64, p->place->prefix,
                               numbers[i]);
            removed++;
        }
        else if (reply && numbers[i])
            take_head(p, numbers[i], reply);
        freeReplyObject(reply);
    }
    while (removed-- > 0)
        freeReplyObject(rpc_store_reply(store, until));
}

int rpc_peers_make(rpc_peers_t *p)
{
    p->changed = 1;
    if (!p->at)
        p->at = calloc(RPC_FARM_MACHINES, sizeof(*p->at));
    return p->at != NULL;
}

void rpc_peers_read(rpc_peers_t *p, rpc_store_t *store, const redisReply *members,
                    apr_time_t until)
{
    unsigned n;

    if (members)
        read_heads(p, store, members, until);
    for (n = 0; n < RPC_FARM_MACHINES && store->redis; n++)
        if (p->at[n].number)
            read_pages(p, store, &p->at[n], until);
}

void rpc_peers_drop_silent(rpc_peers_t *p)
{
    unsigned n;

    for (n = 0; n < RPC_FARM_MACHINES; n++)
        if (p->at[n].number
            && p->at[n].heard + apr_time_from_sec(RPC_FARM_ALIVE) < rpc_clock_now())
            drop_peer(p, &p->at[n]);
}

/* ---- for this machine ---- */

static size_t count_entries(const rpc_peers_t *p)
{
    size_t count = 0;
    unsigned i, page;

    for (i = 0; i < RPC_FARM_MACHINES; i++)
        for (page = 0; p->at[i].number && page < RPC_FARM_PAGES; page++)
            count += p->at[i].pages[page].count;
    return count;
}

/* Its times by our clock. */
static rpc_farm_entry_t by_our_clock(const rpc_peer_t *peer, rpc_farm_entry_t entry)
{
    if (entry.key % 8 == RPC_FARM_GUESSES || entry.key % 8 == RPC_FARM_SERVER)
        entry.b += (uint64_t)peer->ahead;
    if (entry.key % 8 == RPC_FARM_SERVER)
        entry.a += (uint64_t)peer->ahead;
    if (entry.key % 8 == RPC_FARM_DRAINED && entry.b)
        entry.b += (uint64_t)peer->ahead;
    return entry;
}

size_t rpc_peers_fill(rpc_peers_t *p)
{
    size_t count = count_entries(p), k, left = count < RPC_FARM_ENTRIES ? count : RPC_FARM_ENTRIES;
    unsigned i, page;

    rpc_farm_begin(p->farm, left);
    for (i = 0; i < RPC_FARM_MACHINES; i++) {
        const rpc_peer_t *peer = &p->at[i];

        for (page = 0; peer->number && page < RPC_FARM_PAGES; page++)
            for (k = 0; k < peer->pages[page].count && left > 0; k++, left--) {
                rpc_farm_entry_t entry = by_our_clock(peer, peer->pages[page].at[k]);

                if (entry.key)
                    rpc_farm_put(p->farm, &entry);
            }
    }
    rpc_farm_publish(p->farm);
    p->changed = 0;
    return count < RPC_FARM_ENTRIES ? count : RPC_FARM_ENTRIES;
}
