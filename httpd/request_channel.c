/* httpd/request_channel.c: from a request to what a channel is to do (role, limits, where the
 * server is), and from what becomes of the channel back to the request: its log lines, its
 * environment, its row in the table of live channels.
 */
#include "httpd/request_channel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <http_protocol.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "base/who.h"
#include "httpd/block.h"
#include "httpd/endpoint_parent.h"
#include "httpd/endpoint_secret.h"
#include "httpd/error_log_line.h"
#include "httpd/interned.h"
#include "httpd/module.h"
#include "httpd/passed.h"
#include "httpd/require.h"
#include "httpd/server_log.h"
#include "io/secure.h"
#include "shared/words.h"
#include "wire/preface.h"

APLOG_USE_MODULE(rpcproxy);

#define WHY_TEXT 512        /* of why a channel has ended */
#define SERVERS_TEXT 1024   /* bytes of a list of servers in the log */
#define REFUSED_LOGGED 10   /* refused binds of a channel that have a line in the log */

_Static_assert(RPC_BOARD_KEYS == 3, "user, address and target");

/* ---- who asks ---- */

static rts_address_t client_address(const request_rec *r)
{
    const apr_sockaddr_t *sa = r->useragent_addr;
    rts_address_t address = { .ipv6 = 0 };

    address.ipv6 = sa->family == APR_INET6
                   && !IN6_IS_ADDR_V4MAPPED((struct in6_addr *)sa->ipaddr_ptr);
    if (address.ipv6)
        memcpy(address.addr, sa->ipaddr_ptr, 16);
    else if (sa->family == APR_INET6)
        memcpy(address.addr, (const char *)sa->ipaddr_ptr + 12, 4);
    else
        memcpy(address.addr, sa->ipaddr_ptr, 4);
    return address;
}

/* The user as limits, tables and the endpoint see it (base/who.h). */
static const char *canonical_user(const request_rec *r)
{
    return rpc_who_user(r->pool, r->user, apr_table_get(r->notes, RPC_WHO_ANY_DOMAIN_NOTE)
                                          ? RPC_WHO_ANY_DOMAIN : RPC_WHO_WITH_DOMAIN);
}

rpc_budget_who_t rpc_request_asker(const request_rec *r)
{
    rpc_budget_who_t who = { canonical_user(r), client_address(r) };

    return who;
}

/* What the log says when the limit has been reached. */
#define IN_VAIN RPCNO(0004) \
    "user \"%s\" at %s has asked for %u targets in vain within %d seconds " \
    "(RpcMaxFailedTargets): nothing is served there until they are over"

void rpc_request_in_vain(const rpc_context_t *context, request_rec *r, const char *target)
{
    const rpc_dir_config_t *dc = ap_get_module_config(r->per_dir_config, &rpcproxy_module);
    rpc_budget_limit_t limit = rpc_config_failed_targets(dc);
    rpc_budget_who_t who = rpc_request_asker(r);
    rpc_log_who_t names = rpc_log_who(r);

    if (rpc_budget_spend(context->budgets, &who, target, &limit, rpc_clock_now()))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, IN_VAIN, names.user, names.client,
                      limit.targets, (int)apr_time_sec(limit.window));
}

/* ---- a channel as the I/O thread shows it to us ---- */

typedef struct channel {
    const rpc_context_t *context;
    const rpc_channel_spec_t *spec;
    rpc_record_t *record;       /* of its request */
    void *passed;               /* the password in it, until the upstream has answered; or NULL */
    rpc_log_who_t who;
    const char *query;
    rpc_budget_limit_t limit;
    rpc_request_left_t *left;   /* is told of the end; NULL: nobody is */
    void *left_ctx;
    char *backend;              /* "server[port]", malloc'ed: the leg's; NULL: it has none yet */
    int row;                    /* in the table of live channels */
    int first;                  /* the index of the server that is tried first */
    uint64_t connection;        /* the public id of its virtual connection; 0: not known yet */
    uint32_t slot;              /* of the virtual connection's sums */
    apr_time_t since;           /* as rpc_clock_now() */
    apr_time_t began;           /* the same of its virtual connection */
    unsigned refused;           /* binds */
    unsigned claimed:1;         /* it has said which virtual connection it belongs to */
    unsigned joined:1;          /* and is part of it */
    unsigned opened:1;
} channel_t;

