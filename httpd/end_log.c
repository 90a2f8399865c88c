/* httpd/end_log.c: both lines name the same parts, and begin as they always have. */
#include "httpd/end_log.h"

#include <http_log.h>

#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

static const char *env(const request_rec *r, const char *name, const char *otherwise)
{
    const char *value = apr_table_get(r->subprocess_env, name);

    return value ? ap_escape_logitem(r->pool, value) : otherwise;
}

static const char *user_of(const request_rec *r)
{
    return r->user ? ap_escape_logitem(r->pool, r->user) : "";
}

void rpc_log_refused(request_rec *r, rpc_reason_t reason, const char *why)
{
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "%s refused: %s: %s; user \"%s\", client %s, target %s",
                  ap_escape_logitem(r->pool, r->method), rpc_reason_info(reason)->token, why, user_of(r),
                  r->useragent_ip, env(r, "RPC_TARGET", "none"));
}

void rpc_log_ended(request_rec *r, const rpc_end_t *end, int failed, const char *server, apr_int64_t ms)
{
    ap_log_rerror(APLOG_MARK, failed ? APLOG_WARNING : APLOG_INFO, 0, r,
                  "%s channel to %s of user \"%s\" ended: %s, %s%s%s; client %s, server %s, %" APR_UINT64_T_FMT
                  " bytes in, %" APR_UINT64_T_FMT " out, %" APR_INT64_T_FMT " ms",
                  r->method, env(r, "RPC_TARGET", "none"), user_of(r), rpc_reason_info(end->reason)->token,
                  end->where ? end->where : "", end->where ? ": " : "", end->why, r->useragent_ip,
                  env(r, "RPC_BACKEND", server), (apr_uint64_t)end->received, (apr_uint64_t)end->sent, ms);
}
