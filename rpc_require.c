/* rpc_require.c: authz providers. */
#include "rpc_require.h"
#include "mod_rpcproxy.h"

#include <apr_strings.h>
#include <ap_provider.h>
#include <http_log.h>
#include <http_request.h>
#include <mod_auth.h>

#include "rpc_target.h"

APLOG_USE_MODULE(rpcproxy);

/* ---- rpc-target ---- */

static const char *parse_target(cmd_parms *cmd, const char *line, const void **parsed)
{
    rpc_valid_ports_t *list = NULL;
    rpc_syntax_error_t err;
    const char *word;

    while (*(word = ap_getword_conf(cmd->pool, &line))) {
        if (rpc_valid_ports_parse(cmd->pool, word, list, &list, &err) != APR_SUCCESS)
            return apr_psprintf(cmd->pool, "Require rpc-target: \"%s\" at column %d of \"%s\": expected %s",
                                err.element, err.column, word, err.expected);
    }
    if (!list)
        return "Require rpc-target: expected server:ports, as for RpcValidPorts";
    *parsed = list;
    return NULL;
}

static authz_status check_target(request_rec *r, const char *line, const void *parsed)
{
    rpc_target_t target;

    if (!r->args || !*r->args)
        return AUTHZ_GRANTED;
    if (rpc_target_parse(r->pool, r->args, &target) != NULL)
        return AUTHZ_GRANTED;       /* the handler says what is wrong with it */
    if (rpc_valid_ports_match(parsed, target.server, target.port, NULL))
        return AUTHZ_GRANTED;
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "%s:%u is not in Require rpc-target %s",
                  ap_escape_logitem(r->pool, target.server), target.port, line);
    return AUTHZ_DENIED;
}

static const authz_provider target_provider = { check_target, parse_target };

void rpc_require_register(apr_pool_t *p)
{
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "rpc-target", AUTHZ_PROVIDER_VERSION,
                              &target_provider, AP_AUTH_INTERNAL_PER_CONF);
}
