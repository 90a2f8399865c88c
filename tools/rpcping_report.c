/* rpcping_report.c: what a test has shown: for people layer by layer, or a row of a table for each
 * target; for monitoring one line, with the performance data of the plug-ins of Nagios. */
#include <stdio.h>
#include <string.h>
#include "rpcping.h"

static const struct { const char *name, *key; } layers[PING_LAYERS] = {
    [PING_OK] = { "all", "all" },
    [PING_USAGE] = { "usage", "usage" },
    [PING_ADDRESS] = { "address", "address" },
    [PING_TLS] = { "TLS", "tls" },
    [PING_AUTH] = { "authentication", "authentication" },
    [PING_ECHO] = { "echo", "echo" },
    [PING_CONNECTION] = { "virtual connection", "virtual_connection" },
    [PING_BIND] = { "bind", "bind" },
    [PING_CALL] = { "call", "call" },
    [PING_SLOW] = { "time", "time" },
};

const char *ping_layer_name(ping_layer_t layer)
{
    return layers[layer].name;
}

const char *ping_layer_key(ping_layer_t layer)
{
    return layers[layer].key;
}

const char *ping_state_name(ping_state_t state)
{
    static const char *const names[] = { "OK", "WARNING", "CRITICAL", "UNKNOWN" };

    return names[state];
}

ping_state_t ping_worst_state(const ping_result_t *results, size_t count)
{
    static const int rank[] = { [PING_STATE_OK] = 0, [PING_STATE_WARNING] = 1,
                                [PING_STATE_UNKNOWN] = 2, [PING_STATE_CRITICAL] = 3 };
    ping_state_t worst = PING_STATE_OK;
    size_t i;

    for (i = 0; i < count; i++) {
        if (rank[results[i].state] > rank[worst]) {
            worst = results[i].state;
        }
    }
    return worst;
}

double ping_mean_call(const ping_result_t *r)
{
    return r->calls ? r->call_sum / (double)r->calls : 0;
}

/* ---- one target, for people ---- */

static void start_text(const ping_targets_t *targets)
{
    printf("%s\n", targets->target[0].url);
    fflush(stdout);
}

static void print_interfaces(const ping_result_t *r)
{
    char uuid[37];
    uint32_t i;

    for (i = 0; i < r->interface_count; i++) {
        const ndr_syntax_t *s = &r->interfaces[i];
        const char *name = dce_interface_name(&s->uuid);

        printf("      %s %u.%u  %s\n", ndr_uuid_text(&s->uuid, uuid), s->major, s->minor,
               name ? name : "");
    }
}

static void layer_text(const ping_result_t *r, ping_layer_t layer)
{
    const ping_step_t *step = &r->step[layer];

    if (step->outcome == PING_WORKS) {
        printf("  %-19s ok    %8.1f ms  %s\n", layers[layer].name, step->ms, step->reason.text);
    }
    else if (step->outcome == PING_FAILED) {
        printf("  %-19s %s%7.1f ms\n      %s\n", layers[layer].name,
               layer == PING_SLOW ? "SLOW  " : "FAILED", step->ms, step->reason.text);
    }
    else {
        printf("  %-19s %s\n", layers[layer].name, step->reason.text);
    }
    if (layer == PING_CALL && r->calls == 1) {
        print_interfaces(r);
    }
    fflush(stdout);
}

static void target_text(const ping_result_t *r)
{
    if (r->calls > 1) {
        printf("  %ld calls, shortest %.1f, mean %.1f, longest %.1f ms\n", r->calls, r->call_min,
               ping_mean_call(r), r->call_max);
    }
}

/* ---- a table of targets ---- */

#define STATUS_WIDTH 25     /* of "virtual connection FAILED" */

static int server_width, host_width;

static int longer(int width, const char *text)
{
    int len = (int)strlen(text);
    return len > width ? len : width;
}

static void start_table(const ping_targets_t *targets)
{
    size_t i;

    server_width = longer(0, "SERVER");
    host_width = longer(0, "PROXY");
    for (i = 0; i < targets->count; i++) {
        server_width = longer(server_width, targets->target[i].server);
        host_width = longer(host_width, targets->target[i].host);
    }
    printf("%-*s  %-*s  %-*s  %11s\n", server_width, "SERVER", host_width, "PROXY", STATUS_WIDTH,
           "RESULT", "TIME");
    fflush(stdout);
}

