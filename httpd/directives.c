/* httpd/directives.c: directives into rpc_dir_config_t and rpc_server_config_t.
 *
 * Numbers, sizes and times share one setter, which works from the rows of
 * httpd/numeric_directives.h. The lists are passed to their parsers (target/valid_ports,
 * target/backend and others), whose errors configtest_fault() turns into messages.
 */
#include <stddef.h>
#include <errno.h>
#include <sys/un.h>
#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "base/directive_help.h"
#include "base/message_id.h"
#include "httpd/module.h"
#include "httpd/config.h"
#include "httpd/directives.h"
#include "httpd/endpoint_listen.h"
#include "httpd/farm_seal.h"
#include "httpd/farm_store.h"
#include "httpd/named_servers.h"
#include "httpd/neighbours.h"
#include "httpd/upstream_config.h"
#include "target/pattern.h"

APLOG_USE_MODULE(rpcproxy);

#define ECHO_MAX 100        /* longer arguments are not repeated in a message */
#define TLS_BITS_MAX 512

/* The number of RpcBackend directives with ncacn_ip_tcp in all sections, because the configuration
 * of one section does not know the others. Changed only while the configuration is read, by one
 * thread. */
static int tcp_backends;

void rpc_directives_reset(void)
{
    tcp_backends = 0;
}

int rpc_directives_need_endpoint(void)
{
    return tcp_backends > 0;
}

/* ---- messages ---- */

static const char *configtest_fault(const cmd_parms *cmd, const char *arg,
                                    const rpc_syntax_error_t *err)
{
    const char *where = strcmp(arg, err->element) == 0 ? ""
                      : strlen(arg) > ECHO_MAX ? " of the argument"
                      : apr_psprintf(cmd->temp_pool, " of \"%s\"", arg);

    return apr_psprintf(cmd->pool, RPCNO(0078) "%s: \"%s\" at column %d%s: expected %s",
                        cmd->directive->directive, err->element, err->column, where,
                        err->expected);
}

/* The whole argument is at fault. */
static const char *argument_fault(const cmd_parms *cmd, const char *arg, const char *expected)
{
    rpc_syntax_error_t err = { 1, arg, expected };

    return configtest_fault(cmd, arg, &err);
}

/* ---- numbers, sizes, times ---- */

typedef struct unit {
    const char *suffix;
    apr_int64_t factor;
} unit_t;

/* The first unit is that of a number without suffix; the later ones are in ascending order. */
typedef struct scale {
    const char *noun, *base;
    unit_t units[6];            /* up to one without suffix */
} scale_t;

static const scale_t scales[] = {
    [RPC_COUNT] = { "a number", "", { { "", 1 } } },
    [RPC_SIZE] = { "a size", " bytes",
                   { { "", 1 }, { "K", 1024 }, { "M", 1024 * 1024 },
                     { "G", 1024 * 1024 * 1024 } } },
    [RPC_TIME] = { "a time", " seconds",
                   { { "", APR_USEC_PER_SEC }, { "ms", 1000 }, { "s", APR_USEC_PER_SEC },
                     { "min", 60 * APR_USEC_PER_SEC }, { "h", 3600 * APR_USEC_PER_SEC } } },
};

/* A row of httpd/numeric_directives.h. */
typedef struct number {
    apr_size_t offset;          /* of the apr_int64_t in the configuration */
    int per_server;             /* in rpc_server_config_t */
    rpc_scale_t scale;
    apr_int64_t low, high;
    int zero;                   /* RPC_OR_ZERO: 0 is allowed, whatever the range */
} number_t;

#define NUMBER_IN_DIR(field, directive, scale, low, high, zero, otherwise) \
    static const number_t field##_number = { \
        offsetof(rpc_dir_config_t, field), 0, scale, low, high, zero \
    };
#define NUMBER_IN_SERVER(field, directive, scale, low, high, zero, otherwise) \
    static const number_t field##_number = { \
        offsetof(rpc_server_config_t, field), 1, scale, low, high, zero \
    };

RPC_DIR_NUMBERS(NUMBER_IN_DIR)
RPC_DIR_PARTS(NUMBER_IN_DIR)
RPC_SERVER_NUMBERS(NUMBER_IN_SERVER)
RPC_SERVER_PARTS(NUMBER_IN_SERVER)

