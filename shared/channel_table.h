/* rpc_status: the table of live channels, shared by all children of the server: one row a
 * channel. It keeps halves of one virtual connection with one user, target and virtual host,
 * refuses cookies that are live already, counts for the limits, and tells a half which of several
 * servers the other half has reached. On several machines each has a table of its own, and nothing
 * but that is less strict for it; what shared/farm.h has heard of the others counts here, too.
 * Names and cookies are in it as keyed hashes only. It outlives restarts, as children of the
 * generation before, and their channels, do. Knows no httpd. Any thread may call.
 */
#ifndef RPC_STATUS_H
#define RPC_STATUS_H

#include <apr_pools.h>

#include "base/reason.h"
#include "shared/farm.h"
#include "wire/role.h"
#include "wire/rts.h"

typedef struct rpc_status rpc_status_t;

#define RPC_STATUS_NO_ROW (-1)
#define RPC_STATUS_ROWS (1u << 20)      /* their numbers are less than this */

/* Makes the table, with a random key, in shared memory that children inherit by fork. Lives in
 * POOL. */
apr_status_t rpc_status_create(rpc_status_t **status, apr_pool_t *pool);
/* PID (not 0) owns the rows that this process takes from now on. Called before threads start. */
void rpc_status_set_pid(rpc_status_t *status, uint32_t pid);
/* From now on the channels that FARM knows of at other machines count, too, and hashes are those of
 * the farm; those of channels that live already stay what they are. NULL: no longer. In the parent,
 * before children are made. */
void rpc_status_join(rpc_status_t *status, const rpc_farm_t *farm);

/* Whose channel it is. */
typedef struct rpc_status_who {
    rpc_role_t role;
    const char *identity;           /* as in rpc_channel_spec_t */
    const char *user;               /* canonical (base/who.h); "": nobody, in no user's count */
    const rts_address_t *address;   /* counts as base/who.h says */
    const char *target;             /* the server it is to wait for, in any case of letters */
} rpc_status_who_t;

/* The most there may be, the newcomer included; 0: no limit. */
typedef struct rpc_status_limits {
    uint32_t channels;
    uint32_t of_user, of_address;
    /* Those that are not opened yet: of the whole server, and of one user, address and target. */
    uint32_t unpaired;
    uint32_t unpaired_of_user, unpaired_of_address, unpaired_of_target;
    rpc_reason_t reached;           /* one that the caller has found reached; or RPC_REASON_NONE */
} rpc_status_limits_t;

/* What is limited, in the order of the status page. */
typedef enum {
    RPC_LIMIT_CHANNELS, RPC_LIMIT_UNPAIRED,
    RPC_LIMIT_OF_USER, RPC_LIMIT_OF_ADDRESS,
    RPC_LIMIT_UNPAIRED_OF_USER, RPC_LIMIT_UNPAIRED_OF_ADDRESS, RPC_LIMIT_UNPAIRED_OF_TARGET,
    RPC_LIMITS
} rpc_limit_t;

/* The most that there ever was of it at a time: of users, addresses and targets, of one of them. It
 * is counted when a channel is taken. Where there is no limit, it is counted so up to
 * RPC_STATUS_COUNTED, since that would take longer and longer; beyond, it is what people have
 * seen. */
uint32_t rpc_status_most(const rpc_status_t *status, rpc_limit_t limit);
/* Somebody sees that there are so many now. */
void rpc_status_seen(rpc_status_t *status, rpc_limit_t limit, uint32_t now);
#define RPC_STATUS_COUNTED 256u

/* Takes a row for a channel. RPC_STATUS_NO_ROW: the limit *WHY is reached. But while channels of
 * the same identity and role live, as many newcomers beyond a limit get a row: each may be the
 * successor of one of them, which rpc_status_claim() finds out. Until then they count for no
 * limit. */
int rpc_status_enter(rpc_status_t *status, const rpc_status_who_t *who,
                     const rpc_status_limits_t *limits, rpc_reason_t *why);
/* The channel of ROW belongs to the virtual connection VC; REPLACING: as the successor of a
 * channel. A row beyond a limit is kept if it succeeds a channel in the table; else that limit is
 * returned. PEER_MISMATCH: VC is live with another identity. DUPLICATE_COOKIE: VC is live in this
 * role, and the channel is no successor. A refused channel keeps its row, without a cookie, until
 * rpc_status_leave(). */
rpc_reason_t rpc_status_claim(rpc_status_t *status, int row, const rts_cookie_t *vc, int replacing);
/* What the channel is counted by: hashes of user, address and target; 0: none. */
void rpc_status_keys(const rpc_status_t *status, int row, uint64_t keys[3]);
/* The leg of the channel is connected to this server. */
void rpc_status_reached(rpc_status_t *status, int row, const char *host, uint16_t port);
/* Was the virtual connection at this server when the channel made its claim? */
int rpc_status_meets(rpc_status_t *status, int row, const char *host, uint16_t port);
/* Is the other half of its virtual connection there, here or at another machine? */
int rpc_status_has_other_half(const rpc_status_t *status, int row);
/* The server has answered, so the channel is no longer unpaired. */
void rpc_status_opened(rpc_status_t *status, int row);
/* A bind or alter_context that asked for LEVEL (firewall/firewall.h) has passed on the channel.
 * Successors in all children learn of it. */
void rpc_status_bound(rpc_status_t *status, int row, unsigned level);
/* Has its virtual connection a bind, and what is the highest level of its binds? Returns 0 when
 * this is not known, because the virtual connection has been at another machine. */
int rpc_status_recall(rpc_status_t *status, int row, int *bound, unsigned *level);
/* The channel has failed: is this to be logged? Of the channels of one virtual connection that fail
 * within about three minutes, in any child, only the first is logged; a channel without a cookie is
 * always logged. NOW is a time of rpc_clock_now(). */
int rpc_status_tells(rpc_status_t *status, int row, apr_time_t now);
/* Gives the row back. */
void rpc_status_leave(rpc_status_t *status, int row);
/* Gives back all rows of a process that has ended, however it did; LOST, which may be NULL,
 * hears of each before that. */
void rpc_status_gone(rpc_status_t *status, uint32_t pid, void (*lost)(void *ctx, int row),
                     void *ctx);

typedef struct rpc_status_counts {
    uint32_t channels, unpaired;
} rpc_status_counts_t;

rpc_status_counts_t rpc_status_count(rpc_status_t *status);

/* What a row says to other machines of a farm (shared/farm.h), into TO, which has room for
 * RPC_STATUS_TOLD entries. How many; 0: the row is free, or does not count. */
#define RPC_STATUS_TOLD 4
int rpc_status_tell(rpc_status_t *status, uint32_t row, rpc_farm_entry_t to[RPC_STATUS_TOLD]);
/* The rows below this number may be in use. */
uint32_t rpc_status_mark(const rpc_status_t *status);

/* The table's name of a cookie: the same in all children, and of no use to anybody else. It is the
 * public id of the virtual connection. Never 0. */
uint64_t rpc_status_hash_cookie(const rpc_status_t *status, const rts_cookie_t *cookie);
/* The same for a channel that has no cookie, by its row, this process and the time. */
uint64_t rpc_status_name_row(const rpc_status_t *status, int row, apr_time_t now);

#endif
