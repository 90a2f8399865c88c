/* httpd/engine.c: a worker thread hands a connection to one of the loops in turn; the channel
 * itself moves on to the loop of its cookie (rpc_channel.c). To end, each loop gets one job
 * that ends its channels and stops the loop when the last connection of all is gone (those that
 * came to one loop may be on another), or after a moment.
 */
#include "httpd/engine.h"
#include "httpd/conn.h"
#include "httpd/server_log.h"
#include "httpd/module.h"

#include <apr_allocator.h>
#include <apr_atomic.h>
#include <http_main.h>

#define LAST_MOMENT apr_time_from_sec(1)
#define LAST_LOOK apr_time_from_msec(10)

/* What one loop has. */
typedef struct engine_loop {
    rpc_engine_t *engine;
    rpc_loop_t *loop;
    rpc_proxy_t *proxy;
    rpc_conn_home_t home;
    rpc_job_t retire;               /* graceful: sets the timer */
    rpc_job_t finish;               /* ends the channels and the loop */
    rpc_timer_t grace, last_look;
    apr_time_t deadline;
} engine_loop_t;

struct rpc_engine {
    int count;
    engine_loop_t *loops;
    rpc_proxy_t **proxies;
    rpc_dialer_t dialer;
    rpc_log_t log;                  /* of the resolver */
    volatile apr_uint32_t turn;     /* of the loops, for the next hand-over */
    volatile apr_uint32_t retiring, finishing;
    volatile apr_uint32_t alive;    /* connections not quite gone, on whichever loop they are by now */
    apr_interval_time_t grace_time;
};

static void arrived(rpc_stream_t *stream, request_rec *r, void *ctx)
{
    engine_loop_t *el = ctx;
    rpc_channel_spec_t *spec = ap_get_module_config(r->request_config, &rpcproxy_module);

    rpc_channel_start(el->proxy, stream, spec);
}

int rpc_engine_hand_over(rpc_engine_t *engine, request_rec *r, const rpc_channel_spec_t *spec)
{
    engine_loop_t *el;
    int rv = HTTP_SERVICE_UNAVAILABLE;

    /* Counted, then looked; a loop that ends has that set, then looks at the count. So it either
     * stays for this connection, or the connection stays away. */
    apr_atomic_inc32(&engine->alive);
    if (!apr_atomic_read32(&engine->retiring) && !apr_atomic_read32(&engine->finishing)) {
        el = &engine->loops[apr_atomic_inc32(&engine->turn) % (apr_uint32_t)engine->count];
        ap_set_module_config(r->request_config, &rpcproxy_module, (void *)spec);
        rv = rpc_conn_hand_over(r, &el->home, spec->content_length, spec->role == RPC_OUTBOUND);
    }
    apr_atomic_dec32(&engine->alive);
    return rv;
}

/* ---- the end ---- */

static void last_look(rpc_timer_t *timer)
{
    engine_loop_t *el = RPC_OWNER_OF(timer, engine_loop_t, last_look);
    apr_time_t now = rpc_loop_now(el->loop);

    /* Again and again: a connection handed over at the last moment ends here, too. */
    rpc_proxy_end_all(el->proxy, RPC_REASON_SHUTDOWN);
    if (!apr_atomic_read32(&el->engine->alive) || now >= el->deadline)
        rpc_loop_stop(el->loop);
    else
        rpc_timer_set(el->loop, timer, now + LAST_LOOK);
}

static void finish(rpc_job_t *job)
{
    engine_loop_t *el = RPC_OWNER_OF(job, engine_loop_t, finish);

    el->deadline = rpc_loop_now(el->loop) + LAST_MOMENT;
    last_look(&el->last_look);
}

static void grace_over(rpc_timer_t *timer)
{
    engine_loop_t *el = RPC_OWNER_OF(timer, engine_loop_t, grace);

    rpc_proxy_end_all(el->proxy, RPC_REASON_SHUTDOWN);
}

static void retire(rpc_job_t *job)
{
    engine_loop_t *el = RPC_OWNER_OF(job, engine_loop_t, retire);

    if (el->engine->grace_time)
        rpc_timer_set(el->loop, &el->grace, rpc_loop_now(el->loop) + el->engine->grace_time);
}

void rpc_engine_retire(rpc_engine_t *engine, int graceful, apr_interval_time_t grace)
{
    volatile apr_uint32_t *once = graceful ? &engine->retiring : &engine->finishing;
    int i;

    engine->grace_time = grace;
    if (apr_atomic_cas32(once, 1, 0) != 0)
        return;
    for (i = 0; i < engine->count; i++) {
        engine_loop_t *el = &engine->loops[i];

        rpc_loop_post(el->loop, graceful ? &el->retire : &el->finish);
    }
}

/* Before the pools of the MPM, which the connections are in, go. */
static apr_status_t engine_end(void *data)
{
    rpc_engine_t *engine = data;
    int i;

    rpc_engine_retire(engine, 0, 0);
    for (i = 0; i < engine->count; i++)
        rpc_loop_join(engine->loops[i].loop);
    return APR_SUCCESS;
}

/* ---- the beginning ---- */

/* A loop's cookie tables grow on its thread, so it has a pool, and an allocator, of its own. */
static apr_status_t make_loop_pool(apr_pool_t **pool, apr_pool_t *parent)
{
    apr_allocator_t *allocator;
    apr_status_t rv = apr_allocator_create(&allocator);

    if (rv == APR_SUCCESS)
        rv = apr_pool_create_ex(pool, parent, NULL, allocator);
    if (rv == APR_SUCCESS)
        apr_allocator_owner_set(allocator, *pool);
    return rv;
}

static apr_status_t make_loop(rpc_engine_t *engine, int i, apr_pool_t *parent)
{
    engine_loop_t *el = &engine->loops[i];
    apr_pool_t *pool;
    apr_status_t rv = make_loop_pool(&pool, parent);

    if (rv == APR_SUCCESS)
        rv = rpc_loop_create(&el->loop, pool);
    if (rv != APR_SUCCESS)
        return rv;
    el->engine = engine;
    el->proxy = engine->proxies[i] = rpc_proxy_create(el->loop, &engine->dialer, engine->proxies,
                                                      (unsigned)engine->count, pool);
    el->home = (rpc_conn_home_t){ el->loop, &engine->alive, &engine->finishing, arrived, el };
    el->retire.run = retire;
    el->finish.run = finish;
    el->grace.fire = grace_over;
    el->last_look.fire = last_look;
    return APR_SUCCESS;
}

apr_status_t rpc_engine_start(rpc_engine_t **out, int threads, rpc_health_t *health,
                              apr_pool_t *pool)
{
    rpc_engine_t *engine = apr_pcalloc(pool, sizeof(*engine));
    apr_status_t rv;
    int i;

    engine->count = threads;
    engine->loops = apr_pcalloc(pool, sizeof(*engine->loops) * (apr_size_t)threads);
    engine->proxies = apr_pcalloc(pool, sizeof(*engine->proxies) * (apr_size_t)threads);
    engine->dialer.health = health;
    engine->log = rpc_server_log(ap_server_conf);
    rv = rpc_resolver_make(&engine->dialer.resolver, &(rpc_resolver_params_t){ .log = &engine->log }, pool);
    for (i = 0; rv == APR_SUCCESS && i < threads; i++)
        rv = make_loop(engine, i, pool);
    for (i = 0; rv == APR_SUCCESS && i < threads; i++)
        rv = rpc_loop_start(engine->loops[i].loop);
    apr_pool_pre_cleanup_register(pool, engine, engine_end);
    *out = engine;
    return rv;
}
