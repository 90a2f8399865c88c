/* httpd/upstream_config.c: see httpd/upstream_config.h. mod_proxy shows a balancer of ours in its
 * balancer-manager as any other.
 */
#include "httpd/upstream_config.h"

#include <apr_strings.h>
#include <ap_provider.h>
#include <http_core.h>

#include "base/message_id.h"
#include "httpd/config.h"
#include "httpd/module.h"
#include "httpd/proxy_api.h"
#include "httpd/request_target.h"
#include "target/pattern.h"

/* A note of a request: the query that the client has sent, perhaps "". */
#define LED_NOTE "rpcproxy-led"

/* ---- the directive ---- */

/* Where the path and the query of a URL begin. */
static const char *behind_host(const char *url)
{
    url = strstr(url, "://") + 3;
    return url + strcspn(url, "/");
}

static const char *host_part(apr_pool_t *pool, const char *url)
{
    return apr_pstrmemdup(pool, url, (apr_size_t)(behind_host(url) - url));
}

static int is_balancer(const char *url)
{
    return ap_cstr_casecmpn(url, "balancer:", 9) == 0;
}

static const char places_key[] = "rpcproxy-upstreams";      /* userdata of pconf */

const apr_array_header_t *rpc_upstream_places(apr_pool_t *pconf)
{
    void *list = NULL;

    apr_pool_userdata_get(&list, places_key, pconf);
    return list;
}

/* Each once. */
static void note_upstream(const cmd_parms *cmd, const char *name, const char *path)
{
    apr_array_header_t *list = (apr_array_header_t *)rpc_upstream_places(cmd->pool);
    int i;

    if (!list) {
        list = apr_array_make(cmd->pool, 4, sizeof(rpc_upstream_place_t));
        apr_pool_userdata_setn(list, places_key, NULL, cmd->pool);
    }
    for (i = 0; i < list->nelts; i++) {
        const rpc_upstream_place_t *place = &APR_ARRAY_IDX(list, i, rpc_upstream_place_t);

        if (place->server == cmd->server && strcmp(place->name, name) == 0
            && strcmp(place->path, path) == 0)
            return;
    }
    APR_ARRAY_PUSH(list, rpc_upstream_place_t) = (rpc_upstream_place_t){ cmd->server, name, path };
}

static const char *path_of(apr_pool_t *pool, const char *url)
{
    const char *path = behind_host(url);

    return apr_pstrmemdup(pool, path, strcspn(path, "?"));
}

static const char *define_worker(cmd_parms *cmd, const rpc_proxy_api_t *api,
                                 proxy_server_conf *conf, const char *url)
{
    const char *host = host_part(cmd->pool, url);
    proxy_worker *worker = api->ap_proxy_get_worker(cmd->temp_pool, NULL, conf, host);

    return worker ? NULL : api->ap_proxy_define_worker(cmd->pool, &worker, NULL, conf, host, 0);
}

/* Without weights the first that is up serves; with weights each has its share of the clients. */
static const char *add_member(cmd_parms *cmd, const rpc_proxy_api_t *api, proxy_server_conf *conf,
                              proxy_balancer *balancer, const rpc_place_t *place)
{
    proxy_worker *worker;
    int index = balancer->workers->nelts;
    const char *wrong = api->ap_proxy_define_worker(cmd->pool, &worker, balancer, conf,
                                                    host_part(cmd->pool, place->url), 0);

    if (wrong)
        return wrong;
    worker->s->lbset = place->weight ? 0 : index;
    if (place->weight)
        worker->s->lbfactor = place->weight;
    return NULL;
}

static const char *define_balancer(cmd_parms *cmd, const rpc_proxy_api_t *api,
                                   proxy_server_conf *conf, rpc_backend_t *backend,
                                   const char **name)
{
    proxy_balancer *balancer;
    const char *wrong;
    int i;

    /* The same line of another file may have one. */
    *name = apr_psprintf(cmd->pool, "balancer://rpcbackend-%d", cmd->directive->line_num);
    for (i = 1; i < 100 && api->ap_proxy_get_balancer(cmd->temp_pool, conf, *name, 0); i++)
        *name = apr_psprintf(cmd->pool, "balancer://rpcbackend-%d-%d", cmd->directive->line_num, i);
    wrong = api->ap_proxy_define_balancer(cmd->pool, &balancer, conf, *name, "/", 0);
    if (wrong)
        return wrong;
    balancer->lbmethod = ap_lookup_provider(PROXY_LBMETHOD, "rpctarget", "0");
    apr_cpystrn(balancer->s->lbpname, "rpctarget", sizeof(balancer->s->lbpname));
    for (i = 0; i < backend->count && !wrong; i++)
        wrong = add_member(cmd, api, conf, balancer, &backend->places[i]);
    return wrong;
}

