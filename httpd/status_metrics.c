/* httpd/status_metrics.c: what happened and what there is, for monitoring systems: OpenMetrics 1.0,
 * or the older text format of Prometheus. They differ in the names of counters and in the last
 * line.
 *
 * All counts are in shared memory of the parent, so they fall neither with a child nor at a
 * restart. Nothing that a client chooses is a label, so the number of series has a bound.
 */
#include "httpd/status_facts.h"

#include <inttypes.h>

#include <apr_strings.h>
#include <http_protocol.h>

#include "base/version.h"
#include "httpd/status_out.h"

typedef enum { GAUGE, COUNTER, HISTOGRAM, INFO } family_t;

/* Writes one format. */
typedef struct writer {
    request_rec *r;
    int old;
    const char *name;       /* of the family that is being written */
    family_t type;
} writer_t;

static const char *suffix(family_t type)
{
    return type == COUNTER ? "_total" : type == INFO ? "_info" : "";
}

/* One TYPE, UNIT and HELP for each family. UNIT "" : none. */
static void family(writer_t *w, const char *name, family_t type, const char *unit, const char *help)
{
    static const char *const types[] = { "gauge", "counter", "histogram", "info" };
    const char *of_type = w->old && type == INFO ? "gauge" : types[type];
    const char *behind = w->old ? suffix(type) : "";

    w->name = name;
    w->type = type;
    ap_rprintf(w->r, "# TYPE rpcproxy_%s%s %s\n", name, behind, of_type);
    if (*unit && !w->old)
        ap_rprintf(w->r, "# UNIT rpcproxy_%s %s\n", name, unit);
    ap_rprintf(w->r, "# HELP rpcproxy_%s%s %s\n", name, behind, help);
}

/* A sample with one label, or none (LABEL ""). */
static void sample(const writer_t *w, const char *label, const char *value, uint64_t n)
{
    ap_rprintf(w->r, "rpcproxy_%s%s", w->name, suffix(w->type));
    if (*label) {
        ap_rprintf(w->r, "{%s=", label);
        rpc_out_label(w->r, value);
        ap_rputc('}', w->r);
    }
    ap_rprintf(w->r, " %" APR_UINT64_T_FMT "\n", (apr_uint64_t)n);
}

static const char *const role_names[RPC_ROLES] = { "in", "out", "v1" };

static void by_role(const writer_t *w, const _Atomic uint64_t counts[RPC_ROLES])
{
    int role;

    for (role = 0; role < RPC_ROLES; role++)
        sample(w, "role", role_names[role], atomic_load(&counts[role]));
}

static void by_reason(const writer_t *w, const _Atomic uint64_t counts[RPC_REASON_COUNT])
{
    int i;

    for (i = 1; i < RPC_REASON_COUNT; i++)
        sample(w, "reason", rpc_reason_info((rpc_reason_t)i)->token, atomic_load(&counts[i]));
}

/* ---- histograms ---- */

/* A bound in seconds, in the canonical form of OpenMetrics: 0.01, 1.0. Whole milliseconds. */
static void put_bound(request_rec *r, apr_interval_time_t bound)
{
    int seconds = (int)apr_time_sec(bound), ms = (int)apr_time_msec(bound), digits = 3;

    while (digits > 1 && ms % 10 == 0) {
        ms /= 10;
        digits--;
    }
    ap_rprintf(r, "%d.%0*d", seconds, digits, ms);
}

static void put_histogram(const writer_t *w, const char *role, const rpc_histogram_t *h,
                          const apr_interval_time_t *bounds)
{
    uint64_t n = 0, us = atomic_load(&h->microseconds);
    int i;

    for (i = 0; i < RPC_TALLY_BUCKETS; i++) {
        n += atomic_load(&h->upto[i]);
        ap_rprintf(w->r, "rpcproxy_%s_bucket{role=\"%s\",le=\"", w->name, role);
        if (i < RPC_TALLY_BUCKETS - 1)
            put_bound(w->r, bounds[i]);
        else
            ap_rputs("+Inf", w->r);
        ap_rprintf(w->r, "\"} %" APR_UINT64_T_FMT "\n", (apr_uint64_t)n);
    }
    ap_rprintf(w->r, "rpcproxy_%s_sum{role=\"%s\"} %" APR_UINT64_T_FMT ".%06d\n", w->name, role,
               (apr_uint64_t)(us / APR_USEC_PER_SEC), (int)(us % APR_USEC_PER_SEC));
    ap_rprintf(w->r, "rpcproxy_%s_count{role=\"%s\"} %" APR_UINT64_T_FMT "\n", w->name, role,
               (apr_uint64_t)n);
}

