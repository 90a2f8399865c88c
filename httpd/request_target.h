/* httpd/request_target.h: the target that a request names in its query, which is parsed once. */
#ifndef RPC_REQUEST_TARGET_H
#define RPC_REQUEST_TARGET_H

#include <httpd.h>

#include "proxy/upstream.h"
#include "target/query.h"
#include "wire/role.h"

/* The target in R's query. It lives in R's pool and is parsed anew only when the query has changed,
 * by a RewriteRule for example. NULL: *WRONG (if WRONG is not NULL) says what is wrong with the
 * query. On the thread that owns R. */
const rpc_target_t *rpc_request_target(request_rec *r, const char **wrong);

/* The role (rpc_role_t) that a method asks for; -1: it does not belong to RPC over HTTP. */
int rpc_method_role(const char *method);

/* How the paths of RD Gateway's own protocol begin. */
#define RPC_GATEWAYS_PATH "/remoteDesktopGateway"

/* The same for a request, RD Gateway's own among them, which today's clients send to
 * /remoteDesktopGateway/: RDG_IN_DATA, RDG_OUT_DATA, or a WebSocket. Only a proxy behind us serves
 * those. */
typedef struct rpc_request_kind {
    int role;
    rpc_carry_t carry;
} rpc_request_kind_t;

rpc_request_kind_t rpc_request_kind(const request_rec *r);

#endif
