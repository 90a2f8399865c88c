/* rpc_binding: string bindings, and the small parsers all our grammars share.
 *
 * rpc_binding_parse() cuts the text into protocol sequence, host and port, left to
 * right; each cut has its own function. The rpc_syntax_*() functions judge one piece and
 * know its place in the whole text, so that every message can name element and column.
 */
#include <stdarg.h>
#include <string.h>
#include <arpa/inet.h>
#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include "target/binding.h"

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

/* Digits and dots that are no IPv4 address are a slip, not a name. */
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
            return rpc_syntax_fail(syntax, at + i, 1, "a name of letters, digits, '-', '_' and '.'%s",
                                   strchr(signs, '@') ? ", or user@domain" : "");
        if (c == '.' && i && at[i - 1] == '.')
            return rpc_syntax_fail(syntax, at + i - 1, 2, "one '.' between the parts of a name");
    }
    if (is_broken_ipv4(at, len))
        return rpc_syntax_fail(syntax, at, len, "an IPv4 address of four numbers up to 255");
    return APR_SUCCESS;
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

/* "ncacn_http:" at the start; *REST is what follows. */
static apr_status_t parse_protseq(const rpc_syntax_t *x, rpc_binding_t *binding, const char **rest)
{
    const char *colon = strchr(x->text, ':'), *object;
    apr_size_t len;

    if (!colon)
        return rpc_syntax_fail(x, x->text, strlen(x->text),
                               "a string binding such as ncacn_http:server[6001]");
    len = (apr_size_t)(colon - x->text);
    *rest = colon + 1;
    if (len == 10 && !apr_cstr_casecmpn(x->text, "ncacn_http", len))
        binding->protseq = RPC_PROTSEQ_HTTP;
    else if (len == 12 && !apr_cstr_casecmpn(x->text, "ncacn_ip_tcp", len))
        binding->protseq = RPC_PROTSEQ_TCP;
    else if ((object = memchr(x->text, '@', len)))
        return rpc_syntax_fail(x, x->text, (apr_size_t)(object - x->text) + 1,
                               "ncacn_http or ncacn_ip_tcp first, without an object UUID");
    else
        return rpc_syntax_fail(x, x->text, len, "ncacn_http or ncacn_ip_tcp");
    return APR_SUCCESS;
}

/* "[::1]" at AT; *REST is what follows the bracket. */
static apr_status_t parse_bracketed_host(const rpc_syntax_t *x, const char *at, rpc_binding_t *binding,
                                         const char **rest)
{
    const char *close = strchr(at, ']');
    unsigned char addr[16];
    apr_size_t len;

    if (!close)
        return rpc_syntax_fail(x, at, strlen(at), "a closing ']'");
    len = (apr_size_t)(close - at) - 1;
    *rest = close + 1;
    if (rpc_ipv6_parse(at + 1, len, addr)) {
        binding->host = apr_pstrmemdup(x->pool, at + 1, len);
        return APR_SUCCESS;
    }
    if (!close[1] && !memchr(at, ':', len))
        return rpc_syntax_fail(x, at, len + 2, "a host before the port, as in ncacn_http:server[6001]");
    return rpc_syntax_fail(x, at + 1, len, "an IPv6 address in the brackets");
}

static apr_status_t parse_host(const rpc_syntax_t *x, const char *at, rpc_binding_t *binding,
                               const char **rest)
{
    apr_size_t len = strcspn(at, "["), i;
    unsigned char addr[16];

    if (*at == '[')
        return parse_bracketed_host(x, at, binding, rest);
    if (len == 0)
        return rpc_syntax_fail(x, x->text, strlen(x->text), "a host after the ':'");
    *rest = at + len;
    binding->host = apr_pstrmemdup(x->pool, at, len);
    if (rpc_ipv6_parse(at, len, addr))
        return APR_SUCCESS;
    for (i = len; i > 0 && apr_isdigit(at[i - 1]); i--)
        ;
    if (i > 0 && i < len && at[i - 1] == ':')
        return rpc_syntax_fail(x, at + i - 1, len - i + 1, "the port in brackets, [%.*s]",
                               (int)(len - i), at + i);
    return rpc_syntax_name(x, at, len, "*");
}

/* "[port]", "[]" or nothing, and then the end. */
static apr_status_t parse_endpoint(const rpc_syntax_t *x, const char *at, rpc_binding_t *binding)
{
    const char *close = strchr(at, ']');
    apr_size_t len;

    binding->port = 0;
    if (!*at)
        return APR_SUCCESS;
    if (*at != '[')
        return rpc_syntax_fail(x, at, strlen(at), "the port in brackets, [6001], or the end");
    if (!close)
        return rpc_syntax_fail(x, at, strlen(at), "a closing ']'");
    if (close[1])
        return rpc_syntax_fail(x, close + 1, strlen(close + 1), "nothing after the port's ']'");
    len = (apr_size_t)(close - at) - 1;
    if (memchr(at, ',', len + 1) || memchr(at, '=', len + 1))
        return rpc_syntax_fail(x, at + 1, len, "a port alone, without options");
    return len ? rpc_syntax_port(x, at + 1, len, &binding->port) : APR_SUCCESS;
}

apr_status_t rpc_binding_parse(apr_pool_t *pool, const char *text,
                               rpc_binding_t *binding, rpc_syntax_error_t *err)
{
    rpc_syntax_t x = { pool, text, err };
    const char *rest = NULL;
    apr_status_t rv;

    if ((rv = parse_protseq(&x, binding, &rest)) != APR_SUCCESS)
        return rv;
    if ((rv = parse_host(&x, rest, binding, &rest)) != APR_SUCCESS)
        return rv;
    return parse_endpoint(&x, rest, binding);
}

const char *rpc_binding_text(apr_pool_t *pool, const rpc_binding_t *binding)
{
    const char *protseq = binding->protseq == RPC_PROTSEQ_TCP ? "ncacn_ip_tcp" : "ncacn_http";
    int v6 = strchr(binding->host, ':') != NULL;
    const char *port = binding->port ? apr_psprintf(pool, "[%d]", (int)binding->port) : "";

    return apr_pstrcat(pool, protseq, v6 ? ":[" : ":", binding->host, v6 ? "]" : "", port, NULL);
}
