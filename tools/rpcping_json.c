/* rpcping_json.c: the result of a target as an object of JSON (RFC 8259), in one line. */
#include <stdio.h>
#include <string.h>
#include "rpcping.h"

/* ---- values ---- */

/* Bytes of the character of UTF-8 at AT, or 0 when it is none (RFC 3629). */
static size_t utf8_length(const unsigned char *at)
{
    size_t len = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
               : (at[0] & 0xf0) == 0xe0 ? 3 : at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;
    size_t i;

    for (i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0)
        || (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90)) {
        return 0;   /* too long, a surrogate, beyond Unicode */
    }
    return len;
}

/* What is no UTF-8 becomes the replacement character. */
static void print_string(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    putchar('"');
    while (*at) {
        size_t len = utf8_length(at);

        if (len == 0) {
            fputs("\\ufffd", stdout);
        }
        else if (*at < ' ' || *at == 127) {
            printf("\\u%04x", *at);
        }
        else {
            printf("%s%.*s", *at == '"' || *at == '\\' ? "\\" : "", (int)len, (const char *)at);
        }
        at += len ? len : 1;
    }
    putchar('"');
}

/* null stands for what is empty. */
static void print_string_or_null(const char *text)
{
    if (text && *text) {
        print_string(text);
    }
    else {
        fputs("null", stdout);
    }
}

/* Members after the first of an object. */

static void member(const char *name)
{
    printf(",\"%s\":", name);
}

static void string_member(const char *name, const char *value)
{
    member(name);
    print_string_or_null(value);
}

static void number_member(const char *name, long value)
{
    member(name);
    printf("%ld", value);
}

static void bool_member(const char *name, int value)
{
    member(name);
    fputs(value ? "true" : "false", stdout);
}

static void seconds_member(const char *name, double ms)
{
    member(name);
    printf("%.6f", ms / 1000);
}

/* ---- figures of the layers ---- */

static void print_answerer(const ping_answerer_t *who)
{
    member("answered_by");
    fputs("{\"server\":", stdout);
    print_string_or_null(who->server);
    string_member("via", who->via);
    string_member("computer", who->computer);
    member("process");
    printf(who->process ? "%u" : "null", who->process);
    bool_member("form_of_mod_rpcproxy", who->eeinfo == PING_EEINFO_NAMELESS);
    putchar('}');
}

static void print_tls(const ping_result_t *r)
{
    const ping_tls_t *tls = &r->tls;

    bool_member("used", r->target->tls);
    if (tls->known) {
        string_member("version", tls->version);
        string_member("cipher", tls->cipher);
        string_member("subject", tls->subject);
        bool_member("verified", !r->options->insecure);
        string_member("problem", tls->problem);
        number_member("days_left", tls->days_left);
    }
}

static void print_syntax(const ndr_syntax_t *s)
{
    const char *name = dce_interface_name(&s->uuid);
    char uuid[37];

    printf("{\"uuid\":\"%s\",\"version\":\"%u.%u\"", ndr_uuid_text(&s->uuid, uuid), s->major,
           s->minor);
    string_member("name", name);
}

static void print_bounds(const ping_result_t *r)
{
    static const char *const results[] = {
        [PING_BOUND] = "accepted", [PING_REJECTED] = "rejected",
        [PING_BY_SERVER] = "not_offered", [PING_BY_FIREWALL] = "refused_by_firewall"
    };
    unsigned i;

    number_member("fragment", (long)r->frag);
    member("interfaces");
    putchar('[');
    for (i = 0; i < r->bounds; i++) {
        fputs(i > 0 ? "," : "", stdout);
        print_syntax(&r->bound[i].interface);
        string_member("result", results[r->bound[i].binding]);
        putchar('}');
    }
    putchar(']');
}

static void print_calls(const ping_result_t *r)
{
    uint32_t i;

    number_member("calls", r->calls);
    seconds_member("shortest", r->call_min);
    seconds_member("mean", ping_mean_call(r));
    seconds_member("longest", r->call_max);
    member("interfaces");
    putchar('[');
    for (i = 0; i < r->interface_count; i++) {
        fputs(i > 0 ? "," : "", stdout);
        print_syntax(&r->interfaces[i]);
        putchar('}');
    }
    putchar(']');
}

static void print_figures(const ping_result_t *r, ping_layer_t layer)
{
    switch (layer) {
    case PING_ADDRESS:
        string_member("ip", r->ip);
        number_member("port", r->port);
        break;
    case PING_TLS:
        print_tls(r);
        break;
    case PING_AUTH:
        string_member("scheme", r->scheme);
        string_member("user", r->user);
        break;
    case PING_ECHO:
        print_answerer(&r->echo);
        break;
    case PING_CONNECTION:
        number_member("window", r->window);
        seconds_member("in_timeout", r->in_timeout);
        seconds_member("out_timeout", r->out_timeout);
        break;
    case PING_BIND:
        print_bounds(r);
        break;
    case PING_CALL:
        print_calls(r);
        break;
    default:
        break;
    }
}

/* ---- layers ---- */

static void print_code(const ping_reason_t *why)
{
    static const char *const kinds[] = {
        [PING_NO_CODE] = NULL, [PING_CODE_CURL] = "curl", [PING_CODE_HTTP] = "http",
        [PING_CODE_RPC] = "rpc"
    };

    number_member("code", why->code);
    string_member("code_kind", kinds[why->kind]);
}

static void print_layer(const ping_result_t *r, ping_layer_t layer)
{
    static const char *const outcomes[] = {
        [PING_NOT_TRIED] = "not_tried", [PING_WORKS] = "ok", [PING_FAILED] = "failed"
    };
    const ping_step_t *step = &r->step[layer];

    printf("%s{\"layer\":\"%s\"", layer > PING_ADDRESS ? "," : "", ping_layer_key(layer));
    string_member("result", outcomes[step->outcome]);
    seconds_member("seconds", step->ms);
    print_code(&step->reason);
    string_member("message", step->reason.text);
    if (step->outcome == PING_WORKS || (layer == PING_BIND && r->bounds)) {
        print_figures(r, layer);
    }
    if (step->outcome == PING_FAILED && r->answered) {
        print_answerer(&r->refused);
    }
    putchar('}');
}

void ping_json_target(const ping_result_t *r)
{
    int layer;

    fputs("{\"server\":", stdout);
    print_string(r->target->server);
    string_member("proxy", r->target->host);
    string_member("url", r->target->url);
    string_member("state", ping_state_name(r->state));
    number_member("status", r->failed);
    string_member("failed", r->failed ? ping_layer_key(r->failed) : NULL);
    string_member("message", r->step[r->failed].reason.text);
    seconds_member("seconds", r->ms);
    member("layers");
    putchar('[');
    for (layer = PING_ADDRESS; layer <= PING_CALL; layer++) {
        print_layer(r, (ping_layer_t)layer);
    }
    puts("]}");
    fflush(stdout);
}

void ping_json_usage(const char *message)
{
    printf("{\"state\":\"UNKNOWN\",\"status\":%d,\"failed\":\"usage\"", PING_USAGE);
    string_member("message", message);
    puts("}");
}
