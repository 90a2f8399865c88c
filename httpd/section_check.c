/* httpd/section_check.c: looks at each section as requests find it: merged with its server.
 *
 * A view is a section in this form, or a server without any. One setting may be in many views, as
 * an RpcBackend of the server is in all its sections: it has no effect only if it has none in all
 * views. So for each setting of a view all views are asked, and it is mentioned for the first of
 * its views alone.
 *
 * <Directory> and <If> may add to a <Location>, which no view shows. Where they set RpcValidPorts,
 * nothing is said about what RpcValidPorts lacks.
 */
#include "httpd/section_check.h"

#include <apr_strings.h>
#include <apr_tables.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>

#include "base/message_id.h"
#include "httpd/config.h"
#include "httpd/module.h"
#include "httpd/request_target.h"
#include "target/pattern.h"

APLOG_USE_MODULE(rpcproxy);

typedef struct view {
    server_rec *s;
    const char *path;               /* of the section; NULL: the server itself */
    const rpc_dir_config_t *dc;     /* merged */
    int ours;                       /* SetHandler rpcproxy, here or on the server */
} view_t;

typedef struct views {
    apr_array_header_t *list;       /* view_t */
    int hidden;                     /* sections that no view shows set RpcValidPorts */
} views_t;

static void warn(const view_t *view, const char *id, const char *text, const char *cure)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, view->s, "%s%s%s: %s: %s", id,
                 view->path ? "section " : "server ",
                 view->path ? view->path : view->s->server_hostname ? view->s->server_hostname
                                                                    : "without name",
                 text, cure);
}

/* ---- the views ---- */

/* NULL: the section has no directive of ours. */
static const rpc_dir_config_t *config_of(ap_conf_vector_t *section)
{
    return ap_get_module_config(section, &rpcproxy_module);
}

static void add_view(apr_pool_t *pool, views_t *views, server_rec *s, ap_conf_vector_t *section)
{
    const core_dir_config *core = ap_get_core_module_config(section);
    view_t *view = apr_array_push(views->list);

    view->s = s;
    view->path = section == s->lookup_defaults ? NULL : core->d;
    view->dc = view->path
        ? rpc_config_merge_dir(pool, (void *)config_of(s->lookup_defaults),
                               (void *)config_of(section))
        : config_of(section);
    view->ours = view->dc->handles == 1;
}

static int has_own_ports(const apr_array_header_t *sections)
{
    int i;

    for (i = 0; sections && i < sections->nelts; i++) {
        const rpc_dir_config_t *dc = config_of(APR_ARRAY_IDX(sections, i, ap_conf_vector_t *));

        if (dc && dc->valid_ports)
            return 1;
    }
    return 0;
}

static void add_views(apr_pool_t *pool, views_t *views, server_rec *s)
{
    const core_server_config *core = ap_get_core_module_config(s->module_config);
    const core_dir_config *defaults = ap_get_core_module_config(s->lookup_defaults);
    int i;

    add_view(pool, views, s, s->lookup_defaults);
    for (i = 0; i < core->sec_url->nelts; i++) {
        ap_conf_vector_t *section = APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *);

        if (config_of(section))
            add_view(pool, views, s, section);
    }
    views->hidden |= has_own_ports(core->sec_dir) || has_own_ports(defaults->sec_if);
}

/* ---- what leads where ---- */

/* Does RpcValidPorts of the view have an entry for a server of PATTERN at one of these ports? */
static int leads(const view_t *view, const char *pattern, apr_port_t low, apr_port_t high)
{
    const rpc_valid_ports_t *list = rpc_config_valid_ports(view->dc);
    const rpc_valid_port_t *entry;
    int i;

    for (i = 0; (entry = rpc_valid_ports_entry(list, i)); i++) {
        if (entry->low <= high && low <= entry->high && rpc_pattern_meets(entry->server, pattern))
            return 1;
    }
    return 0;
}

static const char any_server[] = "*";

/* A section of RD Gateway's own protocol, whose clients name their targets within, so RpcValidPorts
 * says nothing about them. The path may be a pattern. */
static int is_gateways(const view_t *view)
{
    const rpc_directory_t directory = rpc_config_directory(view->dc);

    return view->path && ap_strcasestr(view->path, RPC_GATEWAYS_PATH)
           && rpc_target_upstream(&directory, NULL);
}

/* Has a view the setting that HAS tells, and leads there? The first view with it is *FIRST. */
typedef int has_t(const view_t *view, const void *setting);

static int is_reached(const views_t *views, has_t *has, const void *setting, const char *pattern,
                      apr_port_t low, apr_port_t high, const view_t **first)
{
    int i;

    *first = NULL;
    for (i = 0; i < views->list->nelts; i++) {
        const view_t *view = &APR_ARRAY_IDX(views->list, i, view_t);

        if (!has(view, setting))
            continue;
        if (!*first)
            *first = view;
        if (is_gateways(view) || leads(view, pattern, low, high))
            return 1;
    }
    return 0;
}

static int has_backend(const view_t *view, const void *backend)
{
    int i;

    for (i = 0; view->dc->backends && i < view->dc->backends->nelts; i++) {
        if (APR_ARRAY_IDX(view->dc->backends, i, rpc_backend_t *) == backend)
            return 1;
    }
    return 0;
}

