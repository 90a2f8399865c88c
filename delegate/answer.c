/* delegate/answer.c: see delegate/answer.h. A filter sees the answer as it comes from mod_proxy,
 * before other filters. What this server itself has to say in WWW-Authenticate, such as
 * mod_auth_gssapi's proof of who it is, stands in err_headers_out.
 */
#include "delegate/answer.h"

#include <apr_strings.h>
#include <http_protocol.h>
#include <util_filter.h>

#define FILTER "RPC_BACKEND_AUTH"

typedef struct watch {
    delegate_refused_t refused;
    void *data;
} watch_t;

/* Takes the fields of an authentication from TABLE; what was offered. */
static const char *take_offer(request_rec *r, apr_table_t *table)
{
    const char *offered = apr_table_getm(r->pool, table, "WWW-Authenticate");

    apr_table_unset(table, "WWW-Authenticate");
    apr_table_unset(table, "Authentication-Info");
    apr_table_unset(table, "Persistent-Auth");
    return offered ? offered : "none";
}

static apr_status_t answer(ap_filter_t *f, apr_bucket_brigade *bb)
{
    request_rec *r = f->r;
    const watch_t *watch = f->ctx;
    const char *offered = take_offer(r, r->headers_out);
    apr_bucket *error;

    ap_remove_output_filter(f);
    if (r->status != HTTP_UNAUTHORIZED)
        return ap_pass_brigade(f->next, bb);
    error = ap_bucket_error_create(watch->refused(r, offered, watch->data), NULL, r->pool,
                                   bb->bucket_alloc);
    r->status = HTTP_OK;            /* else it would be an error within an error, without an
                                     * ErrorDocument */
    r->status_line = NULL;
    apr_brigade_cleanup(bb);
    APR_BRIGADE_INSERT_TAIL(bb, error);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(bb->bucket_alloc));
    return ap_pass_brigade(f->next, bb);
}

void delegate_answer_register(apr_pool_t *p)
{
    ap_register_output_filter(FILTER, answer, NULL, AP_FTYPE_RESOURCE);
}

void delegate_answer_watch(request_rec *r, delegate_refused_t refused, void *data)
{
    watch_t *watch = apr_palloc(r->pool, sizeof(*watch));

    watch->refused = refused;
    watch->data = data;
    ap_add_output_filter(FILTER, watch, r, r->connection);
}

int delegate_answer_status(request_rec *r, int status, delegate_refused_t refused, void *data)
{
    return status == HTTP_UNAUTHORIZED ? refused(r, take_offer(r, r->err_headers_out), data)
                                       : status;
}
