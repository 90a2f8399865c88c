/* httpd/error_log_line.c: the lines of a refusal and of an end name the same parts, and begin as
 * they always have.
 */
#include "httpd/error_log_line.h"

#include <inttypes.h>
#include <unistd.h>

#include <apr_strings.h>
#include <http_log.h>

#include "base/message_id.h"
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
        .name = r->user ? r->user : "",
    };
}

static void list(const rpc_context_t *context, rpc_reason_t reason, uint64_t connection,
                 const rpc_log_who_t *who, const char *server, const char *why)
{
    rpc_mishap_texts_t texts = { who->name, who->client, who->target, server, why };

    rpc_mishaps_note(context->mishaps, (uint32_t)getpid(), reason, connection, &texts,
                     apr_time_now());
}

void rpc_log_refused(const rpc_context_t *context, request_rec *r, int level, rpc_reason_t reason,
                     const char *why)
{
    const char *token = rpc_reason_info(reason)->token;
    rpc_log_who_t who = rpc_log_who(r);

    apr_table_setn(r->subprocess_env, "RPC_REASON", token);
    ap_log_rerror(APLOG_MARK, level, 0, r,
                  RPCNO(0001) "%s refused: %s: %s; user \"%s\", client %s, target %s",
                  who.method, token, why, who.user, who.client, who.target);
    rpc_count(&context->tally->refused[reason]);
    if (level <= APLOG_WARNING || reason == RPC_REASON_NOT_AUTHENTICATED)
        list(context, reason, 0, &who, NULL, why);
}

/* ---- channels ---- */

static void log_channel(const rpc_log_t *log, const rpc_log_channel_t *ch, const rpc_end_t *end,
                        int level)
{
    char line[LINE_MAX_SIZE];

    if (!rpc_log_is(log, level))
        return;
    apr_snprintf(line, sizeof(line),
                 RPCNO(0002) "%s channel to %s of user \"%s\" ended: %s, %s%s%s; client %s, "
                 "server %s, %" APR_UINT64_T_FMT " bytes in, %" APR_UINT64_T_FMT " out, "
                 "%" APR_INT64_T_FMT " ms",
                 ch->who->method, ch->who->target, ch->who->user,
                 rpc_reason_info(end->reason)->token, end->where ? end->where : "",
                 end->where ? ": " : "", end->why, ch->who->client, ch->server,
                 (apr_uint64_t)end->received, (apr_uint64_t)end->sent, apr_time_as_msec(ch->age));
    log->write(log, level, 0, line);
}

void rpc_log_ended(const rpc_context_t *context, const rpc_log_t *log, const rpc_log_channel_t *ch,
                   const rpc_end_t *end, int failed)
{
    log_channel(log, ch, end,
                failed ? RPC_LOG_WARN : ch->connection ? RPC_LOG_DEBUG : RPC_LOG_INFO);
    rpc_count(&context->tally->ended[end->reason]);
    rpc_tally_life(context->tally, ch->role, ch->age);
    if (failed)
        list(context, end->reason, ch->connection, ch->who, ch->server, end->why);
}

/* ---- virtual connections ---- */

void rpc_log_connection(const rpc_context_t *context, const rpc_log_t *log,
                        const rpc_log_channel_t *last, const rpc_sum_t *sum)
{
    rpc_reason_t reason = sum->reason ? sum->reason : RPC_REASON_RECYCLED;
    char line[LINE_MAX_SIZE];

    rpc_count(&context->tally->connections);
    if (!rpc_log_is(log, RPC_LOG_INFO))
        return;
    apr_snprintf(line, sizeof(line),
                 RPCNO(0003) "virtual connection ended: connection=%016" PRIx64 " user=\"%s\" "
                 "client=%s target=%s server=%s version=%d opened=%s in=%" APR_UINT64_T_FMT
                 " out=%" APR_UINT64_T_FMT " seconds=%d.%03d successors=%u by=%s reason=%s "
                 "why=\"%s\"",
                 last->connection, last->who->user, last->who->client, last->who->target,
                 *last->server ? last->server : "none", last->role == RPC_MIXED ? 1 : 2,
                 sum->opened ? "yes" : "no", (apr_uint64_t)sum->in, (apr_uint64_t)sum->out,
                 (int)apr_time_sec(last->age), (int)apr_time_msec(last->age), sum->successors,
                 rpc_reason_by(reason), rpc_reason_info(reason)->token,
                 rpc_reason_info(reason)->text);
    log->write(log, RPC_LOG_INFO, 0, line);
}
