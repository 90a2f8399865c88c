/* rpc_target: the server that a request asks for. No httpd headers. */
#ifndef RPC_QUERY_H
#define RPC_QUERY_H

#include <apr_network_io.h>
#include <apr_pools.h>

/* What the client named in the query ([MS-RPCH] 2.2.2). */
typedef struct rpc_target {
    const char *server;     /* decoded, without brackets; case as sent */
    apr_port_t port;
} rpc_target_t;

/* Splits the raw query string "server:port". It is percent-decoded once and split at the last
 * colon, unless the address stands in brackets. *TARGET is in POOL. Returns NULL, or a constant
 * string that says what is wrong: the query is empty, has no port, a port that is not 1-65535, a
 * server of 1,024 characters or more, a blank or control character, a bad escape, unbalanced
 * brackets, or a colon in a name that is not an IPv6 address. */
const char *rpc_target_parse(apr_pool_t *pool, const char *query, rpc_target_t *target);

#endif
