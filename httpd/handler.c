/* httpd/handler.c: the content handler, which turns method, URL and policy into a channel.
 *
 * It runs after httpd's own authentication and authorization. A request that is refused is answered
 * here, on the worker thread. An accepted channel goes to an I/O thread (httpd/engine.c), which
 * answers it.
 */
#include "httpd/handler.h"

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <http_ssl.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/message_id.h"
#include "httpd/body_watch.h"
#include "httpd/config.h"
#include "httpd/detach.h"
#include "httpd/error_log_line.h"
#include "httpd/module.h"
#include "httpd/neighbours.h"
#include "httpd/request_target.h"
#include "httpd/require.h"
#include "wire/error.h"

APLOG_USE_MODULE(rpcproxy);

#define AUTHENTICATED_NOTE "rpcproxy-authenticated"
/* bytes of body that an OUT request has at most; its PDUs are of 76 and 120 */
#define OUT_MAX 1024
#define SMALL_BODY_TIME apr_time_from_sec(10)

static const rpc_context_t *context;

/* ---- answers of the handler ---- */

/* Sends the RPC error (2.1.2.1.3) that wire/error.c composes, or leaves the answer, such as a 405,
 * to httpd. The log has been told. */
static int answer_error(request_rec *r, rpc_reason_t reason)
{
    const rpc_reason_info_t *info = rpc_reason_info(reason);
    rpc_error_t error;

    r->connection->keepalive = AP_CONN_CLOSE;   /* the body, up to 2 GiB, is not read */
    if (info->http_status != HTTP_SERVICE_UNAVAILABLE)
        return info->http_status;
    rpc_error_write(&error, reason, r->request_time);
    r->status = error.status;
    r->status_line = apr_psprintf(r->pool, "%d %s", error.status, error.phrase);
    r->proto_num = HTTP_VERSION(1, 0);
    apr_table_setn(r->subprocess_env, "force-response-1.0", "1");
    ap_set_content_type(r, "application/rpc");
    ap_set_content_length(r, (apr_off_t)error.body_length);
    ap_rwrite(error.body, (int)error.body_length, r);
    return OK;
}

int rpc_request_refuse(request_rec *r, rpc_reason_t reason, const char *why)
{
    rpc_log_refused(context, r, APLOG_WARNING, reason, why);
    return answer_error(r, reason);
}

