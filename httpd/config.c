/* httpd/config.c: the configurations, their defaults, and how they merge. */
#include "httpd/config.h"
#include "wire/flow.h"
#include "wire/rts.h"

/* Of the defaults. */
#define CHANNELS_OF_USER 200
#define UNPAIRED_LEAST 100
#define UNPAIRED_OF_USER_LEAST 50

/* ---- create, merge ---- */

void *rpc_config_create_dir(apr_pool_t *p, char *dir)
{
    rpc_dir_config_t *dc = apr_pcalloc(p, sizeof *dc);

    dc->valid_ports_add = dc->allow_anonymous = dc->require_tls = dc->versions = RPC_UNSET;
    dc->receive_window = dc->connection_timeout = dc->channel_lifetime = RPC_UNSET;
    dc->connect_timeout = dc->first_pdu_timeout = dc->setup_timeout = dc->idle_timeout = RPC_UNSET;
    dc->max_of_user = dc->max_of_address = dc->min_auth_level = RPC_UNSET;
    dc->max_failed = dc->failed_window = RPC_UNSET;
    return dc;
}

/* When both lists have a "+", the result has one, too, and is added to the list of the next outer
 * section: httpd merges the sections of one kind first, and then with the rest. */
static void merge_valid_ports(apr_pool_t *p, const rpc_dir_config_t *outer, const rpc_dir_config_t *inner,
                              rpc_dir_config_t *dc)
{
    const rpc_dir_config_t *only = inner->valid_ports ? inner : outer;

    dc->valid_ports = only->valid_ports;
    dc->valid_ports_add = only->valid_ports_add;
    if (!inner->valid_ports || !outer->valid_ports || inner->valid_ports_add != 1)
        return;
    dc->valid_ports = rpc_valid_ports_join(p, outer->valid_ports, inner->valid_ports);
    dc->valid_ports_add = outer->valid_ports_add;
}

#define MERGE(field) dc->field = inner->field == RPC_UNSET ? outer->field : inner->field

void *rpc_config_merge_dir(apr_pool_t *p, void *base, void *add)
{
    const rpc_dir_config_t *outer = base, *inner = add;
    rpc_dir_config_t *dc = apr_palloc(p, sizeof *dc);

    merge_valid_ports(p, outer, inner, dc);
    dc->backends = inner->backends ? inner->backends : outer->backends;
    if (inner->backends && outer->backends)
        dc->backends = apr_array_append(p, inner->backends, outer->backends);
    dc->nspi_ports = inner->nspi_ports ? inner->nspi_ports : outer->nspi_ports;
    dc->nspi_servers = inner->nspi_servers ? inner->nspi_servers : outer->nspi_servers;
    dc->nspi_port = inner->nspi_servers ? inner->nspi_port : outer->nspi_port;
    dc->rules = inner->rules ? inner->rules : outer->rules;
    dc->networks = inner->networks ? inner->networks : outer->networks;
    dc->sources = inner->sources ? inner->sources : outer->sources;
    MERGE(min_auth_level);
    MERGE(allow_anonymous);
    MERGE(require_tls);
    MERGE(versions);
    MERGE(receive_window);
    MERGE(connection_timeout);
    MERGE(channel_lifetime);
    MERGE(connect_timeout);
    MERGE(first_pdu_timeout);
    MERGE(setup_timeout);
    MERGE(idle_timeout);
    MERGE(max_of_user);
    MERGE(max_of_address);
    MERGE(max_failed);
    MERGE(failed_window);
    return dc;
}

void *rpc_config_create_server(apr_pool_t *p, server_rec *s)
{
    rpc_server_config_t *sc = apr_pcalloc(p, sizeof *sc);

    sc->max_channels = sc->max_unpaired = sc->max_unpaired_of_user = RPC_UNSET;
    sc->check = RPC_UNSET;
    sc->check_interval = sc->check_timeout = RPC_UNSET;
    sc->io_threads = sc->graceful_timeout = RPC_UNSET;
    return sc;
}

void *rpc_config_merge_server(apr_pool_t *p, void *base, void *add)
{
    return base;    /* a virtual host has no settings of its own */
}

/* ---- getters ---- */

static apr_int64_t value_or(apr_int64_t value, apr_int64_t otherwise)
{
    return value == RPC_UNSET ? otherwise : value;
}

const rpc_valid_ports_t *rpc_config_valid_ports(const rpc_dir_config_t *dc)
{
    return dc->valid_ports;
}

rpc_directory_t rpc_config_directory(const rpc_dir_config_t *dc)
{
    rpc_directory_t directory = {
        .backends = dc->backends,
        .nspi = { dc->nspi_ports, dc->nspi_servers, dc->nspi_port },
    };

    return directory;
}

const rpc_firewall_rules_t *rpc_config_rules(apr_pool_t *pool, const rpc_dir_config_t *dc, apr_port_t port)
{
    rpc_directory_t directory = rpc_config_directory(dc);

    if (!rpc_nspi_port(&directory.nspi, port))
        return dc->rules;
    return rpc_firewall_rules_allow(pool, dc->rules, port, port, "nspi rfr", "RpcNspiProtocolSequences");
}

