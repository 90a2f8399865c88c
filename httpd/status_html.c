/* httpd/status_html.c: the page for people. It has no script and no picture. On a narrow screen a
 * row of a table becomes a card, where each cell bears the name of its column; the roles are
 * written out, since browsers forget that it is a table then.
 */
#include "httpd/status_facts.h"

#include <inttypes.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "base/version.h"
#include "httpd/status_out.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--paper:#fff;--band:#f3f5f7;"
    "--line:#c9d0d7;--link:#0a58a8;--good:#116329;--warn:#7d4e00;--bad:#a40e26;--bar:#0a58a8}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--dim:#a3adb8;--paper:#14171b;"
    "--band:#1e2329;--line:#3b444d;--link:#7cb8ff;--good:#6fd08c;--warn:#f0b84a;--bad:#ff8f99;"
    "--bar:#7cb8ff}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;padding:1rem;max-width:110rem;font:1rem/1.45 system-ui,sans-serif;"
    "color:var(--ink);background:var(--paper)}"
    "a{color:var(--link)}a:focus-visible,button:focus-visible,input:focus-visible,"
    "select:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}"
    ".skip{position:absolute;left:-999rem}.skip:focus{position:static}"
    "h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}"
    "p{margin:.4rem 0}.dim{color:var(--dim)}.good{color:var(--good)}.warn{color:var(--warn)}"
    ".bad{color:var(--bad)}.good,.warn,.bad{font-weight:600}"
    "nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;margin:.5rem 0}"
    "nav a{display:inline-block;padding:.35rem 0}"
    "dl.sum{display:flex;flex-wrap:wrap;gap:.5rem;margin:.8rem 0}"
    "dl.sum div{background:var(--band);border:1px solid var(--line);border-radius:.4rem;"
    "padding:.4rem .8rem;min-width:8rem}dl.sum dt{color:var(--dim);font-size:.9rem}"
    "dl.sum dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}"
    "form.find{display:flex;flex-wrap:wrap;gap:.6rem;align-items:end;margin:.6rem 0}"
    "label{display:block;font-size:.9rem;color:var(--dim)}"
    "input,select,button{font:inherit;color:inherit;background:var(--paper);min-height:2.6rem;"
    "border:1px solid var(--dim);border-radius:.3rem;padding:.3rem .6rem}"
    "button{background:var(--band);cursor:pointer}"
    "table{border-collapse:collapse;width:100%;font-size:.92rem}"
    "caption{text-align:left;color:var(--dim);padding:.2rem 0}"
    "th,td{text-align:left;vertical-align:top;padding:.4rem .5rem;"
    "border-bottom:1px solid var(--line);overflow-wrap:anywhere}section{overflow-x:auto}"
    "thead th{background:var(--band);overflow-wrap:break-word}td:not(.n){min-width:4.5rem}"
    "th[scope=row]{font-weight:600;overflow-wrap:break-word}"
    "td.h{overflow-wrap:break-word;min-width:8.8rem;max-width:18rem}"
    "td.a{white-space:nowrap}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums;"
    "white-space:nowrap}thead th.n{text-align:right}"
    "progress{width:6rem;height:.7rem;accent-color:var(--bar)}"
    ".id{font-family:ui-monospace,monospace;font-size:.8rem;white-space:nowrap}"
    "@media(max-width:64rem){table,tbody,tr,th[scope=row],td,caption{display:block}"
    "thead{position:absolute;left:-999rem}tr{border:1px solid var(--line);border-radius:.4rem;"
    "margin:.6rem 0;padding:.3rem .6rem;background:var(--band)}"
    "td,td.n,td.h,td.a,th[scope=row]{display:flex;min-width:0;max-width:none;"
    "justify-content:space-between;gap:1rem;text-align:right;"
    "border:0;padding:.15rem 0;white-space:normal}"
    "td::before,th[scope=row]::before{content:attr(data-label);color:var(--dim);"
    "font-weight:400;text-align:left;flex:none}td:has(>span:empty){display:none}}"
    "summary{cursor:pointer;color:var(--link);padding:.2rem 0;white-space:nowrap}"
    "@media print{form,nav{display:none}}";

/* ---- pieces ---- */

static void text(request_rec *r, const char *t)
{
    rpc_out_html(r, t);
}

