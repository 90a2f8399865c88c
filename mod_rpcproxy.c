/* mod_rpcproxy.c: RPC over HTTP ([MS-RPCH]) for httpd: the module record, and the server's life.
 *
 *   httpd/directives, config    what is configured
 *   httpd/handler               what a request may ask for; httpd/request_channel: as a channel
 *   httpd/upstream              requests that go on to an RPC proxy behind us, by mod_proxy
 *   httpd/engine, detach        I/O threads, and how a connection leaves httpd for one of them
 *   rpc_channel, proxy/         a connection becomes a channel, and the proxy roles
 *   endpoint/                   the server role, in a process of its own (httpd/endpoint_parent)
 */
#include "httpd/module.h"

#include <signal.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_shm.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <http_protocol.h>
#include <mpm_common.h>

#include "base/message_id.h"
#include "base/version.h"
#include "httpd/config.h"
#include "httpd/detach.h"
#include "httpd/directives.h"
#include "httpd/endpoint_listen.h"
#include "httpd/endpoint_parent.h"
#include "httpd/engine.h"
#include "httpd/farm_exchange.h"
#include "httpd/farm_guesses.h"
#include "httpd/handler.h"
#include "httpd/health_check.h"
#include "httpd/interned.h"
#include "httpd/log_record.h"
#include "httpd/mpm_limits.h"
#include "httpd/named_servers.h"
#include "httpd/passed.h"
#include "httpd/prefork_stop.h"
#include "httpd/require.h"
#include "httpd/section_check.h"
#include "httpd/session_cache.h"
#include "httpd/status_actions.h"
#include "httpd/status_auto.h"
#include "httpd/status_page.h"
#include "httpd/upstream.h"
#include "httpd/upstream_check.h"
#include "httpd/upstream_config.h"
#include "httpd/upstream_probe.h"
#include "httpd/watchdog.h"
#include "shared/channel_table.h"

static rpc_context_t context;

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    rpc_directives_reset();
    rpc_upstream_hook();
    ap_method_register(pconf, "RPC_IN_DATA");
    ap_method_register(pconf, "RPC_OUT_DATA");
    ap_method_register(pconf, "RPC_CONNECT");
    ap_method_register(pconf, "RDG_IN_DATA");
    ap_method_register(pconf, "RDG_OUT_DATA");
    return OK;
}

/* RpcProtocolVersions of the main server is that of RpcEndpointListen. */
static apr_array_header_t *with_versions(apr_array_header_t *listen, int versions)
{
    int i;

    for (i = 0; listen && i < listen->nelts; i++)
        APR_ARRAY_IDX(listen, i, rpc_listen_t).version1 = versions & RPC_V1;
    return listen;
}

/* The networks of RpcTargetNetworks, with those that the servers of RpcEndpointListen need: the
 * configuration itself names these servers. */
static const char *endpoint_networks(apr_pool_t *pool, const rpc_networks_t *networks,
                                     const apr_array_header_t *listen)
{
    int i;

    for (i = 0; listen && i < listen->nelts; i++)
        networks = rpc_networks_with(pool, networks, APR_ARRAY_IDX(listen, i, rpc_listen_t).host);
    return rpc_networks_text(networks);
}

static rpc_endpointd_params_t endpoint_params(apr_pool_t *pool, server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    const rpc_dir_config_t *dc = ap_get_module_config(s->lookup_defaults, &rpcproxy_module);

    return (rpc_endpointd_params_t){
        .wanted = rpc_directives_need_endpoint() || sc->endpoint_listen,
        .socket = sc->endpoint_socket,
        .listen = with_versions(sc->endpoint_listen, rpc_config_versions(dc)),
        .receive_window = rpc_config_receive_window(dc),
        .setup_timeout = rpc_config_setup_timeout(dc),
        .connect_timeout = rpc_config_connect_timeout(dc),
        .graceful_timeout = rpc_config_graceful_timeout(sc),
        .networks = endpoint_networks(pool, dc->networks, sc->endpoint_listen),
        .sources = rpc_sources_text(dc->sources),
        .health = context.health,
        .live = context.live,
        .sums = context.sums,
    };
}

static apr_status_t prepare_endpoint(apr_pool_t *pconf, server_rec *s, int first_pass)
{
    const rpc_endpointd_params_t params = endpoint_params(pconf, s);

    return first_pass ? rpc_endpointd_listen(s, &params)
                      : rpc_endpointd_start(pconf, s, &params);
}

/* The tables are made at the first start, and httpd keeps them over restarts. The number in their
 * name stands for their layout: when a restart loads another version of the module, that version
 * must not use tables that an older one has left. */