rpc_auth_level_t rpc_config_min_auth_level(const rpc_dir_config_t *dc)
{
    return (rpc_auth_level_t)value_or(dc->min_auth_level, RPC_AUTH_LEVEL_NONE);
}

int rpc_config_allow_anonymous(const rpc_dir_config_t *dc)
{
    return (int)value_or(dc->allow_anonymous, 0);
}

int rpc_config_require_tls(const rpc_dir_config_t *dc)
{
    return (int)value_or(dc->require_tls, RPC_TLS_BITS_DEFAULT);
}

int rpc_config_versions(const rpc_dir_config_t *dc)
{
    return (int)value_or(dc->versions, RPC_V2);
}

apr_uint32_t rpc_config_receive_window(const rpc_dir_config_t *dc)
{
    return (apr_uint32_t)value_or(dc->receive_window, RPC_FLOW_WINDOW_MAX);
}

apr_uint32_t rpc_config_connection_timeout(const rpc_dir_config_t *dc)
{
    return (apr_uint32_t)(value_or(dc->connection_timeout, apr_time_from_sec(RTS_TIMEOUT_MIN_SECONDS)) / 1000);
}

apr_uint32_t rpc_config_channel_lifetime(const rpc_dir_config_t *dc)
{
    return (apr_uint32_t)value_or(dc->channel_lifetime, 1024 * 1024 * 1024);
}

apr_interval_time_t rpc_config_connect_timeout(const rpc_dir_config_t *dc)
{
    return value_or(dc->connect_timeout, apr_time_from_sec(10));
}

apr_interval_time_t rpc_config_setup_timeout(const rpc_dir_config_t *dc)
{
    return value_or(dc->setup_timeout, apr_time_from_sec(60));
}

apr_interval_time_t rpc_config_first_pdu_timeout(const rpc_dir_config_t *dc)
{
    apr_interval_time_t set = value_or(dc->first_pdu_timeout, apr_time_from_sec(10));
    apr_interval_time_t most = rpc_config_setup_timeout(dc);

    return set < most ? set : most;
}

/* A client pings when idle for its connection time-out, and may skip a ping when it has sent
 * something in the last half of it. See doc/protocol.md, "Pings". */
apr_interval_time_t rpc_config_idle_timeout(const rpc_dir_config_t *dc)
{
    apr_interval_time_t set = value_or(dc->idle_timeout, 0);
    apr_interval_time_t least = 2 * apr_time_from_msec(rpc_config_connection_timeout(dc));

    return set && set < least ? least : set;
}

int rpc_config_max_of_user(const rpc_dir_config_t *dc)
{
    return (int)value_or(dc->max_of_user, CHANNELS_OF_USER);
}

int rpc_config_max_of_address(const rpc_dir_config_t *dc)
{
    return (int)value_or(dc->max_of_address, 0);
}

rpc_budget_limit_t rpc_config_failed_targets(const rpc_dir_config_t *dc)
{
    rpc_budget_limit_t limit = {
        (unsigned)value_or(dc->max_failed, 100),
        value_or(dc->failed_window, apr_time_from_sec(60)),
    };

    return limit;
}

rpc_check_t rpc_config_check(const rpc_server_config_t *sc, apr_interval_time_t *interval,
                             apr_interval_time_t *timeout)
{
    if (interval)
        *interval = value_or(sc->check_interval, apr_time_from_sec(10));
    if (timeout)
        *timeout = value_or(sc->check_timeout, apr_time_from_sec(3));
    return (rpc_check_t)value_or(sc->check, RPC_CHECK_OFF);
}

int rpc_config_max_channels(const rpc_server_config_t *sc)
{
    return (int)value_or(sc->max_channels, 10000);
}

static int at_least(int n, int least)
{
    return n > least ? n : least;
}

rpc_unpaired_t rpc_config_unpaired(const rpc_server_config_t *sc)
{
    int half = rpc_config_max_channels(sc) / 2, rest;
    rpc_unpaired_t n = { .all = (int)value_or(sc->max_unpaired, at_least(half, UNPAIRED_LEAST)) };

    n.of_user = (int)value_or(sc->max_unpaired_of_user,
                              n.all ? at_least(n.all / 10, UNPAIRED_OF_USER_LEAST) : 0);
    rest = n.all - n.of_user;
    if (n.of_user && rest > 0) {
        n.of_address = n.of_user + rest / 8;
        n.of_target = n.of_user + rest / 4;
    }
    return n;
}

int rpc_config_io_threads(const rpc_server_config_t *sc)
{
    return (int)value_or(sc->io_threads, 1);
}

apr_interval_time_t rpc_config_graceful_timeout(const rpc_server_config_t *sc)
{
    return value_or(sc->graceful_timeout, apr_time_from_sec(3600));
}
