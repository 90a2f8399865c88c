/* auth/targets.c: clients send different names. Windows, Samba and FreeRDP send HTTP/ and the host
 * of the URL, some of them with the port. Impacket sends cifs/ and the computer name from the
 * challenge, whatever it has connected to. curl without SSPI sends none. The Host field of the
 * request proves nothing, because an attacker who relays a response writes that field.
 */
#include "auth/targets.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_vhost.h>

#include "auth/config.h"
#include "auth/handshake.h"
#include "base/message_id.h"

#define ANY "any"
#define HTTP "HTTP"

/* "service/host", "service/host:port" or "service/[::1]:port". A third part or an @realm behind it
 * is ignored. A host alone has the service HTTP. */
typedef struct spn {
    const char *service, *host;
} spn_t;

static spn_t spn_of(apr_pool_t *pool, const char *name)
{
    const char *slash = strchr(name, '/');
    spn_t spn = { slash ? apr_pstrmemdup(pool, name, (apr_size_t)(slash - name)) : HTTP, NULL };
    char *host = apr_pstrdup(pool, slash ? slash + 1 : name), *colon;
    apr_size_t size = strcspn(host, "/@");

    host[size] = '\0';
    colon = strrchr(host, ':');
    if (colon && (strchr(host, ':') == colon || colon[-1] == ']'))
        size = (apr_size_t)(colon - host);
    if (*host == '[' && size > 1 && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    if (size && host[size - 1] == '.')
        size--;
    spn.host = apr_pstrmemdup(pool, host, size);
    return spn;
}

/* ---- the names of the server ---- */

static int is_told(const char *name, const char *host)
{
    return name && ap_cstr_casecmp(name, host) == 0;
}

static int is_host(request_rec *r, const ntlmssp_target_t *configured, const char *host)
{
    return ap_matches_request_vhost(r, host, r->server->port)
           || ap_cstr_casecmp(host, r->connection->local_ip) == 0
           || (configured && (is_told(configured->nb_computer, host)
                              || is_told(configured->dns_computer, host)))
           || auth_ntlm_certificate_names(r, host);
}

/* A computer name that was made from the Host field is a name of this server only if the Host
 * is. */
static int is_computer(request_rec *r, const ntlmssp_target_t *configured, const char *host,
                       const ntlmssp_target_t *told)
{
    return is_told(told->nb_computer, host)
           && (configured || (r->hostname && is_host(r, NULL, spn_of(r->pool, r->hostname).host)));
}

/* ---- AuthNtlmTargets ---- */

static int is_listed(apr_pool_t *pool, const apr_array_header_t *list, const spn_t *spn)
{
    int i;

    for (i = 0; i < list->nelts; i++) {
        const char *entry = APR_ARRAY_IDX(list, i, const char *);
        spn_t ours = spn_of(pool, entry);

        if (ap_cstr_casecmp(entry, ANY) == 0
            || (ap_cstr_casecmp(ours.service, spn->service) == 0
                && ap_cstr_casecmp(ours.host, spn->host) == 0))
            return 1;
    }
    return 0;
}

int auth_ntlm_is_target(request_rec *r, const auth_ntlm_config_t *cfg, const char *name,
                        const ntlmssp_target_t *told)
{
    spn_t spn = spn_of(r->pool, name);

    if (!*name)
        return 1;
    if (cfg->targets)
        return is_listed(r->pool, cfg->targets, &spn);
    if (ap_cstr_casecmp(spn.service, HTTP) == 0)
        return is_host(r, cfg->target, spn.host);
    return ap_cstr_casecmp(spn.service, "cifs") == 0 && is_computer(r, cfg->target, spn.host, told);
}

const char *auth_ntlm_add_target(cmd_parms *cmd, apr_array_header_t **list, const char *arg)
{
    spn_t spn = spn_of(cmd->temp_pool, arg);

    if (!*spn.service || !*spn.host || strchr(spn.host, '*'))
        return apr_psprintf(cmd->pool,
                            RPCNO(0138) "AuthNtlmTargets: \"%s\": expected any, a host such as "
                            "mail.example.com, or a service and a host such as "
                            "HTTP/mail.example.com",
                            arg);
    if (!*list)
        *list = apr_array_make(cmd->pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(*list, const char *) = arg;
    return NULL;
}
