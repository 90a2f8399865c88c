/* delegate_tickets: what was fetched from the KDC, kept by the child for the next request of the
 * same user to the same server: at most so many, each until it ends. The one that was not used for
 * the longest time makes room. Any thread.
 */
#ifndef DELEGATE_TICKETS_H
#define DELEGATE_TICKETS_H

#include <apr_pools.h>
#include <apr_time.h>

/* What a ticket begins with; all else in it is its owner's. The fields are those of the table. */
typedef struct delegate_kept {
    struct delegate_kept *next, *prev;      /* by last use */
    struct delegate_kept *chain;            /* of one bucket */
    char *key;                              /* NULL: not in the table */
    apr_time_t until;
    unsigned hash;
    int uses;                               /* by threads, and by the table */
} delegate_kept_t;

typedef struct delegate_tickets delegate_tickets_t;

/* RELEASE frees a ticket that nobody uses. The table lives as long as POOL, which has to outlive
 * all threads that use it. NULL: no memory. */
delegate_tickets_t *delegate_tickets_make(apr_pool_t *pool, unsigned max,
                                          void (*release)(delegate_kept_t *ticket));

/* The ticket for KEY, which is in use until delegate_tickets_done(). NULL: there is none. */
delegate_kept_t *delegate_tickets_find(delegate_tickets_t *tickets, const char *key);

/* Takes TICKET, all zero at its beginning, which is in use by the caller until
 * delegate_tickets_done(). It is found for LIFETIME, instead of an older one with the same KEY. */
void delegate_tickets_keep(delegate_tickets_t *tickets, delegate_kept_t *ticket, const char *key,
                           apr_interval_time_t lifetime);

/* TICKET is no longer in use by the caller. */
void delegate_tickets_done(delegate_tickets_t *tickets, delegate_kept_t *ticket);

/* Nobody finds a ticket for KEY again. */
void delegate_tickets_forget(delegate_tickets_t *tickets, const char *key);

#endif
