/* rpc_resolver: what a name stands for, without ever waiting for the system.
 *
 * getaddrinfo() can neither be interrupted nor given a time limit, and a name whose name server is
 * dead keeps it for half a minute. So it runs on threads that can be left behind: nobody joins
 * them, and nothing that such a thread touches belongs to a pool. When the resolver ends, or a
 * process does, a look-up under way is on its own.
 *
 *   remembered   A good answer counts for 30 seconds, a failure for 5, or for as long as it took
 *                to come about, up to 30. Those who ask for one name at one time share a look-up.
 *   last good    When a new answer does not come within 1.8 seconds, or is a temporary failure,
 *                the last good one is given, until it is an hour old (RFC 8767). The log has one
 *                line when that begins, and one when it is over. "No such name" ends it at once.
 *   shares       A user may occupy a quarter of the threads, as may the names of one domain; a
 *                domain with all those below it, half. More wait until one of theirs is done, and
 *                delay nobody else. Of what waits no user may have more than a quarter.
 *   ours         Who got no thread, or an answer that says only that this machine is out of memory
 *                or descriptors, is told RPC_REASON_LOCAL_FAILURE: that says nothing of the name.
 *
 * Why getaddrinfo() and not c-ares, which needs no threads: of nsswitch.conf c-ares honours the
 * order of files and dns, and no other source. The servers of a site that has RPC are often known
 * by NetBIOS name, through winbind or wins, or through sss, mdns or systemd's resolve; a name that
 * `getent hosts` finds has to be found here. Its shares and its memory would be the same code, and
 * its sockets and timers would come on top, in each loop. No httpd headers.
 */
#ifndef RPC_RESOLVER_H
#define RPC_RESOLVER_H

#include "base/address.h"
#include "base/log.h"
#include "base/reason.h"
#include "io/loop.h"

typedef struct rpc_resolver rpc_resolver_t;
typedef struct rpc_look_up rpc_look_up_t;

/* What a name stands for, best first; more than these are not looked at. */
#define RPC_ADDRESSES_MAX 16
typedef struct rpc_addresses {
    int count;
    rpc_address_t list[RPC_ADDRESSES_MAX];
} rpc_addresses_t;

/* The address that HOST is, if it is one and no name: 1. Never blocks. */
int rpc_resolve_literal(const char *host, rpc_addresses_t *addresses);

/* What a resolver may be made of; zero is the usual value of each. */
typedef struct rpc_resolver_params {
    int threads;                /* as many names are looked up at one time, up to RPC_RESOLVER_THREADS */
    int names;                  /* as many are remembered, those that wait included */
    const rpc_log_t *log;       /* NULL, or it outlives the pool; written to by any thread */
    /* In place of the system and of rpc_clock_now(). Any thread. */
    int (*look_up)(void *ctx, const char *host, rpc_addresses_t *addresses);
    apr_time_t (*now)(void *ctx);
    void *ctx;
} rpc_resolver_params_t;

#define RPC_RESOLVER_THREADS 32

/* Destroying POOL ends it before what lives in the pools below: from then on nobody is answered,
 * and look-ups can only be cancelled. It waits for nothing. */
apr_status_t rpc_resolver_make(rpc_resolver_t **resolver, const rpc_resolver_params_t *params,
                               apr_pool_t *pool);

/* Good during the call. */
typedef struct rpc_resolved {
    rpc_reason_t reason;        /* RPC_REASON_NONE, _RESOLVE_FAILED or _LOCAL_FAILURE */
    int error;                  /* EAI_*, with a reason */
    rpc_addresses_t addresses;  /* else these, one at least */
} rpc_resolved_t;

/* Called once on the loop's thread; the look-up is gone then. */
typedef void rpc_look_up_done_t(void *ctx, const rpc_resolved_t *answer);

/* Has HOST looked up for USER (NULL: for the server itself, which has no share). DONE is never
 * called before this returns. NULL: out of memory. */
rpc_look_up_t *rpc_look_up_start(rpc_resolver_t *resolver, rpc_loop_t *loop, const char *host, const char *user,
                                 rpc_look_up_done_t *done, void *ctx);
/* DONE will not be called. Only before it was called. RPC_REASON_LOCAL_FAILURE: the look-up had not
 * begun; RPC_REASON_RESOLVE_FAILED: it had. */
rpc_reason_t rpc_look_up_cancel(rpc_look_up_t *look_up);

/* Nothing answers at the addresses of HOST: who comes next asks anew, the server may have moved. */
void rpc_resolver_forget(rpc_resolver_t *resolver, const char *host);

#endif
