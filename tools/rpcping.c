/* rpcping: command line and report. ping() walks through the layers; each prints one line
 * when it works, and the first that fails ends the walk and becomes the exit status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "rpcping.h"

#define DEFAULT_PATH  "/rpc/rpcproxy.dll"
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

/* Notes the failure (p->text says why) and ends the walk. */
static int fail(ping_t *p, ping_layer_t layer, double since)
{
    p->failed = layer;
    if (!p->options->quiet) {
        printf("  %-19s FAILED%7.1f ms\n      %s\n", layer_names[layer], ping_now() - since, p->text);
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
    report(p, PING_ADDRESS, info_ms(easy, CURLINFO_CONNECT_TIME), "%s is %s, port %ld", p->options->host,
           ip ? ip : "?", port);
}

static void report_tls(const ping_t *p, CURL *easy)
{
    const ping_tls_t *tls = &p->http.tls;
    double ms = info_ms(easy, CURLINFO_APPCONNECT_TIME) - info_ms(easy, CURLINFO_CONNECT_TIME);

    if (!p->options->tls) {
        report(p, PING_TLS, 0, "not used: plain http");
    }
    else if (!tls->known) {
        report(p, PING_TLS, ms, "certificate %s", p->options->insecure ? "not verified (-k)" : "verified");
    }
    else {
        report(p, PING_TLS, ms, "%s, %s; certificate %s, %s%s%s, %d days left", tls->version, tls->cipher,
               tls->subject, p->options->insecure ? "not verified (-k)" : "verified",
               tls->problem[0] ? ": " : "", tls->problem, tls->days_left);
    }
}

/* Of several schemes libcurl took the strongest that was offered, if any was asked for.
 * The channels go straight for it: a body of a gigabyte cannot be sent twice. */
static void settle_scheme(ping_http_t *http, CURL *easy)
{
    long offered = 0;

    if (http->auth == CURLAUTH_BASIC || http->auth == CURLAUTH_NTLM) {
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

    if (p->options->user) {
        report(p, PING_AUTH, ms, "%s, user %s", scheme, p->options->user);
    }
    else if (p->options->netrc) {
        report(p, PING_AUTH, ms, "%s, user of %s", scheme, p->options->netrc);
    }
    else {
        report(p, PING_AUTH, ms, "none asked for: anonymous access is allowed");
    }
}

static int judge_echo(ping_t *p, const ping_channel_t *ch, const echo_answer_t *answer, double since)
{
    rts_pdu_t pdu;
    const char *wrong = NULL;

    if (!ch->done || ch->result != CURLE_OK || ch->status != 200) {
        return fail(p, ping_explain(ch, PING_ECHO, p->text, sizeof(p->text)), since);
    }
    if (answer->len != RTS_HEADER_SIZE) {
        snprintf(p->text, sizeof(p->text), "%s to %s with %zu bytes, where an RPC proxy answers %d", ch->status_line,
                 ch->method, answer->len, RTS_HEADER_SIZE);
        return fail(p, PING_ECHO, since);
    }
    wrong = rts_parse(answer->data, answer->len, &pdu);
    if (wrong || pdu.flags != RTS_FLAG_ECHO) {
        snprintf(p->text, sizeof(p->text), "the answer to %s is no Echo PDU%s%s", ch->method, wrong ? ": " : "",
                 wrong ? wrong : "");
        return fail(p, PING_ECHO, since);
    }
    return 1;
}

/* METHOD decides the proxy asked: inbound or outbound. The first one also shows the layers below. */
static int try_echo(ping_t *p, const char *method, int first)
{
    static const uint8_t body[4] = { 0xf8, 0xe8, 0x18, 0x08 };  /* as Windows sends, note 12 */
    echo_answer_t answer = { 0 };
    double since = ping_now();
    ping_channel_t *ch = ping_channel_open(&p->http, method, sizeof(body), body, sizeof(body), take_echo, &answer);
    int ok;

    if (!ch) {
        return out_of_memory(p);
    }
    ping_http_wait(&p->http, since + p->options->timeout * 1000, is_done, ch);
    if (first && info_ms(ch->easy, CURLINFO_PRETRANSFER_TIME) > 0) {
        report_address(p, ch->easy);
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
    report(p, PING_CONNECTION, ping_now() - since, "A3, C2; window %u bytes, time-outs %u s IN, %u s OUT",
           vc->window, vc->in_timeout / 1000, vc->out_timeout / 1000);
    return 1;
}

/* Waits for the answer to what was just sent. */
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
            printf("      %s %u.%u  %s\n", ndr_uuid_text(&syntax.uuid, uuid), syntax.major, syntax.minor,
                   name ? name : "");
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
    report(p, PING_CALL, ping_now() - since, "inq_if_ids: %u interface%s", count, count == 1 ? "" : "s");
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

        if (i > 0 && ping_http_wait(&p->http, since + p->options->interval * 1000, connection_broke, &p->vc)) {
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

/* One line, as monitoring systems like it: text, then performance data. */
static void print_summary(const ping_t *p)
{
    if (p->failed) {
        printf("RPC CRITICAL: %s by %s: %s: %s\n", p->options->server, p->options->host, layer_names[p->failed],
               p->text);
        return;
    }
    printf("RPC OK: %s by %s, call %.1f ms | total=%.1fms call=%.1fms\n", p->options->server, p->options->host,
           p->call_sum / (double)p->calls, ping_now() - p->started, p->call_sum / (double)p->calls);
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

/* Command line */

static const char usage_text[] =
    "usage: rpcping [options] URL server:port\n"
    "\n"
    "Asks the RPC-over-HTTP proxy at URL for a connection to server:port and says, layer by\n"
    "layer, what works: address, TLS, authentication, echo, virtual connection, bind and one\n"
    "call (mgmt inq_if_ids, which lists the server's interfaces).\n"
    "\n"
    "    rpcping -u demo:demo --cacert ca.pem https://localhost:8443 localhost:6001\n"
    "\n"
    "  -u, --user NAME[:PASSWORD]  DOMAIN\\NAME too; without a password it is asked for\n"
    "  -p, --password-file FILE    its first line is the password; \"-\": standard input.\n"
    "                              Or the environment variable RPCPING_PASSWORD\n"
    "      --netrc-file FILE       name and password from a .netrc file\n"
    "  -a, --auth SCHEME           basic (default), ntlm, or any: the better one offered\n"
    "      --cacert FILE           the certificates to trust, PEM\n"
    "  -k, --insecure              accept any certificate\n"
    "      --path PATH             of the proxy (" DEFAULT_PATH ", or the URL's own)\n"
    "      --proxy URL             an HTTP proxy in between; those of the environment are ignored\n"
    "  -t, --timeout SECONDS       for each layer and each call (10)\n"
    "  -c, --count N               calls over the one virtual connection (1)\n"
    "  -i, --interval SECONDS      between two calls (1)\n"
    "  -q, --quiet                 one line, for monitoring\n"
    "      --nagios                as -q, with the exit status 0, 2 or 3 of its plug-ins\n"
    "  -v, --verbose               the PDUs on standard error; twice: libcurl's messages too\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 all works; else the layer that failed: 1 usage, 2 address (DNS, TCP),\n"
    "3 TLS or certificate, 4 authentication (401, 403), 5 no RPC proxy answers the echo,\n"
    "6 virtual connection (server refused or not reachable), 7 bind, 8 call.\n";

static int usage_error(const char *what)
{
    fprintf(stderr, "rpcping: %s\nTry rpcping --help.\n", what);
    return 0;
}

static int set_string(char **at, const char *value)
{
    free(*at);
    *at = strdup(value);
    return *at != NULL;
}

/* "name:password"; the password does not stay in the list of processes. */
static int set_user(ping_options_t *o, char *arg)
{
    char *colon = strchr(arg, ':');

    if (colon) {
        *colon = '\0';
        if (!set_string(&o->password, colon + 1)) {
            return 0;
        }
        memset(colon + 1, 'x', strlen(colon + 1));
    }
    return set_string(&o->user, arg);
}

static int read_password(ping_options_t *o, const char *name)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    if (!f) {
        fprintf(stderr, "rpcping: %s: %s\n", name, strerror(errno));
        return 0;
    }
    len = getline(&line, &cap, f);
    if (f != stdin) {
        fclose(f);
    }
    if (len < 0) {
        free(line);
        return usage_error("the password file is empty");
    }
    line[strcspn(line, "\r\n")] = '\0';
    free(o->password);
    o->password = line;
    return 1;
}

static int set_scheme(ping_options_t *o, const char *name)
{
    static const struct { const char *name; unsigned long bits; } schemes[] = {
        { "basic", CURLAUTH_BASIC }, { "ntlm", CURLAUTH_NTLM }, { "any", CURLAUTH_BASIC | CURLAUTH_NTLM }
    };
    size_t i;

    for (i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
        if (strcasecmp(name, schemes[i].name) == 0) {
            o->auth = schemes[i].bits;
            return 1;
        }
    }
    return usage_error("--auth is one of basic, ntlm, any");
}

static int set_number(double *at, const char *text, double min, double max)
{
    char *end;

    *at = strtod(text, &end);
    return end != text && *end == '\0' && *at >= min && *at <= max ? 1 : usage_error("a number is out of range");
}

enum { OPT_NETRC = 256, OPT_CACERT, OPT_PATH, OPT_PROXY, OPT_NAGIOS };

static int set_option(ping_options_t *o, int opt, char *arg)
{
    double number;

    switch (opt) {
    case 'u': return set_user(o, arg);
    case 'p': return read_password(o, arg);
    case 'a': return set_scheme(o, arg);
    case 'k': o->insecure = 1; return 1;
    case 't': return set_number(&o->timeout, arg, 0.001, 86400);
    case 'i': return set_number(&o->interval, arg, 0, 86400);
    case 'c':
        if (!set_number(&number, arg, 1, 1e9)) {
            return 0;
        }
        o->count = (long)number;
        return 1;
    case 'q': o->quiet = 1; return 1;
    case 'v': o->verbose++; return 1;
    case OPT_NAGIOS: o->quiet = o->nagios = 1; return 1;
    case OPT_NETRC: return set_string(&o->netrc, arg);
    case OPT_CACERT: return set_string(&o->cacert, arg);
    case OPT_PATH: return set_string(&o->path, arg);
    case OPT_PROXY: return set_string(&o->proxy, arg);
    default: return usage_error("unknown option");
    }
}

/* "server:port" as the query of the request (2.2.2): printable, with a port. */
static int check_server(const char *server)
{
    const char *port = strrchr(server, ':'), *p;
    char *end;

    for (p = server; *p; p++) {
        if (*p <= ' ' || *p > '~' || *p == '#') {
            return usage_error("the server has a character that cannot stand in a URL");
        }
    }
    if (!port || port == server || !port[1] || strtoul(port + 1, &end, 10) > 65535 || *end) {
        return usage_error("the server is to be written server:port");
    }
    return 1;
}

static char *url_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;

    return curl_url_get(url, part, &text, 0) == CURLUE_OK ? text : NULL;
}

/* From "https://host:8443" to the whole URL of the request; a path in it is the proxy's. */
static int set_url(ping_options_t *o, const char *arg)
{
    CURLU *url = curl_url();
    char *scheme = NULL, *path = NULL, *whole = NULL;
    int ok = 0;

    if (!url || curl_url_set(url, CURLUPART_URL, arg, 0) != CURLUE_OK) {
        usage_error("the first argument is to be a URL such as https://proxy.example.com");
        goto end;
    }
    scheme = url_part(url, CURLUPART_SCHEME);
    path = url_part(url, CURLUPART_PATH);
    if (!scheme || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)) {
        usage_error("the URL is to begin with https:// or http://");
        goto end;
    }
    o->tls = strcmp(scheme, "https") == 0;
    if (!o->path) {
        set_string(&o->path, path && strcmp(path, "/") != 0 ? path : DEFAULT_PATH);
    }
    curl_url_set(url, CURLUPART_USER, NULL, 0);
    curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(url, CURLUPART_QUERY, o->server, 0);
    curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
    if (!o->path || curl_url_set(url, CURLUPART_PATH, o->path, 0) != CURLUE_OK) {
        usage_error("the path cannot stand in a URL");
        goto end;
    }
    o->host = url_part(url, CURLUPART_HOST);
    whole = url_part(url, CURLUPART_URL);
    ok = o->host && whole && set_string(&o->url, whole);
end:
    curl_free(scheme);
    curl_free(path);
    curl_free(whole);
    curl_url_cleanup(url);
    return ok;
}

/* A name without a password: the environment's, or ask a person. */
static int complete_password(ping_options_t *o)
{
    const char *given = getenv("RPCPING_PASSWORD");

    if (!o->user || o->password) {
        return 1;
    }
    if (!given && isatty(STDIN_FILENO)) {
        given = getpass("Password: ");
    }
    if (!given) {
        return usage_error("a user without a password; see -u, -p and RPCPING_PASSWORD in --help");
    }
    return set_string(&o->password, given);
}

static int parse_options(ping_options_t *o, int argc, char **argv)
{
    static const struct option options[] = {
        { "user", 1, NULL, 'u' }, { "password-file", 1, NULL, 'p' }, { "netrc-file", 1, NULL, OPT_NETRC },
        { "auth", 1, NULL, 'a' }, { "cacert", 1, NULL, OPT_CACERT }, { "insecure", 0, NULL, 'k' },
        { "path", 1, NULL, OPT_PATH }, { "proxy", 1, NULL, OPT_PROXY }, { "timeout", 1, NULL, 't' },
        { "count", 1, NULL, 'c' }, { "interval", 1, NULL, 'i' }, { "quiet", 0, NULL, 'q' },
        { "nagios", 0, NULL, OPT_NAGIOS }, { "verbose", 0, NULL, 'v' }, { "help", 0, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "u:p:a:kt:c:i:qvh", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(usage_text, stdout);
            exit(EXIT_SUCCESS);
        }
        if (opt == '?' || !set_option(o, opt, optarg)) {
            return 0;
        }
    }
    if (argc - optind != 2) {
        return usage_error("a URL and a server:port are needed");
    }
    return check_server(argv[optind + 1]) && set_string(&o->server, argv[optind + 1]) && set_url(o, argv[optind])
        && complete_password(o);
}

static void free_options(ping_options_t *o)
{
    free(o->user);
    free(o->password);
    free(o->proxy);
    free(o->netrc);
    free(o->cacert);
    free(o->path);
    free(o->server);
    free(o->url);
    curl_free(o->host);
}

int main(int argc, char **argv)
{
    ping_options_t o = { .auth = CURLAUTH_BASIC, .timeout = 10, .count = 1, .interval = 1 };
    ping_layer_t layer = PING_USAGE;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return PING_USAGE;
    }
    if (parse_options(&o, argc, argv)) {
        layer = ping(&o);
    }
    free_options(&o);
    curl_global_cleanup();
    if (o.nagios && layer != PING_OK) {
        return layer == PING_USAGE ? 3 : 2;     /* UNKNOWN, CRITICAL */
    }
    return (int)layer;
}