/* All lines of the channel bear the name from now on. The cookie itself is nobody's to read: with
 * it, a reader of the log could join the connection. */
static void name_connection(channel_t *ch, uint64_t connection)
{
    char text[17];

    ch->connection = connection;
    rpc_record_name(ch->record, connection);
    snprintf(text, sizeof(text), "%016" PRIx64, connection);
    rpc_record_note(ch->record, "RPC_CONNECTION", text);
}

/* A new virtual connection goes to no server that is drained. Those come last, so that the first
 * says whether there is any other. */
static int only_drained(const rpc_context_t *context, const rpc_channel_spec_t *spec)
{
    const rpc_binding_t *best = &spec->leg.servers->at[0];

    return rpc_health_drains(context->health, best->host, (uint16_t)best->port);
}

/* Its session goes on where it was, so that replacements do not make it longer. */
static void limit_session(const channel_t *ch)
{
    if (ch->spec->session_time && ch->spec->metered.meter)
        atomic_store(&ch->spec->metered.meter->ends, ch->began + ch->spec->session_time);
}

static rpc_reason_t join_connection(channel_t *ch, int successor)
{
    const rpc_context_t *context = ch->context;
    rpc_sum_t sum;

    ch->joined = 1;
    ch->slot = rpc_sums_hold(context->sums, ch->connection, successor, rpc_clock_now(), &sum);
    ch->began = sum.began < ch->since ? sum.began : ch->since;
    if (successor)
        rpc_count(&context->tally->successors);
    rpc_board_claimed(context->board, ch->row, ch->connection, ch->began, sum.successors, ch->slot);
    limit_session(ch);
    return !successor && sum.holders <= 1 && only_drained(context, ch->spec) ? RPC_REASON_DRAINING
                                                                              : RPC_REASON_NONE;
}

/* The index of the server that the rest of the virtual connection uses, whatever its health is now;
 * else that of the best server. */
static int first_server(const channel_t *ch)
{
    const rpc_server_list_t *servers = ch->spec->leg.servers;
    int i;

    for (i = 0; i < servers->count; i++)
        if (rpc_status_meets(ch->context->live, ch->row, servers->at[i].host, servers->at[i].port))
            return i;
    return 0;
}

static rpc_reason_t channel_claim(void *ctx, const rts_cookie_t *vc, int replacing, int *first)
{
    channel_t *ch = ctx;
    rpc_reason_t reason;

    ch->claimed = 1;
    name_connection(ch, rpc_status_hash_cookie(ch->context->live, vc));
    rpc_log(ch->spec->log, RPC_LOG_DEBUG, 0, "%s channel%s of virtual connection %016" PRIx64,
            ch->who.method, replacing ? ", a successor," : "", ch->connection);
    reason = rpc_status_claim(ch->context->live, ch->row, vc, replacing);
    if (reason)
        return reason;
    *first = ch->first = first_server(ch);
    return join_connection(ch, replacing);
}

static void note_backend(channel_t *ch, char *backend)
{
    free(ch->backend);
    ch->backend = backend;
    if (!backend)
        return;
    rpc_record_note(ch->record, "RPC_BACKEND", backend);
    rpc_board_reached(ch->context->board, ch->row, backend);
}

static void channel_reached(void *ctx, const char *host, uint16_t port)
{
    channel_t *ch = ctx;
    char *backend;

    note_backend(ch, asprintf(&backend, "%s[%u]", host, port) < 0 ? NULL : backend);
    rpc_status_reached(ch->context->live, ch->row, host, port);
}

