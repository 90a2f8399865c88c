/* rpc_health: which servers answer, as all children and the endpoint process see it.
 *
 * A table in shared memory, one slot a server (host:port), found by hash. Nothing locks: the
 * numbers of a slot are atomics, and a child that dies leaves nothing behind. Clients may ask for
 * servers without end: a slot whose server is not avoided any more is free for another, when there
 * is none the one that would be so first, and the servers of the configuration keep theirs. No httpd
 * headers; any thread, any process that has inherited the memory. Source: shared/health.c
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

/* From now on these COUNT servers keep their slots, and those named before do not. */
void rpc_health_reserve(rpc_health_t *health, const rpc_health_server_t *servers, int count);

/* NOW and UNTIL are of rpc_clock_now() (base/clock.h), one for all processes.
 *
 * HOST:PORT did not answer: it is avoided for 2 seconds, twice as long after each further
 * failure, up to 60. */
void rpc_health_failed(rpc_health_t *health, const char *host, uint16_t port, apr_time_t now);
/* It answered: a connection, no more. */
void rpc_health_good(rpc_health_t *health, const char *host, uint16_t port);
/* A check of it was GOOD, or it is avoided until the next that is, or until UNTIL if no more come.
 * 1: the last check found otherwise; the first is held against none that failed. */
int rpc_health_checked(rpc_health_t *health, const char *host, uint16_t port, int good, apr_time_t now,
                       apr_time_t until);
/* A check of it came to nothing: what the last one found counts until UNTIL. */
void rpc_health_unchecked(rpc_health_t *health, const char *host, uint16_t port, apr_time_t until);
/* May it be tried as if nothing were known against it? HEALTH may be NULL. */
int rpc_health_up(const rpc_health_t *health, const char *host, uint16_t port, apr_time_t now);

#endif
