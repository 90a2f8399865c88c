/* mod_rpcproxy.c: RPC over HTTP ([MS-RPCH]) for httpd: hooks, and the content handler that
 * turns method, URL and policy into a channel.
 *
 * The handler runs after httpd's own authentication and authorization. What is wrong with a
 * request is answered here, on the worker thread; a channel that may be leaves for an I/O
 * thread (httpd/engine.c) and is answered there.
 *
 *   rpc_config    directives            rpc_target   which server, and where it is
 *   rpc_engine    I/O threads           rpc_conn     an httpd connection on one of them
 *   rpc_channel   the two proxy roles   rpc_mixed    that of version 1
 *   rpc_endpoint  the server role, a process of its own
 */
#include "mod_rpcproxy.h"

#include <unistd.h>

#include <ap_mpm.h>
#include <apr_lib.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <http_protocol.h>
#include <http_request.h>
#include <http_ssl.h>
#include <mpm_common.h>

#include "httpd/health_check.h"
#include "httpd/config.h"
#include "httpd/conn.h"
#include "httpd/endpoint_parent.h"
#include "httpd/endpoint_listen.h"
#include "httpd/engine.h"
#include "wire/error.h"
#include "httpd/mpm_limits.h"
#include "httpd/named_servers.h"
#include "wire/preface.h"
#include "httpd/require.h"
#include "shared/channel_table.h"

#define HANDLER_NAME "rpcproxy"
#define REFUSED_LOGGED 10   /* refused binds of a channel that have a line in the log */
#define ECHO_MAX 16     /* bytes of body that make a request an echo (2.1.2.1.5) */

/* The engine of this child process. */
static rpc_engine_t *engine;
/* Of the whole server: its table of live channels, which servers behind it answer, and who asks
 * for too many of them. */
static rpc_status_t *live;
static rpc_health_t *health;
static rpc_budgets_t *budgets;

/* ---- answers of the handler ---- */

/* An RPC error (2.1.2.1.3) or plain HTTP. */
static int answer_error(request_rec *r, rpc_reason_t reason)
{
    const rpc_reason_info_t *info = rpc_reason_info(reason);
    rpc_error_t error;

    apr_table_setn(r->subprocess_env, "RPC_REASON", info->token);
    r->connection->keepalive = AP_CONN_CLOSE;   /* the body, up to 2 GiB, is not read */
    if (info->http_status != HTTP_SERVICE_UNAVAILABLE)
        return info->http_status;
    rpc_error_write(&error, reason, r->request_time);
    r->status = info->http_status;
    r->status_line = apr_psprintf(r->pool, "%d %s", info->http_status, error.phrase);
    r->proto_num = HTTP_VERSION(1, 0);
    apr_table_setn(r->subprocess_env, "force-response-1.0", "1");
    ap_set_content_type(r, "application/rpc");
    ap_set_content_length(r, (apr_off_t)strlen(error.body));
    ap_rputs(error.body, r);
    return OK;
}

/* Refuses a request, with one line in the log. */
static int refuse(request_rec *r, rpc_reason_t reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(request_rec *r, rpc_reason_t reason, const char *fmt, ...)
{
    va_list args;
    const char *why;

    va_start(args, fmt);
    why = apr_pvsprintf(r->pool, fmt, args);
    va_end(args);
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "%s refused: %s: %s", r->method,
                  rpc_reason_info(reason)->token, why);
    return answer_error(r, reason);
}

/* The same answer from both proxies (2.1.2.1.6); the connection stays, NTLM clients need it. */
static int answer_echo(request_rec *r, apr_int64_t length)
{
    rts_pdu_t echo;
    uint8_t buf[RTS_MAX_SIZE];
    size_t size;

    if (length > 0 && ap_discard_request_body(r) != OK)
        return HTTP_BAD_REQUEST;
    rts_begin(&echo, RTS_ECHO);
    size = rts_write(&echo, buf, sizeof(buf));
    r->status_line = "200 Success";
    ap_set_content_type(r, "application/rpc");
    ap_set_content_length(r, (apr_off_t)size);
    ap_rwrite(buf, (int)size, r);
    return OK;
}