/* VALUE in the largest unit that divides it, such as 4h. */
static const char *in_largest_unit(apr_pool_t *pool, const scale_t *scale, apr_int64_t value)
{
    const unit_t *unit, *largest = scale->units;

    for (unit = scale->units; unit->suffix; unit++) {
        if (value % unit->factor == 0)
            largest = unit;
    }
    return apr_psprintf(pool, "%" APR_INT64_T_FMT "%s", value / largest->factor, largest->suffix);
}

/* Such as "a time from 120 to 14400 seconds (2min to 4h)". */
static const char *expected_number(apr_pool_t *pool, const number_t *number)
{
    const scale_t *scale = &scales[number->scale];
    apr_int64_t base = scale->units[0].factor;
    const char *units = !scale->units[1].suffix ? ""
        : apr_psprintf(pool, " (%s to %s)", in_largest_unit(pool, scale, number->low),
                       in_largest_unit(pool, scale, number->high));

    return apr_psprintf(pool, "%s from %" APR_INT64_T_FMT " to %" APR_INT64_T_FMT "%s%s%s",
                        scale->noun, number->low / base, number->high / base, scale->base, units,
                        number->zero ? ", or 0 for no limit" : "");
}

/* The module's configuration of the server CMD stands in. */
static rpc_server_config_t *server_config(const cmd_parms *cmd)
{
    return ap_get_module_config(cmd->server->module_config, &rpcproxy_module);
}

/* Parses digits followed by a unit. Returns nonzero when the value is in the range of NUMBER. */
static int parse_number(const char *arg, const number_t *number, apr_int64_t *value)
{
    const unit_t *unit;
    apr_int64_t n;
    char *end;

    if (!apr_isdigit(*arg))
        return 0;
    errno = 0;
    n = apr_strtoi64(arg, &end, 10);
    if (errno)
        return 0;
    for (unit = scales[number->scale].units; unit->suffix && apr_cstr_casecmp(unit->suffix, end);
         unit++)
        ;
    if (!unit->suffix || n > number->high / unit->factor)
        return 0;
    *value = n * unit->factor;
    return *value >= number->low || (number->zero && !*value);
}

static const char *set_number(cmd_parms *cmd, void *dir_config, const char *arg)
{
    const number_t *number = cmd->info;
    const char *wrong = number->per_server ? ap_check_cmd_context(cmd, GLOBAL_ONLY) : NULL;
    char *config = number->per_server ? (char *)server_config(cmd) : dir_config;
    apr_int64_t value;

    if (wrong)
        return wrong;
    if (!parse_number(arg, number, &value))
        return argument_fault(cmd, arg, expected_number(cmd->temp_pool, number));
    memcpy(config + number->offset, &value, sizeof value);
    return NULL;
}

/* ---- the other directives ---- */

static const char *set_failed_targets(cmd_parms *cmd, void *dir_config, const char *most,
                                      const char *window)
{
    rpc_dir_config_t *dc = dir_config;

    if (!parse_number(most, &max_failed_number, &dc->max_failed))
        return argument_fault(cmd, most, expected_number(cmd->temp_pool, &max_failed_number));
    if (window && !parse_number(window, &failed_window_number, &dc->failed_window))
        return argument_fault(cmd, window, expected_number(cmd->temp_pool, &failed_window_number));
    return NULL;
}

/* At configtest only, a warning about what stands in this line. */
static void advise(const cmd_parms *cmd, const char *id, const char *text, const char *advice)
{
    if (ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, cmd->server, "%s%s in line %d of %s: %s: %s",
                     id, cmd->directive->directive, cmd->directive->line_num,
                     cmd->directive->filename, text, advice);
}

/* Warns of a pattern that matches more than its reader may expect. */
static void tell_surprise(const cmd_parms *cmd, const char *pattern)
{
    const char *what = rpc_pattern_surprise(cmd->temp_pool, pattern);

    if (what)
        advise(cmd, RPCNO(0079), apr_psprintf(cmd->temp_pool, "pattern \"%s\"", pattern), what);
}

void rpc_directive_surprises(const cmd_parms *cmd, const rpc_valid_ports_t *list,
                             const rpc_valid_ports_t *base)
{
    const rpc_valid_port_t *entry;
    int i = 0;

    while (rpc_valid_ports_entry(base, i))
        i++;
    for (; (entry = rpc_valid_ports_entry(list, i)); i++)
        tell_surprise(cmd, entry->server);
}

