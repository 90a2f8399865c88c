/* rpcping.c: tests its target, or one target of a file after the other, and reports. */
#include <stdlib.h>
#include <string.h>
#include "rpcping.h"

/* The least that works anywhere; a target that is only slow counts when nothing is worse. */
static int exit_status(const ping_options_t *o, const ping_result_t *results, size_t count)
{
    ping_layer_t status = PING_OK;
    size_t i;

    if (o->nagios) {
        return (int)ping_worst_state(results, count);
    }
    for (i = 0; i < count; i++) {
        if (results[i].failed && (!status || results[i].failed < status)) {
            status = results[i].failed;
        }
    }
    return (int)status;
}

static int test_all(const ping_options_t *o, const ping_targets_t *targets)
{
    const ping_report_t *report = ping_report_of(o);
    ping_result_t *results = calloc(targets->count, sizeof(*results));
    size_t i;
    int status;

    if (!results) {
        ping_usage_error(o, "out of memory");
        return o->nagios ? (int)PING_STATE_UNKNOWN : (int)PING_USAGE;
    }
    if (report->start) {
        report->start(targets);
    }
    for (i = 0; i < targets->count; i++) {
        ping_walk(&results[i], o, &targets->target[i], report->layer);
        if (report->target) {
            report->target(&results[i]);
        }
    }
    if (report->end) {
        report->end(results, targets->count);
    }
    status = exit_status(o, results, targets->count);
    for (i = 0; i < targets->count; i++) {
        ping_result_free(&results[i]);
    }
    free(results);
    return status;
}

static int start_libcurl(const ping_options_t *o)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
        || ping_usage_error(o, "libcurl does not start");
}

int main(int argc, char **argv)
{
    ping_targets_t targets = { NULL, 0 };
    ping_options_t o;
    int status;

    /* first the passwords have to leave the process list; libraries take their time */
    if (ping_options_parse(&o, argc, argv) && start_libcurl(&o)
        && ping_targets_read(&targets, &o)) {
        status = test_all(&o, &targets);
    }
    else {
        status = o.nagios ? (int)PING_STATE_UNKNOWN : (int)PING_USAGE;
    }
    ping_targets_free(&targets);
    ping_options_free(&o);
    curl_global_cleanup();
    return status;
}