/* ---- policy ---- */

static int check_tls(request_rec *r, const rpc_dir_config_t *dc)
{
    int wanted = rpc_config_require_tls(dc), bits;
    const char *value;

    if (!wanted)
        return OK;
    if (!ap_ssl_conn_is_ssl(r->connection))
        return refuse(r, RPC_REASON_TLS_REQUIRED,
                      "plain HTTP, but RpcRequireTLS wants TLS with %d bits", wanted);
    value = ap_ssl_var_lookup(r->pool, r->server, r->connection, r, "SSL_CIPHER_USEKEYSIZE");
    bits = value ? atoi(value) : 0;
    if (bits < wanted)
        return refuse(r, RPC_REASON_TLS_REQUIRED,
                      "the cipher has %d bits, RpcRequireTLS wants %d", bits, wanted);
    return OK;
}

static int check_user(request_rec *r, const rpc_dir_config_t *dc)
{
    if (r->user || rpc_config_allow_anonymous(dc))
        return OK;
    return refuse(r, RPC_REASON_ANONYMOUS, "nobody is authenticated here: set AuthType and "
                  "Require valid-user, or RpcAllowAnonymous On");
}

/* Bytes of the body; -1 when the request does not say, or says it in a way we refuse. */
static apr_int64_t body_length(const request_rec *r)
{
    const char *text = apr_table_get(r->headers_in, "Content-Length");
    char *end;
    apr_off_t length;

    if (apr_table_get(r->headers_in, "Transfer-Encoding"))
        return -1;
    if (!text)
        return 0;
    if (apr_strtoff(&length, text, &end, 10) != APR_SUCCESS || *end || length < 0)
        return -1;
    return length;
}

/* ---- targets that nobody should ask for ---- */

static rts_address_t client_address(const request_rec *r)
{
    const apr_sockaddr_t *sa = r->useragent_addr;
    rts_address_t address = { .ipv6 = 0 };

    address.ipv6 = sa->family == APR_INET6 && !IN6_IS_ADDR_V4MAPPED((struct in6_addr *)sa->ipaddr_ptr);
    if (address.ipv6)
        memcpy(address.addr, sa->ipaddr_ptr, 16);
    else if (sa->family == APR_INET6)
        memcpy(address.addr, (const char *)sa->ipaddr_ptr + 12, 4);
    else
        memcpy(address.addr, sa->ipaddr_ptr, 4);
    return address;
}

static rpc_budget_who_t asker(const request_rec *r)
{
    rpc_budget_who_t who = { r->user ? r->user : "", client_address(r) };

    return who;
}

/* Once this is spent, the log has one line of it and no more. */
static int check_budget(request_rec *r, const rpc_dir_config_t *dc)
{
    rpc_budget_limit_t limit = rpc_config_failed_targets(dc);
    rpc_budget_who_t who = asker(r);

    if (!rpc_budget_spent(budgets, &who, &limit, apr_time_now()))
        return OK;
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "%s refused: RpcMaxFailedTargets %u is reached",
                  r->method, limit.targets);
    return answer_error(r, RPC_REASON_TOO_MANY_FAILED);
}

/* Also on an I/O thread. */
static void asked_in_vain(request_rec *r, const char *target)
{
    const rpc_dir_config_t *dc = ap_get_module_config(r->per_dir_config, &rpcproxy_module);
    rpc_budget_limit_t limit = rpc_config_failed_targets(dc);
    rpc_budget_who_t who = asker(r);

    if (rpc_budget_spend(budgets, &who, target, &limit, apr_time_now()))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "user \"%s\" at %s has asked for %u targets in "
                      "vain within %d seconds (RpcMaxFailedTargets): nothing is served there until "
                      "they are over", ap_escape_logitem(r->pool, who.user), r->useragent_ip,
                      limit.targets, (int)apr_time_sec(limit.window));
}

