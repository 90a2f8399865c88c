/* httpd/upstream_leg.c: one exchange of HTTP. What the upstream answers goes through httpd's
 * filters, so that Header, cookies and Location are as with any proxied answer.
 */
#include "httpd/upstream_leg.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

#include "base/clock.h"
#include "base/who.h"
#include "httpd/handler.h"
#include "httpd/proxy_api.h"

#define HEAD_MAX 65536      /* bytes of an answer's head, with those of 1xx before it */
#define BODY_MAX 1048576    /* bytes of its body */
#define LINE_LENGTH 16384

/* What has been read and not yet been looked at. */
typedef struct reader {
    rpc_stream_t *stream;
    apr_time_t until;
    size_t at, size, total;
    char *all;                  /* what has been read, if it may have to be read again */
    char buf[8192];
} reader_t;

/* How long a body is. */
typedef enum { NO_BODY, LENGTH, CHUNKED, TO_THE_END } framing_t;

/* ---- reading ---- */

static int fill(reader_t *in)
{
    in->at = 0;
    in->size = sizeof(in->buf);
    if (rpc_secure_receive(in->stream, in->buf, &in->size, in->until) != APR_SUCCESS)
        in->size = 0;
    if (in->all && in->total + in->size <= HEAD_MAX)
        memcpy(in->all + in->total, in->buf, in->size);
    in->total += in->size;
    return in->size > 0;
}

/* A line without its end, in POOL; NULL: there is none. */
static char *read_line(reader_t *in, apr_pool_t *pool)
{
    char line[LINE_LENGTH];
    size_t n = 0;

    while (n < sizeof(line) - 1) {
        if (in->at == in->size && (in->total > HEAD_MAX + BODY_MAX || !fill(in)))
            return NULL;
        line[n] = in->buf[in->at++];
        if (line[n] == '\n') {
            n -= n && line[n - 1] == '\r';
            return apr_pstrmemdup(pool, line, n);
        }
        if (!line[n++])
            return NULL;
    }
    return NULL;
}

/* ---- the head ---- */

/* Of a connection alone. */
static int is_hop_by_hop(const char *name)
{
    static const char *const names[] = { "Connection", "Keep-Alive", "Proxy-Connection", "TE",
                                         "Trailer", "Transfer-Encoding", "Upgrade",
                                         "Proxy-Authenticate", "Proxy-Authentication-Info" };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (ap_cstr_casecmp(name, names[i]) == 0)
            return 1;
    return 0;
}

/* "HTTP/1.1 200 Success". */
static int parse_status(request_rec *r, const char *line, int *status, int *http11)
{
    if (strncmp(line, "HTTP/1.", 7) != 0 || !apr_isdigit(line[7]) || line[8] != ' '
        || !apr_isdigit(line[9]) || !apr_isdigit(line[10]) || !apr_isdigit(line[11])
        || (line[12] && line[12] != ' ') || line[9] == '0')
        return 0;
    *http11 = line[7] != '0';
    *status = atoi(line + 9);
    r->status_line = line[12] ? line + 9 : apr_pstrcat(r->pool, line + 9, " ", NULL);
    return 1;
}

/* The fields of a head in a table of their own; NULL: they are wrong. */
static apr_table_t *read_fields(request_rec *r, reader_t *in)
{
    apr_table_t *fields = apr_table_make(r->pool, 16);
    char *line, *colon;

    while ((line = read_line(in, r->pool)) && *line) {
        colon = strchr(line, ':');
        if (!colon || colon == line || in->total > HEAD_MAX)
            return NULL;
        *colon++ = '\0';
        if (*ap_scan_http_token(line))
            return NULL;
        while (*colon == ' ' || *colon == '\t')
            colon++;
        if (*ap_scan_http_field_content(colon))
            return NULL;
        apr_table_addn(fields, line, colon);
    }
    return line ? fields : NULL;
}

