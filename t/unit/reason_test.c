/* reason_test: every reason has a row, a token of its own and the right answer; and the log formats
 * only lines that are written. */
#include "base/reason.h"
#include "base/log.h"

#include "unit.h"

static int is_token(const char *token)
{
    size_t len = token ? strlen(token) : 0;

    return len && token[0] != '-' && token[len - 1] != '-'
           && strspn(token, "abcdefghijklmnopqrstuvwxyz-") == len;
}

/* A reason phrase or a log line: one line, no quotes. */
static int is_text(const char *text)
{
    const char *p = text;

    while (p && *p >= ' ' && *p < 0x7f && *p != '"')
        p++;
    return p && p != text && !*p;
}

static int tokens_like(const char *token)
{
    int i, n = 0;

    for (i = 0; i < RPC_REASON_COUNT; i++) {
        const char *other = rpc_reason_info((rpc_reason_t)i)->token;

        n += other && strcmp(other, token) == 0;
    }
    return n;
}

static void test_row(rpc_reason_t reason)
{
    const rpc_reason_info_t *info = rpc_reason_info(reason);

    is_int(info->reason, reason, "reason %d has a row", reason);
    if (!ok(is_token(info->token), "%s: token", info->token ? info->token : "(null)"))
        return;
    is_int(tokens_like(info->token), 1, "%s: its own", info->token);
    ok(is_text(info->text), "%s: text", info->token);
    ok(info->rpc_error == 0 || info->http_status != 0, "%s: no RPC error without an answer",
       info->token);
    ok((info->http_status == 503) <= (info->rpc_error != 0), "%s: 503 has an RPC error",
       info->token);
}

static const struct { rpc_reason_t reason; int status; unsigned error; } answers[] = {
    { RPC_REASON_NONE, 0, 0 },
    { RPC_REASON_CLIENT_CLOSED, 0, 0 },
    { RPC_REASON_SERVER_CLOSED, 0, 0 },
    { RPC_REASON_RECYCLED, 0, 0 },
    { RPC_REASON_CONTENT_USED_UP, 0, 0 },
    { RPC_REASON_SHUTDOWN, 0, 0 },
    { RPC_REASON_METHOD, 405, 0 },
    { RPC_REASON_ANONYMOUS, 403, 5 },
    { RPC_REASON_TLS_REQUIRED, 403, 5 },
    { RPC_REASON_BAD_REQUEST, 400, 0 },
    { RPC_REASON_BAD_TARGET, 503, 0x6ab },
    { RPC_REASON_TARGET_REFUSED, 503, 0x6ba },
    { RPC_REASON_TOO_MANY_CHANNELS, 503, 0x6bb },
    { RPC_REASON_TOO_MANY_OF_USER, 503, 0x6bb },
    { RPC_REASON_TOO_MANY_OF_ADDRESS, 503, 0x6bb },
    { RPC_REASON_TOO_MANY_UNPAIRED, 503, 0x6bb },
    { RPC_REASON_TOO_MANY_FAILED, 503, 0x6ba },
    { RPC_REASON_STOPPING, 503, 0x6bb },
    { RPC_REASON_OTHER_MODULE, 503, 0x6ba },
    { RPC_REASON_RESOLVE_FAILED, 503, 0x6ba },
    { RPC_REASON_CONNECT_FAILED, 503, 0x6ba },
    { RPC_REASON_CONNECT_TIMEOUT, 503, 0x6ba },
    { RPC_REASON_SETUP_TIMEOUT, 503, 0x6ba },
    { RPC_REASON_PROTOCOL, 503, 0x6c0 },
    { RPC_REASON_BAD_PDU, 503, 0x6c0 },
    { RPC_REASON_NO_MEMORY, 503, 0x6b9 },
};

static void test_answers(void)
{
    size_t i;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        const rpc_reason_info_t *info = rpc_reason_info(answers[i].reason);

        is_int(info->http_status, answers[i].status, "%s: HTTP status", info->token);
        is_int(info->rpc_error, answers[i].error, "%s: RPC error", info->token);
    }
    is_str(rpc_reason_info(RPC_REASON_TARGET_REFUSED)->token, "target-refused", "a known token");
    ok(rpc_reason_info((rpc_reason_t)9999) == rpc_reason_info(RPC_REASON_NONE), "never NULL");
}

typedef struct written { int lines, level; apr_status_t status; char text[2000]; } written_t;

static void keep(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    written_t *w = log->ctx;

    w->lines++;
    w->level = level;
    w->status = status;
    snprintf(w->text, sizeof(w->text), "%s", text);
}

static void test_log(void)
{
    written_t w = { 0 };
    rpc_log_t log = { keep, RPC_LOG_INFO, &w };

    rpc_log(&log, RPC_LOG_DEBUG, 0, "not for you");
    is_int(w.lines, 0, "a line above the level is not written");
    rpc_log(&log, RPC_LOG_INFO, APR_EGENERAL, "channel %d of %s", 7, "alice");
    ok(w.lines == 1 && w.level == RPC_LOG_INFO && w.status == APR_EGENERAL, "one at the level is");
    is_str(w.text, "channel 7 of alice", "formatted");
    rpc_log(&log, RPC_LOG_ERR, 0, "%01500d", 1);
    is_int((long long)strlen(w.text), 999, "a long line is cut and ended");
    ok(rpc_log_is(&log, RPC_LOG_WARN) && !rpc_log_is(&log, RPC_LOG_TRACE), "levels");
}

int main(void)
{
    int i;

    for (i = 0; i < RPC_REASON_COUNT; i++)
        test_row((rpc_reason_t)i);
    test_answers();
    test_log();
    return unit_done();
}
