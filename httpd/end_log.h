/* httpd/end_log.h: the one line in the error log of a request that is refused, or of a channel that
 * has ended: who, from where, to which target and server, what was tried and why it failed.
 */
#ifndef RPC_END_LOG_H
#define RPC_END_LOG_H

#include <httpd.h>
#include "base/end.h"

/* Logs a request that has not become a channel, at level warn. */
void rpc_log_refused(request_rec *r, rpc_reason_t reason, const char *why);

/* Logs the end of a channel, at level warn when it FAILED, else at info. SERVER is the server that it
 * reached or tried to reach. MS is its lifetime in milliseconds. On the thread that owns R. */
void rpc_log_ended(request_rec *r, const rpc_end_t *end, int failed, const char *server, apr_int64_t ms);

#endif
