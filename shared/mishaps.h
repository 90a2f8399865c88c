/* rpc_mishaps: the last connections that failed, and why, for the status page: "why was bob refused
 * at nine?"
 *
 * A ring in shared memory. The same user who fails again for the same reason at the same target has
 * one entry, which counts; so somebody who tries again and again does not drive out all others. No
 * locks: an entry is written by whoever has put its process id there, and readers see all of it or
 * none. No httpd headers; any thread, any process that has inherited the memory.
 */
#ifndef RPC_MISHAPS_H
#define RPC_MISHAPS_H

#include <apr_pools.h>
#include <apr_time.h>

#include "base/reason.h"

typedef struct rpc_mishaps rpc_mishaps_t;

#define RPC_MISHAPS 128         /* entries; a power of 2 */
#define RPC_MISHAPS_SHOWN 100

/* Texts with their NUL, cut to their room; multiples of 8. */
typedef struct rpc_mishap {
    char user[80], client[48], target[80], server[80];
    char why[256];              /* in words */
    uint64_t connection;        /* public id; 0: not known */
    int64_t first, last;        /* time of day */
    uint32_t times;             /* the reader's: how often */
    uint32_t reason;            /* rpc_reason_t */
} rpc_mishap_t;

apr_status_t rpc_mishaps_create(rpc_mishaps_t **mishaps, apr_pool_t *pool);

/* What has failed, in its texts' full length; NULL: not known. */
typedef struct rpc_mishap_texts {
    const char *user, *client, *target, *server, *why;
} rpc_mishap_texts_t;

/* PID: of this process. */
void rpc_mishaps_note(rpc_mishaps_t *mishaps, uint32_t pid, rpc_reason_t reason,
                      uint64_t connection, const rpc_mishap_texts_t *texts, apr_time_t now);
/* The last ones, the latest first, into TO, which has room for RPC_MISHAPS. How many. */
int rpc_mishaps_read(const rpc_mishaps_t *mishaps, rpc_mishap_t *to);
/* A process has died, and the entry that it was writing is nobody's. */
void rpc_mishaps_gone(rpc_mishaps_t *mishaps, uint32_t pid);

#endif