/* The endpoint says which server it has reached; where there is one only, that is it. Version 1 has
 * no other word of the endpoint. */
static void ask_endpoint(channel_t *ch)
{
    const rpc_server_list_t *servers = ch->spec->leg.servers;
    char server[RPC_SUMS_SERVER];

    if (ch->backend || !ch->spec->leg.unix_path)
        return;
    if (rpc_sums_server(ch->context->sums, ch->slot, server))
        note_backend(ch, strdup(server));
    else if (ch->opened && servers->count == 1)
        channel_reached(ch, servers->at[0].host, servers->at[0].port);
}

static void channel_opened(void *ctx)
{
    channel_t *ch = ctx;

    rpc_status_opened(ch->context->live, ch->row);
    if (ch->opened)
        return;
    ch->opened = 1;
    rpc_tally_setup(ch->context->tally, ch->spec->role, rpc_clock_now() - ch->since);
    rpc_sums_opened(ch->context->sums, ch->slot);
    ask_endpoint(ch);
    rpc_board_opened(ch->context->board, ch->row);
}

static void channel_answered(void *ctx, int status)
{
    channel_t *ch = ctx;

    if (ch->passed)
        rpc_passed_answered(ch->record, ch->passed, status);
    ch->passed = NULL;
}

static void channel_bound(void *ctx, unsigned level)
{
    const channel_t *ch = ctx;

    rpc_status_bound(ch->context->live, ch->row, level);
}

static int channel_recall(void *ctx, int *bound, unsigned *level)
{
    const channel_t *ch = ctx;

    return rpc_status_recall(ch->context->live, ch->row, bound, level);
}

/* The list shows each kind of refused bind once, so a client that repeats them fills nothing. */
static void list_refused(const channel_t *ch, rpc_reason_t reason, const char *text)
{
    rpc_mishap_texts_t texts = { ch->who.name, ch->who.client, ch->who.target, ch->backend, text };

    rpc_mishaps_note(ch->context->mishaps, (uint32_t)getpid(), reason, ch->connection, &texts,
                     apr_time_now());
}

/* A client may repeat refused binds without end, so only some of them are logged. */
static void channel_refused(void *ctx, rpc_reason_t reason, const char *text)
{
    channel_t *ch = ctx;

    if (ch->refused++ < REFUSED_LOGGED)
        rpc_log(ch->spec->log, RPC_LOG_WARN, 0,
                RPCNO(0005) "channel to %s of user \"%s\": %s; client %s%s",
                ch->who.target, ch->who.user, text, ch->who.client,
                ch->refused == REFUSED_LOGGED ? "; further refusals on this channel are not logged"
                                              : "");
    rpc_count(&ch->context->tally->binds_refused);
    rpc_board_refused(ch->context->board, ch->row, ch->refused);
    list_refused(ch, reason, text);
}

/* Is the end a failure that the log shows at level warn? A client that leaves before the server has
 * answered counts as one. Only the first failed channel of a virtual connection is logged so. */
static int is_failure(const channel_t *ch, rpc_reason_t reason)
{
    int gave_up = ch->claimed && !ch->opened
                  && (reason == RPC_REASON_CLIENT_CLOSED || reason == RPC_REASON_CLIENT_ERROR);

    return (gave_up || !rpc_reason_is_normal(reason))
        && rpc_status_tells(ch->context->live, ch->row, rpc_clock_now());
}

/* The last channel of a virtual connection tells the whole of it. A connection that found no
 * slot is told channel by channel. */
static void log_connection(const channel_t *ch, const rpc_end_t *end, rpc_log_channel_t *last)
{
    rpc_sum_t sum = { .in = end->received, .out = end->sent, .opened = ch->opened,
                      .reason = end->reason };

    rpc_board_forget_slot(ch->context->board, ch->row);
    if (ch->slot && !rpc_sums_release(ch->context->sums, ch->slot, end->received, end->sent,
                                      end->reason, &sum))
        return;
    rpc_record_name(ch->record, 0);     /* the line has it */
    last->age = rpc_clock_now() - ch->began;
    rpc_log_connection(ch->context, ch->spec->log, last, &sum);
}