static int check_target(request_rec *r, const rpc_dir_config_t *dc, rpc_target_t *target)
{
    const rpc_valid_port_t *nearest;
    const char *query = r->args ? r->args : "", *wrong = rpc_target_parse(r->pool, query, target);

    if (!wrong && rpc_valid_ports_match(rpc_config_valid_ports(dc), target->server, target->port, &nearest))
        return OK;
    asked_in_vain(r, query);
    if (wrong)
        return refuse(r, RPC_REASON_BAD_TARGET, "query \"%s\": %s", ap_escape_logitem(r->pool, query), wrong);
    return refuse(r, RPC_REASON_TARGET_REFUSED, "%s:%u is not in RpcValidPorts, nearest is %s",
                  ap_escape_logitem(r->pool, target->server), target->port,
                  nearest ? nearest->text : "none");
}

/* ---- from request to channel ---- */

static void write_log(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    ap_log_rerror(APLOG_MARK, level, status, (request_rec *)log->ctx, "%s", text);
}

static rpc_log_t *request_log(request_rec *r)
{
    rpc_log_t *log = apr_palloc(r->pool, sizeof(*log));

    log->write = write_log;
    log->level = ap_get_request_module_loglevel(r, APLOG_MODULE_INDEX);
    log->ctx = r;
    return log;
}

/* A channel as the I/O thread shows it to us. */
typedef struct channel {
    request_rec *r;
    rpc_channel_spec_t *spec;
    int row;                /* in the table of live channels */
    unsigned refused;       /* binds */
    unsigned opened:1;
} channel_t;

/* The server where the rest of its virtual connection is comes first, whatever has become of the
 * servers' health since. */
static void follow(const channel_t *ch)
{
    char *hosts = apr_pstrdup(ch->r->pool, ch->spec->leg.hosts), *state, *one;
    const char *first = NULL, *others = "";

    if (!strchr(hosts, ','))
        return;
    for (one = apr_strtok(hosts, ",", &state); one; one = apr_strtok(NULL, ",", &state)) {
        char *port = strrchr(one, '[');
        const char *host = apr_pstrmemdup(ch->r->pool, one, (apr_size_t)(port - one));

        if (!first && rpc_status_meets(live, ch->row, host, (uint16_t)atoi(port + 1)))
            first = one;
        else
            others = apr_pstrcat(ch->r->pool, others, ",", one, NULL);
    }
    if (first)
        ch->spec->leg.hosts = apr_pstrcat(ch->r->pool, first, others, NULL);
}

static rpc_reason_t channel_claim(void *ctx, const rts_cookie_t *vc, int replacing)
{
    const channel_t *ch = ctx;
    rpc_reason_t reason;

    /* The table's name of it, for who has read a cookie in the log might use it. */
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, ch->r, "%s channel%s of virtual connection %016"
                  APR_UINT64_T_HEX_FMT, ch->r->method, replacing ? ", a successor," : "",
                  (apr_uint64_t)rpc_status_hash_cookie(live, vc));
    reason = rpc_status_claim(live, ch->row, vc, replacing);
    if (!reason)
        follow(ch);
    return reason;
}

static void channel_reached(void *ctx, const char *host, uint16_t port)
{
    const channel_t *ch = ctx;

    apr_table_setn(ch->r->subprocess_env, "RPC_BACKEND", apr_psprintf(ch->r->pool, "%s[%u]", host, port));
    rpc_status_reached(live, ch->row, host, port);
}

static void channel_opened(void *ctx)
{
    channel_t *ch = ctx;

    ch->opened = 1;
    rpc_status_opened(live, ch->row);
}

/* A client may ask without end. */
static void channel_refused(void *ctx, const char *text)
{
    channel_t *ch = ctx;
    request_rec *r = ch->r;

    if (ch->refused++ < REFUSED_LOGGED)
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "channel to %s of user \"%s\": %s%s",
                      apr_table_get(r->subprocess_env, "RPC_TARGET"), r->user ? r->user : "", text,
                      ch->refused == REFUSED_LOGGED ? "; of more of these there is no word" : "");
}

