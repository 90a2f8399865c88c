/* rpc_probe: does a server answer? The test is a connect, or for ncacn_http a handshake of version
 * 2.
 *
 * The handshake opens two legs as a pair of proxies does (3.2.1.5.3.1). It succeeds when CONN/C1
 * has come on one leg and CONN/B3 on the other: a virtual connection without a client. No httpd
 * headers; on the loop's thread only.
 */
#ifndef RPC_PROBE_H
#define RPC_PROBE_H

#include "target/connect.h"

typedef struct rpc_probe rpc_probe_t;

/* Called once; the probe no longer exists then. RPC_REASON_NONE: the server answers. Else WHY says,
 * for people, why it does not. */
typedef void rpc_probe_done_t(void *ctx, rpc_reason_t reason, const char *why);

/* PARAMS->timeout is for the whole probe. What PARAMS points to outlives the probe, except the
 * host. DONE is never called before this function returns. NULL: out of memory. */
rpc_probe_t *rpc_probe_start(rpc_loop_t *loop, const rpc_connect_params_t *params, int handshake,
                             rpc_probe_done_t *done, void *ctx);
/* Ends the probe without a call of DONE. May be used only before that call. */
void rpc_probe_cancel(rpc_probe_t *probe);

#endif
