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

/* Splits the raw query string "server:port": percent-decoded once, split at the last
 * colon unless the address stands in brackets. NULL, or what is wrong with it (a
 * constant string): empty, no port, port not 1-65535, server of 1,024 characters or
 * more, a blank or control character, a bad escape, unbalanced brackets, a colon in what
 * is no IPv6 address. *TARGET in POOL. */
const char *rpc_target_parse(apr_pool_t *pool, const char *query, rpc_target_t *target);

#endif
