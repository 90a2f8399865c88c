/* httpd/request_channel.h: what a request asks for, as a channel; and the channel, to its end, in the
 * request's log, its environment and the table of live channels.
 */
#ifndef RPC_REQUEST_CHANNEL_H
#define RPC_REQUEST_CHANNEL_H

#include <httpd.h>
#include "httpd/config.h"
#include "httpd/engine.h"
#include "shared/channel_table.h"

/* What requests work on. Of the whole server, from post_config on: the table of live channels, which
 * servers answer, who asks for too many of them, and how many children there may be. Of a child process:
 * its engine. */
typedef struct rpc_context {
    rpc_status_t *live;
    rpc_health_t *health;
    rpc_budgets_t *budgets;
    rpc_room_t *room;
    rpc_engine_t *engine;
} rpc_context_t;

/* As RpcMaxFailedTargets counts. */
rpc_budget_who_t rpc_request_asker(const request_rec *r);

/* R's client has asked for TARGET and shall not do so too often. Any thread that owns R. */
void rpc_request_in_vain(const rpc_context_t *context, request_rec *r, const char *target);

/* Fills SPEC, but for the length of the body and what happens on the way, in R's pool. NULL, or what
 * is wrong with the target. */
const char *rpc_request_spec(const rpc_context_t *context, request_rec *r, rpc_role_t role,
                             const rpc_target_t *target, rpc_channel_spec_t *spec);

/* Of the server and of the directory that R is for. */
rpc_status_limits_t rpc_request_limits(const request_rec *r);

/* The server, host[port], that SPEC's channel tries first and so waits for. In POOL. */
const char *rpc_request_server(apr_pool_t *pool, const rpc_channel_spec_t *spec);

/* Counts the channel in, and has SPEC tell us, on the I/O thread, what becomes of it: from then on its
 * end counts it out. Otherwise the limit that is reached; REACHED is one that the caller has found
 * reached already. A channel that may be a successor comes in and is judged by its first PDU. */
rpc_reason_t rpc_request_enter(const rpc_context_t *context, request_rec *r, rpc_channel_spec_t *spec,
                               rpc_reason_t reached);

/* Counts it out again when it never came to an I/O thread. */
void rpc_request_leave(const rpc_channel_spec_t *spec);

#endif
