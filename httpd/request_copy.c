/* httpd/request_copy.c: copies and rebuilds, field by field.
 *
 * To copy, the fields are collected in the request's pool first. Then fill_copy() runs twice: once
 * to count the bytes of all texts, and once more to write them behind the struct.
 */
#include "httpd/request_copy.h"

#include <stdlib.h>

#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <http_ssl.h>
#include <scoreboard.h>

#include "httpd/block.h"
#include "httpd/logio.h"
#include "httpd/module_hook.h"

/* ---- collecting ---- */

typedef struct collector {
    apr_array_header_t *fields;     /* rpc_field_t */
    const rpc_log_names_t *names;
    rpc_field_where_t where;
} collector_t;

static void push(collector_t *to, const char *name, const char *value)
{
    rpc_field_t *field = apr_array_push(to->fields);

    *field = (rpc_field_t){ to->where, name, value };
}

/* The secret of the client is not kept for hours, whatever a log wants. */
static int collect(void *ctx, const char *name, const char *value)
{
    collector_t *to = ctx;

    if (rpc_log_names_has(to->names, name) && ap_cstr_casecmp(name, "Authorization") != 0)
        push(to, name, value);
    return 1;
}

static void collect_table(collector_t *to, rpc_field_where_t where, const apr_table_t *table)
{
    to->where = where;
    if (table)
        apr_table_do(collect, to, table, NULL);
}

static void collect_ssl(collector_t *to, request_rec *r)
{
    const apr_array_header_t *names = rpc_log_names_ssl(to->names);
    int i;

    to->where = RPC_FIELD_SSL;
    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const char *value = ap_ssl_var_lookup(r->pool, r->server, r->connection, r, name);

        if (value && *value)
            push(to, name, value);
    }
}

static apr_array_header_t *fields_of(request_rec *r, const rpc_log_names_t *names, int is_tls)
{
    collector_t to = { apr_array_make(r->pool, 16, sizeof(rpc_field_t)), names, RPC_FIELD_IN };

    collect_table(&to, RPC_FIELD_IN, r->headers_in);
    collect_table(&to, RPC_FIELD_OUT, r->headers_out);
    collect_table(&to, RPC_FIELD_ENV, r->subprocess_env);
    collect_table(&to, RPC_FIELD_NOTE, r->notes);
    if (is_tls)
        collect_ssl(&to, r);
    return to.fields;
}

/* ---- copying ---- */

static const rpc_field_t *copy_fields(rpc_block_t *b, const apr_array_header_t *from)
{
    rpc_field_t *fields = rpc_block_put(b, from->elts, sizeof(*fields) * (size_t)from->nelts);
    int i;

    for (i = 0; i < from->nelts; i++) {
        const rpc_field_t *field = &APR_ARRAY_IDX(from, i, rpc_field_t);
        const char *name = rpc_block_text(b, field->name), *value = rpc_block_text(b, field->value);

        if (fields)
            fields[i] = (rpc_field_t){ field->where, name, value };
    }
    return fields;
}

/* As httpd logs it. */
static const char *request_line(const request_rec *r)
{
    if (!r->parsed_uri.password)
        return r->the_request ? r->the_request : "";
    return apr_pstrcat(r->pool, r->method, " ", apr_uri_unparse(r->pool, &r->parsed_uri, 0), " ",
                       r->protocol, NULL);
}

/* An id that the request has got by now, or would get with its next line. */
static const char *log_id(conn_rec *c, request_rec *r)
{
    const char *id = r ? r->log_id : c->log_id;

    if (!id)
        ap_run_generate_log_id(c, r, &id);
    return id;
}

/* What fill_copy() needs and what is not simply a field of the request. */
typedef struct source {
    request_rec *r;
    const apr_array_header_t *fields;
    const char *line, *log_id;
} source_t;

static source_t source_of(request_rec *r, const rpc_log_names_t *names, int is_tls)
{
    return (source_t){ r, fields_of(r, names, is_tls), request_line(r), log_id(r->connection, r) };
}

