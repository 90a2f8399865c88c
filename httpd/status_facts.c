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

static const char *busiest(const rpc_status_request_t *q, const rpc_busiest_t *b, int user,
                           uint64_t *allowed)
{
    rpc_board_view_t view;

    if (!b->count || !rpc_view_row(q->context->board, q->context->sums, b->row, &view))
        return "";
    if (allowed)
        *allowed = user ? view.row.of_user : view.row.of_address;
    return apr_pstrdup(q->r->pool, user ? view.row.user : view.row.client);
}

/* The limits of users and addresses are those of the section where their last channel came. */
void rpc_status_limits(const rpc_status_request_t *q, rpc_status_limit_t limits[RPC_STATUS_LIMITS])
{
    const rpc_tally_t *tally = q->context->tally;
    rpc_unpaired_t unpaired = rpc_config_unpaired(q->sc);
    rpc_status_counts_t now = rpc_status_count(q->context->live);
    const rpc_dir_config_t *dc = ap_get_module_config(q->r->server->lookup_defaults,
                                                      &rpcproxy_module);
    uint64_t of_user = (uint64_t)rpc_config_max_of_user(dc);
    uint64_t of_address = (uint64_t)rpc_config_max_of_address(dc);
    const char *user = busiest(q, &q->view->user, 1, &of_user);
    const char *client = busiest(q, &q->view->client, 0, &of_address);
    const rpc_status_limit_t all[RPC_STATUS_LIMITS] = {
        { "RpcMaxChannels", "channels of the server", "", now.channels,
          (uint64_t)rpc_config_max_channels(q->sc), atomic_load(&tally->most_channels) },
        { "RpcMaxUnpairedChannels", "channels that wait for their server", "", now.unpaired,
          (uint64_t)unpaired.all, atomic_load(&tally->most_unpaired) },
        { "RpcMaxChannelsPerUser", "channels of one user", user, q->view->user.count, of_user, 0 },
        { "RpcMaxChannelsPerAddress", "channels of one address", client, q->view->client.count,
          of_address, 0 },
        { "RpcMaxUnpairedPerUser", "waiting channels of one user",
          busiest(q, &q->view->unpaired_user, 1, NULL), q->view->unpaired_user.count,
          (uint64_t)unpaired.of_user, 0 },
        { "RpcMaxUnpairedPerUser, for an address", "waiting channels of one address",
          busiest(q, &q->view->unpaired_client, 0, NULL), q->view->unpaired_client.count,
          (uint64_t)unpaired.of_address, 0 },
    };

    memcpy(limits, all, sizeof(all));
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
