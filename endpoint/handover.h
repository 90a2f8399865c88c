/* rpc_handover: at a restart a new endpoint, in a process of its own, takes the place of the one
 * before, and no leg is lost. The new one accepts all legs from then on; the old ones keep the
 * virtual connections they have, and get the legs that belong to these (second halves,
 * successors of channels) from the new one.
 *
 * Between the newest and each of those before it is a line, a socket pair that the parent has
 * made. What goes over it (the letters of LINE_* in the source):
 *
 *   newest -> older   it is ready, and the version of this list
 *   older -> newest   the cookies of its virtual connections, and that these were all
 *                     legs that have not said yet which virtual connection they belong to
 *                     a virtual connection has ended
 *   newest -> older   a leg of one of these virtual connections
 *
 * Until all older ones have told their cookies, the newest reads no leg, so that it takes no second
 * half for a first one. A process that follows while others are still there has a line to each of
 * them; no process passes on legs of another. All functions run on the endpoint's loop thread.
 */
#ifndef RPC_HANDOVER_H
#define RPC_HANDOVER_H

#include "endpoint/endpoint.h"

typedef struct rpc_handover rpc_handover_t;

typedef struct rpc_handover_params {
    const rpc_log_t *log;
    /* A successor serves: listen no more. What has connected before is still accepted. */
    void (*succeeded)(void *ctx);
    /* All that was to be sent has been. */
    void (*flushed)(void *ctx);
    void *ctx;
} rpc_handover_params_t;

/* For EP, which it sets the kin of; lives in POOL. */
rpc_handover_t *rpc_handover_create(rpc_endpoint_t *ep, rpc_loop_t *loop,
                                    const rpc_handover_params_t *params, apr_pool_t *pool);

/* LINE leads to an endpoint of before, which is told that this one serves. Owns LINE. */
apr_status_t rpc_handover_follow(rpc_handover_t *h, int line);

/* LINE leads to a process that will serve instead, once it says so. Owns LINE. */
apr_status_t rpc_handover_offer(rpc_handover_t *h, int line);

/* Is anything left to be sent? */
int rpc_handover_pending(const rpc_handover_t *h);

#endif
