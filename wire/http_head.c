/* wire/http_head.c: each line is judged when it is complete. */
#include "wire/http_head.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char VERSION[] = "HTTP/1.";
#define VERSION_SIZE (sizeof(VERSION) - 1)
#define STATUS_AT    (VERSION_SIZE + 2)     /* behind a digit and a space */
#define FIRST_LINE   (STATUS_AT + 3)

/* ---- lines ---- */

static size_t trim(const char *at, size_t size)
{
    while (size && (at[size - 1] == ' ' || at[size - 1] == '\t'))
        size--;
    return size;
}

/* Splits the line at AT, without its end. Returns 0 when it is no field. */
static int split(const char *at, size_t size, rpc_http_field_t *field)
{
    const char *colon = memchr(at, ':', size);

    if (!colon)
        return 0;
    field->name = at;
    field->name_size = (size_t)(colon - at);
    size -= field->name_size + 1;
    field->value = colon + 1;
    while (size && (*field->value == ' ' || *field->value == '\t')) {
        field->value++;
        size--;
    }
    field->value_size = trim(field->value, size);
    return 1;
}

/* The line at *AT, which moves behind it; returns its size without its end. */
static size_t line_at(const rpc_http_head_t *head, size_t *at)
{
    const char *line = head->text + *at;
    size_t size = (size_t)((const char *)memchr(line, '\n', head->size - *at) - line);

    *at += size + 1;
    return size && line[size - 1] == '\r' ? size - 1 : size;
}

static int is_token(const char *at, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++)
        if (!isalnum((unsigned char)at[i]) && (!at[i] || !strchr("!#$%&'*+-.^_`|~", at[i])))
            return 0;
    return size > 0;
}

/* No byte that ends a line for some reader. */
static int is_text(const char *at, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++)
        if (((unsigned char)at[i] < 32 && at[i] != '\t') || at[i] == 127)
            return 0;
    return 1;
}

int rpc_http_field_is(const rpc_http_field_t *field, const char *name)
{
    return strlen(name) == field->name_size
           && strncasecmp(field->name, name, field->name_size) == 0;
}

/* ---- a head that comes ---- */

static const char *take_status(rpc_http_head_t *head, size_t size)
{
    char *line = head->text;

    if (size < FIRST_LINE || !isdigit((unsigned char)line[VERSION_SIZE])
        || line[VERSION_SIZE + 1] != ' ' || (size > FIRST_LINE && line[FIRST_LINE] != ' ')
        || strspn(line + STATUS_AT, "0123456789") != 3 || line[STATUS_AT] == '0'
        || !is_text(line, size))
        return "its first line is no status line";
    line[size] = '\0';
    head->minor = line[VERSION_SIZE] - '0';
    head->status = atoi(line + STATUS_AT);
    head->phrase = line + FIRST_LINE + (size > FIRST_LINE);
    head->length = -1;
    head->fields = head->size;
    return NULL;
}

static const char *take_length(rpc_http_head_t *head, const rpc_http_field_t *field)
{
    int64_t length = 0;
    size_t i;

    for (i = 0; i < field->value_size; i++) {
        if (!isdigit((unsigned char)field->value[i]) || length > (INT64_MAX - 9) / 10)
            return "its Content-Length is no number";
        length = length * 10 + (field->value[i] - '0');
    }
    if (!field->value_size || (head->length >= 0 && head->length != length))
        return "its Content-Length is no number";
    head->length = length;
    return NULL;
}

static const char *take_field(rpc_http_head_t *head, const char *line, size_t size)
{
    rpc_http_field_t field;

    if (++head->count > RPC_HTTP_FIELDS_MAX)
        return "it has too many fields";
    if (!split(line, size, &field) || !is_token(field.name, field.name_size)
        || !is_text(field.value, field.value_size))
        return "a line of it is no field";
    if (rpc_http_field_is(&field, "Content-Length"))
        return take_length(head, &field);
    if (!rpc_http_field_is(&field, "Transfer-Encoding"))
        return NULL;
    if (field.value_size != 7 || strncasecmp(field.value, "chunked", 7) != 0)
        return "its Transfer-Encoding is not chunked";
    head->chunked = 1;
    return NULL;
}

/* A line is complete, SIZE bytes without its end. 1: it was the last. */
static int take_line(rpc_http_head_t *head)
{
    size_t from = head->line, at = from, size = line_at(head, &at);

    head->line = head->size;
    if (!from)
        head->error = take_status(head, size);
    else if (size)
        head->error = take_field(head, head->text + from, size);
    return !size && !head->error;
}

static int add(rpc_http_head_t *head, const uint8_t *data, size_t len)
{
    size_t known;

    if (!head->text)
        head->text = malloc(RPC_HTTP_HEAD_MAX);
    if (!head->text || len > RPC_HTTP_HEAD_MAX - head->size) {
        head->error = head->text ? "its header is too long" : "out of memory";
        return 0;
    }
    memcpy(head->text + head->size, data, len);
    head->size += len;
    known = head->size < VERSION_SIZE ? head->size : VERSION_SIZE;
    if (memcmp(head->text, VERSION, known) != 0)
        head->error = "it does not begin with HTTP/1.";
    return !head->error;
}

rpc_http_t rpc_http_head_take(rpc_http_head_t *head, const uint8_t **data, size_t *len)
{
    while (*len && !head->error) {
        const uint8_t *end = memchr(*data, '\n', *len);
        size_t n = end ? (size_t)(end - *data) + 1 : *len;

        if (!add(head, *data, n))
            break;
        *data += n;
        *len -= n;
        if (!end || !take_line(head))
            continue;
        head->complete = 1;
        if (head->chunked)
            head->length = -1;      /* RFC 9112, 6.3 */
        return RPC_HTTP_HEAD;
    }
    return head->error ? RPC_HTTP_ERROR : RPC_HTTP_MORE;
}

void rpc_http_head_reset(rpc_http_head_t *head)
{
    free(head->text);
    memset(head, 0, sizeof(*head));
}

/* ---- a head that is complete ---- */

int rpc_http_field_next(const rpc_http_head_t *head, size_t *at, rpc_http_field_t *field)
{
    size_t from, size;

    if (!*at)
        *at = head->fields;
    from = *at;
    size = line_at(head, at);
    return size && split(head->text + from, size, field);
}

/* Is NAME an element of the list VALUE? */
static int lists(const rpc_http_field_t *list, const char *name, size_t size)
{
    const char *at = list->value, *end = at + list->value_size;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *next = comma ? comma : end;

        while (at < next && (*at == ' ' || *at == '\t'))
            at++;
        if (trim(at, (size_t)(next - at)) == size && strncasecmp(at, name, size) == 0)
            return 1;
        at = next + 1;
    }
    return 0;
}

int rpc_http_field_is_of_hop(const rpc_http_head_t *head, const rpc_http_field_t *field)
{
    static const char *const names[] = { "Connection", "Keep-Alive", "Proxy-Connection", "TE",
                                         "Trailer", "Transfer-Encoding", "Upgrade",
                                         "Proxy-Authenticate", "Proxy-Authentication-Info" };
    rpc_http_field_t other;
    size_t i, at = 0;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (rpc_http_field_is(field, names[i]))
            return 1;
    while (rpc_http_field_next(head, &at, &other))
        if (rpc_http_field_is(&other, "Connection")
            && lists(&other, field->name, field->name_size))
            return 1;
    return 0;
}
