/* target/query.c: splits the query string into server and port, step by step. */
#include "target/query.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "base/syntax.h"
#include "target/valid_ports.h"

#define RPC_PORT_DIGITS 6       /* (2.2.2) */

static int hex_value(unsigned char c)
{
    if (apr_isdigit(c))
        return c - '0';
    return apr_isxdigit(c) ? (c | 0x20) - 'a' + 10 : -1;
}

/* Decodes %XX once, refusing what must not reach names, logs or C strings. */
static const char *query_decode(apr_pool_t *pool, const char *query, char **text)
{
    char *out = *text = apr_palloc(pool, strlen(query) + 1);

    for (; *query; query++) {
        int c = (unsigned char)*query;

        if (c == '%') {
            int high = hex_value((unsigned char)query[1]);
            int low = high < 0 ? -1 : hex_value((unsigned char)query[2]);

            if (low < 0)
                return "a '%' in the query is not followed by two hexadecimal digits";
            c = high << 4 | low;
            query += 2;
        }
        if (c <= ' ' || c == 0x7f)
            return "a blank or control character in the query";
        *out++ = (char)c;
    }
    *out = '\0';
    return NULL;
}

static const char *parse_port(const char *digits, apr_port_t *port)
{
    apr_size_t len = strspn(digits, "0123456789");
    unsigned long value = 0;
    apr_size_t i;

    if (len == 0 && !digits[len])
        return "no port in the query";
    if (digits[len] || len > RPC_PORT_DIGITS)
        return "the port in the query is not a number from 1 to 65535";
    for (i = 0; i < len; i++)
        value = value * 10 + (unsigned long)(digits[i] - '0');
    if (value < 1 || value > 65535)
        return "the port in the query is not a number from 1 to 65535";
    *port = (apr_port_t)value;
    return NULL;
}

/* Takes the brackets off "[address]:port" and puts a NUL before ":port". */
static const char *query_split(char *text, char **server, char **port)
{
    char *colon, *close;

    *server = text;
    if (*text == '[') {
        if (!(close = strchr(text, ']')))
            return "unbalanced brackets in the query";
        if (close[1] != ':')
            return close[1] ? "no ':' after the brackets in the query" : "no port in the query";
        *server = text + 1;
        *close = '\0';
        *port = close + 2;
    }
    else {
        if (!(colon = strrchr(text, ':')))
            return "no port in the query";
        *colon = '\0';
        *port = colon + 1;
    }
    return strpbrk(*server, "[]") || strpbrk(*port, "[]") ? "unbalanced brackets in the query"
                                                          : NULL;
}

const char *rpc_target_parse(apr_pool_t *pool, const char *query, rpc_target_t *target)
{
    char *text, *server, *port;
    unsigned char addr[16];
    const char *fault;
    apr_size_t len;
    int bare;

    if (!query || !*query)
        return "no server:port in the query";
    if ((fault = query_decode(pool, query, &text)) || (fault = query_split(text, &server, &port)))
        return fault;
    bare = server == text;
    len = strlen(server);
    if (len == 0)
        return "no server in the query";
    if (len > RPC_SERVER_MAX)
        return "the server in the query has 1,024 characters or more";
    /* Later code could read a name with a colon in two ways. */
    if ((!bare || strchr(server, ':')) && !rpc_ipv6_parse(server, len, addr))
        return "the address in the query is not an IPv6 address";
    if ((fault = parse_port(port, &target->port)))
        return fault;
    target->server = rpc_syntax_host(pool, server, len);
    return NULL;
}
