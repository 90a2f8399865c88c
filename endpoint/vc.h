/* rpc_endpoint_vc: legs and virtual connections, which all files of endpoint/ share; private to
 * them. Each calls only those below it:
 *
 *   endpoint.c  first bytes: which virtual connection a leg belongs to
 *   relay.c     what moves between legs and target
 *   states.c    the server's state machines
 *   vc.c        what all of these do to a leg or a virtual connection
 *
 * Beside them v1.c and target.c.
 *
 * A leg is one connection from a proxy. It is a newcomer until its first RTS PDU tells which
 * virtual connection (VC) it belongs to; from then on the VC owns it. A VC has a default IN
 * and a default OUT leg, a successor of either while the channel is being replaced, the OUT
 * predecessor that still empties its queue, and one TCP connection to the target. All of it
 * belongs to the endpoint's loop thread.
 */
#ifndef RPC_ENDPOINT_VC_H
#define RPC_ENDPOINT_VC_H

#include <apr_hash.h>

#include "wire/dcerpc.h"
#include "endpoint/endpoint.h"
#include "wire/flow.h"
#include "wire/preface.h"
#include "io/queue.h"
#include "base/reason.h"
#include "io/stream.h"
#include "wire/rts.h"

typedef struct rpc_leg rpc_leg_t;
typedef struct rpc_vc rpc_vc_t;
typedef struct rpc_v1 rpc_v1_t;
typedef struct rpc_crowd rpc_crowd_t;

/* How a virtual connection opens (3.2.5.1). */
typedef enum {
    RPC_VC_START,           /* Open_Start: no half yet */
    RPC_VC_A2W,             /* has the IN half, waits for CONN/A2 */
    RPC_VC_B2W,             /* has the OUT half, waits for CONN/B2 */
    RPC_VC_CONNECTING,      /* both halves, the target is not connected yet */
    RPC_VC_OPENED,
    RPC_VC_STATE_COUNT
} rpc_vc_state_t;

/* Replacement of the IN channel; runs from Opened on. */
typedef enum {
    RPC_IN_START, RPC_IN_OPENED, RPC_IN_A6W, RPC_IN_OPENED_B1W, RPC_IN_STATE_COUNT
} rpc_in_state_t;

/* Replacement of the OUT channel; runs from Opened on. */
typedef enum {
    RPC_OUT_START, RPC_OUT_OPENED, RPC_OUT_OPENED_A4W, RPC_OUT_OPENED_A8W,
    RPC_OUT_OPENED_R2A8W, RPC_OUT_STATE_COUNT
} rpc_out_state_t;

struct rpc_leg {
    rpc_endpoint_t *ep;
    rpc_vc_t *vc;               /* NULL: a newcomer */
    rpc_stream_t *stream;
    dcerpc_framer_t framer;
    rts_cookie_t cookie;        /* of its channel */
    rts_cookie_t former;        /* the channel cookie before R2 replaced it */
    uint64_t name;              /* the public id that its first PDU names, for the log; 0: none */
    unsigned is_out:1;          /* from an outbound proxy */
    unsigned retired:1;         /* not of the VC any more, closed at the end of the turn */
    unsigned ours:1;            /* it began with a preface */
    unsigned version1:1;        /* a newcomer that may be one of version 1 */
    unsigned version2:1;        /* its first PDU was an RTS PDU */

    uint32_t peer_window;       /* IN: the inbound proxy's, for CONN/C1 */
    uint32_t peer_timeout;      /* IN: the inbound proxy's ConnectionTimeout, ms */
    rpc_flow_receiver_t hop2;   /* IN */

    rpc_flow_sender_t hop3;     /* OUT */
    uint64_t lifetime;          /* OUT: bytes its HTTP response can hold ... */
    uint64_t used;              /* ... and those it holds (3.2.5.4.1) */

    /* newcomers */
    const rpc_endpoint_listener_t *via; /* NULL: the Unix socket, or another endpoint */
    rpc_preface_t *preface;     /* one malloc'ed block; the VC takes it, or it goes */
    uint8_t *head;              /* a preface begun */
    size_t head_len;
    rpc_reason_t refused;
    rts_pdu_t *waits;           /* malloc'ed: its first PDU, while the replacement before it is
                                 * under way; nothing is read of it meanwhile. Or NULL */
    rpc_crowd_t *crowd;         /* of the silent ones that came the same way; NULL: it is not
                                 * silent */
    rpc_leg_t *older, *younger; /* of the crowd */
    rpc_job_t turn;
    rpc_timer_t timer;          /* for preface and first PDU, then for its turn */

