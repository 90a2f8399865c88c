/* httpd/status_facts.c: limits and servers, from the tables and the configuration. */
#include "httpd/status_facts.h"

#include <apr_strings.h>

#include "httpd/module.h"

const char *rpc_status_value(const apr_table_t *given, const char *name)
{
    const char *value = apr_table_get(given, name);

    return value ? value : "";
}

apr_time_t rpc_status_day(const rpc_status_request_t *q, apr_time_t clock)
{
    return q->now - (q->clock - clock);
}

typedef enum { BY_USER, BY_ADDRESS, BY_TARGET } busy_t;

/* Who it is; *ALLOWED becomes his limit. */
static const char *busiest(const rpc_status_request_t *q, const rpc_busiest_t *b, busy_t by,
                           uint64_t *allowed)
{
    rpc_board_view_t view;

    if (!b->count || !rpc_view_row(q->context->board, q->context->sums, b->row, &view))
        return "";
    if (allowed)
        *allowed = by == BY_USER ? view.row.of_user : view.row.of_address;
    return apr_pstrdup(q->r->pool, by == BY_USER ? view.row.user
                                 : by == BY_TARGET ? view.row.target : view.row.client);
}

/* The limits of users and addresses are those of the section where their last channel came. */
void rpc_status_limits(const rpc_status_request_t *q, rpc_status_limit_t limits[RPC_LIMITS])
{
    rpc_unpaired_t unpaired = rpc_config_unpaired(q->sc);
    rpc_status_counts_t now = rpc_status_count(q->context->live);
    const rpc_view_t *v = q->view;
    const rpc_dir_config_t *dc = ap_get_module_config(q->r->server->lookup_defaults,
                                                      &rpcproxy_module);
    uint64_t of_user = (uint64_t)rpc_config_max_of_user(dc);
    uint64_t of_address = (uint64_t)rpc_config_max_of_address(dc);
    const char *user = busiest(q, &v->user, BY_USER, &of_user);
    const char *client = busiest(q, &v->client, BY_ADDRESS, &of_address);
    const rpc_status_limit_t all[RPC_LIMITS] = {
        { "RpcMaxChannels", "channels of the server", "", now.channels,
          (uint64_t)rpc_config_max_channels(q->sc), 0 },
        { "RpcMaxUnpairedChannels", "channels that wait for their server", "", now.unpaired,
          (uint64_t)unpaired.all, 0 },
        { "RpcMaxChannelsPerUser", "channels of one user", user, v->user.count, of_user, 0 },
        { "RpcMaxChannelsPerAddress", "channels of one address", client, v->client.count,
          of_address, 0 },
        { "RpcMaxUnpairedPerUser", "waiting channels of one user",
          busiest(q, &v->unpaired_user, BY_USER, NULL), v->unpaired_user.count,
          (uint64_t)unpaired.of_user, 0 },
        { "RpcMaxUnpairedPerUser, for an address", "waiting channels of one address",
          busiest(q, &v->unpaired_client, BY_ADDRESS, NULL), v->unpaired_client.count,
          (uint64_t)unpaired.of_address, 0 },
        { "RpcMaxUnpairedPerUser, for a target", "waiting channels for one target",
          busiest(q, &v->unpaired_target, BY_TARGET, NULL), v->unpaired_target.count,
          (uint64_t)unpaired.of_target, 0 },
    };
    int i;

    memcpy(limits, all, sizeof(all));
    for (i = 0; i < RPC_LIMITS; i++) {
        rpc_status_seen(q->context->live, (rpc_limit_t)i, (uint32_t)limits[i].used);
        limits[i].most = rpc_status_most(q->context->live, (rpc_limit_t)i);
    }
}

const rpc_farm_facts_t *rpc_status_farm(const rpc_status_request_t *q)
{
    rpc_farm_facts_t *facts;

    if (!q->context->farm)
        return NULL;
    facts = apr_pcalloc(q->r->pool, sizeof(*facts));
    if (!rpc_farm_read(q->context->farm, facts))
        memset(facts, 0, sizeof(*facts));
    return facts;
}

rpc_farm_sums_t rpc_status_farm_sums(const rpc_farm_facts_t *farm)
{
    rpc_farm_sums_t all = { 0 };
    unsigned i;

    for (i = 0; i < farm->machine_count; i++) {
        const rpc_farm_sums_t *one = &farm->machines[i].sums;

        all.channels += one->channels;
        all.unpaired += one->unpaired;
        all.begun += one->begun;
        all.ended += one->ended;
        all.refused += one->refused;
        all.connections += one->connections;
        all.in += one->in;
        all.out += one->out;
        if (!all.started || one->started < all.started)
            all.started = one->started;
    }
    return all;
}

const char *rpc_status_store_state(const rpc_farm_store_t *store)
{
    return store->state == RPC_STORE_UP ? "up" : store->state == RPC_STORE_AWAY ? "away"
         : "unknown";
}

const char *rpc_status_server_state(const rpc_health_view_t *server)
{
    return server->drained ? "draining" : server->unfit ? "down"
         : server->avoided || server->elsewhere ? "avoided"
         : server->suspect ? "suspect" : "up";
}

apr_size_t rpc_status_server_channels(const rpc_status_request_t *q,
                                      const rpc_health_view_t *server)
{
    return rpc_view_at_server(q->view, apr_psprintf(q->r->pool, "%s[%u]", server->host,
                                                    server->port));
}