/* "2 d 3 h", of two units at most. */
static const char *span(apr_pool_t *pool, apr_interval_time_t t)
{
    apr_int64_t s = t > 0 ? apr_time_sec(t) : 0;

    if (s < 60)
        return apr_psprintf(pool, "%d s", (int)s);
    if (s < 3600)
        return apr_psprintf(pool, "%d min %d s", (int)(s / 60), (int)(s % 60));
    if (s < 86400)
        return apr_psprintf(pool, "%d h %d min", (int)(s / 3600), (int)(s / 60 % 60));
    return apr_psprintf(pool, "%d d %d h", (int)(s / 86400), (int)(s / 3600 % 24));
}

static const char *bytes(apr_pool_t *pool, uint64_t n)
{
    static const char *const units[] = { "KB", "MB", "GB", "TB", "PB" };
    double x = (double)n;
    int i = -1;

    if (n < 1000)
        return apr_psprintf(pool, "%d B", (int)n);
    while (x >= 1000 && i < 4) {
        x /= 1000;
        i++;
    }
    return apr_psprintf(pool, x < 10 ? "%.1f %s" : "%.0f %s", x, units[i]);
}

/* A time of the day, said as its distance from now. */
static void put_ago(const rpc_status_request_t *q, apr_time_t day, const char *suffix)
{
    apr_time_exp_t t;

    apr_time_exp_gmt(&t, day);
    ap_rprintf(q->r, "<time datetime=\"%04d-%02d-%02dT%02d:%02d:%02dZ\" title=\"%04d-%02d-%02d "
               "%02d:%02d:%02d UTC\">%s%s</time>", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
               t.tm_hour, t.tm_min, t.tm_sec, t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
               t.tm_min, t.tm_sec, span(q->r->pool, q->now - day), suffix);
}

static void begin_section(request_rec *r, const char *id, const char *title, const char *caption)
{
    ap_rprintf(r, "<section aria-labelledby=\"%s\"><h2 id=\"%s\">%s</h2>\n", id, id, title);
    if (caption)
        ap_rprintf(r, "<table role=\"table\"><caption>%s</caption>\n", caption);
}

static void end_section(request_rec *r)
{
    ap_rputs("</tbody></table></section>\n", r);
}

/* The names of columns; one that begins with "#" has numbers. */
static void put_head(request_rec *r, const char *const *names, int count)
{
    int i;

    ap_rputs("<thead role=\"rowgroup\"><tr role=\"row\">", r);
    for (i = 0; i < count; i++)
        ap_rprintf(r, "<th role=\"columnheader\" scope=\"col\"%s>%s</th>",
                   names[i][0] == '#' ? " class=\"n\"" : "", names[i] + (names[i][0] == '#'));
    ap_rputs("</tr></thead>\n<tbody role=\"rowgroup\">\n", r);
}

static void row_head(request_rec *r, const char *label, const char *t)
{
    ap_rprintf(r, "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\" data-label=\"%s\"><span>",
               label);
    text(r, t);
    ap_rputs("</span></th>", r);
}

/* KIND: "n" for a number, "a" for an address, "h" for a host; "": other. */
static void open_cell_of(request_rec *r, const char *label, const char *kind)
{
    ap_rprintf(r, "<td role=\"cell\"%s%s%s data-label=\"%s\"><span>", *kind ? " class=\"" : "",
               kind, *kind ? "\"" : "", label);
}

static void open_cell(request_rec *r, const char *label, int number)
{
    open_cell_of(r, label, number ? "n" : "");
}

static void close_cell(request_rec *r)
{
    ap_rputs("</span></td>", r);
}

static void cell(request_rec *r, const char *label, const char *t)
{
    open_cell(r, label, 0);
    text(r, t);
    close_cell(r);
}

static void address_cell(request_rec *r, const char *label, const char *t)
{
    open_cell_of(r, label, "a");
    text(r, t);
    close_cell(r);
}

/* A name of a host, with its port. Where there is no room for all of it, the next line begins with
 * a dot or the port. */
static void put_host(request_rec *r, const char *t)
{
    char part[RPC_BOARD_SERVER];

    while (*t) {
        size_t n = 1 + strcspn(t + 1, ".:[");

        apr_cpystrn(part, t, n < sizeof(part) ? n + 1 : sizeof(part));
        text(r, part);
        t += n;
        if (*t)
            ap_rputs("<wbr>", r);
    }
}

static void host_cell(request_rec *r, const char *label, const char *t)
{
    open_cell_of(r, label, "h");
    put_host(r, t);
    close_cell(r);
}

static void number_cell(request_rec *r, const char *label, const char *t)
{
    open_cell(r, label, 1);
    text(r, t);
    close_cell(r);
}