static void fill_request(rpc_copied_request_t *to, rpc_block_t *b, const source_t *from)
{
    const request_rec *r = from->r;

    to->fields = copy_fields(b, from->fields);
    to->field_count = from->fields->nelts;
    to->request_time = r->request_time;
    to->the_request = rpc_block_text(b, from->line);
    to->method = rpc_block_text(b, r->method);
    to->protocol = rpc_block_text(b, r->protocol);
    to->hostname = rpc_block_text(b, r->hostname);
    to->uri = rpc_block_text(b, r->uri);
    to->filename = rpc_block_text(b, r->filename);
    to->path_info = rpc_block_text(b, r->path_info);
    to->args = rpc_block_text(b, r->args);
    to->handler = rpc_block_text(b, r->handler);
    to->user = rpc_block_text(b, r->user);
    to->auth_type = rpc_block_text(b, r->ap_auth_type);
    to->content_type = rpc_block_text(b, r->content_type);
    to->log_id = rpc_block_text(b, from->log_id);
    to->had_log_id = r->log_id != NULL;
    to->status = r->status;
    to->method_number = r->method_number;
    to->proto_num = r->proto_num;
}

static rpc_copied_address_t copy_address(const apr_sockaddr_t *from)
{
    rpc_copied_address_t to = { .family = 0 };

    if (!from || !from->ipaddr_ptr || from->ipaddr_len > (int)sizeof(to.bytes))
        return to;
    to.family = from->family;
    to.port = from->port;
    memcpy(to.bytes, from->ipaddr_ptr, (size_t)from->ipaddr_len);
    return to;
}

static void fill_connection(rpc_request_copy_t *to, rpc_block_t *b, request_rec *r, const char *id)
{
    conn_rec *c = r->connection;
    const core_dir_config *dir = ap_get_core_module_config(r->per_dir_config);

    to->server = r->server;
    to->base_server = c->base_server;
    to->local = copy_address(c->local_addr);
    to->client = copy_address(c->client_addr);
    to->useragent = copy_address(r->useragent_addr);
    to->useragent_is_client = r->useragent_addr == c->client_addr;
    to->local_ip = rpc_block_text(b, c->local_ip);
    to->client_ip = rpc_block_text(b, c->client_ip);
    to->useragent_ip = rpc_block_text(b, r->useragent_ip);
    to->local_host = rpc_block_text(b, c->local_host);
    to->remote_host = rpc_block_text(b, c->remote_host);
    to->useragent_host = rpc_block_text(b, r->useragent_host);
    to->remote_logname = rpc_block_text(b, c->remote_logname);
    to->scheme = rpc_block_text(b, ap_http_scheme(r));
    to->default_port = ap_default_port(r);
    to->log_id = rpc_block_text(b, id);
    to->had_log_id = c->log_id != NULL;
    to->id = c->id;
    to->keepalives = c->keepalives;
    to->hostname_lookups = dir->hostname_lookups;
    to->use_canonical_name = dir->use_canonical_name;
    to->use_canonical_phys_port = dir->use_canonical_phys_port;
}

/* Where a name has to be looked up, it is: this thread may wait. */
static void ask_now(request_rec *r, const rpc_log_names_t *names)
{
    if (rpc_log_names_item(names, 'l'))
        r->connection->remote_logname = (char *)ap_get_remote_logname(r);
    if (rpc_log_names_item(names, 'V'))
        ap_get_server_name(r);
}

/* All that has texts. */
static void fill_copy(rpc_request_copy_t *to, rpc_block_t *b, const source_t *last,
                 const source_t *first, const char *id)
{
    fill_request(&to->request, b, last);
    if (first->r) {
        rpc_copied_request_t copied;

        fill_request(&copied, b, first);
        to->first = rpc_block_put(b, &copied, sizeof(copied));
    }
    fill_connection(to, b, last->r, id);
}

