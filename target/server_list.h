/* rpc_server_list: the servers that may serve one request, in the order in which they are tried.
 * They are values from the configuration to connect(); they are text for people, and in the
 * preface.
 */
#ifndef RPC_SERVER_LIST_H
#define RPC_SERVER_LIST_H

#include <stddef.h>

#include "target/binding.h"

#define RPC_ROUTE_MAX 16        /* servers of one RpcBackend or RpcNspiServers */

/* A list that is only read may be cut off behind its last server: RPC_SERVER_LIST_SIZE(). */
typedef struct rpc_server_list {
    int count;
    rpc_binding_t at[RPC_ROUTE_MAX];    /* none has port 0 */
} rpc_server_list_t;

/* Bytes of a list of so many servers. */
#define RPC_SERVER_LIST_SIZE(count) \
    (offsetof(rpc_server_list_t, at) + (size_t)(count) * sizeof(rpc_binding_t))

/* Puts the server with this INDEX first; the others keep their order. */
void rpc_server_list_prefer(rpc_server_list_t *list, int index);

/* "gc1[6004],::1[6004]". In POOL. */
const char *rpc_server_list_text(apr_pool_t *pool, const rpc_server_list_t *list);
/* The first of them alone. */
const char *rpc_server_list_first(apr_pool_t *pool, const rpc_server_list_t *list);

/* The same with the server of index FIRST before the others, as far as it fits into SIZE bytes. */
void rpc_server_list_print(const rpc_server_list_t *list, int first, char *buf, size_t size);

/* Reads such a text; a server without brackets has this PORT, and all are of ncacn_ip_tcp, which
 * the endpoint connects to. APR_EINVAL: a host or port is missing or wrong, or there are too many.
 * Strings in POOL. */
apr_status_t rpc_server_list_read(apr_pool_t *pool, const char *text, apr_port_t port,
                                  rpc_server_list_t *list);

#endif