static void put_histograms(writer_t *w, const rpc_tally_t *tally)
{
    int role;

    family(w, "setup_seconds", HISTOGRAM, "seconds",
           "Time from the request of a channel to the first answer of its server.");
    for (role = 0; role < RPC_ROLES; role++)
        put_histogram(w, role_names[role], &tally->setup[role], rpc_setup_bounds);
    family(w, "channel_life_seconds", HISTOGRAM, "seconds", "Life of channels that have ended.");
    for (role = 0; role < RPC_ROLES; role++)
        put_histogram(w, role_names[role], &tally->life[role], rpc_life_bounds);
}

/* ---- the families ---- */

static void put_now(writer_t *w, const rpc_status_request_t *q)
{
    int role, state;

    family(w, "build", INFO, "", "Version of mod_rpcproxy.");
    sample(w, "version", RPCPROXY_VERSION, 1);
    family(w, "start_time_seconds", GAUGE, "seconds",
           "Start of the server, from which all is counted.");
    sample(w, "", "", (uint64_t)apr_time_sec(atomic_load(&q->context->tally->started)));
    family(w, "virtual_connections", GAUGE, "", "Virtual connections that live.");
    sample(w, "", "", q->view->all);
    family(w, "channels", GAUGE, "", "Channels that live, by role and state.");
    for (role = 0; role < RPC_ROLES; role++)
        for (state = 0; state < RPC_BOARD_STATES; state++)
            ap_rprintf(w->r, "rpcproxy_channels{role=\"%s\",state=\"%s\"} %u\n", role_names[role],
                       rpc_view_state_name((uint32_t)state), q->view->states[role][state]);
}

static void put_limits(writer_t *w, const rpc_status_request_t *q)
{
    static const char *const names[RPC_LIMITS] = {
        "channels", "unpaired", "channels_of_user", "channels_of_address", "unpaired_of_user",
        "unpaired_of_address", "unpaired_of_target"
    };
    rpc_status_limit_t limits[RPC_LIMITS];
    int i;

    rpc_status_limits(q, limits);
    family(w, "limit", GAUGE, "", "What a limit allows; one that is not set is missing.");
    for (i = 0; i < RPC_LIMITS; i++)
        if (limits[i].allowed)
            sample(w, "limit", names[i], limits[i].allowed);
    family(w, "limit_used", GAUGE, "",
           "How much of it is used; of users, addresses and targets, by the one that uses most.");
    for (i = 0; i < RPC_LIMITS; i++)
        sample(w, "limit", names[i], limits[i].used);
    family(w, "limit_used_most", GAUGE, "", "The most that ever was used.");
    for (i = 0; i < RPC_LIMITS; i++)
        sample(w, "limit", names[i], limits[i].most);
}

static void put_counts(writer_t *w, const rpc_status_request_t *q)
{
    const rpc_tally_t *tally = q->context->tally;
    rpc_board_bytes_t total = rpc_board_total(q->context->board);

    family(w, "received_bytes", COUNTER, "bytes", "Bytes from clients, within channels.");
    sample(w, "", "", total.in);
    family(w, "sent_bytes", COUNTER, "bytes", "Bytes to clients, within channels.");
    sample(w, "", "", total.out);
    family(w, "channels_begun", COUNTER, "", "Requests that became channels.");
    by_role(w, tally->begun);
    family(w, "channels_opened", COUNTER, "", "Channels whose server has answered.");
    by_role(w, tally->opened);
    family(w, "channels_ended", COUNTER, "", "Channels that have ended, by reason.");
    by_reason(w, tally->ended);
    family(w, "requests_refused", COUNTER, "", "Requests that did not become channels, by reason.");
    by_reason(w, tally->refused);
    family(w, "binds_refused", COUNTER, "", "Binds that the firewall has refused.");
    sample(w, "", "", atomic_load(&tally->binds_refused));
    family(w, "virtual_connections_ended", COUNTER, "", "Virtual connections that have ended.");
    sample(w, "", "", atomic_load(&tally->connections));
    family(w, "successors", COUNTER, "", "Channels that have replaced another.");
    sample(w, "", "", atomic_load(&tally->successors));
}

/* ---- servers ---- */

typedef uint64_t server_number_t(const rpc_status_request_t *q, const rpc_health_view_t *s);

static uint64_t is_up(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    return !s->avoided && !s->unfit && !s->elsewhere;
}

static uint64_t is_draining(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    return s->drained;
}

static uint64_t channels(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    return rpc_status_server_channels(q, s);
}

