/* rpc_endpointd_listen: the sockets on which the endpoint listens: a Unix socket for our own
 * proxies, and those of RpcEndpointListen. The parent opens them, as root if it is, and keeps
 * them open over restarts; each endpoint process inherits them from it.
 *
 * A Unix socket's name is one thing and the socket another: the name bears the parent's process
 * id, so that two servers with one configuration have two, and a name is removed only while it
 * still leads to the socket of this server.
 */
#ifndef RPC_ENDPOINTD_LISTEN_H
#define RPC_ENDPOINTD_LISTEN_H

#include <stdint.h>
#include <sys/types.h>
#include <httpd.h>

#define RPC_LISTEN_MAX 17       /* the Unix socket, and 16 addresses */
#define RPC_LISTEN_HOST_MAX 256
#define RPC_LISTEN_PATH_MAX 99  /* sun_path has 107, of which a dot and a process id may need 8 */

/* One of them; a plain value. */
typedef struct rpc_listen {
    int fd;                             /* -1: not open */
    char name[108];                     /* path, as long as one may be, or "address:port" */
    char host[RPC_LISTEN_HOST_MAX];     /* TCP: the target of all its legs; "": Unix */
    uint16_t port;                      /* of the target */
    int version1;                       /* TCP: legs of version 1 may come, too */
    dev_t dev;                          /* Unix: which file it is */
    ino_t ino;
} rpc_listen_t;

typedef struct rpc_listen_set {
    int count;
    rpc_listen_t at[RPC_LISTEN_MAX];
} rpc_listen_set_t;

/* Changes KEPT to the sockets of WANTED, which may be empty: a socket with the same name that still
 * works stays open, others are closed, and missing ones are opened. A socket that cannot be opened
 * is logged at LEVEL with a remedy; the others are opened nevertheless. Returns the first error. */
apr_status_t rpc_listen_update(rpc_listen_set_t *kept, const rpc_listen_set_t *wanted,
                               server_rec *s, int level);

/* Closes the copies of this process; other processes go on listening. */
void rpc_listen_close(rpc_listen_set_t *set);

/* Shuts the TCP sockets down for all processes that have a copy; safe in a signal handler. The
 * descriptors stay open. */
void rpc_listen_shut_tcp(const rpc_listen_set_t *set);

/* Started as root: the folder of PATH, or one above it, in which httpd's User could put another
 * file in this place; NULL: there is none. In POOL. */
const char *rpc_listen_user_writes(const char *path, apr_pool_t *pool);

/* Splits "address:port", "[v6]:port" or "*:port" (all addresses) into HOST, NULL for all, and
 * PORT. 0, or -1 when it is none of these. */
int rpc_listen_parse(apr_pool_t *pool, const char *name, const char **host, const char **port);

/* A TCP socket that listens at NAME. -1: errno says why not, *HINT what to do about it. */
int rpc_listen_open_tcp(const char *name, apr_pool_t *pool, const char **hint);

#endif
