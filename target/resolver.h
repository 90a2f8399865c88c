/* rpc_resolver: looks names up without ever making the caller wait for the system.
 *
 * getaddrinfo() can neither be interrupted nor given a time limit, and a dead name server keeps it
 * busy for half a minute. So it runs on threads that can be abandoned: nobody joins them, and
 * nothing that such a thread touches belongs to a pool. When the resolver or the process ends,
 * nobody waits for a look-up that is running.
 *
 *   remembered   A good answer counts for 30 seconds, a failure for 5, or for as long as it took
 *                to come about, up to 30. Those who ask for one name at one time share a look-up.
 *   last good    When a new answer does not come within 1.8 seconds, or is a temporary failure,
 *                the last good one is given, until it is an hour old (RFC 8767). The log has one
 *                line when that begins, and one when it is over. "No such name" ends it at once.
 *   shares       One user may occupy a quarter of the threads, and so may the names of one domain;
 *                a domain with all domains below it may occupy half. Further names wait until one
 *                of theirs is done, and delay nobody else. No user may have more than a quarter of
 *                the waiting names.
 *   local        When there is no thread, or the system's answer says only that this machine is out
 *                of memory or descriptors, the result is RPC_REASON_LOCAL_FAILURE, because nothing
 *                is known about the name.
 *
 * Why getaddrinfo() and not c-ares, which needs no threads: from nsswitch.conf c-ares uses only the
 * order of files and dns. Sites with RPC often know their servers by NetBIOS names, through winbind
 * or wins, or through sss, mdns or systemd's resolve, and a name that `getent hosts` finds has to
 * be found here. With c-ares the code for shares and memory would be the same, and its sockets and
 * timers would be added in each loop. No httpd headers.
 */
#ifndef RPC_RESOLVER_H
#define RPC_RESOLVER_H

#include "base/address.h"
#include "base/log.h"
#include "base/reason.h"
#include "io/loop.h"

typedef struct rpc_resolver rpc_resolver_t;
typedef struct rpc_look_up rpc_look_up_t;

/* The addresses of a name, best first; more than these are ignored. */
#define RPC_ADDRESSES_MAX 16
typedef struct rpc_addresses {
    int count;
    rpc_address_t list[RPC_ADDRESSES_MAX];
} rpc_addresses_t;

/* The address that HOST is, if it is one and no name: 1. Never blocks. */
int rpc_resolve_literal(const char *host, rpc_addresses_t *addresses);

/* Settings of a resolver; zero stands for the usual value of each. */
typedef struct rpc_resolver_params {
    int threads;                /* as many names are looked up at one time, up to
                                 * RPC_RESOLVER_THREADS */
    int names;                  /* as many are remembered, those that wait included */
    const rpc_log_t *log;       /* NULL, or it outlives the pool; written to by any thread */
    /* In place of the system and of rpc_clock_now(). Any thread. */
    int (*look_up)(void *ctx, const char *host, rpc_addresses_t *addresses);
    apr_time_t (*now)(void *ctx);
    void *ctx;
} rpc_resolver_params_t;

#define RPC_RESOLVER_THREADS 32

/* Destroying POOL ends the resolver, before objects in its subpools go: from then on nobody is
 * answered, and look-ups can only be cancelled. The end waits for nothing. */
apr_status_t rpc_resolver_make(rpc_resolver_t **resolver, const rpc_resolver_params_t *params,
                               apr_pool_t *pool);

/* Valid during the call. */
typedef struct rpc_resolved {
    rpc_reason_t reason;        /* RPC_REASON_NONE, _RESOLVE_FAILED or _LOCAL_FAILURE */
    int error;                  /* EAI_*, with a reason */
    rpc_addresses_t addresses;  /* else these, one at least */
} rpc_resolved_t;

/* Called once on the loop's thread; the look-up is gone then. */
typedef void rpc_look_up_done_t(void *ctx, const rpc_resolved_t *answer);

/* Looks HOST up for USER (NULL: for the server itself, which no share limits). DONE is never called
 * before this function returns. NULL: out of memory. */
rpc_look_up_t *rpc_look_up_start(rpc_resolver_t *resolver, rpc_loop_t *loop, const char *host,
                                 const char *user, rpc_look_up_done_t *done, void *ctx);
/* Cancels the look-up; DONE will not be called. May be used only before that call. Returns
 * RPC_REASON_LOCAL_FAILURE when the look-up had not begun, or RPC_REASON_RESOLVE_FAILED. */
rpc_reason_t rpc_look_up_cancel(rpc_look_up_t *look_up);

/* To be called when nothing answers at the addresses of HOST: the next look-up asks the system
 * again, because the server may have moved. */
void rpc_resolver_forget(rpc_resolver_t *resolver, const char *host);

#endif
