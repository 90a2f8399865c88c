/* rpc_limits: do the limits of MPM and system fit the channels configured? Channels have no
 * workers, but live in children of httpd, which the MPM may end; say so at start-up.
 */
#ifndef RPC_LIMITS_H
#define RPC_LIMITS_H

#include <httpd.h>
#include "httpd/scoreboard_room.h"

/* Logs one warning, with its remedy, for each limit that MAX_CHANNELS does not fit, and how many
 * graceful restarts fit into ROOM. From post_config, once the configuration tree is complete. */
void rpc_limits_check(server_rec *s, int max_channels, const rpc_room_t *room);

#endif
