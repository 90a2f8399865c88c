/* httpd/neighbours.c: takes requests back from other modules.
 *
 *   translate_name     first, before ProxyPass and the RewriteRules of the server: remember what
 *                      was asked for; a path that differs from a section's in case alone is the
 *                      section's
 *   map_to_storage     another module may have taken the request by now, as a proxy or by another
 *                      path: undo that; else spare httpd the search for a file
 *   header_parser      remember the query as authorization is to see it
 *   fixups             last, behind the RewriteRules of directories: the same again. A redirect
 *                      to another URL of ours is left alone.
 */
#include "httpd/neighbours.h"

#include <apr_strings.h>
#include <ap_expr.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_request.h>

#include "base/message_id.h"
#include "httpd/config.h"
#include "httpd/module.h"
#include "httpd/request_target.h"
#include "httpd/upstream_config.h"

APLOG_USE_MODULE(rpcproxy);

#define ASKED_PATH "rpcproxy-asked-path"    /* notes of a request */
#define ASKED_QUERY "rpcproxy-asked-query"
#define NO_FILE "rpcproxy-no-file"

/* mod_rewrite's handler, and what r->filename is for it: redirect:URL */
static const char redirect_handler[] = "redirect-handler";
static const char redirect_prefix[] = "redirect:";

/* ---- what is configured ---- */

static int has_directives(const ap_conf_vector_t *section)
{
    const rpc_dir_config_t *dc = ap_get_module_config(section, &rpcproxy_module);

    return dc && dc->in_section;
}

/* SetHandler takes an expression. A ProxyPass in the same section says that somebody else is the
 * RPC proxy. */
static int is_ours(request_rec *r, ap_conf_vector_t *section)
{
    const rpc_dir_config_t *dc = ap_get_module_config(section, &rpcproxy_module);
    const core_dir_config *core = ap_get_core_module_config(section);
    const char *error = NULL, *handler = core->handler;

    if (dc && dc->proxied && (dc->proxied == core->expr_handler || dc->proxied == handler))
        return 0;
    if (core->expr_handler)
        handler = ap_expr_str_exec(r, core->expr_handler, &error);
    return handler && !error && ap_cstr_casecmp(handler, RPC_HANDLER_NAME) == 0;
}

int rpc_neighbours_proxied(request_rec *r)
{
    return r->proxyreq == PROXYREQ_REVERSE && has_directives(r->per_dir_config)
        && !is_ours(r, r->per_dir_config);
}

int rpc_neighbours_upstream(request_rec *r)
{
    return r->proxyreq == PROXYREQ_REVERSE && rpc_request_kind(r).role >= 0
        && (rpc_upstream_led(r) || rpc_neighbours_proxied(r));
}

int rpc_neighbours_ours(request_rec *r)
{
    return is_ours(r, r->per_dir_config) || rpc_neighbours_upstream(r);
}

/* The sections that httpd would find for PATH, were it not for other modules, if they are ours;
 * else NULL. On a copy of R. What httpd keeps of its own walks through them is put back, as it
 * compares them after a redirect. */
static ap_conf_vector_t *our_section(const request_rec *r, const char *path)
{
    static const apr_size_t walks[] = {
        AP_NOTE_DIRECTORY_WALK, AP_NOTE_LOCATION_WALK, AP_NOTE_FILE_WALK, AP_NOTE_IF_WALK
    };
    request_rec copy = *r;
    void *kept[sizeof(walks) / sizeof(*walks)];
    apr_size_t i;
    int ours;

    for (i = 0; i < sizeof(walks) / sizeof(*walks); i++)
        kept[i] = *ap_get_request_note(&copy, walks[i]);
    copy.proxyreq = PROXYREQ_NONE;
    copy.uri = apr_pstrdup(r->pool, path);
    copy.filename = copy.path_info = NULL;
    copy.canonical_filename = NULL;
    copy.handler = NULL;
    copy.finfo.filetype = APR_NOFILE;
    copy.per_dir_config = r->server->lookup_defaults;
    ours = ap_core_translate(&copy) == OK && ap_directory_walk(&copy) == OK
        && ap_file_walk(&copy) == OK && ap_location_walk(&copy) == OK && ap_if_walk(&copy) == OK
        && is_ours(&copy, copy.per_dir_config);
    for (i = 0; i < sizeof(walks) / sizeof(*walks); i++)
        *ap_get_request_note(&copy, walks[i]) = kept[i];
    return ours ? copy.per_dir_config : NULL;
}

/* The path of a section of ours that is PATH but for its case; NULL: there is none. IIS knows no
 * case, and clients write paths as they like. */
static char *other_case(request_rec *r, const char *path)
{
    const core_server_config *core = ap_get_core_module_config(r->server->module_config);
    ap_conf_vector_t **sections = (ap_conf_vector_t **)core->sec_url->elts;
    int i;

    for (i = 0; i < core->sec_url->nelts; i++) {
        const core_dir_config *section = ap_get_core_module_config(sections[i]);

        if (!section->r && !section->d_is_fnmatch && ap_cstr_casecmp(section->d, path) == 0
            && (is_ours(r, sections[i]) || has_directives(sections[i])))
            return section->d;
    }
    return NULL;
}

/* ---- taking back ---- */

static int is_rpc(const request_rec *r)
{
    return ap_cstr_casecmpn(r->method, "RPC_", 4) == 0 || rpc_request_kind(r).role >= 0;
}

/* Folders are httpd's, whatever SetHandler says; but version 1 asks for / (3.1.2.3). */
static int is_folder(const request_rec *r)
{
    apr_size_t length = strlen(r->uri);

    return !is_rpc(r) && length && r->uri[length - 1] == '/';
}

