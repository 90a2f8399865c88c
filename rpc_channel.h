/* rpc_channel: the inbound and the outbound proxy of [MS-RPCH] 3.2.3 and 3.2.4.
 *
 * A channel is one HTTP request of a client. Its first PDU says whether it opens a virtual
 * channel or succeeds the channel of one; from then on the virtual channel (proxy/virtual.h)
 * relays between its client connection and its leg to the server. The proxies of one loop
 * thread share two tables, virtual connection cookie -> virtual channel, one a role.
 * Knows streams and PDUs, neither httpd's configuration nor TLS.
 */
#ifndef RPC_CHANNEL_H
#define RPC_CHANNEL_H

#include "target/dial.h"
#include "firewall/rules.h"
#include "base/log.h"
#include "io/loop.h"
#include "base/reason.h"
#include "io/stream.h"
#include "wire/rts.h"

/* RPC_MIXED, the role of version 1, is played in proxy/mixed.c. */
typedef enum { RPC_INBOUND, RPC_OUTBOUND, RPC_MIXED } rpc_role_t;

typedef struct rpc_channel rpc_channel_t;
typedef struct rpc_proxy rpc_proxy_t;

/* What the handler decided about a channel. Owned by the caller, read-only, valid until
 * ended() has been called. */
typedef struct rpc_channel_spec {
    rpc_role_t role;
    int64_t content_length;         /* of the request; INT64_MAX: to the end of the connection */
    const char *identity;           /* user, target, vhost: a successor must have the same */
    rpc_dial_params_t leg;          /* where it goes; its Unix socket is the endpoint process's */
    const uint8_t *preface;         /* first bytes of the leg, for the endpoint */
    size_t preface_len;
    rts_address_t client_address;   /* for CONN/B2 */
    uint32_t receive_window;        /* our own, bytes */
    uint32_t connection_timeout;    /* announced, milliseconds */
    uint32_t channel_lifetime;      /* OUT Content-Length, bytes */
    apr_interval_time_t setup_timeout;  /* for the first PDU, and for C1 / B3 / B2 */
    const rpc_firewall_rules_t *rules;  /* interfaces that may be asked for; NULL: all */
    uint16_t asked_port;            /* the one the rules speak of: what the client has named */
    rpc_auth_level_t least_level;   /* of binds; 0: none */
    const rpc_log_t *log;
    /* The channel's first PDU names the virtual connection VC; REPLACING: as a successor. A
     * reason refuses it. leg.hosts may change their order now, not later. On the loop's thread, once
     * at most; NULL: nobody asks. */
    rpc_reason_t (*claim)(void *ctx, const rts_cookie_t *vc, int replacing);
    /* The leg goes to this one of HOSTS. On the loop's thread; NULL: nobody cares. */
    void (*reached)(void *ctx, const char *host, uint16_t port);
    /* The server has answered, or the channel succeeds one that it has. On the loop's thread,
     * perhaps again and again; NULL: nobody cares. */
    void (*opened)(void *ctx);
    /* A bind is refused, TEXT says which and why; the channel goes on. On the loop's thread;
     * NULL: nobody cares. */
    void (*refused)(void *ctx, const char *text);
    /* Called once, on the loop's thread, just before the client stream is closed. SENT:
     * bytes of the response body. */
    void (*ended)(void *ctx, rpc_reason_t reason, uint64_t received, uint64_t sent);
    void *ctx;
} rpc_channel_spec_t;

/* The proxy roles of one loop thread. SIBLINGS holds the COUNT proxies of the process,
 * this one included: a channel is handed to the one its cookie hashes to, so that a
 * successor meets its predecessor. Lives in POOL; DIALER has to live as long. */
rpc_proxy_t *rpc_proxy_create(rpc_loop_t *loop, const rpc_dialer_t *dialer,
                              rpc_proxy_t **siblings, unsigned count, apr_pool_t *pool);

/* Takes over a client stream, whose owner it becomes. On the proxy's loop thread. When
 * there is no memory the stream is closed and ended() called at once. */
void rpc_channel_start(rpc_proxy_t *proxy, rpc_stream_t *client, const rpc_channel_spec_t *spec);

/* Ends every channel of the proxy with this reason. On the proxy's loop thread. */
void rpc_proxy_end_all(rpc_proxy_t *proxy, rpc_reason_t reason);

#endif