static int refuse_request(request_rec *r, rpc_reason_t reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse_request(request_rec *r, rpc_reason_t reason, const char *fmt, ...)
{
    va_list args;
    const char *why;

    va_start(args, fmt);
    why = apr_pvsprintf(r->pool, fmt, args);
    va_end(args);
    return rpc_request_refuse(r, reason, why);
}

/* Both proxies give the same answer (2.1.2.1.6). The connection stays open for NTLM clients. */
static int answer_echo(request_rec *r, apr_int64_t length, void *ctx)
{
    rts_pdu_t echo;
    uint8_t buf[RTS_MAX_SIZE];
    size_t size;
    int rv = length > 0 ? ap_discard_request_body(r) : OK;

    if (rv != OK)
        return rv;
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
        return refuse_request(r, RPC_REASON_TLS_REQUIRED,
                              "the client uses plain HTTP, but RpcRequireTLS wants TLS with %d "
                              "bits",
                              wanted);
    value = ap_ssl_var_lookup(r->pool, r->server, r->connection, r, "SSL_CIPHER_USEKEYSIZE");
    bits = value ? atoi(value) : 0;
    if (bits < wanted)
        return refuse_request(r, RPC_REASON_TLS_REQUIRED,
                              "the cipher has %d bits, but RpcRequireTLS wants %d", bits, wanted);
    return OK;
}

static int check_user(request_rec *r, const rpc_dir_config_t *dc)
{
    if (r->user || rpc_config_allow_anonymous(dc))
        return OK;
    return refuse_request(r, RPC_REASON_ANONYMOUS,
                          "no user is authenticated here: set AuthType and "
                          "Require valid-user, or RpcAllowAnonymous On");
}

/* The length of the body in bytes; -1 when the request has none, or one that is not accepted. */
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

static int is_spent(request_rec *r, const rpc_dir_config_t *dc)
{
    rpc_budget_limit_t limit = rpc_config_failed_targets(dc);
    rpc_budget_who_t who = rpc_request_asker(r);

    return rpc_budget_spent(context->budgets, &who, &limit, rpc_clock_now()) > 0;
}

/* The log had one line when the limit was reached; this refusal is logged at level debug only. */
static int refuse_spent(request_rec *r)
{
    rpc_log_refused(context, r, APLOG_DEBUG, RPC_REASON_TOO_MANY_FAILED,
                    "RpcMaxFailedTargets is reached");
    return answer_error(r, RPC_REASON_TOO_MANY_FAILED);
}

/* TARGET and WRONG are of rpc_request_target(). */
static int check_target(request_rec *r, const rpc_dir_config_t *dc, const rpc_target_t *target,
                        const char *wrong)
{
    const rpc_valid_port_t *nearest;
    const char *query = r->args ? r->args : "";

    if (target
        && rpc_valid_ports_match(rpc_config_valid_ports(dc), target->server, target->port,
                                 &nearest))
        return OK;
    rpc_request_in_vain(context, r, query);
    if (!target)
        return refuse_request(r, RPC_REASON_BAD_TARGET, "query \"%s\": %s",
                              ap_escape_logitem(r->pool, query), wrong);
    return refuse_request(r, RPC_REASON_TARGET_REFUSED,
                          "%s:%u is not in RpcValidPorts, nearest is %s",
                          ap_escape_logitem(r->pool, target->server), target->port,
                          nearest ? nearest->text : "none");
}

/* ---- the channel ---- */

static int refuse_limit(request_rec *r, const rpc_channel_spec_t *spec, rpc_reason_t why)
{
    rpc_status_limits_t limits = rpc_request_limits(r);

    switch (why) {
    case RPC_REASON_TOO_MANY_OF_USER:
        return refuse_request(r, why, "RpcMaxChannelsPerUser %u is reached by user \"%s\"",
                              limits.of_user, ap_escape_logitem(r->pool, r->user));
    case RPC_REASON_TOO_MANY_OF_ADDRESS:
        return refuse_request(r, why, "RpcMaxChannelsPerAddress %u is reached by %s",
                              limits.of_address, r->useragent_ip);
    case RPC_REASON_TOO_MANY_UNPAIRED:
        return refuse_request(r, why, "RpcMaxUnpairedChannels %u is reached", limits.unpaired);
    case RPC_REASON_TOO_MANY_UNPAIRED_OF_USER:
        return refuse_request(r, why,
                              "%u channels of user \"%s\" wait for a server's answer, which is all "
                              "that RpcMaxUnpairedPerUser allows one user",
                              limits.unpaired_of_user, ap_escape_logitem(r->pool, r->user));
    case RPC_REASON_TOO_MANY_UNPAIRED_OF_ADDRESS:
        return refuse_request(r, why,
                              "%u channels of %s wait for a server's answer, which is all that "
                              "RpcMaxUnpairedPerUser and RpcMaxUnpairedChannels allow one address",
                              limits.unpaired_of_address, r->useragent_ip);
    case RPC_REASON_TOO_MANY_UNPAIRED_OF_TARGET:
        return refuse_request(r, why, "%u channels wait for an answer of %s, which is all that "
                              "RpcMaxUnpairedPerUser and RpcMaxUnpairedChannels allow one server",
                              limits.unpaired_of_target,
                              ap_escape_logitem(r->pool, rpc_request_server(r->pool, spec)));
    case RPC_REASON_DRAINING:
        return refuse_request(r, why, "%s", rpc_reason_info(why)->text);
    default:
        return refuse_request(r, why, "RpcMaxChannels %u is reached", limits.channels);
    }
}

/* When the client has reached RpcMaxFailedTargets, allowed and refused targets get the same answer;
 * but a successor of a channel that lives is served. */
static int find_target(request_rec *r, const rpc_dir_config_t *dc, int spent, rpc_role_t role,
                       rpc_channel_spec_t *spec)
{
    const char *wrong;
    const rpc_target_t *target = rpc_request_target(r, &wrong);
    int rv = OK;

    if (!spent)
        rv = check_target(r, dc, target, wrong);
    else if (!target
             || !rpc_valid_ports_match(rpc_config_valid_ports(dc), target->server, target->port,
                                       NULL))
        rv = refuse_spent(r);
    if (rv != OK || r->status != HTTP_OK)
        return rv;
    wrong = rpc_request_spec(context, r, role, target, spec);
    if (!wrong)
        return OK;
    if (spent)
        return refuse_spent(r);
    rpc_request_in_vain(context, r, r->args);
    return refuse_request(r, RPC_REASON_BAD_TARGET, "%s", wrong);
}

static int refuse_short(request_rec *r)
{
    return refuse_request(r, RPC_REASON_LOCAL_FAILURE,
                          "nearly all of the %lu files that this child may open are open: raise "
                          "the limit (APACHE_ULIMIT_MAX_FILES in Debian's envvars, elsewhere "
                          "LimitNOFILE of the service)",
                          rpc_descriptors_limit());
}

/* In place of the header that the channel was to have. An ErrorDocument may have made further
 * requests of R; the access log shows the last. */
static int tell_answered(request_rec *r)
{
    request_rec *last = r;

    while (last->next)
        last = last->next;
    rpc_log_refused(context, r, APLOG_WARNING, RPC_REASON_OTHER_MODULE,
                    apr_psprintf(r->pool,
                                 "another module has answered %d in place of the header of the "
                                 "channel's response. If it is mod_security, put the SecRule of "
                                 "conf/rpcproxy.conf before its rules",
                                 last->status));
    apr_table_setn(last->subprocess_env, "RPC_REASON",
                   rpc_reason_info(RPC_REASON_OTHER_MODULE)->token);
    return OK;
}

/* The connection is closed without an answer, so the status is only for the log. */
static int tell_lost(request_rec *r)
{
    rpc_log_refused(context, r, APLOG_WARNING, RPC_REASON_NO_MEMORY,
                    "out of memory, so the connection is closed without an answer");
    r->status = HTTP_SERVICE_UNAVAILABLE;
    r->eos_sent = 1;
    return OK;
}

int rpc_request_hand_over(request_rec *r, const rpc_channel_spec_t *spec)
{
    switch (rpc_engine_hand_over(context->engine, r, spec)) {
    case RPC_DETACH_DONE:
        return DONE;
    case RPC_DETACH_NO_DESCRIPTORS:
        return refuse_short(r);
    case RPC_DETACH_NO_MEMORY:
        return refuse_request(r, RPC_REASON_NO_MEMORY, "out of memory");
    case RPC_DETACH_ANSWERED:
        return tell_answered(r);
    case RPC_DETACH_LOST:
        return tell_lost(r);
    case RPC_DETACH_ENDING:
        break;
    }
    return refuse_request(r, RPC_REASON_STOPPING, "this child accepts no new channels");
}

static int channel_here(request_rec *r, rpc_channel_spec_t *spec, void *ctx)
{
    return rpc_request_hand_over(r, spec);
}

/* Counts it in, within the limits. */
static int begin_channel(request_rec *r, rpc_channel_spec_t *spec, rpc_reason_t reached,
                         const rpc_service_t *by)
{
    rpc_reason_t limit = rpc_request_enter(context, r, spec, reached);
    int rv;

    if (limit)
        return limit == RPC_REASON_TOO_MANY_FAILED ? refuse_spent(r) : refuse_limit(r, spec, limit);
    rv = by->channel(r, spec, by->ctx);
    if (rv != DONE)
        rpc_request_leave(spec);
    return rv;
}

static int open_channel(request_rec *r, const rpc_dir_config_t *dc, rpc_role_t role,
                        apr_int64_t length, const rpc_service_t *by)
{
    rpc_channel_spec_t *spec = apr_pcalloc(r->pool, sizeof(*spec));
    int spent = is_spent(r, dc), rv;

    spec->upstream.host = by->upstream;
    spec->upstream.port = by->port;
    rv = find_target(r, dc, spent, role, spec);
    if (rv != OK || r->status != HTTP_OK)
        return rv;
    spec->content_length = length;
    return begin_channel(r, spec, spent ? RPC_REASON_TOO_MANY_FAILED : RPC_REASON_NONE, by);
}

/* The number of bytes that a client of RD Gateway may send. A request that only opens a way back,
 * or wants a WebSocket, has no body: what the proxy behind took for one would be the next request.
 * -1: the request is wrong. */
static apr_int64_t gateway_length(const request_rec *r, rpc_request_kind_t kind, int chunked)
{
    apr_int64_t length = chunked ? INT64_MAX : body_length(r);

    if (kind.role == RPC_OUTBOUND && length)
        return -1;
    return kind.carry == RPC_CARRY_UPGRADE ? INT64_MAX : length;
}

/* Of RD Gateway's own protocol, which names its targets within: the gateway behind is all that we
 * know. Its answer tells whether it is a channel or a leg of a handshake. */
static int open_gateway(request_rec *r, rpc_request_kind_t kind, const rpc_service_t *by)
{
    const rpc_target_t gateway = { by->upstream, by->port };
    rpc_channel_spec_t *spec = apr_pcalloc(r->pool, sizeof(*spec));
    const char *coding = apr_table_get(r->headers_in, "Transfer-Encoding"), *wrong;
    int chunked = coding && ap_cstr_casecmp(coding, "chunked") == 0;

    spec->content_length = gateway_length(r, kind, chunked);
    if (spec->content_length < 0)
        return refuse_request(r, RPC_REASON_BAD_REQUEST,
                              "the length of its body is not clear, or it must not have one");
    if (kind.role == RPC_INBOUND && spec->content_length <= RPC_ECHO_MAX)
        return by->small(r, spec->content_length, by->ctx);
    if ((wrong = rpc_detach_obstacle(r)) != NULL)
        return refuse_request(r, RPC_REASON_OTHER_MODULE, "%s", wrong);
    spec->upstream = (rpc_upstream_t){ .host = by->upstream, .port = by->port, .carry = kind.carry,
                                       .chunked = (unsigned)chunked };
    if ((wrong = rpc_request_spec(context, r, (rpc_role_t)kind.role, &gateway, spec)) != NULL)
        return refuse_request(r, RPC_REASON_BAD_TARGET, "%s", wrong);
    return begin_channel(r, spec, RPC_REASON_NONE, by);
}

/* What a balancer asks for every other second is not worth a line that everybody reads. */
static int is_probe(const request_rec *r)
{
    return r->method_number == M_GET || r->method_number == M_OPTIONS;     /* HEAD is a GET */
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
    if (!is_probe(r))
        return refuse_request(r, RPC_REASON_METHOD, role >= 0 ? "not in RpcProtocolVersions"
                              : "the method does not belong to RPC over HTTP");
    rpc_log_refused(context, r, APLOG_INFO, RPC_REASON_METHOD,
                    "the method does not belong to RPC over HTTP");
    return answer_error(r, RPC_REASON_METHOD);
}

/* The number of bytes that the client may send: the Content-Length; for version 1, which has no
 * such field (2.1.1.1.1), no limit. -1: the request is wrong. */
static apr_int64_t channel_length(const request_rec *r, int role)
{
    if (role != RPC_MIXED)
        return body_length(r);
    return apr_table_get(r->headers_in, "Transfer-Encoding")
           || apr_table_get(r->headers_in, "Content-Length") ? -1 : INT64_MAX;
}

/* A channel needs a connection of its own. mod_http2 turns a 403 with this note into
 * HTTP_1_1_REQUIRED, and the client repeats the request over HTTP/1.1 by itself. */
static int fall_back(request_rec *r)
{
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  RPCNO(0010) "%s over HTTP/2: a channel needs HTTP/1.1, and the client is told so",
                  r->method);
    apr_table_setn(r->subprocess_env, "RPC_REASON", rpc_reason_info(RPC_REASON_BAD_REQUEST)->token);
    apr_table_setn(r->notes, "ssl-renegotiate-forbidden", "channel");
    return HTTP_FORBIDDEN;
}

