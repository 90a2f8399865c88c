/* rpc_names: the names of servers in the configuration, so that configtest can say which of them
 * do not resolve. What they resolve to is nobody's business before a channel is opened.
 * Source: rpc_names.c
 */
#ifndef RPC_NAMES_H
#define RPC_NAMES_H

#include <httpd.h>
#include <http_config.h>

/* While the configuration is read: the directive at hand names HOST, which lives in its pool.
 * Addresses and what has a `*` in it are passed over. */
void rpc_names_note(cmd_parms *cmd, const char *host);

/* Warns of each name that does not resolve. Blocks. */
void rpc_names_check(apr_pool_t *pconf);

#endif
