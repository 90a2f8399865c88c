/* target/valid_ports.c: parses the list of RpcValidPorts and finds entries in it.
 *
 * A list is cut at its semicolons; cut_entry() finds server and port of one entry,
 * check_server() and parse_range() check them, all with their columns in the whole text.
 * The list is an array that is searched from its beginning: lists are short and are used
 * once for each channel.
 */
#include <string.h>
#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include "target/pattern.h"
#include "target/valid_ports.h"

struct rpc_valid_ports {
    apr_array_header_t *entries;    /* rpc_valid_port_t */
};

/* One entry, cut in two; PORT is NULL when there is none. */
typedef struct cut {
    const char *server, *port;
    apr_size_t server_len, port_len;
} cut_t;

/* ---- one entry ---- */

/* "[address]:port" */
static apr_status_t cut_bracketed(const rpc_syntax_t *x, const char *at, apr_size_t len, cut_t *cut)
{
    const char *close = memchr(at, ']', len);
    unsigned char addr[16];

    if (!close)
        return rpc_syntax_fail(x, at, len, "a closing ']'");
    cut->server = at + 1;
    cut->server_len = (apr_size_t)(close - at) - 1;
    if (!rpc_ipv6_parse(cut->server, cut->server_len, addr))
        return rpc_syntax_fail(x, cut->server, cut->server_len, "an IPv6 address in the brackets");
    close++;
    if (close == at + len)
        return APR_SUCCESS;
    if (*close != ':')
        return rpc_syntax_fail(x, close, (apr_size_t)(at + len - close),
                               "':' and a port after the ']'");
    cut->port = close + 1;
    cut->port_len = (apr_size_t)(at + len - cut->port);
    return APR_SUCCESS;
}

/* Cuts at the last colon, unless the server would then be half an IPv6 address. */
static apr_status_t cut_entry(const rpc_syntax_t *x, const char *at, apr_size_t len, cut_t *cut)
{
    unsigned char addr[16];
    apr_size_t n = len;

    memset(cut, 0, sizeof *cut);
    if (*at == '[')
        return cut_bracketed(x, at, len, cut);
    cut->server = at;
    cut->server_len = len;
    while (n > 0 && at[n - 1] != ':')
        n--;
    if (n == 0)
        return APR_SUCCESS;
    if (memchr(at, ':', n - 1) && !rpc_ipv6_parse(at, n - 1, addr) && rpc_ipv6_parse(at, len, addr))
        return APR_SUCCESS;
    cut->server_len = n - 1;
    cut->port = at + n;
    cut->port_len = len - n;
    return APR_SUCCESS;
}

/* A name, IPv6 literal, or either with one '*' at its beginning or end. */
static apr_status_t check_server(const rpc_syntax_t *x, const cut_t *cut)
{
    const char *at = cut->server, *star, *colon;
    apr_size_t len = cut->server_len;
    unsigned char addr[16];

    if (len > RPC_SERVER_MAX)
        return rpc_syntax_fail(x, at, len, "a server name of up to %d characters", RPC_SERVER_MAX);
    if (rpc_ipv6_parse(at, len, addr))
        return APR_SUCCESS;
    if ((colon = memchr(at, ':', len))) {
        if (len - (apr_size_t)(colon - at) > 2 && !memcmp(colon, "://", 3))
            return rpc_syntax_fail(x, at, (apr_size_t)(colon - at) + 3,
                                   "a server name without scheme");
        return rpc_syntax_fail(x, at, len, "a server name, or an IPv6 address");
    }
    if (len && at[0] == '*')
        at++, len--;
    else if (len && at[len - 1] == '*')
        len--;
    if ((star = memchr(at, '*', len)))
        return rpc_syntax_fail(x, star, 1, "'*' once, at the beginning or the end of a name");
    if (len != cut->server_len && len && strspn(at, "0123456789.") >= len)
        return APR_SUCCESS;         /* "10.1.*": part of an IPv4 address */
    return rpc_syntax_name(x, at, len, "@");
}

static apr_status_t parse_range(const rpc_syntax_t *x, const cut_t *cut, rpc_valid_port_t *entry)
{
    const char *dash = memchr(cut->port, '-', cut->port_len);
    apr_size_t low = dash ? (apr_size_t)(dash - cut->port) : cut->port_len;
    apr_status_t rv;

    if (memchr(cut->port, ',', cut->port_len))
        return rpc_syntax_fail(x, cut->port, cut->port_len,
                               "one port or one range; write an entry for each: "
                               "%.*s:6001;%.*s:6004",
                               (int)cut->server_len, cut->server, (int)cut->server_len,
                               cut->server);
    if (dash && (low == 0 || low + 1 == cut->port_len))
        return rpc_syntax_fail(x, cut->port, cut->port_len, "a port on both sides of the '-'");
    if ((rv = rpc_syntax_port(x, cut->port, low, &entry->low)) != APR_SUCCESS)
        return rv;
    entry->high = entry->low;
    if (!dash)
        return APR_SUCCESS;
    if ((rv = rpc_syntax_port(x, dash + 1, cut->port_len - low - 1, &entry->high)) != APR_SUCCESS)
        return rv;
    if (entry->low > entry->high)
        return rpc_syntax_fail(x, cut->port, cut->port_len, "the lower port first, %d-%d",
                               (int)entry->high, (int)entry->low);
    return APR_SUCCESS;
}