/* One word of RpcValidPorts. */
static const char *add_valid_ports(const cmd_parms *cmd, rpc_dir_config_t *dc, const char *word)
{
    rpc_valid_ports_t *list;
    rpc_syntax_error_t err;

    if (rpc_valid_ports_parse(cmd->pool, word, dc->valid_ports, &list, &err) != APR_SUCCESS)
        return configtest_fault(cmd, word, &err);
    rpc_directive_surprises(cmd, list, dc->valid_ports);
    dc->valid_ports = list;
    return NULL;
}

/* Notes whether the list adds to the outer one or replaces it; all in a section have to agree. */
static const char *set_adding(const cmd_parms *cmd, rpc_dir_config_t *dc, const char *word)
{
    int add = *word == '+';

    if (dc->valid_ports_add != RPC_UNSET && dc->valid_ports_add != add)
        return argument_fault(cmd, word, "'+' before all lists of this section, or before none");
    dc->valid_ports_add = add;
    return NULL;
}

static const char *set_valid_ports(cmd_parms *cmd, void *dir_config, const char *args)
{
    rpc_dir_config_t *dc = dir_config;
    const char *word = ap_getword_conf(cmd->pool, &args), *wrong;

    if (!*word && !*args)
        return argument_fault(cmd, word,
                              "a list such as \"server:6001-6002;server:6004\", or none");
    if ((wrong = set_adding(cmd, dc, word)))
        return wrong;
    if (!strcmp(word, "+") && *args)        /* alone, before the list */
        word = ap_getword_conf(cmd->pool, &args);
    if (!apr_cstr_casecmp(word, "none") && !*args) {
        dc->valid_ports = rpc_valid_ports_join(cmd->pool, dc->valid_ports, NULL);
        return NULL;
    }
    for (;;) {
        if ((wrong = add_valid_ports(cmd, dc, word + (dc->valid_ports_add && *word == '+'))))
            return wrong;
        if (!*args)
            return NULL;
        word = ap_getword_conf(cmd->pool, &args);
    }
}

/* A missing port means the port that the client asks for. */
static void note_place(cmd_parms *cmd, const rpc_dir_config_t *dc, const rpc_backend_t *backend,
                       const rpc_binding_t *binding)
{
    apr_port_t asked = backend->low == backend->high ? backend->low : 0;

    rpc_servers_note(cmd, dc, binding->protseq, binding->host,
                     binding->port ? binding->port : asked);
}

static const char *set_backend(cmd_parms *cmd, void *dir_config, int argc, char *const argv[])
{
    const char *const *args = (const char *const *)argv;
    rpc_dir_config_t *dc = dir_config;
    rpc_syntax_error_t err;
    rpc_backend_t *backend;
    const char *wrong;
    int arg, i;

    if (argc < 2)
        return RPCNO(0080) "RpcBackend: expected server:ports as clients name it, then its "
               "bindings such as ncacn_http:host[port], or the https:// URLs of RPC proxies";
    if (rpc_backend_parse(cmd->pool, args, argc, &backend, &err, &arg) != APR_SUCCESS)
        return configtest_fault(cmd, args[arg - 1], &err);
    if (!dc->backends)
        dc->backends = apr_array_make(cmd->pool, 4, sizeof(rpc_backend_t *));
    APR_ARRAY_PUSH(dc->backends, rpc_backend_t *) = backend;
    tell_surprise(cmd, backend->pattern);
    if (backend->lacks_weights)
        advise(cmd, RPCNO(0081), backend->text,
               "a server without weight=N counts as weight=1 beside those that have one; write a "
               "weight for each server, or for none");
    if (backend->places[0].url && (wrong = rpc_upstream_define(cmd, backend)))
        return wrong;
    if (backend->places[0].url)
        return NULL;
    for (i = 0; i < backend->count; i++)
        note_place(cmd, dc, backend, &backend->places[i].binding);
    /* A variable may name any kind of binding. */
    if (backend->env || backend->places[0].binding.protseq == RPC_PROTSEQ_TCP)
        tcp_backends++;
    return NULL;
}