static void check_backends(apr_pool_t *pool, const views_t *views, const view_t *view)
{
    const apr_array_header_t *backends = view->dc->backends;
    const view_t *first;
    int i;

    for (i = 0; backends && i < backends->nelts; i++) {
        const rpc_backend_t *be = APR_ARRAY_IDX(backends, i, rpc_backend_t *);

        if (!is_reached(views, has_backend, be, be->pattern, be->low, be->high, &first)
            && first == view)
            warn(view, RPCNO(0086), apr_psprintf(pool, "RpcBackend %s has no effect", be->text),
                 "no entry of RpcValidPorts allows clients to name this server and port; add one");
    }
}

static int has_nspi_ports(const view_t *view, const void *ports)
{
    return view->dc->nspi_ports == ports;
}

static void check_nspi(apr_pool_t *pool, const views_t *views, const view_t *view)
{
    const apr_array_header_t *ports = view->dc->nspi_ports;
    const view_t *first;
    int i;

    for (i = 0; ports && i < ports->nelts; i++) {
        apr_port_t port = APR_ARRAY_IDX(ports, i, apr_port_t);

        if (!is_reached(views, has_nspi_ports, ports, any_server, port, port, &first)
            && first == view)
            warn(view, RPCNO(0087),
                 apr_psprintf(pool, "RpcNspiProtocolSequences ncacn_http:%d has no effect",
                              (int)port),
                 apr_psprintf(pool, "no entry of RpcValidPorts has the port %d; add server:%d",
                              (int)port, (int)port));
    }
    if (view->ours && view->dc->nspi_servers && !ports)
        warn(view, RPCNO(0088), "RpcNspiServers has no effect without RpcNspiProtocolSequences",
             "name the ports of the address book, as in RpcNspiProtocolSequences ncacn_http:6004");
}

static int has_rules(const view_t *view, const void *rules)
{
    return view->dc->rules == rules;
}

/* A profile has rules for ports that a site may do without. */
static void check_rules(apr_pool_t *pool, const views_t *views, const view_t *view)
{
    const view_t *first;
    const char *text;
    apr_port_t low, high;
    int i;

    for (i = 0; (text = rpc_firewall_rules_entry(view->dc->rules, i, &low, &high)); i++) {
        if (strncmp(text, "RpcAllowInterfaces", 18) == 0
            && !is_reached(views, has_rules, view->dc->rules, any_server, low, high, &first)
            && first == view)
            warn(view, RPCNO(0089), apr_psprintf(pool, "%s has no effect", text),
                 "no entry of RpcValidPorts has such a port; add one, or remove the rule");
    }
}

/* ---- one view ---- */

/* The first port of the entry that no rule names, or 0. */
static apr_port_t unnamed_port(const rpc_dir_config_t *dc, const rpc_valid_port_t *entry)
{
    const rpc_directory_t directory = rpc_config_directory(dc);
    int port;

    for (port = entry->low; port <= entry->high; port++) {
        if (!rpc_firewall_rules_cover(dc->rules, (apr_port_t)port)
            && !rpc_nspi_port(&directory.nspi, (apr_port_t)port))
            return (apr_port_t)port;
    }
    return 0;
}

static void check_unnamed_ports(apr_pool_t *pool, const view_t *view)
{
    const rpc_valid_ports_t *list = rpc_config_valid_ports(view->dc);
    const rpc_valid_port_t *entry;
    apr_port_t port, low, high;
    int i;

    if (!rpc_firewall_rules_entry(view->dc->rules, 0, &low, &high))
        return;
    for (i = 0; (entry = rpc_valid_ports_entry(list, i)); i++) {
        if (!(port = unnamed_port(view->dc, entry)))
            continue;
        warn(view, RPCNO(0090),
             apr_psprintf(pool, "%s of RpcValidPorts allows every interface at port %d",
                          entry->text, (int)port),
             "no RpcAllowInterfaces or RpcProfile names this port, though others are named; add a "
             "rule for it, or remove the port");
        return;
    }
}

static void check_view(apr_pool_t *pool, const views_t *views, const view_t *view)
{
    if (view->ours && !rpc_config_valid_ports(view->dc) && !views->hidden && !is_gateways(view))
        warn(view, RPCNO(0091),
             "SetHandler rpcproxy without RpcValidPorts answers every channel with 503",
             "name the servers that clients may reach, as in RpcValidPorts \"exch1:6001-6002\"");
    if (view->ours)
        check_unnamed_ports(pool, view);
    if (views->hidden)
        return;
    check_backends(pool, views, view);
    check_nspi(pool, views, view);
    check_rules(pool, views, view);
}

void rpc_sections_check(apr_pool_t *pool, server_rec *s)
{
    views_t views = { apr_array_make(pool, 16, sizeof(view_t)), 0 };
    int i;

    for (; s; s = s->next)
        add_views(pool, &views, s);
    for (i = 0; i < views.list->nelts; i++)
        check_view(pool, &views, &APR_ARRAY_IDX(views.list, i, view_t));
}