/* Before authentication, so that authorization and expressions know what is asked for. Names are
 * told in lower case. */
static int name_target(request_rec *r)
{
    const rpc_target_t *target;
    char *server;

    apr_table_unset(r->subprocess_env, "RPC_SERVER");
    apr_table_unset(r->subprocess_env, "RPC_PORT");
    apr_table_unset(r->subprocess_env, "RPC_TARGET");
    if (rpc_method_role(r->method) < 0 || !(target = rpc_request_target(r, NULL)))
        return DECLINED;
    server = apr_pstrdup(r->pool, target->server);
    ap_str_tolower(server);
    apr_table_setn(r->subprocess_env, "RPC_SERVER", server);
    apr_table_setn(r->subprocess_env, "RPC_PORT", apr_psprintf(r->pool, "%u", target->port));
    apr_table_setn(r->subprocess_env, "RPC_TARGET",
                   apr_psprintf(r->pool, "%s:%u", server, target->port));
    return DECLINED;
}

/* May there be anything at all? Require is asked again where it has not seen this query. */
static int check_request(request_rec *r, const rpc_dir_config_t *dc, int role,
                         const rpc_service_t *by)
{
    int rv;

    if ((rv = check_method(r, role, rpc_config_versions(dc))) != OK || (rv = check_tls(r, dc)) != OK
        || (!by->upstream && (rv = check_user(r, dc)) != OK) || !rpc_require_outdated(r))
        return rv;
    name_target(r);
    return rpc_require_ask_again(r);
}

