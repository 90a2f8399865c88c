/* rpc_engine: the I/O threads of one child process and the proxies on them.
 */
#ifndef RPC_ENGINE_H
#define RPC_ENGINE_H

#include <httpd.h>
#include "rpc_channel.h"

typedef struct rpc_engine rpc_engine_t;

/* Starts THREADS loops with a resolver, which tell HEALTH of servers. They end, and with them every channel, when POOL
 * (the child's) is destroyed. From child_init. */
apr_status_t rpc_engine_start(rpc_engine_t **engine, int threads, rpc_health_t *health,
                              apr_pool_t *pool);

/* Hands a channel request over (see rpc_conn_hand_over); SPEC lives in R's pool. Returns
 * what the handler is to return; HTTP_SERVICE_UNAVAILABLE once the engine ends. */
int rpc_engine_hand_over(rpc_engine_t *engine, request_rec *r, const rpc_channel_spec_t *spec);

/* The child is asked to go: GRACEFUL 1: no new channels, those alive may live on for GRACE
 * (0: without limit); GRACEFUL 0: every channel ends now. Any thread; returns at once. */
void rpc_engine_retire(rpc_engine_t *engine, int graceful, apr_interval_time_t grace);

#endif
