/* rpc_preface: the first bytes that a proxy of this module sends on a leg to its own endpoint: the
 * target, the user, the client's address, the times, the window and the rules. So the endpoint
 * pairs only halves of the same user and the same target, and knows where it may connect.
 *
 * It begins with a secret that only the server's own processes know: any other program of the
 * same user, such as a CGI script, may connect to the socket, but cannot speak for anybody.
 *
 * Wire form: "RPXY", u16 version 5, u16 whole length, the secret, u32 connect_timeout, u32
 * setup_timeout, u32 receive_window, then eight strings, each u16 length and bytes without NUL; all
 * numbers little-endian. Bytes only, no httpd.
 */
#ifndef RPC_PREFACE_H
#define RPC_PREFACE_H

#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>

#define RPC_PREFACE_MAX 16384
#define RPC_PREFACE_SECRET 32   /* bytes */

typedef struct rpc_preface {
    const char *host;       /* where to connect: the servers in order, as in target/server_list.h */
    uint16_t port;          /* on the wire a string of digits */
    const char *target;     /* server:port as the client named it */
    const char *user;       /* authenticated user; "" when anonymous */
    const char *client;     /* the client's address, for the log; "": unknown */
    const char *vhost;      /* name:port of the virtual host */
    const char *networks;   /* RpcTargetNetworks as configured; "": its default */
    const char *sources;    /* RpcSourceAddress as configured; "": none */
    uint32_t connect_timeout;   /* RpcConnectTimeout, milliseconds; 0: the endpoint's own */
    uint32_t setup_timeout;     /* RpcSetupTimeout, the same */
    uint32_t receive_window;    /* RpcReceiveWindow, bytes; 0: the endpoint's own */
    const uint8_t *secret;  /* RPC_PREFACE_SECRET bytes; NULL: zeros */
} rpc_preface_t;

/* Encodes into BUF. Returns the size, or 0 when it exceeds CAP or RPC_PREFACE_MAX, or when host or
 * port is missing. A NULL string is an empty one. */
size_t rpc_preface_write(const rpc_preface_t *preface, uint8_t *buf, size_t cap);

/* Decodes from the start of DATA. > 0: bytes used, strings in POOL; 0: more bytes are
 * needed; -1: no preface (the first bytes differ); -2: malformed. */
int rpc_preface_read(const uint8_t *data, size_t len, rpc_preface_t *preface, apr_pool_t *pool);

/* Are user, target and virtual host the same? Targets are compared without case. They determine the
 * servers to connect to. Only the order of the servers differs, which depends on their health. */
int rpc_preface_equal(const rpc_preface_t *a, const rpc_preface_t *b);

/* Does the preface have this secret, of RPC_PREFACE_SECRET bytes (NULL: zeros)? The time that this
 * takes does not depend on how much of a wrong secret is right. */
int rpc_preface_has_secret(const rpc_preface_t *preface, const uint8_t *secret);

/* A copy in one malloc'ed block, without the secret; NULL without memory. */
rpc_preface_t *rpc_preface_copy(const rpc_preface_t *preface);

/* The user for the log; "": nobody, or no preface. */
const char *rpc_preface_user(const rpc_preface_t *preface);
/* The client for the log: its address, or "unknown". */
const char *rpc_preface_client(const rpc_preface_t *preface);

#endif