static apr_status_t prepare_status(server_rec *s)
{
    static const char name[] = "rpcproxy-status-17";
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    rpc_context_t *kept = ap_retained_data_get(name);
    apr_status_t rv = APR_SUCCESS;
    apr_shm_t *shm;

    if (!kept) {
        kept = ap_retained_data_create(name, sizeof(*kept));
        rv = rpc_status_create(&kept->live, s->process->pool);
        if (rv == APR_SUCCESS)
            rv = apr_shm_create(&shm, rpc_health_size(), NULL, s->process->pool);
        if (rv == APR_SUCCESS)      /* anonymous, so zeroed */
            kept->health = rpc_health_init(apr_shm_baseaddr_get(shm));
        if (rv == APR_SUCCESS)
            rv = rpc_budget_create(&kept->budgets, s->process->pool);
        if (rv == APR_SUCCESS)
            rv = rpc_board_create(&kept->board, RPC_STATUS_ROWS, s->process->pool);
        if (rv == APR_SUCCESS)
            rv = rpc_sums_create(&kept->sums, s->process->pool);
        if (rv == APR_SUCCESS)
            rv = rpc_tally_create(&kept->tally, s->process->pool);
        if (rv == APR_SUCCESS)
            rv = rpc_mishaps_create(&kept->mishaps, s->process->pool);
        if (rv == APR_SUCCESS)
            rv = rpc_status_actions_create(kept);
        if (rv == APR_SUCCESS)
            rv = apr_shm_create(&shm, sizeof(*kept->room), NULL, s->process->pool);
        if (rv == APR_SUCCESS)
            kept->room = apr_shm_baseaddr_get(shm);
    }
    if (rv == APR_SUCCESS && sc->stores && !kept->farm)
        rv = rpc_farm_create(&kept->farm, s->process->pool);
    context = *kept;
    return rv;
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const rpc_endpointd_params_t params = endpoint_params(ptemp, s);

    rpc_upstream_check(pconf, s);
    if (!rpc_check_possible(s) || !rpc_exchange_possible(s) || !rpc_detach_possible(ptemp, s)
        || !rpc_record_possible(s) || !rpc_upstream_verified(ptemp, s))
        return HTTP_INTERNAL_SERVER_ERROR;
    /* Only configtest tries the addresses of the endpoint: a start uses them anyway, and a restart
     * continues without those that fail. */
    if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_CONFIG_TEST)
        return OK;
    return rpc_endpointd_check(ptemp, s, &params) ? HTTP_INTERNAL_SERVER_ERROR : OK;
}

/* Only configtest looks up names, because a start should not wait for the DNS. */
static void test_config(apr_pool_t *pconf, server_rec *s)
{
    rpc_servers_check_networks(pconf, ap_get_module_config(s->lookup_defaults, &rpcproxy_module));
    rpc_servers_check_names(pconf);
    rpc_sections_check(pconf, s);
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    int first_pass = ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG;
    apr_status_t rv;

    if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL)
        return OK;
    /* Shown in httpd's line at start-up and on its status page. Clients see it only with
     * ServerTokens Full. */
    ap_add_version_component(pconf, "mod_rpcproxy/" RPCPROXY_VERSION);
    if (!first_pass) {
        rv = prepare_status(s);
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s,
                         RPCNO(0069) "no shared memory for the channel table");
            return HTTP_INTERNAL_SERVER_ERROR;
        }
        rpc_record_prepare(pconf);
        rpc_room_note(context.room);
        rpc_limits_check(s, rpc_config_max_channels(sc), context.room);
        rpc_servers_reserve(pconf, context.health);
        if (rpc_exchange_start(pconf, s, &context) != APR_SUCCESS)
            return HTTP_INTERNAL_SERVER_ERROR;  /* logged there */
    }
    if (prepare_endpoint(pconf, s, first_pass) != APR_SUCCESS
        || (!first_pass && rpc_check_start(pconf, s, context.health) != APR_SUCCESS)
        || (!first_pass && rpc_upstream_probe_start(pconf, s) != APR_SUCCESS))
        return HTTP_INTERNAL_SERVER_ERROR;      /* logged there */
    return OK;
}

/* ---- a child: its signals ---- */

/* Ends all channels at a signal from the parent. httpd's own threads wake each other with the same
 * signals; these come from this process and are ignored. */
static void parent_insists(int signal, siginfo_t *info, void *context_of_signal)
{
    if (context.engine && info->si_pid != getpid())
        rpc_engine_finish(context.engine);
}

static int is_threaded(void)
{
    int threaded = 0;

    return ap_mpm_query(AP_MPMQ_IS_THREADED, &threaded) == APR_SUCCESS && threaded;
}

