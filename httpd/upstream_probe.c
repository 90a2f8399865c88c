/* httpd/upstream_probe.c: the probes of a round run side by side, each on a thread of its own, so
 * that a proxy that hangs delays no other; the watchdog's thread, which may wait, waits for all.
 * They connect as a request does (httpd/upstream_connect.h), by a request that nobody has sent.
 *
 * mod_proxy cannot be interrupted while it looks up a name or connects. So when the child ends, the
 * round leaves its probes behind, each with all that it uses.
 */
#include "httpd/upstream_probe.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <apr_fnmatch.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_log.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "base/thread.h"
#include "httpd/detach.h"
#include "httpd/module.h"
#include "httpd/upstream_config.h"
#include "httpd/upstream_connect.h"
#include "httpd/watchdog.h"

APLOG_USE_MODULE(rpcproxy);

#define WATCHDOG "_rpcproxy_echo_"
#define ECHO_PATH "/rpc/rpcproxy.dll"
#define AT_ONCE 32              /* threads */

/* Of one configuration. */
typedef struct probes {
    const apr_array_header_t *places;   /* rpc_upstream_place_t */
    char *fails;                /* for each place that is no balancer: the last probe has failed */
    apr_interval_time_t timeout;
    rpc_watchdog_t watchdog;
} probes_t;

/* ---- one probe ---- */

static int is_for(const proxy_dir_conf *section, const char *url)
{
    return section->r ? ap_regexec(section->r, url, 0, NULL, 0) == 0
           : section->p_is_fnmatch ? apr_fnmatch(section->p, url, 0) == APR_SUCCESS
           : strncmp(section->p, url, strlen(section->p)) == 0;
}

/* What a request for URL finds: the settings of the server, and of the <Proxy> sections, in which
 * the certificates may be. */
static ap_conf_vector_t *settings_for(apr_pool_t *pool, const rpc_upstream_place_t *to)
{
    const rpc_proxy_api_t *api = rpc_proxy_api();
    const apr_array_header_t *all = rpc_proxy_server_conf(api, to->server)->sec_proxy;
    const char *url = apr_pstrcat(pool, to->name, *to->path ? to->path : ECHO_PATH, NULL);
    ap_conf_vector_t *settings = to->server->lookup_defaults;
    int i;

    for (i = 0; i < all->nelts; i++) {
        ap_conf_vector_t *section = APR_ARRAY_IDX(all, i, ap_conf_vector_t *);

        if (is_for(rpc_proxy_dir_conf(api, section), url))
            settings = ap_merge_per_dir_configs(pool, settings, section);
    }
    return settings;
}

/* What mod_proxy and mod_ssl want to see of a request. */
static request_rec *make_request(apr_pool_t *pool, const rpc_upstream_place_t *to)
{
    server_rec *s = to->server;
    request_rec *r = apr_pcalloc(pool, sizeof(*r));

    r->pool = pool;
    r->server = s;
    r->connection = rpc_detach_nobody(pool, s);
    r->connection->notes = apr_table_make(pool, 2);
    r->connection->client_ip = "127.0.0.1";
    r->per_dir_config = settings_for(pool, to);
    r->request_config = ap_create_request_config(pool);
    r->headers_in = apr_table_make(pool, 2);
    r->headers_out = apr_table_make(pool, 2);
    r->err_headers_out = apr_table_make(pool, 2);
    r->subprocess_env = apr_table_make(pool, 2);
    r->notes = apr_table_make(pool, 2);
    r->method = "RPC_IN_DATA";
    r->uri = r->unparsed_uri = r->the_request = "";
    r->hostname = s->server_hostname;
    r->useragent_ip = r->connection->client_ip;
    r->proxyreq = PROXYREQ_REVERSE;
    r->status = HTTP_OK;
    return r;
}

/* An RPC proxy says 200, or asks for a password. NULL: it does. */
static const char *ask_echo(request_rec *r, rpc_stream_t *stream, const proxy_worker *worker,
                            const char *path, apr_time_t until)
{
    const char *text = apr_pstrcat(r->pool, "RPC_IN_DATA ", *path ? path : ECHO_PATH,
                                   " HTTP/1.1\r\nHost: ", worker->s->hostname_ex,
                                   "\r\nAccept: application/rpc\r\nUser-Agent: MSRPC\r\n"
                                   "Content-Length: 0\r\nConnection: close\r\n\r\n", NULL);
    char line[13] = "";
    size_t have = 0;
    apr_status_t rv = rpc_secure_send(stream, text, strlen(text), until);

    while (rv == APR_SUCCESS && have < sizeof(line) - 1) {
        size_t len = sizeof(line) - 1 - have;

        rv = rpc_secure_receive(stream, line + have, &len, until);
        have += rv == APR_SUCCESS ? len : 0;
    }
    if (rv != APR_SUCCESS)
        return APR_STATUS_IS_TIMEUP(rv) ? "it does not answer in time" : "it closes the connection";
    if (strncmp(line, "HTTP/1.", 7) == 0
        && (strcmp(line + 8, " 200") == 0 || strcmp(line + 8, " 401") == 0))
        return NULL;
    return apr_pstrcat(r->pool, "it answers ", ap_escape_logitem(r->pool, line), NULL);
}

