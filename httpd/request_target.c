/* httpd/request_target.c: the variables RPC_*, Require rpc-target and the handler ask for the
 * target one after the other, all with the same query in most cases. An internal redirect has a
 * request_rec of its own but shares the pool, so the query decides whether the last result still
 * holds.
 */
#include "httpd/request_target.h"

#include <apr_strings.h>

/* The last query of the requests in a pool, and what was in it. */
typedef struct parsed_query {
    const char *query;
    const char *wrong;          /* NULL: TARGET is valid */
    rpc_target_t target;
} parsed_query_t;

static const char parsed_key[] = "rpcproxy-query";

static const parsed_query_t *parse_query(request_rec *r, const char *query)
{
    parsed_query_t *parsed = apr_pcalloc(r->pool, sizeof(*parsed));

    parsed->query = apr_pstrdup(r->pool, query);
    parsed->wrong = rpc_target_parse(r->pool, query, &parsed->target);
    apr_pool_userdata_setn(parsed, parsed_key, NULL, r->pool);
    return parsed;
}

const rpc_target_t *rpc_request_target(request_rec *r, const char **wrong)
{
    const char *query = r->args ? r->args : "";
    const parsed_query_t *parsed;
    void *data = NULL;

    apr_pool_userdata_get(&data, parsed_key, r->pool);
    parsed = data;
    if (!parsed || strcmp(parsed->query, query) != 0)
        parsed = parse_query(r, query);
    if (wrong)
        *wrong = parsed->wrong;
    return parsed->wrong ? NULL : &parsed->target;
}

int rpc_method_role(const char *method)
{
    return ap_cstr_casecmp(method, "RPC_IN_DATA") == 0 ? RPC_INBOUND
         : ap_cstr_casecmp(method, "RPC_OUT_DATA") == 0 ? RPC_OUTBOUND
         : ap_cstr_casecmp(method, "RPC_CONNECT") == 0 ? RPC_MIXED : -1;
}

static int is_gateways(const request_rec *r)
{
    return ap_cstr_casecmpn(r->uri, RPC_GATEWAYS_PATH, sizeof(RPC_GATEWAYS_PATH) - 1) == 0;
}

rpc_request_kind_t rpc_request_kind(const request_rec *r)
{
    rpc_request_kind_t kind = { rpc_method_role(r->method), RPC_CARRY_RPC };
    const char *upgrade;

    if (kind.role >= 0 || !is_gateways(r))
        return kind;
    upgrade = apr_table_get(r->headers_in, "Upgrade");
    kind.role = ap_cstr_casecmp(r->method, "RDG_IN_DATA") == 0 ? RPC_INBOUND
              : ap_cstr_casecmp(r->method, "RDG_OUT_DATA") == 0 ? RPC_OUTBOUND : -1;
    kind.carry = RPC_CARRY_BODY;
    if (upgrade && ap_cstr_casecmp(upgrade, "websocket") == 0
        && (kind.role == RPC_OUTBOUND || r->method_number == M_GET))
        kind = (rpc_request_kind_t){ RPC_OUTBOUND, RPC_CARRY_UPGRADE };
    return kind;
}
