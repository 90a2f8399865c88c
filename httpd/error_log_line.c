/* httpd/error_log_line.c: both lines name the same parts, and begin as they always have. */
#include "httpd/error_log_line.h"

#include <apr_strings.h>
#include <http_log.h>

#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

#define LINE_MAX_SIZE 4096

rpc_log_who_t rpc_log_who(request_rec *r)
{
    const char *target = apr_table_get(r->subprocess_env, "RPC_TARGET");

    return (rpc_log_who_t){
        .method = ap_escape_logitem(r->pool, r->method),
        .target = target ? ap_escape_logitem(r->pool, target) : "none",
        .user = r->user ? ap_escape_logitem(r->pool, r->user) : "",
        .client = r->useragent_ip,
    };
}

void rpc_log_refused(request_rec *r, rpc_reason_t reason, const char *why)
{
    rpc_log_who_t who = rpc_log_who(r);

    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                  "%s refused: %s: %s; user \"%s\", client %s, target %s", who.method,
                  rpc_reason_info(reason)->token, why, who.user, who.client, who.target);
}

void rpc_log_ended(const rpc_log_t *log, const rpc_log_who_t *who, const rpc_end_t *end, int failed,
                   const char *server, apr_int64_t ms)
{
    int level = failed ? RPC_LOG_WARN : RPC_LOG_INFO;
    char line[LINE_MAX_SIZE];

    if (!rpc_log_is(log, level))
        return;
    apr_snprintf(line, sizeof(line),
                 "%s channel to %s of user \"%s\" ended: %s, %s%s%s; client %s, server %s, "
                 "%" APR_UINT64_T_FMT " bytes in, %" APR_UINT64_T_FMT " out, "
                 "%" APR_INT64_T_FMT " ms",
                 who->method, who->target, who->user, rpc_reason_info(end->reason)->token,
                 end->where ? end->where : "", end->where ? ": " : "", end->why,
                 who->client, server,
                 (apr_uint64_t)end->received, (apr_uint64_t)end->sent, ms);
    log->write(log, level, 0, line);
}
