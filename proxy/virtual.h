/* rpc_virtual: what rpc_channel.c, proxy/virtual.c, proxy/inbound.c and proxy/outbound.c share;
 * private to them.
 *
 * A virtual channel is the succession of the channels that replace one another at this
 * proxy ([MS-RPCH] 3.2.1.1.1), over one leg. In R2 the successor joins it; in R1 the
 * successor starts a virtual channel, and a leg, of its own. All of it belongs to the
 * proxy's loop thread.
 */
#ifndef RPC_VIRTUAL_H
#define RPC_VIRTUAL_H

#include <apr_hash.h>

#include "firewall/firewall.h"
#include "io/queue.h"
#include "io/stream.h"
#include "proxy/mixed.h"
#include "proxy/relay.h"
#include "proxy/spec.h"
#include "wire/dcerpc.h"
#include "wire/flow.h"

/* States of 3.2.3.1 and 3.2.4.1, named as there. Each role uses its own. What is Open_Start there
 * is two phases here: before its first PDU a channel has no virtual channel, and Connecting is from
 * then until the leg is connected. */
typedef enum {
    RPC_CONNECTING,
    RPC_OPENED,
    RPC_FINISHED,
    RPC_B3W, RPC_WAIT_B2, RPC_OPENED_A5W,           /* inbound */
    RPC_C1W, RPC_A11W, RPC_B1_OR_C1W, RPC_B1W, RPC_R2C1W, /* outbound */
    RPC_STATE_COUNT
} rpc_state_t;

typedef struct rpc_proxy rpc_proxy_t;
typedef struct rpc_channel rpc_channel_t;
typedef struct rpc_virtual rpc_virtual_t;
typedef struct rpc_role_ops rpc_role_ops_t;

struct rpc_proxy {
    rpc_loop_t *loop;
    const rpc_dialer_t *dialer;
    rpc_proxy_t **siblings;
    unsigned count;
    /* One table a role: with a common one an IN_R1/A1 would meet the row of its own
     * connection's CONN/A1 and take R2 (fig. 16). */
    apr_hash_t *tables[2];
    rpc_channel_t *channels;
    rpc_mixed_t *mixed;         /* connections of version 1, which have no cookie */
    rpc_relay_t *relays;        /* channels that go on to another proxy */
};

struct rpc_channel {
    rpc_proxy_t *proxy;
    const rpc_channel_spec_t *spec;
    rpc_stream_t *client;
    rpc_virtual_t *virt;        /* NULL in Open_Start */
    rts_cookie_t cookie;        /* of this channel */
    int first_server;           /* the index of the server to try first, by claim() */
    dcerpc_framer_t framer;     /* of what the client sends */
    rpc_pdus_t held;            /* inbound successor: plugged, waits for A5 (3.2.3.5.8) */
    rpc_flow_receiver_t hop1;   /* inbound: client -> us */
    rpc_flow_sender_t hop4;     /* outbound: us -> client */
    int64_t body_left;          /* outbound: what Content-Length still allows */
    unsigned answered:1;        /* a response header is out */
    apr_time_t heard, spoke;    /* last read from and write to the client */
    apr_time_t ended;           /* outbound: its end of file was seen; 0: not yet */
    rpc_reason_t reason;        /* set: nothing more is read from it */
    const char *why;            /* it is refused, in words; not a copy */
    rpc_job_t turn;             /* while in Open_Start */
    rpc_timer_t timer;          /* Open_Start: for the first PDU; OUT: after its client's end of
                                 * file */
    rts_pdu_t *first;           /* the first PDU, malloc'ed; NULL: it has not come, or has served */
    rpc_virtual_t *awaits;      /* a successor that waits until the replacement before it is over */
    rpc_channel_t *released;    /* the next of its virtual channel's released ones */
    rpc_channel_t *next, *prev; /* all channels of the proxy */
};

