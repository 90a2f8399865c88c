/* rpc_peers: the other machines of the farm, as the shared store tells of them: their heads, and
 * their pages. Of the process that exchanges; one thread.
 */
#ifndef RPC_FARM_PEERS_H
#define RPC_FARM_PEERS_H

#include "httpd/farm_layout.h"
#include "httpd/farm_store.h"

typedef struct rpc_peer_page {
    uint64_t version;               /* the number that it was sealed with; 0: it is empty */
    size_t count;
    rpc_farm_entry_t *at;           /* malloc'ed */
} rpc_peer_page_t;

typedef struct rpc_peer {
    uint64_t number;                /* 0: nobody has this place */
    uint64_t sealed;                /* the number of its last head */
    apr_time_t heard;
    int64_t ahead;                  /* our clock less its own */
    rpc_farm_head_t head;
    rpc_peer_page_t pages[RPC_FARM_PAGES];
} rpc_peer_t;

typedef struct rpc_peers {
    const rpc_farm_t *farm;
    const rpc_farm_place_t *place;
    rpc_peer_t *at;                 /* RPC_FARM_MACHINES of them, once they are made */
    int changed;                    /* what they have told, since rpc_peers_fill() */
} rpc_peers_t;

/* From now on they are asked. 0: out of memory. */
int rpc_peers_make(rpc_peers_t *peers);
/* Takes what STORE knows: MEMBERS is its list of machines, NULL: it has not told. Whatever the
 * answers are, no more than RPC_PEERS_MEMBERS of them are asked for, or removed: if there are more,
 * some others the next time. A store that fails, or takes longer than UNTIL, is closed. */
#define RPC_PEERS_MEMBERS (4 * RPC_FARM_MACHINES)
void rpc_peers_read(rpc_peers_t *peers, rpc_store_t *store, const redisReply *members,
                    apr_time_t until);
/* Forgets those that nothing has been heard of. */
void rpc_peers_drop_silent(rpc_peers_t *peers);
/* Has this machine read what they have told (shared/farm.h). How many entries. */
size_t rpc_peers_fill(rpc_peers_t *peers);

#endif