/* Who waits in vain needs the server and the other half: which of them did not come? The answer is
 * right for the first channel to fail, if it is given before is_failure(): the other, which is told
 * that it is not the first, ends then. */
static void explain_wait(const channel_t *ch, rpc_end_t *end, char *text, size_t size)
{
    rpc_role_t role = ch->spec->role;

    if (!ch->joined || ch->opened || role == RPC_MIXED
        || (end->reason != RPC_REASON_SETUP_TIMEOUT && end->reason != RPC_REASON_CLIENT_CLOSED))
        return;
    if (rpc_status_has_other_half(ch->context->live, ch->row))
        snprintf(text, size, "%s; both halves are here, so the server is silent", end->why);
    else
        snprintf(text, size, "%s; the %s half is missing", end->why,
                 role == RPC_INBOUND ? "OUT" : "IN");
    end->why = text;
}

/* The server that it has reached, or those that it tried. */
static void log_end(const channel_t *ch, const rpc_end_t *of)
{
    rpc_end_t explained = *of;
    char servers[SERVERS_TEXT], why[WHY_TEXT];
    rpc_log_channel_t channel = { &ch->who, ch->backend ? ch->backend : servers, ch->spec->role,
                                  ch->connection, rpc_clock_now() - ch->since };
    int failed;

    explain_wait(ch, &explained, why, sizeof(why));
    failed = is_failure(ch, of->reason);
    rpc_server_list_print(ch->spec->leg.servers, ch->first, servers, sizeof(servers));
    rpc_log_ended(ch->context, ch->spec->log, &channel, failed ? &explained : of, failed);
    if (ch->joined)
        log_connection(ch, of, &channel);
}

/* A scanner may have learned enough and left. */
static void count_in_vain(const channel_t *ch)
{
    rpc_budget_who_t asker = { ch->spec->leg.user, ch->spec->client_address };

    if (rpc_budget_spend(ch->context->budgets, &asker, ch->query, &ch->limit, rpc_clock_now()))
        rpc_log(ch->spec->log, RPC_LOG_WARN, 0, IN_VAIN, ch->who.user, ch->who.client,
                ch->limit.targets, (int)apr_time_sec(ch->limit.window));
}

/* Afterwards only the record is left, for the end of the connection. */
static void channel_ended(void *ctx, const rpc_end_t *end)
{
    channel_t *ch = ctx;
    char refused[16];

    ask_endpoint(ch);
    log_end(ch, end);
    if (ch->left)
        ch->left(ch->left_ctx, end);
    rpc_board_leave(ch->context->board, ch->row);
    rpc_status_leave(ch->context->live, ch->row);
    if (!ch->opened && !rpc_reason_is_ours(end->reason))
        count_in_vain(ch);
    rpc_record_note(ch->record, "RPC_REASON", rpc_reason_info(end->reason)->token);
    if (ch->refused) {
        apr_snprintf(refused, sizeof(refused), "%u", ch->refused);
        rpc_record_note(ch->record, "RPC_REFUSED", refused);
    }
    free(ch->backend);
    free(ch->passed);
    free(ch);
}

/* Escapes a text for the log without a pool: what is not printable becomes a question mark. */
static void quote(char *to, size_t size, const char *from)
{
    size_t n;

    for (n = 0; from[n] && n + 1 < size; n++)
        to[n] = apr_isprint(from[n]) && from[n] != '"' && from[n] != '\\' ? from[n] : '?';
    to[n] = '\0';
}

