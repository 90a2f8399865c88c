/* rpc_budget: the number of different failed targets that a client may ask for.
 *
 * A client must not be able to use the proxy as a scanner. Targets that are refused, and targets
 * that do not answer as an RPC server, are counted for each user and client address (IPv6 by /64).
 * Repeating the same target counts once, so a client that asks for one server which is down does
 * not reach the limit. The first failed target opens a window. When the limit is reached, nothing
 * is served until the window ends. Limits with the same window count together, others separately.
 *
 * A table in shared memory, without locks. Each target sets a bit, chosen by a keyed hash. Some
 * targets share a bit, so the count of many targets is a little too low. When the table is full, a
 * client is not counted. No httpd headers; any thread, any process that has inherited the memory.
 */
#ifndef RPC_BUDGET_H
#define RPC_BUDGET_H

#include <apr_pools.h>
#include <apr_time.h>
#include "wire/rts.h"

typedef struct rpc_budgets rpc_budgets_t;

#define RPC_BUDGET_MAX 512      /* targets; with so many about a fifth share a bit with another */

typedef struct rpc_budget_limit {
    unsigned targets;           /* 0: no limit */
    apr_interval_time_t window;
} rpc_budget_limit_t;

/* The client: a user at an address, both as base/who.h defines them. */
typedef struct rpc_budget_who {
    const char *user;           /* canonical; "": nobody */
    rts_address_t address;
} rpc_budget_who_t;

/* The table, with a random key; lives in POOL. */
apr_status_t rpc_budget_create(rpc_budgets_t **budgets, apr_pool_t *pool);

/* The time from NOW until the client is served again; 0: the limit is not reached. NOW is a time of
 * rpc_clock_now() (base/clock.h). */
apr_interval_time_t rpc_budget_spent(rpc_budgets_t *budgets, const rpc_budget_who_t *who,
                                     const rpc_budget_limit_t *limit, apr_time_t now);
/* Counts TARGET as failed. Returns 1 when the limit has just been reached. */
int rpc_budget_spend(rpc_budgets_t *budgets, const rpc_budget_who_t *who, const char *target,
                     const rpc_budget_limit_t *limit, apr_time_t now);

#endif