/* One string of the registry value "NSPI interface protocol sequences". */
static const char *set_nspi_sequence(cmd_parms *cmd, void *dir_config, const char *arg)
{
    static const char http[] = "ncacn_http:";
    rpc_dir_config_t *dc = dir_config;
    const apr_size_t len = sizeof(http) - 1;
    rpc_syntax_error_t err;
    const rpc_syntax_t x = { cmd->pool, arg, &err };
    apr_port_t port;

    if (apr_cstr_casecmpn(arg, http, len))
        return argument_fault(cmd, arg, "ncacn_http:port, such as ncacn_http:6004");
    if (rpc_syntax_port(&x, arg + len, strlen(arg + len), &port) != APR_SUCCESS)
        return configtest_fault(cmd, arg, &err);
    if (!dc->nspi_ports)
        dc->nspi_ports = apr_array_make(cmd->pool, 2, sizeof(apr_port_t));
    APR_ARRAY_PUSH(dc->nspi_ports, apr_port_t) = port;
    return NULL;
}

static const char *add_nspi_server(cmd_parms *cmd, rpc_dir_config_t *dc, const char *name)
{
    rpc_syntax_error_t err;
    const rpc_syntax_t x = { cmd->pool, name, &err };
    unsigned char addr[16];

    if (dc->nspi_servers->nelts == RPC_ROUTE_MAX)
        return argument_fault(cmd, name,
                              apr_psprintf(cmd->pool, "at most %d servers", RPC_ROUTE_MAX));
    if (!rpc_ipv6_parse(name, strlen(name), addr)
        && rpc_syntax_name(&x, name, strlen(name), "") != APR_SUCCESS)
        return configtest_fault(cmd, name, &err);
    name = rpc_syntax_host(cmd->pool, name, strlen(name));
    APR_ARRAY_PUSH(dc->nspi_servers, const char *) = name;
    rpc_servers_note(cmd, dc, RPC_PROTSEQ_HTTP, name, dc->nspi_port);
    return NULL;
}

/* The global catalogs, and perhaps their port behind them. */
static const char *set_nspi_servers(cmd_parms *cmd, void *dir_config, int argc, char *const argv[])
{
    rpc_dir_config_t *dc = dir_config;
    const char *last = argc ? argv[argc - 1] : "", *wrong = NULL;
    rpc_syntax_error_t err;
    const rpc_syntax_t x = { cmd->pool, last, &err };
    int i;

    dc->nspi_servers = apr_array_make(cmd->pool, 4, sizeof(const char *));
    dc->nspi_port = 0;
    if (*last && strspn(last, "0123456789") == strlen(last)) {
        if (rpc_syntax_port(&x, last, strlen(last), &dc->nspi_port) != APR_SUCCESS)
            return configtest_fault(cmd, last, &err);
        argc--;
    }
    if (!argc && *last)
        return argument_fault(cmd, last,
                              apr_psprintf(cmd->pool,
                                           "the global catalog servers before their port, as in "
                                           "gc1 gc2 %s; RpcNspiProtocolSequences names the port "
                                           "that clients ask for", last));
    if (!argc)
        return RPCNO(0082) "RpcNspiServers: expected global catalog servers, and optionally their "
               "port as the last argument";
    for (i = 0; i < argc && !wrong; i++)
        wrong = add_nspi_server(cmd, dc, argv[i]);
    return wrong;
}

static const char *set_allow_interfaces(cmd_parms *cmd, void *dir_config, const char *args)
{
    rpc_dir_config_t *dc = dir_config;
    rpc_firewall_rules_t *rules;
    rpc_syntax_error_t err;

    if (rpc_firewall_rules_parse(cmd->pool, args, dc->rules, &rules, &err) != APR_SUCCESS)
        return configtest_fault(cmd, args, &err);
    dc->rules = rules;
    return NULL;
}

static const char *set_profile(cmd_parms *cmd, void *dir_config, const char *arg)
{
    rpc_dir_config_t *dc = dir_config;
    rpc_firewall_rules_t *rules;
    rpc_syntax_error_t err;

    if (rpc_firewall_rules_profile(cmd->pool, arg, dc->rules, &rules, &err) != APR_SUCCESS)
        return configtest_fault(cmd, arg, &err);
    dc->rules = rules;
    return NULL;
}

