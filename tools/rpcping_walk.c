/* rpcping_walk.c: tries the layers in order. The first layer that fails ends the walk. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "rpcping.h"

#define MGMT_INQ_IF_IDS 0
#define MAX_INTERFACES  4096    /* more are not believed */

/* ---- notes ---- */

static void tell(const ping_t *p, ping_layer_t layer)
{
    if (p->tell) {
        p->tell(p->result, layer);
    }
}

void ping_works(ping_t *p, ping_layer_t layer, double ms, const char *format, ...)
{
    ping_step_t *step = &p->result->step[layer];
    va_list args;

    step->outcome = PING_WORKS;
    step->ms = ms;
    va_start(args, format);
    vsnprintf(step->reason.text, sizeof(step->reason.text), format, args);
    va_end(args);
    tell(p, layer);
}

int ping_fails(ping_t *p, ping_layer_t layer, double since, const ping_reason_t *why)
{
    ping_step_t *step = &p->result->step[layer];

    p->result->failed = layer;
    step->outcome = PING_FAILED;
    step->ms = ping_now() - since;
    step->reason = *why;
    tell(p, layer);
    return 0;
}

int ping_out_of_memory(ping_layer_t *layer, ping_reason_t *why)
{
    *layer = PING_USAGE;
    memset(why, 0, sizeof(*why));
    ping_reason(why, "out of memory");
    return 0;
}

/* ---- address, TLS, authentication, echo: two echo requests (2.1.2.1.5) ---- */

typedef struct echo_answer {
    size_t len;
    uint8_t data[RTS_HEADER_SIZE];
} echo_answer_t;

static void take_echo(void *ctx, const uint8_t *data, size_t len)
{
    echo_answer_t *a = ctx;
    size_t room = sizeof(a->data) - (a->len < sizeof(a->data) ? a->len : sizeof(a->data));

    memcpy(a->data + sizeof(a->data) - room, data, len < room ? len : room);
    a->len += len;
}

static int is_done(void *ctx)
{
    const ping_channel_t *ch = ctx;
    return ch->done;
}

static double info_ms(CURL *easy, CURLINFO info)
{
    double seconds = 0;

    curl_easy_getinfo(easy, info, &seconds);
    return seconds * 1000;
}

static void note_address(ping_t *p, CURL *easy)
{
    ping_result_t *r = p->result;
    char *ip = NULL;

    curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &ip);
    curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &r->port);
    snprintf(r->ip, sizeof(r->ip), "%s", ip ? ip : "?");
    ping_works(p, PING_ADDRESS, info_ms(easy, CURLINFO_CONNECT_TIME), "%s is %s, port %ld",
               r->target->host, r->ip, r->port);
}

static void note_tls(ping_t *p, CURL *easy)
{
    const ping_tls_t *tls = &p->result->tls;
    double ms = info_ms(easy, CURLINFO_APPCONNECT_TIME) - info_ms(easy, CURLINFO_CONNECT_TIME);
    const char *verified = p->options->insecure ? "not verified (-k)" : "verified";

    p->result->tls = p->http.tls;
    if (!p->result->target->tls) {
        ping_works(p, PING_TLS, 0, "not used: plain http");
    }
    else if (!tls->known) {
        ping_works(p, PING_TLS, ms, "certificate %s", verified);
    }
    else {
        ping_works(p, PING_TLS, ms, "%s, %s; certificate %s, %s%s%s, %d days left", tls->version,
                   tls->cipher, tls->subject, verified, tls->problem[0] ? ": " : "", tls->problem,
                   tls->days_left);
    }
}

/* If several schemes were possible, libcurl has taken the strongest that was offered. The channels
 * use this one from the beginning, because a body of a gigabyte cannot be sent twice. */
static void settle_scheme(ping_http_t *http, CURL *easy)
{
    long offered = 0;

    if (http->auth != PING_ANY_SCHEME) {
        return;
    }
    curl_easy_getinfo(easy, CURLINFO_HTTPAUTH_AVAIL, &offered);
    http->auth = (unsigned long)offered & CURLAUTH_NTLM ? CURLAUTH_NTLM : CURLAUTH_BASIC;
}