rpc_request_copy_t *rpc_request_copy(request_rec *r, const rpc_log_names_t *names)
{
    conn_rec *c = r->connection;
    int is_tls = ap_ssl_conn_is_ssl(c);
    source_t last = source_of(r, names, is_tls), first = { .r = NULL };
    const char *id = log_id(c, NULL);
    rpc_request_copy_t counted = { .server = NULL }, *copy;
    rpc_block_t block = { NULL, 0 };
    request_rec *f = r;

    ask_now(r, names);
    while (f->prev)
        f = f->prev;
    if (f != r)
        first = source_of(f, names, is_tls);
    fill_copy(&counted, &block, &last, &first, id);
    copy = calloc(1, sizeof(*copy) + block.size);
    if (!copy)
        return NULL;
    block = (rpc_block_t){ (char *)(copy + 1), 0 };
    fill_copy(copy, &block, &last, &first, id);
    copy->size = sizeof(*copy) + block.size;
    copy->is_tls = is_tls;
    rpc_logio_read(c, &copy->in, &copy->out);
    return copy;
}

/* ---- rebuilding ---- */

static apr_sockaddr_t *rebuild_address(const rpc_copied_address_t *from, apr_pool_t *pool)
{
    apr_sockaddr_t *sa = apr_pcalloc(pool, sizeof(*sa));

    sa->pool = pool;
    sa->family = from->family;
    sa->port = from->port;
    sa->sa.sin.sin_family = (sa_family_t)from->family;
    sa->sa.sin.sin_port = htons(from->port);
    sa->ipaddr_ptr = &sa->sa.sin.sin_addr;
    sa->ipaddr_len = sizeof(sa->sa.sin.sin_addr);
    sa->salen = sizeof(sa->sa.sin);
    sa->addr_str_len = INET_ADDRSTRLEN;
    if (from->family == APR_INET6) {
        sa->ipaddr_ptr = &sa->sa.sin6.sin6_addr;
        sa->ipaddr_len = sizeof(sa->sa.sin6.sin6_addr);
        sa->salen = sizeof(sa->sa.sin6);
        sa->addr_str_len = INET6_ADDRSTRLEN;
    }
    memcpy(sa->ipaddr_ptr, from->bytes, (size_t)sa->ipaddr_len);
    return sa;
}

/* The directory's configuration was merged in the pool of the request; what the logs want of it is
 * put into that of the server. */
static ap_conf_vector_t *rebuild_dir_config(const rpc_request_copy_t *copy, apr_pool_t *pool)
{
    ap_conf_vector_t *from = copy->server->lookup_defaults;
    ap_conf_vector_t *to = ap_create_request_config(pool);  /* as long as any */
    core_dir_config *core = apr_pmemdup(pool, ap_get_core_module_config(from), sizeof(*core));
    module *m;

    for (m = ap_top_module; m; m = m->next)
        ap_set_module_config(to, m, ap_get_module_config(from, m));
    core->hostname_lookups = copy->hostname_lookups & 0xf;
    core->use_canonical_name = copy->use_canonical_name & 0x3;
    core->use_canonical_phys_port = copy->use_canonical_phys_port & 0x3;
    ap_set_core_module_config(to, core);
    return to;
}

static conn_rec *rebuild_connection(const rpc_request_copy_t *copy, apr_pool_t *pool)
{
    conn_rec *c = apr_pcalloc(pool, sizeof(*c));

    c->pool = pool;
    c->conn_config = ap_create_conn_config(pool);
    c->notes = apr_table_make(pool, 4);
    c->base_server = copy->base_server;
    c->local_addr = rebuild_address(&copy->local, pool);
    c->client_addr = rebuild_address(&copy->client, pool);
    c->local_ip = (char *)copy->local_ip;
    c->client_ip = (char *)copy->client_ip;
    c->local_host = (char *)copy->local_host;
    c->remote_host = (char *)copy->remote_host;
    c->remote_logname = (char *)copy->remote_logname;
    c->log_id = copy->had_log_id ? copy->log_id : NULL;
    c->id = copy->id;
    c->keepalive = AP_CONN_CLOSE;
    c->keepalives = copy->keepalives;
    /* Of no slot; who has one is a client. */
    ap_create_sb_handle((ap_sb_handle_t **)&c->sbh, pool, -1, -1);
    return c;
}

