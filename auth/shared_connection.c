/* auth/shared_connection.c: the traces are collected before any other module sees the request,
 * because mod_remoteip removes the field that it has read, and mod_headers may remove any. The
 * result is kept in the configuration vector of the request.
 */
#include "auth/shared_connection.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_protocol.h>

#include "auth/config.h"
#include "auth/provider.h"
#include "base/front_fields.h"

/* A callback of apr_table_do(), which 0 ends. */
static int look_at_field(void *found, const char *name, const char *value)
{
    if (!rpc_front_field(name))
        return 1;
    *(const char **)found = name;
    return 0;
}

/* The traces in the request as it came from the network, in r->pool. */
typedef struct traces {
    const char *field;          /* the name of a field that a front end has added; NULL: none */
    const char *asker;
} traces_t;

static const char *value_of(request_rec *r, const char *name)
{
    const char *value = apr_table_get(r->headers_in, name);

    return value ? value : "";
}

/* This hook runs before those of mod_remoteip and mod_headers. */
static int note_traces(request_rec *r)
{
    traces_t *t = apr_pcalloc(r->pool, sizeof(*t));

    apr_table_do(look_at_field, &t->field, r->headers_in, NULL);
    if (t->field)
        t->asker = apr_pstrcat(r->pool, value_of(r, "X-Forwarded-For"), " ",
                               value_of(r, "X-Real-IP"), NULL);
    ap_set_module_config(r->request_config, &auth_ntlm_module, t);
    return DECLINED;
}

/* The traces of the request that the client has sent. R may be a subrequest or a redirect of it. */
static const traces_t *traces_of(const request_rec *r)
{
    static const traces_t none = { NULL, NULL };
    const traces_t *t;

    while (r->main || r->prev)
        r = r->main ? r->main : r->prev;
    t = ap_get_module_config(r->request_config, &auth_ntlm_module);
    return t ? t : &none;
}

/* Has a module, such as mod_remoteip, read the client's address from this request? An address of
 * the PROXY protocol belongs to the whole connection, lives in its pool, and is no trace. */
static int has_address_of_its_own(const request_rec *r)
{
    const conn_rec *c = r->connection;

    return r->useragent_addr != c->client_addr && r->useragent_addr->pool != c->pool;
}

const char *auth_ntlm_why_shared(request_rec *r)
{
    const traces_t *t = traces_of(r);

    if (r->connection->master)
        return "over HTTP/2 a connection does not belong to one user";
    if (auth_ntlm_config(r)->pinned > 0)
        return NULL;
    if (t->field)
        return apr_psprintf(r->pool, "a proxy (%s) may share the connection among users",
                            ap_escape_logitem(r->pool, t->field));
    if (has_address_of_its_own(r))
        return apr_psprintf(r->pool,
                            "a proxy may share the connection among users: it came from %s, and "
                            "the request from %s",
                            r->connection->client_ip, r->useragent_ip);
    return NULL;
}

const char *auth_ntlm_asker(request_rec *r)
{
    const char *told = traces_of(r)->asker;

    return told ? apr_pstrcat(r->pool, r->useragent_ip, " ", told, NULL) : r->useragent_ip;
}

int auth_ntlm_client_keeps(request_rec *r)
{
    return auth_ntlm_config(r)->pinned > 0
           || ap_find_token(r->pool, value_of(r, "Connection"), "keep-alive");
}

void auth_ntlm_shared_register(apr_pool_t *p)
{
    ap_hook_post_read_request(note_traces, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
