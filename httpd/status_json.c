/* httpd/status_json.c: all of the status page for programs. Times are seconds since 1970, or null;
 * all virtual connections that match are in it, whatever their number; they are read and go out in
 * pieces.
 */
#include "httpd/status_facts.h"

#include <inttypes.h>

#include <apr_strings.h>
#include <http_protocol.h>

#include "base/version.h"
#include "httpd/status_out.h"

static void name(request_rec *r, const char *key)
{
    ap_rprintf(r, "\"%s\":", key);
}

static void text(request_rec *r, const char *key, const char *value)
{
    name(r, key);
    rpc_out_json(r, value);
    ap_rputc(',', r);
}

static void number(request_rec *r, const char *key, uint64_t value)
{
    ap_rprintf(r, "\"%s\":%" APR_UINT64_T_FMT ",", key, (apr_uint64_t)value);
}

static void flag(request_rec *r, const char *key, int value)
{
    ap_rprintf(r, "\"%s\":%s,", key, value ? "true" : "false");
}

static void day(request_rec *r, const char *key, apr_time_t t)
{
    ap_rprintf(r, "\"%s\":%" APR_INT64_T_FMT ".%06d,", key, (apr_int64_t)apr_time_sec(t),
               (int)apr_time_usec(t));
}

/* A time of rpc_clock_now(); 0: null. */
static void moment(const rpc_status_request_t *q, const char *key, apr_time_t clock)
{
    if (clock)
        day(q->r, key, rpc_status_day(q, clock));
    else
        ap_rprintf(q->r, "\"%s\":null,", key);
}

static void id(request_rec *r, uint64_t connection)
{
    if (connection)
        ap_rprintf(r, "\"connection\":\"%016" PRIx64 "\",", connection);
    else
        ap_rputs("\"connection\":null,", r);
}

static void put_limits(const rpc_status_request_t *q)
{
    rpc_status_limit_t limits[RPC_LIMITS];
    int i;

    rpc_status_limits(q, limits);
    ap_rputs("\"limits\":[", q->r);
    for (i = 0; i < RPC_LIMITS; i++) {
        ap_rputs(i ? ",\n{" : "\n{", q->r);
        text(q->r, "directive", limits[i].directive);
        text(q->r, "who", limits[i].who);
        number(q->r, "allowed", limits[i].allowed);
        number(q->r, "most", limits[i].most);
        ap_rprintf(q->r, "\"used\":%" APR_UINT64_T_FMT "}", (apr_uint64_t)limits[i].used);
    }
    ap_rputs("],\n", q->r);
}

static void put_server(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    request_rec *r = q->r;

    text(r, "host", s->host);
    number(r, "port", s->port);
    text(r, "state", rpc_status_server_state(s));
    flag(r, "configured", s->configured);
    moment(q, "since", s->since);
    moment(q, "drain_end", s->drain_end);
    number(r, "channels", rpc_status_server_channels(q, s));
    number(r, "connects", s->connects);
    number(r, "failures", s->failures);
    number(r, "checks", s->checks);
    number(r, "failed_checks", s->bad_checks);
    moment(q, "last_check", s->checked);
    moment(q, "last_failure", s->failed);
    name(r, "last_error");
    rpc_out_json(r, s->why);
    ap_rputc('}', r);
}

static void put_servers(const rpc_status_request_t *q)
{
    rpc_health_view_t server;
    int i, n = 0;

    ap_rputs("\"servers\":[", q->r);
    for (i = 0; i < RPC_HEALTH_SLOTS; i++) {
        if (!rpc_health_view(q->context->health, i, q->clock, &server))
            continue;
        ap_rputs(n++ ? ",\n{" : "\n{", q->r);
        put_server(q, &server);
    }
    ap_rputs("],\n", q->r);
}

static void put_connection(const rpc_status_request_t *q, const rpc_vc_view_t *vc,
                           const rpc_board_row_t *b)
{
    request_rec *r = q->r;

    id(r, vc->connection);
    text(r, "user", b->user);
    text(r, "address", b->client);
    text(r, "vhost", b->vhost);
    text(r, "target", b->target);
    text(r, "server", b->server);
    number(r, "version", vc->version);
    text(r, "state", rpc_view_state_name(vc->state));
    flag(r, "in", vc->version == 1 || vc->rows[0] != RPC_VIEW_NO_ROW);
    flag(r, "out", vc->version == 1 || vc->rows[1] != RPC_VIEW_NO_ROW);
    moment(q, "since", vc->began);
    moment(q, "last_heard", vc->heard);
    number(r, "bytes_in", vc->in);
    number(r, "bytes_out", vc->out);
    number(r, "successors", vc->successors);
    ap_rprintf(r, "\"refused_binds\":%u}", vc->refused);
}

static void put_connections(const rpc_status_request_t *q)
{
    rpc_board_view_t b;
    apr_size_t i;
    int n = 0;

    ap_rputs("\"connections\":[", q->r);
    while (!q->r->connection->aborted && rpc_view_next(q->view, RPC_VIEW_MOST)) {
        for (i = 0; i < q->view->count && !q->r->connection->aborted; i++) {
            if (!rpc_view_texts(q->view, &q->view->at[i], &b))
                continue;
            ap_rputs(n++ ? ",\n{" : "\n{", q->r);
            put_connection(q, &q->view->at[i], &b.row);
        }
    }
    ap_rputs("],\n", q->r);
}

