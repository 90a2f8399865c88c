/* base/syntax.c: each function checks one piece and knows its place in the whole text, so that
 * every message can name the element and its column.
 */
#include "base/syntax.h"

#include <stdarg.h>
#include <string.h>
#include <arpa/inet.h>
#include <apr_lib.h>
#include <apr_strings.h>

#define RPC_ZONE_MAX 15     /* characters of an interface's name */

apr_status_t rpc_syntax_fail(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                             const char *fmt, ...)
{
    va_list args;

    syntax->err->column = (int)(at - syntax->text) + 1;
    syntax->err->element = apr_pstrmemdup(syntax->pool, at, len);
    va_start(args, fmt);
    syntax->err->expected = apr_pvsprintf(syntax->pool, fmt, args);
    va_end(args);
    return APR_EINVAL;
}

apr_status_t rpc_syntax_port(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                             apr_port_t *port)
{
    unsigned int value = 0;
    apr_size_t i;

    for (i = 0; i < len && apr_isdigit(at[i]) && value <= 65535; i++)
        value = value * 10 + (unsigned int)(at[i] - '0');
    if (i < len || value < 1 || value > 65535)
        return rpc_syntax_fail(syntax, at, len, "a port from 1 to 65535");
    *port = (apr_port_t)value;
    return APR_SUCCESS;
}

/* Digits and dots that are not an IPv4 address are a mistake, not a name. */
static int is_broken_ipv4(const char *at, apr_size_t len)
{
    char buf[INET_ADDRSTRLEN];
    unsigned char addr[4];
    apr_size_t i;

    for (i = 0; i < len; i++)
        if (!apr_isdigit(at[i]) && at[i] != '.')
            return 0;
    if (!memchr(at, '.', len))
        return 0;
    if (len >= sizeof buf)
        return 1;
    memcpy(buf, at, len);
    buf[len] = '\0';
    return inet_pton(AF_INET, buf, addr) != 1;
}

apr_status_t rpc_syntax_name(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                             const char *signs)
{
    apr_size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)at[i];

        if (c >= 0x80)
            return rpc_syntax_fail(syntax, at, len, "an international name in its xn-- form");
        if (!apr_isalnum(c) && !strchr("-_.", c) && !strchr(signs, c))
            return rpc_syntax_fail(syntax, at + i, 1,
                                   "a name of letters, digits, '-', '_' and '.'%s",
                                   strchr(signs, '@') ? ", or user@domain" : "");
        if (c == '.' && i && at[i - 1] == '.')
            return rpc_syntax_fail(syntax, at + i - 1, 2, "one '.' between the parts of a name");
    }
    if (is_broken_ipv4(at, len))
        return rpc_syntax_fail(syntax, at, len, "an IPv4 address of four numbers up to 255");
    return APR_SUCCESS;
}

char *rpc_syntax_host(apr_pool_t *pool, const char *at, apr_size_t len)
{
    int dot = len > 1 && at[len - 1] == '.' && !strchr(".*", at[len - 2]) && !memchr(at, ':', len);

    return apr_pstrmemdup(pool, at, dot ? len - 1 : len);
}

apr_size_t rpc_ipv6_parse(const char *at, apr_size_t len, unsigned char addr[16])
{
    char buf[INET6_ADDRSTRLEN];
    const char *zone = memchr(at, '%', len);
    apr_size_t size = zone ? (apr_size_t)(zone - at) : len, i;

    if (size >= sizeof buf)
        return 0;
    if (zone && (len - size < 2 || len - size - 1 > RPC_ZONE_MAX))
        return 0;
    for (i = size + 1; i < len; i++)
        if (!apr_isalnum(at[i]) && !strchr("-_.", at[i]))
            return 0;
    memcpy(buf, at, size);
    buf[size] = '\0';
    return inet_pton(AF_INET6, buf, addr) == 1 ? size : 0;
}
