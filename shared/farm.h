/* rpc_farm: what the other machines of a farm have told, in shared memory, so that a limit is asked
 * without a wait: how many channels a user has there, whose a cookie is, which server is down.
 *
 * One process of the machine exchanges this with the others by the shared store (httpd/farm) and is
 * the writer here. All others read; and they note for it what nobody else keeps: wrong passwords.
 * Names are keyed hashes, with a key that all machines of the farm have. What has been heard holds
 * for a few seconds; then this machine acts for itself.
 *
 * No locks: the writer fills a table that nobody reads, then has readers turn to it. Knows no
 * httpd. Any thread, any process that has inherited the memory.
 */
#ifndef RPC_FARM_H
#define RPC_FARM_H

#include <stddef.h>
#include <stdint.h>

#include <apr_pools.h>
#include <apr_siphash.h>
#include <apr_time.h>

/* What an entry is about, and what its numbers are. */
typedef enum {
    RPC_FARM_USER,              /* channels; of these unpaired */
    RPC_FARM_ADDRESS,           /* the same */
    RPC_FARM_TARGET,            /* 0; unpaired channels */
    RPC_FARM_COOKIE,            /* hash of its user, 0: machines disagree; bits of roles */
    RPC_FARM_GUESSES,           /* wrong passwords, or successes; time until which they count */
    RPC_FARM_SERVER,            /* times: of the failure; until when the server is avoided */
    RPC_FARM_DRAINED,           /* decision (shared/health.h); when what it has is to end, or 0 */
    RPC_FARM_KINDS
} rpc_farm_kind_t;

typedef struct rpc_farm_entry {
    uint64_t key;               /* kind and hash */
    uint64_t a, b;
} rpc_farm_entry_t;

/* This process's handle of the table. */
typedef struct rpc_farm {
    uint8_t key[APR_SIPHASH_KSIZE];     /* of the farm */
    struct rpc_farm_table *table;
} rpc_farm_t;

/* Makes the table, which children inherit, for all the life of the server. */
apr_status_t rpc_farm_create(rpc_farm_t **farm, apr_pool_t *pool);

/* The number of this machine among the others; made at random. */
uint64_t rpc_farm_machine(const rpc_farm_t *farm);
uint64_t rpc_farm_hash(const rpc_farm_t *farm, const void *data, size_t size);

/* What the other machines say of HASH, all together. 0: nothing. FARM may be NULL. */
int rpc_farm_find(const rpc_farm_t *farm, rpc_farm_kind_t kind, uint64_t hash,
                  rpc_farm_entry_t *entry);
/* For the other machines: one more wrong password, or a success, which counts for TIME. One that
 * counts longer is not driven out. */
void rpc_farm_guess(const rpc_farm_t *farm, uint64_t hash, apr_interval_time_t time);

/* ---- the writer ---- */

/* This process, PID, is the writer until TIME has passed, unless another one is. 0: it is not. */
int rpc_farm_lease(const rpc_farm_t *farm, uint32_t pid, apr_interval_time_t time);
/* Another process may follow at once. */
void rpc_farm_yield(const rpc_farm_t *farm, uint32_t pid);
/* A number that was never returned before. */
uint64_t rpc_farm_next(const rpc_farm_t *farm);

/* The place of an entry for rpc_farm_put() and for other machines. */
uint64_t rpc_farm_key(rpc_farm_kind_t kind, uint64_t hash);
/* Of two entries for one thing, what both say. */
void rpc_farm_join(rpc_farm_entry_t *entry, const rpc_farm_entry_t *other);
/* The wrong passwords that were noted here and count still, into TO, which has room for
 * RPC_FARM_NOTED. How many. */
#define RPC_FARM_NOTED 16384u
size_t rpc_farm_noted(const rpc_farm_t *farm, rpc_farm_entry_t *to);

/* A table of COUNT entries at most is begun, filled, and read from now on until UNTIL. */
void rpc_farm_begin(const rpc_farm_t *farm, size_t count);
void rpc_farm_put(const rpc_farm_t *farm, const rpc_farm_entry_t *entry);
void rpc_farm_publish(const rpc_farm_t *farm);
void rpc_farm_good_until(const rpc_farm_t *farm, apr_time_t until);
#define RPC_FARM_ENTRIES (1u << 20)        /* no more fit */

/* ---- for people ---- */

#define RPC_FARM_MACHINES 32u
#define RPC_FARM_STORES 4u
#define RPC_FARM_NAME 64                /* bytes of a machine's name, with its NUL */

/* What a machine has, and has had since its start. */
typedef struct rpc_farm_sums {
    uint64_t channels, unpaired, begun, ended, refused, connections, in, out;
    int64_t started;                    /* time of day */
} rpc_farm_sums_t;

typedef struct rpc_farm_machine {
    char name[RPC_FARM_NAME];
    uint64_t number;
    rpc_farm_sums_t sums;
    int64_t heard;                      /* rpc_clock_now() */
} rpc_farm_machine_t;

typedef enum { RPC_STORE_UNKNOWN, RPC_STORE_UP, RPC_STORE_AWAY } rpc_store_state_t;

typedef struct rpc_farm_store {
    char name[104], why[128];           /* host:port; the last error */
    uint64_t state;                     /* rpc_store_state_t */
    int64_t since;                      /* rpc_clock_now() */
} rpc_farm_store_t;

typedef struct rpc_farm_facts {
    rpc_farm_store_t stores[RPC_FARM_STORES];
    rpc_farm_machine_t machines[RPC_FARM_MACHINES + 1];     /* the first is this one */
    uint64_t store_count, machine_count;
    uint64_t entries;                   /* that the others have told */
    uint64_t exchanges;                 /* of this machine with the stores, so far */
    int64_t pause;                      /* the longest between two of them */
} rpc_farm_facts_t;

/* By the writer. */
void rpc_farm_tell(const rpc_farm_t *farm, const rpc_farm_facts_t *facts);
/* 0: they could not be read whole. */
int rpc_farm_read(const rpc_farm_t *farm, rpc_farm_facts_t *facts);

#endif
