/* wire/preface.c: a secret, three numbers and eight strings in a small frame.
 *
 * Reader and writer take the strings in the order of rpc_preface_t. The reader
 * decides as early as the bytes allow, because the endpoint waits for its answer.
 */
#include <stdlib.h>
#include <string.h>
#include <apr_cstr.h>
#include <apr_strings.h>
#include "wire/preface.h"

#define PREFACE_MAGIC "RPXY"
#define PREFACE_MAGIC_LEN 4
#define PREFACE_VERSION 5
#define PREFACE_HEAD 8          /* magic, version, length */
#define PREFACE_NUMBERS (PREFACE_HEAD + RPC_PREFACE_SECRET)
#define PREFACE_FIXED (PREFACE_NUMBERS + 12)
#define PREFACE_STRINGS 8

static const uint8_t no_secret[RPC_PREFACE_SECRET];

static void preface_put_u16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value & 0xff);
    at[1] = (uint8_t)(value >> 8);
}

static size_t preface_get_u16(const uint8_t *at)
{
    return (size_t)(at[0] | at[1] << 8);
}

static void preface_put_u32(uint8_t *at, uint32_t value)
{
    preface_put_u16(at, value);
    preface_put_u16(at + 2, value >> 16);
}

static uint32_t preface_get_u32(const uint8_t *at)
{
    return (uint32_t)preface_get_u16(at) | (uint32_t)preface_get_u16(at + 2) << 16;
}

size_t rpc_preface_write(const rpc_preface_t *preface, uint8_t *buf, size_t cap)
{
    const char *strings[PREFACE_STRINGS] = { preface->host, NULL, preface->target, preface->user,
                                             preface->client, preface->vhost, preface->networks,
                                             preface->sources };
    size_t limit = cap < RPC_PREFACE_MAX ? cap : RPC_PREFACE_MAX, used = PREFACE_FIXED, i;
    char port[8];

    if (!preface->host || !*preface->host || !preface->port || limit < PREFACE_FIXED)
        return 0;
    apr_snprintf(port, sizeof port, "%u", (unsigned int)preface->port);
    strings[1] = port;
    for (i = 0; i < PREFACE_STRINGS; i++) {
        const char *text = strings[i] ? strings[i] : "";
        size_t len = strlen(text);

        if (len > limit || limit - used < len + 2)
            return 0;
        preface_put_u16(buf + used, len);
        memcpy(buf + used + 2, text, len);
        used += 2 + len;
    }
    memcpy(buf, PREFACE_MAGIC, PREFACE_MAGIC_LEN);
    preface_put_u16(buf + 4, PREFACE_VERSION);
    preface_put_u16(buf + 6, used);
    memcpy(buf + PREFACE_HEAD, preface->secret ? preface->secret : no_secret, RPC_PREFACE_SECRET);
    preface_put_u32(buf + PREFACE_NUMBERS, preface->connect_timeout);
    preface_put_u32(buf + PREFACE_NUMBERS + 4, preface->setup_timeout);
    preface_put_u32(buf + PREFACE_NUMBERS + 8, preface->receive_window);
    return used;
}

/* The next string of a whole preface; NULL when it goes beyond the end or contains a NUL. */
static const char *next_string(const uint8_t **at, const uint8_t *end, apr_pool_t *pool)
{
    const char *text;
    size_t len;

    if (end - *at < 2)
        return NULL;
    len = preface_get_u16(*at);
    *at += 2;
    if ((size_t)(end - *at) < len || memchr(*at, '\0', len))
        return NULL;
    text = apr_pstrmemdup(pool, (const char *)*at, len);
    *at += len;
    return text;
}

/* Digits only, 1 to 65535; else 0. */
static uint16_t read_port(const char *text)
{
    unsigned long value = 0;
    size_t len = strlen(text), i;

    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return 0;
    for (i = 0; i < len; i++)
        value = value * 10 + (unsigned long)(text[i] - '0');
    return value <= 65535 ? (uint16_t)value : 0;
}