    rpc_leg_t *next, *prev;     /* newcomers of the endpoint; retired legs of a VC */
};

struct rpc_vc {
    rpc_endpoint_t *ep;
    rts_cookie_t cookie;
    uint64_t name;              /* its public id, for the log; 0: none */
    rpc_preface_t *preface;     /* malloc'ed; of its first leg */
    apr_interval_time_t setup_timeout;  /* RpcSetupTimeout of its section */
    uint32_t receive_window;            /* RpcReceiveWindow of its section, bytes */
    rpc_vc_state_t state;
    rpc_in_state_t in_state;
    rpc_out_state_t out_state;

    rpc_leg_t *in, *out;        /* default channels */
    rpc_leg_t *in_next;         /* R1: successor, from IN_R1/A2 to IN_R1/B1 */
    rpc_leg_t *out_next;        /* R1: successor, from OUT_R1/A4 to OUT_R1/A8 */
    rpc_leg_t *out_old;         /* R1: predecessor, from OUT_R1/A8 until it closes */
    rpc_leg_t *retired;         /* to be closed at the end of the turn */
    rts_cookie_t out_cookie;    /* OUT: the successor's, from A4 to A8 */

    rpc_dial_t *connecting;
    rpc_stream_t *target;       /* NULL until connected */
    char *served;               /* by which of the preface's servers, malloc'ed; may be NULL */
    dcerpc_framer_t target_framer;
    rpc_reason_t target_ended;  /* set: it will send and take no more */
    uint64_t credited;          /* bytes of target->sent acknowledged on hop 2 */
    rpc_pdus_t waiting;         /* from the target, until hop 3 has room */
    rpc_pdus_t late;            /* RTS PDUs for the client: the OUT channel's successor takes
                                 * them */

    rpc_job_t turn;
    rpc_timer_t setup;          /* for the other half, for IN_R1/A6 */
    rpc_timer_t patience;       /* for what waits and may never go */
    unsigned ours:1;            /* its legs come from our own proxies, with a preface */
    unsigned starved:1;         /* waits for a successor of the OUT channel */
    apr_time_t born;

    rpc_reason_t reason;        /* set: ends in its next turn; it is in no table any more */
    apr_status_t status;
    char detail[480];           /* for the line at its end */
    rpc_vc_t *next, *prev;      /* of the endpoint */
};

struct rpc_endpoint {
    rpc_loop_t *loop;
    rpc_endpoint_params_t params;
    apr_pool_t *scratch;        /* cleared after each use */
    apr_hash_t *table;          /* VC cookie -> rpc_vc_t */
    apr_hash_t *rules;          /* of endpoint/target.c */
    rpc_vc_t *vcs;
    rpc_leg_t *newcomers;
    apr_hash_t *waiting;        /* VC cookie -> the newcomer that waits for it */
    rpc_crowd_t *crowds;
    rpc_v1_t *v1s;
    unsigned count;             /* of all three */
    apr_time_t drains;          /* see rpc_endpoint_drains() */
    apr_time_t crowded;         /* when the log last heard of silent legs; 0: never */
    const rpc_endpoint_kin_t *kin;
    unsigned held:1;            /* newcomers are not read for a moment */
    unsigned retired:1;         /* another endpoint takes what is new */
    unsigned closing:1;
};

/* RTS PDUs go past that mark, but not past this one (RPC_REASON_BUFFER_FULL). */
#define RPC_LEG_MAX (4 * RPC_STREAM_HIGH)
/* Read from one stream in one turn. */
#define RPC_VC_BUDGET (128 * 1024)
/* What RPC PDUs leave free of an OUT channel's lifetime: the RTS PDUs of its replacement,
 * acknowledgements and pings meanwhile. */
#define RPC_LIFETIME_RESERVE 2048
/* Of these the replacement's own: A5, A9 as A10, IN_Rx/A3, pings. */
#define RPC_LIFETIME_LAST 512

/* endpoint/vc.c: below the others, calls none of them */

