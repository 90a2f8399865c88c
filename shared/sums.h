/* rpc_sums: what the channels of a virtual connection have in common, whichever children they are
 * in: since when, how many bytes, how many successors, and how it ended. So its last channel can
 * tell all of it in one line of the log.
 *
 * A slot is shared by the channels that hold it; the last to let go gets the sums and frees it.
 * When there is no slot, a channel is told as one of its own. No locks, no httpd headers; any
 * thread, any process that has inherited the memory.
 */
#ifndef RPC_SUMS_H
#define RPC_SUMS_H

#include <apr_pools.h>
#include <apr_time.h>

#include "base/reason.h"

typedef struct rpc_sums rpc_sums_t;

apr_status_t rpc_sums_create(rpc_sums_t **sums, apr_pool_t *pool);

/* What is known of a virtual connection. */
typedef struct rpc_sum {
    apr_time_t began;       /* rpc_clock_now() of its first channel */
    uint64_t in, out;       /* bytes of the channels that have let go */
    uint32_t holders;       /* channels that hold it */
    uint32_t successors;
    uint32_t opened;        /* its server has answered */
    rpc_reason_t reason;    /* the first end of a channel that was not replaced */
} rpc_sum_t;

/* A channel of the virtual connection with this public id (not 0) holds its sums; SUCCESSOR: and is
 * one. *SO_FAR is what they are now. Returns the slot and 1; 0: there is none. */
uint32_t rpc_sums_hold(rpc_sums_t *sums, uint64_t connection, int successor, apr_time_t now,
                       rpc_sum_t *so_far);
/* The endpoint process has reached this server, host[port], for the virtual connection. */
void rpc_sums_served(rpc_sums_t *sums, uint64_t connection, const char *server);
/* That server, into TO; 1, or 0: it is not known. */
#define RPC_SUMS_SERVER 264
int rpc_sums_server(const rpc_sums_t *sums, uint32_t slot, char to[RPC_SUMS_SERVER]);
void rpc_sums_opened(rpc_sums_t *sums, uint32_t slot);
/* The channel has ended, with these bytes and this reason. 1: it was the last, and *ALL says
 * all. */
int rpc_sums_release(rpc_sums_t *sums, uint32_t slot, uint64_t in, uint64_t out,
                     rpc_reason_t reason, rpc_sum_t *all);

#endif
