/* httpd/upstream_member.c: a client's halves, and the legs of its handshake, belong to one member
 * of a balancer. Both halves find it by a hash of the client's address and the target; legs find it
 * by the connection that they own.
 */
#include "httpd/upstream_member.h"

#include <ap_provider.h>
#include <apr_strings.h>
#include <http_protocol.h>

#include "base/clock.h"
#include "httpd/front.h"
#include "httpd/module.h"
#include "httpd/request_target.h"
#include "target/order.h"

/* ---- the connection that is kept ---- */

/* In the pool of the client's connection. */
typedef struct kept {
    rpc_stream_t *stream;       /* NULL: none */
    proxy_worker *worker;
    server_rec *server;
    const char *user;           /* whom we have authenticated; "": nobody */
} kept_t;

static const char kept_key[] = "rpcproxy-kept";

static kept_t *kept_of(const conn_rec *c)
{
    void *kept = NULL;

    apr_pool_userdata_get(&kept, kept_key, c->pool);
    return kept;
}

static apr_status_t close_kept(void *data)
{
    kept_t *kept = data;

    if (kept->stream)
        rpc_secure_drop(kept->stream);
    kept->stream = NULL;
    return APR_SUCCESS;
}

void rpc_upstream_keep(request_rec *r, proxy_worker *worker, rpc_stream_t *stream)
{
    conn_rec *c = r->connection;
    kept_t *kept = kept_of(c);

    if (!kept) {
        kept = apr_pcalloc(c->pool, sizeof(*kept));
        apr_pool_userdata_setn(kept, kept_key, NULL, c->pool);
        apr_pool_cleanup_register(c->pool, kept, close_kept, apr_pool_cleanup_null);
    }
    close_kept(kept);
    kept->stream = stream;
    kept->worker = worker;
    kept->server = r->server;
    if (!kept->user || strcmp(kept->user, r->user ? r->user : "") != 0)
        kept->user = apr_pstrdup(c->pool, r->user ? r->user : "");
}

/* Whoever is behind us has nothing to say between two requests. */
static int is_quiet(rpc_stream_t *stream)
{
    char byte;
    size_t len = 1;

    return APR_STATUS_IS_TIMEUP(rpc_secure_receive(stream, &byte, &len, rpc_clock_now()));
}

/* Is what R's connection owns for R? */
static int is_for(const kept_t *kept, request_rec *r, const proxy_worker *worker)
{
    return kept->worker == worker && kept->server == r->server
        && strcmp(kept->user, r->user ? r->user : "") == 0 && !rpc_front_shares(r);
}

rpc_stream_t *rpc_upstream_kept(request_rec *r, const proxy_worker *worker)
{
    kept_t *kept = kept_of(r->connection);
    rpc_stream_t *stream;

    if (!kept || !kept->stream)
        return NULL;
    if (!is_for(kept, r, worker) || !is_quiet(kept->stream)) {
        close_kept(kept);
        return NULL;
    }
    stream = kept->stream;
    kept->stream = NULL;
    return stream;
}

/* ---- members of a balancer ---- */

/* mod_proxy counts with the pool of the request, which a channel outlives. Its numbers lie in
 * shared memory. */
void rpc_upstream_begins(proxy_worker *worker)
{
    __atomic_fetch_add(&worker->s->busy, 1, __ATOMIC_RELAXED);
}

void rpc_upstream_left(void *data, const rpc_end_t *end)
{
    proxy_worker_shared *shared = ((proxy_worker *)data)->s;

    __atomic_fetch_sub(&shared->busy, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&shared->transferred, (apr_off_t)end->to_upstream, __ATOMIC_RELAXED);
    __atomic_fetch_add(&shared->read, (apr_off_t)end->from_upstream, __ATOMIC_RELAXED);
}

static apr_status_t not_busy(void *worker)
{
    static const rpc_end_t nothing;

    rpc_upstream_left(worker, &nothing);
    return APR_SUCCESS;
}

static int is_member(const proxy_balancer *balancer, const proxy_worker *worker)
{
    int i;

    for (i = 0; i < balancer->workers->nelts; i++)
        if (APR_ARRAY_IDX(balancer->workers, i, proxy_worker *) == worker)
            return 1;
    return 0;
}

/* What a balancer would choose anew for each request is chosen already. */
static int keep_member(proxy_worker **worker, proxy_balancer **balancer, request_rec *r,
                       proxy_server_conf *conf, char **url)
{
    static const char scheme[] = "balancer://";
    const kept_t *kept = kept_of(r->connection);
    proxy_balancer *asked;
    const char *path;

    if (!kept || !kept->stream || *balancer || rpc_request_kind(r).role < 0
        || ap_cstr_casecmpn(*url, scheme, sizeof(scheme) - 1) != 0)
        return DECLINED;
    asked = rpc_proxy_api()->ap_proxy_get_balancer(r->pool, conf, *url, 1);
    path = strchr(*url + sizeof(scheme) - 1, '/');
    if (!asked || !is_member(asked, kept->worker) || !is_for(kept, r, kept->worker) || !path)
        return DECLINED;
    *worker = kept->worker;
    *balancer = asked;
    *url = apr_pstrcat(r->pool, rpc_proxy_worker_url(kept->worker), path, NULL);
    __atomic_fetch_add(&kept->worker->s->elected, 1, __ATOMIC_RELAXED);
    rpc_upstream_begins(kept->worker);
    apr_pool_cleanup_register(r->pool, kept->worker, not_busy, apr_pool_cleanup_null);
    return OK;
}

/* ---- lbmethod=rpctarget ---- */

static double draw(const proxy_worker *worker, const char *key)
{
    return rpc_route_draw(worker->s->hostname_ex, worker->s->port, worker->s->lbfactor, key);
}

static int is_better(proxy_worker *worker, proxy_worker *best, void *key)
{
    return !best || draw(worker, key) < draw(best, key);
}

static proxy_worker *find_member(proxy_balancer *balancer, request_rec *r)
{
    char *key = apr_pstrcat(r->pool, r->useragent_ip, "\n", r->args, NULL);

    return rpc_proxy_api()->ap_proxy_balancer_get_best_worker(balancer, r, is_better, key);
}

static apr_status_t reset(proxy_balancer *balancer, server_rec *s)
{
    return APR_SUCCESS;
}

void rpc_upstream_member_register(apr_pool_t *p)
{
    static const proxy_balancer_method method = { "rpctarget", find_member, NULL, reset, reset,
                                                  NULL };

    ap_register_provider(p, PROXY_LBMETHOD, method.name, "0", &method);
}

void rpc_upstream_member_hook(const rpc_proxy_api_t *api)
{
    api->proxy_hook_pre_request(keep_member, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
