/* target/binding.c: string bindings.
 *
 * rpc_binding_parse() cuts the text into protocol sequence, host and port, left to right; each cut
 * has its own function.
 */
#include <string.h>
#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include "target/binding.h"

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
static apr_status_t parse_bracketed_host(const rpc_syntax_t *x, const char *at,
                                         rpc_binding_t *binding, const char **rest)
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
        return rpc_syntax_fail(x, at, len + 2,
                               "a host before the port, as in ncacn_http:server[6001]");
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
    binding->host = rpc_syntax_host(x->pool, at, len);
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
