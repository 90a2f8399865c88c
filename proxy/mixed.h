/* rpc_mixed: the mixed proxy of version 1, [MS-RPCH] 3.1.2: one request, RPC_CONNECT, whose
 * connection carries both directions to one connection of the server. No httpd headers.
 */
#ifndef RPC_MIXED_H
#define RPC_MIXED_H

#include "io/stream.h"
#include "proxy/spec.h"

typedef struct rpc_mixed rpc_mixed_t;

/* Takes over a client stream, whose owner it becomes; puts itself into *LIST, where
 * rpc_mixed_end() finds it. On the loop's thread. When there is no memory the stream is closed
 * and SPEC's ended() called at once. */
void rpc_mixed_start(rpc_loop_t *loop, const rpc_dialer_t *dialer, rpc_mixed_t **list,
                     rpc_stream_t *client, const rpc_channel_spec_t *spec);

/* Ends the first of *LIST with this reason. */
void rpc_mixed_end(rpc_mixed_t **list, rpc_reason_t reason);

/* Ends those of LIST, which goes on, that have to end at NOW (base/meter.h). */
void rpc_mixed_end_due(rpc_mixed_t *list, apr_time_t now);

#endif