/* The last that happens with r but for its log line. */
static void channel_ended(void *ctx, rpc_reason_t reason, uint64_t received, uint64_t sent)
{
    const channel_t *ch = ctx;
    request_rec *r = ch->r;
    const char *token = rpc_reason_info(reason)->token;

    rpc_status_leave(live, ch->row);
    if (!ch->opened && reason != RPC_REASON_SHUTDOWN)
        asked_in_vain(r, r->args);      /* whoever closes early may have learned enough */
    r->bytes_sent = (apr_off_t)sent;
    apr_table_setn(r->subprocess_env, "RPC_REASON", token);
    if (ch->refused)
        apr_table_setn(r->subprocess_env, "RPC_REFUSED", apr_psprintf(r->pool, "%u", ch->refused));
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  "%s channel to %s of user \"%s\" ended: %s, %" APR_UINT64_T_FMT
                  " bytes in, %" APR_UINT64_T_FMT " out, %" APR_TIME_T_FMT " ms",
                  r->method, apr_table_get(r->subprocess_env, "RPC_TARGET"),
                  r->user ? r->user : "", token, (apr_uint64_t)received, (apr_uint64_t)sent,
                  apr_time_as_msec(apr_time_now() - r->request_time));
}

/* Pragma: MinConnTimeout=T, in seconds (2.1.2.1.2); 0 when there is none in its range. */
static apr_uint32_t min_conn_timeout(request_rec *r)
{
    static const char name[] = "MinConnTimeout=";
    const char *pragma = apr_table_get(r->headers_in, "Pragma");
    const char *item;

    while (pragma && (item = ap_get_token(r->pool, &pragma, 1)) && *item) {
        if (ap_cstr_casecmpn(item, name, sizeof(name) - 1) == 0) {
            char *end;
            long t = strtol(item + sizeof(name) - 1, &end, 10);

            return !*end && t >= 120 && t <= 14400 ? (apr_uint32_t)t * 1000 : 0;
        }
        while (*pragma == ',' || apr_isspace(*pragma))
            pragma++;
    }
    return 0;
}

/* A TCP target is reached through our endpoint, which is told whose half this is. */
static int route_to_endpoint(request_rec *r, rpc_channel_spec_t *spec, const char *target,
                             const char *vhost)
{
    const rpc_server_config_t *sc = ap_get_module_config(ap_server_conf->module_config,
                                                         &rpcproxy_module);
    rpc_preface_t preface = { spec->leg.hosts, spec->leg.port, target, r->user ? r->user : "", vhost,
                              rpc_networks_text(spec->leg.networks), rpc_sources_text(spec->leg.sources) };
    uint8_t buf[RPC_PREFACE_MAX];

    spec->preface_len = rpc_preface_write(&preface, buf, sizeof(buf));
    if (!spec->preface_len)
        return 0;
    spec->preface = apr_pmemdup(r->pool, buf, spec->preface_len);
    spec->leg.unix_path = rpc_endpointd_socket(r->pool, r->server, sc->endpoint_socket);
    return 1;
}

static const char *request_variable(void *ctx, const char *name)
{
    const request_rec *r = ctx;

    return apr_table_get(r->subprocess_env, name);
}

