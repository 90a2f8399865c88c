/* rpc_record: what the logs need to know of a request whose channel outlives it.
 *
 * httpd frees the request when its connection becomes a channel. Here is a copy of what its lines
 * will say hours later: whatever the configuration of the logs names, and nothing else. One block
 * of memory that nothing of the request, of its pools or of its connection belongs to. Names that
 * only the live connection can tell (%{SSL_...}x, %{...}c, %l) are asked for when it is taken. The
 * Authorization header is never in it.
 *
 * Nothing here waits for a log, a reverse look-up or a disk: lines are handed to threads of their
 * own (httpd/log_writer.h), which rebuild a request from the record to write them.
 *
 * A record is taken on the request's worker. From then on one thread at a time uses it, the loop
 * that has the channel, until rpc_record_end().
 */
#ifndef RPC_LOG_RECORD_H
#define RPC_LOG_RECORD_H

#include <httpd.h>

#include "base/log.h"

typedef struct rpc_record rpc_record_t;

/* Hooks. From register_hooks. */
void rpc_record_register(apr_pool_t *p);

/* Can logs be written beside httpd's own threads? Else says why not. From check_config. */
int rpc_record_possible(server_rec *s);

/* Reads which names the logs use. From post_config. */
void rpc_record_prepare(apr_pool_t *pconf);

/* Starts the threads that write; they end with POOL, the child's, after a moment for what still
 * waits. From child_init, before the engine is started, so that they end after it. */
apr_status_t rpc_record_start(apr_pool_t *pool);

/* On R's worker, when the header of the response has been made. NULL: out of memory. From then on R
 * has no line in the access logs of its own: at its end the log_transaction hooks of all modules
 * run, but not mod_log_config's, which runs after rpc_record_end(). */
rpc_record_t *rpc_record_take(request_rec *r);

/* A variable of the environment (%{NAME}e), which replaces the one that has the name. */
void rpc_record_note(rpc_record_t *record, const char *name, const char *value);
/* A field of a response that was made after the record was taken (%{NAME}o). */
void rpc_record_header(rpc_record_t *record, const char *name, const char *value);

/* From now on each line of the error log ends with the public id of the virtual connection; 0: no
 * more. */
void rpc_record_name(rpc_record_t *record, uint64_t connection);

/* Writes lines of the error log as ap_log_rerror() does: with the client, ids, and what
 * ErrorLogFormat names. It can be used as long as RECORD lives. */
const rpc_log_t *rpc_record_logger(const rpc_record_t *record);

/* For a thread that has to do with the request, perhaps after the end of the record: RECORD stays
 * until it is released. */
void rpc_record_hold(rpc_record_t *record);
void rpc_record_release(rpc_record_t *record);
/* Has SEE look at a rebuilt request, which is in POOL, and may log for it. No loop's thread. */
void rpc_record_show(rpc_record_t *record, apr_pool_t *pool,
                     void (*see)(request_rec *r, void *data), void *data);

/* What the end of the channel adds. */
typedef struct rpc_record_end {
    int status;             /* of the answer; 200 when there was none */
    int aborted;            /* the connection was (%X) */
    apr_uint64_t body;      /* bytes of the response's body (%B) */
    apr_uint64_t in, out;   /* on the socket since the record was taken, TLS and all (%I, %O) */
} rpc_record_end_t;

/* The line in the access logs. Frees RECORD. */
void rpc_record_end(rpc_record_t *record, const rpc_record_end_t *end);

#endif
