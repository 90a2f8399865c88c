/* rpc_conn: an httpd connection that has left its worker thread, as a stream.
 *
 * The request stays alive until the stream's end: its log line is written then. Reads and
 * writes go through the connection's filters, so mod_ssl and the rest work; nothing blocks.
 * On an MPM that can suspend (event) the worker thread goes back to its pool; on others, and for
 * a request behind an internal redirect, it waits here for the stream's end.
 */
#ifndef RPC_CONN_H
#define RPC_CONN_H

#include <httpd.h>
#include "httpd/record.h"
#include "io/stream.h"

/* Registers filters and hooks. From register_hooks. */
void rpc_conn_register(apr_pool_t *p);

/* Called on the loop's thread when the connection has arrived. The callee owns the stream, and R
 * with it; R and its pool may be used until rpc_stream_close(). */
typedef void rpc_conn_arrived_t(rpc_stream_t *stream, request_rec *r, void *ctx);

/* The loop that takes connections, and counters that the engine reads. */
typedef struct rpc_conn_home {
    rpc_loop_t *loop;
    volatile apr_uint32_t *alive;   /* counts them, from hand-over to the very end */
    volatile apr_uint32_t *ending;  /* not 0: all connections end after a short time */
    rpc_conn_arrived_t *arrived;
    void *ctx;
} rpc_conn_home_t;

/* Hands R's connection over, on R's worker thread, as the last act of a handler, whose
 * return value it gives (SUSPENDED, DONE, or an HTTP error when it cannot). BODY: bytes of
 * the request body to come; reading past them is end of file, unless STAY is set: then
 * the connection is only watched for its end. A pending 100-continue is sent. RECORD, of R, is ended at
 * the end of the stream, unless this fails (HTTP_SERVICE_UNAVAILABLE). */
int rpc_conn_hand_over(request_rec *r, const rpc_conn_home_t *home, apr_int64_t body, int stay,
                       rpc_record_t *record);

#endif
