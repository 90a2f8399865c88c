/* rpc_upstream_check: do the settings of mod_ssl for proxies say what is to be made of the
 * certificate of each proxy behind us? By default mod_ssl takes any.
 */
#ifndef RPC_UPSTREAM_CHECK_H
#define RPC_UPSTREAM_CHECK_H

#include <httpd.h>

/* 1: they do. Else a line in the log for each directive that needs one. From check_config. */
int rpc_upstream_verified(apr_pool_t *pool, server_rec *s);

#endif