static int refuse_half_read(request_rec *r, apr_off_t taken)
{
    return refuse_request(r, RPC_REASON_OTHER_MODULE,
                          "another module has read %" APR_OFF_T_FMT " bytes of the body before "
                          "mod_rpcproxy. If it is mod_security, put the SecRule of "
                          "conf/rpcproxy.conf before its rules",
                          taken);
}

/* Without a target it reaches nothing here. What a proxy behind us has to say is for those alone
 * whom RpcValidPorts lets go there. */
static int serve_small(request_rec *r, const rpc_dir_config_t *dc, apr_int64_t length,
                       const rpc_service_t *by)
{
    const char *wrong = NULL;
    const rpc_target_t *target;
    int rv;

    if (by->upstream && ((r->args && *r->args) || !rpc_config_valid_ports(dc))) {
        target = rpc_request_target(r, &wrong);
        rv = is_spent(r, dc) ? refuse_spent(r) : check_target(r, dc, target, wrong);
        if (rv != OK || r->status != HTTP_OK)
            return rv;
    }
    return by->small(r, length, by->ctx);
}

int rpc_request_serve(request_rec *r, const rpc_service_t *by)
{
    apr_off_t taken = rpc_body_arrived(r);
    const rpc_dir_config_t *dc = ap_get_module_config(r->per_dir_config, &rpcproxy_module);
    int role = rpc_method_role(r->method), rv;
    rpc_request_kind_t kind = rpc_request_kind(r);
    const char *obstacle;
    apr_int64_t length;

    if (by->upstream && strchr(r->uri, '\\'))
        return refuse_request(r, RPC_REASON_BAD_REQUEST,
                              "the path has a backslash, which a proxy behind may take for a "
                              "slash");
    if (by->upstream && kind.carry != RPC_CARRY_RPC) {
        if ((rv = check_tls(r, dc)) != OK)
            return rv;
        return r->connection->master || r->main ? fall_back(r) : open_gateway(r, kind, by);
    }
    if ((rv = check_request(r, dc, role, by)) != OK)
        return rv;
    length = channel_length(r, role);
    if (r->connection->master && (by->upstream || length < 0 || length > RPC_ECHO_MAX))
        return fall_back(r);
    if (length < 0)
        return refuse_request(r, RPC_REASON_BAD_REQUEST, role == RPC_MIXED
                              ? "RPC_CONNECT has a Content-Length, or is chunked"
                              : "the request has no usable Content-Length, or is chunked");
    if (length <= RPC_ECHO_MAX)
        return serve_small(r, dc, length, by);
    if (r->main)
        return refuse_request(r, RPC_REASON_BAD_REQUEST, "a subrequest cannot become a channel");
    if ((obstacle = rpc_detach_obstacle(r)) != NULL)
        return refuse_request(r, RPC_REASON_OTHER_MODULE, "%s", obstacle);
    return taken ? refuse_half_read(r, taken)
                 : open_channel(r, dc, (rpc_role_t)role, length, by);
}

