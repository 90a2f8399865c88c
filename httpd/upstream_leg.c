/* httpd/upstream_leg.c: one exchange of HTTP. What the upstream answers goes through httpd's
 * filters, so that Header, cookies and Location are as with any proxied answer.
 */
#include "httpd/upstream_leg.h"

#include <apr_strings.h>
#include <http_protocol.h>

#include "base/clock.h"
#include "base/who.h"
#include "httpd/handler.h"
#include "httpd/proxy_api.h"
#include "wire/http_answer.h"

#define HEADS_MAX 65536     /* bytes of an answer's heads: with those of 1xx before the last */
#define BODY_MAX 1048576    /* bytes of its body */

/* An answer that comes. */
typedef struct reader {
    rpc_stream_t *stream;
    apr_time_t until;
    rpc_http_answer_t answer;
    const uint8_t *at;          /* what has been read and not yet been looked at */
    size_t left, total;
    char *all;                  /* the heads, if they may have to be read again */
    uint8_t buf[8192];
} reader_t;

/* ---- reading ---- */

static int fill(reader_t *in)
{
    size_t max = HEADS_MAX + (in->answer.status ? BODY_MAX : 0);

    in->at = in->buf;
    in->left = sizeof(in->buf);
    if (in->total >= max
        || rpc_secure_receive(in->stream, in->buf, &in->left, in->until) != APR_SUCCESS)
        in->left = 0;
    if (in->all && !in->answer.status)
        memcpy(in->all + in->total, in->buf, in->left);
    in->total += in->left;
    return in->left > 0;
}

/* FINAL, BODY, END or ERROR; MORE: no more comes. */
static rpc_answer_event_t next_event(reader_t *in, const uint8_t **run, size_t *size)
{
    rpc_answer_event_t event;

    do
        event = rpc_http_answer_next(&in->answer, &in->at, &in->left, run, size);
    while (event == RPC_ANSWER_INTERIM || (event == RPC_ANSWER_MORE && fill(in)));
    return event;
}

/* ---- the head ---- */

/* What goes over to the client. */
typedef struct passing {
    request_rec *r;
    proxy_dir_conf *conf;
    int shared, challenges;
} passing_t;

int rpc_upstream_binds(const char *value)
{
    size_t size = ap_cstr_casecmpn(value, "NTLM", 4) == 0 ? 4
                  : ap_cstr_casecmpn(value, "Negotiate", 9) == 0 ? 9 : 0;

    return !size ? 0 : value[size] == ' ' ? 2 : !value[size] || value[size] == ',';
}

static void pass_field(passing_t *to, const char *name, const char *value)
{
    request_rec *r = to->r;
    const rpc_proxy_api_t *api = rpc_proxy_api();

    if (ap_cstr_casecmp(name, "Location") == 0 || ap_cstr_casecmp(name, "Content-Location") == 0
        || ap_cstr_casecmp(name, "URI") == 0)
        value = api->ap_proxy_location_reverse_map(r, to->conf, value);
    else if (ap_cstr_casecmp(name, "Set-Cookie") == 0)
        value = api->ap_proxy_cookie_reverse_map(r, to->conf, value);
    else if (ap_cstr_casecmp(name, "WWW-Authenticate") == 0) {
        if (to->shared && rpc_upstream_binds(value))
            return;
        to->challenges |= rpc_upstream_binds(value) == 2;
    }
    if (ap_cstr_casecmp(name, "Content-Type") == 0)
        ap_set_content_type(r, value);
    else
        apr_table_addn(r->headers_out, name, value);
}

static void pass_fields(passing_t *to, const rpc_http_head_t *head)
{
    apr_pool_t *pool = to->r->pool;
    rpc_http_field_t field;
    size_t at = 0;

    while (rpc_http_field_next(head, &at, &field))
        if (!rpc_http_field_is_of_hop(head, &field) && !rpc_http_field_is(&field, "Content-Length"))
            pass_field(to, apr_pstrmemdup(pool, field.name, field.name_size),
                       apr_pstrmemdup(pool, field.value, field.value_size));
}

/* All values of the field NAME; NULL: there is none. */
static const char *values_of(apr_pool_t *pool, const rpc_http_head_t *head, const char *name)
{
    const char *values = NULL;
    rpc_http_field_t field;
    size_t at = 0;

    while (rpc_http_field_next(head, &at, &field))
        if (rpc_http_field_is(&field, name))
            values = apr_pstrcat(pool, values ? values : "", values ? "," : "",
                                 apr_pstrmemdup(pool, field.value, field.value_size), NULL);
    return values;
}

/* For mod_rpc_backend_auth, which has sent the credentials and says what the client gets. */
static void take_challenges(request_rec *r, const rpc_http_head_t *head)
{
    const char *offered = values_of(r->pool, head, "WWW-Authenticate");

    if (offered)
        apr_table_setn(r->err_headers_out, "WWW-Authenticate", offered);
}