/* Where the leg may go, best first, as rpc_dial takes it. NULL, or why there is no such place. */
static const char *find_hosts(request_rec *r, const rpc_dir_config_t *dc, const rpc_target_t *target,
                              rpc_channel_spec_t *spec, rpc_protseq_t *protseq)
{
    rpc_directory_t directory = rpc_config_directory(dc);
    rpc_place_t places[RPC_ROUTE_MAX];
    rpc_binding_t ordered[RPC_ROUTE_MAX];
    const char *why, *key = apr_pstrcat(r->pool, r->user ? r->user : "", "\n", target->server, NULL);
    int count, i;

    directory.variable = request_variable;
    directory.ctx = r;
    count = rpc_target_places(r->pool, &directory, target, places, NULL, &why);
    if (!count)
        return why;
    rpc_route_order(places, count, key, health, r->request_time, ordered);
    *protseq = ordered[0].protseq;
    spec->leg.port = ordered[0].port;
    spec->leg.hosts = "";
    for (i = 0; i < count; i++)
        spec->leg.hosts = apr_psprintf(r->pool, "%s%s%s[%u]", spec->leg.hosts, i ? "," : "", ordered[i].host,
                                   ordered[i].port);
    return NULL;
}

static const char *make_spec(request_rec *r, const rpc_dir_config_t *dc, rpc_role_t role,
                             const rpc_target_t *target, rpc_channel_spec_t *spec)
{
    rpc_protseq_t protseq;
    const char *wrong = find_hosts(r, dc, target, spec, &protseq);
    char *name = apr_psprintf(r->pool, "%s:%u", target->server, target->port);
    const char *vhost = apr_psprintf(r->pool, "%s:%u", r->server->server_hostname,
                                     r->connection->local_addr->port);
    apr_uint32_t timeout = role == RPC_OUTBOUND ? min_conn_timeout(r) : 0;

    ap_str_tolower(name);
    spec->role = role;
    spec->identity = apr_pstrcat(r->pool, r->user ? r->user : "", "\n", name, "\n", vhost, NULL);
    spec->receive_window = rpc_config_receive_window(dc);
    spec->connection_timeout = timeout ? timeout : rpc_config_connection_timeout(dc);
    spec->channel_lifetime = rpc_config_channel_lifetime(dc);
    spec->setup_timeout = rpc_config_setup_timeout(dc);
    spec->rules = rpc_firewall_rules_both(r->pool, rpc_config_rules(r->pool, dc, target->port),
                                          rpc_require_interfaces(r));
    spec->asked_port = target->port;
    spec->least_level = rpc_config_min_auth_level(dc);
    spec->log = spec->leg.log = request_log(r);
    spec->leg.timeout = rpc_config_connect_timeout(dc);
    spec->leg.networks = dc->networks;
    spec->leg.sources = dc->sources;
    spec->client_address = client_address(r);
    if (!wrong && protseq == RPC_PROTSEQ_TCP && !route_to_endpoint(r, spec, name, vhost))
        wrong = "names too long for the endpoint";
    return wrong;
}
static int refuse_limit(request_rec *r, rpc_reason_t why, const rpc_status_limits_t *limits)
{
    switch (why) {
    case RPC_REASON_TOO_MANY_OF_USER:
        return refuse(r, why, "RpcMaxChannelsPerUser %u is reached by user \"%s\"",
                      limits->of_user, ap_escape_logitem(r->pool, r->user));
    case RPC_REASON_TOO_MANY_OF_ADDRESS:
        return refuse(r, why, "RpcMaxChannelsPerAddress %u is reached by %s",
                      limits->of_address, r->useragent_ip);
    case RPC_REASON_TOO_MANY_UNPAIRED:
        return refuse(r, why, "RpcMaxUnpairedChannels %u is reached", limits->unpaired);
    default:
        return refuse(r, why, "RpcMaxChannels %u is reached", limits->channels);
    }
}

