/* rpc_channel: the inbound and the outbound proxy of [MS-RPCH] 3.2.3 and 3.2.4.
 *
 * A channel is one HTTP request of a client. Its first PDU says whether it opens a virtual
 * channel or succeeds the channel of one; from then on the virtual channel (proxy/virtual.h)
 * relays between its client connection and its leg to the server. The proxies of one loop
 * thread share two tables, virtual connection cookie -> virtual channel, one a role.
 * Knows streams and PDUs, neither httpd's configuration nor TLS.
 */
#ifndef RPC_CHANNEL_H
#define RPC_CHANNEL_H

#include "base/reason.h"
#include "io/loop.h"
#include "io/stream.h"
#include "proxy/spec.h"
#include "target/dial.h"

typedef struct rpc_proxy rpc_proxy_t;

/* The proxy roles of one loop thread. SIBLINGS holds the COUNT proxies of the process,
 * this one included: a channel is handed to the one its cookie hashes to, so that a
 * successor meets its predecessor. Lives in POOL; DIALER has to live as long. */
rpc_proxy_t *rpc_proxy_create(rpc_loop_t *loop, const rpc_dialer_t *dialer,
                              rpc_proxy_t **siblings, unsigned count, apr_pool_t *pool);

/* Takes over a client stream, whose owner it becomes. On the proxy's loop thread. When
 * there is no memory the stream is closed and ended() called at once. */
void rpc_channel_start(rpc_proxy_t *proxy, rpc_stream_t *client, const rpc_channel_spec_t *spec);

/* Ends the channels that an administrator has asked to end, or whose session is over at NOW. On the
 * proxy's loop thread. */
void rpc_proxy_end_due(rpc_proxy_t *proxy, apr_time_t now);

/* Ends every channel of the proxy with this reason; returns how many there were. On the proxy's
 * loop thread. */
unsigned rpc_proxy_end_all(rpc_proxy_t *proxy, rpc_reason_t reason);

#endif
