/* httpd/named_servers.c: the list lives as long as the configuration, as userdata of its pool. */
#include "httpd/named_servers.h"

#include <netdb.h>

#include <apr_cstr.h>
#include <http_log.h>

#include "base/message_id.h"
#include "httpd/module.h"
#include "target/resolver.h"

APLOG_USE_MODULE(rpcproxy);

#define NAMES_TIME apr_time_from_sec(10)

static const char list_key[] = "rpcproxy-servers";

static apr_array_header_t *list_of(apr_pool_t *pconf)
{
    void *list = NULL;

    apr_pool_userdata_get(&list, list_key, pconf);
    return list;
}

void rpc_servers_note(cmd_parms *cmd, const rpc_dir_config_t *dc, rpc_protseq_t protseq,
                      const char *host, apr_port_t port)
{
    apr_array_header_t *list = list_of(cmd->pool);

    if (strchr(host, '*'))
        return;
    if (!list) {
        list = apr_array_make(cmd->pool, 8, sizeof(rpc_named_server_t));
        apr_pool_userdata_setn(list, list_key, NULL, cmd->pool);
    }
    APR_ARRAY_PUSH(list, rpc_named_server_t)
        = (rpc_named_server_t){ host, port, protseq, dc, cmd->directive, cmd->server };
}

const apr_array_header_t *rpc_servers_named(apr_pool_t *pconf)
{
    return list_of(pconf);
}

/* ---- health ---- */

/* For a server without a port, where the client chooses it, these usual ports of RPC over HTTP
 * count. */
static const apr_port_t usual_ports[] = { 593, 6001, 6002, 6004 };

static void add_server(apr_array_header_t *servers, const char *host, apr_port_t port)
{
    APR_ARRAY_PUSH(servers, rpc_health_server_t) = (rpc_health_server_t){ host, port };
}

void rpc_servers_reserve(apr_pool_t *pconf, rpc_health_t *health)
{
    const apr_array_header_t *list = list_of(pconf);
    apr_array_header_t *servers = apr_array_make(pconf, 16, sizeof(rpc_health_server_t));
    size_t k;
    int i;

    for (i = 0; list && i < list->nelts; i++) {
        const rpc_named_server_t *named = &APR_ARRAY_IDX(list, i, rpc_named_server_t);

        if (named->port)
            add_server(servers, named->host, named->port);
        for (k = 0; !named->port && k < sizeof(usual_ports) / sizeof(*usual_ports); k++)
            add_server(servers, named->host, usual_ports[k]);
    }
    rpc_health_reserve(health, (const rpc_health_server_t *)servers->elts, servers->nelts);
}

/* ---- networks ---- */

void rpc_servers_check_networks(apr_pool_t *pconf, const rpc_dir_config_t *main_server)
{
    const apr_array_header_t *list = list_of(pconf);
    int i;

    for (i = 0; list && i < list->nelts; i++) {
        const rpc_named_server_t *named = &APR_ARRAY_IDX(list, i, rpc_named_server_t);
        const rpc_networks_t *here = named->dc ? named->dc->networks : NULL;
        const char *rule = rpc_networks_denial(here ? here : main_server->networks, named->host);

        if (rule)
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, named->s,
                         RPCNO(0092) "%s in line %d of %s: %s is denied by "
                         "RpcTargetNetworks %s, so its clients will be answered 503: name another "
                         "address, or remove that network",
                         named->where->directive, named->where->line_num, named->where->filename,
                         named->host, rule);
    }
}

/* ---- names ---- */

typedef struct checking checking_t;

/* A name that is looked up. */
typedef struct asked {
    checking_t *checking;
    const rpc_named_server_t *named;
    rpc_look_up_t *look_up;         /* NULL: done */
    int error;
} asked_t;

struct checking {
    rpc_loop_t *loop;
    rpc_resolver_t *resolver;
    apr_array_header_t *asked;      /* asked_t; does not grow */
    int left;
    rpc_job_t begin;
    rpc_timer_t late;
};