static void count_cell(request_rec *r, const char *label, uint64_t n)
{
    number_cell(r, label, apr_psprintf(r->pool, "%" APR_UINT64_T_FMT, (apr_uint64_t)n));
}

/* The public id of a virtual connection; 0: nothing. */
static void put_id(request_rec *r, uint64_t connection)
{
    if (connection)
        ap_rprintf(r, "<span class=\"id\">%016" PRIx64 "</span>", connection);
}

static void end_row(request_rec *r)
{
    ap_rputs("</tr>\n", r);
}

/* ---- links that keep the rest of the query ---- */

static void put_query(const rpc_status_request_t *q, const char *sort, apr_size_t page)
{
    const rpc_status_query_t *query = &q->query;
    const struct { const char *name, *value; } all[] = {
        { "q", query->filter.find }, { "user", query->filter.user },
        { "address", query->filter.client }, { "target", query->filter.target },
        { "server", query->filter.server },
        { "state", query->filter.state < 0 ? ""
                   : rpc_view_state_name((uint32_t)query->filter.state) },
    };
    size_t i;

    ap_rprintf(q->r, "?sort=%s&amp;rows=%d&amp;page=%d", sort, (int)query->rows, (int)page);
    if (query->refresh)
        ap_rprintf(q->r, "&amp;refresh=%d", query->refresh);
    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (!*all[i].value)
            continue;
        ap_rprintf(q->r, "&amp;%s=", all[i].name);
        rpc_out_query(q->r, all[i].value);
    }
}

static const char *sort_text(const rpc_status_request_t *q)
{
    return apr_pstrcat(q->r->pool, q->query.filter.descending ? "-" : "",
                       rpc_view_column_name(q->query.filter.by), NULL);
}

/* ---- summary and limits ---- */

static void put_figure(request_rec *r, const char *name, const char *value)
{
    ap_rprintf(r, "<div><dt>%s</dt><dd>%s</dd></div>", name, value);
}

static void put_summary(const rpc_status_request_t *q)
{
    request_rec *r = q->r;
    rpc_board_bytes_t total = rpc_board_total(q->context->board);
    apr_time_t started = atomic_load(&q->context->tally->started);

    ap_rputs("<dl class=\"sum\">", r);
    put_figure(r, "Virtual connections", apr_psprintf(r->pool, "%d", (int)q->view->all));
    put_figure(r, "Channels", apr_psprintf(r->pool, "%d", (int)q->view->channels));
    put_figure(r, "From clients", bytes(r->pool, total.in));
    put_figure(r, "To clients", bytes(r->pool, total.out));
    put_figure(r, "Counting since", span(r->pool, q->now - started));
    ap_rputs("</dl>\n", r);
}

static void put_limit(const rpc_status_request_t *q, const rpc_status_limit_t *l)
{
    request_rec *r = q->r;
    const char *state = l->allowed && l->used >= l->allowed ? "bad"
                      : l->allowed && l->used * 10 >= l->allowed * 8 ? "warn" : NULL;

    row_head(r, "Limit", l->directive);
    cell(r, "What", l->what);
    open_cell(r, "Used", 1);
    if (state)
        ap_rprintf(r, "<strong class=\"%s\">%s: </strong>", state,
                   *state == 'b' ? "full" : "nearly full");
    ap_rprintf(r, "%d", (int)l->used);
    close_cell(r);
    number_cell(r, "Allowed",
                l->allowed ? apr_psprintf(r->pool, "%d", (int)l->allowed) : "no limit");
    open_cell(r, "Share", 0);
    if (l->allowed)
        ap_rprintf(r, "<progress max=\"%d\" value=\"%d\" aria-label=\"share of %s that is used\">"
                   "%d %%</progress>", (int)l->allowed, (int)l->used, l->directive,
                   (int)(l->used * 100 / l->allowed));
    close_cell(r);
    count_cell(r, "Most ever", l->most);
    cell(r, "Who", l->who);
    end_row(r);
}

static void put_limits(const rpc_status_request_t *q)
{
    static const char *const names[] = { "Limit", "What", "#Used", "#Allowed", "Share",
                                         "#Most ever", "Who" };
    rpc_status_limit_t limits[RPC_LIMITS];
    int i;

    rpc_status_limits(q, limits);
    begin_section(q->r, "limits", "Limits",
                  "Of users, addresses and targets the one that has the most is shown.");
    put_head(q->r, names, 7);
    for (i = 0; i < RPC_LIMITS; i++)
        put_limit(q, &limits[i]);
    end_section(q->r);
}

