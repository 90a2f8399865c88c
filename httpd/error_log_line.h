/* httpd/error_log_line.h: the one line in the error log of a request that is refused, or of a
 * channel that has ended: who, from where, to which target and server, what was tried and why it failed.
 */
#ifndef RPC_ERROR_LOG_LINE_H
#define RPC_ERROR_LOG_LINE_H

#include <httpd.h>
#include "base/end.h"
#include "base/log.h"

/* Logs a request that has not become a channel, at level warn. */
void rpc_log_refused(request_rec *r, rpc_reason_t reason, const char *why);

/* A channel, in texts that are escaped for a log. */
typedef struct rpc_log_who {
    const char *method, *target, *user;     /* USER "": nobody */
    const char *client;                     /* address */
} rpc_log_who_t;

/* Fills WHO, in R's pool or for as long. */
rpc_log_who_t rpc_log_who(request_rec *r);

/* Logs the end of a channel, at level warn when it FAILED, else at info. SERVER is the server that
 * it reached or tried to reach. MS is its lifetime in milliseconds. */
void rpc_log_ended(const rpc_log_t *log, const rpc_log_who_t *who, const rpc_end_t *end, int failed,
                   const char *server, apr_int64_t ms);

#endif