static const char *set_min_auth_level(cmd_parms *cmd, void *dir_config, const char *arg)
{
    rpc_dir_config_t *dc = dir_config;
    rpc_syntax_error_t err;
    rpc_auth_level_t level;

    if (rpc_auth_level_parse(cmd->pool, arg, &level, &err) != APR_SUCCESS)
        return configtest_fault(cmd, arg, &err);
    dc->min_auth_level = level;
    return NULL;
}

/* The rules are sent in the preface of every leg to the endpoint. */
#define RULES_TEXT_MAX 2048

static const char *rules_too_long(cmd_parms *cmd, const char *text)
{
    return strlen(text) <= RULES_TEXT_MAX
             ? NULL
             : apr_psprintf(cmd->pool,
                            RPCNO(0083) "%s: at most %d characters in one section, because they "
                            "are sent with every channel",
                            cmd->cmd->name, RULES_TEXT_MAX);
}

static const char *set_target_networks(cmd_parms *cmd, void *dir_config, const char *args)
{
    rpc_dir_config_t *dc = dir_config;
    rpc_networks_t *networks;
    rpc_syntax_error_t err;

    if (rpc_networks_parse(cmd->pool, args, dc->networks, &networks, &err) != APR_SUCCESS)
        return configtest_fault(cmd, args, &err);
    dc->networks = networks;
    return rules_too_long(cmd, rpc_networks_text(networks));
}

static const char *set_source_address(cmd_parms *cmd, void *dir_config, const char *args)
{
    rpc_dir_config_t *dc = dir_config;
    rpc_sources_t *sources;
    rpc_syntax_error_t err;

    if (rpc_sources_parse(cmd->pool, args, dc->sources, &sources, &err) != APR_SUCCESS)
        return configtest_fault(cmd, args, &err);
    dc->sources = sources;
    return rules_too_long(cmd, rpc_sources_text(sources));
}

/* One of RpcHealthCheck's options. */
static const char *set_check_option(cmd_parms *cmd, rpc_server_config_t *sc, const char *arg)
{
    int interval = !apr_cstr_casecmpn(arg, "interval=", 9);
    int timeout = !apr_cstr_casecmpn(arg, "timeout=", 8);
    const number_t *number = interval ? &check_interval_number : &check_timeout_number;
    const char *value = strchr(arg, '=');

    if (!interval && !timeout)
        return argument_fault(cmd, arg, "interval=time or timeout=time");
    if (!parse_number(value + 1, number, interval ? &sc->check_interval : &sc->check_timeout))
        return argument_fault(cmd, arg, expected_number(cmd->temp_pool, number));
    return NULL;
}

static const char *set_health_check(cmd_parms *cmd, void *dir_config, int argc, char *const argv[])
{
    /* As rpc_check_t. */
    static const char *const words[] = { "off", "connect", "handshake", "echo" };
    const char *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    rpc_server_config_t *sc = server_config(cmd);
    int i = 0;

    if (wrong)
        return wrong;
    while (argc && i < 4 && apr_cstr_casecmp(argv[0], words[i]))
        i++;
    if (!argc || i == 4)
        return argument_fault(cmd, argc ? argv[0] : "", "off, connect, handshake or echo");
    sc->check = i;
    for (i = 1; i < argc && !wrong; i++)
        wrong = set_check_option(cmd, sc, argv[i]);
    return wrong;
}

static const char *set_allow_anonymous(cmd_parms *cmd, void *dir_config, const char *arg)
{
    rpc_dir_config_t *dc = dir_config;

    if (apr_cstr_casecmp(arg, "on") && apr_cstr_casecmp(arg, "off"))
        return argument_fault(cmd, arg, "On or Off");
    dc->allow_anonymous = !apr_cstr_casecmp(arg, "on");
    return NULL;
}

static const char *set_require_tls(cmd_parms *cmd, void *dir_config, const char *arg)
{
    const number_t bits = { 0, 0, RPC_COUNT, 1, TLS_BITS_MAX, RPC_NOT_ZERO };
    rpc_dir_config_t *dc = dir_config;
    apr_int64_t value = 0;

    if (!apr_cstr_casecmp(arg, "on"))
        value = RPC_TLS_BITS_DEFAULT;
    else if (apr_cstr_casecmp(arg, "off") && !parse_number(arg, &bits, &value))
        return argument_fault(cmd, arg, "On, Off or a number of bits from 1 to 512");
    dc->require_tls = (int)value;
    return NULL;
}