/* A worker of our own for the server of MEMBER, as mod_proxy connects to none that is out of use.
 * It lives in POOL. */
static proxy_worker *make_worker(apr_pool_t *pool, const probes_t *probes, server_rec *s,
                                 const proxy_worker *member)
{
    const rpc_proxy_api_t *api = rpc_proxy_api();
    proxy_worker *worker = NULL;

    if (api->ap_proxy_define_worker(pool, &worker, NULL, NULL, rpc_proxy_worker_url(member), 0)
        != NULL)
        return NULL;
    worker->s->status |= PROXY_WORKER_IGNORE_ERRORS | PROXY_WORKER_GENERIC;
    worker->s->conn_timeout_set = worker->s->timeout_set = 1;
    worker->s->conn_timeout = worker->s->timeout = probes->timeout;
    worker->s->port = member->s->port;
    return api->ap_proxy_initialize_worker(worker, s, pool) == APR_SUCCESS ? worker : NULL;
}

/* In its own pool, which the thread shares with nobody and frees when it has been left behind. */
typedef struct probe {
    apr_pool_t *pool;
    int over;                   /* for its thread, or for the round that no longer waits: atomic */
    const probes_t *probes;
    const rpc_upstream_place_t *to;
    proxy_worker *member;       /* of a balancer, or the only one */
    char *fails;                /* of the only one; NULL: a balancer's status says so */
    request_rec *r;
    rpc_upstream_way_t way;
    rpc_tls_kind_t tls;
    const char *why;            /* it has failed */
} probe_t;

static int overs = -1;          /* an eventfd: probes that are over. It stays open. */

static const char *do_probe(const probe_t *p)
{
    apr_interval_time_t timeout = p->probes->timeout;
    const char *why = NULL;
    rpc_reason_t reason;
    rpc_stream_t *stream = rpc_upstream_connect(p->r, &p->way, &p->tls, &reason, &why);

    if (stream) {
        why = ask_echo(p->r, stream, p->member, p->to->path, rpc_clock_now() + timeout);
        rpc_secure_drop(stream);
    }
    else if (reason == RPC_REASON_LOCAL_FAILURE)
        why = NULL;             /* this machine cannot ask */
    return why;
}

/* The first to come here, the probe's thread or the round, gets 0, and the other may free it. */
static int is_over(probe_t *p)
{
    return __atomic_exchange_n(&p->over, 1, __ATOMIC_ACQ_REL);
}

