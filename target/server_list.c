/* target/server_list.c: a list of servers, to text and back. An IPv6 address needs no brackets of
 * its own here: only the port stands in brackets. */
#include "target/server_list.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

void rpc_server_list_prefer(rpc_server_list_t *list, int index)
{
    rpc_binding_t preferred = list->at[index];

    memmove(list->at + 1, list->at, (size_t)index * sizeof(list->at[0]));
    list->at[0] = preferred;
}

static const char *server_text(apr_pool_t *pool, const rpc_binding_t *server)
{
    return apr_psprintf(pool, "%s[%u]", server->host, server->port);
}

const char *rpc_server_list_first(apr_pool_t *pool, const rpc_server_list_t *list)
{
    return server_text(pool, &list->at[0]);
}

const char *rpc_server_list_text(apr_pool_t *pool, const rpc_server_list_t *list)
{
    const char *text = rpc_server_list_first(pool, list);
    int i;

    for (i = 1; i < list->count; i++)
        text = apr_pstrcat(pool, text, ",", server_text(pool, &list->at[i]), NULL);
    return text;
}

/* Writes at BUF + *USED what fits, and counts what does not. */
static void print_server(const rpc_binding_t *server, char *buf, size_t size, size_t *used)
{
    int n = snprintf(*used < size ? buf + *used : NULL, *used < size ? size - *used : 0, "%s%s[%u]",
                     *used ? "," : "", server->host, server->port);

    if (n > 0)
        *used += (size_t)n;
}

void rpc_server_list_print(const rpc_server_list_t *list, int first, char *buf, size_t size)
{
    size_t used = 0;
    int i;

    print_server(&list->at[first], buf, size, &used);
    for (i = 0; i < list->count; i++)
        if (i != first)
            print_server(&list->at[i], buf, size, &used);
}

/* "host" or "host[port]", LEN characters at AT. */
static apr_status_t read_server(apr_pool_t *pool, const char *at, apr_size_t len,
                                rpc_binding_t *server)
{
    const char *bracket = memchr(at, '[', len);
    apr_size_t host = bracket ? (apr_size_t)(bracket - at) : len;
    rpc_syntax_error_t err;
    rpc_syntax_t x = { pool, at, &err };

    if (!host)
        return APR_EINVAL;
    server->host = apr_pstrmemdup(pool, at, host);
    if (!bracket)
        return APR_SUCCESS;
    if (at[len - 1] != ']')
        return APR_EINVAL;
    return rpc_syntax_port(&x, bracket + 1, len - host - 2, &server->port);
}

apr_status_t rpc_server_list_read(apr_pool_t *pool, const char *text, apr_port_t port,
                                  rpc_server_list_t *list)
{
    apr_size_t len;

    for (list->count = 0; list->count < RPC_ROUTE_MAX; text += len + 1) {
        rpc_binding_t *server = &list->at[list->count++];
        apr_status_t rv;

        len = strcspn(text, ",");
        server->protseq = RPC_PROTSEQ_TCP;
        server->port = port;
        if ((rv = read_server(pool, text, len, server)) != APR_SUCCESS || !text[len])
            return rv;
    }
    return APR_EINVAL;
}
