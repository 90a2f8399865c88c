/* rpc_answer: refuses a channel on its stream, as an RPC error (wire/error.h). No httpd headers. */
#ifndef RPC_ANSWER_H
#define RPC_ANSWER_H

#include "base/reason.h"
#include "io/stream.h"

/* For a stream whose response header is not out yet, and a reason whose rpc_error is not 0. */
void rpc_error_answer(rpc_stream_t *client, rpc_reason_t reason);

#endif