static int read_preface_fields(const uint8_t *data, size_t len, rpc_preface_t *preface,
                               apr_pool_t *pool)
{
    const uint8_t *at = data + PREFACE_FIXED, *end = data + len;
    const char *strings[PREFACE_STRINGS];
    int i;

    preface->secret = apr_pmemdup(pool, data + PREFACE_HEAD, RPC_PREFACE_SECRET);
    preface->connect_timeout = preface_get_u32(data + PREFACE_NUMBERS);
    preface->setup_timeout = preface_get_u32(data + PREFACE_NUMBERS + 4);
    preface->receive_window = preface_get_u32(data + PREFACE_NUMBERS + 8);
    for (i = 0; i < PREFACE_STRINGS; i++)
        if (!(strings[i] = next_string(&at, end, pool)))
            return -2;
    preface->host = strings[0];
    preface->port = read_port(strings[1]);
    preface->target = strings[2];
    preface->user = strings[3];
    preface->client = strings[4];
    preface->vhost = strings[5];
    preface->networks = strings[6];
    preface->sources = strings[7];
    return at == end && *preface->host && preface->port ? 0 : -2;
}

int rpc_preface_read(const uint8_t *data, size_t len, rpc_preface_t *preface, apr_pool_t *pool)
{
    size_t total;

    if (memcmp(data, PREFACE_MAGIC, len < PREFACE_MAGIC_LEN ? len : PREFACE_MAGIC_LEN))
        return -1;
    if (len >= 6 && preface_get_u16(data + 4) != PREFACE_VERSION)
        return -2;
    if (len < PREFACE_HEAD)
        return 0;
    total = preface_get_u16(data + 6);
    if (total > RPC_PREFACE_MAX || total < PREFACE_FIXED + 2 * PREFACE_STRINGS)
        return -2;
    if (len < total)
        return 0;
    return read_preface_fields(data, total, preface, pool) ? -2 : (int)total;
}

static int same_text(const char *a, const char *b)
{
    return !strcmp(a ? a : "", b ? b : "");
}

static int same_nocase(const char *a, const char *b)
{
    return !apr_cstr_casecmp(a ? a : "", b ? b : "");
}

int rpc_preface_has_secret(const rpc_preface_t *preface, const uint8_t *secret)
{
    const uint8_t *theirs = preface->secret ? preface->secret : no_secret;
    volatile uint8_t differs = 0;   /* no loop that a compiler may leave early */
    size_t i;

    secret = secret ? secret : no_secret;
    for (i = 0; i < RPC_PREFACE_SECRET; i++)
        differs = differs | (theirs[i] ^ secret[i]);
    return !differs;
}

int rpc_preface_equal(const rpc_preface_t *a, const rpc_preface_t *b)
{
    return same_nocase(a->target, b->target) && same_text(a->user, b->user) && same_text(a->vhost,
                                                                                         b->vhost);
}

static const char *preface_append(char **at, const char *text)
{
    char *copy = *at;
    size_t size = strlen(text) + 1;

    memcpy(copy, text, size);
    *at += size;
    return copy;
}

rpc_preface_t *rpc_preface_copy(const rpc_preface_t *p)
{
    size_t text = strlen(p->host) + strlen(p->target) + strlen(p->user) + strlen(p->client)
                  + strlen(p->vhost) + strlen(p->networks) + strlen(p->sources) + 7;
    rpc_preface_t *copy = malloc(sizeof(*copy) + text);
    char *at = (char *)(copy + 1);

    if (!copy)
        return NULL;
    *copy = *p;
    copy->host = preface_append(&at, p->host);
    copy->target = preface_append(&at, p->target);
    copy->user = preface_append(&at, p->user);
    copy->client = preface_append(&at, p->client);
    copy->vhost = preface_append(&at, p->vhost);
    copy->networks = preface_append(&at, p->networks);
    copy->sources = preface_append(&at, p->sources);
    copy->secret = NULL;
    return copy;
}

const char *rpc_preface_user(const rpc_preface_t *preface)
{
    return preface ? preface->user : "";
}

const char *rpc_preface_client(const rpc_preface_t *preface)
{
    return preface && preface->client[0] ? preface->client : "unknown";
}
