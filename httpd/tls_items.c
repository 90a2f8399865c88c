/* httpd/tls_items.c: the items of mod_ssl, asked of whoever knows the connection.
 *
 * mod_ssl's own handlers of these items look at its record of the connection, which a rebuilt one does not
 * have. These ask by httpd's hook ssl_var_lookup, as mod_ssl answers it for live connections and
 * httpd/record.c for those that have gone. They say the same for any request.
 */
#include "httpd/tls_items.h"

#include <string.h>

#include <apr_optional.h>
#include <httpd.h>
#include <http_config.h>
#include <http_ssl.h>
#include <mod_log_config.h>

static const char *look_up(request_rec *r, const char *name)
{
    const char *value = ap_ssl_var_lookup(r->pool, r->server, r->connection, r, name);

    return value && *value ? value : NULL;
}

static const char *item_x(request_rec *r, char *name)
{
    return look_up(r, name);
}

/* Why the client's certificate was refused; the variable says "FAILED:" before it. */
static const char *fault(request_rec *r)
{
    static const char failed[] = "FAILED:";
    const char *verdict = look_up(r, "SSL_CLIENT_VERIFY");

    return verdict && strncmp(verdict, failed, sizeof(failed) - 1) == 0 ? verdict + sizeof(failed) - 1 : NULL;
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
            return look_up(r, known[i].variable);
    return NULL;
}

/* After mod_ssl, which has registered its own. */
static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    APR_OPTIONAL_FN_TYPE(ap_register_log_handler) *handle = APR_RETRIEVE_OPTIONAL_FN(ap_register_log_handler);

    if (handle && ap_find_linked_module("mod_ssl.c")) {
        handle(pconf, "x", item_x, 0);
        handle(pconf, "c", item_c, 0);
    }
    return OK;
}

void rpc_tls_items_register(apr_pool_t *p)
{
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_REALLY_LAST);
}
