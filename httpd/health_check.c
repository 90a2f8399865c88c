/* httpd/health_check.c: the watchdog calls once in a child, and the call lasts until the child
 * ends. It has a loop of its own, which runs on the watchdog's thread; each server has its own
 * timer there, so that none waits for another's check. Nothing outlives the call, but for look-ups
 * left behind.
 */
#include "httpd/health_check.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include <apr_cstr.h>
#include <http_log.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "httpd/module.h"
#include "httpd/named_servers.h"
#include "httpd/server_log.h"
#include "httpd/watchdog.h"
#include "target/probe.h"

APLOG_USE_MODULE(rpcproxy);

#define WATCHDOG "_rpcproxy_"

/* A server to be checked. */
typedef struct check {
    const char *host;
    apr_port_t port;
    int handshake;
    const rpc_networks_t *networks;
    rpc_sources_t *sources;
} check_t;

/* Of one configuration. */
typedef struct checks {
    server_rec *s;
    rpc_health_t *health;
    apr_array_header_t *list;       /* check_t */
    int handshake;
    apr_interval_time_t interval, timeout;
    rpc_watchdog_t watchdog;
} checks_t;

/* ---- which servers ---- */

/* Adds a server with the rules of the section that names it, or else those of the main server. The
 * rules of a section between these are known only for a request. */
static void add_check(checks_t *checks, const rpc_named_server_t *named,
                      const rpc_dir_config_t *main_server,
                      apr_port_t port)
{
    const rpc_dir_config_t *dc = named->dc ? named->dc : main_server;
    check_t *check;
    int i;

    for (i = 0; i < checks->list->nelts; i++) {
        check = &APR_ARRAY_IDX(checks->list, i, check_t);
        if (check->port == port && apr_cstr_casecmp(check->host, named->host) == 0)
            return;
    }
    check = apr_array_push(checks->list);
    check->host = named->host;
    check->port = port;
    check->handshake = checks->handshake && named->protseq == RPC_PROTSEQ_HTTP;
    check->networks = rpc_networks_with(checks->list->pool,
                                        dc->networks ? dc->networks : main_server->networks,
                                        named->host);
    check->sources = dc->sources ? dc->sources : main_server->sources;
}

/* A global catalog without a port of its own is checked at the ports of the address book. */
static void add_named(checks_t *checks, const rpc_named_server_t *named,
                      const rpc_dir_config_t *main_server)
{
    const apr_array_header_t *ports = NULL;
    int i;

    if (named->port) {
        add_check(checks, named, main_server, named->port);
        return;
    }
    if (named->dc && apr_cstr_casecmp(named->where->directive, "RpcNspiServers") == 0)
        ports = named->dc->nspi_ports ? named->dc->nspi_ports : main_server->nspi_ports;
    for (i = 0; ports && i < ports->nelts; i++)
        add_check(checks, named, main_server, APR_ARRAY_IDX(ports, i, apr_port_t));
    if (!ports)
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, named->s,
                     RPCNO(0018) "%s in line %d of %s: no health check of %s, "
                     "because its port is the one that clients ask for",
                     named->where->directive, named->where->line_num, named->where->filename,
                     named->host);
}

/* ---- checking ---- */

typedef struct watch watch_t;

typedef struct probing {
    watch_t *watch;
    const check_t *check;
    rpc_probe_t *probe;             /* NULL: waits for the timer */
    rpc_timer_t next;
    apr_time_t begun;
} probing_t;

struct watch {
    checks_t *checks;
    rpc_loop_t *loop;
    rpc_resolver_t *resolver;
    rpc_log_t log;
    probing_t *probings;
    rpc_job_t begin;
    rpc_watch_t bell;
};

static void report_check(checks_t *checks, const check_t *check, rpc_reason_t reason,
                         const char *why)
{
    apr_time_t now = rpc_clock_now();
    /* The next result comes before this time, unless no child checks any more. */
    apr_time_t until = now + 2 * checks->interval + checks->timeout;
    int changed;

    if (reason == RPC_REASON_ADDRESS_REFUSED || rpc_reason_is_ours(reason)) {
        rpc_health_unchecked(checks->health, check->host, check->port, until);
        ap_log_error(APLOG_MARK, APLOG_DEBUG, 0, checks->s,
                     "health check: %s port %u was not checked: %s", check->host, check->port, why);
        return;     /* a local failure says nothing about the server */
    }
    changed = rpc_health_checked(checks->health, check->host, check->port, !reason, now, until);
    if (reason)
        rpc_health_explain(checks->health, check->host, check->port, why);
    if (!changed)
        return;
    if (reason)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, checks->s,
                     RPCNO(0019) "health check: %s port %u: %s (%s); it is "
                     "avoided until a check succeeds",
                     check->host, check->port, rpc_reason_info(reason)->text, why);
    else
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, checks->s,
                     RPCNO(0020) "health check: %s port %u answers again",
                     check->host, check->port);
}

