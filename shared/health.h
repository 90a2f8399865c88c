/* rpc_health: which servers answer, as all children and the endpoint process see it.
 *
 * A table in shared memory, one slot a server (host:port), found by hash. Nothing locks: a slot is
 * claimed once and for all, its numbers are atomics, and a child that dies leaves nothing
 * behind. When the table is full, what finds no slot is taken to be healthy. No httpd headers;
 * any thread, any process that has inherited the memory. Source: shared/health.c
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

/* NOW and UNTIL are of rpc_clock_now() (base/clock.h), one for all processes.
 *
 * HOST:PORT did not answer: it is avoided for 2 seconds, twice as long after each further
 * failure, up to 60. */
void rpc_health_failed(rpc_health_t *health, const char *host, uint16_t port, apr_time_t now);
/* It answered: a connection, no more. */
void rpc_health_good(rpc_health_t *health, const char *host, uint16_t port);
/* A check of it was GOOD, or it is avoided until the next that is, or until UNTIL if no more come.
 * 1: the last check found otherwise; the first is held against none that failed. */
int rpc_health_checked(rpc_health_t *health, const char *host, uint16_t port, int good, apr_time_t until);
/* May it be tried as if nothing were known against it? HEALTH may be NULL. */
int rpc_health_up(const rpc_health_t *health, const char *host, uint16_t port, apr_time_t now);

#endif