struct rpc_virtual {
    rpc_proxy_t *proxy;
    const rpc_role_ops_t *role;
    rpc_state_t state;
    rts_cookie_t cookie;        /* of the virtual connection */
    rts_cookie_t old_cookie;    /* of the predecessor channel, for A2 / A4 of R1 */
    rts_cookie_t group;         /* AssociationGroupId, from B1 */
    rts_cookie_t next_cookie;   /* inbound: of the channel that an early IN_R1/A5 named */
    rpc_channel_t *current;     /* the default channel */
    rpc_channel_t *successor;   /* the non-default channel, or NULL */
    rpc_channel_t *newcomer;    /* waits to become it, and is not read meanwhile; or NULL */
    rpc_channel_t *released;    /* given up in this turn, freed at its end */
    rpc_stream_t *leg;          /* NULL until connected */
    rpc_dial_t *connecting;
    dcerpc_framer_t leg_framer;
    apr_interval_time_t keepalive;  /* inbound: of the leg, from B1 or Keep-Alive; 0: unknown */
    rpc_pdus_t waiting;         /* plugged, or short of window: for the next hop */
    size_t predecessors;        /* how much of waiting the predecessor received */
    rpc_flow_sender_t hop2;     /* inbound: us -> server */
    rpc_flow_receiver_t hop3;   /* outbound: server -> us */
    rpc_firewall_t firewall;    /* inbound: what the client may ask the server for */
    int replacing;              /* began as IN_R1 or OUT_R1 */
    uint32_t ping_bytes;        /* sent since the last PingTrafficSentNotify */
    unsigned unplugged:1;       /* the next hop may be sent to */
    unsigned first_from_leg:1;  /* something other than the banner has come */
    unsigned banner:4;          /* bytes of the legacy banner skipped */
    unsigned last_words:1;      /* waiting is sent, then the last PDU (A10, B3, IN_R1/B1) */
    unsigned said_last:1;       /* B3 is queued, but not written yet */
    unsigned leaves:1;          /* inbound: A5 has come before B3 or B2 */
    unsigned in_table:1;
    rpc_reason_t reason;        /* set: ends at the end of this turn */
    char *why;                  /* with it, in words, malloc'ed; NULL: the reason's own */
    rpc_reason_t farewell;      /* set: our endpoint is about to close the leg, ... */
    char *farewell_why;         /* ... why in words, malloc'ed; NULL: without memory */
    rpc_job_t turn;
    rpc_timer_t timer;          /* setup, then idleness and pings */
    apr_interval_time_t setup;  /* how long it was set for */
};

/* Takes the step for a PDU in this state. NULL in a table: the PDU is a protocol error. */
typedef void rpc_action_t(rpc_virtual_t *v, rpc_channel_t *from, const rts_pdu_t *pdu);

/* What differs between the roles. */
struct rpc_role_ops {
    const char *name;           /* "inbound", "outbound" */
    rts_hop_t from_client, from_server;
    int mine;                   /* the Destination that is this role: FDInProxy, FDOutProxy */
    rts_pdu_id_t opener;        /* first PDU of a first channel: CONN/B1, CONN/A1 */
    rts_pdu_id_t replacer;      /* of a replacement: IN_R1/A1, OUT_R1/A3 */
    /* The leg of a virtual channel is connected: send the first RTS PDU on it, answer the
     * client; v->replacing: as IN_R1 / OUT_R1. */
    void (*connected)(rpc_virtual_t *v, const rts_pdu_t *first);
    /* v->successor has just joined (R2). */
    void (*attached)(rpc_virtual_t *v);
    /* What to do with PDU ID that concerns us, in v's state; FROM is NULL for the leg.
     * NULL: not allowed, a protocol error. */
    rpc_action_t *(*action)(const rpc_virtual_t *v, const rpc_channel_t *from, rts_pdu_id_t id);
    /* An RPC PDU has come, from a client or (FROM NULL) from the leg. */
    void (*rpc_pdu)(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size);
    /* Moves an RPC PDU, already counted as received, on: now, or into the right queue. */
    void (*relay)(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size);
    /* May PDU ID with this Destination, not ours, be passed on; and pass it on (3.2.1.5.2). */
    int (*may_forward)(const rpc_virtual_t *v, const rpc_channel_t *from, int destination,
                       rts_pdu_id_t id);
    void (*forward)(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *pdu, uint32_t size);
    /* Sends the waiting PDUs as far as windows allow. */
    void (*drain)(rpc_virtual_t *v);
    /* The number of bytes that may be read from this client now. */
    size_t (*client_room)(const rpc_virtual_t *v, const rpc_channel_t *from);
    /* This client has ended its request in order. 1: it may do so, and the channel continues. */
    int (*client_ended)(rpc_virtual_t *v, rpc_channel_t *from);
    /* The leg has ended: passes on what has come before, if it can, and ends for this reason. */
    void (*leg_ended)(rpc_virtual_t *v, rpc_reason_t reason, const char *why);
    /* The timer went off in a state after opening; returns when to look again, 0: never. */
    apr_time_t (*tick)(rpc_virtual_t *v);
};