/* Counts the channel, and has the I/O thread tell us of it. OK, or refused. */
static int enter(request_rec *r, const rpc_dir_config_t *dc, rpc_channel_spec_t *spec)
{
    const rpc_server_config_t *sc = ap_get_module_config(ap_server_conf->module_config,
                                                         &rpcproxy_module);
    rpc_status_limits_t limits = {
        .channels = (uint32_t)rpc_config_max_channels(sc),
        .of_user = (uint32_t)rpc_config_max_of_user(dc),
        .of_address = (uint32_t)rpc_config_max_of_address(dc),
        .unpaired = (uint32_t)rpc_config_max_unpaired(sc),
    };
    rpc_status_who_t who = { spec->role, spec->identity, r->user ? r->user : "", &spec->client_address };
    channel_t *ch = apr_pcalloc(r->pool, sizeof(*ch));
    rpc_reason_t why;

    ch->r = r;
    ch->spec = spec;
    ch->row = rpc_status_enter(live, &who, &limits, &why);
    if (ch->row == RPC_STATUS_NO_ROW)
        return refuse_limit(r, why, &limits);
    spec->claim = channel_claim;
    spec->reached = channel_reached;
    spec->opened = channel_opened;
    spec->refused = channel_refused;
    spec->ended = channel_ended;
    spec->ctx = ch;
    return OK;
}

static int open_channel(request_rec *r, const rpc_dir_config_t *dc, rpc_role_t role,
                        apr_int64_t length)
{
    rpc_target_t target;
    rpc_channel_spec_t *spec = apr_pcalloc(r->pool, sizeof(*spec));
    const char *wrong;
    int rv = check_budget(r, dc);

    if (rv == OK && r->status == HTTP_OK)
        rv = check_target(r, dc, &target);
    if (rv != OK || r->status != HTTP_OK)
        return rv;
    wrong = make_spec(r, dc, role, &target, spec);
    if (wrong) {
        asked_in_vain(r, r->args);
        return refuse(r, RPC_REASON_BAD_TARGET, "%s", wrong);
    }
    spec->content_length = length;
    rv = enter(r, dc, spec);
    if (rv != OK || r->status != HTTP_OK)
        return rv;
    rv = rpc_engine_hand_over(engine, r, spec);
    if (rv == HTTP_SERVICE_UNAVAILABLE) {
        rpc_status_leave(live, ((const channel_t *)spec->ctx)->row);
        return refuse(r, RPC_REASON_STOPPING, "this child takes no new channels");
    }
    return rv;
}

static int rpc_role_of(const char *method)
{
    return ap_cstr_casecmp(method, "RPC_IN_DATA") == 0 ? RPC_INBOUND
         : ap_cstr_casecmp(method, "RPC_OUT_DATA") == 0 ? RPC_OUTBOUND
         : ap_cstr_casecmp(method, "RPC_CONNECT") == 0 ? RPC_MIXED : -1;
}

static int check_method(request_rec *r, int role, int versions)
{
    if (role >= 0 && (versions & (role == RPC_MIXED ? RPC_V1 : RPC_V2)))
        return OK;
    ap_allow_methods(r, REPLACE_ALLOW, NULL);
    if (versions & RPC_V2)
        ap_allow_methods(r, MERGE_ALLOW, "RPC_IN_DATA", "RPC_OUT_DATA", NULL);
    if (versions & RPC_V1)
        ap_allow_methods(r, MERGE_ALLOW, "RPC_CONNECT", NULL);
    return refuse(r, RPC_REASON_METHOD, role >= 0 ? "not in RpcProtocolVersions"
                  : "the method is none of RPC over HTTP");
}

/* Bytes that the client may send: what Content-Length says, and for version 1, which has no
 * such field (2.1.1.1.1), all there is. -1: the request is not as it should be. */
static apr_int64_t channel_length(const request_rec *r, int role)
{
    if (role != RPC_MIXED)
        return body_length(r);
    return apr_table_get(r->headers_in, "Transfer-Encoding")
           || apr_table_get(r->headers_in, "Content-Length") ? -1 : INT64_MAX;
}

