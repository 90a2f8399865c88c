/* rpc_upstream_leg: a request with a small body, an echo or a leg of a handshake, which a proxy
 * behind us answers while the worker waits.
 */
#ifndef RPC_UPSTREAM_LEG_H
#define RPC_UPSTREAM_LEG_H

#include <httpd.h>

#include "io/secure.h"

typedef struct rpc_upstream_answer {
    unsigned shared:1;          /* set before: others may use the client's connection, so what makes
                                 * it one user's (NTLM, Negotiate) is not offered there */
    const char *via;            /* set before: what the client's answer has in Via, too; or NULL */
    unsigned may_go_on:1;       /* set before: a 200 or 101 is the beginning of a channel */
    unsigned goes_on:1;         /* it is: nothing has been sent to the client, and STREAM has the
                                 * answer still to be read */
    int failed;                 /* there was none: nothing has been sent to the client */
    const char *why;            /* failed: what was wrong */
    unsigned keeps:1;           /* the connection may be used again */
    unsigned challenges:1;      /* a handshake goes on, on the same connection */
} rpc_upstream_answer_t;

/* Sends HEAD, then the LENGTH bytes of R's body, on STREAM, and the answer to the client through
 * httpd's filters. Each step may take TIMEOUT. Returns OK, or the status to answer with. */
int rpc_upstream_leg(request_rec *r, rpc_stream_t *stream, const char *head, apr_size_t head_size,
                     apr_int64_t length, apr_interval_time_t timeout,
                     rpc_upstream_answer_t *answer);

/* Does VALUE, of WWW-Authenticate or Authorization, name a scheme that makes a connection one
 * user's: NTLM, alone or within Negotiate? 2: with a token of a handshake that has begun. */
int rpc_upstream_binds(const char *value);

#endif