static int rpc_handler(request_rec *r)
{
    static const rpc_service_t here = { answer_echo, channel_here, NULL, NULL, 0 };

    return r->handler && strcmp(r->handler, RPC_HANDLER_NAME) == 0 ? rpc_request_serve(r, &here)
                                                                   : DECLINED;
}

/* ---- before the handler ---- */

/* Version 1 uses the path / (3.1.2.3), which must not be taken for a folder: httpd ignores
 * SetHandler for folders. (A target without any path, "RPC_CONNECT server:port", is refused
 * by httpd before a module sees it.) */
static int root_is_no_folder(request_rec *r)
{
    return rpc_method_role(r->method) == RPC_MIXED && strcmp(r->uri, "/") == 0 ? OK : DECLINED;
}

/* Before anything can refuse it. A request that is refused (401, say) must not have its body, of up
 * to 2 GiB and never complete, or chunked without an end, read by httpd: its connection is closed
 * instead. The short bodies of echoes and OUT requests are read, for NTLM clients need the
 * connection, but not waited for as long as Timeout. A request that has no body keeps its
 * connection, which an expectation still pending at the 401 would cost; impacket expects
 * 100-continue even then. */
static int spare_body(request_rec *r)
{
    int role = rpc_request_kind(r).role;
    apr_int64_t length;

    if (role < 0)
        return DECLINED;
    length = body_length(r);
    if (role == RPC_MIXED || length < 0 || length > (role == RPC_INBOUND ? RPC_ECHO_MAX : OUT_MAX))
        r->connection->keepalive = AP_CONN_CLOSE;
    else if (length == 0)
        r->expecting_100 = 0;
    else if (!r->connection->master)    /* until httpd reads the next request */
        apr_socket_timeout_set(ap_get_conn_socket(r->connection), SMALL_BODY_TIME);
    rpc_body_watch(r);
    return DECLINED;
}