static int rpc_handler(request_rec *r)
{
    const rpc_dir_config_t *dc;
    apr_int64_t length;
    int role, rv;

    if (!r->handler || strcmp(r->handler, HANDLER_NAME) != 0)
        return DECLINED;
    dc = ap_get_module_config(r->per_dir_config, &rpcproxy_module);
    role = rpc_role_of(r->method);
    if ((rv = check_method(r, role, rpc_config_versions(dc))) != OK
        || (rv = check_tls(r, dc)) != OK || (rv = check_user(r, dc)) != OK)
        return rv;
    length = channel_length(r, role);
    if (length < 0)
        return refuse(r, RPC_REASON_BAD_REQUEST, role == RPC_MIXED
                      ? "RPC_CONNECT with a Content-Length, or chunked"
                      : "no usable Content-Length, or chunked");
    if (length <= ECHO_MAX)
        return answer_echo(r, length);
    if (r->main || r->connection->master)
        return refuse(r, RPC_REASON_BAD_REQUEST, "a channel needs an HTTP/1 connection of its own");
    return open_channel(r, dc, (rpc_role_t)role, length);
}

/* Version 1 listens on / (3.1.2.3), which must not be taken for a folder: httpd ignores
 * SetHandler for folders. (A target without any path, "RPC_CONNECT server:port", is refused
 * by httpd before a module sees it.) */
static int root_is_no_folder(request_rec *r)
{
    return rpc_role_of(r->method) == RPC_MIXED && strcmp(r->uri, "/") == 0 ? OK : DECLINED;
}

/* Before authentication, so that authorization and expressions know what is asked for. Names are
 * told in lower case. */
static int name_target(request_rec *r)
{
    rpc_target_t target;
    char *server;

    if (rpc_role_of(r->method) < 0 || rpc_target_parse(r->pool, r->args ? r->args : "", &target))
        return DECLINED;
    server = apr_pstrdup(r->pool, target.server);
    ap_str_tolower(server);
    apr_table_setn(r->subprocess_env, "RPC_SERVER", server);
    apr_table_setn(r->subprocess_env, "RPC_PORT", apr_psprintf(r->pool, "%u", target.port));
    apr_table_setn(r->subprocess_env, "RPC_TARGET", apr_psprintf(r->pool, "%s:%u", server, target.port));
    return DECLINED;
}

/* Before authentication. An IN request that is refused there (401) must not have its body, of
 * up to 2 GiB and never complete, read by httpd: its connection is closed instead. One that
 * has no body keeps its connection, which an expectation still pending at the 401 would cost;
 * impacket expects 100-continue even then. */
static int spare_body(request_rec *r)
{
    int role = rpc_role_of(r->method);
    apr_int64_t length;

    if (role < 0)
        return DECLINED;
    length = body_length(r);
    if (role == RPC_MIXED || (role == RPC_INBOUND && length > ECHO_MAX))
        r->connection->keepalive = AP_CONN_CLOSE;
    else if (length == 0)
        r->expecting_100 = 0;
    return DECLINED;
}

/* ---- the server's life ---- */

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    rpc_config_reset();
    ap_method_register(pconf, "RPC_IN_DATA");
    ap_method_register(pconf, "RPC_OUT_DATA");
    ap_method_register(pconf, "RPC_CONNECT");
    return OK;
}

/* RpcProtocolVersions of the main server is that of RpcEndpointListen. */
static apr_array_header_t *with_versions(apr_array_header_t *listen, int versions)
{
    int i;

    for (i = 0; listen && i < listen->nelts; i++)
        APR_ARRAY_IDX(listen, i, rpc_listen_t).version1 = versions & RPC_V1;
    return listen;
}

static apr_status_t prepare_endpoint(apr_pool_t *pconf, server_rec *s, int first_pass)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    const rpc_dir_config_t *dc = ap_get_module_config(s->lookup_defaults, &rpcproxy_module);
    rpc_endpointd_params_t params = {
        .socket = sc->endpoint_socket,
        .listen = with_versions(sc->endpoint_listen, rpc_config_versions(dc)),
        .receive_window = rpc_config_receive_window(dc),
        .setup_timeout = rpc_config_setup_timeout(dc),
        .connect_timeout = rpc_config_connect_timeout(dc),
        .networks = rpc_networks_text(dc->networks),
        .sources = rpc_sources_text(dc->sources),
        .health = health,
    };

    if (!rpc_config_needs_endpoint() && !sc->endpoint_listen)
        return APR_SUCCESS;
    return first_pass ? rpc_endpointd_listen(pconf, s, &params)
                      : rpc_endpointd_start(pconf, s, &params);
}

