/* rpc_handover: at a restart a new endpoint, in a process of its own, takes the place of the one
 * before, and no leg is lost. The new one accepts all legs from then on; the old ones keep the
 * virtual connections they have, and get the legs that belong to these (second halves,
 * successors of channels) from the new one.
 *
 * Between the newest endpoint and each older one there is a line, a socket pair that the parent has
 * made. These messages go over it (the letters of LINE_* in the source):
 *
 *   newest -> older   it is ready, and the version of the messages
 *   older -> newest   the cookies of its virtual connections, and that these were all
 *                     legs that have not yet named their virtual connection
 *                     a virtual connection has ended
 *   newest -> older   a leg of one of these virtual connections
 *
 * Until all older endpoints have sent their cookies, the newest one reads no leg, so that it does
 * not take a second half for a first one. A new process has a line to each process that still runs;
 * no process passes on legs of another. All functions run on the endpoint's loop thread.
 */
#ifndef RPC_HANDOVER_H
#define RPC_HANDOVER_H

#include "endpoint/endpoint.h"

typedef struct rpc_handover rpc_handover_t;

typedef struct rpc_handover_params {
    const rpc_log_t *log;
    /* A successor serves: stop listening. Connections made before are still accepted. */
    void (*succeeded)(void *ctx);
    /* Everything has been sent. */
    void (*flushed)(void *ctx);
    void *ctx;
} rpc_handover_params_t;

/* Makes the handover of EP, and sets the kin of EP. It lives in POOL. */
rpc_handover_t *rpc_handover_create(rpc_endpoint_t *ep, rpc_loop_t *loop,
                                    const rpc_handover_params_t *params, apr_pool_t *pool);

/* LINE leads to an older endpoint, which is told that this one serves. The handover owns LINE. */
apr_status_t rpc_handover_follow(rpc_handover_t *h, int line);

/* LINE leads to a process that will serve instead as soon as it says so. The handover owns LINE. */
apr_status_t rpc_handover_offer(rpc_handover_t *h, int line);

/* Does anything remain to be sent? */
int rpc_handover_pending(const rpc_handover_t *h);

#endif
