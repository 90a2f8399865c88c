/* rpcping: tries the layers in order and reports. Each layer that works prints one line. The first
 * layer that fails ends the program and becomes the exit status.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "rpcping.h"

#define MGMT_INQ_IF_IDS 0
#define MAX_INTERFACES  4096    /* more are not believed */
#define TEXT_SIZE       512

static const char *const layer_names[] = {
    [PING_OK] = "all", [PING_USAGE] = "usage", [PING_ADDRESS] = "address", [PING_TLS] = "TLS",
    [PING_AUTH] = "authentication", [PING_ECHO] = "echo", [PING_CONNECTION] = "virtual connection",
    [PING_BIND] = "bind", [PING_CALL] = "call"
};

/* A walk through the layers. */
typedef struct ping {
    const ping_options_t *options;
    ping_http_t http;
    ping_vc_t vc;
    double started;
    int vc_begun;
    ping_layer_t failed;
    char text[TEXT_SIZE];       /* why */
    double call_min, call_max, call_sum;    /* ms */
    long calls;
} ping_t;

/* The report */

__attribute__((format(printf, 4, 5)))
static void report(const ping_t *p, ping_layer_t layer, double ms, const char *format, ...)
{
    va_list args;

    if (p->options->quiet) {
        return;
    }
    printf("  %-19s ok    %8.1f ms  ", layer_names[layer], ms);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* Notes the failure, whose reason is in p->text, and ends the walk. */
static int fail(ping_t *p, ping_layer_t layer, double since)
{
    p->failed = layer;
    if (!p->options->quiet) {
        printf("  %-19s FAILED%7.1f ms\n      %s\n", layer_names[layer], ping_now() - since,
               p->text);
    }
    return 0;
}

static int out_of_memory(ping_t *p)
{
    snprintf(p->text, sizeof(p->text), "out of memory");
    return fail(p, PING_USAGE, ping_now());
}

/* Address, TLS, authentication, echo: two echo requests (2.1.2.1.5) */

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

static void report_address(const ping_t *p, CURL *easy)
{
    char *ip = NULL;
    long port = 0;

    curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &ip);
    curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &port);
    report(p, PING_ADDRESS, info_ms(easy, CURLINFO_CONNECT_TIME), "%s is %s, port %ld",
           p->options->host, ip ? ip : "?", port);
}