/* Ends the VC in its next turn; the first reason stays. */
void rpc_vc_end(rpc_vc_t *vc, rpc_reason_t reason, apr_status_t status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Closes all it has, logs, frees it. ABORT as for rpc_stream_close(). */
void rpc_vc_finish(rpc_vc_t *vc, int abort);
/* "IN Opened, OUT Opened_A4W", for the log; in BUF. */
const char *rpc_vc_state_text(const rpc_vc_t *vc, char buf[64]);
/* Puts a PDU on a leg. FOR_CLIENT: it goes on to the client, so it counts against the
 * lifetime of an OUT channel. */
void rpc_leg_put(rpc_leg_t *leg, const uint8_t *data, uint32_t size, int for_client);
void rpc_leg_send(rpc_leg_t *leg, const rts_pdu_t *pdu);
/* Takes the leg from the VC, which has no more use for it; it is closed at the end of the turn. */
void rpc_leg_retire(rpc_leg_t *leg);
/* Tells the proxy at its other end, if it is one of ours, why it is closed (wire/farewell.h). 1: it
 * will hear so. */
int rpc_leg_farewell(rpc_leg_t *leg, rpc_reason_t reason, const char *why);
/* Closes a leg in order and frees it; it must be in no field of a VC any more. */
void rpc_leg_free(rpc_leg_t *leg, int abort);
/* Closes a stream, ABORT as for rpc_stream_close(), and notes if it may go on writing. */
void rpc_endpoint_drop(rpc_endpoint_t *ep, rpc_stream_t *stream, int abort);
/* One of the endpoint's has ended. */
void rpc_endpoint_count_down(rpc_endpoint_t *ep);
/* It waits no more, if it did. */
void rpc_leg_end_wait(rpc_leg_t *leg);
/* The VC of this cookie has changed: the newcomer that waits for it looks again. */
void rpc_endpoint_wake(rpc_endpoint_t *ep, const rts_cookie_t *vc);
/* What a virtual connection is called in the log; 0: nothing. The proxies of this machine use
 * the same name, which allows nobody to join. */
uint64_t rpc_endpoint_name(const rpc_endpoint_t *ep, const rts_cookie_t *vc);
/* The end of a line about it: "; connection=NAME", or nothing; in BUF. */
const char *rpc_endpoint_name_text(uint64_t name, char buf[32]);
/* How loud an end of this reason is. */
int rpc_endpoint_level(rpc_reason_t reason);
/* RpcSetupTimeout of the preface's section; without a preface (NULL), or if it does not say, of the
 * server. */
apr_interval_time_t rpc_endpoint_setup_timeout(const rpc_endpoint_t *ep,
                                               const rpc_preface_t *preface);

/* endpoint/v1.c */

/* Takes stream and preface of a newcomer; the leg itself stays the caller's to free. NULL:
 * without memory, nothing was taken. */
rpc_v1_t *rpc_v1_start(rpc_leg_t *leg);
/* What the newcomer had read already; -1 without memory. */
int rpc_v1_input(rpc_v1_t *v1, const uint8_t *data, size_t len);
/* ABORT as for rpc_stream_close(). */
void rpc_v1_end(rpc_v1_t *v1, rpc_reason_t reason, apr_status_t status, int abort);

/* endpoint/target.c */

/* To the server of the preface, which may go before the dialling does. NULL: no memory. */
rpc_dial_t *rpc_endpoint_dial(rpc_endpoint_t *ep, const rpc_preface_t *preface,
                              rpc_dial_done_t *done, void *ctx);

/* endpoint/states.c */

/* Takes the leg, whose first PDU is this one, into the VC. RPC_REASON_NONE, or why not:
 * then neither has changed. */
rpc_reason_t rpc_vc_join(rpc_vc_t *vc, rpc_leg_t *leg, rts_pdu_id_t id, const rts_pdu_t *pdu);
/* Is this first PDU about the successor of a channel that is still becoming one? Its client is
 * ahead of the proxy that it has left: the leg may wait for rpc_endpoint_wake(). */
int rpc_vc_must_wait(const rpc_vc_t *vc, rts_pdu_id_t id, const rts_pdu_t *pdu);
/* The target is connected, or the second half has come: opens when both are true. */
void rpc_vc_try_open(rpc_vc_t *vc);
/* An RTS PDU on a leg of a VC. */
void rpc_vc_rts(rpc_leg_t *leg, const uint8_t *data, uint32_t size);
/* Asks the client for a successor of the OUT channel, if that has not been done. */
void rpc_vc_recycle_out(rpc_vc_t *vc);
/* The same, but only when that channel is nearly used up. Behind what was put for the client. */
void rpc_vc_check_lifetime(rpc_vc_t *vc);

/* endpoint/relay.c */

/* The job of a VC: reads, relays, acknowledges, writes. */
void rpc_vc_turn(rpc_job_t *job);
/* Bytes that came on a leg of a VC. */
void rpc_vc_input(rpc_leg_t *leg, const uint8_t *data, size_t len);

#endif
