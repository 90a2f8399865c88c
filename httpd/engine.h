/* rpc_engine: the I/O threads of one child process and the proxies on them.
 */
#ifndef RPC_ENGINE_H
#define RPC_ENGINE_H

#include <httpd.h>

#include "httpd/detach.h"
#include "httpd/scoreboard_room.h"
#include "io/tls.h"
#include "rpc_channel.h"

typedef struct rpc_engine rpc_engine_t;

typedef struct rpc_engine_params {
    int threads;                /* one loop each */
    apr_interval_time_t grace;  /* that channels outlive rpc_engine_retire(); 0: without limit */
    rpc_health_t *health;       /* is told of servers */
    const rpc_room_t *room;
    int bell;                   /* an eventfd of all children: when it rings, channels that an
                                 * administrator has asked to end do so. It stays the caller's. */
    void (*heed_parent)(void);  /* called several times a second while the engine retires */
} rpc_engine_params_t;

/* Starts the loops and a resolver. When POOL (the child's) is destroyed, an engine that has not
 * been told to retire finishes; one that has retired goes on until its channels have ended, and the
 * destruction waits for it. From child_init. */
apr_status_t rpc_engine_start(rpc_engine_t **engine, const rpc_engine_params_t *params,
                              apr_pool_t *pool);

/* Hands a channel request over (see rpc_detach); SPEC, which lives in R's pool, is copied. Returns
 * what that does; RPC_DETACH_ENDING once the engine's channels end. */
rpc_detach_result_t rpc_engine_hand_over(rpc_engine_t *engine, request_rec *r,
                                         const rpc_channel_spec_t *spec);

/* For sessions of TLS that its loops are to have. Any thread. */
const rpc_tls_kind_t *rpc_engine_tls(const rpc_engine_t *engine);

/* The child is to end when its work is done. Requests that have begun still become channels. All
 * channels end when GRACE is over, or when httpd needs the slot of the child. Any thread, and
 * signal handlers. */
void rpc_engine_retire(rpc_engine_t *engine);

/* Every channel ends now. Any thread, and signal handlers; returns at once. */
void rpc_engine_finish(rpc_engine_t *engine);

#endif
