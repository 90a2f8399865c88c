/* httpd/scoreboard_room.c: the scoreboard as a retiring child reads it, by the rules of the MPMs
 * themselves.
 *
 * The order needs no agreement among children. The oldest generation goes when there has been no
 * room for PATIENCE, the next when there still is none after PATIENCE more, and so on. So a child
 * that something else keeps alive, a long download for example, does not hold up the others.
 */
#include "httpd/scoreboard_room.h"

#include <unistd.h>

#include <ap_mpm.h>
#include <scoreboard.h>

/* A child without connections needs a moment to leave, and httpd up to a second to notice. */
#define PATIENCE apr_time_from_sec(2)

static int mpm(int query)
{
    int value = 0;

    return ap_mpm_query(query, &value) == APR_SUCCESS ? value : 0;
}

/* Event uses the slots up to ServerLimit, the others those up to MaxRequestWorkers. */
void rpc_room_note(rpc_room_t *room)
{
    room->children = (apr_uint32_t)mpm(AP_MPMQ_MAX_DAEMONS);
    room->slots = mpm(AP_MPMQ_IS_ASYNC) ? (apr_uint32_t)mpm(AP_MPMQ_HARD_LIMIT_DAEMONS)
                                        : room->children;
}

int rpc_room_restarts(const rpc_room_t *room)
{
    return room->children ? (int)(room->slots / room->children) - 1 : 0;
}

const char *rpc_room_lacking(void)
{
    return mpm(AP_MPMQ_IS_ASYNC)
        ? "httpd has no slot left for a child that it needs; a higher ServerLimit has room for "
          "more restarts"
        : "httpd has no slot left for a child that it needs; a higher MaxRequestWorkers has room "
          "for more";
}

/* ---- the scoreboard ---- */

static const process_score *child(int slot)
{
    return &ap_scoreboard_image->parent[slot];
}

static ap_generation_t running(void)
{
    return ap_scoreboard_image->global->running_generation;
}

/* The main thread of this process may be writing that (mark()). */
static int quiesces(int slot)
{
    return __atomic_load_n(&child(slot)->quiescing, __ATOMIC_RELAXED);
}

static int retires(int slot)
{
    return child(slot)->pid && (quiesces(slot) || child(slot)->generation != running());
}

/* Has the child a thread whose status is between these? */
static int has_thread(int slot, int low, int high)
{
    int threads = mpm(AP_MPMQ_MAX_THREADS), i;

    for (i = 0; i < threads; i++) {
        int status = ap_scoreboard_image->servers[slot][i].status;

        if (status >= low && status <= high)
            return 1;
    }
    return 0;
}

/* Worker starts a child beside one that retires, in the slot of its dead threads. */
static int is_free(int slot)
{
    if (!child(slot)->pid)
        return 1;
    return mpm(AP_MPMQ_IS_THREADED) == AP_MPMQ_STATIC && !mpm(AP_MPMQ_IS_ASYNC)
        && quiesces(slot) && has_thread(slot, SERVER_DEAD, SERVER_DEAD);
}

static int is_idle(int slot)
{
    return !child(slot)->not_accepting && has_thread(slot, SERVER_DEAD, SERVER_READY);
}

/* Does httpd need another child? This is so only when no thread is idle. The reserve of
 * MinSpareThreads does not count, because sessions are not ended for a reserve. */
static int is_full(const rpc_room_t *room)
{
    apr_uint32_t children = 0;
    int i;

    for (i = 0; i < (int)room->slots; i++) {
        if (is_free(i))
            return 0;
        if (retires(i))
            continue;
        if (is_idle(i))
            return 0;
        children++;
    }
    return children < room->children;
}

/* ---- whose turn it is ---- */

/* All children of an old generation count as one; children of the current generation that retire go
 * one by one. */
static int goes_before(int slot, int me)
{
    ap_generation_t theirs = child(slot)->generation;
    int i;

    if (!retires(slot))
        return 0;
    if (theirs == child(me)->generation)
        return theirs == running() && slot < me;
    for (i = 0; i < slot; i++)
        if (retires(i) && child(i)->generation == theirs)
            return 0;
    return theirs < child(me)->generation;
}

static int my_slot(const rpc_room_t *room)
{
    pid_t pid = getpid();
    int i;

    for (i = 0; i < (int)room->slots; i++)
        if (child(i)->pid == pid)
            return i;
    return -1;
}

int rpc_room_wanted(rpc_room_watch_t *watch, apr_time_t now)
{
    int me = my_slot(watch->room), before = 0, i;

    if (me < 0 || !is_full(watch->room)) {
        watch->since = 0;
        return 0;
    }
    if (!watch->since)
        watch->since = now;
    for (i = 0; i < (int)watch->room->slots; i++)
        before += goes_before(i, me);
    return now - watch->since >= (before + 1) * PATIENCE;
}

static void mark(const rpc_room_t *room, int leaves)
{
    int slot = mpm(AP_MPMQ_IS_THREADED) ? -1 : my_slot(room);

    if (slot < 0)
        return;
    __atomic_store_n(&ap_scoreboard_image->parent[slot].quiescing, (char)leaves, __ATOMIC_RELAXED);
    if (leaves)
        ap_update_child_status_from_indexes(slot, 0, SERVER_GRACEFUL, NULL);
}

void rpc_room_enter(const rpc_room_t *room)
{
    mark(room, 0);
}

void rpc_room_leave(const rpc_room_t *room)
{
    mark(room, 1);
}
