/* rpc_health: which servers answer, shared by all children and the endpoint process; and what
 * people may know of them.
 *
 * A table in shared memory with one slot for each server (host:port), found by hash. There are no
 * locks: the numbers of a slot are atomics, so a child that dies leaves no lock behind. Clients may
 * ask for any number of servers. A slot is free for another server when its own is not avoided any
 * more; if there is none, the one that would be free first is taken. The servers of the
 * configuration keep their slots. No httpd headers; any thread, any process that has inherited the
 * memory.
 */
#ifndef RPC_HEALTH_H
#define RPC_HEALTH_H

#include <stddef.h>
#include <stdint.h>

#include <apr_time.h>

typedef struct rpc_health rpc_health_t;

/* Bytes of memory for the table, and the table in that memory, all zero at first. */
size_t rpc_health_size(void);
rpc_health_t *rpc_health_init(void *memory);

typedef struct rpc_health_server {
    const char *host;
    uint16_t port;
} rpc_health_server_t;

/* From now on these COUNT servers keep their slots; servers of earlier calls do not. */
void rpc_health_reserve(rpc_health_t *health, const rpc_health_server_t *servers, int count);

/* NOW and UNTIL are times of rpc_clock_now() (base/clock.h), which all processes share.
 *
 * HOST:PORT did not answer: it is avoided for 2 seconds, twice as long after each further
 * failure, up to 60. */
void rpc_health_failed(rpc_health_t *health, const char *host, uint16_t port, apr_time_t now);
/* Why it failed, in words, for people. After rpc_health_failed() or rpc_health_checked(). */
void rpc_health_explain(rpc_health_t *health, const char *host, uint16_t port, const char *why);
/* A connection to HOST:PORT succeeded. */
void rpc_health_good(rpc_health_t *health, const char *host, uint16_t port);
/* The result of a health check. After a failed check the server is avoided until a check succeeds,
 * or until UNTIL if no more checks come. Returns 1 when the last check had the opposite result.
 * Before the first check a server counts as good. */
int rpc_health_checked(rpc_health_t *health, const char *host, uint16_t port, int good,
                       apr_time_t now, apr_time_t until);
/* A check had no result: the result of the last one counts until UNTIL. */
void rpc_health_unchecked(rpc_health_t *health, const char *host, uint16_t port, apr_time_t until);
/* Another machine could not reach the server at FAILED, and avoids it until UNTIL; then this one
 * does, too, unless it has reached the server itself since FAILED. Returns 1 when that begins. 0
 * for UNTIL: no other machine avoids it now. */
int rpc_health_heard(rpc_health_t *health, const char *host, uint16_t port, apr_time_t failed,
                     apr_time_t until);
/* An administrator drains the server: no new virtual connection goes there, until he ends that. Old
 * ones live on; END_AT: they end then, 0: by themselves. His is a decision later than all that are
 * known: BEFORE is the last one of other machines; 0: there is none. Returns 0: the server has no
 * slot, or another decision is being made. */
int rpc_health_drain(rpc_health_t *health, const char *host, uint16_t port, apr_time_t end_at,
                     uint64_t before);
int rpc_health_undrain(rpc_health_t *health, const char *host, uint16_t port, uint64_t before);
/* The server is still drained, but its END_AT is over. */
void rpc_health_drain_over(rpc_health_t *health, const char *host, uint16_t port);
/* What was decided at another machine (rpc_health_view_t), and until when old ones live there. Of
 * two decisions the later counts. Returns 1 when the server begins or ends to be drained by it. */
int rpc_health_decided(rpc_health_t *health, const char *host, uint16_t port, uint64_t decision,
                       apr_time_t end_at);
int rpc_health_drains(const rpc_health_t *health, const char *host, uint16_t port);

/* May the server be tried as usual? 0: it is avoided, or drained. HEALTH may be NULL. */
int rpc_health_up(const rpc_health_t *health, const char *host, uint16_t port, apr_time_t now);

/* ---- for people ---- */

#define RPC_HEALTH_HOST 256
#define RPC_HEALTH_WHY 200

typedef struct rpc_health_view {
    char host[RPC_HEALTH_HOST];
    char why[RPC_HEALTH_WHY];       /* of the last failure; "": none yet */
    uint16_t port;
    unsigned avoided:1;             /* since failed connects, until UNTIL */
    unsigned suspect:1;             /* that is over, and none has succeeded since */
    unsigned unfit:1;               /* the last health check has failed */
    unsigned drained:1;
    unsigned elsewhere:1;           /* another machine of the farm avoids it, so does this */
    unsigned configured:1;          /* a directive names it */
    apr_time_t since;               /* of the state, as rpc_clock_now(); 0: since the start */
    apr_time_t until;
    apr_time_t failed;              /* the last failure; 0: none */
    apr_time_t checked;             /* the last health check; 0: none */
    apr_time_t drain_end;           /* its channels end then; 0: never */
    uint64_t decision;              /* odd: to drain it, even: to end that; each is greater than
                                     * the one before, and no two are equal, so that machines
                                     * which decide at once end up the same. 0: none was made */
    uint64_t connects, failures;    /* connections that succeeded, and that failed */
    uint64_t checks, bad_checks;    /* health checks in all, and those that failed */
} rpc_health_view_t;

/* Slots are numbered from 0; a view of each. 0: it has no server. */
#define RPC_HEALTH_SLOTS 1024
int rpc_health_view(const rpc_health_t *health, int slot, apr_time_t now, rpc_health_view_t *view);
/* A process has died, and what it was writing is nobody's. */
void rpc_health_gone(rpc_health_t *health, uint32_t pid);

#endif