/* The final head; NULL: there is none. */
static apr_table_t *read_head(request_rec *r, reader_t *in, int *status, int *http11)
{
    apr_table_t *fields;
    const char *line;

    do {
        line = read_line(in, r->pool);
        if (!line || in->total > HEAD_MAX || !parse_status(r, line, status, http11))
            return NULL;
        fields = read_fields(r, in);
    } while (fields && *status < 200 && *status != HTTP_SWITCHING_PROTOCOLS);
    return fields;
}

/* What goes over to the client. */
typedef struct passing {
    request_rec *r;
    proxy_dir_conf *conf;
    const char *connection;     /* the field of that name */
    int shared, challenges;
} passing_t;

int rpc_upstream_binds(const char *value)
{
    size_t size = ap_cstr_casecmpn(value, "NTLM", 4) == 0 ? 4
                  : ap_cstr_casecmpn(value, "Negotiate", 9) == 0 ? 9 : 0;

    return !size ? 0 : value[size] == ' ' ? 2 : !value[size] || value[size] == ',';
}

/* A callback of apr_table_do(). */
static int pass_field(void *ctx, const char *name, const char *value)
{
    passing_t *to = ctx;
    request_rec *r = to->r;
    const rpc_proxy_api_t *api = rpc_proxy_api();

    if (is_hop_by_hop(name) || ap_cstr_casecmp(name, "Content-Length") == 0
        || (to->connection && ap_find_token(r->pool, to->connection, name)))
        return 1;
    if (ap_cstr_casecmp(name, "Location") == 0 || ap_cstr_casecmp(name, "Content-Location") == 0
        || ap_cstr_casecmp(name, "URI") == 0)
        value = api->ap_proxy_location_reverse_map(r, to->conf, value);
    else if (ap_cstr_casecmp(name, "Set-Cookie") == 0)
        value = api->ap_proxy_cookie_reverse_map(r, to->conf, value);
    else if (ap_cstr_casecmp(name, "WWW-Authenticate") == 0) {
        if (to->shared && rpc_upstream_binds(value))
            return 1;
        to->challenges |= rpc_upstream_binds(value) == 2;
    }
    if (ap_cstr_casecmp(name, "Content-Type") == 0)
        ap_set_content_type(r, value);
    else
        apr_table_addn(r->headers_out, name, value);
    return 1;
}

/* For mod_rpc_backend_auth, which has sent the credentials and says what the client gets. */
static void take_challenges(request_rec *r, const apr_table_t *fields)
{
    const char *offered = apr_table_getm(r->pool, fields, "WWW-Authenticate");

    if (offered)
        apr_table_set(r->err_headers_out, "WWW-Authenticate", offered);
}

static framing_t framing_of(request_rec *r, const apr_table_t *fields, apr_off_t *length)
{
    const char *coding = apr_table_get(fields, "Transfer-Encoding");
    const char *value = apr_table_get(fields, "Content-Length");

    if (r->status == HTTP_NO_CONTENT || r->status == HTTP_NOT_MODIFIED)
        return NO_BODY;
    if (coding)
        return ap_cstr_casecmp(coding, "chunked") == 0 ? CHUNKED : TO_THE_END;
    if (!value)
        return TO_THE_END;
    return ap_parse_strict_length(length, value) ? LENGTH : TO_THE_END;
}

/* ---- the body ---- */

/* Passes SIZE bytes on, or all there are when SIZE is -1. 0: they do not all come, or there are too
 * many. */
static int pass_bytes(request_rec *r, reader_t *in, apr_off_t size)
{
    while (size != 0) {
        size_t n;

        if (in->at == in->size && (in->total > HEAD_MAX + BODY_MAX || !fill(in)))
            return size < 0;
        n = in->size - in->at;
        if (size > 0 && (apr_off_t)n > size)
            n = (size_t)size;
        ap_rwrite(in->buf + in->at, (int)n, r);
        in->at += n;
        if (size > 0)
            size -= (apr_off_t)n;
    }
    return 1;
}

