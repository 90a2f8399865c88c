/* shared/mishaps.c: one entry after the other is written anew. One that another process is writing
 * at this moment is passed over.
 */
#include "shared/mishaps.h"

#include <stdlib.h>

#include <apr_general.h>
#include <apr_shm.h>
#include <apr_siphash.h>

#include "shared/words.h"

#define TRIES 100       /* reads of an entry that is being written */

_Static_assert(sizeof(rpc_mishap_t) % sizeof(uint64_t) == 0, "whole words");

typedef struct entry {
    _Atomic uint32_t writer;    /* pid; 0: nobody */
    _Atomic uint32_t times;
    _Atomic uint64_t ticket;    /* in the order of writing; 0: empty, or being written */
    _Atomic uint64_t what;      /* a hash of user, client, target and reason */
    _Atomic int64_t last;
    rpc_word_t words[RPC_WORDS_OF(rpc_mishap_t)];
} entry_t;

struct rpc_mishaps {
    unsigned char key[APR_SIPHASH_KSIZE];
    _Atomic uint64_t next;
    entry_t entries[RPC_MISHAPS];
};

apr_status_t rpc_mishaps_create(rpc_mishaps_t **mishaps, apr_pool_t *pool)
{
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, sizeof(rpc_mishaps_t), NULL, pool);

    if (rv != APR_SUCCESS)
        return rv;
    *mishaps = apr_shm_baseaddr_get(shm);   /* anonymous, so zeroed */
    atomic_store(&(*mishaps)->next, 1);
    return apr_generate_random_bytes((*mishaps)->key, sizeof((*mishaps)->key));
}

static uint64_t hash_of(const rpc_mishaps_t *mishaps, const rpc_mishap_t *m)
{
    rpc_mishap_t same = *m;

    memset(same.server, 0, sizeof(same) - offsetof(rpc_mishap_t, server));
    same.reason = m->reason;
    return apr_siphash24(&same, sizeof(same), mishaps->key);
}

/* The same has happened before: one time more. */
static int again(rpc_mishaps_t *mishaps, uint64_t what, apr_time_t now)
{
    entry_t *e;

    for (e = mishaps->entries; e < mishaps->entries + RPC_MISHAPS; e++) {
        if (atomic_load(&e->what) != what || !atomic_load(&e->ticket))
            continue;
        atomic_fetch_add(&e->times, 1);
        atomic_store(&e->last, now);
        return 1;
    }
    return 0;
}

/* Takes the next entry that nobody writes. */
static entry_t *take(rpc_mishaps_t *mishaps, uint32_t pid, uint64_t *ticket)
{
    int tries;

    for (tries = 0; tries < RPC_MISHAPS; tries++) {
        uint32_t nobody = 0;
        entry_t *e;

        *ticket = atomic_fetch_add(&mishaps->next, 1);
        e = &mishaps->entries[*ticket % RPC_MISHAPS];
        if (atomic_compare_exchange_strong(&e->writer, &nobody, pid))
            return e;
    }
    return NULL;
}

static void text(char *field, size_t size, const char *of)
{
    rpc_words_text(field, size, of ? of : "");
}

void rpc_mishaps_note(rpc_mishaps_t *mishaps, uint32_t pid, rpc_reason_t reason,
                      uint64_t connection, const rpc_mishap_texts_t *texts, apr_time_t now)
{
    rpc_mishap_t m = { .connection = connection, .first = now, .last = now, .times = 1,
                       .reason = reason };
    uint64_t what, ticket;
    entry_t *e;

    text(m.user, sizeof(m.user), texts->user);
    text(m.client, sizeof(m.client), texts->client);
    text(m.target, sizeof(m.target), texts->target);
    text(m.server, sizeof(m.server), texts->server);
    text(m.why, sizeof(m.why), texts->why);
    what = hash_of(mishaps, &m);
    if (again(mishaps, what, now) || !(e = take(mishaps, pid, &ticket)))
        return;
    atomic_store(&e->ticket, 0);
    rpc_words_store(e->words, &m, RPC_WORDS_OF(m));
    atomic_store(&e->what, what);
    atomic_store(&e->times, 1);
    atomic_store(&e->last, now);
    atomic_store(&e->ticket, ticket);
    atomic_store(&e->writer, 0);
}

static int read_entry(const entry_t *e, rpc_mishap_t *to)
{
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        uint64_t ticket = atomic_load(&e->ticket);

        if (!ticket)
            continue;
        rpc_words_load(e->words, to, RPC_WORDS_OF(*to));
        to->times = atomic_load(&e->times);
        to->last = atomic_load(&e->last);
        if (atomic_load(&e->ticket) == ticket)
            return 1;
    }
    return 0;
}

static int later_first(const void *a, const void *b)
{
    const rpc_mishap_t *x = a, *y = b;

    return x->last == y->last ? 0 : x->last < y->last ? 1 : -1;
}

int rpc_mishaps_read(const rpc_mishaps_t *mishaps, rpc_mishap_t *to)
{
    int i, n = 0;

    for (i = 0; i < RPC_MISHAPS; i++)
        n += read_entry(&mishaps->entries[i], &to[n]);
    qsort(to, (size_t)n, sizeof(*to), later_first);
    return n < RPC_MISHAPS_SHOWN ? n : RPC_MISHAPS_SHOWN;
}

/* What it had begun to write has no ticket yet, so nobody reads it. */
void rpc_mishaps_gone(rpc_mishaps_t *mishaps, uint32_t pid)
{
    int i;

    for (i = 0; i < RPC_MISHAPS; i++) {
        uint32_t dead = pid;

        atomic_compare_exchange_strong(&mishaps->entries[i].writer, &dead, 0);
    }
}
