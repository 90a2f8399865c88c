/* rpc_upstream: the connection to an RPC proxy that is already there, which a channel is relayed
 * over (proxy/relay.h), and what a worker thread has decided about it. No httpd headers.
 */
#ifndef RPC_UPSTREAM_H
#define RPC_UPSTREAM_H

#include "io/stream.h"

/* What a channel's bytes are. */
typedef enum {
    RPC_CARRY_RPC,      /* PDUs: by the role, as [MS-RPCH] says */
    RPC_CARRY_BODY,     /* bodies of whatever kind, perhaps without end (RDG_IN_DATA) */
    RPC_CARRY_UPGRADE   /* nothing before a 101, whatever comes behind it (WebSocket) */
} rpc_carry_t;

/* In fields of the answer, FROM at the beginning becomes TO. */
typedef enum {
    RPC_MAP_URL,                /* Location, Content-Location, URI */
    RPC_MAP_COOKIE_PATH,        /* path= of Set-Cookie */
    RPC_MAP_COOKIE_DOMAIN       /* domain= of it; all of it, in whichever case */
} rpc_map_kind_t;

typedef struct rpc_map {
    rpc_map_kind_t kind;
    const char *from, *to;
} rpc_map_t;

/* Part of a spec, and as it read-only for whoever gets it. */
typedef struct rpc_upstream {
    rpc_stream_t *stream;       /* of io/secure.h, connected, on no loop yet; the request's head
                                 * waits in it (rpc_secure_put). Owned by whoever has the spec, in
                                 * the end by the relay. NULL: there is no upstream */
    const char *host;           /* for logs and tables */
    uint16_t port;
    rpc_carry_t carry;
    unsigned expects:1;         /* the head has the client's Expect: its 100 comes from there, and
                                 * nobody has sent one */
    unsigned logs_on:1;         /* the request has credentials of RpcBackendAuth: a 401 is no
                                 * question to the client, who hears nothing of an authentication */
    unsigned http10:1;          /* the client speaks HTTP/1.0 */
    unsigned chunked:1;         /* of RPC_CARRY_BODY: the request's body */
    apr_interval_time_t timeout;    /* for an answer that is due; 0: as setup_timeout */
    const char *fields;         /* put behind those of each answer, each with its CR LF; NULL:
                                 * none */
    const rpc_map_t *maps;      /* the first that fits counts */
    int map_count;
} rpc_upstream_t;

#endif