static void note_auth(ping_t *p, const ping_channel_t *ch)
{
    ping_result_t *r = p->result;
    const char *user = r->target->user ? r->target->user : p->options->user;
    double from = info_ms(ch->easy, r->target->tls ? CURLINFO_APPCONNECT_TIME
                                                   : CURLINFO_CONNECT_TIME);
    double ms = info_ms(ch->easy, CURLINFO_STARTTRANSFER_TIME) - from;

    if (!user && !ch->identified) {
        ping_works(p, PING_AUTH, ms, "none asked for: anonymous access is allowed");
        return;
    }
    snprintf(r->scheme, sizeof(r->scheme), "%s", p->http.auth == CURLAUTH_NEGOTIATE ? "Negotiate"
             : p->http.auth == CURLAUTH_NTLM ? "NTLM" : "Basic");
    snprintf(r->user, sizeof(r->user), "%s", user ? user : "");
    if (p->http.auth == CURLAUTH_NEGOTIATE) {
        ping_works(p, PING_AUTH, ms, "Negotiate, with the ticket of this session");
    }
    else {
        ping_works(p, PING_AUTH, ms, "%s, user %s%s", r->scheme, user ? "" : "of ",
                   user ? user : p->options->netrc);
    }
}

/* Returns 0, and why an echo was not answered as an RPC proxy does. */
static int judge_echo(const ping_channel_t *ch, const echo_answer_t *answer, ping_layer_t *layer,
                      ping_reason_t *why)
{
    const char *wrong;
    rts_pdu_t pdu;

    memset(why, 0, sizeof(*why));
    if (!ch->done || ch->result != CURLE_OK || ch->status != 200) {
        *layer = ping_explain(ch, PING_ECHO, why);
        return 0;
    }
    why->kind = PING_CODE_HTTP;
    why->code = (uint32_t)ch->status;
    if (answer->len != RTS_HEADER_SIZE) {
        ping_reason(why, "%s was answered \"%s\" and %zu bytes, where an RPC proxy sends %d",
                    ch->method, ch->status_line, answer->len, RTS_HEADER_SIZE);
        return 0;
    }
    wrong = rts_parse(answer->data, answer->len, &pdu);
    if (!wrong && pdu.flags == RTS_FLAG_ECHO) {
        return 1;
    }
    ping_reason(why, "the answer to %s is no Echo PDU%s%s", ch->method, wrong ? ": " : "",
                wrong ? wrong : "");
    return 0;
}

/* The first echo also shows the layers below. */
static void note_lower_layers(ping_t *p, const ping_channel_t *ch)
{
    if (ch->requests || ch->tls_begun) {
        note_address(p, ch->easy);
    }
    if (ch->requests) {
        note_tls(p, ch->easy);
    }
    settle_scheme(&p->http, ch->easy);
    if (ch->status == 200) {
        note_auth(p, ch);
    }
}

static void note_refusal(ping_result_t *r, const ping_channel_t *ch)
{
    if (ch->status) {
        r->answered = 1;
        r->refused = ch->answerer;
    }
}

/* METHOD chooses the inbound or the outbound proxy. */
static int try_echo(ping_t *p, const char *method, int first)
{
    /* As Windows sends: doc/protocol.md, "Windows values" */
    static const uint8_t body[4] = { 0xf8, 0xe8, 0x18, 0x08 };
    echo_answer_t answer = { 0 };
    ping_layer_t layer = PING_ECHO;
    ping_reason_t why;
    double since = ping_now();
    ping_channel_t *ch = ping_channel_open(&p->http, method, sizeof(body), body, sizeof(body),
                                           take_echo, &answer);
    int ok = ch ? 1 : ping_out_of_memory(&layer, &why);

    if (ok) {
        ping_http_wait(&p->http, since + p->options->timeout * 1000, is_done, ch);
        if (first) {
            note_lower_layers(p, ch);
        }
        ok = judge_echo(ch, &answer, &layer, &why);
        if (ok) {
            p->result->echo = ch->answerer;
        }
        else {
            note_refusal(p->result, ch);
        }
        ping_channel_close(ch);
    }
    return ok ? 1 : ping_fails(p, layer, since, &why);
}

