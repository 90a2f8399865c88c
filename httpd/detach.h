/* rpc_detach: a connection leaves httpd and becomes the client of a channel.
 *
 * httpd frees the connection and its request as it does with any other; what goes on is a duplicate
 * of the socket, mod_ssl's TLS session, and a copy of what the channel and its log line need. The
 * same on every MPM: no worker, no process and no suspended connection belongs to a channel.
 */
#ifndef RPC_DETACH_H
#define RPC_DETACH_H

#include <pthread.h>

#include <httpd.h>

#include "io/client.h"
#include "proxy/spec.h"

/* Registers hooks and a filter. From register_hooks. */
void rpc_detach_register(apr_pool_t *p);

/* Is mod_ssl, if there is one, built on the libssl that we use? Else a line in the log. From
 * check_config. */
int rpc_detach_possible(apr_pool_t *pool, server_rec *s);

/* Called on the loop's thread when httpd has let go of the connection. The callee owns the stream,
 * and SPEC until its ended() returns. */
typedef void rpc_detached_t(rpc_stream_t *client, const rpc_channel_spec_t *spec, void *ctx);

/* The connections that are on their way, which httpd still has. Zero it, initialize LOCK. */
typedef struct rpc_detach_ties {
    pthread_mutex_t lock;
    struct detached *first;
} rpc_detach_ties_t;

/* The loop that takes connections. */
typedef struct rpc_detach_home {
    rpc_loop_t *loop;
    const rpc_tls_kind_t *tls;
    rpc_detach_ties_t *ties;
    volatile apr_uint32_t *alive;   /* counts them, from hand-over to the very end */
    rpc_detached_t *detached;
    void *ctx;
} rpc_detach_home_t;

/* For rpc_tls_kind_t: mod_ssl has a log of keys (SSLKEYLOGFILE), which a client's KeyUpdate calls,
 * and which asks for a connection of httpd. In POOL, the child's. */
conn_rec *rpc_detach_nobody(apr_pool_t *pool, server_rec *s);

/* What stands between R's connection and a channel, in words; NULL: nothing. */
const char *rpc_detach_obstacle(request_rec *r);

typedef enum rpc_detach_result {
    RPC_DETACH_DONE,            /* the channel has the connection, and SPEC */
    RPC_DETACH_ENDING,          /* this child takes no more channels; nothing has changed */
    RPC_DETACH_NO_DESCRIPTORS,  /* they are short; nothing has changed */
    RPC_DETACH_NO_MEMORY,       /* the same */
    RPC_DETACH_ANSWERED,        /* a filter of httpd answers in place of the header that the channel
                                 * was to have; the connection is still httpd's, and ends with that
                                 * answer */
    RPC_DETACH_LOST             /* memory has run out on the way: the connection is aborted, for no
                                 * answer can be made any more */
} rpc_detach_result_t;

/* Takes R's connection, on R's worker thread, as the last act of a handler. A pending 100-continue
 * is sent. SPEC is copied; it may live in R's pool, and is still the caller's unless it is DONE. */
rpc_detach_result_t rpc_detach(request_rec *r, const rpc_channel_spec_t *spec,
                               const rpc_detach_home_t *home);

/* httpd's threads have ended, and its pools go next: connections of TIES, which httpd has not let
 * go of in time, arrive as broken, so that their channels have an end and a line in the log. */
void rpc_detach_cut(rpc_detach_ties_t *ties);

#endif
