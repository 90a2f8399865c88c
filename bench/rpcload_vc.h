/* rpcload_vc.h: what rpcload_conn.c, rpcload_vc.c and rpcload_recycle.c share; private to them.
 */
#ifndef RPCLOAD_VC_H
#define RPCLOAD_VC_H

#include "rpcload.h"

typedef enum { HANDSHAKE, HEADER, PDUS } phase_t;

/* A channel: one connection with one request. Its virtual connection owns it. */
struct conn {
    vc_t *vc;
    int fd, is_out, dead;
    phase_t phase;          /* HEADER: also IN channels for all their time */
    SSL *ssl;               /* NULL: without TLS */
    bench_out_t out;
    dcerpc_framer_t framer;
    char *head;             /* of the answer, while it comes */
    size_t head_len;
    unsigned banner;        /* bytes of the banner still to skip */
    rts_cookie_t cookie;
    int is_successor;       /* speaks as a replacement */
    int is_gone;            /* replaced: waits for the proxy to close it */
    uint64_t lifetime;      /* IN: Content-Length of its request; OUT: of the answer */
    uint64_t used;          /* bytes of PDUs written to it (IN) or read from it (OUT) */
    rpc_flow_receiver_t hop4; /* OUT */
    uint64_t held;          /* OUT: received and not yet consumed */
    int is_late;            /* writes only after this batch of events */
    conn_t *next_late;
    conn_t *next;           /* gone ones of a virtual connection; dead ones of the load */
};

/* The client's machines for replacement (3.2.2.1, fig. 25, 26). */
typedef enum { IN_OPENED, IN_A4W } vc_in_state_t;
typedef enum { OUT_OPENED, OUT_A6W, OUT_A10W, OUT_B3W, OUT_200W } vc_out_state_t;

struct vc {
    load_t *load;
    const proxy_t *proxy;
    const vc_events_t *events;
    void *ctx;
    rts_cookie_t cookie;
    conn_t *in, *out;       /* default channels */
    conn_t *in_next, *out_next; /* successors before the switch, or NULL */
    conn_t *gone;           /* predecessors the proxy has not closed yet */
    vc_in_state_t in_state;
    vc_out_state_t out_state;
    int c_seen, b_seen;     /* C2 or C1 on OUT; B3 on IN */
    int is_open;
    rpc_flow_sender_t hop1;
    uint32_t near_end;
    int reorders;
    int holds;
    uint64_t held_before;   /* received on predecessors and not yet consumed */
    vc_counts_t counts;
    int ends;               /* closed after this batch of events; NEXT_ENDED is then valid */
    vc_t *next_ended;
};

/* rpcload_conn.c */

/* Connects to the proxy; vc_speak() is called when it may write. */
conn_t *conn_open(vc_t *vc, int is_out, int is_successor);
/* Writes as much as possible. */
void conn_flush(conn_t *c);
/* The connection writes nothing before all other events have been processed. */
void conn_delay(conn_t *c);
/* Does everything that is possible now. */
/* Reads until there is nothing to read. */
void conn_read(conn_t *c);
void conn_close(conn_t *c);
void conn_put_rts(conn_t *c, const rts_pdu_t *pdu);
void conn_put_request(conn_t *c, const char *method, unsigned length);
void vc_fail(const conn_t *c, const char *what, const char *why) __attribute__((noreturn));

/* rpcload_vc.c, called by connections */

/* A connection is there: its request and first PDU. */
void vc_speak(conn_t *c);
/* The 200 of an OUT channel. */
void vc_answered(conn_t *c);
void vc_take_pdu(conn_t *c, const uint8_t *data, const dcerpc_header_t *header);
/* The proxy has closed it, in order. */
void vc_closed(conn_t *c);
void vc_flush(vc_t *vc);
/* An RTS PDU on the IN channel that takes the room of its lifetime. */
void vc_put_in(vc_t *vc, const rts_pdu_t *pdu);

/* rpcload_recycle.c */

/* Room on the IN channel for an RPC PDU of SIZE bytes; else, and when the channel is nearly
 * used up, asks for a successor. */
int recycle_in_room(vc_t *vc, uint32_t size);
void recycle_check_in(vc_t *vc);
/* The first PDU of a successor. */
void recycle_speak(conn_t *c);
/* The 200 of an OUT successor. */
void recycle_answered(conn_t *c);
/* 1: the RTS PDU on OUT belonged to a replacement and has been processed. */
int recycle_rts(conn_t *c, const rts_pdu_t *pdu, rts_pdu_id_t id);
/* C may have received bytes. 1: they wait for the last PDU of its predecessor. */
int recycle_waits(conn_t *c);
/* A connection of VC has been read: what waited for it is read now. */
void recycle_after_input(vc_t *vc);

#endif
