/* proxy/answer.c: of an RPC error, wire/error.c has composed what is sent, and httpd writes the
 * fields of the header; an upstream's answer goes on field by field.
 */
#include "proxy/answer.h"

#include <string.h>
#include <strings.h>

#include "wire/error.h"

void rpc_error_answer(rpc_stream_t *client, rpc_reason_t reason)
{
    rpc_error_t error;
    rpc_answer_t answer;

    rpc_error_write(&error, reason, apr_time_now());
    answer = (rpc_answer_t){ error.status, error.phrase, 1, (int64_t)error.body_length };
    if (client->cls->respond(client, &answer) == APR_SUCCESS)
        rpc_stream_put(client, error.body, error.body_length);
}

/* ---- an upstream's answer ---- */

/* A header on its way. */
typedef struct passing {
    rpc_stream_t *client;
    apr_status_t rv;
} passing_t;

static void put(passing_t *p, const char *text, size_t size)
{
    if (p->rv == APR_SUCCESS)
        p->rv = rpc_stream_put(p->client, text, size);
    p->client->header += size;
}

static void put_text(passing_t *p, const char *text)
{
    put(p, text, strlen(text));
}

/* The map of this kind for what stands at TEXT; NULL: there is none. */
static const rpc_map_t *map_for(const rpc_upstream_t *upstream, rpc_map_kind_t kind,
                                const char *text, size_t size)
{
    int i;

    for (i = 0; i < upstream->map_count; i++) {
        const rpc_map_t *map = &upstream->maps[i];
        size_t n = strlen(map->from);

        if (map->kind != kind || n > size)
            continue;
        if (kind == RPC_MAP_COOKIE_DOMAIN ? n == size && strncasecmp(text, map->from, n) == 0
                                          : memcmp(text, map->from, n) == 0)
            return map;
    }
    return NULL;
}

static void put_mapped(passing_t *p, const rpc_upstream_t *upstream, rpc_map_kind_t kind,
                       const char *text, size_t size)
{
    const rpc_map_t *map = map_for(upstream, kind, text, size);
    size_t n = map ? strlen(map->from) : 0;

    if (map)
        put_text(p, map->to);
    put(p, text + n, size - n);
}

/* One of the parts of a cookie, which semicolons separate. */
static void put_cookie_part(passing_t *p, const rpc_upstream_t *upstream, const char *part,
                            size_t size)
{
    static const struct { const char *name; rpc_map_kind_t kind; } mapped[] = {
        { "path=", RPC_MAP_COOKIE_PATH }, { "domain=", RPC_MAP_COOKIE_DOMAIN },
    };
    size_t i, blank = 0;

    while (blank < size && part[blank] == ' ')
        blank++;
    for (i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++) {
        size_t n = blank + strlen(mapped[i].name);

        if (n > size || strncasecmp(part + blank, mapped[i].name, n - blank) != 0)
            continue;
        put(p, part, n);
        put_mapped(p, upstream, mapped[i].kind, part + n, size - n);
        return;
    }
    put(p, part, size);
}

static void put_cookie(passing_t *p, const rpc_upstream_t *upstream, const char *value, size_t size)
{
    const char *end = value + size;

    while (value < end) {
        const char *next = memchr(value, ';', (size_t)(end - value));
        const char *stop = next ? next : end;

        put_cookie_part(p, upstream, value, (size_t)(stop - value));
        if (next)
            put_text(p, ";");
        value = stop + 1;
    }
}

static void put_field(passing_t *p, const rpc_upstream_t *upstream, const rpc_http_field_t *field)
{
    put(p, field->name, field->name_size);
    put_text(p, ": ");
    if (rpc_http_field_is(field, "Location") || rpc_http_field_is(field, "Content-Location")
        || rpc_http_field_is(field, "URI"))
        put_mapped(p, upstream, RPC_MAP_URL, field->value, field->value_size);
    else if (rpc_http_field_is(field, "Set-Cookie"))
        put_cookie(p, upstream, field->value, field->value_size);
    else
        put(p, field->value, field->value_size);
    put_text(p, "\r\n");
}

static int is_of_logon(const rpc_http_field_t *field)
{
    return rpc_http_field_is(field, "WWW-Authenticate")
        || rpc_http_field_is(field, "Authentication-Info")
        || rpc_http_field_is(field, "Persistent-Auth");
}

/* The length in a chunked answer is nobody's (RFC 9112, 6.3). */
static int goes_on(const rpc_http_head_t *head, const rpc_upstream_t *upstream,
                   const rpc_http_field_t *field)
{
    if (upstream->logs_on && is_of_logon(field))
        return 0;
    if (head->chunked && rpc_http_field_is(field, "Content-Length"))
        return 0;
    return head->status == 101 || !rpc_http_field_is_of_hop(head, field);
}

apr_status_t rpc_answer_pass(rpc_stream_t *client, const rpc_http_head_t *head,
                             const rpc_upstream_t *upstream, rpc_pass_t then)
{
    passing_t p = { client, client->cls->pass(client, head->status, head->phrase) };
    rpc_http_field_t field;
    size_t at = 0;

    while (rpc_http_field_next(head, &at, &field))
        if (goes_on(head, upstream, &field))
            put_field(&p, upstream, &field);
    if (upstream->fields && then != RPC_PASS_INTERIM)
        put_text(&p, upstream->fields);
    if (then == RPC_PASS_CHUNKED)
        put_text(&p, "Transfer-Encoding: chunked\r\n");
    else if (then == RPC_PASS_CLOSE)
        put_text(&p, "Connection: close\r\n");
    put_text(&p, "\r\n");
    return p.rv;
}
