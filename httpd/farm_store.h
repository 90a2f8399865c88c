/* rpc_store: a connection to a Redis or Valkey, by hiredis. On a watchdog's thread, which may wait;
 * but no call waits beyond its time, nor for long when the child ends (httpd/watchdog.h).
 */
#ifndef RPC_FARM_STORE_H
#define RPC_FARM_STORE_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <hiredis/hiredis.h>

typedef struct rpc_store {
    const char *name;               /* host:port */
    const char *host, *port;
    const char *user, *password;    /* NULL: none */
    /* Of the process that uses it. */
    redisContext *redis;            /* NULL: not connected */
    char why[128];                  /* the last error; "": none */
} rpc_store_t;

/* Parses redis://[[user]:password@]host[:port][,host[:port]...] into *STORES, of rpc_store_t in
 * POOL. NULL, or what was expected. */
const char *rpc_store_parse(apr_pool_t *pool, const char *text, apr_array_header_t **stores);

/* Connects and logs on. 0: that failed; WHY says how. */
int rpc_store_open(rpc_store_t *store, apr_interval_time_t time);
void rpc_store_close(rpc_store_t *store);

/* Of the commands that were given to redisAppendCommand() the next one's reply, to be freed by
 * freeReplyObject(). NULL: the store has failed or refused it, or it is UNTIL; then the store is
 * closed and WHY says why. With a store that is closed the answer is NULL. */
redisReply *rpc_store_reply(rpc_store_t *store, apr_time_t until);

#endif