static const char *set_versions(cmd_parms *cmd, void *dir_config, const char *arg)
{
    rpc_dir_config_t *dc = dir_config;
    int version = !apr_cstr_casecmp(arg, "v1") ? RPC_V1 : !apr_cstr_casecmp(arg, "v2") ? RPC_V2 : 0;

    if (!version)
        return argument_fault(cmd, arg, "v1, v2 or both");
    dc->versions = version | (dc->versions == RPC_UNSET ? 0 : dc->versions);
    return NULL;
}

/* SetHandler is the core's, and stays so: httpd gives a directive to each module that asks for it.
 * The core keeps its argument as an expression, which cannot be read without a request. */
static const char *note_handler(cmd_parms *cmd, void *dir_config, const char *arg)
{
    rpc_dir_config_t *dc = dir_config;

    dc->handles = !apr_cstr_casecmp(arg, RPC_HANDLER_NAME);
    return DECLINE_CMD;
}

static const char *set_endpoint_socket(cmd_parms *cmd, void *dir_config, const char *arg)
{
    const apr_size_t max = RPC_LISTEN_PATH_MAX;
    const char *path, *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (wrong)
        return wrong;
    path = *arg ? ap_runtime_dir_relative(cmd->pool, arg) : NULL;
    if (!path)
        return argument_fault(cmd, arg, "the path of a socket");
    if (strlen(path) > max)
        return argument_fault(cmd, path, apr_psprintf(cmd->pool,
                              "a path of up to %d characters, the limit for sockets", (int)max));
    server_config(cmd)->endpoint_socket = path;
    return NULL;
}

static int is_listening(const apr_array_header_t *all, const char *name)
{
    int i;

    for (i = 0; i < all->nelts; i++) {
        if (!apr_cstr_casecmp(APR_ARRAY_IDX(all, i, rpc_listen_t).name, name))
            return 1;
    }
    return 0;
}

static const char *set_endpoint_listen(cmd_parms *cmd, void *dir_config, const char *name,
                                       const char *text)
{
    const char *host, *port, *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    rpc_server_config_t *sc = server_config(cmd);
    rpc_syntax_error_t err;
    rpc_binding_t binding;
    rpc_listen_t l = { .fd = -1 };

    if (wrong)
        return wrong;
    if (strlen(name) >= sizeof(l.name) || rpc_listen_parse(cmd->temp_pool, name, &host, &port) != 0)
        return argument_fault(cmd, name, "address:port, or *:port for all addresses");
    if (rpc_binding_parse(cmd->pool, text, &binding, &err) != APR_SUCCESS)
        return configtest_fault(cmd, text, &err);
    if (binding.protseq != RPC_PROTSEQ_TCP || !binding.port
        || strlen(binding.host) >= sizeof(l.host) || strchr(binding.host, '*'))
        return argument_fault(cmd, text,
                              "the server that is reached there, as ncacn_ip_tcp:host[port]");
    if (!sc->endpoint_listen)
        sc->endpoint_listen = apr_array_make(cmd->pool, 2, sizeof(rpc_listen_t));
    if (is_listening(sc->endpoint_listen, name))
        return argument_fault(cmd, name, "an address that no other RpcEndpointListen names");
    if (sc->endpoint_listen->nelts == RPC_LISTEN_MAX - 1)
        return argument_fault(cmd, name, apr_psprintf(cmd->pool, "at most %d of these directives",
                                                      RPC_LISTEN_MAX - 1));
    apr_cpystrn(l.name, name, sizeof(l.name));
    apr_cpystrn(l.host, binding.host, sizeof(l.host));
    l.port = binding.port;
    rpc_servers_note(cmd, NULL, RPC_PROTSEQ_TCP, binding.host, binding.port);
    APR_ARRAY_PUSH(sc->endpoint_listen, rpc_listen_t) = l;
    return NULL;
}

static const char *set_shared_store(cmd_parms *cmd, void *dir_config, const char *arg)
{
    const char *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (wrong)
        return wrong;
    wrong = rpc_store_parse(cmd->pool, arg, &server_config(cmd)->stores);
    /* The argument may hold a password, so it is not repeated. */
    return wrong ? apr_psprintf(cmd->pool, RPCNO(0084) "RpcSharedStore: expected %s", wrong) : NULL;
}

