/* httpd/tls_items.c: the items and variables of mod_ssl, asked of whoever knows the connection.
 *
 * mod_ssl's own functions look at its record of the connection, which a rebuilt one does not have.
 * These ask by httpd's hook ssl_var_lookup, which mod_ssl answers for live connections and
 * httpd/log_record.c for those that have gone. They say the same for any request.
 */
#include "httpd/tls_items.h"

#include <string.h>

#include <apr_optional.h>
#include <apr_strings.h>
#include <ap_expr.h>
#include <httpd.h>
#include <http_config.h>
#include <http_ssl.h>
#include <mod_log_config.h>

#include "httpd/module_hook.h"

static const char MOD_SSL[] = "mod_ssl.c";

/* ---- items of LogFormat ---- */

static const char *ssl_variable(request_rec *r, const char *name)
{
    const char *value = ap_ssl_var_lookup(r->pool, r->server, r->connection, r, name);

    return value && *value ? value : NULL;
}

static const char *item_x(request_rec *r, char *name)
{
    return ssl_variable(r, name);
}

/* Why the client's certificate was refused; the variable says "FAILED:" before it. */
static const char *fault(request_rec *r)
{
    static const char failed[] = "FAILED:";
    const char *verdict = ssl_variable(r, "SSL_CLIENT_VERIFY");

    return verdict && strncmp(verdict, failed, sizeof(failed) - 1) == 0
             ? verdict + sizeof(failed) - 1
             : NULL;
}

static const char *item_c(request_rec *r, char *name)
{
    static const struct {
        const char *name, *variable;
    } known[] = {
        { "version", "SSL_PROTOCOL" }, { "cipher", "SSL_CIPHER" },
        { "subjectdn", "SSL_CLIENT_S_DN" }, { "clientcert", "SSL_CLIENT_S_DN" },
        { "issuerdn", "SSL_CLIENT_I_DN" }, { "cacert", "SSL_CLIENT_I_DN" },
    };
    unsigned i;

    if (strcmp(name, "errstr") == 0)
        return fault(r);
    for (i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strcmp(name, known[i].name) == 0)
            return ssl_variable(r, known[i].variable);
    return NULL;
}

/* ---- %{SSL_...} in expressions ---- */

typedef struct variable {
    const char *name;
    ap_expr_var_func_t *func;       /* mod_ssl's */
    const void *data;
} variable_t;

static const char *expression_variable(ap_expr_eval_ctx_t *ctx, const void *data)
{
    const variable_t *v = data;
    const char *value = v->func(ctx, v->data);

    return value && *value ? value : ap_ssl_var_lookup(ctx->p, ctx->s, ctx->c, ctx->r, v->name);
}

static int ask_mod_ssl(ap_expr_lookup_parms *parms)
{
    ap_HOOK_expr_lookup_t *hook = RPC_MODULE_HOOK(expr_lookup, MOD_SSL);

    return hook ? hook(parms) : DECLINED;
}

static int find_variable(ap_expr_lookup_parms *parms)
{
    variable_t *v;

    if (parms->type != AP_EXPR_FUNC_VAR || ap_cstr_casecmpn(parms->name, "SSL_", 4) != 0
        || ask_mod_ssl(parms) != OK)
        return DECLINED;
    v = apr_palloc(parms->pool, sizeof(*v));
    *v = (variable_t){ apr_pstrdup(parms->pool, parms->name), (ap_expr_var_func_t *)*parms->func,
                       *parms->data };
    *parms->func = (const void *)expression_variable;
    *parms->data = v;
    return OK;
}

/* After mod_ssl, which has registered its own. */
static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    APR_OPTIONAL_FN_TYPE(ap_register_log_handler) *handle
        = APR_RETRIEVE_OPTIONAL_FN(ap_register_log_handler);

    if (handle && ap_find_linked_module(MOD_SSL)) {
        handle(pconf, "x", item_x, 0);
        handle(pconf, "c", item_c, 0);
    }
    return OK;
}

void rpc_tls_items_register(apr_pool_t *p)
{
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_expr_lookup(find_variable, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