/* With a parent: httpd -X has none. */
static int is_prefork_child(void)
{
    return !is_threaded() && !ap_exists_config_define("ONE_PROCESS");
}

/* httpd ignores signals in a child that retires, because its downloads may take long. But a stop of
 * the server must end the channels of this child, too. A threaded MPM installs its own handler when
 * its threads run already, perhaps after one of them has told us to retire: so once is not
 * enough. */
static void heed_parent(void)
{
    struct sigaction insists = { .sa_sigaction = parent_insists, .sa_flags = SA_SIGINFO };

    sigaction(SIGTERM, &insists, NULL);
    if (!is_threaded())     /* the threaded MPMs use SIGHUP otherwise, and never send it */
        sigaction(SIGHUP, &insists, NULL);
}

/* Prefork's child is to end when its connection has: the channels need not wait for that. */
static void told_to_stop(void)
{
    if (context.engine)
        rpc_engine_finish(context.engine);
}

/* ---- its beginning and its end ---- */

static apr_status_t start_threads(apr_pool_t *pchild, server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    rpc_engine_params_t params = {
        .threads = rpc_config_io_threads(sc),
        .grace = rpc_config_graceful_timeout(sc),
        .health = context.health,
        .room = context.room,
        .bell = context.bell,
        .heed_parent = heed_parent,
    };
    sigset_t all, before;
    apr_status_t rv;

    /* A child that is told to end while it starts destroys its pools in the signal's handler. So
     * signals are blocked while a thread has been made but is not yet recorded anywhere. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rv = rpc_record_start(pchild);
    if (rv == APR_SUCCESS)
        rv = rpc_passed_start(pchild);
    if (rv == APR_SUCCESS)
        rv = rpc_engine_start(&context.engine, &params, pchild);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rv;
}

static void child_stopping(apr_pool_t *pchild, int graceful)
{
    rpc_watchdog_end();
    if (!context.engine)
        return;
    /* Prefork does not tell us whether it is graceful. */
    if ((graceful || is_prefork_child()) && !rpc_prefork_stop_told()) {
        heed_parent();
        rpc_engine_retire(context.engine);
    }
    else
        rpc_engine_finish(context.engine);
}

/* A signal may still come after the pool of the engine is gone, until the process ends. */
static apr_status_t forget_engine(void *data)
{
    context.engine = NULL;
    return APR_SUCCESS;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_status_t rv;

    rpc_status_set_pid(context.live, (uint32_t)getpid());
    rpc_endpointd_child_init();
    rpc_interned_start(pchild);
    rv = rpc_watchdog_child_init(pchild);
    if (rv == APR_SUCCESS)
        rv = start_threads(pchild, s);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s,
                     RPCNO(0070) "cannot start the threads of the module");
        exit(APEXIT_CHILDSICK);
    }
    apr_pool_cleanup_register(pchild, NULL, forget_engine, apr_pool_cleanup_null);
    if (is_prefork_child())
        rpc_prefork_stop_child_init(told_to_stop);
    rpc_room_enter(context.room);
}

/* Of a child that has died without a word. */
static void lost_channel(void *ctx, int row)
{
    rpc_request_lost(&context, row);
}

static void child_gone(uint32_t pid)
{
    rpc_status_gone(context.live, pid, lost_channel, NULL);
    rpc_mishaps_gone(context.mishaps, pid);
    rpc_health_gone(context.health, pid);
}

static void child_status(server_rec *s, pid_t pid, ap_generation_t gen, int slot,
                         mpm_child_status state)
{
    if (state == MPM_CHILD_EXITED && context.live)
        child_gone((uint32_t)pid);
    else if (state == MPM_CHILD_STARTED)
        rpc_endpointd_child_started();
}

static int monitor(apr_pool_t *p, server_rec *s)
{
    rpc_endpointd_monitor();
    if (context.health)
        rpc_status_actions_monitor(&context, ap_server_conf);
    return DECLINED;
}

static void register_hooks(apr_pool_t *p)
{
    rpc_detach_register(p);
    rpc_prefork_stop_register(p);
    rpc_session_cache_register(p);
    rpc_record_register(p);
    rpc_require_register(p);
    rpc_handler_register(p, &context);
    rpc_status_page_register(p, &context);
    rpc_status_auto_register(p, &context);
    rpc_upstream_register(p, &context);
    rpc_farm_guesses_register(&context);
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_test_config(test_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_status(child_status, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_monitor(monitor, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(rpcproxy) = {
    STANDARD20_MODULE_STUFF,
    rpc_config_create_dir,
    rpc_config_merge_dir,
    rpc_config_create_server,
    rpc_config_merge_server,
    rpc_directives,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
