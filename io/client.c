/* io/client.c: see io/client.h. */
#include "io/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "io/secure.h"

#define JUNK_MAX 131072     /* bytes behind the body that are read and discarded in one turn */
#define LINE_LENGTH 1100    /* bytes of a status line; an RPC error's phrase has up to 1,024 */
#define ANSWER_MAX 128      /* bytes of the other fields that are ours */

static rpc_client_t *client_of(rpc_stream_t *s)
{
    return (rpc_client_t *)s;
}

/* ---- reading ---- */

/* When the peer has hung up, an error is its end: a reset, or TLS that is cut off. */
static apr_status_t read_some(rpc_client_t *client, void *buf, size_t *len)
{
    apr_status_t rv = rpc_secure_read(&client->socket.s, &client->tls, &client->ahead, buf, len);

    return rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv) || !client->socket.s.hup ? rv : APR_EOF;
}

/* Behind the body only end of file matters. A client that sends more is disconnected. */
static apr_status_t read_junk(rpc_client_t *client, void *buf, size_t room)
{
    size_t total = 0, len = room;
    apr_status_t rv;

    while ((rv = read_some(client, buf, &len)) == APR_SUCCESS) {
        total += len;
        len = room;
        if (total > JUNK_MAX)
            return EMSGSIZE;
        if (rpc_tls_tired(&client->tls))
            return APR_EAGAIN;
    }
    return rv;
}

static apr_status_t client_read(rpc_stream_t *s, void *buf, size_t *len)
{
    rpc_client_t *client = client_of(s);
    apr_status_t rv;

    if (client->body_left == 0)
        return client->stay ? read_junk(client, buf, *len) : APR_EOF;
    if ((int64_t)*len > client->body_left)
        *len = (size_t)client->body_left;
    rv = read_some(client, buf, len);
    if (rv == APR_SUCCESS)
        client->body_left -= (int64_t)*len;
    if (!client->body_left)
        s->can_read = 1;    /* the end of the body, whatever the socket has */
    return rv;
}

/* ---- writing ---- */

static apr_status_t client_write(rpc_stream_t *s, const struct iovec *pieces, int count,
                                 size_t *len)
{
    return rpc_secure_write(s, &client_of(s)->tls, pieces, count, len);
}

static apr_status_t client_push(rpc_stream_t *s)
{
    return rpc_tls_push(&client_of(s)->tls);
}

void rpc_client_fields(const rpc_client_t *client,
                       void (*tell)(void *ctx, const char *name, const char *value), void *ctx)
{
    char length[24];

    if (client->passed)         /* they are somebody else's */
        return;
    if (client->status == 200)  /* nginx in front would collect PDUs until its buffers are full */
        tell(ctx, "X-Accel-Buffering", "no");
    snprintf(length, sizeof(length), "%lld", (long long)client->length);
    if (client->status && client->length >= 0)
        tell(ctx, "Content-Length", length);
}

/* A growing text of fixed room. */
typedef struct text { char at[ANSWER_MAX]; size_t length; } text_t;

static void add_field(void *ctx, const char *name, const char *value)
{
    text_t *text = ctx;

    text->length += (size_t)snprintf(text->at + text->length, sizeof(text->at) - text->length,
                                     "%s: %s\r\n", name, value);
}

/* Puts FIELDS. The fields of CLIENT take the place of httpd's Content-Length, or come last when a
 * module has removed Content-Length. */
static apr_status_t put_fields(rpc_client_t *client, const char *fields)
{
    static const char place[] = "\r\nContent-Length: " APR_STRINGIFY(RPC_CLIENT_LENGTH) "\r\n";
    rpc_stream_t *s = &client->socket.s;
    const char *at = strstr(fields, place);
    const char *rest = at ? at + sizeof(place) - 1 : "";
    size_t first = at ? (size_t)(at - fields) + 2 : strlen(fields);
    text_t ours = { "", 0 };
    apr_status_t rv;

    rpc_client_fields(client, add_field, &ours);
    s->header += first + ours.length + strlen(rest);
    rv = rpc_stream_put(s, fields, first);
    if (rv == APR_SUCCESS)
        rv = rpc_stream_put(s, ours.at, ours.length);
    return rv == APR_SUCCESS ? rpc_stream_put(s, rest, strlen(rest)) : rv;
}

