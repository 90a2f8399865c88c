/* httpd/upstream.c: the handler of http:// and https:// for RPC over HTTP.
 *
 * NTLM makes a connection one user's, so a client's connection and the one behind it belong
 * together: what is left of an exchange hangs on the pool of the client's connection, is used by
 * its next request, and by nobody else, ever. It goes when the client's connection goes.
 */
#include "httpd/upstream.h"

#include <apr_optional_hooks.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>

#include "base/message_id.h"
#include "base/who.h"
#include "httpd/front.h"
#include "httpd/handler.h"
#include "httpd/module.h"
#include "httpd/neighbours.h"
#include "httpd/proxy_api.h"
#include "httpd/request_target.h"
#include "httpd/upstream_config.h"
#include "httpd/upstream_connect.h"
#include "httpd/upstream_leg.h"
#include "httpd/upstream_member.h"

APLOG_USE_MODULE(rpcproxy);

/* A note of a request: the reason why no upstream has served it so far. */
#define FAILED_NOTE "rpcproxy-upstream-failed"

static const rpc_context_t *context;

/* ---- the request's head ---- */

static void split_url(request_rec *r, const char *url, apr_uri_t *uri, char **path)
{
    apr_uri_parse(r->pool, url, uri);
    if (!uri->port)
        uri->port = apr_uri_port_of_scheme(uri->scheme);
    *path = apr_pstrcat(r->pool, uri->path ? uri->path : "/", uri->query ? "?" : NULL, uri->query,
                        NULL);
}

/* For Via. */
static char *port_text(request_rec *r)
{
    apr_port_t port = ap_get_server_port(r);

    return ap_is_default_port(port, r) ? apr_pstrdup(r->pool, "")
                                       : apr_psprintf(r->pool, ":%d", port);
}

/* Made by mod_proxy: Host, Via, X-Forwarded-*, without what belongs to one connection. NULL:
 * *RV. */