/* What its child would have said. Its bytes stay counted: the board's never fall. */
void rpc_request_lost(const rpc_context_t *context, int row)
{
    rpc_log_t log = rpc_server_log(ap_server_conf);
    rpc_board_view_t view;
    char user[RPC_BOARD_USER];
    rpc_log_who_t who = { "", view.row.target, user, view.row.client, view.row.user };
    rpc_log_channel_t last = { &who, view.row.server, RPC_INBOUND, 0, 0 };
    rpc_end_t end = { .reason = RPC_REASON_CHILD_DIED,
                      .why = rpc_reason_info(RPC_REASON_CHILD_DIED)->text };
    rpc_sum_t sum;

    if (!rpc_board_read_dead(context->board, (uint32_t)row, &view))
        return;
    quote(user, sizeof(user), view.row.user);
    last.role = view.row.role < RPC_ROLES ? (rpc_role_t)view.row.role : RPC_INBOUND;
    last.connection = view.row.connection;
    last.age = rpc_clock_now() - view.row.since;
    rpc_log_ended(context, &log, &last, &end, 0);
    if (rpc_sums_release(context->sums, view.row.slot, view.in, view.out, end.reason, &sum)) {
        last.age = rpc_clock_now() - sum.began;
        rpc_log_connection(context, &log, &last, &sum);
    }
    rpc_board_leave(context->board, row);
}

/* ---- from request to channel ---- */

/* Pragma: MinConnTimeout=T, in seconds (2.1.2.1.2); 0 when there is none in its range. */
static apr_interval_time_t min_conn_timeout(request_rec *r)
{
    static const char name[] = "MinConnTimeout=";
    const char *pragma = apr_table_get(r->headers_in, "Pragma");
    const char *item;

    while (pragma && (item = ap_get_token(r->pool, &pragma, 1)) && *item) {
        if (ap_cstr_casecmpn(item, name, sizeof(name) - 1) == 0) {
            char *end;
            long t = strtol(item + sizeof(name) - 1, &end, 10);

            return !*end && t >= RTS_TIMEOUT_MIN_SECONDS && t <= RTS_TIMEOUT_MAX_SECONDS
                   ? apr_time_from_sec(t) : 0;
        }
        while (*pragma == ',' || apr_isspace(*pragma))
            pragma++;
    }
    return 0;
}

/* A TCP target is reached through the endpoint, which gets user and target in the preface. */
static int route_to_endpoint(request_rec *r, rpc_channel_spec_t *spec, const char *target,
                             const char *vhost)
{
    const rpc_server_list_t *servers = spec->leg.servers;
    rpc_preface_t preface = {
        .host = rpc_server_list_text(r->pool, servers),
        .port = servers->at[0].port,
        .target = target,
        .user = spec->leg.user,
        .client = r->useragent_ip,
        .vhost = vhost,
        .networks = rpc_networks_text(spec->leg.networks),
        .sources = rpc_sources_text(spec->leg.sources),
        .connect_timeout = (uint32_t)apr_time_as_msec(spec->leg.timeout),
        .setup_timeout = (uint32_t)apr_time_as_msec(spec->setup_timeout),
        .receive_window = spec->receive_window,
        .secret = rpc_endpoint_secret(),
    };
    uint8_t buf[RPC_PREFACE_MAX];

    spec->preface_len = rpc_preface_write(&preface, buf, sizeof(buf));
    if (!spec->preface_len)
        return 0;
    spec->preface = apr_pmemdup(r->pool, buf, spec->preface_len);
    spec->leg.unix_path = rpc_endpointd_socket();
    spec->leg.unix_owner = rpc_endpointd_owner();
    return 1;
}

static const char *request_variable(void *ctx, const char *name)
{
    const request_rec *r = ctx;

    return apr_table_get(r->subprocess_env, name);
}

/* Fills in the servers for the leg, best first; of a channel to a proxy that is already there, that
 * proxy. Returns NULL, or why there is none. */
