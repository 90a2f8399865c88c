/* httpd/body_watch.c: an input filter just above httpd's own one for bodies (HTTP_IN), so below
 * every filter that may hold back what it has read. A channel is read from the filters of its
 * connection (httpd/detach.c) and so passes by this one.
 */
#include "httpd/body_watch.h"

#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <util_filter.h>

#include "base/message_id.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

typedef struct body {
    apr_off_t taken;        /* by other modules */
    unsigned shut:1;
    unsigned asked_for:1;   /* since it is shut */
    unsigned arrived:1;     /* at our handler */
} body_t;

static const char FILTER_NAME[] = "RPCPROXY_BODY_WATCH";
static const char body_key[] = "rpcproxy-body";

static ap_filter_rec_t *filter;

static body_t *body_of(request_rec *r)
{
    void *body = NULL;

    apr_pool_userdata_get(&body, body_key, r->pool);
    return body;
}

static apr_status_t read_nothing(ap_filter_t *f, body_t *body, apr_bucket_brigade *bb)
{
    if (!body->asked_for)
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, f->r,
                      RPCNO(0009) "%s: another module reads the request's "
                      "body and gets an empty one, because the body of a channel has no end",
                      f->r->method);
    body->asked_for = 1;
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(f->c->bucket_alloc));
    return APR_SUCCESS;
}

static apr_status_t watch_reads(ap_filter_t *f, apr_bucket_brigade *bb, ap_input_mode_t mode,
                              apr_read_type_e block, apr_off_t bytes)
{
    body_t *body = f->ctx;
    apr_off_t length = 0;
    apr_status_t rv;

    if (body->shut)
        return read_nothing(f, body, bb);
    rv = ap_get_brigade(f->next, bb, mode, block, bytes);
    if (rv == APR_SUCCESS && mode != AP_MODE_SPECULATIVE
        && apr_brigade_length(bb, 0, &length) == APR_SUCCESS && length > 0)
        body->taken += length;
    return rv;
}

/* httpd drops it at an internal redirect. */
static void insert_watch(request_rec *r, body_t *body)
{
    const ap_filter_t *f;

    for (f = r->input_filters; f; f = f->next) {
        if (f->frec == filter)
            return;
    }
    ap_add_input_filter_handle(filter, body, r, r->connection);
}

void rpc_body_watch(request_rec *r)
{
    body_t *body = apr_pcalloc(r->pool, sizeof(*body));

    apr_pool_userdata_setn(body, body_key, NULL, r->pool);
    insert_watch(r, body);
}

void rpc_body_shut(request_rec *r)
{
    body_t *body = body_of(r);

    if (!body)
        return;
    insert_watch(r, body);
    body->shut = 1;
    r->connection->keepalive = AP_CONN_CLOSE;
}

apr_off_t rpc_body_arrived(request_rec *r)
{
    body_t *body = body_of(r);

    if (!body)
        return 0;
    body->arrived = 1;
    return body->taken;
}

int rpc_body_intercepted(request_rec *r)
{
    const body_t *body = body_of(r);

    return body && body->shut && !body->arrived;
}

void rpc_body_register(apr_pool_t *p)
{
    filter = ap_register_input_filter(FILTER_NAME, watch_reads, NULL, AP_FTYPE_PROTOCOL - 1);
}