static char *make_head(request_rec *r, const rpc_upstream_way_t *way, apr_size_t *size, int *rv)
{
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    proxy_conn_rec nobodys = { .worker = way->worker };
    char *path, *length, *coding, *head;
    apr_uri_t uri;

    split_url(r, way->url, &uri, &path);
    *rv = rpc_proxy_api()->ap_proxy_create_hdrbrgd(r->pool, bb, r, &nobodys, way->worker, way->conf,
                                                   &uri, path, port_text(r), &length, &coding);
    if (*rv != OK)
        return NULL;
    if (length)
        apr_brigade_printf(bb, NULL, NULL, "Content-Length: %s\r\n", length);
    if (coding)
        apr_brigade_printf(bb, NULL, NULL, "Transfer-Encoding: %s\r\n", coding);
    apr_brigade_puts(bb, NULL, NULL, rpc_request_kind(r).carry == RPC_CARRY_UPGRADE
                     ? "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                     : "Connection: Keep-Alive\r\n\r\n");
    *rv = HTTP_INTERNAL_SERVER_ERROR;
    return apr_brigade_pflatten(bb, &head, size, r->pool) == APR_SUCCESS ? head : NULL;
}

/* ---- the answer's fields ---- */

/* What Via is to say in answers, as mod_proxy_http writes it; NULL: nothing (ProxyVia). */
static const char *via_of(request_rec *r, const rpc_upstream_way_t *way)
{
    const char *name = ap_get_server_name(r);
    int full = way->conf->viaopt == via_full;

    if (way->conf->viaopt == via_off || way->conf->viaopt == via_block)
        return NULL;
    if (name == r->hostname)    /* the client's own word */
        name = r->server->server_hostname;
    return apr_psprintf(r->pool, "%d.%d %s%s%s%s%s", HTTP_VERSION_MAJOR(r->proto_num),
                        HTTP_VERSION_MINOR(r->proto_num), name, port_text(r), full ? " (" : "",
                        full ? AP_SERVER_BASEVERSION : "", full ? ")" : "");
}

static void add_map(apr_array_header_t *maps, rpc_map_kind_t kind, const char *from,
                    const char *to)
{
    APR_ARRAY_PUSH(maps, rpc_map_t) = (rpc_map_t){ kind, from, to };
}

/* A ProxyPassReverse. A balancer:// stands for each of its members. */
static void add_url(request_rec *r, proxy_server_conf *conf, apr_array_header_t *maps,
                    const struct proxy_alias *alias)
{
    const char *to = alias->fake[0] == '/' ? ap_construct_url(r->pool, alias->fake, r)
                                           : alias->fake;
    const char *host = strstr(alias->real, "://");
    proxy_balancer *balancer = NULL;
    int i;

    if (host && ap_cstr_casecmpn(alias->real, "balancer:", 9) == 0)
        balancer = rpc_proxy_api()->ap_proxy_get_balancer(r->pool, conf, alias->real, 1);
    if (!balancer)
        add_map(maps, RPC_MAP_URL, alias->real, to);
    for (i = 0; balancer && i < balancer->workers->nelts; i++) {
        const proxy_worker *member = APR_ARRAY_IDX(balancer->workers, i, proxy_worker *);

        add_map(maps, RPC_MAP_URL, apr_pstrcat(r->pool, rpc_proxy_worker_url(member),
                                               host + 3 + strcspn(host + 3, "/"), NULL), to);
    }
}

/* mod_proxy keeps cookies' the other way round. */
static void add_cookies(apr_array_header_t *maps, const apr_array_header_t *from,
                        rpc_map_kind_t kind)
{
    int i;

    for (i = 0; from && i < from->nelts; i++) {
        const struct proxy_alias *alias = &APR_ARRAY_IDX(from, i, struct proxy_alias);

        add_map(maps, kind, alias->fake, alias->real);
    }
}

/* ProxyPassReverse and its kin, for the loop, where there is no request any more. */
static void set_maps(request_rec *r, const rpc_upstream_way_t *way, rpc_upstream_t *upstream)
{
    const proxy_dir_conf *conf = rpc_proxy_dir_conf(rpc_proxy_api(), r->per_dir_config);
    apr_array_header_t *maps = apr_array_make(r->pool, 4, sizeof(rpc_map_t));
    int i;

    for (i = 0; conf->raliases && i < conf->raliases->nelts; i++)
        add_url(r, way->conf, maps, &APR_ARRAY_IDX(conf->raliases, i, struct proxy_alias));
    add_cookies(maps, conf->cookie_paths, RPC_MAP_COOKIE_PATH);
    add_cookies(maps, conf->cookie_domains, RPC_MAP_COOKIE_DOMAIN);
    upstream->maps = (const rpc_map_t *)maps->elts;
    upstream->map_count = maps->nelts;
}

/* ---- what serves ---- */

/* What goes wrong before the client has got a byte: 503 has mod_proxy try the next member. */
static int fail(request_rec *r, const rpc_upstream_way_t *way, rpc_reason_t reason, const char *why,
                int status)
{
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                  RPCNO(0012) "%s: the proxy at %s:%u is not used: %s",
                  r->method, way->worker->s->hostname_ex, way->worker->s->port, why);
    apr_table_setn(r->notes, FAILED_NOTE, rpc_reason_info(reason)->token);
    return status;
}

/* The connection of this client, if there is one, else a new one. NULL: *RV. */
static rpc_stream_t *get_stream(request_rec *r, const rpc_upstream_way_t *way, int *rv)
{
    rpc_stream_t *stream = rpc_upstream_kept(r, way->worker);
    rpc_reason_t reason;
    const char *why;

    if (stream)
        return stream;
    stream = rpc_upstream_connect(r, way, rpc_engine_tls(context->engine), &reason, &why);
    if (!stream)
        *rv = fail(r, way, reason, why, HTTP_SERVICE_UNAVAILABLE);
    return stream;
}

/* A client whose connection others may use gets no connection behind it. Without "keep-alive" a
 * finished handshake is for the request at hand alone. */