/* ---- buttons: the first click shows what the second does ---- */

static void begin_button(const rpc_status_request_t *q, const char *summary, const char *action)
{
    ap_rprintf(q->r, "<details><summary>%s</summary><form method=\"post\"><input type=\"hidden\" "
               "name=\"token\" value=\"%s\"><input type=\"hidden\" name=\"action\" value=\"%s\">",
               summary, q->token, action);
}

static void put_hidden(request_rec *r, const char *name, const char *value)
{
    ap_rprintf(r, "<input type=\"hidden\" name=\"%s\" value=\"", name);
    text(r, value);
    ap_rputs("\">", r);
}

static void end_button(request_rec *r, const char *label, const char *of)
{
    ap_rprintf(r, "<button aria-label=\"%s: ", label);
    text(r, of);
    ap_rprintf(r, "\">%s</button></form></details>", label);
}

static void put_end_button(const rpc_status_request_t *q, const char *name, const char *value)
{
    begin_button(q, "end&hellip;", "end");
    put_hidden(q->r, name, value);
    end_button(q->r, "End now", value);
}

static void put_drain_button(const rpc_status_request_t *q, const rpc_health_view_t *s,
                             const char *server)
{
    begin_button(q, s->drained ? "use again&hellip;" : "drain&hellip;",
                 s->drained ? "undrain" : "drain");
    put_hidden(q->r, "server", server);
    if (!s->drained)
        ap_rputs("<label>minutes until old connections end, or 90s, or 2h; empty: never "
                 "<input name=\"after\" size=\"5\"></label>", q->r);
    end_button(q->r, s->drained ? "Use again" : "Drain", server);
}

/* Ends what a user, an address or a server has. */
static void put_end_form(const rpc_status_request_t *q)
{
    static const char *const names[] = { "user", "address", "server" };
    int i;

    for (i = 0; i < 3; i++) {
        begin_button(q, apr_psprintf(q->r->pool, "End all of one %s&hellip;", names[i]), "end");
        ap_rprintf(q->r, "<label>%s, as it stands in the table <input name=\"%s\" required></label>"
                   "<button>End all of this %s now</button></form></details>\n", names[i], names[i],
                   names[i]);
    }
}

/* ---- the farm ---- */

static void put_store(const rpc_status_request_t *q, const rpc_farm_store_t *store)
{
    const char *state = rpc_status_store_state(store);

    ap_rprintf(q->r, "<p>The store <strong>%s</strong> is <span class=\"%s\">%s</span>, since ",
               ap_escape_html(q->r->pool, store->name),
               store->state == RPC_STORE_UP ? "good" : store->state == RPC_STORE_AWAY ? "bad"
               : "warn", state);
    put_ago(q, rpc_status_day(q, store->since), "");
    if (store->state == RPC_STORE_AWAY) {
        ap_rputs(": ", q->r);
        text(q->r, store->why);
        ap_rputs(". Unless another store is up, this machine acts for itself", q->r);
    }
    ap_rputs(".</p>\n", q->r);
}

static void put_machine(const rpc_status_request_t *q, const char *name, const char *number,
                        const rpc_farm_sums_t *sums)
{
    request_rec *r = q->r;

    row_head(r, "Machine", name);
    open_cell(r, "Number", 0);
    ap_rprintf(r, "<span class=\"id\">%s</span>", number);
    close_cell(r);
    count_cell(r, "Channels", sums->channels);
    count_cell(r, "Waiting", sums->unpaired);
    count_cell(r, "Begun", sums->begun);
    count_cell(r, "Refused", sums->refused);
    count_cell(r, "Connections ended", sums->connections);
    number_cell(r, "From clients", bytes(r->pool, sums->in));
    number_cell(r, "To clients", bytes(r->pool, sums->out));
    open_cell(r, "Since", 0);
    put_ago(q, sums->started, "");
    close_cell(r);
    end_row(r);
}