static const char *find_servers(request_rec *r, const rpc_dir_config_t *dc, rpc_health_t *health,
                                const rpc_target_t *target, rpc_channel_spec_t *spec)
{
    rpc_directory_t directory = rpc_config_directory(dc);
    rpc_place_t places[RPC_ROUTE_MAX];
    const char *why, *key = apr_pstrcat(r->pool, spec->leg.user, "\n", target->server, NULL);
    rpc_server_list_t *servers;
    int count, i;

    if (spec->upstream.host) {
        servers = apr_pcalloc(r->pool, sizeof(*servers));
        servers->count = 1;
        servers->at[0] = (rpc_binding_t){ RPC_PROTSEQ_HTTP, spec->upstream.host,
                                          spec->upstream.port };
        spec->leg.servers = servers;
        return NULL;
    }
    directory.variable = request_variable;
    directory.ctx = r;
    count = rpc_target_places(r->pool, &directory, target, places, NULL, &why);
    if (!count)
        return why;
    servers = apr_palloc(r->pool, sizeof(*servers));
    rpc_route_order(places, count, key, health, rpc_clock_now(), servers);
    spec->leg.servers = servers;
    for (i = 0; i < count; i++) {
        if (places[i].named)
            spec->leg.networks = rpc_networks_with(r->pool, spec->leg.networks,
                                                   places[i].binding.host);
    }
    return NULL;
}

const char *rpc_request_spec(const rpc_context_t *context, request_rec *r, rpc_role_t role,
                             const rpc_target_t *target, rpc_channel_spec_t *spec)
{
    const rpc_dir_config_t *dc = ap_get_module_config(r->per_dir_config, &rpcproxy_module);
    const char *wrong;
    char *name = apr_psprintf(r->pool, "%s:%u", target->server, target->port);
    const char *vhost = apr_psprintf(r->pool, "%s:%u", r->server->server_hostname,
                                     r->connection->local_addr->port);
    apr_interval_time_t timeout = role == RPC_OUTBOUND ? min_conn_timeout(r) : 0;

    spec->leg.user = canonical_user(r);
    spec->leg.networks = dc->networks;
    wrong = find_servers(r, dc, context->health, target, spec);
    ap_str_tolower(name);
    spec->role = role;
    spec->identity = apr_pstrcat(r->pool, spec->leg.user, "\n", name, "\n", vhost, NULL);
    spec->receive_window = rpc_config_receive_window(dc);
    spec->connection_timeout = timeout ? timeout : rpc_config_connection_timeout(dc);
    spec->channel_lifetime = rpc_config_channel_lifetime(dc);
    spec->first_pdu_timeout = rpc_config_first_pdu_timeout(dc);
    spec->setup_timeout = rpc_config_setup_timeout(dc);
    spec->idle_timeout = rpc_config_idle_timeout(dc);
    spec->session_time = rpc_config_session_time(dc);
    spec->rules = rpc_firewall_rules_both(r->pool, rpc_config_rules(r->pool, dc, target->port),
                                          rpc_require_interfaces(r));
    spec->asked_port = target->port;
    spec->least_level = rpc_config_min_auth_level(dc);
    spec->leg.timeout = rpc_config_connect_timeout(dc);
    spec->leg.sources = dc->sources;
    spec->client_address = client_address(r);
    if (!wrong && spec->leg.servers->at[0].protseq == RPC_PROTSEQ_TCP
        && !route_to_endpoint(r, spec, name, vhost))
        wrong = "names too long for the endpoint";
    return wrong;
}

rpc_status_limits_t rpc_request_limits(const request_rec *r)
{
    const rpc_dir_config_t *dc = ap_get_module_config(r->per_dir_config, &rpcproxy_module);
    const rpc_server_config_t *sc = ap_get_module_config(ap_server_conf->module_config,
                                                         &rpcproxy_module);
    rpc_unpaired_t unpaired = rpc_config_unpaired(sc);
    rpc_status_limits_t limits = {
        .channels = (uint32_t)rpc_config_max_channels(sc),
        .of_user = (uint32_t)rpc_config_max_of_user(dc),
        .of_address = (uint32_t)rpc_config_max_of_address(dc),
        .unpaired = (uint32_t)unpaired.all,
        .unpaired_of_user = (uint32_t)unpaired.of_user,
        .unpaired_of_address = (uint32_t)unpaired.of_address,
        .unpaired_of_target = (uint32_t)unpaired.of_target,
    };

    return limits;
}

