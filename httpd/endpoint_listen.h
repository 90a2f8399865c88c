/* rpc_endpointd_listen: the sockets on which the endpoint listens: a Unix socket for our own
 * proxies, and those of RpcEndpointListen. The parent opens them, as root if it is, and keeps
 * them open over restarts; the endpoint process, and the next one, get them from it.
 */
#ifndef RPC_ENDPOINTD_LISTEN_H
#define RPC_ENDPOINTD_LISTEN_H

#include <stdint.h>
#include <httpd.h>

#define RPC_LISTEN_MAX 17       /* the Unix socket, and 16 addresses */
#define RPC_LISTEN_HOST_MAX 256

/* One of them; a plain value that travels over the control socket. */
typedef struct rpc_listen {
    int fd;                             /* -1: not open */
    char name[108];                     /* path, as long as one may be, or "address:port" */
    char host[RPC_LISTEN_HOST_MAX];     /* TCP: the target of all its legs; "": Unix */
    uint16_t port;                      /* of the target */
    int version1;                       /* TCP: legs of version 1 may come, too */
} rpc_listen_t;

typedef struct rpc_listen_set {
    int count;
    rpc_listen_t at[RPC_LISTEN_MAX];
} rpc_listen_set_t;

/* Makes KEPT what WANTED says: what has the same name stays open, the rest is closed, what is
 * missing is opened; logs what cannot be. *CHANGED: has it become another set? */
apr_status_t rpc_listen_update(rpc_listen_set_t *kept, const rpc_listen_set_t *wanted,
                               server_rec *s, int *changed);

/* Closes this process's copies; others go on listening. */
void rpc_listen_close(rpc_listen_set_t *set);

/* Splits "address:port", "[v6]:port" or "*:port" (all addresses) into HOST, NULL for all, and
 * PORT. 0, or -1 when it is none of these. */
int rpc_listen_parse(apr_pool_t *pool, const char *name, const char **host, const char **port);

#endif