/* One URL stands for all, so they differ in their hosts alone. */
static const char *check_urls(const cmd_parms *cmd, const rpc_backend_t *backend)
{
    const char *first = behind_host(backend->places[0].url);
    int i;

    for (i = 1; i < backend->count; i++)
        if (strcmp(behind_host(backend->places[i].url), first) != 0)
            return apr_psprintf(cmd->pool,
                                RPCNO(0097) "RpcBackend: \"%s\": expected the same path as in the "
                                "first URL: \"%s\"", backend->places[i].url, first);
    for (i = 0; i < backend->count; i++)
        if (is_balancer(backend->places[i].url) && backend->count > 1)
            return RPCNO(0098) "RpcBackend: a balancer:// stands alone, because the balancer "
                   "chooses";
    return NULL;
}

const char *rpc_upstream_define(cmd_parms *cmd, rpc_backend_t *backend)
{
    const rpc_proxy_api_t *api = rpc_proxy_api();
    const char *wrong = check_urls(cmd, backend);
    const char *name = host_part(cmd->pool, backend->places[0].url);
    proxy_server_conf *conf;

    if (wrong)
        return wrong;
    if (!api || !ap_find_linked_module("mod_proxy_http.c"))
        return RPCNO(0099) "RpcBackend: a URL needs mod_proxy and mod_proxy_http: add LoadModule "
               "lines for proxy_module and proxy_http_module";
    /* httpd makes the settings of a module with its first directive. */
    ap_set_config_vectors(cmd->server, cmd->context, cmd->path, api->proxy_module, cmd->pool);
    conf = rpc_proxy_server_conf(api, cmd->server);
    if (backend->count > 1)
        wrong = define_balancer(cmd, api, conf, backend, &name);
    else if (!is_balancer(name))
        wrong = define_worker(cmd, api, conf, name);
    if (!wrong)
        note_upstream(cmd, name, path_of(cmd->pool, backend->places[0].url));
    backend->upstream = apr_pstrcat(cmd->pool, name, behind_host(backend->places[0].url), NULL);
    return wrong;
}

/* ---- ProxyPass ---- */

static void check_section(apr_pool_t *pconf, const rpc_proxy_api_t *api, ap_conf_vector_t *section)
{
    const core_dir_config *core = ap_get_core_module_config(section);
    const proxy_dir_conf *proxy = rpc_proxy_dir_conf(api, section);
    rpc_dir_config_t *dc = ap_get_module_config(section, &rpcproxy_module);

    if (!proxy || !proxy->alias_set || (!core->handler && !core->expr_handler))
        return;
    if (!dc) {
        dc = rpc_config_create_dir(pconf, core->d);
        ap_set_module_config(section, &rpcproxy_module, dc);
    }
    dc->proxied = core->expr_handler ? (const void *)core->expr_handler : core->handler;
}

void rpc_upstream_check(apr_pool_t *pconf, server_rec *s)
{
    const rpc_proxy_api_t *api = rpc_proxy_api();
    int i;

    for (; api && s; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);

        for (i = 0; core->sec_url && i < core->sec_url->nelts; i++)
            check_section(pconf, api, APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *));
    }
}

/* ---- requests ---- */

/* The path is that of the client where the URL has none; a query likewise. A '*' in the query is
 * the text that the pattern's '*' stands for in the target's name. NULL: it may not be. */
static const char *complete_url(request_rec *r, const rpc_backend_t *backend,
                                const rpc_target_t *target)
{
    const char *url = backend->upstream, *star = strchr(url, '*'), *text;

    if (!*behind_host(url))
        url = apr_pstrcat(r->pool, url, ap_os_escape_path(r->pool, r->uri, 1), NULL);
    if (star) {
        text = target ? rpc_pattern_captured(r->pool, backend->pattern, target->server) : NULL;
        if (!text)
            return NULL;
        return apr_pstrcat(r->pool, apr_pstrmemdup(r->pool, url, (apr_size_t)(star - url)), text,
                           star + 1, NULL);
    }
    return r->args && *r->args && !strchr(url, '?') ? apr_pstrcat(r->pool, url, "?", r->args, NULL)
                                                    : url;
}

int rpc_upstream_lead(request_rec *r, const ap_conf_vector_t *section)
{
    const rpc_dir_config_t *dc = ap_get_module_config(section, &rpcproxy_module);
    const char *asked = r->args ? r->args : "", *url;
    rpc_request_kind_t kind = rpc_request_kind(r);
    int named = kind.carry == RPC_CARRY_RPC && *asked;
    const rpc_target_t *target = named ? rpc_request_target(r, NULL) : NULL;
    rpc_directory_t directory;
    const rpc_backend_t *backend;

    if (!dc || !dc->backends || kind.role < 0 || (named && !target))
        return 0;
    directory = rpc_config_directory(dc);
    backend = rpc_target_upstream(&directory, target);
    url = backend ? complete_url(r, backend, target) : NULL;
    if (!url)
        return 0;
    apr_table_setn(r->notes, LED_NOTE, apr_pstrdup(r->pool, asked));
    apr_table_setn(r->notes, "proxy-nocanon", "1");
    r->filename = apr_pstrcat(r->pool, "proxy:", url, NULL);
    r->handler = "proxy-server";
    r->proxyreq = PROXYREQ_REVERSE;
    return 1;
}

const char *rpc_upstream_led(const request_rec *r)
{
    return r->proxyreq == PROXYREQ_REVERSE ? apr_table_get(r->notes, LED_NOTE) : NULL;
}
