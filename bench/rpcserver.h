/* rpcserver: the server behind the proxies of the benchmark and of the long tests; one thread.
 *
 * As a native server it is the server of [MS-RPCH] 3.2.5: it opens virtual connections, replaces IN
 * and OUT channels, keeps windows and forwards. As a plain TCP server it stands behind an endpoint.
 * Its RPC layer are the requests of bench_rpc.h. An error of a peer is printed on standard error
 * and ends the virtual connection.
 */
#ifndef RPCSERVER_H
#define RPCSERVER_H

#include "bench_rpc.h"
#include "wire/dcerpc.h"
#include "wire/flow.h"
#include "wire/rts.h"

#define RPCSERVER_BUCKETS 4096
#define RPCSERVER_SCRATCH 65536

typedef struct vc vc_t;
typedef struct server server_t;

/* One connection: from a proxy, or (plain) from an endpoint. */
typedef struct leg {
    server_t *server;
    vc_t *vc;                   /* NULL until its first PDU */
    int fd, dead;
    int retired;                /* replaced, vc is NULL: closed at the end of its turn */
    dcerpc_framer_t framer;
    bench_out_t out;
    rts_cookie_t cookie;        /* of its channel */
    rts_cookie_t former;        /* before R2 changed it */
    uint32_t ip_window, ip_timeout; /* IN: the inbound proxy's */
    rpc_flow_receiver_t hop2;   /* IN */
    rpc_flow_sender_t hop3;     /* OUT */
    uint64_t lifetime, used;    /* OUT: bytes the response can hold, and holds (3.2.5.4.1) */
    struct leg *next_dead;
} leg_t;

/* Replacement of the IN and of the OUT channel (3.2.5.1, fig. 29). */
typedef enum { IN_OPENED, IN_A6W, IN_B1W } in_state_t;
typedef enum { OUT_OPENED, OUT_A4W, OUT_A8W, OUT_R2A8W } out_state_t;

/* The results of the requests of a virtual connection. */
typedef struct work {
    uint64_t sunk, source_left;
    uint32_t source_size;       /* of its PDUs */
    bench_pattern_t from_client, to_client;
    int patterns;               /* they have begun */
    int answer_due;             /* BENCH_PATTERN_END has come, its answer not gone yet */
} work_t;

struct vc {
    vc_t *next;                 /* in its bucket */
    rts_cookie_t cookie;
    int plain;                  /* one TCP connection, in == out, without RTS PDUs */
    leg_t *in, *out;            /* default channels */
    leg_t *in_next, *out_next;  /* R1: successors, before the switch */
    leg_t *out_old;             /* R1: the predecessor, until it has closed */
    rts_cookie_t out_cookie;    /* R2: the OUT successor's */
    bench_out_t for_successor;  /* RTS PDUs for the client that the OUT channel cannot hold */
    in_state_t in_state;
    out_state_t out_state;
    work_t work;
};

struct server {
    int epoll, listener;
    int plain;
    uint32_t window;            /* of hop 2 */
    vc_t *buckets[RPCSERVER_BUCKETS];
    leg_t *dead;                /* freed after the batch of events */
    leg_t *taken_over;          /* in this turn, from the leg whose turn it is; or NULL */
    uint8_t scratch[RPCSERVER_SCRATCH];
};

/* rpcserver.c */

/* The virtual connection with this cookie; or a new one, or NULL. */
vc_t *server_vc(server_t *server, const rts_cookie_t *cookie, int create);
/* Ends the leg, and unless it is a predecessor its virtual connection. */
void leg_error(leg_t *leg, const char *why);

/* rpcserver_vc.c */

/* An RTS PDU that came on LEG. */
void leg_rts(leg_t *leg, const uint8_t *data, uint32_t size);
/* An RPC PDU has been read, and its bytes handed on: hop 2. */
void vc_consumed(vc_t *vc, uint32_t size);
/* May an RPC PDU of SIZE bytes go to the client now? */
int vc_may_respond(vc_t *vc, uint32_t size);
/* Room for it on the OUT leg; it counts as sent. */
uint8_t *vc_respond(vc_t *vc, uint32_t size);

/* rpcserver_work.c */

/* Works on a request; NULL, or what is wrong with it. */
const char *work_request(vc_t *vc, const uint8_t *data, uint32_t size);
/* Makes as many responses as may go; 0 when there was none. */
int work_pump(vc_t *vc);

#endif
