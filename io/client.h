/* rpc_client: the client of a channel, as a stream: one HTTP request and its response, on a
 * connection that httpd has let go of (httpd/detach.h), in clear or with TLS.
 *
 * Reads end with the request's body. The header of a response is the one that httpd has made for
 * the request, with another status line and length. The fields stand in the order in which httpd
 * itself would send them, because nobody is to see who has answered, httpd's handler or a channel.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "io/stream.h"
#include "io/tls.h"

/* The Content-Length in the header that httpd has made; the answer's own fields take its place. */
#define RPC_CLIENT_LENGTH 1

typedef struct rpc_client rpc_client_t;
struct rpc_client {
    rpc_socket_t socket;        /* first: a stream is one of these */
    rpc_tls_t tls;              /* in use with TLS */
    rpc_bytes_t ahead;          /* what httpd has read of the body already */
    int64_t body_left;          /* bytes; past them is end of file, unless STAY is set: then the */
    int stay;                   /* connection is only watched for its end */
    char *header;               /* status line and fields, each with its CR LF; malloc'ed */
    int status;                 /* of the answer; 0: none yet */
    int64_t length;             /* its Content-Length; -1: it has none */
    int passed;                 /* it is somebody else's: HEADER gives its version only */
    apr_uint64_t was_ahead;     /* bytes */
    /* Called once, on the loop's thread, when all has been written or nothing more can be. */
    void (*written)(rpc_client_t *client);
    /* The socket is closed; the stream is freed next. */
    void (*gone)(rpc_client_t *client);
};

/* What has been transferred so far. */
typedef struct rpc_client_sums {
    uint64_t body;              /* bytes of the response's body that were written */
    uint64_t in, out;           /* bytes on the socket */
} rpc_client_sums_t;

rpc_client_sums_t rpc_client_sums(const rpc_client_t *client);

/* Calls TELL for each field that the answer has in addition to those of HEADER. */
void rpc_client_fields(const rpc_client_t *client,
                       void (*tell)(void *ctx, const char *name, const char *value), void *ctx);

/* Sets up a zeroed client on FD, which it owns from then on; what is above is for the caller to
 * set, tls, ahead and header included. */
void rpc_client_init(rpc_client_t *client, rpc_loop_t *loop, int fd);

#endif
