/* endpoint_model: what must be true of the endpoint whatever it receives. A side is the far end of
 * one of its streams: a proxy's end of a leg, or a target.
 */
#ifndef ENDPOINT_MODEL_H
#define ENDPOINT_MODEL_H

#include "fake.h"
#include "endpoint/vc.h"
#include "script.h"

typedef struct game game_t;
typedef struct side side_t;
typedef enum { SIDE_IN, SIDE_OUT, SIDE_V1, SIDE_TARGET } side_kind_t;

/* Ports of targets: one for each virtual connection, one for each leg of version 1. */
#define PORT_VC 100
#define PORT_V1 1000
/* Of farewells that targets say. */
#define FORGED "forged"

struct side {
    game_t *game;
    int number;                 /* also the peer's, and the source of its PDUs */
    fake_peer_t *peer;
    side_kind_t kind;
    int vc;                     /* which virtual connection it is about */
    int port;                   /* where it wants to go; target: what it is */
    int stranger;               /* another user's */
    rpc_endpoint_listener_t via;
    traffic_t traffic;          /* of the RPC PDUs it sends */
    int garbage;                /* has sent bytes that are no PDU */
    int spoke;                  /* leg: has said its first PDU, which tells what it is */
    int muddled;                /* leg: began with garbage, and so may be of any version */
    dcerpc_framer_t framer;     /* of what it hears */
    size_t banner;              /* legs: bytes of it heard */
    int answered;               /* leg: has heard an RTS PDU */
    int farewell;               /* leg: has heard why it is closed */
    int honest;
    int64_t window;             /* OUT: announced to the endpoint; -1: not yet */
    int64_t held;
    uint64_t received;
    int64_t may_send;           /* IN: what hop 2 allows */
    uint64_t sent;
    int64_t announced;          /* IN: the endpoint's window */
    uint64_t lifetime, used;    /* OUT */
    int over;                   /* the RPC PDUs come on, or go to, another leg now */
    int channel;                /* target: the IN leg whose PDUs come; -1 */
    int next;                   /* OUT: number of the next RPC PDU; -1: any */
};

struct game {
    apr_pool_t *pool;
    fake_world_t *world;
    rpc_endpoint_t *ep;
    rpc_log_t log;
    side_t *sides[FAKE_PEERS];
    int side_count;
    uint32_t receive_window, proxy_window, lifetime;
    size_t budget;              /* bytes of RPC PDUs that may still be sent */
};

side_t *side_new(game_t *game, side_kind_t kind, int vc);
fake_peer_t *model_connected(fake_world_t *world, int port);
/* The endpoint's virtual connection with this cookie; NULL. */
rpc_vc_t *model_vc(const game_t *game, int vc);
/* The leg as the endpoint has it, once it belongs to a virtual connection; NULL. */
rpc_leg_t *model_leg(const side_t *side);
rts_cookie_t model_cookie(uint8_t first);
/* No queue above its bound, no two users in one connection. */
void model_check_bounds(const game_t *game);
/* With all windows open and all streams taking: nothing may be left. */
void model_check_delivered(const game_t *game);
/* After a long silence: nothing is still being opened. */
void model_check_silent(const game_t *game);
/* After the end of everything. */
void model_check_end(const game_t *game);

#endif