/* The status line has the HTTP version of HEADER. The fields of HEADER follow. */
static apr_status_t client_respond(rpc_stream_t *s, const rpc_answer_t *answer)
{
    rpc_client_t *client = client_of(s);
    const char *fields = client->header ? strstr(client->header, "\r\n") : NULL;
    char line[LINE_LENGTH];
    apr_status_t rv;

    if (!fields)
        return APR_EGENERAL;
    client->status = answer->status;
    client->length = answer->content_length;
    snprintf(line, sizeof(line), "%.8s %d %s", answer->http10 ? "HTTP/1.0" : client->header,
             answer->status, answer->reason);
    s->header = strlen(line) + 2;
    rv = rpc_stream_put(s, line, strlen(line));
    if (rv == APR_SUCCESS)
        rv = put_fields(client, fields);
    if (rv == APR_SUCCESS)
        rv = rpc_stream_put(s, "\r\n", 2);
    free(client->header);
    client->header = NULL;
    return rv;
}

/* HEADER is there until the answer to which a 100 may be the prelude. */
static apr_status_t client_pass(rpc_stream_t *s, int status, const char *phrase)
{
    rpc_client_t *client = client_of(s);
    char code[16];
    apr_status_t rv;

    if (!client->header)
        return APR_EGENERAL;
    snprintf(code, sizeof(code), "%.8s %d ", client->header, status);
    s->header += strlen(code) + strlen(phrase) + 2;
    rv = rpc_stream_put(s, code, strlen(code));
    if (rv == APR_SUCCESS)
        rv = rpc_stream_put(s, phrase, strlen(phrase));
    if (rv == APR_SUCCESS)
        rv = rpc_stream_put(s, "\r\n", 2);
    if (status < 200 && status != 101)
        return rv;
    client->status = status;
    client->passed = 1;
    free(client->header);
    client->header = NULL;
    return rv;
}

rpc_client_sums_t rpc_client_sums(const rpc_client_t *client)
{
    const rpc_stream_t *s = &client->socket.s;
    rpc_client_sums_t sums = { rpc_stream_sent(s),
                               s->received - (client->was_ahead - client->ahead.size), s->sent };

    if (client->tls.ssl) {
        sums.in = client->tls.in;
        sums.out = client->tls.out;
    }
    return sums;
}

/* ---- the end ---- */

static void tell_written(rpc_client_t *client)
{
    void (*written)(rpc_client_t *) = client->written;

    client->written = NULL;
    if (written)
        written(client);
}

static void client_finish(rpc_stream_t *s)
{
    rpc_client_t *client = client_of(s);

    tell_written(client);
    if (client->tls.ssl)
        rpc_tls_goodbye(&client->tls);
}

static void client_release(rpc_stream_t *s)
{
    rpc_client_t *client = client_of(s);

    tell_written(client);
    rpc_tls_free(&client->tls);
    rpc_bytes_clear(&client->ahead);
    free(client->header);
    if (client->gone)
        client->gone(client);
}

static const rpc_stream_class_t client_class = {
    .name = "client",
    .socket = 1,
    .read = client_read,
    .write = client_write,
    .push = client_push,
    .close = rpc_socket_close,
    .respond = client_respond,
    .pass = client_pass,
    .finish = client_finish,
    .release = client_release,
};

void rpc_client_init(rpc_client_t *client, rpc_loop_t *loop, int fd)
{
    rpc_socket_init(&client->socket, &client_class, loop, fd, NULL);
}