static void put_mishaps(const rpc_status_request_t *q)
{
    request_rec *r = q->r;
    rpc_mishap_t *all = apr_palloc(r->pool, sizeof(*all) * RPC_MISHAPS);
    int count = rpc_mishaps_read(q->context->mishaps, all), i;

    ap_rputs("\"failures\":[", r);
    for (i = 0; i < count; i++) {
        ap_rputs(i ? ",\n{" : "\n{", r);
        id(r, all[i].connection);
        text(r, "user", all[i].user);
        text(r, "address", all[i].client);
        text(r, "target", all[i].target);
        text(r, "server", all[i].server);
        text(r, "reason", rpc_reason_info((rpc_reason_t)all[i].reason)->token);
        text(r, "why", all[i].why);
        day(r, "first", all[i].first);
        day(r, "last", all[i].last);
        ap_rprintf(r, "\"times\":%u}", all[i].times);
    }
    ap_rputs("],\n", r);
}

static void put_reasons(const rpc_status_request_t *q)
{
    const rpc_tally_t *tally = q->context->tally;
    int i;

    ap_rputs("\"reasons\":{", q->r);
    for (i = 1; i < RPC_REASON_COUNT; i++)
        ap_rprintf(q->r, "%s\"%s\":{\"refused\":%" APR_UINT64_T_FMT
                   ",\"ended\":%" APR_UINT64_T_FMT "}",
                   i > 1 ? ",\n" : "\n", rpc_reason_info((rpc_reason_t)i)->token,
                   (apr_uint64_t)atomic_load(&tally->refused[i]),
                   (apr_uint64_t)atomic_load(&tally->ended[i]));
    ap_rputs("}", q->r);
}

/* ---- the farm ---- */

static void put_store(const rpc_status_request_t *q, const rpc_farm_store_t *store)
{
    text(q->r, "name", store->name);
    text(q->r, "state", rpc_status_store_state(store));
    moment(q, "since", store->since);
    name(q->r, "last_error");
    rpc_out_json(q->r, store->why);
    ap_rputc('}', q->r);
}

static void put_machine(const rpc_status_request_t *q, const rpc_farm_machine_t *machine, int this)
{
    const rpc_farm_sums_t *sums = &machine->sums;
    request_rec *r = q->r;

    text(r, "name", machine->name);
    text(r, "number", apr_psprintf(r->pool, "%016" PRIx64, machine->number));
    flag(r, "this", this);
    moment(q, "last_heard", machine->heard);
    day(r, "started", sums->started);
    number(r, "channels", sums->channels);
    number(r, "unpaired", sums->unpaired);
    number(r, "channels_begun", sums->begun);
    number(r, "channels_ended", sums->ended);
    number(r, "requests_refused", sums->refused);
    number(r, "virtual_connections_ended", sums->connections);
    number(r, "bytes_in", sums->in);
    ap_rprintf(r, "\"bytes_out\":%" APR_UINT64_T_FMT "}", (apr_uint64_t)sums->out);
}

static void put_farm(const rpc_status_request_t *q)
{
    const rpc_farm_facts_t *farm = rpc_status_farm(q);
    unsigned i;

    name(q->r, "farm");
    if (!farm) {
        ap_rputs("null,\n", q->r);
        return;
    }
    ap_rputs("{\"stores\":[", q->r);
    for (i = 0; i < farm->store_count; i++) {
        ap_rputs(i ? ",\n{" : "\n{", q->r);
        put_store(q, &farm->stores[i]);
    }
    ap_rputs("],\n\"machines\":[", q->r);
    for (i = 0; i < farm->machine_count; i++) {
        ap_rputs(i ? ",\n{" : "\n{", q->r);
        put_machine(q, &farm->machines[i], i == 0);
    }
    ap_rputs("],", q->r);
    number(q->r, "exchanges", farm->exchanges);
    day(q->r, "exchange_pause", farm->pause);
    ap_rprintf(q->r, "\"entries\":%" APR_UINT64_T_FMT "},\n", (apr_uint64_t)farm->entries);
}

void rpc_status_json(const rpc_status_request_t *q)
{
    rpc_board_bytes_t total = rpc_board_total(q->context->board);
    request_rec *r = q->r;

    ap_rputc('{', r);
    text(r, "version", RPCPROXY_VERSION);
    day(r, "time", q->now);
    put_farm(q);
    if (q->query.farm) {
        ap_rputs("\"scope\":\"farm\"}\n", r);
        return;
    }
    day(r, "started", atomic_load(&q->context->tally->started));
    number(r, "virtual_connections", q->view->all);
    number(r, "channels", q->view->channels);
    number(r, "bytes_in", total.in);
    number(r, "bytes_out", total.out);
    put_limits(q);
    put_servers(q);
    put_connections(q);
    put_mishaps(q);
    put_reasons(q);
    ap_rputs("}\n", r);
}