/* Without RpcSharedStore it says so. */
static void put_farm(const rpc_status_request_t *q)
{
    static const char *const names[] = { "Machine", "Number", "#Channels", "#Waiting", "#Begun",
                                         "#Refused", "#Connections ended", "#From clients",
                                         "#To clients", "Since" };
    const rpc_farm_facts_t *farm = rpc_status_farm(q);
    rpc_farm_sums_t all;
    unsigned i;

    begin_section(q->r, "farm", "Farm", NULL);
    if (!farm) {
        ap_rputs("<p>No other machines are known: RpcSharedStore is not set.</p></section>\n",
                 q->r);
        return;
    }
    for (i = 0; i < farm->store_count; i++)
        put_store(q, &farm->stores[i]);
    ap_rprintf(q->r, "<p>Exchanges with the stores: %" APR_UINT64_T_FMT ", at most %d ms from one "
               "to the next.</p>\n", (apr_uint64_t)farm->exchanges,
               (int)apr_time_as_msec(farm->pause));
    ap_rputs("<table role=\"table\"><caption>This machine is the first; of the others, what they "
             "have told within the last seconds.</caption>\n", q->r);
    put_head(q->r, names, 10);
    for (i = 0; i < farm->machine_count; i++)
        put_machine(q, farm->machines[i].name,
                    apr_psprintf(q->r->pool, "%016" PRIx64, farm->machines[i].number),
                    &farm->machines[i].sums);
    all = rpc_status_farm_sums(farm);
    put_machine(q, "all", "", &all);
    end_section(q->r);
}

/* ---- servers ---- */

static void put_state(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    const char *state = rpc_status_server_state(s);
    const char *class = strcmp(state, "up") == 0 ? "good"
                      : strcmp(state, "down") == 0 ? "bad" : "warn";

    open_cell(q->r, "State", 0);
    ap_rprintf(q->r, "<span class=\"%s\">%s</span>", class, state);
    if (s->drain_end)
        ap_rprintf(q->r, ", old connections end in %s",
                   span(q->r->pool, s->drain_end - q->clock));
    close_cell(q->r);
}

static void put_server(const rpc_status_request_t *q, const rpc_health_view_t *s)
{
    request_rec *r = q->r;
    const char *name = apr_psprintf(r->pool, "%s[%u]", s->host, s->port);

    row_head(r, "Server", name);
    put_state(q, s);
    open_cell(r, "Since", 0);
    if (s->since)
        put_ago(q, rpc_status_day(q, s->since), "");
    else
        ap_rputs("the start", r);
    close_cell(r);
    count_cell(r, "Channels", rpc_status_server_channels(q, s));
    count_cell(r, "Connected", s->connects);
    count_cell(r, "Failed", s->failures);
    open_cell(r, "Health checks", 0);
    if (s->checks) {
        ap_rprintf(r, "%" APR_UINT64_T_FMT ", %" APR_UINT64_T_FMT " failed, last ",
                   (apr_uint64_t)s->checks, (apr_uint64_t)s->bad_checks);
        put_ago(q, rpc_status_day(q, s->checked), " ago");
    }
    else
        ap_rputs("none", r);
    close_cell(r);
    open_cell(r, "Last error", 0);
    if (s->failed) {
        text(r, s->why);
        ap_rputs(", ", r);
        put_ago(q, rpc_status_day(q, s->failed), " ago");
    }
    close_cell(r);
    open_cell(r, "Action", 0);
    put_drain_button(q, s, name);
    put_end_button(q, "server", name);
    close_cell(r);
    end_row(r);
}

static void put_servers(const rpc_status_request_t *q)
{
    static const char *const names[] = { "Server", "State", "Since", "#Channels", "#Connected",
                                         "#Failed", "Health checks", "Last error", "Action" };
    rpc_health_view_t server;
    int i;

    begin_section(q->r, "servers", "Servers",
                  "Avoided: the last connection failed, here or at another machine of the farm, "
                  "and it is tried last for a while. "
                  "Suspect: that while is over, and nobody has tried since. "
                  "Down: its last health check failed.");
    put_head(q->r, names, 9);
    for (i = 0; i < RPC_HEALTH_SLOTS; i++)
        if (rpc_health_view(q->context->health, i, q->clock, &server))
            put_server(q, &server);
    end_section(q->r);
}

/* ---- virtual connections ---- */

static void put_option(request_rec *r, const char *value, const char *label, int selected)
{
    ap_rprintf(r, "<option value=\"%s\"%s>%s</option>", value, selected ? " selected" : "", label);
}

static void put_number_options(request_rec *r, const int *numbers, int count, int selected,
                               const char *zero, const char *unit)
{
    int i;

    for (i = 0; i < count; i++)
        put_option(r, apr_itoa(r->pool, numbers[i]),
                   numbers[i] ? apr_psprintf(r->pool, "%d%s", numbers[i], unit) : zero,
                   numbers[i] == selected);
}

