/* rpcload: a client of RPC over HTTP that loads a proxy; many virtual connections on one
 * thread.
 *
 * To a proxy that speaks the protocol it is the client of [MS-RPCH] 3.2.2, with replacement of
 * channels. A plain TCP proxy passes the same two TLS connections to the server, which expects
 * CONN/A2 and CONN/B2 on them; there the client sends what the inbound and the outbound proxy would
 * send, and the bytes of the RPC PDUs are the same. Every error ends the program.
 */
#ifndef RPCLOAD_H
#define RPCLOAD_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "bench_rpc.h"
#include "wire/dcerpc.h"
#include "wire/flow.h"
#include "wire/rts.h"

#define PROXY_MAX_PORTS 8
/* Channels that nobody has to replace. */
#define LOAD_LIFETIME 1073741824

typedef struct vc vc_t;
typedef struct conn conn_t;

/* One proxy; several ports stand for several machines that do the same work. */
typedef struct proxy {
    const char *name;
    uint16_t ports[PROXY_MAX_PORTS];
    unsigned port_count;
    pid_t pid;              /* the process whose memory and time count */
    int speaks_http;        /* 0: a plain TCP proxy */
    int tls;
} proxy_t;

typedef struct load {
    int epoll;
    SSL_CTX *tls;
    const char *auth;       /* user:password in base64 */
    const char *target;     /* server:port */
    uint32_t lifetime;      /* of IN channels, and expected of OUT channels */
    uint32_t window;        /* of hop 4 */
    unsigned requests;      /* so far: the next goes to the next port */
    unsigned addresses;     /* to connect from, 127.0.0.2 and on, in turn; 0: the system chooses */
    void (*stalled)(void *ctx); /* says more when nothing moves; or NULL */
    void *stalled_ctx;
    conn_t *late, *dead;    /* flushed, or freed, after the batch of events */
    vc_t *ended;            /* closed after the batch of events */
} load_t;

/* What a measurement does with its virtual connections. */
typedef struct vc_events {
    void (*opened)(vc_t *vc);
    void (*received)(vc_t *vc, const uint8_t *pdu, uint32_t size);
    void (*room)(vc_t *vc); /* something has moved: perhaps more can be sent; or NULL */
    void (*closed)(vc_t *vc); /* the proxy has closed it; NULL: that ends the program */
} vc_events_t;

/* The numbers of replaced channels, of each kind. */
typedef struct vc_counts { unsigned in_r1, in_r2, out_r1, out_r2; } vc_counts_t;

load_t *load_create(const char *auth, const char *target);
void load_destroy(load_t *load);
/* Runs until *DONE is set. Ends the program when nothing happens for 20 seconds. */
void load_run(load_t *load, const int *done, const char *what);

vc_t *vc_open(load_t *load, const proxy_t *proxy, const vc_events_t *events, void *ctx);
void *vc_ctx(const vc_t *vc);
/* 0 when the window, the channel or the buffers have no room for a PDU of this size now. */
int vc_may_send(vc_t *vc, uint32_t size);
/* Sends at the end of this turn; vc_kick() sends at once, when no turn is running. */
void vc_send(vc_t *vc, const uint8_t *pdu, uint32_t size);
void vc_kick(vc_t *vc);
/* Must not be called from within events. */
void vc_close(vc_t *vc);
/* The same after this batch of events, so from within one. */
void vc_end(vc_t *vc);

/* Sets how many bytes of an IN channel are left when its successor is requested, at the latest. The
 * default and the minimum is VC_NEAR_END, as in Windows (doc/protocol.md, "Windows values"). */
#define VC_NEAR_END 4096
void vc_near_end(vc_t *vc, uint32_t left);
/* From now on uses the rare order where PDUs on two connections may come in either order: RPC PDUs
 * on an IN successor before A5 on the old channel, and OUT_R2/C1 after B3. */
void vc_reorder(vc_t *vc);
/* From now on received bytes count as consumed (doc/protocol.md, "Flow control") only when
 * vc_consume() is called. It returns how many of SIZE bytes there were. */
void vc_hold(vc_t *vc);
uint64_t vc_consume(vc_t *vc, uint64_t size);
/* No replacement is under way, and all predecessors have been closed by the proxy. */
int vc_settled(const vc_t *vc);
const vc_counts_t *vc_counts(const vc_t *vc);
/* Prints one line about its state, for a person. */
void vc_describe(const vc_t *vc, char *text, size_t size);

#endif