static void report_tls(const ping_t *p, CURL *easy)
{
    const ping_tls_t *tls = &p->http.tls;
    double ms = info_ms(easy, CURLINFO_APPCONNECT_TIME) - info_ms(easy, CURLINFO_CONNECT_TIME);

    if (!p->options->tls) {
        report(p, PING_TLS, 0, "not used: plain http");
    }
    else if (!tls->known) {
        report(p, PING_TLS, ms, "certificate %s",
               p->options->insecure ? "not verified (-k)" : "verified");
    }
    else {
        report(p, PING_TLS, ms, "%s, %s; certificate %s, %s%s%s, %d days left", tls->version,
               tls->cipher, tls->subject, p->options->insecure ? "not verified (-k)" : "verified",
               tls->problem[0] ? ": " : "", tls->problem, tls->days_left);
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

static void report_auth(const ping_t *p, CURL *easy)
{
    double from = info_ms(easy, p->options->tls ? CURLINFO_APPCONNECT_TIME : CURLINFO_CONNECT_TIME);
    double ms = info_ms(easy, CURLINFO_STARTTRANSFER_TIME) - from;
    const char *scheme = p->http.auth == CURLAUTH_NTLM ? "NTLM" : "Basic";

    if (p->http.auth == CURLAUTH_NEGOTIATE) {
        report(p, PING_AUTH, ms, "Negotiate, with the ticket of this session");
    }
    else if (p->options->user) {
        report(p, PING_AUTH, ms, "%s, user %s", scheme, p->options->user);
    }
    else if (p->options->netrc) {
        report(p, PING_AUTH, ms, "%s, user of %s", scheme, p->options->netrc);
    }
    else {
        report(p, PING_AUTH, ms, "none asked for: anonymous access is allowed");
    }
}

static int judge_echo(ping_t *p, const ping_channel_t *ch, const echo_answer_t *answer,
                      double since)
{
    rts_pdu_t pdu;
    const char *wrong = NULL;

    if (!ch->done || ch->result != CURLE_OK || ch->status != 200) {
        return fail(p, ping_explain(ch, PING_ECHO, p->text, sizeof(p->text)), since);
    }
    if (answer->len != RTS_HEADER_SIZE) {
        snprintf(p->text, sizeof(p->text),
                 "%s was answered \"%s\" and %zu bytes, where an RPC proxy sends %d", ch->method,
                 ch->status_line, answer->len, RTS_HEADER_SIZE);
        return fail(p, PING_ECHO, since);
    }
    wrong = rts_parse(answer->data, answer->len, &pdu);
    if (wrong || pdu.flags != RTS_FLAG_ECHO) {
        snprintf(p->text, sizeof(p->text), "the answer to %s is no Echo PDU%s%s", ch->method,
                 wrong ? ": " : "", wrong ? wrong : "");
        return fail(p, PING_ECHO, since);
    }
    return 1;
}

/* METHOD chooses the inbound or the outbound proxy. The first echo also shows the layers below. */
static int try_echo(ping_t *p, const char *method, int first)
{
    /* As Windows sends: doc/protocol.md, "Windows values" */
    static const uint8_t body[4] = { 0xf8, 0xe8, 0x18, 0x08 };
    echo_answer_t answer = { 0 };
    double since = ping_now();
    ping_channel_t *ch = ping_channel_open(&p->http, method, sizeof(body), body, sizeof(body),
                                           take_echo, &answer);
    int ok;

    if (!ch) {
        return out_of_memory(p);
    }
    ping_http_wait(&p->http, since + p->options->timeout * 1000, is_done, ch);
    if (first && (ch->requests || ch->tls_begun)) {
        report_address(p, ch->easy);
    }
    if (first && ch->requests) {
        report_tls(p, ch->easy);
    }
    settle_scheme(&p->http, ch->easy);
    if (first && ch->status == 200) {
        report_auth(p, ch->easy);
    }
    ok = judge_echo(p, ch, &answer, since);
    ping_channel_close(ch);
    return ok;
}

static int walk_echo(ping_t *p)
{
    double since;

    if (!try_echo(p, "RPC_IN_DATA", 1)) {
        return 0;
    }
    since = ping_now();
    if (!try_echo(p, "RPC_OUT_DATA", 0)) {
        return 0;
    }
    report(p, PING_ECHO, ping_now() - since, "inbound and outbound proxy answer");
    return 1;
}

/* Virtual connection, bind, call */

static int walk_connection(ping_t *p)
{
    ping_vc_t *vc = &p->vc;
    double since = ping_now();

    p->vc_begun = 1;
    if (!ping_vc_open(vc, &p->http)) {
        return out_of_memory(p);
    }
    ping_http_wait(&p->http, since + p->options->timeout * 1000, ping_vc_is_open, vc);
    if (!vc->c2 || ping_vc_failed(vc)) {
        return fail(p, ping_vc_explain(vc, PING_CONNECTION, p->text, sizeof(p->text)), since);
    }
    report(p, PING_CONNECTION, ping_now() - since,
           "A3, C2; window %u bytes, time-outs %u s IN, %u s OUT", vc->window,
           vc->in_timeout / 1000, vc->out_timeout / 1000);
    return 1;
}

/* Waits for the answer to the PDU that was sent last. */
static int await_answer(ping_t *p, ping_layer_t layer, double since)
{
    ping_vc_t *vc = &p->vc;

    ping_http_wait(&p->http, since + p->options->timeout * 1000, ping_vc_is_answered, vc);
    if (vc->answered && !ndr_out_ok(&vc->answer)) {
        return out_of_memory(p);
    }
    if (!vc->answered || vc->error) {
        return fail(p, ping_vc_explain(vc, layer, p->text, sizeof(p->text)), since);
    }
    return 1;
}

static int walk_bind(ping_t *p)
{
    double since = ping_now();
    unsigned frag = 0;

    if (!ping_vc_bind(&p->vc, &dce_syntax_mgmt)) {
        return out_of_memory(p);
    }
    if (!await_answer(p, PING_BIND, since)) {
        return 0;
    }
    if (ping_bind_verdict(&p->vc, &frag, p->text, sizeof(p->text))) {
        return fail(p, PING_BIND, since);
    }
    report(p, PING_BIND, ping_now() - since, "mgmt 1.0, fragments of %u bytes", frag);
    return 1;
}

/* The results of inq_if_ids (C706 appendix Q): a pointer to a vector of pointers. */
static int walk_interfaces(const ping_t *p, int print, uint32_t *count)
{
    ndr_in_t in;
    ndr_syntax_t syntax;
    uint32_t i, max;
    char uuid[37];

    ndr_in_start(&in, p->vc.answer.data, p->vc.answer.len, p->vc.little_endian);
    *count = 0;
    if (ndr_in_u32(&in) == 0) {
        return ndr_in_ok(&in);
    }
    max = ndr_in_u32(&in);
    *count = ndr_in_u32(&in);
    if (max != *count || max > MAX_INTERFACES || !ndr_in_bytes(&in, 4 * (size_t)max)) {
        return 0;
    }
    for (i = 0; i < *count && ndr_in_ok(&in); i++) {
        const char *name;

        ndr_in_uuid(&in, &syntax.uuid);
        syntax.major = ndr_in_u16(&in);
        syntax.minor = ndr_in_u16(&in);
        name = dce_interface_name(&syntax.uuid);
        if (print && ndr_in_ok(&in)) {
            printf("      %s %u.%u  %s\n", ndr_uuid_text(&syntax.uuid, uuid), syntax.major,
                   syntax.minor, name ? name : "");
        }
    }
    ndr_in_u32(&in);    /* status */
    return ndr_in_ok(&in);
}

static void count_call(ping_t *p, double ms)
{
    p->call_min = p->calls == 0 || ms < p->call_min ? ms : p->call_min;
    p->call_max = ms > p->call_max ? ms : p->call_max;
    p->call_sum += ms;
    p->calls++;
}

static int walk_call(ping_t *p)
{
    double since = ping_now();
    uint32_t count;

    if (!ping_vc_request(&p->vc, MGMT_INQ_IF_IDS)) {
        return out_of_memory(p);
    }
    if (!await_answer(p, PING_CALL, since)) {
        return 0;
    }
    if (ping_call_verdict(&p->vc, p->text, sizeof(p->text))) {
        return fail(p, PING_CALL, since);
    }
    if (!walk_interfaces(p, 0, &count)) {
        snprintf(p->text, sizeof(p->text), "the results of inq_if_ids are malformed");
        return fail(p, PING_CALL, since);
    }
    count_call(p, ping_now() - since);
    report(p, PING_CALL, ping_now() - since, "inq_if_ids: %u interface%s", count,
           count == 1 ? "" : "s");
    if (p->calls == 1 && !p->options->quiet) {
        walk_interfaces(p, 1, &count);
    }
    return 1;
}

static int connection_broke(void *ctx)
{
    return ping_vc_failed(ctx);
}

static int walk_calls(ping_t *p)
{
    long i;

    for (i = 0; i < p->options->count; i++) {
        double since = ping_now();

        double next = since + p->options->interval * 1000;

        if (i > 0 && ping_http_wait(&p->http, next, connection_broke, &p->vc)) {
            return fail(p, ping_vc_explain(&p->vc, PING_CALL, p->text, sizeof(p->text)), since);
        }
        if (!walk_call(p)) {
            return 0;
        }
    }
    if (p->calls > 1 && !p->options->quiet) {
        printf("  %ld calls, shortest %.1f, mean %.1f, longest %.1f ms\n", p->calls, p->call_min,
               p->call_sum / (double)p->calls, p->call_max);
    }
    return 1;
}

/* One line for monitoring systems: text, then performance data. */
static void print_summary(const ping_t *p)
{
    double mean = p->calls ? p->call_sum / (double)p->calls : 0;

    if (p->failed) {
        printf("RPC CRITICAL: %s by %s: %s: %s\n", p->options->server, p->options->host,
               layer_names[p->failed], p->text);
        return;
    }
    printf("RPC OK: %s by %s, call %.1f ms | total=%.1fms call=%.1fms\n", p->options->server,
           p->options->host, mean, ping_now() - p->started, mean);
}

static ping_layer_t ping(const ping_options_t *options)
{
    ping_t p = { .options = options, .started = ping_now() };

    if (!options->quiet) {
        printf("%s\n", options->url);
    }
    if (!ping_http_start(&p.http, options)) {
        out_of_memory(&p);
    }
    else if (walk_echo(&p) && walk_connection(&p) && walk_bind(&p)) {
        walk_calls(&p);
    }
    if (options->quiet) {
        print_summary(&p);
    }
    if (p.vc_begun) {
        ping_vc_close(&p.vc);
    }
    ping_http_end(&p.http);
    return p.failed;
}

int main(int argc, char **argv)
{
    ping_options_t o;
    ping_layer_t layer = PING_USAGE;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return PING_USAGE;
    }
    if (ping_options_parse(&o, argc, argv)) {
        layer = ping(&o);
    }
    ping_options_free(&o);
    curl_global_cleanup();
    if (o.nagios && layer != PING_OK) {
        return layer == PING_USAGE ? 3 : 2;     /* UNKNOWN, CRITICAL */
    }
    return (int)layer;
}
