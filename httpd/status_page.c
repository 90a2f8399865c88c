/* httpd/status_page.c: a request for the status page. */
#include "httpd/status_page.h"

#include <stdlib.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_main.h>
#include <util_script.h>

#include "base/clock.h"
#include "httpd/module.h"
#include "httpd/status_actions.h"
#include "httpd/status_facts.h"

APLOG_USE_MODULE(rpcproxy);

#define ROWS_DEFAULT 100
#define ROWS_MAX 1000
#define REFRESH_MIN 2       /* seconds */
#define REFRESH_MAX 3600

static const rpc_context_t *context;

/* ---- the query string ---- */

static int number_of(const apr_table_t *args, const char *name, int least, int most, int otherwise)
{
    const char *text = rpc_status_value(args, name);
    char *end;
    long n = strtol(text, &end, 10);

    return *text && !*end && n >= least && n <= most ? (int)n : otherwise;
}

static int state_of(const char *name)
{
    int state;

    for (state = 0; state < RPC_BOARD_STATES; state++)
        if (strcmp(name, rpc_view_state_name((uint32_t)state)) == 0)
            return state;
    return -1;
}

/* "sort=user", or "sort=-user" for falling order. Without it those that came last are first. */
static void read_sort(const char *text, rpc_view_filter_t *filter)
{
    int i;

    filter->by = RPC_BY_SINCE;
    filter->descending = !*text || *text == '-';
    for (i = 0; i < RPC_BY_COUNT; i++)
        if (strcmp(text + (*text == '-'), rpc_view_column_name((rpc_view_column_t)i)) == 0)
            filter->by = (rpc_view_column_t)i;
}

static void read_query(const apr_table_t *args, rpc_status_query_t *query)
{
    query->filter = (rpc_view_filter_t){
        .find = rpc_status_value(args, "q"),
        .user = rpc_status_value(args, "user"),
        .client = rpc_status_value(args, "address"),
        .target = rpc_status_value(args, "target"),
        .server = rpc_status_value(args, "server"),
        .connection = strtoull(rpc_status_value(args, "connection"), NULL, 16),
        .state = state_of(rpc_status_value(args, "state")),
    };
    read_sort(rpc_status_value(args, "sort"), &query->filter);
    query->rows = (apr_size_t)number_of(args, "rows", 1, ROWS_MAX, ROWS_DEFAULT);
    query->page = (apr_size_t)number_of(args, "page", 1, 1000000, 1);
    query->farm = strcmp(rpc_status_value(args, "scope"), "farm") == 0;
    query->refresh = number_of(args, "refresh", REFRESH_MIN, REFRESH_MAX, 0);
}

/* ---- the request ---- */

/* The page holds names, and buttons: it is for this browser window, and for now. */
static void set_headers(request_rec *r)
{
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "X-Frame-Options", "DENY");
    apr_table_setn(r->headers_out, "Referrer-Policy", "same-origin");
    apr_table_setn(r->headers_out, "Content-Security-Policy",
                   "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
                   "base-uri 'none'; frame-ancestors 'none'");
}

static int answer(rpc_status_request_t *q, const char *format)
{
    if (!*format || strcmp(format, "html") == 0) {
        q->token = rpc_status_token(q);
        ap_set_content_type(q->r, "text/html; charset=utf-8");
        rpc_status_html(q);
    }
    else if (strcmp(format, "json") == 0) {
        ap_set_content_type(q->r, "application/json");
        rpc_status_json(q);
    }
    else if (strcmp(format, "openmetrics") == 0) {
        ap_set_content_type(q->r,
                            "application/openmetrics-text; version=1.0.0; charset=utf-8");
        rpc_status_metrics(q, 0);
    }
    else if (strcmp(format, "prometheus") == 0) {
        ap_set_content_type(q->r, "text/plain; version=0.0.4; charset=utf-8");
        rpc_status_metrics(q, 1);
    }
    else
        return HTTP_NOT_FOUND;
    return OK;
}

static int status_handler(request_rec *r)
{
    rpc_status_request_t q = { .r = r, .context = context };
    apr_table_t *args;

    if (!r->handler || strcmp(r->handler, RPC_STATUS_HANDLER) != 0)
        return DECLINED;
    r->allowed = AP_METHOD_BIT << M_GET | AP_METHOD_BIT << M_POST;
    if (r->method_number != M_GET && r->method_number != M_POST)
        return HTTP_METHOD_NOT_ALLOWED;
    ap_args_to_table(r, &args);
    read_query(args, &q.query);
    q.sc = ap_get_module_config(ap_server_conf->module_config, &rpcproxy_module);
    q.now = apr_time_now();
    q.clock = rpc_clock_now();
    set_headers(r);
    if (r->method_number == M_POST)
        return rpc_status_act(&q);
    q.view = rpc_view_make(context->board, context->sums, &q.query.filter, r->pool);
    return q.view ? answer(&q, rpc_status_value(args, "format")) : HTTP_INTERNAL_SERVER_ERROR;
}

void rpc_status_page_register(apr_pool_t *p, const rpc_context_t *of_server)
{
    context = of_server;
    ap_hook_handler(status_handler, NULL, NULL, APR_HOOK_MIDDLE);
}
