/* rpc_health: which servers answer, shared by all children and the endpoint process.
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
/* A connection to HOST:PORT succeeded. */
void rpc_health_good(rpc_health_t *health, const char *host, uint16_t port);
/* The result of a health check. After a failed check the server is avoided until a check succeeds,
 * or until UNTIL if no more checks come. Returns 1 when the last check had the opposite result.
 * Before the first check a server counts as good. */
int rpc_health_checked(rpc_health_t *health, const char *host, uint16_t port, int good,
                       apr_time_t now, apr_time_t until);
/* A check had no result: the result of the last one counts until UNTIL. */
void rpc_health_unchecked(rpc_health_t *health, const char *host, uint16_t port, apr_time_t until);
/* May the server be tried as usual? 0: it is avoided. HEALTH may be NULL. */
int rpc_health_up(const rpc_health_t *health, const char *host, uint16_t port, apr_time_t now);

#endif
