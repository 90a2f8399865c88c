/* delegate/tickets.c: a table of chains, and a queue by last use, under one lock. Tickets are freed
 * outside of it.
 */
#include "delegate/tickets.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>

#include "base/clock.h"
#include "base/list.h"

#define BUCKETS 256

struct delegate_tickets {
    pthread_mutex_t lock;
    delegate_kept_t *buckets[BUCKETS];
    struct { delegate_kept_t *first, *last; } by_use;   /* the first: the latest */
    unsigned count, max;
    void (*release)(delegate_kept_t *ticket);
};

static unsigned hash_of(const char *key)
{
    apr_ssize_t size = APR_HASH_KEY_STRING;

    return apr_hashfunc_default(key, &size);
}

/* Where the pointer to the ticket for KEY stands; to NULL: there is none. */
static delegate_kept_t **place(delegate_tickets_t *tickets, const char *key, unsigned hash)
{
    delegate_kept_t **at = &tickets->buckets[hash % BUCKETS];

    while (*at && ((*at)->hash != hash || strcmp((*at)->key, key) != 0))
        at = &(*at)->chain;
    return at;
}

/* One use less; returns what is to be freed, or NULL. */
static delegate_kept_t *unused(delegate_kept_t *ticket)
{
    return --ticket->uses ? NULL : ticket;
}

/* Takes the ticket at AT out of the table; returns what is to be freed, or NULL. */
static delegate_kept_t *take_out(delegate_tickets_t *tickets, delegate_kept_t **at)
{
    delegate_kept_t *ticket = *at;

    *at = ticket->chain;
    RPC_QUEUE_REMOVE(&tickets->by_use, ticket);
    tickets->count--;
    free(ticket->key);
    ticket->key = NULL;
    return unused(ticket);
}

static void release(delegate_tickets_t *tickets, delegate_kept_t *ticket)
{
    if (ticket)
        tickets->release(ticket);
}

static apr_status_t end(void *data)
{
    delegate_tickets_t *tickets = data;

    while (tickets->by_use.last) {
        delegate_kept_t *last = tickets->by_use.last;

        release(tickets, take_out(tickets, place(tickets, last->key, last->hash)));
    }
    pthread_mutex_destroy(&tickets->lock);
    return APR_SUCCESS;
}

delegate_tickets_t *delegate_tickets_make(apr_pool_t *pool, unsigned max,
                                          void (*release_ticket)(delegate_kept_t *ticket))
{
    delegate_tickets_t *tickets = apr_pcalloc(pool, sizeof(*tickets));

    if (pthread_mutex_init(&tickets->lock, NULL) != 0)
        return NULL;
    tickets->max = max;
    tickets->release = release_ticket;
    apr_pool_cleanup_register(pool, tickets, end, apr_pool_cleanup_null);
    return tickets;
}

delegate_kept_t *delegate_tickets_find(delegate_tickets_t *tickets, const char *key)
{
    delegate_kept_t **at, *found, *old = NULL;

    pthread_mutex_lock(&tickets->lock);
    at = place(tickets, key, hash_of(key));
    found = *at;
    if (found && found->until <= rpc_clock_now()) {
        old = take_out(tickets, at);
        found = NULL;
    }
    if (found) {
        found->uses++;
        RPC_QUEUE_REMOVE(&tickets->by_use, found);
        RPC_QUEUE_PUSH(&tickets->by_use, found);
    }
    pthread_mutex_unlock(&tickets->lock);
    release(tickets, old);
    return found;
}

void delegate_tickets_keep(delegate_tickets_t *tickets, delegate_kept_t *ticket, const char *key,
                           apr_interval_time_t lifetime)
{
    delegate_kept_t **at, *same = NULL, *oldest = NULL;

    ticket->uses = 1;
    ticket->hash = hash_of(key);
    ticket->until = rpc_clock_now() + lifetime;
    ticket->key = strdup(key);
    if (!ticket->key)
        return;                 /* it is good for this once */
    pthread_mutex_lock(&tickets->lock);
    at = place(tickets, key, ticket->hash);
    if (*at)
        same = take_out(tickets, at);
    if (tickets->count == tickets->max) {
        oldest = tickets->by_use.last;
        oldest = take_out(tickets, place(tickets, oldest->key, oldest->hash));
    }
    at = &tickets->buckets[ticket->hash % BUCKETS];
    ticket->chain = *at;
    *at = ticket;
    RPC_QUEUE_PUSH(&tickets->by_use, ticket);
    tickets->count++;
    ticket->uses++;
    pthread_mutex_unlock(&tickets->lock);
    release(tickets, same);
    release(tickets, oldest);
}

void delegate_tickets_done(delegate_tickets_t *tickets, delegate_kept_t *ticket)
{
    pthread_mutex_lock(&tickets->lock);
    ticket = unused(ticket);
    pthread_mutex_unlock(&tickets->lock);
    release(tickets, ticket);
}

void delegate_tickets_forget(delegate_tickets_t *tickets, const char *key)
{
    delegate_kept_t **at, *old = NULL;

    pthread_mutex_lock(&tickets->lock);
    at = place(tickets, key, hash_of(key));
    if (*at)
        old = take_out(tickets, at);
    pthread_mutex_unlock(&tickets->lock);
    release(tickets, old);
}