static const char *set_shared_store_secret(cmd_parms *cmd, void *dir_config, const char *arg)
{
    const char *path, *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    uint8_t *secret = apr_palloc(cmd->pool, RPC_FARM_SECRET);

    if (wrong)
        return wrong;
    path = ap_server_root_relative(cmd->pool, arg);
    wrong = path ? rpc_seal_read_secret(cmd->pool, path, secret) : "is not a path";
    if (wrong)
        return apr_psprintf(cmd->pool,
                            RPCNO(0085) "RpcSharedStoreSecret: %s %s", path ? path : arg, wrong);
    server_config(cmd)->store_secret = secret;
    return NULL;
}

#define ANYWHERE (RSRC_CONF | ACCESS_CONF)
#define DIR_COMMAND(field, directive, scale, low, high, zero, otherwise) \
    AP_INIT_TAKE1(#directive, set_number, (void *)&field##_number, ANYWHERE, HELP_##directive),
#define SERVER_COMMAND(field, directive, scale, low, high, zero, otherwise) \
    AP_INIT_TAKE1(#directive, set_number, (void *)&field##_number, RSRC_CONF, HELP_##directive),

const command_rec rpc_directives[] = {
    AP_INIT_RAW_ARGS("RpcValidPorts", set_valid_ports, NULL, ANYWHERE, HELP_RpcValidPorts),
    AP_INIT_TAKE_ARGV("RpcBackend", set_backend, NULL, ANYWHERE, HELP_RpcBackend),
    AP_INIT_ITERATE("RpcNspiProtocolSequences", set_nspi_sequence, NULL, ANYWHERE,
                    HELP_RpcNspiProtocolSequences),
    AP_INIT_TAKE_ARGV("RpcNspiServers", set_nspi_servers, NULL, ANYWHERE, HELP_RpcNspiServers),
    AP_INIT_RAW_ARGS("RpcTargetNetworks", set_target_networks, NULL, ANYWHERE,
                    HELP_RpcTargetNetworks),
    AP_INIT_RAW_ARGS("RpcSourceAddress", set_source_address, NULL, ANYWHERE, HELP_RpcSourceAddress),
    AP_INIT_RAW_ARGS("RpcAllowInterfaces", set_allow_interfaces, NULL, ANYWHERE,
                    HELP_RpcAllowInterfaces),
    AP_INIT_ITERATE("RpcProfile", set_profile, NULL, ANYWHERE, HELP_RpcProfile),
    AP_INIT_TAKE1("RpcMinAuthLevel", set_min_auth_level, NULL, ANYWHERE, HELP_RpcMinAuthLevel),
    AP_INIT_TAKE1("RpcAllowAnonymous", set_allow_anonymous, NULL, ANYWHERE, HELP_RpcAllowAnonymous),
    AP_INIT_TAKE1("RpcRequireTLS", set_require_tls, NULL, ANYWHERE, HELP_RpcRequireTLS),
    AP_INIT_ITERATE("RpcProtocolVersions", set_versions, NULL, ANYWHERE, HELP_RpcProtocolVersions),
    RPC_DIR_NUMBERS(DIR_COMMAND)
    AP_INIT_TAKE12("RpcMaxFailedTargets", set_failed_targets, NULL, ANYWHERE,
                    HELP_RpcMaxFailedTargets),
    RPC_SERVER_NUMBERS(SERVER_COMMAND)
    AP_INIT_TAKE1("RpcEndpointSocket", set_endpoint_socket, NULL, RSRC_CONF,
                    HELP_RpcEndpointSocket),
    AP_INIT_TAKE_ARGV("RpcHealthCheck", set_health_check, NULL, RSRC_CONF, HELP_RpcHealthCheck),
    AP_INIT_TAKE2("RpcEndpointListen", set_endpoint_listen, NULL, RSRC_CONF,
                    HELP_RpcEndpointListen),
    AP_INIT_TAKE1("RpcSharedStore", set_shared_store, NULL, RSRC_CONF, HELP_RpcSharedStore),
    AP_INIT_TAKE1("RpcSharedStoreSecret", set_shared_store_secret, NULL, RSRC_CONF,
                  HELP_RpcSharedStoreSecret),
    AP_INIT_TAKE1("SetHandler", note_handler, NULL, OR_FILEINFO, "rpcproxy: RPC over HTTP"),
    { .name = NULL }
};
