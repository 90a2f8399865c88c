/* endpoint/target.c: where the endpoint connects to, and from where.
 *
 * The preface contains the rules of its section of the configuration as text, because the
 * configuration may be newer than this process. Each pair of texts is parsed once.
 */
#include "base/message_id.h"
#include "endpoint/vc.h"

#include <apr_strings.h>

/* The greatest number of different rules. Only this module's proxies send rules, but a process that
 * has outlived many restarts may have received many. */
#define RULES_MAX 1024

typedef struct rules {
    rpc_networks_t *networks;
    rpc_sources_t *sources;
} rules_t;

/* configtest has checked them. */
static rules_t *rules_parse(apr_pool_t *pool, const rpc_preface_t *preface)
{
    rules_t *rules = apr_pcalloc(pool, sizeof(*rules));
    rpc_syntax_error_t err;

    if (*preface->networks
        && rpc_networks_parse(pool, preface->networks, NULL, &rules->networks, &err) != APR_SUCCESS)
        return NULL;
    if (*preface->sources
        && rpc_sources_parse(pool, preface->sources, NULL, &rules->sources, &err) != APR_SUCCESS)
        return NULL;
    return rules;
}

static const rules_t *rules_of(rpc_endpoint_t *ep, const rpc_preface_t *preface)
{
    const char *key = apr_pstrcat(ep->scratch, preface->networks, "\n", preface->sources, NULL);
    rules_t *rules = apr_hash_get(ep->rules, key, APR_HASH_KEY_STRING);
    apr_pool_t *pool = apr_hash_pool_get(ep->rules);

    if (!rules && apr_hash_count(ep->rules) < RULES_MAX && (rules = rules_parse(pool, preface)))
        apr_hash_set(ep->rules, apr_pstrdup(pool, key), APR_HASH_KEY_STRING, rules);
    apr_pool_clear(ep->scratch);
    return rules;
}

rpc_dial_t *rpc_endpoint_dial(rpc_endpoint_t *ep, const rpc_preface_t *preface,
                              rpc_dial_done_t *done, void *ctx)
{
    const rules_t *rules = rules_of(ep, preface);
    rpc_server_list_t servers;
    rpc_dial_params_t params = {
        .user = preface->user,
        .timeout = preface->connect_timeout ? apr_time_from_msec(preface->connect_timeout)
                                            : ep->params.connect_timeout,
        .servers = &servers,
        .log = ep->params.log,
    };
    rpc_dial_t *dial = NULL;

    if (!rules) {
        rpc_log(ep->params.log, RPC_LOG_ERR, 0,
                RPCNO(0044) "endpoint: no place for the address rules of \"%s\"; "
                "restart httpd",
                preface->target);
        return NULL;
    }
    params.networks = rules->networks;
    params.sources = rules->sources;
    if (rpc_server_list_read(ep->scratch, preface->host, preface->port, &servers) == APR_SUCCESS)
        dial = rpc_dial_start(ep->loop, &ep->params.dialer, &params, done, ctx);
    else
        rpc_log(ep->params.log, RPC_LOG_ERR, 0,
                RPCNO(0045) "endpoint: the servers \"%s\" of \"%s\" cannot be read", preface->host,
                preface->target);
    apr_pool_clear(ep->scratch);
    return dial;
}
