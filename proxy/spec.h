/* rpc_channel_spec: what the handler has decided about a channel, and what it wants to hear of it.
 * No httpd headers.
 */
#ifndef RPC_SPEC_H
#define RPC_SPEC_H

#include "base/end.h"
#include "base/log.h"
#include "base/meter.h"
#include "base/reason.h"
#include "firewall/rules.h"
#include "proxy/upstream.h"
#include "target/dial.h"
#include "wire/role.h"
#include "wire/rts.h"

/* Owned by the caller, read-only. ended() may free it and all that it points to, but for RULES and
 * leg.networks, which live as long as the process. */
typedef struct rpc_channel_spec {
    rpc_role_t role;
    int64_t content_length;         /* of the request; INT64_MAX: to the end of the connection */
    const char *identity;           /* user, target, vhost: a successor must have the same */
    rpc_dial_params_t leg;          /* where it goes; its Unix socket is the endpoint process's */
    rpc_upstream_t upstream;        /* it goes there instead, if there is one */
    const uint8_t *preface;         /* first bytes of the leg, for the endpoint */
    size_t preface_len;
    rts_address_t client_address;   /* for CONN/B2 */
    uint32_t receive_window;        /* our own, bytes */
    apr_interval_time_t connection_timeout; /* announced to the client */
    uint32_t channel_lifetime;      /* OUT Content-Length, bytes */
    apr_interval_time_t first_pdu_timeout;
    apr_interval_time_t setup_timeout;  /* for C1 / B3 / B2, for a successor's turn */
    apr_interval_time_t idle_timeout;   /* IN, version 1: of a client that says nothing; 0: for
                                         * ever */
    const rpc_firewall_rules_t *rules;  /* interfaces that may be asked for; NULL: all */
    uint16_t asked_port;            /* the one the rules speak of: what the client has named */
    rpc_auth_level_t least_level;   /* of binds; 0: none */
    rpc_metered_t metered;          /* what it shows of itself while it lives */
    apr_interval_time_t session_time;   /* of its virtual connection; 0: without limit */
    const rpc_log_t *log;
    /* The channel's first PDU names the virtual connection VC; REPLACING: as a successor. A reason
     * refuses it. *FIRST becomes the index of that one of leg.servers which is tried first. On the
     * loop's thread, once at most; NULL: nobody asks, and the servers are tried in their order. */
    rpc_reason_t (*claim)(void *ctx, const rts_cookie_t *vc, int replacing, int *first);
    /* The leg goes to this one of leg.servers. On the loop's thread; NULL: nobody cares. */
    void (*reached)(void *ctx, const char *host, uint16_t port);
    /* The server has answered, or the channel succeeds one that it has. On the loop's thread,
     * perhaps again and again; NULL: nobody cares. */
    void (*opened)(void *ctx);
    /* The head of the upstream's answer has STATUS. On the loop's thread, once at most; NULL:
     * nobody cares. */
    void (*answered)(void *ctx, int status);
    /* A bind is refused for REASON, TEXT says which and why; the channel goes on. On the loop's
     * thread; NULL: nobody cares. */
    void (*refused)(void *ctx, rpc_reason_t reason, const char *text);
    /* A bind or alter_context has passed; what the virtual connection has asked for so far is LEVEL
     * (firewall/firewall.h). Only when that changes. On the loop's thread; NULL: nobody cares. */
    void (*bound)(void *ctx, unsigned level);
    /* Of a successor (IN_R1): what was asked for before, if all of it is known: 1, *BOUND and
     * *LEVEL are set; else 0. On the loop's thread; NULL: nobody knows. */
    int (*recall)(void *ctx, int *bound, unsigned *level);
    /* Called once, on the loop's thread, just before the client stream is closed. */
    void (*ended)(void *ctx, const rpc_end_t *end);
    void *ctx;
} rpc_channel_spec_t;

#endif