const char *rpc_request_server(apr_pool_t *pool, const rpc_channel_spec_t *spec)
{
    return rpc_server_list_first(pool, spec->leg.servers);
}

/* Puts the channel on the board. */
static void show(channel_t *ch, request_rec *r, rpc_channel_spec_t *spec,
                 const rpc_status_limits_t *limits)
{
    rpc_board_row_t row = { .since = ch->since, .role = spec->role, .pid = (uint32_t)getpid(),
                            .of_user = limits->of_user, .of_address = limits->of_address };
    const char *target = apr_table_get(r->subprocess_env, "RPC_TARGET");

    rpc_words_text(row.user, sizeof(row.user), r->user ? r->user : "");
    rpc_words_text(row.client, sizeof(row.client), r->useragent_ip);
    rpc_words_text(row.target, sizeof(row.target), target ? target : "");
    rpc_words_text(row.vhost, sizeof(row.vhost),
                   apr_psprintf(r->pool, "%s:%u", r->server->server_hostname,
                                r->connection->local_addr->port));
    rpc_status_keys(ch->context->live, ch->row, row.keys);
    spec->metered = rpc_board_enter(ch->context->board, ch->row, &row);
}

rpc_reason_t rpc_request_enter(const rpc_context_t *context, request_rec *r,
                               rpc_channel_spec_t *spec, rpc_reason_t reached)
{
    rpc_status_limits_t limits = rpc_request_limits(r);
    rpc_status_who_t who = { spec->role, spec->identity, spec->leg.user, &spec->client_address,
                             rpc_request_server(r->pool, spec) };
    channel_t *ch = apr_pcalloc(r->pool, sizeof(*ch));
    rpc_reason_t why = RPC_REASON_NONE;

    if (spec->role == RPC_MIXED && only_drained(context, spec))
        return RPC_REASON_DRAINING;
    limits.reached = reached;
    ch->context = context;
    ch->who = rpc_log_who(r);
    ch->query = r->args ? r->args : "";
    ch->limit = rpc_config_failed_targets(ap_get_module_config(r->per_dir_config,
                                                               &rpcproxy_module));
    ch->since = rpc_clock_now();
    ch->spec = spec;
    ch->row = rpc_status_enter(context->live, &who, &limits, &why);
    if (ch->row == RPC_STATUS_NO_ROW)
        return why;
    show(ch, r, spec, &limits);
    spec->claim = channel_claim;
    spec->reached = channel_reached;
    spec->opened = channel_opened;
    spec->answered = channel_answered;
    spec->bound = channel_bound;
    spec->recall = channel_recall;
    spec->refused = channel_refused;
    spec->ended = channel_ended;
    spec->ctx = ch;
    return RPC_REASON_NONE;
}

void rpc_request_follow(const rpc_channel_spec_t *spec, rpc_request_left_t *left, void *ctx)
{
    channel_t *ch = spec->ctx;

    ch->left = left;
    ch->left_ctx = ctx;
}

void rpc_request_leave(const rpc_channel_spec_t *spec)
{
    static const rpc_end_t nothing;
    const channel_t *ch = spec->ctx;

    if (ch->left)
        ch->left(ch->left_ctx, &nothing);
    if (spec->upstream.stream)
        rpc_secure_drop(spec->upstream.stream);
    rpc_board_leave(ch->context->board, ch->row);
    rpc_status_leave(ch->context->live, ch->row);
}

/* ---- from the request into the open ---- */

/* A channel and its spec, with all texts behind them: one block, which the channel's end frees. */
typedef struct detached {
    channel_t channel;          /* first: it is freed by its address */
    rpc_channel_spec_t spec;
} detached_t;