typedef struct shared {
    rpc_status_t *live;
    rpc_health_t *health;
    rpc_budgets_t *budgets;
} shared_t;

/* The first start's, kept by httpd. The number is the table's layout: a restart that brings
 * another version of the module must not take up what the old one has left. */
static apr_status_t prepare_status(server_rec *s)
{
    static const char name[] = "rpcproxy-status-6";
    shared_t *kept = ap_retained_data_get(name);
    apr_status_t rv = APR_SUCCESS;
    apr_shm_t *shm;

    if (!kept) {
        kept = ap_retained_data_create(name, sizeof(*kept));
        rv = rpc_status_create(&kept->live, s->process->pool);
        if (rv == APR_SUCCESS)
            rv = apr_shm_create(&shm, rpc_health_size(), NULL, s->process->pool);
        if (rv == APR_SUCCESS)      /* anonymous, so zeroed */
            kept->health = rpc_health_init(apr_shm_baseaddr_get(shm));
        if (rv == APR_SUCCESS)
            rv = rpc_budget_create(&kept->budgets, s->process->pool);
    }
    live = kept->live;
    health = kept->health;
    budgets = kept->budgets;
    return rv;
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    return rpc_check_possible(s) ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

/* Only for configtest: a start should not wait for the DNS. */
static void test_config(apr_pool_t *pconf, server_rec *s)
{
    rpc_servers_check_names(pconf);
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    int first_pass = ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG;
    apr_status_t rv;

    if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL)
        return OK;
    if (!first_pass) {
        rv = prepare_status(s);
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s,
                         "no shared memory for the channel table");
            return HTTP_INTERNAL_SERVER_ERROR;
        }
        rpc_limits_check(s, rpc_config_max_channels(sc));
    }
    if (prepare_endpoint(pconf, s, first_pass) != APR_SUCCESS
        || (!first_pass && rpc_check_start(pconf, s, health) != APR_SUCCESS))
        return HTTP_INTERNAL_SERVER_ERROR;      /* logged there */
    return OK;
}

static apr_status_t start_engine(apr_pool_t *pchild, server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    sigset_t all, before;
    apr_status_t rv;

    /* A child that is told to go while it begins goes in the signal's handler, pools and all: not
     * while a thread has been made and nobody knows it yet. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rv = rpc_engine_start(&engine, rpc_config_io_threads(sc), health, pchild);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rv;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_status_t rv;

    rpc_status_set_pid(live, (uint32_t)getpid());
    rpc_endpointd_child_init();
    rv = start_engine(pchild, s);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s, "cannot start the I/O threads");
        exit(APEXIT_CHILDSICK);
    }
}

static void child_stopping(apr_pool_t *pchild, int graceful)
{
    const rpc_server_config_t *sc = ap_get_module_config(ap_server_conf->module_config,
                                                         &rpcproxy_module);

    rpc_check_stop(ap_server_conf->process->pconf);
    if (engine)
        rpc_engine_retire(engine, graceful, rpc_config_graceful_timeout(sc));
}

static void child_status(server_rec *s, pid_t pid, ap_generation_t gen, int slot,
                         mpm_child_status state)
{
    if (state == MPM_CHILD_EXITED && live)
        rpc_status_gone(live, (uint32_t)pid);
}

static void register_hooks(apr_pool_t *p)
{
    rpc_conn_register(p);
    rpc_require_register(p);
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_test_config(test_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_status(child_status, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_map_to_storage(root_is_no_folder, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_header_parser(name_target, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_header_parser(spare_body, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(rpc_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(rpcproxy) = {
    STANDARD20_MODULE_STUFF,
    rpc_config_create_dir,
    rpc_config_merge_dir,
    rpc_config_create_server,
    rpc_config_merge_server,
    rpc_config_commands,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
