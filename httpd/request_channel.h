/* httpd/request_channel.h: makes the settings of a channel from a request, and follows the channel
 * to its end in the log, in the environment of the request and in the table of live channels.
 */
#ifndef RPC_REQUEST_CHANNEL_H
#define RPC_REQUEST_CHANNEL_H

#include <httpd.h>
#include "httpd/config.h"
#include "httpd/context.h"
#include "httpd/engine.h"
#include "httpd/log_record.h"

/* The user and address for which RpcMaxFailedTargets counts. */
rpc_budget_who_t rpc_request_asker(const request_rec *r);

/* Counts TARGET as a failed target of R's client. Any thread that owns R. */
void rpc_request_in_vain(const rpc_context_t *context, request_rec *r, const char *target);

/* Fills SPEC, without the length of the body and the callbacks, in R's pool; host and port of its
 * upstream are set already, if there is one. Returns NULL, or what is wrong with the target. */
const char *rpc_request_spec(const rpc_context_t *context, request_rec *r, rpc_role_t role,
                             const rpc_target_t *target, rpc_channel_spec_t *spec);

/* The limits of the server and of the directory of R. */
rpc_status_limits_t rpc_request_limits(const request_rec *r);

/* The server, host[port], that SPEC's channel tries first and so waits for. In POOL. */
const char *rpc_request_server(apr_pool_t *pool, const rpc_channel_spec_t *spec);

/* Counts the channel in, and has SPEC tell us, on the I/O thread, what becomes of it: from then
 * on its end counts it out. Otherwise the limit that is reached; REACHED is one that the caller
 * has found reached already. A channel that may be a successor comes in and is judged by its
 * first PDU. */
rpc_reason_t rpc_request_enter(const rpc_context_t *context, request_rec *r,
                               rpc_channel_spec_t *spec, rpc_reason_t reached);

/* Has LEFT told of the channel's end as well, with CTX, which must live as long as the process.
 * After rpc_request_enter(); LEFT is called on the loop's thread. */
typedef void rpc_request_left_t(void *ctx, const rpc_end_t *end);
void rpc_request_follow(const rpc_channel_spec_t *spec, rpc_request_left_t *left, void *ctx);

/* Removes the channel from the table when it has not reached an I/O thread, and closes the
 * connection of its upstream. */
void rpc_request_leave(const rpc_channel_spec_t *spec);

/* In the parent: the child of the channel at ROW has died with it. Counts its end. */
void rpc_request_lost(const rpc_context_t *context, int row);

/* The last act on R's worker: a copy of SPEC that owes R nothing and is freed when ended() returns,
 * and the record of R (httpd/log_record.h), which follows the channel to the end of its connection.
 * NULL: out of memory, and nothing has changed. */
const rpc_channel_spec_t *rpc_request_detach(request_rec *r, const rpc_channel_spec_t *spec,
                                             rpc_record_t **record);

#endif
