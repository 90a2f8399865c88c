/* rpc_answer: what a client's request is answered with: an RPC error of ours (wire/error.h), or an
 * upstream's answer. No httpd headers.
 */
#ifndef RPC_ANSWER_H
#define RPC_ANSWER_H

#include "base/reason.h"
#include "io/stream.h"
#include "proxy/upstream.h"
#include "wire/http_head.h"

/* For a stream whose response header is not out yet, and a reason whose rpc_error is not 0. */
void rpc_error_answer(rpc_stream_t *client, rpc_reason_t reason);

/* What becomes of the connection behind an upstream's answer. */
typedef enum {
    RPC_PASS_CLOSE,       /* it ends with the body */
    RPC_PASS_STAY,        /* it lasts as long as both sides like, as does the body */
    RPC_PASS_CHUNKED,     /* the same; the body is chunked, as it comes */
    RPC_PASS_INTERIM      /* another answer comes */
} rpc_pass_t;

/* Puts an upstream's head: its status and fields, without those of the connection, and with
 * UPSTREAM's maps and fields. The connection's own fields go with a 101 only. */
apr_status_t rpc_answer_pass(rpc_stream_t *client, const rpc_http_head_t *head,
                             const rpc_upstream_t *upstream, rpc_pass_t then);

#endif