static int walk_echo(ping_t *p)
{
    char who[512];
    double since;

    if (!try_echo(p, "RPC_IN_DATA", 1)) {
        return 0;
    }
    since = ping_now();
    if (!try_echo(p, "RPC_OUT_DATA", 0)) {
        return 0;
    }
    p->http.echo = &p->result->echo;
    ping_answerer_text(p->http.echo, who, sizeof(who));
    ping_works(p, PING_ECHO, ping_now() - since, "inbound and outbound proxy answer%s%s",
               who[0] ? ": " : "", who);
    return 1;
}

/* ---- virtual connection, call ---- */

/* The reason of a failure of the virtual connection. */
static int explain_vc(ping_t *p, ping_layer_t *layer, ping_reason_t *why)
{
    const ping_channel_t *refusal;

    *layer = ping_vc_explain(&p->vc, *layer, why);
    refusal = ping_vc_refusal(&p->vc);
    if (refusal) {
        note_refusal(p->result, refusal);
    }
    return 0;
}

int ping_connect(ping_t *p, ping_layer_t *layer, ping_reason_t *why)
{
    ping_vc_t *vc = &p->vc;

    ping_vc_close(vc);
    if (!ping_vc_open(vc, &p->http)) {
        return ping_out_of_memory(layer, why);
    }
    ping_http_wait(&p->http, ping_now() + p->options->timeout * 1000, ping_vc_is_open, vc);
    return vc->c2 && !ping_vc_failed(vc) ? 1 : explain_vc(p, layer, why);
}

static int walk_connection(ping_t *p)
{
    double since = ping_now();
    ping_layer_t layer = PING_CONNECTION;
    ping_result_t *r = p->result;
    ping_reason_t why;

    if (!ping_connect(p, &layer, &why)) {
        return ping_fails(p, layer, since, &why);
    }
    r->window = p->vc.window;
    r->in_timeout = p->vc.in_timeout;
    r->out_timeout = p->vc.out_timeout;
    ping_works(p, PING_CONNECTION, ping_now() - since,
               "A3, C2; window %u bytes, time-outs %u s IN, %u s OUT", r->window,
               r->in_timeout / 1000, r->out_timeout / 1000);
    return 1;
}

int ping_await_answer(ping_t *p, ping_layer_t *layer, ping_reason_t *why)
{
    ping_vc_t *vc = &p->vc;

    ping_http_wait(&p->http, ping_now() + p->options->timeout * 1000, ping_vc_is_answered, vc);
    if (vc->answered && !ndr_out_ok(&vc->answer)) {
        return ping_out_of_memory(layer, why);
    }
    return vc->answered && !vc->error ? 1 : explain_vc(p, layer, why);
}

/* The results of inq_if_ids (C706 appendix Q): a pointer to a vector of pointers. Returns NULL, or
 * what is wrong. */
static const char *read_interfaces(ping_result_t *r, ndr_in_t *in)
{
    static const char malformed[] = "the results of inq_if_ids are malformed";
    uint32_t i, max;

    free(r->interfaces);
    r->interfaces = NULL;
    r->interface_count = 0;
    if (ndr_in_u32(in) == 0) {
        return ndr_in_ok(in) ? NULL : malformed;
    }
    max = ndr_in_u32(in);
    if (ndr_in_u32(in) != max || max > MAX_INTERFACES || !ndr_in_bytes(in, 4 * (size_t)max)) {
        return malformed;
    }
    r->interfaces = calloc((size_t)max + 1, sizeof(*r->interfaces));
    if (!r->interfaces) {
        return "out of memory";
    }
    for (i = 0; i < max && ndr_in_ok(in); i++) {
        ndr_in_uuid(in, &r->interfaces[i].uuid);
        r->interfaces[i].major = ndr_in_u16(in);
        r->interfaces[i].minor = ndr_in_u16(in);
    }
    ndr_in_u32(in);     /* status */
    r->interface_count = ndr_in_ok(in) ? max : 0;
    return ndr_in_ok(in) ? NULL : malformed;
}