static int may_keep(request_rec *r, const rpc_upstream_answer_t *answer)
{
    const char *wish = apr_table_get(r->headers_in, "Connection");

    return answer->keeps && !answer->shared && r->connection->keepalive != AP_CONN_CLOSE
        && (answer->challenges || (wish && ap_find_token(r->pool, wish, "keep-alive")));
}

/* Sends a request, with the LENGTH bytes of its body, and waits for the answer. DONE, if a channel
 * MAY_GO_ON: it does, and STREAM is still the caller's. */
static int exchange(request_rec *r, const rpc_upstream_way_t *way, rpc_stream_t *stream,
                    const char *head, apr_size_t size, apr_int64_t length, int may_go_on)
{
    rpc_upstream_answer_t answer = { .shared = rpc_front_shares(r) != NULL,
                                     .may_go_on = may_go_on != 0, .via = via_of(r, way) };
    int rv = rpc_upstream_leg(r, stream, head, size, length, rpc_upstream_timeout(r, way), &answer);

    if (answer.failed)
        fail(r, way, rv == HTTP_GATEWAY_TIME_OUT ? RPC_REASON_UPSTREAM_SILENT
                                                 : RPC_REASON_UPSTREAM_ANSWER, answer.why, rv);
    if (rv == OK && may_keep(r, &answer))
        rpc_upstream_keep(r, way->worker, stream);
    else if (rv != DONE)
        rpc_secure_drop(stream);
    return rv;
}

static int serve_small(request_rec *r, apr_int64_t length, void *ctx)
{
    const rpc_upstream_way_t *way = ctx;
    rpc_stream_t *stream;
    apr_size_t size;
    int rv;
    char *head = make_head(r, way, &size, &rv);

    return head && (stream = get_stream(r, way, &rv))
             ? exchange(r, way, stream, head, size, length, 0) : rv;
}

/* Who sends the 100 that a client expects is for mod_proxy's Proxy100Continue to say. */
static void set_expectation(request_rec *r, rpc_upstream_t *upstream)
{
    const proxy_dir_conf *conf = rpc_proxy_dir_conf(rpc_proxy_api(), r->per_dir_config);

    if (!r->expecting_100 || !conf->forward_100_continue)
        return;
    apr_table_setn(r->notes, "proxy-100-continue", "1");
    upstream->expects = 1;
}

/* DONE: the channel may go on. Else its stream has gone. */
static int send_head(request_rec *r, const rpc_upstream_way_t *way, const rpc_channel_spec_t *spec,
                     const char *head, apr_size_t size)
{
    rpc_stream_t *stream = spec->upstream.stream;

    if (spec->upstream.carry != RPC_CARRY_RPC && spec->role == RPC_OUTBOUND)
        return exchange(r, way, stream, head, size, 0, 1);
    if (rpc_secure_put(stream, head, size) == APR_SUCCESS)
        return DONE;
    rpc_secure_drop(stream);
    return HTTP_INSUFFICIENT_STORAGE;
}

static int serve_channel(request_rec *r, rpc_channel_spec_t *spec, void *ctx)
{
    const rpc_upstream_way_t *way = ctx;
    const char *via = via_of(r, way);
    rpc_upstream_t *upstream = &spec->upstream;
    apr_size_t size;
    char *head;
    int rv;

    set_expectation(r, upstream);
    head = make_head(r, way, &size, &rv);
    if (!head || !(upstream->stream = get_stream(r, way, &rv)))
        return rv;
    rv = send_head(r, way, spec, head, size);
    if (rv != DONE) {
        upstream->stream = NULL;
        return rv;
    }
    upstream->logs_on = apr_table_get(r->notes, RPC_WHO_LOGGED_ON_NOTE) != NULL;
    upstream->http10 = r->proto_num < HTTP_VERSION(1, 1);
    upstream->timeout = rpc_upstream_timeout(r, way);
    set_maps(r, way, upstream);
    if (via)
        upstream->fields = apr_pstrcat(r->pool, "Via: ", via, "\r\n", NULL);
    if (upstream->expects)
        r->expecting_100 = 0;
    rpc_upstream_begins(way->worker);
    rpc_request_follow(spec, rpc_upstream_left, way->worker);
    return rpc_request_hand_over(r, spec);
}