/* Has number I of LIST been named before? */
static int seen(const apr_array_header_t *list, int i)
{
    const char *host = APR_ARRAY_IDX(list, i, rpc_named_server_t).host;
    int k;

    for (k = 0; k < i; k++)
        if (apr_cstr_casecmp(APR_ARRAY_IDX(list, k, rpc_named_server_t).host, host) == 0)
            return 1;
    return 0;
}

static apr_array_header_t *names_of(apr_pool_t *pool, const apr_array_header_t *list,
                                    checking_t *checking)
{
    apr_array_header_t *names = apr_array_make(pool, 8, sizeof(asked_t));
    rpc_addresses_t addresses;
    int i;

    for (i = 0; list && i < list->nelts; i++) {
        const rpc_named_server_t *named = &APR_ARRAY_IDX(list, i, rpc_named_server_t);

        if (!rpc_resolve_literal(named->host, &addresses) && !seen(list, i))
            APR_ARRAY_PUSH(names, asked_t) = (asked_t){ checking, named, NULL, 0 };
    }
    return names;
}

static void answered(void *ctx, const rpc_resolved_t *answer)
{
    asked_t *asked = ctx;

    asked->look_up = NULL;
    asked->error = answer->reason ? answer->error : 0;
    if (--asked->checking->left == 0)
        rpc_loop_stop(asked->checking->loop);
}

static void look_ups_timed_out(rpc_timer_t *timer)
{
    rpc_loop_stop(RPC_OWNER_OF(timer, checking_t, late)->loop);
}

static void begin_look_ups(rpc_job_t *job)
{
    checking_t *checking = RPC_OWNER_OF(job, checking_t, begin);
    int i;

    for (i = 0; i < checking->asked->nelts; i++) {
        asked_t *asked = &APR_ARRAY_IDX(checking->asked, i, asked_t);

        asked->look_up = rpc_look_up_start(checking->resolver, checking->loop, asked->named->host,
                                           NULL, answered, asked);
        checking->left += asked->look_up != NULL;
    }
    rpc_timer_set(checking->loop, &checking->late, rpc_loop_now(checking->loop)
                  + (checking->left ? NAMES_TIME : 0));
}

static void warn(const asked_t *asked)
{
    const rpc_named_server_t *named = asked->named;

    if (asked->look_up || asked->error)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, named->s,
                     RPCNO(0093) "%s in line %d of %s: \"%s\" does not "
                     "resolve (%s), so its clients will be answered 503: correct the name, or "
                     "add it to the DNS or the hosts file",
                     named->where->directive, named->where->line_num, named->where->filename,
                     named->host,
                     asked->look_up ? "no answer in time" : gai_strerror(asked->error));
}

/* All names are looked up at the same time, so that a name server that is down delays only once. */
void rpc_servers_check_names(apr_pool_t *pconf)
{
    checking_t checking = { .begin.run = begin_look_ups, .late.fire = look_ups_timed_out };
    rpc_resolver_params_t params = { .threads = 0 };
    apr_pool_t *pool;
    int i;

    apr_pool_create(&pool, pconf);
    checking.asked = names_of(pool, list_of(pconf), &checking);
    if (checking.asked->nelts && rpc_loop_create(&checking.loop, pool) == APR_SUCCESS
        && rpc_resolver_make(&checking.resolver, &params, pool) == APR_SUCCESS) {
        rpc_loop_post(checking.loop, &checking.begin);
        rpc_loop_run(checking.loop);
        rpc_timer_cancel(checking.loop, &checking.late);
        for (i = 0; i < checking.asked->nelts; i++) {
            asked_t *asked = &APR_ARRAY_IDX(checking.asked, i, asked_t);

            warn(asked);
            if (asked->look_up)
                rpc_look_up_cancel(asked->look_up);
        }
    }
    apr_pool_destroy(pool);
}
