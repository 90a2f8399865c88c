/* httpd/error_log_line.h: the one line in the error log of a request that is refused, of a channel
 * that has ended, and of a virtual connection: who, from where, to which target and server, what
 * was tried and why it failed. Beside the line, refusals and failures are counted and listed for
 * the status page: all of them pass here.
 */
#ifndef RPC_ERROR_LOG_LINE_H
#define RPC_ERROR_LOG_LINE_H

#include <httpd.h>
#include "base/end.h"
#include "base/log.h"
#include "httpd/context.h"

/* R does not become a channel: %{RPC_REASON}e, a line at LEVEL, a count, and an entry in the
 * list of failed connections when LEVEL is warn, or when a password was wrong, which the module
 * that checks it has logged. */
void rpc_log_refused(const rpc_context_t *context, request_rec *r, int level, rpc_reason_t reason,
                     const char *why);

/* A channel, in texts that are escaped for a log. */
typedef struct rpc_log_who {
    const char *method, *target, *user;     /* USER "": nobody */
    const char *client;                     /* address */
    const char *name;                       /* the user again, as httpd has it, not escaped */
} rpc_log_who_t;

/* What the lines say of R. The texts live as long as R. */
rpc_log_who_t rpc_log_who(request_rec *r);

/* What is known of a channel at its end. */
typedef struct rpc_log_channel {
    const rpc_log_who_t *who;
    const char *server;         /* that it reached or tried to reach */
    rpc_role_t role;
    uint64_t connection;        /* public id of its virtual connection; 0: not known */
    apr_interval_time_t age;
} rpc_log_channel_t;

/* A channel has ended. FAILED: a line at warn and an entry in the list; else the line is at
 * debug, for the virtual connection has its own at info, or at info, if the channel belongs to
 * none. */
void rpc_log_ended(const rpc_context_t *context, const rpc_log_t *log, const rpc_log_channel_t *ch,
                   const rpc_end_t *end, int failed);

/* A virtual connection has ended, in key=value form at info. AGE is the time since its
 * beginning. */
void rpc_log_connection(const rpc_context_t *context, const rpc_log_t *log,
                        const rpc_log_channel_t *last, const rpc_sum_t *sum);

#endif