/* The next check begins one interval after the last one began, or now if that took longer. */
static void wait_for_next(probing_t *probing)
{
    rpc_timer_set(probing->watch->loop, &probing->next,
                  probing->begun + probing->watch->checks->interval);
}

static void probed(void *ctx, rpc_reason_t reason, const char *why)
{
    probing_t *probing = ctx;

    probing->probe = NULL;
    report_check(probing->watch->checks, probing->check, reason, why);
    wait_for_next(probing);
}

static void start_probe(rpc_timer_t *timer)
{
    probing_t *probing = RPC_OWNER_OF(timer, probing_t, next);
    watch_t *watch = probing->watch;
    rpc_connect_params_t params = {
        .resolver = watch->resolver,
        .host = probing->check->host,
        .port = probing->check->port,
        .timeout = watch->checks->timeout,
        .networks = probing->check->networks,
        .sources = probing->check->sources,
    };

    probing->begun = rpc_loop_now(watch->loop);
    probing->probe = rpc_probe_start(watch->loop, &params, probing->check->handshake, probed,
                                     probing);
    if (!probing->probe)
        wait_for_next(probing);
}

static void bell_rings(rpc_watch_t *bell, uint32_t events)
{
    if (events & EPOLLIN)       /* it can be written to from the beginning */
        rpc_loop_stop(RPC_OWNER_OF(bell, watch_t, bell)->loop);
}

static void begin_check(rpc_job_t *job)
{
    watch_t *watch = RPC_OWNER_OF(job, watch_t, begin);
    const apr_array_header_t *list = watch->checks->list;
    int i;

    for (i = 0; i < list->nelts; i++) {
        watch->probings[i] = (probing_t){ watch, &APR_ARRAY_IDX(list, i, check_t),
                                          .next.fire = start_probe };
        start_probe(&watch->probings[i].next);
    }
}

static void end_checks(watch_t *watch)
{
    int i;

    for (i = 0; i < watch->checks->list->nelts; i++) {
        rpc_timer_cancel(watch->loop, &watch->probings[i].next);
        if (watch->probings[i].probe)
            rpc_probe_cancel(watch->probings[i].probe);
    }
}

static apr_status_t keep_watch(void *data, apr_pool_t *pool)
{
    checks_t *checks = data;
    watch_t *watch = apr_pcalloc(pool, sizeof(*watch));
    rpc_resolver_params_t params = { .log = &watch->log };
    apr_status_t rv = rpc_loop_create(&watch->loop, pool);

    watch->checks = checks;
    watch->log = rpc_server_log(checks->s);
    watch->begin.run = begin_check;
    watch->bell = (rpc_watch_t){ rpc_watchdog_bell(), bell_rings };
    if (rv == APR_SUCCESS)
        rv = rpc_resolver_make(&watch->resolver, &params, pool);
    if (rv == APR_SUCCESS)
        rv = rpc_watch_add(watch->loop, &watch->bell);
    if (rv != APR_SUCCESS)
        return rv;
    watch->probings = apr_pcalloc(pool, sizeof(*watch->probings) * (apr_size_t)checks->list->nelts);
    rpc_loop_post(watch->loop, &watch->begin);
    rpc_loop_run(watch->loop);
    end_checks(watch);
    return APR_SUCCESS;
}

/* ---- beginning and end ---- */

int rpc_check_possible(server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);

    if (!rpc_config_check(sc, NULL, NULL) || rpc_watchdog_possible())
        return 1;
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s,
                 RPCNO(0021) "RpcHealthCheck needs mod_watchdog: add \"LoadModule "
                 "watchdog_module modules/mod_watchdog.so\"");
    return 0;
}

static checks_t *make_checks(apr_pool_t *pconf, server_rec *s, rpc_health_t *health)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    const rpc_dir_config_t *main_server = ap_get_module_config(s->lookup_defaults,
                                                               &rpcproxy_module);
    const apr_array_header_t *named = rpc_servers_named(pconf);
    checks_t *checks = apr_pcalloc(pconf, sizeof(*checks));
    int i;

    checks->s = s;
    checks->health = health;
    checks->list = apr_array_make(pconf, 8, sizeof(check_t));
    checks->handshake = rpc_config_check(sc, &checks->interval, &checks->timeout)
                     >= RPC_CHECK_HANDSHAKE;
    for (i = 0; named && i < named->nelts; i++)
        add_named(checks, &APR_ARRAY_IDX(named, i, rpc_named_server_t), main_server);
    return checks;
}

apr_status_t rpc_check_start(apr_pool_t *pconf, server_rec *s, rpc_health_t *health)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    checks_t *checks;

    if (!rpc_config_check(sc, NULL, NULL))
        return APR_SUCCESS;
    checks = make_checks(pconf, s, health);
    if (!checks->list->nelts)
        return APR_SUCCESS;
    checks->watchdog = (rpc_watchdog_t){ WATCHDOG, checks->interval, keep_watch, .data = checks };
    return rpc_watchdog_start(pconf, s, &checks->watchdog);
}