extern const rpc_role_ops_t rpc_inbound_role;
extern const rpc_role_ops_t rpc_outbound_role;

/* RTS PDUs may exceed RPC_STREAM_HIGH, but not this bound (RPC_REASON_BUFFER_FULL). */
#define RPC_OUT_MAX (4 * RPC_STREAM_HIGH)

/* proxy/virtual.c, for rpc_channel.c: */

/* Makes a virtual channel whose first channel is CH; 0: no memory, nothing has changed. */
int rpc_virtual_open(rpc_channel_t *ch, const rpc_role_ops_t *role, int replacing);
/* Frees it with all its channels; its reason is set. */
void rpc_virtual_free(rpc_virtual_t *v);
/* Ends a channel and frees it. WHY: in words, NULL: the reason's own. MAY_ANSWER: with an answer,
 * if none is out and the reason has one. */
void rpc_channel_free(rpc_channel_t *ch, rpc_reason_t reason, const char *why, int may_answer);
/* Reports that the channel is open (spec->opened). */
void rpc_channel_opened(const rpc_channel_t *ch);

/* proxy/virtual.c, for the roles: */

const char *rpc_state_name(rpc_state_t state);
/* Ends the virtual channel at the end of this turn; the first reason stays. */
void rpc_virtual_end(rpc_virtual_t *v, rpc_reason_t reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Changes the state, with a line at debug. Opened is reported (spec->opened). */
void rpc_virtual_state(rpc_virtual_t *v, rpc_state_t state);
/* Ends one channel of it and closes its connection in order; the other channel continues. */
void rpc_virtual_release(rpc_virtual_t *v, rpc_channel_t *ch, rpc_reason_t reason);
/* Called when C1, B3, B2 or A11 opens the channel: the next hop is unplugged, the PDUs that waited
 * go through the functions of the role again, and the role's tick replaces the set-up timer. */
void rpc_virtual_unplug(rpc_virtual_t *v);
/* Plugs it again until it is unplugged or the set-up time is over. */
void rpc_virtual_wait(rpc_virtual_t *v);
/* Processes the PDUs of QUEUE as if they came now. The queue is empty afterwards. */
void rpc_virtual_replay(rpc_virtual_t *v, rpc_channel_t *from, rpc_pdus_t *queue);

/* Write an RTS PDU, or raw bytes, to the leg / to a client, bounded. */
void rpc_send_leg(rpc_virtual_t *v, const rts_pdu_t *pdu);
void rpc_put_leg(rpc_virtual_t *v, const uint8_t *data, uint32_t size);
void rpc_send_client(rpc_virtual_t *v, rpc_channel_t *ch, const rts_pdu_t *pdu);
void rpc_put_client(rpc_virtual_t *v, rpc_channel_t *ch, const uint8_t *data, uint32_t size);
/* Puts the connection time-out, in milliseconds, into PDU. */
static inline void rpc_announce_timeout(const rpc_channel_t *ch, rts_pdu_t *pdu)
{
    uint32_t ms = (uint32_t)apr_time_as_msec(ch->spec->connection_timeout);

    rts_set_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, ms);
}
/* Queues a PDU that cannot be sent now. */
void rpc_hold(rpc_virtual_t *v, rpc_pdus_t *queue, const uint8_t *pdu, uint32_t size, int counted);
/* Sends the 200 of an OUT channel (2.1.2.1.4). */
void rpc_answer_success(rpc_virtual_t *v, rpc_channel_t *ch);
const rpc_log_t *rpc_virtual_log(const rpc_virtual_t *v);

#endif