static void *run_probe(void *data)
{
    probe_t *p = data;
    uint64_t one = 1;

    p->why = do_probe(p);
    if (is_over(p))
        apr_pool_destroy(p->pool);
    else
        while (write(overs, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    return NULL;
}

/* ---- all of them ---- */

static apr_status_t free_method(void *method)
{
    BIO_meth_free(method);
    return APR_SUCCESS;
}

/* The engine's ends with the child. */
static BIO_METHOD *make_method(apr_pool_t *pool)
{
    BIO_METHOD *method = rpc_tls_method();

    if (method)
        apr_pool_cleanup_register(pool, method, free_method, apr_pool_cleanup_null);
    return method;
}

static void add_probe(const probes_t *probes, apr_array_header_t *round,
                      const rpc_upstream_place_t *to, proxy_worker *member, char *fails)
{
    apr_pool_t *pool;
    probe_t *p;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS)
        return;
    p = apr_palloc(pool, sizeof(*p));
    *p = (probe_t){ .pool = pool, .probes = probes, .to = to, .member = member, .fails = fails };
    p->r = make_request(pool, to);
    p->way = (rpc_upstream_way_t){
        .worker = make_worker(pool, probes, to->server, member),
        .conf = rpc_proxy_server_conf(rpc_proxy_api(), to->server),
        .url = apr_pstrcat(pool, rpc_proxy_worker_url(member), "/", NULL),
    };
    p->tls = (rpc_tls_kind_t){ make_method(pool), p->r->connection };
    if (p->way.worker && p->tls.method)
        APR_ARRAY_PUSH(round, probe_t *) = p;
    else
        apr_pool_destroy(pool);
}

static void add_probes(const probes_t *probes, apr_array_header_t *round, int index)
{
    const rpc_proxy_api_t *api = rpc_proxy_api();
    const rpc_upstream_place_t *to = &APR_ARRAY_IDX(probes->places, index, rpc_upstream_place_t);
    proxy_server_conf *conf = rpc_proxy_server_conf(api, to->server);
    proxy_balancer *balancer = api->ap_proxy_get_balancer(round->pool, conf, to->name, 0);
    proxy_worker *only;
    int i;

    for (i = 0; balancer && i < balancer->workers->nelts; i++)
        add_probe(probes, round, to, APR_ARRAY_IDX(balancer->workers, i, proxy_worker *), NULL);
    if (balancer || !(only = api->ap_proxy_get_worker(round->pool, NULL, conf, to->name)))
        return;
    add_probe(probes, round, to, only, &probes->fails[index]);
}

/* Whether the probe before has failed. A member that fails is out of use; the only one is not, for
 * there is none that could be used instead. */
static int note_result(const probe_t *p)
{
    unsigned fails = PROXY_WORKER_HC_FAIL;
    unsigned *status = &p->member->s->status;
    int before;

    if (!p->fails)
        return ((p->why ? __atomic_fetch_or(status, fails, __ATOMIC_RELAXED)
                        : __atomic_fetch_and(status, ~(fails | PROXY_WORKER_IN_ERROR),
                                             __ATOMIC_RELAXED)) & fails) != 0;
    before = *p->fails;
    *p->fails = p->why != NULL;
    return before;
}

static void report(const probe_t *p)
{
    int before = note_result(p);

    if (p->why && !before)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, p->to->server,
                     RPCNO(0022) "health check: the proxy at %s: %s; %s",
                     rpc_proxy_worker_url(p->member), p->why,
                     p->fails ? "requests still go there, for it is the only one"
                              : "it is avoided until a check succeeds");
    else if (!p->why && before)
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, p->to->server,
                     RPCNO(0023) "health check: the proxy at %s answers again",
                     rpc_proxy_worker_url(p->member));
}

/* Until COUNT probes are over, or this child ends. */
static void await_probes(int count)
{
    struct pollfd fds[] = { { .fd = overs, .events = POLLIN },
                            { .fd = rpc_watchdog_bell(), .events = POLLIN } };
    uint64_t some;

    while (count > 0 && !rpc_watchdog_ends())
        if (poll(fds, 2, -1) > 0 && read(overs, &some, sizeof(some)) == sizeof(some))
            count -= (int)some;
}

/* What no thread can be made for is not asked this time. Returns why, if that is so. */
static apr_status_t run_some(probe_t **some, int count)
{
    int i, started[AT_ONCE], all = 0;
    apr_status_t rv = APR_SUCCESS;

    for (i = 0; i < count; i++) {
        int error = rpc_thread_start_detached(run_probe, some[i]);

        all += started[i] = error == 0;
        rv = error ? error : rv;
    }
    await_probes(all);
    for (i = 0; i < count; i++) {
        if (started[i] && !is_over(some[i]))
            continue;           /* it is left behind */
        if (started[i])
            report(some[i]);
        apr_pool_destroy(some[i]->pool);
    }
    return rv;
}

static apr_status_t make_round(void *data, apr_pool_t *pool)
{
    const probes_t *probes = data;
    apr_array_header_t *round = apr_array_make(pool, AT_ONCE, sizeof(probe_t *));
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (overs < 0 && (overs = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return errno;
    for (i = 0; i < probes->places->nelts; i++)
        add_probes(probes, round, i);
    for (i = 0; i < round->nelts && rv == APR_SUCCESS && !rpc_watchdog_ends(); i += AT_ONCE)
        rv = run_some(&APR_ARRAY_IDX(round, i, probe_t *),
                      round->nelts - i < AT_ONCE ? round->nelts - i : AT_ONCE);
    for (; i < round->nelts; i++)
        apr_pool_destroy(APR_ARRAY_IDX(round, i, probe_t *)->pool);
    return rv;
}

apr_status_t rpc_upstream_probe_start(apr_pool_t *pconf, server_rec *s)
{
    const rpc_server_config_t *sc = ap_get_module_config(s->module_config, &rpcproxy_module);
    probes_t *probes = apr_pcalloc(pconf, sizeof(*probes));
    apr_interval_time_t interval;

    probes->places = rpc_upstream_places(pconf);
    if (rpc_config_check(sc, &interval, &probes->timeout) != RPC_CHECK_ECHO || !probes->places)
        return APR_SUCCESS;
    probes->fails = apr_pcalloc(pconf, (apr_size_t)probes->places->nelts);
    probes->watchdog = (rpc_watchdog_t){ WATCHDOG, interval, make_round, .data = probes };
    return rpc_watchdog_start(pconf, s, &probes->watchdog);
}