static void target_row(const ping_result_t *r)
{
    char status[64] = "ok";

    if (r->failed) {
        snprintf(status, sizeof(status), r->failed == PING_SLOW ? "SLOW" : "%s FAILED",
                 layers[r->failed].name);
    }
    printf("%-*s  %-*s  %-*s  %8.1f ms\n", server_width, r->target->server, host_width,
           r->target->host, STATUS_WIDTH, status, r->ms);
    if (r->failed) {
        printf("      %s\n", r->step[r->failed].reason.text);
    }
    fflush(stdout);
}

static size_t failures(const ping_result_t *results, size_t count)
{
    size_t i, failed = 0;

    for (i = 0; i < count; i++) {
        failed += results[i].failed != PING_OK;
    }
    return failed;
}

static void end_table(const ping_result_t *results, size_t count)
{
    size_t failed = failures(results, count);

    printf("%zu target%s: %zu ok, %zu not\n", count, count == 1 ? "" : "s", count - failed, failed);
}

/* ---- monitoring ---- */

void ping_print_line(const char *text)
{
    for (; *text; text++) {
        putchar(*text == '|' ? '/' : (unsigned char)*text < ' ' || *text == 127 ? ' ' : *text);
    }
}

static void print_failure(const ping_result_t *r)
{
    char text[PING_TEXT_SIZE + 512];

    snprintf(text, sizeof(text), "%s by %s: %s: %s", r->target->server, r->target->host,
             layers[r->failed].name, r->step[r->failed].reason.text);
    ping_print_line(text);
}

static void print_success(const ping_result_t *r)
{
    char text[PING_TEXT_SIZE + 512];

    snprintf(text, sizeof(text), "%s by %s, %.3f s%s%s", r->target->server, r->target->host,
             r->ms / 1000, r->calls ? "" : ", ", r->calls ? "" : r->step[PING_BIND].reason.text);
    ping_print_line(text);
}

/* 'label'=value[UOM];[warn];[crit];[min] */
static void print_total(const ping_result_t *r, const char *label)
{
    const ping_options_t *o = r->options;

    printf(" %s=%.6fs;%s;%s;0", label, r->ms / 1000, o->warning.text ? o->warning.text : "",
           o->critical.text ? o->critical.text : "");
}

static void print_layers(const ping_result_t *r)
{
    int layer;

    for (layer = PING_ADDRESS; layer < PING_CALL; layer++) {
        if (r->step[layer].outcome == PING_WORKS) {
            printf(" %s=%.6fs;;;0", layers[layer].key, r->step[layer].ms / 1000);
        }
    }
    if (r->calls) {
        printf(" call=%.6fs;;;0", ping_mean_call(r) / 1000);
    }
    if (r->tls.known) {
        printf(" certificate_days=%d", r->tls.days_left);
    }
}

static void target_line(const ping_result_t *r)
{
    printf("RPC %s: ", ping_state_name(r->state));
    (r->failed ? print_failure : print_success)(r);
    printf(" |");
    print_total(r, "total");
    print_layers(r);
    putchar('\n');
    fflush(stdout);
}

/* A label in quotes has neither these nor =. */
static void print_target_total(const ping_result_t *r)
{
    char label[512], *at;

    snprintf(label, sizeof(label), "'%s/%s'", r->target->host, r->target->server);
    for (at = label + 1; at[0] && at[1]; at++) {
        if (*at == '\'' || *at == '=' || *at == '|') {
            *at = '_';
        }
    }
    print_total(r, label);
}

/* All in one line: what is not OK is named, and the time of each is performance data. */
static void end_line(const ping_result_t *results, size_t count)
{
    size_t failed = failures(results, count), i;
    const char *between = ": ";

    if (count == 1) {
        target_line(results);
        return;
    }
    printf("RPC %s: %zu of %zu targets ok", ping_state_name(ping_worst_state(results, count)),
           count - failed, count);
    for (i = 0; i < count; i++) {
        if (results[i].failed) {
            printf("%s", between);
            print_failure(&results[i]);
            between = "; ";
        }
    }
    printf(" |");
    for (i = 0; i < count; i++) {
        print_target_total(&results[i]);
    }
    putchar('\n');
}

const ping_report_t *ping_report_of(const ping_options_t *o)
{
    static const ping_report_t text = { start_text, layer_text, target_text, NULL };
    static const ping_report_t table = { start_table, NULL, target_row, end_table };
    static const ping_report_t lines = { NULL, NULL, target_line, NULL };
    static const ping_report_t nagios = { NULL, NULL, NULL, end_line };
    static const ping_report_t json = { NULL, NULL, ping_json_target, NULL };

    return o->json ? &json : o->nagios ? &nagios : o->quiet ? &lines : o->all ? &table : &text;
}