/* The same for other methods, none of which is served at a URL of ours. */
static int spare_other_body(request_rec *r)
{
    if (rpc_request_kind(r).role < 0 && rpc_neighbours_ours(r) && body_length(r) != 0)
        r->connection->keepalive = AP_CONN_CLOSE;
    return DECLINED;
}

/* Before authentication, so that nobody is asked for a password on a line that others read. */
static int refuse_plain(request_rec *r)
{
    return rpc_neighbours_ours(r)
             ? check_tls(r, ap_get_module_config(r->per_dir_config, &rpcproxy_module))
             : DECLINED;
}

/* Whoever it is has been let in. From here on modules read bodies; a channel's is not for them. */
static int shut_body(request_rec *r)
{
    int role = rpc_request_kind(r).role;
    apr_int64_t length = role < 0 ? 0 : channel_length(r, role);

    if (!r->main && (length < 0 || length > RPC_ECHO_MAX) && rpc_neighbours_ours(r))
        rpc_body_shut(r);
    return DECLINED;
}

/* The user is authenticated, so a 401 that follows comes from Require. */
static int note_authenticated(request_rec *r)
{
    apr_table_setn(r->notes, AUTHENTICATED_NOTE, "1");
    return DECLINED;
}

/* A module between authorization and our handler has answered, mod_security for one. */
static int tell_intercepted(request_rec *r)
{
    if (!rpc_body_intercepted(r) || apr_table_get(r->subprocess_env, "RPC_REASON"))
        return DECLINED;
    rpc_log_refused(context, r, APLOG_WARNING, RPC_REASON_OTHER_MODULE,
                    apr_psprintf(r->pool,
                                 "another module has answered %d before mod_rpcproxy. If it is "
                                 "mod_security, put the SecRule of conf/rpcproxy.conf before its "
                                 "rules",
                                 r->status));
    return DECLINED;
}