/* May the connection be used again behind this answer? */
static int keeps(request_rec *r, const rpc_http_answer_t *a)
{
    const char *connection = values_of(r->pool, &a->head, "Connection");

    return (a->chunked || a->left >= 0) && !ap_find_token(r->pool, connection, "close")
        && (a->head.minor || ap_find_token(r->pool, connection, "keep-alive"));
}

static void pass_head(request_rec *r, const rpc_http_answer_t *a, rpc_upstream_answer_t *answer)
{
    passing_t to = { r, rpc_proxy_dir_conf(rpc_proxy_api(), r->per_dir_config), answer->shared, 0 };

    r->status = a->status;
    r->status_line = apr_psprintf(r->pool, "%d %s", a->status, a->head.phrase);
    pass_fields(&to, &a->head);
    if (answer->via)
        apr_table_mergen(r->headers_out, "Via", answer->via);
    if (a->head.length >= 0 && a->head.length == a->left)
        ap_set_content_length(r, a->left);
    answer->challenges = (unsigned)to.challenges;
    answer->keeps = keeps(r, a) != 0;
    if (!answer->keeps)         /* both ends belong together */
        r->connection->keepalive = AP_CONN_CLOSE;
}

/* ---- the body ---- */

/* 0: it is not complete. */
static int pass_body(request_rec *r, reader_t *in)
{
    const uint8_t *run;
    size_t size;

    for (;;) {
        switch (next_event(in, &run, &size)) {
        case RPC_ANSWER_BODY:
            ap_rwrite(run, (int)size, r);
            break;
        case RPC_ANSWER_END:
            return 1;
        case RPC_ANSWER_MORE:
            return !in->answer.chunked && in->answer.left < 0 && rpc_clock_now() < in->until;
        default:
            return 0;
        }
    }
}

/* ---- the exchange ---- */

static int no_answer(const reader_t *in, rpc_upstream_answer_t *answer)
{
    int late = rpc_clock_now() >= in->until;

    answer->failed = 1;
    answer->why = late ? "no answer has come in time (see timeout=)"
                  : in->total ? "it does not answer in HTTP"
                  : "it has closed the connection without an answer";
    return late ? HTTP_GATEWAY_TIME_OUT : HTTP_BAD_GATEWAY;
}

static int begins_channel(int status)
{
    return status == HTTP_OK || status == HTTP_SWITCHING_PROTOCOLS;
}

static int pass_answer(request_rec *r, reader_t *in, rpc_upstream_answer_t *answer)
{
    const rpc_http_answer_t *a = &in->answer;
    const uint8_t *run;
    size_t size;

    if (next_event(in, &run, &size) != RPC_ANSWER_FINAL)
        return no_answer(in, answer);
    if (answer->may_go_on && begins_channel(a->status)) {
        answer->goes_on = 1;
        return rpc_secure_unread(in->stream, in->all, in->total) == APR_SUCCESS
                 ? DONE : HTTP_INTERNAL_SERVER_ERROR;
    }
    if (a->status == HTTP_UNAUTHORIZED && apr_table_get(r->notes, RPC_WHO_LOGGED_ON_NOTE)) {
        take_challenges(r, &a->head);
        return HTTP_UNAUTHORIZED;
    }
    pass_head(r, a, answer);
    if (!pass_body(r, in)) {
        answer->keeps = 0;
        ap_rflush(r);           /* what there is, and an end that shows that it is not all */
        r->connection->aborted = 1;
    }
    answer->keeps &= !in->left;
    return OK;
}

/* The body of R, which is there or on its way; -1: it does not come. */
static int read_body(request_rec *r, char *buf, apr_int64_t length)
{
    long n = 0, some = 1;

    if (!length)
        return 0;
    if (ap_setup_client_block(r, REQUEST_CHUNKED_ERROR) != OK || !ap_should_client_block(r))
        return -1;
    while (n < length && (some = ap_get_client_block(r, buf + n, (apr_size_t)(length - n))) > 0)
        n += some;
    return n == length ? 0 : -1;
}

int rpc_upstream_leg(request_rec *r, rpc_stream_t *stream, const char *head, apr_size_t head_size,
                     apr_int64_t length, apr_interval_time_t timeout,
                     rpc_upstream_answer_t *answer)
{
    char *all = apr_palloc(r->pool, head_size + RPC_ECHO_MAX);
    reader_t *in = apr_pcalloc(r->pool, sizeof(*in));
    int rv;

    memcpy(all, head, head_size);
    if (read_body(r, all + head_size, length) != 0)
        return HTTP_BAD_REQUEST;
    in->stream = stream;
    in->answer.upgrades = answer->may_go_on;
    in->all = answer->may_go_on ? apr_palloc(r->pool, HEADS_MAX + sizeof(in->buf)) : NULL;
    in->until = rpc_clock_now() + timeout;
    if (rpc_secure_send(stream, all, head_size + (apr_size_t)length, in->until) != APR_SUCCESS) {
        answer->failed = 1;
        answer->why = "the connection broke while the request was sent";
        return HTTP_BAD_GATEWAY;
    }
    rv = pass_answer(r, in, answer);
    rpc_http_answer_reset(&in->answer);
    return rv;
}
