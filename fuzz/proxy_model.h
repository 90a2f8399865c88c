/* proxy_model: what must be true of the proxies whatever they receive. A side is the far end of one
 * of their streams: a client's request, or the server's end of a leg.
 */
#ifndef PROXY_MODEL_H
#define PROXY_MODEL_H

#include "fake.h"
#include "rpc_channel.h"
#include "script.h"

typedef struct game game_t;
typedef struct side side_t;
typedef enum { SIDE_IN, SIDE_OUT, SIDE_MIXED, SIDE_LEG } side_kind_t;

struct side {
    game_t *game;
    int number;                 /* also the peer's, and the source of its PDUs */
    fake_peer_t *peer;
    side_kind_t kind;
    int vc;                     /* which virtual connection it is about */
    int client;                 /* leg: the client it was opened for */
    traffic_t traffic;          /* of the RPC PDUs it sends */
    int garbage;                /* has sent bytes that are no PDU */
    dcerpc_framer_t framer;     /* of what it hears */
    int heard_any;
    int said_last;              /* has heard the last PDU there is: B1, B3, A10 */
    int honest;                 /* its acknowledgements are true ones */
    int64_t window;             /* announced to the proxy; -1: not yet */
    int64_t held;               /* RPC bytes heard and not acknowledged as free */
    uint64_t received;          /* RPC bytes heard */

    /* clients */
    rpc_channel_spec_t spec;
    char identity[8];
    rpc_server_list_t servers;
    char unix_path[8];
    int ended;
    rpc_reason_t reason;
    int status;                 /* of the response header; 0: none yet */
    int64_t length, body;       /* announced, and sent so far */
    int leg;                    /* OUT: the leg whose PDUs it gets; -1 */
    uint16_t shapes[TRAFFIC_MAX];   /* of its PDUs, see proxy_binds.h; 0: a request of script.h */

    /* legs */
    int said_banner;
    rpc_reason_t farewell;      /* of our endpoint, that it has said; it may go on nevertheless */
    size_t greeting;            /* bytes of the preface heard */
    int channel;                /* IN: whose PDUs come; OUT: to whom they go */
    int64_t may_send;           /* OUT: what hop 3 allows */
    uint64_t sent;              /* OUT: RPC bytes sent */
    int bound;                  /* a bind has come, or may have come elsewhere */
};

struct game {
    apr_pool_t *pool;
    fake_world_t *world;
    rpc_proxy_t *proxies[FAKE_LOOPS];
    rpc_log_t log;
    side_t *sides[FAKE_PEERS];
    int side_count;
    uint32_t receive_window, lifetime;
    uint32_t client_window, server_window;
    int64_t content_length;
    int with_preface, with_unix_path;
    int firewall;               /* bits of the settings, see proxy_binds.h */
    size_t budget;              /* bytes of RPC PDUs that may still be sent */
};

#define PREFACE "RPXY preface"
/* The reason of all farewells, which has no other cause here. */
#define FAREWELL RPC_REASON_NOT_AUTHORIZED

side_t *side_new(game_t *game, side_kind_t kind, int vc);
/* Is it about version 1? */
int side_is_mixed(const side_t *side);
/* A leg for the client of this number; NULL: no room for one. */
fake_peer_t *model_connected(fake_world_t *world, int port);
/* rpc_channel_spec_t's. */
void model_ended(void *ctx, const rpc_end_t *end);
/* The client whose channel is the default one of the leg's virtual channel; NULL: it is over. */
side_t *model_current(const side_t *leg);
rts_cookie_t model_cookie(uint8_t first);
rts_cookie_t side_cookie(const side_t *side);
/* No queue above its bound. */
void model_check_bounds(const game_t *game);
/* With all windows open and all streams taking: nothing may be left. */
void model_check_delivered(const game_t *game);
/* After a long silence: no channel lives but open OUT channels, with what belongs to them. */
void model_check_silent(const game_t *game);
/* After the end of everything. */
void model_check_end(const game_t *game);

#endif