static int pass_chunks(request_rec *r, reader_t *in)
{
    for (;;) {
        const char *line = read_line(in, r->pool);
        char *end;
        apr_off_t size;

        if (!line || apr_strtoff(&size, line, &end, 16) != APR_SUCCESS || end == line || size < 0
            || size > BODY_MAX)
            return 0;
        if (!size)
            break;
        if (!pass_bytes(r, in, size) || !(line = read_line(in, r->pool)) || *line)
            return 0;
    }
    return read_fields(r, in) != NULL;      /* trailers */
}

/* 0: the body is not complete. */
static int pass_body(request_rec *r, reader_t *in, framing_t framing, apr_off_t length)
{
    switch (framing) {
    case LENGTH:
        return length <= BODY_MAX && pass_bytes(r, in, length);
    case CHUNKED:
        return pass_chunks(r, in);
    case TO_THE_END:
        return pass_bytes(r, in, -1);
    default:
        return 1;
    }
}

/* ---- the exchange ---- */

static int begins_channel(int status)
{
    return status == HTTP_OK || status == HTTP_SWITCHING_PROTOCOLS;
}

static int pass_answer(request_rec *r, reader_t *in, rpc_upstream_answer_t *answer)
{
    passing_t to = { r, rpc_proxy_dir_conf(rpc_proxy_api(), r->per_dir_config),
                     NULL, answer->shared, 0 };
    int http11, status;
    apr_table_t *fields = read_head(r, in, &status, &http11);
    framing_t framing;
    apr_off_t length = 0;

    if (!fields) {
        answer->failed = 1;
        answer->why = rpc_clock_now() >= in->until ? "no answer has come in time (see timeout=)"
                      : in->total ? "it does not answer in HTTP"
                      : "it has closed the connection without an answer";
        return rpc_clock_now() >= in->until ? HTTP_GATEWAY_TIME_OUT : HTTP_BAD_GATEWAY;
    }
    if (answer->may_go_on && begins_channel(status) && in->total <= HEAD_MAX) {
        answer->goes_on = 1;
        return rpc_secure_unread(in->stream, in->all, in->total) == APR_SUCCESS
                 ? DONE : HTTP_INTERNAL_SERVER_ERROR;
    }
    if (status == HTTP_UNAUTHORIZED && apr_table_get(r->notes, RPC_WHO_LOGGED_ON_NOTE)) {
        take_challenges(r, fields);
        return HTTP_UNAUTHORIZED;
    }
    r->status = status;
    to.connection = apr_table_get(fields, "Connection");
    apr_table_do(pass_field, &to, fields, NULL);
    if (answer->via)
        apr_table_mergen(r->headers_out, "Via", answer->via);
    framing = framing_of(r, fields, &length);
    if (framing == LENGTH)
        ap_set_content_length(r, length);
    answer->challenges = (unsigned)to.challenges;
    answer->keeps = framing != TO_THE_END
                 && (to.connection ? !ap_find_token(r->pool, to.connection, "close") : http11)
                 && (http11 || ap_find_token(r->pool, to.connection, "keep-alive"));
    if (!answer->keeps)         /* both ends belong together */
        r->connection->keepalive = AP_CONN_CLOSE;
    if (!pass_body(r, in, framing, length)) {
        answer->keeps = 0;
        ap_rflush(r);           /* what there is, and an end that shows that it is not all */
        r->connection->aborted = 1;
    }
    answer->keeps &= in->at == in->size;
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

    memcpy(all, head, head_size);
    if (read_body(r, all + head_size, length) != 0)
        return HTTP_BAD_REQUEST;
    in->stream = stream;
    in->all = answer->may_go_on ? apr_palloc(r->pool, HEAD_MAX) : NULL;
    in->until = rpc_clock_now() + timeout;
    if (rpc_secure_send(stream, all, head_size + (apr_size_t)length, in->until) != APR_SUCCESS) {
        answer->failed = 1;
        answer->why = "the connection broke while the request was sent";
        return HTTP_BAD_GATEWAY;
    }
    return pass_answer(r, in, answer);
}
