/* rpc_relay: a channel that goes on as a channel, to an RPC proxy that is already there: one
 * request over one connection of its own, IN as IN, OUT as OUT, version 1 likewise. No httpd
 * headers.
 *
 * Bytes go on as they come. The relay follows the conversation of RTS PDUs for what a proxy owes
 * its administrator (claims on cookies, the firewall, limits of time, an end that is explained),
 * and takes no part in it: windows and acknowledgements are the two ends'.
 */
#ifndef RPC_RELAY_H
#define RPC_RELAY_H

#include "io/stream.h"
#include "proxy/spec.h"

typedef struct rpc_relay rpc_relay_t;

/* Takes over a client stream, whose owner it becomes, and the stream of SPEC->upstream; puts itself
 * into *LIST, where rpc_relay_end() finds it. On the loop's thread. When there is no memory both
 * streams are closed and SPEC's ended() called at once. */
void rpc_relay_start(rpc_loop_t *loop, rpc_relay_t **list, rpc_stream_t *client,
                     const rpc_channel_spec_t *spec);

/* Ends the first of *LIST with this reason. */
void rpc_relay_end(rpc_relay_t **list, rpc_reason_t reason);

/* Ends those of LIST, which goes on, that have to end at NOW (base/meter.h). */
void rpc_relay_end_due(rpc_relay_t *list, apr_time_t now);

#endif
