/* rpc_servers: the servers that any directive of the configuration names: for configtest, which
 * warns of names that do not resolve, and for the health checks.
 */
#ifndef RPC_SERVERS_H
#define RPC_SERVERS_H

#include <httpd.h>
#include <http_config.h>

#include "httpd/config.h"
#include "shared/health.h"

typedef struct rpc_named_server {
    const char *host;
    apr_port_t port;                /* 0: the port that clients ask for */
    rpc_protseq_t protseq;
    const rpc_dir_config_t *dc;     /* of the section, whose other directives may come later; or
                                     * NULL */
    const ap_directive_t *where;
    server_rec *s;
} rpc_named_server_t;

/* While the configuration is read: the directive at hand, in the section DC, names this server;
 * HOST lives in its pool. What has a `*` in it is passed over. */
void rpc_servers_note(cmd_parms *cmd, const rpc_dir_config_t *dc, rpc_protseq_t protseq,
                      const char *host, apr_port_t port);

/* All of them, rpc_named_server_t, in configured order; a server may occur twice. NULL: none. */
const apr_array_header_t *rpc_servers_named(apr_pool_t *pconf);

/* Has each of them keep its place in HEALTH. */
void rpc_servers_reserve(apr_pool_t *pconf, rpc_health_t *health);

/* Warns of each address that a "!" of RpcTargetNetworks denies in the section that names it, so
 * that it is never used. All other named addresses are allowed. */
void rpc_servers_check_networks(apr_pool_t *pconf, const rpc_dir_config_t *main_server);

/* Warns of each name that does not resolve, or not within 10 seconds. Blocks for so long. */
void rpc_servers_check_names(apr_pool_t *pconf);

#endif