/* ---- hooks of mod_proxy ---- */

/* The query that goes on is the one that is judged, whatever other modules have made of R's; but
 * where a RpcBackend has a query of its own, it is the client's. */
static void set_query(request_rec *r, const char *url)
{
    const char *query = strchr(url, '?'), *asked = rpc_upstream_led(r);

    if (!asked)
        asked = query ? query + 1 : "";
    if (strcmp(r->args ? r->args : "", asked) != 0)
        r->args = *asked ? apr_pstrdup(r->pool, asked) : NULL;
}

/* A request of another method at a URL where channels go on. The server behind may take its
 * connection for the user's, so mod_proxy_http is to give it to nobody else. */
static void keep_apart(request_rec *r)
{
    const char *sent = apr_table_get(r->headers_in, "Authorization");

    if (sent && rpc_neighbours_proxied(r) && rpc_upstream_binds(sent))
        apr_table_setn(r->subprocess_env, "proxy-nokeepalive", "1");
}

static int is_http(const char *url)
{
    return ap_cstr_casecmpn(url, "http://", 7) == 0 || ap_cstr_casecmpn(url, "https://", 8) == 0;
}

/* Its server is the one that the URL names. Probes change other bits meanwhile. */
static int is_generic(const proxy_worker *worker)
{
    return (__atomic_load_n(&worker->s->status, __ATOMIC_RELAXED) & PROXY_WORKER_GENERIC) != 0;
}

static int handle_scheme(request_rec *r, proxy_worker *worker, proxy_server_conf *conf, char *url,
                         const char *proxy_host, apr_port_t proxy_port)
{
    rpc_upstream_way_t way = { worker, conf, url, proxy_host, proxy_port };
    rpc_service_t by = { serve_small, serve_channel, &way, worker->s->hostname_ex,
                         worker->s->port };
    apr_uri_t uri;

    if (!is_http(url))
        return DECLINED;
    if (!rpc_neighbours_upstream(r)) {
        keep_apart(r);
        return DECLINED;
    }
    if (is_generic(worker) && apr_uri_parse(r->pool, url, &uri) == APR_SUCCESS) {
        by.upstream = uri.hostname;
        by.port = uri.port ? uri.port : apr_uri_port_of_scheme(uri.scheme);
    }
    set_query(r, url);
    return rpc_request_serve(r, &by);
}

/* No member of the balancer has served R: the client gets an RPC error. */
static int answer_failure(int *status, request_rec *r)
{
    const char *token = apr_table_get(r->notes, FAILED_NOTE);

    if (!token && *status == HTTP_SERVICE_UNAVAILABLE && rpc_neighbours_upstream(r))
        token = rpc_reason_info(RPC_REASON_CONNECT_FAILED)->token;
    if (!token || *status != HTTP_SERVICE_UNAVAILABLE || r->status != HTTP_OK)
        return DECLINED;
    *status = rpc_request_refuse(r, rpc_reason_named(token),
                                 "no proxy behind this one can be used");
    return OK;
}

void rpc_upstream_hook(void)
{
    const rpc_proxy_api_t *api = rpc_proxy_api_find();

    if (!api)
        return;
    api->proxy_hook_scheme_handler(handle_scheme, NULL, NULL, APR_HOOK_REALLY_FIRST);
    rpc_upstream_member_hook(api);
}

void rpc_upstream_register(apr_pool_t *p, const rpc_context_t *of_requests)
{
    context = of_requests;
    rpc_upstream_connect_register(p);
    rpc_upstream_member_register(p);
    rpc_front_register(p);
    APR_OPTIONAL_HOOK(proxy, request_status, answer_failure, NULL, NULL, APR_HOOK_MIDDLE);
}
