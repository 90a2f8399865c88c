/* rpc_binding: DCE string bindings, as far as a proxy needs them:
 *   ncacn_http:host[port]   ncacn_ip_tcp:host[port]
 * HOST is a DNS name, an IPv4 literal or an IPv6 literal (bare or in brackets). An empty port, "[]"
 * or no brackets, means the port that the client asks for. RpcBackend replaces a "*" in a name by
 * the text that the "*" of its pattern matches. No httpd headers.
 */
#ifndef RPC_BINDING_H
#define RPC_BINDING_H

#include "base/syntax.h"

typedef enum { RPC_PROTSEQ_HTTP, RPC_PROTSEQ_TCP } rpc_protseq_t;

typedef struct rpc_binding {
    rpc_protseq_t protseq;
    const char *host;       /* without brackets */
    apr_port_t port;        /* 0: the port asked for */
} rpc_binding_t;

/* Parses TEXT. APR_SUCCESS, or APR_EINVAL with *ERR filled in. Strings in POOL. */
apr_status_t rpc_binding_parse(apr_pool_t *pool, const char *text,
                               rpc_binding_t *binding, rpc_syntax_error_t *err);

#endif
