/* httpd/require.c: authz providers. */
#include "httpd/require.h"

#include "base/message_id.h"
#include "httpd/directives.h"
#include "httpd/module.h"
#include "httpd/request_target.h"

#include <apr_strings.h>
#include <ap_provider.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_auth.h>

APLOG_USE_MODULE(rpcproxy);

/* ---- rpc-target ---- */

static const char *parse_target(cmd_parms *cmd, const char *line, const void **parsed)
{
    rpc_valid_ports_t *list = NULL;
    rpc_syntax_error_t err;
    const char *word;

    while (*(word = ap_getword_conf(cmd->pool, &line))) {
        if (rpc_valid_ports_parse(cmd->pool, word, list, &list, &err) != APR_SUCCESS)
            return apr_psprintf(cmd->pool,
                                RPCNO(0094) "Require rpc-target: \"%s\" at column %d of \"%s\": "
                                "expected %s",
                                err.element, err.column, word, err.expected);
    }
    rpc_directive_surprises(cmd, list, NULL);
    if (!list)
        return RPCNO(0095) "Require rpc-target: expected server:ports, as for RpcValidPorts";
    *parsed = list;
    return NULL;
}

static authz_status check_require_target(request_rec *r, const char *line, const void *parsed)
{
    const rpc_target_t *target;

    if (!r->args || !*r->args)
        return AUTHZ_GRANTED;
    if (!(target = rpc_request_target(r, NULL)))
        return AUTHZ_GRANTED;       /* the handler says what is wrong with it */
    if (rpc_valid_ports_match(parsed, target->server, target->port, NULL))
        return AUTHZ_GRANTED;
    if (!r->user && ap_auth_type(r))
        return AUTHZ_DENIED_NO_USER;    /* 401: a client that is not authenticated learns nothing */
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "%s:%u is not in Require rpc-target %s",
                  ap_escape_logitem(r->pool, target->server), target->port, line);
    return AUTHZ_DENIED;
}

static const authz_provider target_provider = { check_require_target, parse_target };

/* ---- rpc-interface ---- */

/* Userdata of a request's pool: the rpc_firewall_rules_t that its authorization has collected. */
static const char said_key[] = "rpcproxy-require-interface";

const rpc_firewall_rules_t *rpc_require_interfaces(request_rec *r)
{
    void *said = NULL;

    apr_pool_userdata_get(&said, said_key, r->pool);
    return said;
}

/* httpd first authorizes without a user, and may evaluate more sections then. The rules of that
 * pass do not count for the later pass with a user, which follows authentication. */
static int forget_rules(request_rec *r)
{
    apr_pool_userdata_setn(NULL, said_key, NULL, r->pool);
    return DECLINED;
}

/* ---- asking again ---- */

/* What authorization was asked about last, in a request and those it was redirected from. */
typedef struct asked {
    const char *query;
    const ap_conf_vector_t *section;
} asked_t;

static const char asked_key[] = "rpcproxy-asked";

static void note_asked(request_rec *r)
{
    asked_t *asked = apr_palloc(r->pool, sizeof(*asked));

    asked->query = r->args ? apr_pstrdup(r->pool, r->args) : "";
    asked->section = r->per_dir_config;
    apr_pool_userdata_setn(asked, asked_key, NULL, r->pool);
}

static int before_asking(request_rec *r)
{
    note_asked(r);
    return forget_rules(r);
}

int rpc_require_outdated(request_rec *r)
{
    void *data = NULL;
    const asked_t *asked;

    apr_pool_userdata_get(&data, asked_key, r->pool);
    asked = data;
    return !asked || asked->section != r->per_dir_config || strcmp(asked->query,
                                                                   r->args ? r->args : "") != 0;
}

int rpc_require_ask_again(request_rec *r)
{
    int rv;

    before_asking(r);
    rv = r->user ? ap_run_auth_checker(r) : ap_run_access_checker_ex(r);
    if (rv != DECLINED)
        return rv;
    ap_note_auth_failure(r);    /* it takes a user to say so */
    return HTTP_UNAUTHORIZED;
}

/* ---- rpc-interface ---- */

static const char *parse_require_interface(cmd_parms *cmd, const char *line, const void **parsed)
{
    rpc_firewall_rules_t *rules;
    rpc_syntax_error_t err;

    if (rpc_firewall_rules_only(cmd->pool, line, &rules, &err) != APR_SUCCESS)
        return apr_psprintf(cmd->pool,
                            RPCNO(0096) "Require rpc-interface: \"%s\" at column %d of \"%s\": "
                            "expected %s",
                            err.element, err.column, line, err.expected);
    *parsed = rules;
    return NULL;
}

static authz_status check_interface(request_rec *r, const char *line, const void *parsed)
{
    const rpc_firewall_rules_t *both = rpc_firewall_rules_both(r->pool, rpc_require_interfaces(r),
                                                               parsed);

    apr_pool_userdata_setn(both, said_key, NULL, r->pool);
    return AUTHZ_GRANTED;
}

static const authz_provider interface_provider = { check_interface, parse_require_interface };

void rpc_require_register(apr_pool_t *p)
{
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "rpc-target", AUTHZ_PROVIDER_VERSION,
                              &target_provider, AP_AUTH_INTERNAL_PER_CONF);
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "rpc-interface", AUTHZ_PROVIDER_VERSION,
                              &interface_provider, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_access(before_asking, NULL, NULL, APR_HOOK_REALLY_FIRST,
                         AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authn(forget_rules, NULL, NULL, APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
}
