/* delegate/config.c: see delegate/config.h. The directive may stand where AuthType may stand,
 * except in .htaccess: the administrator decides where credentials go.
 */
#include "delegate/config.h"

#include "base/directive_help.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "base/message_id.h"

APLOG_USE_MODULE(rpc_backend_auth);

typedef struct server_config {
    int kerberos;
} server_config_t;

void *delegate_create_dir(apr_pool_t *p, char *dir)
{
    return apr_pcalloc(p, sizeof(delegate_config_t));
}

void *delegate_merge_dir(apr_pool_t *p, void *base, void *addv)
{
    const delegate_config_t *add = addv;

    return add->mode == DELEGATE_UNSET ? base : addv;
}

void *delegate_create_server(apr_pool_t *p, server_rec *s)
{
    return apr_pcalloc(p, sizeof(server_config_t));
}

int delegate_server_has_kerberos(const server_rec *s)
{
    const server_config_t *cfg = ap_get_module_config(s->module_config, &rpc_backend_auth_module);

    return cfg->kerberos;
}

/* The AuthType that stands beside the directive, or beside a section around it; NULL: none does, so
 * it may come from another section. */
static const char *auth_type_beside(const cmd_parms *cmd)
{
    const ap_directive_t *level, *d;

    for (level = cmd->directive; level; level = level->parent) {
        for (d = level->parent ? level->parent->first_child : ap_conftree; d; d = d->next) {
            if (ap_cstr_casecmp(d->directive, "AuthType") == 0)
                return d->args;
        }
    }
    return NULL;
}

static void warn_of_nobody(const cmd_parms *cmd, const char *mode)
{
    const char *type = auth_type_beside(cmd);

    if (type && ap_cstr_casecmp(type, "None") == 0)
        ap_log_perror(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, cmd->temp_pool,
                      RPCNO(0150) "RpcBackendAuth %s (%s line %d): AuthType is None here, so "
                      "nobody is authenticated, and all requests are refused, unless a certificate "
                      "names the user", mode, cmd->directive->filename, cmd->directive->line_num);
}

/* Is TEXT "HTTP/host" or "HTTP/host@REALM", with any class of service? */
static int is_service(const char *text)
{
    const char *slash = strchr(text, '/'), *host = slash ? slash + 1 : "", *at = strchr(host, '@');

    return slash && slash != text && *host && at != host && !strpbrk(host, "/\\")
        && !memchr(text, '@', (apr_size_t)(slash - text))
        && (!at || (at[1] && !strchr(at + 1, '@')));
}

static const char *set_backend_auth(cmd_parms *cmd, void *config, const char *mode,
                                    const char *service)
{
    static const char *const names[] = { NULL, "passthrough", "basic", "kerberos" };
    delegate_config_t *cfg = config;
    server_config_t *server = ap_get_module_config(cmd->server->module_config,
                                                   &rpc_backend_auth_module);
    int i;

    for (i = DELEGATE_PASSTHROUGH; i <= DELEGATE_KERBEROS; i++) {
        if (ap_cstr_casecmp(mode, names[i]) == 0)
            cfg->mode = i;
    }
    if (cfg->mode == DELEGATE_UNSET)
        return apr_psprintf(cmd->pool,
                            RPCNO(0151) "RpcBackendAuth: \"%s\": expected passthrough, basic or "
                            "kerberos", mode);
    if (service && cfg->mode != DELEGATE_KERBEROS)
        return apr_psprintf(cmd->pool,
                            RPCNO(0152) "RpcBackendAuth: \"%s\": only kerberos has a second "
                            "argument", service);
    if (service && !is_service(service))
        return apr_psprintf(cmd->pool,
                            RPCNO(0153) "RpcBackendAuth kerberos: \"%s\": expected the service "
                            "principal name of the server behind, such as HTTP/cas.example.com or "
                            "HTTP/cas.example.com@EXAMPLE.COM", service);
    cfg->service = service;
    server->kerberos |= cfg->mode == DELEGATE_KERBEROS;
    if (cfg->mode != DELEGATE_PASSTHROUGH)
        warn_of_nobody(cmd, names[cfg->mode]);
    return NULL;
}

const command_rec delegate_commands[] = {
    AP_INIT_TAKE12("RpcBackendAuth", set_backend_auth, NULL, RSRC_CONF | ACCESS_CONF,
                    HELP_RpcBackendAuth),
    { .name = NULL }
};