static void put_form(const rpc_status_request_t *q)
{
    static const int rows[] = { 25, 100, 500, 1000 }, seconds[] = { 0, 5, 30, 300 };
    const rpc_view_filter_t *filter = &q->query.filter;
    request_rec *r = q->r;
    int i;

    ap_rputs("<form class=\"find\" method=\"get\" role=\"search\"><div><label for=\"q\">"
             "User, address, target, server or id</label>"
             "<input id=\"q\" name=\"q\" type=\"search\" value=\"", r);
    text(r, filter->find);
    ap_rputs("\"></div><div><label for=\"state\">State</label>"
             "<select id=\"state\" name=\"state\">", r);
    put_option(r, "", "any", filter->state < 0);
    for (i = 0; i < RPC_BOARD_STATES; i++)
        put_option(r, rpc_view_state_name((uint32_t)i), rpc_view_state_name((uint32_t)i),
                   filter->state == i);
    ap_rputs("</select></div><div><label for=\"rows\">Rows</label>"
             "<select id=\"rows\" name=\"rows\">", r);
    put_number_options(r, rows, 4, (int)q->query.rows, "", "");
    ap_rputs("</select></div><div><label for=\"refresh\">Refresh</label><select id=\"refresh\" "
             "name=\"refresh\">", r);
    put_number_options(r, seconds, 4, q->query.refresh, "never", " s");
    ap_rprintf(r, "</select></div><input type=\"hidden\" name=\"sort\" value=\"%s\">"
               "<div><button>Show</button></div></form>\n", sort_text(q));
}

/* A heading that sorts: again in the other order. */
static void put_sort_head(const rpc_status_request_t *q, const char *label, int by, int number)
{
    const rpc_view_filter_t *filter = &q->query.filter;
    int sorted = by == (int)filter->by;
    const char *name = rpc_view_column_name((rpc_view_column_t)by);

    ap_rprintf(q->r, "<th role=\"columnheader\" scope=\"col\"%s%s><a href=\"",
               number ? " class=\"n\"" : "",
               !sorted ? "" : filter->descending ? " aria-sort=\"descending\""
                                                 : " aria-sort=\"ascending\"");
    put_query(q, sorted && !filter->descending ? apr_pstrcat(q->r->pool, "-", name, NULL) : name,
              1);
    ap_rprintf(q->r, "\">%s</a>%s</th>", label,
               !sorted ? "" : filter->descending ? " <span aria-hidden=\"true\">&#9660;</span>"
                                                 : " <span aria-hidden=\"true\">&#9650;</span>");
}

static void put_connection_head(const rpc_status_request_t *q)
{
    static const struct { const char *label; rpc_view_column_t by; int number; } columns[] = {
        { "User", RPC_BY_USER, 0 }, { "Address", RPC_BY_CLIENT, 0 }, { "Target", RPC_BY_TARGET, 0 },
        { "Server", RPC_BY_SERVER, 0 }, { "State", RPC_BY_STATE, 0 }, { "Since", RPC_BY_SINCE, 0 },
        { "From client", RPC_BY_IN, 1 }, { "To client", RPC_BY_OUT, 1 },
        { "Last heard", RPC_BY_HEARD, 0 }, { "Successors", RPC_BY_SUCCESSORS, 1 },
        { "Refused binds", RPC_BY_REFUSED, 1 },
    };
    size_t i;

    ap_rputs("<thead role=\"rowgroup\"><tr role=\"row\">", q->r);
    for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        put_sort_head(q, columns[i].label, (int)columns[i].by, columns[i].number);
    ap_rputs("<th role=\"columnheader\" scope=\"col\">Connection</th>"
             "<th role=\"columnheader\" scope=\"col\">Action</th></tr></thead>\n"
             "<tbody role=\"rowgroup\">\n", q->r);
}

/* In words, and which half there is not. */
static const char *state_text(const rpc_vc_view_t *vc)
{
    static const char *const words[RPC_BOARD_STATES] = {
        "waits for its first PDU", "connects to the server", "waits for the server", "open"
    };
    int in = vc->rows[0] != RPC_VIEW_NO_ROW, out = vc->rows[1] != RPC_VIEW_NO_ROW;

    if (vc->state == RPC_BOARD_WAITING && vc->version == 2 && !(in && out))
        return in ? "IN only: the OUT half is missing" : "OUT only: the IN half is missing";
    return words[vc->state < RPC_BOARD_STATES ? vc->state : 0];
}

