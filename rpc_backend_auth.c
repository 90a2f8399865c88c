/* rpc_backend_auth.c: RpcBackendAuth: the module record, and the request on its way to the server
 * behind.
 *
 * mod_proxy calls a scheme handler when it has chosen a server, perhaps one after another. Ours
 * comes before all others. It replaces the client's credentials by those that this server logs on
 * with and lets the others serve the request: mod_proxy_http, or mod_rpcproxy's relay of channels.
 * Behind them the request is as it was, so that neither a log nor an ErrorDocument sees what was
 * sent.
 *
 *   basic       the password that the client has shown, if it was checked here
 *   kerberos    a ticket of the user who was authenticated here, however that was (delegate/)
 *
 * A server may take a connection for authenticated, as IIS does with Negotiate. So mod_proxy uses a
 * connection for one request when Kerberos was spoken on it, and closes it.
 */
#include <apr_strings.h>
#include <apr_uri.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <mod_proxy.h>

#include "base/message_id.h"
#include "base/version.h"
#include "delegate/answer.h"
#include "delegate/config.h"
#include "delegate/kerberos.h"

/* Of a child, made by child_init before there are threads. */
static delegate_kerberos_t *kerberos;

/* A request on its way. */
typedef struct run {
    delegate_mode_t mode;
    const char *server;         /* scheme://host:port */
    apr_table_t *clients;       /* the fields of the request as the client has sent them */
    delegate_errand_t errand;
} run_t;

/* ---- credentials ---- */

static int has_scheme(const char *field, const char *scheme)
{
    size_t size = strlen(scheme);

    return field && ap_cstr_casecmpn(field, scheme, size) == 0 && field[size] == ' ';
}

/* The variable by which mod_rpcproxy tells logs, too, why a channel has ended. */
static void note_reason(request_rec *r)
{
    apr_table_setn(r->subprocess_env, "RPC_REASON", "upstream-logon");
}

/* Logs why there are no credentials for the server behind; returns STATUS. */
static int refuse(request_rec *r, const run_t *run, int status, const char *why)
{
    note_reason(r);
    ap_log_rerror(APLOG_MARK, status == HTTP_BAD_GATEWAY ? APLOG_ERR : APLOG_WARNING, 0, r,
                  RPCNO(0146) "RpcBackendAuth %s: the request of user \"%s\" does not go to %s: %s",
                  run->mode == DELEGATE_BASIC ? "basic" : "kerberos", r->user ? r->user : "",
                  run->server, why);
    return status;
}

static int basic_field(request_rec *r, const run_t *run, const char **field)
{
    *field = apr_table_get(r->headers_in, "Authorization");
    if (!r->ap_auth_type || ap_cstr_casecmp(r->ap_auth_type, "Basic") != 0)
        return refuse(r, run, HTTP_FORBIDDEN,
                      apr_psprintf(r->pool, "the user was authenticated by %s, so there is no "
                                   "password (RpcBackendAuth kerberos needs none)",
                                   r->ap_auth_type ? r->ap_auth_type
                                                   : "other means than AuthType"));
    if (!has_scheme(*field, "Basic"))
        return refuse(r, run, HTTP_FORBIDDEN, "the request has no field Authorization with the "
                      "password any more");
    return OK;
}

static int kerberos_field(request_rec *r, const delegate_config_t *cfg, const apr_uri_t *uri,
                          run_t *run, const char **field)
{
    static const int statuses[] = {
        [DELEGATE_REFUSED] = HTTP_FORBIDDEN, [DELEGATE_BROKEN] = HTTP_BAD_GATEWAY,
        [DELEGATE_SILENT] = HTTP_GATEWAY_TIME_OUT
    };
    delegate_errand_t *errand = &run->errand;

    errand->pool = r->pool;
    errand->who.user = r->user;
    errand->who.principal = apr_table_get(r->subprocess_env, "GSS_NAME");
    errand->who.domain = apr_table_get(r->notes, RPC_WHO_ANY_DOMAIN_NOTE) ? RPC_WHO_ANY_DOMAIN
                                                                          : RPC_WHO_WITH_DOMAIN;
    errand->ccache = apr_table_get(r->subprocess_env, "KRB5CCNAME");
    errand->service = cfg->service ? cfg->service
                                   : apr_pstrcat(r->pool, "HTTP/", uri->hostname, NULL);
    if (!kerberos)
        return refuse(r, run, HTTP_BAD_GATEWAY,
                      "this child had no memory for tickets when it began");
    *field = delegate_kerberos_field(kerberos, errand);
    if (!*field)
        return refuse(r, run, statuses[errand->fault.kind], errand->fault.why);
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "user \"%s\" is %s for %s at %s",
                  r->user, errand->names.client, errand->names.service, run->server);
    return OK;
}

/* ---- the way to the server and back ---- */

/* delegate_refused_t. The error may be served by another URL (ErrorDocument), which is given the
 * request's fields. */
static int refuse_answer(request_rec *r, const char *offered, void *data)
{
    const run_t *run = data;

    r->headers_in = run->clients;
    note_reason(r);
    if (run->mode == DELEGATE_BASIC) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      RPCNO(0147) "RpcBackendAuth basic: %s has refused the password of user "
                      "\"%s\": 401, WWW-Authenticate: %s", run->server, r->user, offered);
        return HTTP_FORBIDDEN;
    }
    delegate_kerberos_refused(kerberos, &run->errand);
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                  RPCNO(0148) "RpcBackendAuth kerberos: %s has refused the ticket of user \"%s\" "
                  "(%s for %s): 401, WWW-Authenticate: %s; does the service use the account of "
                  "this name, and is its clock right?",
                  run->server, r->user, run->errand.names.client,
                  run->errand.names.service, offered);
    return HTTP_BAD_GATEWAY;
}