/* No longer than it has to be. */
static const rpc_server_list_t *copy_servers(const rpc_server_list_t *from, rpc_block_t *b)
{
    rpc_server_list_t *to = rpc_block_put(b, from, RPC_SERVER_LIST_SIZE(from->count));
    int i;

    for (i = 0; i < from->count; i++) {
        const char *host = rpc_block_text(b, from->at[i].host);

        if (to)
            to->at[i].host = host;
    }
    return to;
}

static const rpc_map_t *copy_maps(const rpc_upstream_t *from, rpc_block_t *b)
{
    rpc_map_t *to = rpc_block_put(b, from->maps, sizeof(*to) * (size_t)from->map_count);
    int i;

    for (i = 0; i < from->map_count; i++) {
        const char *first = rpc_block_text(b, from->maps[i].from);
        const char *second = rpc_block_text(b, from->maps[i].to);

        if (to)
            to[i] = (rpc_map_t){ from->maps[i].kind, first, second };
    }
    return to;
}

static void copy_upstream(rpc_upstream_t *to, const rpc_upstream_t *from, rpc_block_t *b)
{
    *to = *from;
    to->host = rpc_block_text(b, from->host);
    to->fields = rpc_block_text(b, from->fields);
    to->maps = copy_maps(from, b);
}

static void fill_detached(detached_t *to, rpc_block_t *b, const rpc_channel_spec_t *spec)
{
    const channel_t *ch = spec->ctx;

    to->channel = *ch;
    to->channel.who.method = rpc_block_text(b, ch->who.method);
    to->channel.who.target = rpc_block_text(b, ch->who.target);
    to->channel.who.user = rpc_block_text(b, ch->who.user);
    to->channel.who.client = rpc_block_text(b, ch->who.client);
    to->channel.who.name = rpc_block_text(b, ch->who.name);
    to->channel.query = rpc_block_text(b, ch->query);
    to->spec = *spec;
    to->spec.identity = rpc_block_text(b, spec->identity);
    to->spec.preface = rpc_block_put(b, spec->preface, spec->preface_len);
    to->spec.leg.servers = copy_servers(spec->leg.servers, b);
    to->spec.leg.unix_path = rpc_block_text(b, spec->leg.unix_path);
    to->spec.leg.user = rpc_block_text(b, spec->leg.user);
    if (spec->upstream.stream)
        copy_upstream(&to->spec.upstream, &spec->upstream, b);
}

/* Version 1 has no cookie, and each connection is a virtual connection of its own. */
static void begin_mixed(channel_t *ch)
{
    name_connection(ch, rpc_status_name_row(ch->context->live, ch->row, ch->since));
    join_connection(ch, 0);
}

const rpc_channel_spec_t *rpc_request_detach(request_rec *r, const rpc_channel_spec_t *spec,
                                             rpc_record_t **record)
{
    rpc_block_t block = { NULL, 0 };
    detached_t counted, *d;

    fill_detached(&counted, &block, spec);
    d = calloc(1, sizeof(*d) + block.size);
    *record = d ? rpc_record_take(r) : NULL;
    if (!*record) {
        free(d);
        return NULL;
    }
    block = (rpc_block_t){ (char *)(d + 1), 0 };
    fill_detached(d, &block, spec);
    d->channel.record = *record;
    d->channel.passed = rpc_passed_take(r);
    d->channel.spec = &d->spec;
    d->spec.ctx = &d->channel;
    d->spec.log = d->spec.leg.log = rpc_record_logger(*record);
    d->spec.rules = rpc_interned_rules(spec->rules);
    d->spec.leg.networks = rpc_interned_networks(spec->leg.networks);
    rpc_count(&d->channel.context->tally->begun[spec->role]);
    if (spec->role == RPC_MIXED)
        begin_mixed(&d->channel);
    return &d->spec;
}