static void put_connection(const rpc_status_request_t *q, const rpc_vc_view_t *vc,
                           apr_pool_t *scratch)
{
    request_rec *r = q->r;
    rpc_board_view_t b;

    if (!rpc_view_texts(q->view, vc, &b))
        return;
    row_head(r, "User", b.row.user[0] ? b.row.user : "nobody");
    address_cell(r, "Address", b.row.client);
    host_cell(r, "Target", b.row.target);
    host_cell(r, "Server", b.row.server);
    open_cell(r, "State", 0);
    ap_rprintf(r, "<span class=\"%s\">%s</span>", vc->state == RPC_BOARD_OPEN ? "good" : "warn",
               state_text(vc));
    close_cell(r);
    open_cell(r, "Since", 0);
    put_ago(q, rpc_status_day(q, vc->began), "");
    close_cell(r);
    number_cell(r, "From client", bytes(scratch, vc->in));
    number_cell(r, "To client", bytes(scratch, vc->out));
    open_cell(r, "Last heard", 0);
    put_ago(q, rpc_status_day(q, vc->heard), " ago");
    close_cell(r);
    count_cell(r, "Successors", vc->successors);
    count_cell(r, "Refused binds", vc->refused);
    open_cell_of(r, "Connection", "h");
    put_id(r, vc->connection);
    if (vc->version == 1)
        ap_rputs(" version 1", r);
    ap_rputs(" <span class=\"dim\">", r);
    put_host(r, b.row.vhost);
    ap_rputs("</span>", r);
    close_cell(r);
    open_cell(r, "Action", 0);
    if (vc->connection)
        put_end_button(q, "connection", apr_psprintf(scratch, "%016" PRIx64, vc->connection));
    close_cell(r);
    end_row(r);
}

static void put_pages(const rpc_status_request_t *q, apr_size_t first, apr_size_t last)
{
    request_rec *r = q->r;

    if (last >= q->view->matching && first == 0)
        return;
    ap_rputs("<nav aria-label=\"Pages of virtual connections\"><ul>", r);
    if (first) {
        ap_rputs("<li><a rel=\"prev\" href=\"", r);
        put_query(q, sort_text(q), q->query.page - 1);
        ap_rputs("#connections\">Previous page</a></li>", r);
    }
    if (last < q->view->matching) {
        ap_rputs("<li><a rel=\"next\" href=\"", r);
        put_query(q, sort_text(q), q->query.page + 1);
        ap_rputs("#connections\">Next page</a></li>", r);
    }
    ap_rputs("</ul></nav>\n", r);
}

static void put_connections(const rpc_status_request_t *q)
{
    request_rec *r = q->r;
    apr_size_t count = q->view->matching, first = (q->query.page - 1) * q->query.rows, last, i;
    apr_pool_t *scratch;

    first = first < count ? first : 0;
    last = first + q->query.rows < count ? first + q->query.rows : count;
    begin_section(r, "connections", "Virtual connections", NULL);
    put_form(q);
    ap_rprintf(r, "<table role=\"table\"><caption>Shown: %d to %d of %d%s</caption>\n",
               count ? (int)first + 1 : 0, (int)last, (int)count,
               count < q->view->all ? apr_psprintf(r->pool, " that match, of %d in all",
                                                   (int)q->view->all) : "");
    put_connection_head(q);
    apr_pool_create(&scratch, r->pool);
    rpc_view_skip(q->view, first);
    rpc_view_next(q->view, q->query.rows);
    for (i = 0; i < q->view->count && !r->connection->aborted; i++) {
        put_connection(q, &q->view->at[i], scratch);
        apr_pool_clear(scratch);
    }
    ap_rputs("</tbody></table>\n", r);
    put_pages(q, first, last);
    put_end_form(q);
    ap_rputs("</section>\n", r);
}

/* ---- what went wrong ---- */

static void put_mishap(const rpc_status_request_t *q, const rpc_mishap_t *m)
{
    request_rec *r = q->r;

    ap_rputs("<tr role=\"row\">", r);
    open_cell(r, "When", 0);
    put_ago(q, m->last, " ago");
    if (m->times > 1)
        ap_rprintf(r, ", %u times", m->times);
    close_cell(r);
    cell(r, "User", m->user[0] ? m->user : "nobody");
    address_cell(r, "Address", m->client);
    host_cell(r, "Target", m->target);
    open_cell(r, "Reason", 0);
    ap_rprintf(r, "<strong>%s</strong>", rpc_reason_info((rpc_reason_t)m->reason)->token);
    close_cell(r);
    cell(r, "Why", m->why);
    host_cell(r, "Server", m->server);
    open_cell(r, "Connection", 0);
    put_id(r, m->connection);
    close_cell(r);
    end_row(r);
}

