/* rpc_probe: is a server there? A connect, or for ncacn_http a handshake of version 2.
 *
 * The handshake opens two legs as a pair of proxies does (3.2.1.5.3.1) and is content once CONN/C1
 * has come on the one and CONN/B3 on the other: a virtual connection without a client. No httpd
 * headers; on the loop's thread alone. Source: target/probe.c
 */
#ifndef RPC_PROBE_H
#define RPC_PROBE_H

#include "target/connect.h"

typedef struct rpc_probe rpc_probe_t;

/* Called once, then the probe is gone. RPC_REASON_NONE: the server is there. Else WHY, for people. */
typedef void rpc_probe_done_t(void *ctx, rpc_reason_t reason, const char *why);

/* PARAMS->timeout is for all of it; what they point to but the host outlives the probe. DONE is
 * never called before this returns. NULL: out of memory. */
rpc_probe_t *rpc_probe_start(rpc_loop_t *loop, const rpc_connect_params_t *params, int handshake,
                             rpc_probe_done_t *done, void *ctx);
/* DONE will not be called. Only before it was called. */
void rpc_probe_cancel(rpc_probe_t *probe);

#endif
