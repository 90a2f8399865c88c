/* rpc_upstream_member: which member of a balancer serves a client, and the connection to it that
 * the client's connection owns.
 */
#ifndef RPC_UPSTREAM_MEMBER_H
#define RPC_UPSTREAM_MEMBER_H

#include "base/end.h"
#include "httpd/proxy_api.h"
#include "io/secure.h"

/* lbmethod=rpctarget; from register_hooks. */
void rpc_upstream_member_register(apr_pool_t *p);
/* Registers with mod_proxy. From pre_config. */
void rpc_upstream_member_hook(const rpc_proxy_api_t *api);

/* Has R's connection own STREAM, to the server of WORKER, until its next request takes it, or its
 * end. */
void rpc_upstream_keep(request_rec *r, proxy_worker *worker, rpc_stream_t *stream);
/* Takes what R's connection owns, if it leads to WORKER's server, belongs to R's user, and is still
 * open; else closes it. */
rpc_stream_t *rpc_upstream_kept(request_rec *r, const proxy_worker *worker);

/* Counts a channel for balancer-manager, from its beginning to its end. Any thread; the second as
 * rpc_request_left_t, with WORKER. */
void rpc_upstream_begins(proxy_worker *worker);
void rpc_upstream_left(void *worker, const rpc_end_t *end);

#endif
