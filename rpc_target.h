/* rpc_target: which server a request asks for, whether it may, and where it really is.
 *
 * Knows the configuration's lists (RpcValidPorts, RpcBackend), no request_rec. Read-only
 * after configuration, so any thread may ask.
 */
#ifndef RPC_TARGET_H
#define RPC_TARGET_H

#include <apr_pools.h>
#include <apr_tables.h>
#include "rpc_binding.h"
#include "rpc_valid_ports.h"

/* What the client named in the query ([MS-RPCH] 2.2.2). */
typedef struct rpc_target {
    const char *server;     /* decoded, without brackets; case as sent */
    apr_port_t port;
} rpc_target_t;

/* One RpcBackend directive. */
typedef struct rpc_backend {
    const char *pattern;    /* server part */
    apr_port_t low, high;   /* ports it covers; 1-65535 when none was written */
    rpc_binding_t binding;
    const char *text;       /* as written, for messages */
} rpc_backend_t;

/* Splits the raw query string "server:port": percent-decoded once, split at the last
 * colon unless the address stands in brackets. NULL, or what is wrong with it (a
 * constant string): empty, no port, port not 1-65535, server of 1,024 characters or
 * more, a blank or control character, a bad escape, unbalanced brackets, a colon in what
 * is no IPv6 address. *TARGET in POOL. */
const char *rpc_target_parse(apr_pool_t *pool, const char *query, rpc_target_t *target);

/* Parses the first argument of RpcBackend, "pattern:ports" or "pattern", and the
 * second, a string binding. APR_EINVAL: *ERR, and *ARG is 1 or 2. */
apr_status_t rpc_backend_parse(apr_pool_t *pool, const char *pattern, const char *binding,
                               rpc_backend_t **backend, rpc_syntax_error_t *err, int *arg);

/* Where TARGET really is: the first of BACKENDS (an array of rpc_backend_t *, may be
 * NULL) that matches, its empty port filled in; without one ncacn_http:server[port].
 * *BACKEND (if not NULL) is the directive that matched, or NULL. */
rpc_binding_t rpc_target_resolve(const apr_array_header_t *backends,
                                 const rpc_target_t *target, const rpc_backend_t **backend);

#endif