/* One request for each connection. */
static void keep_apart(request_rec *r)
{
    apr_table_setn(r->subprocess_env, "proxy-nokeepalive", "1");
}

/* Has the other scheme handlers serve R with FIELD as its credentials. */
static int serve(request_rec *r, run_t *run, const char *field, proxy_worker *worker,
                 proxy_server_conf *conf, char *url, const char *proxy, apr_port_t port)
{
    int status;

    run->clients = r->headers_in;
    r->headers_in = apr_table_copy(r->pool, run->clients);
    apr_table_set(r->headers_in, "Authorization", field);
    apr_table_setn(r->notes, RPC_WHO_LOGGED_ON_NOTE, "1");
    delegate_answer_watch(r, refuse_answer, run);
    ap_set_module_config(r->request_config, &rpc_backend_auth_module, run);
    status = proxy_run_scheme_handler(r, worker, conf, url, proxy, port);
    ap_set_module_config(r->request_config, &rpc_backend_auth_module, NULL);
    apr_table_unset(r->notes, RPC_WHO_LOGGED_ON_NOTE);
    r->headers_in = run->clients;
    return delegate_answer_status(r, status, refuse_answer, run);
}

static int is_http(const apr_uri_t *uri)
{
    static const char *const schemes[] = { "http", "https", "ws", "wss" };
    size_t i;

    for (i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
        if (uri->scheme && ap_cstr_casecmp(uri->scheme, schemes[i]) == 0)
            return uri->hostname != NULL;
    }
    return 0;
}

/* The credentials for the server at URL. Returns OK, or the status for the client. */
static int credentials(request_rec *r, const delegate_config_t *cfg, const char *url, run_t *run,
                       const char **field)
{
    apr_uri_t uri;

    run->mode = cfg->mode;
    run->server = url;
    if (apr_uri_parse(r->pool, url, &uri) != APR_SUCCESS || !is_http(&uri))
        return refuse(r, run, HTTP_BAD_GATEWAY, "RpcBackendAuth is for http, https, ws and wss");
    run->server = apr_pstrcat(r->pool, uri.scheme, "://", uri.hostinfo, NULL);
    if (!r->user || !*r->user)
        return refuse(r, run, HTTP_FORBIDDEN, "nobody has been authenticated here: the section "
                      "needs an AuthType and a Require");
    if (cfg->mode == DELEGATE_BASIC)
        return basic_field(r, run, field);
    keep_apart(r);
    return kerberos_field(r, cfg, &uri, run, field);
}

static int before_schemes(request_rec *r, proxy_worker *worker, proxy_server_conf *conf, char *url,
                          const char *proxy, apr_port_t port)
{
    const delegate_config_t *cfg = ap_get_module_config(r->per_dir_config,
                                                        &rpc_backend_auth_module);
    const char *sent = apr_table_get(r->headers_in, "Authorization"), *field = NULL;
    run_t *run;
    int status;

    if (r->proxyreq != PROXYREQ_REVERSE || cfg->mode == DELEGATE_UNSET
        || ap_get_module_config(r->request_config, &rpc_backend_auth_module))
        return DECLINED;
    if (cfg->mode == DELEGATE_PASSTHROUGH) {
        if (has_scheme(sent, "NTLM") || has_scheme(sent, "Negotiate"))
            keep_apart(r);
        return DECLINED;
    }
    run = apr_pcalloc(r->pool, sizeof(*run));
    status = credentials(r, cfg, url, run, &field);
    return status == OK ? serve(r, run, field, worker, conf, url, proxy, port) : status;
}

/* ---- the server's life ---- */

/* For configtest as well. Children may read less than root. */
static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const char *fault;
    const server_rec *any = s;

    while (any && !delegate_server_has_kerberos(any))
        any = any->next;
    fault = any ? delegate_gss_keytab_fault(ptemp) : NULL;
    if (fault)
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, s,
                     RPCNO(0149) "RpcBackendAuth kerberos: %s",
                     fault);
    return OK;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    ap_add_version_component(pconf, "mod_rpc_backend_auth/" RPCPROXY_VERSION);
    return OK;
}

static void child_init(apr_pool_t *p, server_rec *s)
{
    kerberos = delegate_kerberos_make();
}

static void register_hooks(apr_pool_t *p)
{
    delegate_answer_register(p);
    proxy_hook_scheme_handler(before_schemes, NULL, NULL, APR_HOOK_REALLY_FIRST - 1);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(rpc_backend_auth) = {
    /* STANDARD20_MODULE_STUFF with the name that <IfModule> and mod_info know: not that of this
     * file, but that of the module, as for all others. */
    MODULE_MAGIC_NUMBER_MAJOR, MODULE_MAGIC_NUMBER_MINOR, -1, "mod_rpc_backend_auth.c", NULL, NULL,
    MODULE_MAGIC_COOKIE, NULL,
    delegate_create_dir,
    delegate_merge_dir,
    delegate_create_server,
    NULL,
    delegate_commands,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