/* The error for an entry without a port. */
static apr_status_t fail_no_port(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                 const cut_t *cut)
{
    int v6 = memchr(cut->server, ':', cut->server_len) != NULL;

    return rpc_syntax_fail(x, at, len, "a port after the server, as in %s%.*s%s:6001",
                           v6 ? "[" : "", (int)cut->server_len, cut->server, v6 ? "]" : "");
}

static apr_status_t parse_entry(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                int port_optional, rpc_valid_port_t *entry)
{
    const char *comma;
    apr_size_t blank;
    apr_status_t rv;
    cut_t cut;

    for (blank = 0; blank < len && !apr_isspace(at[blank]); blank++)
        ;
    for (; blank < len && apr_isspace(at[blank]); blank++)
        ;
    if (blank < len)
        return rpc_syntax_fail(x, at + blank, len - blank,
                               "';' between two entries, no blank within one");
    comma = memchr(at, ',', len);
    if (comma && memchr(comma, ':', len - (apr_size_t)(comma - at)))
        return rpc_syntax_fail(x, comma, 1, "';' between two entries, as in a:6001;b:6001");
    if ((rv = cut_entry(x, at, len, &cut)) != APR_SUCCESS)
        return rv;
    if (cut.server_len == 0)
        return rpc_syntax_fail(x, at, len, "a server before the ':'");
    if ((rv = check_server(x, &cut)) != APR_SUCCESS)
        return rv;
    entry->server = rpc_syntax_host(x->pool, cut.server, cut.server_len);
    entry->text = apr_pstrmemdup(x->pool, at, len);
    entry->low = 1;
    entry->high = 65535;
    if (!cut.port && port_optional)
        return APR_SUCCESS;
    if (cut.port_len == 0)
        return fail_no_port(x, at, len, &cut);
    return parse_range(x, &cut, entry);
}

apr_status_t rpc_valid_port_parse(apr_pool_t *pool, const char *text, int port_optional,
                                  rpc_valid_port_t *entry, rpc_syntax_error_t *err)
{
    rpc_syntax_t x = { pool, text, err };

    if (!*text)
        return rpc_syntax_fail(&x, text, 0, "a server, as in server:6001-6002");
    return parse_entry(&x, text, strlen(text), port_optional, entry);
}

/* ---- the list ---- */

static rpc_valid_ports_t *list_copy(apr_pool_t *pool, const rpc_valid_ports_t *base)
{
    rpc_valid_ports_t *list = apr_palloc(pool, sizeof *list);

    list->entries = base ? apr_array_copy(pool, base->entries)
                         : apr_array_make(pool, 4, sizeof(rpc_valid_port_t));
    return list;
}

rpc_valid_ports_t *rpc_valid_ports_join(apr_pool_t *pool, const rpc_valid_ports_t *a,
                                        const rpc_valid_ports_t *b)
{
    rpc_valid_ports_t *list = list_copy(pool, a);

    if (b)
        apr_array_cat(list->entries, b->entries);
    return list;
}

apr_status_t rpc_valid_ports_parse(apr_pool_t *pool, const char *text,
                                   const rpc_valid_ports_t *base,
                                   rpc_valid_ports_t **list, rpc_syntax_error_t *err)
{
    rpc_valid_ports_t *result = list_copy(pool, base);
    rpc_syntax_t x = { pool, text, err };
    const char *at = text;
    apr_status_t rv;

    do {
        rpc_valid_port_t entry;
        apr_size_t len, size;

        while (apr_isspace(*at))
            at++;
        size = len = strcspn(at, ";");
        while (len && apr_isspace(at[len - 1]))
            len--;
        if (len == 0 && at[size])
            return rpc_syntax_fail(&x, at, 1, "an entry such as server:6001 before the ';'");
        if (len == 0)
            return rpc_syntax_fail(&x, at, 0, "an entry such as server:6001-6002");
        if ((rv = parse_entry(&x, at, len, 0, &entry)) != APR_SUCCESS)
            return rv;
        APR_ARRAY_PUSH(result->entries, rpc_valid_port_t) = entry;
        at += size + (at[size] == ';');
    } while (at[strspn(at, " \t\r\n\v\f")]);
    *list = result;
    return APR_SUCCESS;
}

/* ---- asking ---- */

const rpc_valid_port_t *rpc_valid_ports_entry(const rpc_valid_ports_t *list, int i)
{
    return list && i < list->entries->nelts ? &APR_ARRAY_IDX(list->entries, i, rpc_valid_port_t)
                                            : NULL;
}

/* "rosco" and "rosco.example.com"; addresses have no labels. */
static int same_first_label(const char *a, const char *b)
{
    apr_size_t len = strcspn(a, ".");

    if (len == 0 || strcspn(b, ".") != len || strchr(a, ':') || strchr(b, ':'))
        return 0;
    return strspn(a, "0123456789") < len && !apr_cstr_casecmpn(a, b, len);
}

const rpc_valid_port_t *rpc_valid_ports_match(const rpc_valid_ports_t *list,
                                              const char *server, apr_port_t port,
                                              const rpc_valid_port_t **nearest)
{
    const rpc_valid_port_t *same_server = NULL, *same_label = NULL;
    int i;

    for (i = 0; list && i < list->entries->nelts; i++) {
        const rpc_valid_port_t *entry = &APR_ARRAY_IDX(list->entries, i, rpc_valid_port_t);

        if (rpc_pattern_match(entry->server, server)) {
            if (entry->low <= port && port <= entry->high)
                return entry;
            if (!same_server)
                same_server = entry;
        }
        else if (!same_label && same_first_label(entry->server, server))
            same_label = entry;
    }
    if (nearest)
        *nearest = same_server ? same_server : same_label;
    return NULL;
}