static void remember_query(request_rec *r)
{
    if (r->args)
        apr_table_setn(r->notes, ASKED_QUERY, apr_pstrdup(r->pool, r->args));
    else
        apr_table_unset(r->notes, ASKED_QUERY);
}

static void remember(request_rec *r, const char *path)
{
    apr_table_setn(r->notes, ASKED_PATH, path);
    remember_query(r);
}

/* Where mod_proxy maps URLs before they are decoded (mapping=encoded). */
static int before_encoded(request_rec *r)
{
    char *path = apr_pstrdup(r->pool, r->uri);

    if (!r->main && !r->proxyreq && is_rpc(r) && ap_unescape_url(path) == OK)
        remember(r, path);
    return DECLINED;
}

/* httpd has looked for sections with the path as it came. */
static void correct_case(request_rec *r)
{
    const char *path = other_case(r, r->uri);

    if (!path)
        return;
    r->uri = apr_pstrdup(r->pool, path);
    r->per_dir_config = r->server->lookup_defaults;
    ap_location_walk(r);
}

/* What a RpcBackend sends to a proxy behind us is nobody else's from here on. */
static int before_others(request_rec *r)
{
    const ap_conf_vector_t *section;
    int ours;

    if (r->main || r->proxyreq || is_folder(r))
        return DECLINED;
    ours = is_ours(r, r->per_dir_config);
    if (!ours && !is_rpc(r))
        return DECLINED;
    if (!ours && !has_directives(r->per_dir_config)) {
        correct_case(r);
        ours = is_ours(r, r->per_dir_config);
    }
    remember(r, apr_pstrdup(r->pool, r->uri));
    if (ours && is_rpc(r))
        apr_table_setn(r->notes, NO_FILE, "");
    section = ours || has_directives(r->per_dir_config) ? r->per_dir_config
                                                        : our_section(r, r->uri);
    return section && rpc_upstream_lead(r, section) ? OK : DECLINED;
}

static void take_back(request_rec *r, const char *from)
{
    const char *query = apr_table_get(r->notes, ASKED_QUERY);

    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  RPCNO(0011) "%s %s is not given to %s: SetHandler rpcproxy is configured "
                  "for it",
                  r->method, r->uri, from);
    r->proxyreq = PROXYREQ_NONE;
    r->args = query ? apr_pstrdup(r->pool, query) : NULL;
}

static int behind_translation(request_rec *r)
{
    const char *path = apr_table_get(r->notes, ASKED_PATH);
    int proxy = r->proxyreq == PROXYREQ_REVERSE, rv;
    const ap_conf_vector_t *section;

    if (!path || rpc_upstream_led(r) || (!proxy && strcmp(path, r->uri) == 0)
        || !(section = our_section(r, path))
        || (!proxy && our_section(r, r->uri)))
        return DECLINED;
    take_back(r, proxy ? r->filename : r->uri);
    r->uri = apr_pstrdup(r->pool, path);
    r->filename = r->path_info = NULL;
    r->handler = NULL;
    if (rpc_upstream_lead(r, section))
        return DECLINED;
    rv = ap_core_translate(r);
    return rv == OK ? DECLINED : rv;
}

/* httpd would ask the file system for the file of this path, then for each folder on the way, once
 * a channel. It goes by what is known already; <Directory>, <Files> and .htaccess count as ever. */
static int spare_search(request_rec *r)
{
    const char *path = apr_table_get(r->notes, ASKED_PATH);

    if (path && apr_table_get(r->notes, NO_FILE) && !r->proxyreq && strcmp(path, r->uri) == 0)
        r->finfo.filetype = APR_REG;
    return DECLINED;
}

static int before_authorization(request_rec *r)
{
    remember_query(r);
    return DECLINED;
}

/* Does a RewriteRule of a directory lead to another URL of ours? */
static int leads_to_us(const request_rec *r)
{
    const char *url = r->filename;

    if (strcmp(r->handler, redirect_handler) != 0 || !url
        || strncmp(url, redirect_prefix, sizeof(redirect_prefix) - 1) != 0)
        return 0;
    url += sizeof(redirect_prefix) - 1;
    return our_section(r, apr_pstrmemdup(r->pool, url, strcspn(url, "?"))) != NULL;
}

static int behind_all(request_rec *r)
{
    if (r->main || is_folder(r) || r->finfo.filetype == APR_DIR || rpc_neighbours_upstream(r)
        || !rpc_neighbours_ours(r))
        return DECLINED;
    if (!r->proxyreq && r->handler && (strcmp(r->handler, RPC_HANDLER_NAME) == 0 || leads_to_us(r)))
        return DECLINED;
    take_back(r, r->filename ? r->filename : "another handler");
    r->handler = RPC_HANDLER_NAME;
    return DECLINED;
}

void rpc_neighbours_register(apr_pool_t *p)
{
    static const char *const others[] = { "mod_rewrite.c", "mod_proxy.c", "mod_dir.c", NULL };

    ap_hook_pre_translate_name(before_encoded, NULL, others, APR_HOOK_REALLY_FIRST);
    ap_hook_translate_name(before_others, NULL, others, APR_HOOK_REALLY_FIRST);
    ap_hook_map_to_storage(behind_translation, NULL, others, APR_HOOK_REALLY_FIRST);
    ap_hook_map_to_storage(spare_search, NULL, NULL, APR_HOOK_LAST);
    ap_hook_header_parser(before_authorization, NULL, NULL, APR_HOOK_LAST);
    ap_hook_fixups(behind_all, others, NULL, APR_HOOK_REALLY_LAST);
}
