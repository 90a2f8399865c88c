/* httpd/end_log.h: the one line in the error log of a request that is refused, or of a channel that
 * has ended: who, from where, to which target and server, what was tried and why it failed.
 */
#ifndef RPC_END_LOG_H
#define RPC_END_LOG_H

#include <httpd.h>
#include "base/end.h"

/* Of a request that has not become a channel, at warn. */
void rpc_log_refused(request_rec *r, rpc_reason_t reason, const char *why);

/* Of a channel. FAILED: at warn, somebody will ask about it; else at info. SERVER: where it went, or was
 * to go. MS: how long it lived. On the thread that owns R. */
void rpc_log_ended(request_rec *r, const rpc_end_t *end, int failed, const char *server, apr_int64_t ms);

#endif