/* Has the request tried to authenticate? The first message of NTLM proves nothing yet. */
static int has_credentials(const request_rec *r)
{
    static const char first[] = "NTLMSSP\0\1";
    const char *text = apr_table_get(r->headers_in, "Authorization");
    const char *token = text ? strchr(text, ' ') : NULL;
    char *raw;
    int size;

    if (!token)
        return 0;
    raw = apr_palloc(r->pool, (apr_size_t)apr_base64_decode_len(++token) + 1);
    size = apr_base64_decode(raw, token);
    return !memmem(raw, (size_t)size, first, sizeof(first));
}

/* Why a request that never reached the handler was refused; NONE: it was not, or it is not
 * known. */
static rpc_reason_t refused_before(const request_rec *r)
{
    if (r->status == HTTP_FORBIDDEN)
        return RPC_REASON_NOT_AUTHORIZED;
    if (r->status != HTTP_UNAUTHORIZED)
        return RPC_REASON_NONE;
    if (apr_table_get(r->notes, AUTHENTICATED_NOTE))
        return RPC_REASON_NOT_AUTHORIZED;
    return has_credentials(r) ? RPC_REASON_NOT_AUTHENTICATED : RPC_REASON_NONE;
}

/* Requests that Require refuses never reach the handler. This hook runs before the access log. */
static int tell_unauthorized(request_rec *r)
{
    rpc_reason_t reason = refused_before(r);

    if (reason && rpc_request_kind(r).role >= 0 && rpc_neighbours_ours(r)
        && !apr_table_get(r->subprocess_env, "RPC_REASON")) {
        rpc_log_refused(context, r,
                        reason == RPC_REASON_NOT_AUTHORIZED ? APLOG_WARNING : APLOG_INFO, reason,
                        rpc_reason_info(reason)->text);
    }
    return DECLINED;
}

void rpc_handler_register(apr_pool_t *p, const rpc_context_t *of_requests)
{
    context = of_requests;
    rpc_body_register(p);
    rpc_neighbours_register(p);
    ap_hook_map_to_storage(root_is_no_folder, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_header_parser(name_target, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_header_parser(spare_other_body, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_header_parser(refuse_plain, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_post_read_request(spare_body, NULL, NULL, APR_HOOK_REALLY_FIRST - 1);
    ap_hook_fixups(shut_body, NULL, NULL, APR_HOOK_REALLY_FIRST - 1);
    ap_hook_check_authz(note_authenticated, NULL, NULL, APR_HOOK_REALLY_FIRST,
                        AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_log_transaction(tell_intercepted, NULL, NULL, APR_HOOK_REALLY_FIRST - 1);
    ap_hook_log_transaction(tell_unauthorized, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(rpc_handler, NULL, NULL, APR_HOOK_MIDDLE);
}
