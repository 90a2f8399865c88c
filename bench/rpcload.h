/* rpcload: a client of RPC over HTTP over TLS that loads a proxy; many virtual connections
 * on one thread.
 *
 * Through a proxy that speaks the protocol it is the client of [MS-RPCH] 3.2.2. A plain TCP
 * proxy brings the same two TLS connections to the server, which wants CONN/A2 and CONN/B2
 * on them; so there the client says what the inbound and the outbound proxy would say, and
 * the bytes of the RPC PDUs are the same. Anything that goes wrong ends the program.
 */
#ifndef RPCLOAD_H
#define RPCLOAD_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "bench_rpc.h"
#include "dcerpc.h"
#include "rpc_flow.h"
#include "rts.h"

typedef struct vc vc_t;

typedef struct proxy {
    const char *name;
    uint16_t port;
    pid_t pid;              /* the process whose memory and time count */
    int speaks_http;        /* 0: a plain TCP proxy */
} proxy_t;

typedef struct load {
    int epoll;
    SSL_CTX *tls;
    const char *auth;       /* user:password in base64 */
    const char *target;     /* server:port */
    uint8_t scratch[65536];
} load_t;

/* What a measurement does with its virtual connections. */
typedef struct vc_events {
    void (*opened)(vc_t *vc);
    void (*received)(vc_t *vc, const uint8_t *pdu, uint32_t size);
    void (*room)(vc_t *vc); /* something has moved: perhaps more can be sent; or NULL */
} vc_events_t;

load_t *load_create(const char *auth, const char *target);
void load_destroy(load_t *load);
/* Works until *DONE; ends the program when nothing happens for 20 seconds. */
void load_run(load_t *load, const int *done, const char *what);

vc_t *vc_open(load_t *load, const proxy_t *proxy, const vc_events_t *events, void *ctx);
void *vc_ctx(const vc_t *vc);
/* 0 when the window or the buffers have no room for a PDU of this size now. */
int vc_may_send(const vc_t *vc, uint32_t size);
/* Sends at the end of this turn; vc_kick() does it at once, from outside of one. */
void vc_send(vc_t *vc, const uint8_t *pdu, uint32_t size);
void vc_kick(vc_t *vc);
/* Not from within events. */
void vc_close(vc_t *vc);

#endif
