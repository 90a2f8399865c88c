/* httpd/scoreboard_room.h: is there room for the children that httpd needs?
 *
 * A child that retires, after a graceful restart or because it has run out of descriptors, keeps
 * its slot of the scoreboard while it has channels. When such children hold all slots, httpd cannot
 * start new ones, and nobody is served on any site. Then they end, one generation after the other.
 *
 * Each child decides by itself: it reads the scoreboard, which all children share.
 */
#ifndef RPC_SCOREBOARD_ROOM_H
#define RPC_SCOREBOARD_ROOM_H

#include <apr_time.h>

/* Of the configuration in force, in memory that all children share. */
typedef struct rpc_room {
    volatile apr_uint32_t slots;        /* that httpd uses for children, whatever their
                                         * generation */
    volatile apr_uint32_t children;     /* the most that it starts of one generation */
} rpc_room_t;

/* From post_config. */
void rpc_room_note(rpc_room_t *room);

/* From child_init, and when httpd's part of the child has ended: prefork does not say in the
 * scoreboard that a child retires, and would take it for an idle one. */
void rpc_room_enter(const rpc_room_t *room);
void rpc_room_leave(const rpc_room_t *room);

/* How many graceful restarts fit into SLOTS when every generation lives on. */
int rpc_room_restarts(const rpc_room_t *room);

/* The text for the log when there is no room. */
const char *rpc_room_lacking(void);

/* Since when a retiring child has seen that there is no room; zero it. */
typedef struct rpc_room_watch {
    const rpc_room_t *room;
    apr_time_t since;                   /* monotonic */
} rpc_room_watch_t;

/* To be asked several times a second. Nonzero when this child, which retires, has to go: httpd has
 * had no free slot and no idle thread for a while, and older generations have had their time to
 * leave. */
int rpc_room_wanted(rpc_room_watch_t *watch, apr_time_t now);

#endif
