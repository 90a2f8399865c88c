/* rpc_endpoint: the server role of [MS-RPCH] 3.2.5, in front of a DCE/RPC server that
 * only speaks ncacn_ip_tcp.
 *
 * It takes legs from inbound and outbound proxies, pairs them into virtual connections by
 * cookie (and by user and target, wire/preface.h), runs the server's state machines and
 * relays RPC PDUs to and from one TCP connection per virtual connection. A leg of a mixed
 * proxy (version 1) gets such a connection for itself. One loop thread owns an endpoint and
 * all that is in it. No httpd headers.
 */
#ifndef RPC_ENDPOINT_H
#define RPC_ENDPOINT_H

#include "io/loop.h"
#include "target/dial.h"
#include "base/log.h"
#include "wire/rts.h"

typedef struct rpc_endpoint rpc_endpoint_t;

typedef struct rpc_endpoint_params {
    uint32_t receive_window;            /* bytes, announced in B3 and IN_R1/B2 */
    apr_interval_time_t setup_timeout;  /* first half to second half, 3.2.5.2.1 */
    apr_interval_time_t connect_timeout;/* of the TCP connection to the target */
    rpc_dialer_t dialer;
    const char *networks, *sources;     /* of listeners, as a preface would say it, or NULL */
    const uint8_t *secret;              /* that prefaces must contain, RPC_PREFACE_SECRET bytes;
                                         * NULL: zeros */
    unsigned silent_max;                /* legs of one listener that have sent nothing yet; 0: no
                                         * limit */
    /* What a virtual connection is called in the log, for its cookie is nobody's to read there;
     * may be NULL. */
    uint64_t (*name)(void *ctx, const rts_cookie_t *vc);
    /* The server HOST, PORT was reached for a virtual connection; may be NULL. */
    void (*served)(void *ctx, const rts_cookie_t *vc, const char *host, uint16_t port);
    const rpc_log_t *log;               /* outlives the endpoint */
    /* Called when the number of virtual connections falls to zero; may be NULL. */
    void (*idle)(void *ctx);
    void *ctx;
} rpc_endpoint_params_t;

/* An endpoint on LOOP without any leg yet; lives in POOL. */
rpc_endpoint_t *rpc_endpoint_create(rpc_loop_t *loop, const rpc_endpoint_params_t *params,
                                    apr_pool_t *pool);

/* A TCP listener of the endpoint (RpcEndpointListen). Its legs have no preface; all of them are for
 * this one target. */
typedef struct rpc_endpoint_listener {
    const char *name;                   /* "address:port", for the log */
    const char *host;                   /* the target */
    uint16_t port;
    int version1;                       /* legs of version 1 may come, too */
} rpc_endpoint_listener_t;

/* Takes over a leg: an accepted, non-blocking socket. VIA is NULL for a leg of this server's own
 * proxies, which begins with a preface; otherwise VIA outlives the leg.
 *
 * Anybody can connect and send nothing until the set-up time is over. So when a listener has
 * SILENT_MAX legs that have sent nothing yet, the oldest of these is closed. A newcomer always
 * finds a place, and the legs of one listener take no places from the other listeners. */
void rpc_endpoint_accept(rpc_endpoint_t *ep, int fd, const rpc_endpoint_listener_t *via);

/* Are there SILENT_MAX legs that are not read for the moment (rpc_endpoint_hold())? Then the caller
 * does not accept further connections. */
int rpc_endpoint_is_full(const rpc_endpoint_t *ep, const rpc_endpoint_listener_t *via);

/* ---- one endpoint follows another at a restart: endpoint/handover.h makes use of these ---- */

/* A leg between two endpoints: its descriptor and all that was read from it, a preface first. */
typedef struct rpc_endpoint_leg {
    int fd;
    int version1;                       /* it may be of version 1 */
    const uint8_t *data;
    size_t len;
} rpc_endpoint_leg_t;

/* Other endpoints, which have virtual connections from before the restart. */
typedef struct rpc_endpoint_kin {
    /* Returns the endpoint that has this virtual connection; NULL: none of them. */
    void *(*owner)(void *ctx, const rts_cookie_t *vc);
    /* Hands a leg to it, which owns the descriptor from then on. */
    void (*pass)(void *owner, const rpc_endpoint_leg_t *leg);
    /* A virtual connection of this endpoint has ended. */
    void (*ended)(void *ctx, const rts_cookie_t *vc);
    void *ctx;
} rpc_endpoint_kin_t;

/* From now on legs for virtual connections of other endpoints go to these. KIN outlives the
 * endpoint. */
void rpc_endpoint_set_kin(rpc_endpoint_t *ep, const rpc_endpoint_kin_t *kin);

/* While HOLD is 1, legs are accepted but not read, because it is not yet known which endpoint has
 * which virtual connection. */
void rpc_endpoint_hold(rpc_endpoint_t *ep, int hold);

/* Takes a leg that another endpoint has accepted and greeted. */
void rpc_endpoint_adopt(rpc_endpoint_t *ep, const rpc_endpoint_leg_t *leg);

/* Calls back with the cookies of all virtual connections. */
void rpc_endpoint_each_vc(rpc_endpoint_t *ep, void (*tell)(void *ctx, const rts_cookie_t *vc),
                          void *ctx);

/* Another endpoint takes its place: it begins no more virtual connections, and legs that have not
 * yet named theirs go to PASS. */
void rpc_endpoint_retire(rpc_endpoint_t *ep,
                         void (*pass)(void *owner, const rpc_endpoint_leg_t *leg), void *owner);

/* The number of living virtual connections; half-open ones and their legs are included. */
unsigned rpc_endpoint_count(const rpc_endpoint_t *ep);

/* The time of the loop until which ended connections may still write their last bytes. A time in
 * the past means that none does. */
apr_time_t rpc_endpoint_drains(const rpc_endpoint_t *ep);

/* Ends everything at once (RPC_REASON_SHUTDOWN). */
void rpc_endpoint_close(rpc_endpoint_t *ep);

#endif
