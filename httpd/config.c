/* httpd/config.c: the configurations, their defaults, and how they merge. */
#include "httpd/config.h"

/* Of the computed defaults. */
#define UNPAIRED_LEAST 100
#define UNPAIRED_OF_USER_LEAST 50

/* ---- create, merge ---- */

#define UNSET_IN_DIR(field, ...) dc->field = RPC_UNSET;

void *rpc_config_create_dir(apr_pool_t *p, char *dir)
{
    rpc_dir_config_t *dc = apr_pcalloc(p, sizeof *dc);

    dc->in_section = dir != NULL;
    dc->valid_ports_add = dc->allow_anonymous = dc->require_tls = dc->versions = RPC_UNSET;
    dc->min_auth_level = dc->handles = RPC_UNSET;
    RPC_DIR_NUMBERS(UNSET_IN_DIR)
    RPC_DIR_PARTS(UNSET_IN_DIR)
    return dc;
}

/* When both lists have a "+", the result has one, too, and is added to the list of the next outer
 * section: httpd merges the sections of one kind first, and then with the rest. */
static void merge_valid_ports(apr_pool_t *p, const rpc_dir_config_t *outer,
                              const rpc_dir_config_t *inner, rpc_dir_config_t *dc)
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
#define MERGE_ROW(field, ...) MERGE(field);

void *rpc_config_merge_dir(apr_pool_t *p, void *base, void *add)
{
    const rpc_dir_config_t *outer = base, *inner = add;
    rpc_dir_config_t *dc = apr_palloc(p, sizeof *dc);

    merge_valid_ports(p, outer, inner, dc);
    dc->in_section = outer->in_section || inner->in_section;
    dc->proxied = inner->proxied ? inner->proxied : outer->proxied;
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
    MERGE(handles);
    RPC_DIR_NUMBERS(MERGE_ROW)
    RPC_DIR_PARTS(MERGE_ROW)
    return dc;
}

#define UNSET_IN_SERVER(field, ...) sc->field = RPC_UNSET;

void *rpc_config_create_server(apr_pool_t *p, server_rec *s)
{
    rpc_server_config_t *sc = apr_pcalloc(p, sizeof *sc);

    sc->check = RPC_UNSET;
    RPC_SERVER_NUMBERS(UNSET_IN_SERVER)
    RPC_SERVER_PARTS(UNSET_IN_SERVER)
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

/* receive_window_of() and so on: the value that is set, or the default of its row. */
#define VALUE_IN_DIR(field, directive, scale, low, high, zero, otherwise) \
    static apr_int64_t field##_of(const rpc_dir_config_t *dc) \
    { \
        return value_or(dc->field, otherwise); \
    }
#define VALUE_IN_SERVER(field, directive, scale, low, high, zero, otherwise) \
    static apr_int64_t field##_of(const rpc_server_config_t *sc) \
    { \
        return value_or(sc->field, otherwise); \
    }

RPC_DIR_NUMBERS(VALUE_IN_DIR)
RPC_DIR_PARTS(VALUE_IN_DIR)
RPC_SERVER_NUMBERS(VALUE_IN_SERVER)
RPC_SERVER_PARTS(VALUE_IN_SERVER)

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

const rpc_firewall_rules_t *rpc_config_rules(apr_pool_t *pool, const rpc_dir_config_t *dc,
                                             apr_port_t port)
{
    rpc_directory_t directory = rpc_config_directory(dc);

    if (!rpc_nspi_port(&directory.nspi, port))
        return dc->rules;
    return rpc_firewall_rules_allow(pool, dc->rules, port, port, "nspi rfr",
                                    "RpcNspiProtocolSequences");
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
    return (apr_uint32_t)receive_window_of(dc);
}

apr_interval_time_t rpc_config_connection_timeout(const rpc_dir_config_t *dc)
{
    return connection_timeout_of(dc);
}

apr_uint32_t rpc_config_channel_lifetime(const rpc_dir_config_t *dc)
{
    return (apr_uint32_t)channel_lifetime_of(dc);
}

apr_interval_time_t rpc_config_connect_timeout(const rpc_dir_config_t *dc)
{
    return connect_timeout_of(dc);
}

apr_interval_time_t rpc_config_setup_timeout(const rpc_dir_config_t *dc)
{
    return setup_timeout_of(dc);
}

apr_interval_time_t rpc_config_first_pdu_timeout(const rpc_dir_config_t *dc)
{
    apr_interval_time_t set = first_pdu_timeout_of(dc);
    apr_interval_time_t most = rpc_config_setup_timeout(dc);

    return set < most ? set : most;
}

/* A client pings when idle for its connection time-out, and may skip a ping when it has sent
 * something in the last half of it. See doc/protocol.md, "Pings". */
apr_interval_time_t rpc_config_idle_timeout(const rpc_dir_config_t *dc)
{
    apr_interval_time_t set = idle_timeout_of(dc);
    apr_interval_time_t least = 2 * connection_timeout_of(dc);

    return set && set < least ? least : set;
}

apr_interval_time_t rpc_config_session_time(const rpc_dir_config_t *dc)
{
    return session_time_of(dc);
}

int rpc_config_max_of_user(const rpc_dir_config_t *dc)
{
    return (int)max_of_user_of(dc);
}

int rpc_config_max_of_address(const rpc_dir_config_t *dc)
{
    return (int)max_of_address_of(dc);
}

rpc_budget_limit_t rpc_config_failed_targets(const rpc_dir_config_t *dc)
{
    rpc_budget_limit_t limit = {
        (unsigned)max_failed_of(dc),
        failed_window_of(dc),
    };

    return limit;
}

rpc_check_t rpc_config_check(const rpc_server_config_t *sc, apr_interval_time_t *interval,
                             apr_interval_time_t *timeout)
{
    if (interval)
        *interval = check_interval_of(sc);
    if (timeout)
        *timeout = check_timeout_of(sc);
    return (rpc_check_t)value_or(sc->check, RPC_CHECK_OFF);
}

int rpc_config_max_channels(const rpc_server_config_t *sc)
{
    return (int)max_channels_of(sc);
}

static int at_least(int n, int least)
{
    return n > least ? n : least;
}

rpc_unpaired_t rpc_config_unpaired(const rpc_server_config_t *sc)
{
    int half = rpc_config_max_channels(sc) / 2, rest;
    rpc_unpaired_t n = { .all = (int)value_or(max_unpaired_of(sc),
                                              at_least(half, UNPAIRED_LEAST)) };

    n.of_user = (int)value_or(max_unpaired_of_user_of(sc),
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
    return (int)io_threads_of(sc);
}

apr_interval_time_t rpc_config_graceful_timeout(const rpc_server_config_t *sc)
{
    return graceful_timeout_of(sc);
}
