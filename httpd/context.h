/* httpd/context.h: what all requests of the server share.
 */
#ifndef RPC_CONTEXT_H
#define RPC_CONTEXT_H

#include "httpd/scoreboard_room.h"
#include "shared/board.h"
#include "shared/channel_table.h"
#include "shared/failed_targets.h"
#include "shared/farm.h"
#include "shared/health.h"
#include "shared/mishaps.h"
#include "shared/sums.h"
#include "shared/tally.h"

/* In shared memory, from post_config on and over all restarts: what decides (the table of live
 * channels, the health of the servers, the budgets of failed targets, the number of possible
 * children), and what is for people to read. Of a child process: its engine. */
typedef struct rpc_context {
    rpc_status_t *live;
    rpc_health_t *health;
    rpc_budgets_t *budgets;
    rpc_room_t *room;
    rpc_board_t *board;
    rpc_sums_t *sums;
    rpc_tally_t *tally;
    rpc_mishaps_t *mishaps;
    rpc_farm_t *farm;           /* NULL: no other machines are known (RpcSharedStore) */
    int bell;                   /* eventfd: channels of the board are to end (httpd/engine.h) */
    unsigned char token_key[32];    /* of the status page's buttons */
    struct rpc_engine *engine;
} rpc_context_t;

#endif