int ping_ask_interfaces(ping_t *p, ping_layer_t *layer, ping_reason_t *why)
{
    ping_vc_t *vc = &p->vc;
    const char *wrong;
    ndr_in_t in;

    if (!ping_vc_request(vc, MGMT_INQ_IF_IDS)) {
        return ping_out_of_memory(layer, why);
    }
    if (!ping_await_answer(p, layer, why) || !ping_vc_read_call(vc, why)) {
        return 0;
    }
    ndr_in_start(&in, vc->answer.data, vc->answer.len, vc->little_endian);
    wrong = read_interfaces(p->result, &in);
    if (wrong) {
        ping_reason(why, "%s", wrong);
    }
    return !wrong;
}

static void count_call(ping_result_t *r, double ms)
{
    r->call_min = r->calls == 0 || ms < r->call_min ? ms : r->call_min;
    r->call_max = ms > r->call_max ? ms : r->call_max;
    r->call_sum += ms;
    r->calls++;
}

static int walk_call(ping_t *p)
{
    double since = ping_now(), ms;
    ping_layer_t layer = PING_CALL;
    ping_reason_t why;

    if (!ping_ask_interfaces(p, &layer, &why)) {
        return ping_fails(p, layer, since, &why);
    }
    ms = ping_now() - since;
    count_call(p->result, ms);
    ping_works(p, PING_CALL, ms, "inq_if_ids: %u interface%s", p->result->interface_count,
               p->result->interface_count == 1 ? "" : "s");
    return 1;
}

static int connection_broke(void *ctx)
{
    return ping_vc_failed(ctx);
}

/* Waits for the time of the next call. */
static int pause_calls(ping_t *p)
{
    double since = ping_now();
    ping_layer_t layer = PING_CALL;
    ping_reason_t why;

    if (ping_http_wait(&p->http, since + p->options->interval * 1000, connection_broke, &p->vc)) {
        explain_vc(p, &layer, &why);
        return ping_fails(p, layer, since, &why);
    }
    p->paused += ping_now() - since;
    return 1;
}

static int walk_calls(ping_t *p)
{
    ping_step_t *step = &p->result->step[PING_CALL];
    long i;

    if (!ping_has_mgmt(p->result)) {
        ping_reason(&step->reason, "not made: mgmt is refused");
        tell(p, PING_CALL);
        return 1;
    }
    for (i = 0; i < p->options->count; i++) {
        if ((i > 0 && !pause_calls(p)) || !walk_call(p)) {
            return 0;
        }
    }
    return 1;
}

/* ---- the whole ---- */

static void judge_time(ping_t *p)
{
    const ping_options_t *o = p->options;
    double seconds = p->result->ms / 1000;
    int critical = ping_limit_alerts(&o->critical, seconds);
    ping_reason_t why = { .kind = PING_NO_CODE };

    if (!critical && !ping_limit_alerts(&o->warning, seconds)) {
        return;
    }
    ping_reason(&why, "all works, but took %.3f s, and --%s is %s", seconds,
                critical ? "critical" : "warning", critical ? o->critical.text : o->warning.text);
    ping_fails(p, PING_SLOW, ping_now() - p->result->ms, &why);
    p->result->state = critical ? PING_STATE_CRITICAL : PING_STATE_WARNING;
}

void ping_walk(ping_result_t *result, const ping_options_t *options, const ping_target_t *target,
               ping_tell_t tell_layer)
{
    ping_t p = { .options = options, .result = result, .tell = tell_layer };
    double since = ping_now();

    *result = (ping_result_t){ .options = options, .target = target };
    if (!ping_http_start(&p.http, options, target)) {
        ping_layer_t layer;
        ping_reason_t why;

        ping_out_of_memory(&layer, &why);
        ping_fails(&p, layer, since, &why);
    }
    else if (walk_echo(&p) && walk_connection(&p) && ping_walk_bind(&p)) {
        walk_calls(&p);
    }
    result->ms = ping_now() - since - p.paused;
    result->state = result->failed == PING_OK    ? PING_STATE_OK
                  : result->failed == PING_USAGE ? PING_STATE_UNKNOWN : PING_STATE_CRITICAL;
    if (!result->failed) {
        judge_time(&p);
    }
    ping_vc_close(&p.vc);
    ping_http_end(&p.http);
}

void ping_result_free(ping_result_t *result)
{
    free(result->interfaces);
}
