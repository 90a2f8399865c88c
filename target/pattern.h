/* rpc_pattern: names of servers with one '*', as RpcValidPorts, RpcBackend and Require rpc-target
 * write them. A pattern is never wider than it looks:
 *
 *   *                   every name and every address
 *   exch*               exch and one label's rest: exch1, but not exch.example.com
 *   10.1.*              behind digits and dots alone: digits and dots
 *   *.example.com       whatever ends so; one label or more stand for the '*'
 *   *@example.com       likewise, without another '@' before it
 *   *example.com        example.com, and what ends in .example.com or @example.com
 *
 * Compared without case. IPv6 literals match in any spelling, and no pattern but "*" alone covers
 * one that it does not spell out. No httpd. Any thread.
 */
#ifndef RPC_PATTERN_H
#define RPC_PATTERN_H

#include <apr_pools.h>

int rpc_pattern_match(const char *pattern, const char *name);

/* May a name match both patterns? For configtest: where it cannot be told, the answer is yes. */
int rpc_pattern_meets(const char *a, const char *b);

/* What the '*' of PATTERN stands for in NAME, which matches, when that may become part of another
 * name: letters, digits, '-' and '_', no dot, for a dot would let the client choose the domain.
 * In POOL; NULL: it may not. "" where PATTERN has no '*'. */
const char *rpc_pattern_captured(apr_pool_t *pool, const char *pattern, const char *name);

/* For configtest: what a reader of PATTERN may be surprised by and what to write instead, in POOL;
 * NULL: nothing. */
const char *rpc_pattern_surprise(apr_pool_t *pool, const char *pattern);

#endif
