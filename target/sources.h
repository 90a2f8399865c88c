/* rpc_sources: the addresses of this machine that legs are connected from, in turn
 * (RpcSourceAddress).
 *
 * No httpd headers. A parsed list does not change, except the turn, which is atomic: any thread.
 */
#ifndef RPC_SOURCES_H
#define RPC_SOURCES_H

#include "target/networks.h"

typedef struct rpc_sources rpc_sources_t;

/* Parses local addresses, with blanks between them, as rpc_networks_parse() does. */
apr_status_t rpc_sources_parse(apr_pool_t *pool, const char *text, const rpc_sources_t *base,
                               rpc_sources_t **sources, rpc_syntax_error_t *err);
/* Like rpc_networks_text(). */
const char *rpc_sources_text(const rpc_sources_t *sources);
/* How many addresses are of FAMILY? SOURCES may be NULL. */
int rpc_sources_count(const rpc_sources_t *sources, int family);
/* The next address of FAMILY in turn, with port 0. NULL: there is none. */
const rpc_address_t *rpc_sources_next(rpc_sources_t *sources, int family);

#endif
