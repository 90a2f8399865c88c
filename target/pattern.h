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

/* May a name match both patterns? For configtest. When this function cannot decide, the answer is
 * yes. */
int rpc_pattern_meets(const char *a, const char *b);

/* The part of NAME, which matches PATTERN, that the '*' stands for, if this part may become part of
 * another name. It may consist of letters, digits, '-' and '_'. It must not contain a dot, because
 * then the client could choose the domain. In POOL. NULL: the part may not be used. "" when PATTERN
 * has no '*'. */
const char *rpc_pattern_captured(apr_pool_t *pool, const char *pattern, const char *name);

/* For configtest: a text that says what may be surprising about PATTERN and what to write instead,
 * in POOL. NULL: nothing is surprising. */
const char *rpc_pattern_surprise(apr_pool_t *pool, const char *pattern);

#endif
