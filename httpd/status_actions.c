/* httpd/status_actions.c: an order is a word in the meter of a channel (base/meter.h). The bell, an
 * eventfd that all children have inherited, then makes each loop look at its own channels.
 */
#include "httpd/status_actions.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <util_script.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "httpd/farm_here.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

#define FORM_MAX 8192           /* bytes */
#define DRAIN_MOST apr_time_from_sec(7 * 86400)
#define HOUR ((apr_int64_t)apr_time_from_sec(3600))

apr_status_t rpc_status_actions_create(rpc_context_t *context)
{
    context->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (context->bell < 0)
        return errno;
    return apr_generate_random_bytes(context->token_key, sizeof(context->token_key));
}

/* ---- the token ---- */

static const char *token_of(const rpc_status_request_t *q, apr_int64_t hour)
{
    request_rec *r = q->r;
    const char *what = apr_psprintf(r->pool, "%s\n%s\n%" APR_INT64_T_FMT, r->user ? r->user : "",
                                    r->useragent_ip, hour);
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    char *text = apr_palloc(r->pool, 33);

    HMAC(EVP_sha256(), q->context->token_key, sizeof(q->context->token_key),
         (const unsigned char *)what, strlen(what), sum, &size);
    ap_bin2hex(sum, 16, text);
    return text;
}

const char *rpc_status_token(const rpc_status_request_t *q)
{
    return token_of(q, q->now / HOUR);
}

/* Takes as long for a wrong one whatever is wrong with it. */
static int same_token(const char *a, const char *b)
{
    return strlen(a) == strlen(b) && CRYPTO_memcmp(a, b, strlen(b)) == 0;
}

/* A browser says from where a request comes; other clients say nothing. */
static int is_allowed(const rpc_status_request_t *q, const char *token)
{
    const char *site = apr_table_get(q->r->headers_in, "Sec-Fetch-Site");

    if (site && strcmp(site, "same-origin") != 0)
        return 0;
    return same_token(token, token_of(q, q->now / HOUR))
           || same_token(token, token_of(q, q->now / HOUR - 1));
}

/* ---- the form ---- */

static const char *flatten(const ap_form_pair_t *pair, apr_pool_t *pool)
{
    char *text;
    apr_size_t len;

    if (apr_brigade_pflatten(pair->value, &text, &len, pool) != APR_SUCCESS)
        return "";
    return apr_pstrmemdup(pool, text, len);
}

static int read_form(request_rec *r, apr_table_t *form)
{
    apr_array_header_t *pairs = NULL;
    int rv = ap_parse_form_data(r, NULL, &pairs, -1, FORM_MAX), i;

    for (i = 0; rv == OK && pairs && i < pairs->nelts; i++) {
        const ap_form_pair_t *pair = &APR_ARRAY_IDX(pairs, i, ap_form_pair_t);

        apr_table_setn(form, pair->name, flatten(pair, r->pool));
    }
    return rv == OK || rv == HTTP_REQUEST_ENTITY_TOO_LARGE ? rv : HTTP_BAD_REQUEST;
}

/* ---- ending ---- */

/* Orders the end of all channels that FILTER names. How many. */
static int order_end(const rpc_context_t *context, const rpc_view_filter_t *filter)
{
    uint32_t row, mark = rpc_board_mark(context->board);
    uint64_t one = 1;
    rpc_board_view_t view;
    int n = 0;

    for (row = 0; row < mark; row++) {
        if (!rpc_view_row(context->board, context->sums, row, &view)
            || !rpc_view_is(filter, &view.row))
            continue;
        rpc_board_end(context->board, row, view.row.serial);
        n++;
    }
    if (n && write(context->bell, &one, sizeof(one)) < 0)
        return 0;
    return n;
}

static void log_act(const rpc_status_request_t *q, const char *what, const char *of)
{
    request_rec *r = q->r;

    ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r,
                  RPCNO(0025) "status page: %s of %s, by user \"%s\" at %s",
                  what, ap_escape_logitem(r->pool, of),
                  r->user ? ap_escape_logitem(r->pool, r->user) : "", r->useragent_ip);
}