static apr_table_t *table_of(const request_rec *r, rpc_field_where_t where)
{
    switch (where) {
    case RPC_FIELD_IN: return r->headers_in;
    case RPC_FIELD_OUT: return r->headers_out;
    case RPC_FIELD_ENV: return r->subprocess_env;
    case RPC_FIELD_NOTE: return r->notes;
    case RPC_FIELD_SSL: break;      /* asked for by a hook */
    }
    return NULL;
}

/* The one field that comes more than once, and that httpd logs so. */
static int may_repeat(const rpc_field_t *field)
{
    return field->where == RPC_FIELD_OUT && ap_cstr_casecmp(field->name, "Set-Cookie") == 0;
}

void rpc_request_set_field(request_rec *r, const rpc_field_t *field)
{
    apr_table_t *table = table_of(r, field->where);

    if (!table)
        return;
    if (may_repeat(field))
        apr_table_addn(table, field->name, field->value);
    else
        apr_table_setn(table, field->name, field->value);
}

static void rebuild_tables(request_rec *r, const rpc_copied_request_t *from)
{
    int i;

    r->headers_in = apr_table_make(r->pool, 8);
    r->headers_out = apr_table_make(r->pool, 8);
    r->err_headers_out = apr_table_make(r->pool, 1);
    r->subprocess_env = apr_table_make(r->pool, 8);
    r->notes = apr_table_make(r->pool, 4);
    r->trailers_in = apr_table_make(r->pool, 1);
    r->trailers_out = apr_table_make(r->pool, 1);
    for (i = 0; i < from->field_count; i++)
        rpc_request_set_field(r, &from->fields[i]);
}

/* The core's own part of a request, which its functions want to find. */
static void make_core_config(request_rec *r)
{
    ap_HOOK_create_request_t *hook = RPC_MODULE_HOOK(create_request, "core.c");

    r->request_config = ap_create_request_config(r->pool);
    if (hook)
        hook(r);
}

static request_rec *rebuild_request(const rpc_copied_request_t *from,
                                    const rpc_request_copy_t *copy, conn_rec *c)
{
    request_rec *r = apr_pcalloc(c->pool, sizeof(*r));

    r->pool = c->pool;
    r->connection = c;
    r->server = copy->server;
    r->per_dir_config = rebuild_dir_config(copy, c->pool);
    make_core_config(r);
    rebuild_tables(r, from);
    r->request_time = from->request_time;
    r->the_request = (char *)from->the_request;
    r->method = from->method;
    r->protocol = (char *)from->protocol;
    r->hostname = from->hostname;
    r->uri = r->unparsed_uri = (char *)from->uri;
    r->filename = r->canonical_filename = (char *)from->filename;
    r->path_info = (char *)from->path_info;
    r->args = (char *)from->args;
    r->handler = from->handler;
    r->user = (char *)from->user;
    r->ap_auth_type = (char *)from->auth_type;
    r->content_type = from->content_type;
    r->log_id = from->had_log_id ? from->log_id : NULL;
    r->status = from->status;
    r->method_number = from->method_number;
    r->proto_num = from->proto_num;
    r->useragent_ip = (char *)copy->useragent_ip;
    r->useragent_host = (char *)copy->useragent_host;
    r->useragent_addr = copy->useragent_is_client ? c->client_addr
                                                  : rebuild_address(&copy->useragent, c->pool);
    r->sent_bodyct = 1;
    r->eos_sent = 1;
    r->finfo.filetype = APR_NOFILE;
    return r;
}

request_rec *rpc_request_rebuild(const rpc_request_copy_t *copy, apr_pool_t *pool)
{
    conn_rec *c = rebuild_connection(copy, pool);
    request_rec *r = rebuild_request(&copy->request, copy, c);

    if (copy->first) {
        r->prev = rebuild_request(copy->first, copy, c);
        r->prev->next = r;
    }
    return r;
}

const char *rpc_request_copy_ssl(const rpc_request_copy_t *copy, const char *name)
{
    int i;

    for (i = 0; i < copy->request.field_count; i++) {
        const rpc_field_t *field = &copy->request.fields[i];

        if (field->where == RPC_FIELD_SSL && ap_cstr_casecmp(field->name, name) == 0)
            return field->value;
    }
    return NULL;
}
