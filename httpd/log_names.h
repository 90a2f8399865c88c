/* rpc_log_names: what the configuration of the logs asks for: which header fields, variables, notes
 * and items LogFormat, CustomLog, TransferLog, GlobalLog and ErrorLogFormat name, conditions
 * included.
 *
 * The answers may be yes too often: whatever looks like a name is one. Read-only once made; any
 * thread.
 */
#ifndef RPC_LOG_NAMES_H
#define RPC_LOG_NAMES_H

#include <apr_pools.h>
#include <apr_tables.h>

typedef struct rpc_log_names rpc_log_names_t;

/* Reads httpd's configuration tree. From post_config. In POOL. */
const rpc_log_names_t *rpc_log_names_read(apr_pool_t *pool);

/* Is NAME, of a header field or a variable, named? Without case; an expression has HTTP_USER_AGENT
 * for User-Agent. */
int rpc_log_names_has(const rpc_log_names_t *names, const char *name);

/* Is there an item of LogFormat with this letter, as "h" of %>h and %{c}h? */
int rpc_log_names_item(const rpc_log_names_t *names, char letter);

/* The names that begin with SSL_ (const char *), those that %{...}c means included. */
const apr_array_header_t *rpc_log_names_ssl(const rpc_log_names_t *names);

#endif