static int end_those(const rpc_status_request_t *q, const apr_table_t *form)
{
    const char *connection = rpc_status_value(form, "connection");
    rpc_view_filter_t filter = {
        .find = "",
        .user = rpc_status_value(form, "user"),
        .client = rpc_status_value(form, "address"),
        .target = "",
        .server = rpc_status_value(form, "server"),
        .connection = strtoull(connection, NULL, 16),
        .state = -1,
    };
    const char *of = apr_psprintf(q->r->pool, "connection=%s user=\"%s\" address=%s server=%s",
                                  connection, filter.user, filter.client, filter.server);
    int n;

    if (!filter.connection && !*filter.user && !*filter.client && !*filter.server)
        return HTTP_BAD_REQUEST;
    n = order_end(q->context, &filter);
    log_act(q, apr_psprintf(q->r->pool, "end of %d channels", n), of);
    return OK;
}

/* ---- draining ---- */

/* Splits "host[port]". */
static const char *parse_server(apr_pool_t *pool, const char *text, uint16_t *port)
{
    const char *bracket = strrchr(text, '[');
    char *end = NULL;
    long n = bracket && apr_isdigit(bracket[1]) ? strtol(bracket + 1, &end, 10) : 0;

    if (!bracket || bracket == text || n < 1 || n > 65535 || strcmp(end, "]") != 0)
        return NULL;
    *port = (uint16_t)n;
    return apr_pstrmemdup(pool, text, (apr_size_t)(bracket - text));
}

/* The last decision about that server at other machines. */
static uint64_t decided_elsewhere(const rpc_context_t *context, const char *host, uint16_t port)
{
    rpc_farm_entry_t entry;

    return context->farm && rpc_farm_find(context->farm, RPC_FARM_DRAINED,
                                          rpc_here_server(context->farm, host, port), &entry)
           ? entry.a : 0;
}

static int drain(const rpc_status_request_t *q, const apr_table_t *form, int on)
{
    const char *server = rpc_status_value(form, "server");
    const char *after = rpc_status_value(form, "after");
    apr_interval_time_t time = 0;
    uint16_t port;
    const char *host = parse_server(q->r->pool, server, &port);
    uint64_t before;
    apr_time_t end;

    if (!host || (*after && !apr_isdigit(*after))
        || (*after && ap_timeout_parameter_parse(after, &time, "min") != APR_SUCCESS)
        || time < 0 || time > DRAIN_MOST)
        return HTTP_BAD_REQUEST;
    end = time ? q->clock + time : 0;
    before = decided_elsewhere(q->context, host, port);
    if (!(on ? rpc_health_drain(q->context->health, host, port, end, before)
             : rpc_health_undrain(q->context->health, host, port, before)))
        return HTTP_CONFLICT;
    log_act(q, !on ? "end of draining"
               : end ? apr_psprintf(q->r->pool, "draining, old connections end in %d s,",
                                    (int)apr_time_sec(time))
                     : "draining", server);
    return OK;
}

/* The parent ends what is left, in the name of the administrator who has said when. */
void rpc_status_actions_monitor(const rpc_context_t *context, server_rec *s)
{
    apr_time_t now = rpc_clock_now();
    rpc_health_view_t server;
    char name[RPC_BOARD_SERVER];
    int i, n;

    for (i = 0; i < RPC_HEALTH_SLOTS; i++) {
        if (!rpc_health_view(context->health, i, now, &server) || !server.drain_end
            || server.drain_end > now)
            continue;
        apr_snprintf(name, sizeof(name), "%s[%u]", server.host, server.port);
        rpc_health_drain_over(context->health, server.host, server.port);
        n = order_end(context, &(rpc_view_filter_t){ "", "", "", "", name, .state = -1 });
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     RPCNO(0026) "the time of draining %s is over: its %d channels end", name, n);
    }
}

/* ---- the request ---- */

int rpc_status_act(const rpc_status_request_t *q)
{
    apr_table_t *form = apr_table_make(q->r->pool, 8);
    int rv = read_form(q->r, form);
    const char *action = rpc_status_value(form, "action");

    if (rv != OK)
        return rv;
    if (!is_allowed(q, rpc_status_value(form, "token"))) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, q->r,
                      RPCNO(0027) "status page: refused, the token is missing, wrong or too old");
        return HTTP_FORBIDDEN;
    }
    rv = strcmp(action, "end") == 0 ? end_those(q, form)
       : strcmp(action, "drain") == 0 ? drain(q, form, 1)
       : strcmp(action, "undrain") == 0 ? drain(q, form, 0) : HTTP_BAD_REQUEST;
    if (rv != OK)
        return rv;
    /* A path alone, since only a front end knows under which name and scheme the page is seen. */
    apr_table_setn(q->r->headers_out, "Location", ap_escape_uri(q->r->pool, q->r->uri));
    return HTTP_SEE_OTHER;
}