static void put_mishaps(const rpc_status_request_t *q)
{
    static const char *const names[] = { "When", "User", "Address", "Target", "Reason", "Why",
                                         "Server", "Connection" };
    rpc_mishap_t *all = apr_palloc(q->r->pool, sizeof(*all) * RPC_MISHAPS);
    int count = rpc_mishaps_read(q->context->mishaps, all), i;

    begin_section(q->r, "failures", "Last failures",
                  count ? "Refused requests, channels that failed, and refused binds; "
                          "the latest first."
                        : "Nothing has failed yet.");
    put_head(q->r, names, 8);
    for (i = 0; i < count; i++)
        put_mishap(q, &all[i]);
    end_section(q->r);
}

static void put_reasons(const rpc_status_request_t *q)
{
    static const char *const names[] = { "Reason", "#Requests refused", "#Channels ended",
                                         "Meaning" };
    const rpc_tally_t *tally = q->context->tally;
    int i;

    begin_section(q->r, "reasons", "Refusals and ends by reason",
                  "Since the server was started; doc/reasons.md says what to do about each.");
    put_head(q->r, names, 4);
    for (i = 1; i < RPC_REASON_COUNT; i++) {
        uint64_t refused = atomic_load(&tally->refused[i]), ended = atomic_load(&tally->ended[i]);
        const rpc_reason_info_t *info = rpc_reason_info((rpc_reason_t)i);

        if (!refused && !ended)
            continue;
        row_head(q->r, "Reason", info->token);
        count_cell(q->r, "Requests refused", refused);
        count_cell(q->r, "Channels ended", ended);
        cell(q->r, "Meaning", info->text);
        end_row(q->r);
    }
    end_section(q->r);
}

/* ---- the page ---- */

/* The page of the farm has one section. */
static void put_links(const rpc_status_request_t *q)
{
    request_rec *r = q->r;
    const char *scope = q->query.farm ? "&amp;scope=farm" : "";

    ap_rputs("<nav aria-label=\"Sections\"><ul>", r);
    if (q->query.farm)
        ap_rputs("<li><a href=\"?\">This machine</a></li>", r);
    else
        ap_rputs("<li><a href=\"#limits\">Limits</a></li>"
                 "<li><a href=\"#servers\">Servers</a></li>"
                 "<li><a href=\"#connections\">Virtual connections</a></li>"
                 "<li><a href=\"#failures\">Last failures</a></li>"
                 "<li><a href=\"#reasons\">Reasons</a></li>", r);
    if (!q->query.farm && q->context->farm)
        ap_rputs("<li><a href=\"?scope=farm\">Farm</a></li>", r);
    ap_rprintf(r, "<li><a href=\"?format=json%s\">JSON</a></li>"
               "<li><a href=\"?format=openmetrics%s\">OpenMetrics</a></li>"
               "</ul></nav>", scope, scope);
}

static void put_top(const rpc_status_request_t *q)
{
    request_rec *r = q->r;

    ap_rputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n", r);
    if (q->query.refresh)
        ap_rprintf(r, "<meta http-equiv=\"refresh\" content=\"%d\">\n", q->query.refresh);
    ap_rputs("<title>RPC over HTTP: ", r);
    ap_rprintf(r, "%d connections, ", (int)q->view->all);
    text(r, ap_get_server_name(r));
    ap_rprintf(r, "</title>\n<style>%s</style></head>\n"
               "<body><a class=\"skip\" href=\"#%s</a>\n<header><h1>RPC over HTTP on ", style,
               q->query.farm ? "farm\">Skip to the farm"
                             : "connections\">Skip to the virtual connections");
    text(r, ap_get_server_name(r));
    ap_rputs("</h1>", r);
    put_links(q);
    ap_rputs("</header>\n<main>\n", r);
}

void rpc_status_html(const rpc_status_request_t *q)
{
    apr_time_exp_t t;

    put_top(q);
    if (q->query.farm)
        put_farm(q);
    else {
        put_summary(q);
        put_limits(q);
        put_servers(q);
        put_connections(q);
        put_mishaps(q);
        put_reasons(q);
    }
    apr_time_exp_gmt(&t, q->now);
    ap_rprintf(q->r, "</main>\n<footer><p class=\"dim\">mod_rpcproxy " RPCPROXY_VERSION
               ", %04d-%02d-%02d %02d:%02d:%02d UTC</p></footer></body></html>\n", t.tm_year + 1900,
               t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
}
