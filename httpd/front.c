/* httpd/front.c: the traces are noted before mod_remoteip and mod_headers, which may remove
 * them. */
#include "httpd/front.h"

#include <apr_strings.h>
#include <http_config.h>
#include <http_protocol.h>

#include "base/front_fields.h"
#include "httpd/request_target.h"

#define FIELD_NOTE "rpcproxy-front"     /* of a request: the name of a field */

/* A callback of apr_table_do(), which 0 ends. */
static int look_at_field(void *found, const char *name, const char *value)
{
    if (!rpc_front_field(name))
        return 1;
    *(const char **)found = name;
    return 0;
}

static int note_front(request_rec *r)
{
    const char *field = NULL;

    if (rpc_request_kind(r).role < 0)
        return DECLINED;
    apr_table_do(look_at_field, &field, r->headers_in, NULL);
    if (field)
        apr_table_set(r->notes, FIELD_NOTE, field);
    return DECLINED;
}

const char *rpc_front_shares(const request_rec *r)
{
    const conn_rec *c = r->connection;
    const request_rec *first = r;
    const char *field;

    while (first->main || first->prev)
        first = first->main ? first->main : first->prev;
    field = apr_table_get(first->notes, FIELD_NOTE);
    if (c->master)
        return "HTTP/2 puts all requests on one connection";
    if (field)
        return apr_pstrcat(r->pool, "it comes from a proxy (", field, ")", NULL);
    /* An address of the PROXY protocol belongs to the whole connection, and lives in its pool. */
    if (r->useragent_addr != c->client_addr && r->useragent_addr->pool != c->pool)
        return "another client's address is in the request";
    return NULL;
}

void rpc_front_register(apr_pool_t *p)
{
    ap_hook_post_read_request(note_front, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