static uint64_t connects(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    return s->connects;
}

static uint64_t failures(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    return s->failures;
}

static uint64_t checks(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    return s->checks;
}

static uint64_t bad_checks(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    return s->bad_checks;
}

/* Only the servers that the configuration names: others are the clients' to choose. */
static void by_server(const writer_t *w, const rpc_status_request_t *q, server_number_t *number)
{
    rpc_health_view_t s;
    int i;

    for (i = 0; i < RPC_HEALTH_SLOTS; i++) {
        if (!rpc_health_view(q->context->health, i, q->clock, &s) || !s.configured)
            continue;
        sample(w, "server", apr_psprintf(w->r->pool, "%s[%u]", s.host, s.port), number(q, &s));
    }
}

static void put_servers(writer_t *w, const rpc_status_request_t *q)
{
    family(w, "server_up", GAUGE, "", "1: the server is used as usual; 0: it is avoided, or down.");
    by_server(w, q, is_up);
    family(w, "server_draining", GAUGE, "", "1: no new virtual connections go there.");
    by_server(w, q, is_draining);
    family(w, "server_channels", GAUGE, "", "Channels at the server.");
    by_server(w, q, channels);
    family(w, "server_connects", COUNTER, "", "Connections to the server that succeeded.");
    by_server(w, q, connects);
    family(w, "server_connect_failures", COUNTER, "", "Connections to the server that failed.");
    by_server(w, q, failures);
    family(w, "server_checks", COUNTER, "", "Health checks of the server.");
    by_server(w, q, checks);
    family(w, "server_check_failures", COUNTER, "", "Health checks that failed.");
    by_server(w, q, bad_checks);
}

/* ---- the farm ---- */

static void by_store(writer_t *w, const rpc_farm_facts_t *farm)
{
    unsigned i;

    family(w, "store_up", GAUGE, "", "1: the shared store answers; 0: it is away.");
    for (i = 0; i < farm->store_count; i++)
        sample(w, "store", farm->stores[i].name, farm->stores[i].state == RPC_STORE_UP);
    family(w, "store_exchanges", COUNTER, "", "Exchanges of this machine with the shared stores.");
    sample(w, "", "", farm->exchanges);
}

/* The label is the machine's number, since several may have one name. */
static void by_machine(const writer_t *w, const rpc_farm_facts_t *farm, size_t offset)
{
    unsigned i;

    for (i = 0; i < farm->machine_count; i++) {
        const char *sums = (const char *)&farm->machines[i].sums;

        sample(w, "machine",
               apr_psprintf(w->r->pool, "%016" PRIx64, farm->machines[i].number),
               *(const uint64_t *)(sums + offset));
    }
}

static void put_farm(writer_t *w, const rpc_farm_facts_t *farm)
{
    static const struct {
        const char *name, *unit, *help;
        family_t type;
        size_t offset;
    } all[] = {
#define SUM(field) offsetof(rpc_farm_sums_t, field)
        { "farm_channels", "", "Channels that live.", GAUGE, SUM(channels) },
        { "farm_channels_unpaired", "", "Channels that wait for their server.", GAUGE,
          SUM(unpaired) },
        { "farm_channels_begun", "", "Requests that became channels.", COUNTER, SUM(begun) },
        { "farm_channels_ended", "", "Channels that have ended.", COUNTER, SUM(ended) },
        { "farm_requests_refused", "", "Requests that did not become channels.", COUNTER,
          SUM(refused) },
        { "farm_virtual_connections_ended", "", "Virtual connections that have ended.", COUNTER,
          SUM(connections) },
        { "farm_received_bytes", "bytes", "Bytes from clients, within channels.", COUNTER,
          SUM(in) },
        { "farm_sent_bytes", "bytes", "Bytes to clients, within channels.", COUNTER, SUM(out) },
#undef SUM
    };
    size_t i;

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        family(w, all[i].name, all[i].type, all[i].unit, all[i].help);
        by_machine(w, farm, all[i].offset);
    }
}

void rpc_status_metrics(const rpc_status_request_t *q, int old)
{
    const rpc_farm_facts_t *farm = rpc_status_farm(q);
    writer_t w = { .r = q->r, .old = old };

    if (!q->query.farm) {
        put_now(&w, q);
        put_limits(&w, q);
        put_counts(&w, q);
        put_histograms(&w, q->context->tally);
        put_servers(&w, q);
    }
    if (farm)
        by_store(&w, farm);
    if (farm && q->query.farm)
        put_farm(&w, farm);
    if (!old)
        ap_rputs("# EOF\n", q->r);
}
