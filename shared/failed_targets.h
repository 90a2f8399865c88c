/* rpc_budget: how many different targets a client may ask for in vain.
 *
 * A client that is let in is to be of no use as a scanner. Targets that are refused, and those
 * that do not answer as an RPC server, are counted per user and client address (IPv6 by /64), each
 * once, however often it is asked for: who asks for one and the same server that is down spends
 * nothing. From the limit on nothing is served until the window ends that the first of them has
 * opened. Limits whose windows are the same count together, others apart.
 *
 * A table in shared memory, without locks. Which targets were asked for is kept as bits by keyed
 * hash: some share theirs, so that of many the count falls a little short. Who finds no slot is not
 * counted. No httpd headers; any thread, any process that has inherited the memory.
 * Source: shared/failed_targets.c
 */
#ifndef RPC_BUDGET_H
#define RPC_BUDGET_H

#include <apr_pools.h>
#include <apr_time.h>
#include "wire/rts.h"

typedef struct rpc_budgets rpc_budgets_t;

#define RPC_BUDGET_MAX 512      /* targets; of as many about a fifth share their bits */

typedef struct rpc_budget_limit {
    unsigned targets;           /* 0: none */
    apr_interval_time_t window;
} rpc_budget_limit_t;

/* Whose: a user at an address, both as base/who.h sees them. */
typedef struct rpc_budget_who {
    const char *user;           /* canonical; "": nobody */
    rts_address_t address;
} rpc_budget_who_t;

/* The table, with a random key; lives in POOL. */
apr_status_t rpc_budget_create(rpc_budgets_t **budgets, apr_pool_t *pool);

/* Is nothing left? Then for so long, from NOW, which is of rpc_clock_now() (base/clock.h); else 0. */
apr_interval_time_t rpc_budget_spent(rpc_budgets_t *budgets, const rpc_budget_who_t *who,
                                     const rpc_budget_limit_t *limit, apr_time_t now);
/* TARGET was asked for in vain. 1: that was the last one. */
int rpc_budget_spend(rpc_budgets_t *budgets, const rpc_budget_who_t *who, const char *target,
                     const rpc_budget_limit_t *limit, apr_time_t now);

#endif
