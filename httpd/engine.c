/* httpd/engine.c: a worker thread hands a connection to one of the loops in turn; the channel
 * itself moves on to the loop of its cookie (rpc_channel.c).
 *
 *   runs  ->  retires (channels live on, new ones come)  ->  ends (no more channels)  ->  finishes
 *
 * While the engine retires, its first loop checks several times a second whether its time is over,
 * or its last connection gone. To end, each loop ends its channels repeatedly, because a channel
 * that was handed over at the last moment may be on its way between loops. To finish, a loop also
 * stops when the last of all connections is gone, or after a moment.
 */
#include "httpd/engine.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <apr_allocator.h>
#include <apr_atomic.h>
#include <http_log.h>
#include <http_main.h>

#include "base/message_id.h"
#include "httpd/module.h"
#include "httpd/server_log.h"

APLOG_USE_MODULE(rpcproxy);

#define LOOK apr_time_from_msec(250)
#define LAST_MOMENT apr_time_from_sec(1)
#define LAST_LOOK apr_time_from_msec(10)
#define SESSION_LOOK apr_time_from_sec(1)

/* The state of one loop. */
typedef struct engine_loop {
    rpc_engine_t *engine;
    rpc_loop_t *loop;
    rpc_proxy_t *proxy;
    rpc_detach_home_t home;
    rpc_job_t end, finish;
    rpc_job_t heed;                 /* ends channels that have to end */
    volatile apr_uint32_t heeding;  /* it is queued */
    rpc_job_t sessions;             /* begins to look for sessions that are over */
    rpc_timer_t session_look;
    rpc_timer_t again;              /* ends channels that have arrived since */
    apr_time_t deadline;            /* of finishing */
} engine_loop_t;

struct rpc_engine {
    int count;
    engine_loop_t *loops;
    rpc_proxy_t **proxies;
    rpc_dialer_t dialer;
    rpc_tls_kind_t tls;
    rpc_detach_ties_t ties;
    rpc_log_t log;                  /* of what belongs to no channel */
    volatile apr_uint32_t turn;     /* of the loops, for the next hand-over */
    volatile apr_uint32_t retiring, ending, finishing;
    volatile apr_uint32_t closed;   /* httpd's threads have gone, and no more connections come */
    volatile apr_uint32_t alive;    /* connections not quite gone, on whichever loop they are by
                                     * now */

    rpc_watch_t bell;               /* the first loop's */
    volatile apr_uint32_t limits_sessions;  /* some channel's session has a limit */
    rpc_watch_t told;               /* an eventfd: the engine retires, or finishes. The first
                                     * loop's from here */
    int heard;                      /* that it retires */
    rpc_timer_t look;
    apr_interval_time_t grace;
    apr_time_t deadline;            /* of retiring; 0: none */
    rpc_room_watch_t room;
    void (*heed_parent)(void);
    const char *why;                /* the channels end */
    volatile apr_uint32_t ended;    /* channels */
    volatile apr_uint32_t to_end;   /* loops that have not ended theirs yet */
};

static void engine_arrived(rpc_stream_t *client, const rpc_channel_spec_t *spec, void *ctx)
{
    engine_loop_t *el = ctx;

    rpc_channel_start(el->proxy, client, spec);
}

/* ---- channels that have to end ---- */

static void heed(rpc_job_t *job)
{
    engine_loop_t *el = RPC_OWNER_OF(job, engine_loop_t, heed);

    apr_atomic_set32(&el->heeding, 0);
    rpc_proxy_end_due(el->proxy, rpc_loop_now(el->loop));
}

/* It rings in all children. Nobody reads it: each ringing is an event of its own. */
static void bell_rings(rpc_watch_t *watch, uint32_t events)
{
    rpc_engine_t *engine = RPC_OWNER_OF(watch, rpc_engine_t, bell);
    int i;

    for (i = 0; i < engine->count; i++)
        if (apr_atomic_cas32(&engine->loops[i].heeding, 1, 0) == 0)
            rpc_loop_post(engine->loops[i].loop, &engine->loops[i].heed);
}

static void look_at_sessions(rpc_timer_t *timer)
{
    engine_loop_t *el = RPC_OWNER_OF(timer, engine_loop_t, session_look);

    rpc_proxy_end_due(el->proxy, rpc_loop_now(el->loop));
    rpc_timer_set(el->loop, timer, rpc_loop_now(el->loop) + SESSION_LOOK);
}

static void begin_session_looks(rpc_job_t *job)
{
    look_at_sessions(&RPC_OWNER_OF(job, engine_loop_t, sessions)->session_look);
}

/* Only a child that has such a channel looks every second. */
static void limit_sessions(rpc_engine_t *engine)
{
    int i;

    if (apr_atomic_cas32(&engine->limits_sessions, 1, 0) != 0)
        return;
    for (i = 0; i < engine->count; i++)
        rpc_loop_post(engine->loops[i].loop, &engine->loops[i].sessions);
}

rpc_detach_result_t rpc_engine_hand_over(rpc_engine_t *engine, request_rec *r,
                                         const rpc_channel_spec_t *spec)
{
    engine_loop_t *el;
    rpc_detach_result_t rv = RPC_DETACH_ENDING;

    /* This thread counts the connection before it reads "ended"; a loop that ends sets "ended"
     * before it reads the count. So either the loop waits for this connection, or the connection is
     * refused. */
    apr_atomic_inc32(&engine->alive);
    if (!apr_atomic_read32(&engine->ending)) {
        if (spec->session_time)
            limit_sessions(engine);
        el = &engine->loops[apr_atomic_inc32(&engine->turn) % (apr_uint32_t)engine->count];
        rv = rpc_detach(r, spec, &el->home);
    }
    apr_atomic_dec32(&engine->alive);
    return rv;
}

const rpc_tls_kind_t *rpc_engine_tls(const rpc_engine_t *engine)
{
    return &engine->tls;
}

/* ---- the end ---- */

/* The channels that are there, on the loop of EL. */
static void end_those(engine_loop_t *el)
{
    rpc_engine_t *engine = el->engine;

    apr_atomic_add32(&engine->ended, rpc_proxy_end_all(el->proxy, RPC_REASON_SHUTDOWN));
    if (apr_atomic_dec32(&engine->to_end) == 0)
        rpc_log(&engine->log, RPC_LOG_NOTICE, 0,
                RPCNO(0017) "this child, which has been told to go, ends its %u channels "
                "(shutdown): %s",
                apr_atomic_read32(&engine->ended), engine->why);
}

static void again(rpc_timer_t *timer)
{
    engine_loop_t *el = RPC_OWNER_OF(timer, engine_loop_t, again);
    int finishing = apr_atomic_read32(&el->engine->finishing) != 0;
    apr_time_t now = rpc_loop_now(el->loop);

    rpc_proxy_end_all(el->proxy, RPC_REASON_SHUTDOWN);
    if (!apr_atomic_read32(&el->engine->closed))
        el->deadline = now + LAST_MOMENT;   /* connections may still be with httpd's threads */
    if (finishing && (!apr_atomic_read32(&el->engine->alive) || now >= el->deadline)) {
        rpc_streams_abandon(el->loop);
        rpc_loop_stop(el->loop);
        return;
    }
    rpc_timer_set(el->loop, timer, now + (finishing ? LAST_LOOK : LOOK));
}

static void engine_end_channels(rpc_job_t *job)
{
    engine_loop_t *el = RPC_OWNER_OF(job, engine_loop_t, end);

    end_those(el);
    again(&el->again);
}

static void engine_finish(rpc_job_t *job)
{
    engine_loop_t *el = RPC_OWNER_OF(job, engine_loop_t, finish);

    el->deadline = rpc_loop_now(el->loop) + LAST_MOMENT;
    again(&el->again);
}

/* On the first loop. */
static void end_retired(rpc_engine_t *engine, const char *why)
{
    int i;

    if (apr_atomic_cas32(&engine->ending, 1, 0) != 0)
        return;
    engine->why = why;
    apr_atomic_set32(&engine->to_end, (apr_uint32_t)engine->count);
    for (i = 0; i < engine->count; i++)
        rpc_loop_post(engine->loops[i].loop, &engine->loops[i].end);
}

static void finish_loops(rpc_engine_t *engine)
{
    int i;

    for (i = 0; i < engine->count; i++)
        rpc_loop_post(engine->loops[i].loop, &engine->loops[i].finish);
}

static void engine_look(rpc_timer_t *timer)
{
    rpc_engine_t *engine = RPC_OWNER_OF(timer, rpc_engine_t, look);
    rpc_loop_t *loop = engine->loops[0].loop;
    apr_time_t now = rpc_loop_now(loop);

    engine->heed_parent();
    if (apr_atomic_read32(&engine->closed)
        && (apr_atomic_read32(&engine->ending) || !apr_atomic_read32(&engine->alive))) {
        rpc_engine_finish(engine);
        return;
    }
    if (engine->deadline && now >= engine->deadline)
        end_retired(engine, "RpcGracefulTimeout is over");
    else if (rpc_room_wanted(&engine->room, now))
        end_retired(engine, rpc_room_lacking());
    rpc_timer_set(loop, timer, now + LOOK);
}

static void engine_told(rpc_watch_t *watch, uint32_t events)
{
    rpc_engine_t *engine = RPC_OWNER_OF(watch, rpc_engine_t, told);

    if (!(events & EPOLLIN))    /* it can be written to from the beginning */
        return;
    if (apr_atomic_read32(&engine->finishing)) {
        rpc_watch_remove(engine->loops[0].loop, watch);
        rpc_timer_cancel(engine->loops[0].loop, &engine->look);
        finish_loops(engine);
    }
    else if (apr_atomic_read32(&engine->retiring) && !engine->heard) {
        engine->heard = 1;
        if (engine->grace)
            engine->deadline = rpc_loop_now(engine->loops[0].loop) + engine->grace;
        engine_look(&engine->look);
    }
}

static void tell(rpc_engine_t *engine)
{
    uint64_t one = 1;
    int saved = errno;

    if (write(engine->told.fd, &one, sizeof(one)) < 0)
        errno = saved;      /* the counter is full: it has been told often enough */
}

void rpc_engine_retire(rpc_engine_t *engine)
{
    apr_atomic_set32(&engine->retiring, 1);
    tell(engine);
}

void rpc_engine_finish(rpc_engine_t *engine)
{
    apr_atomic_set32(&engine->ending, 1);
    apr_atomic_set32(&engine->finishing, 1);
    tell(engine);
}

/* The last that this child does, and it may last for hours: the channels of an engine that retires
 * live on while httpd's threads have gone. */
static apr_status_t engine_end(void *data)
{
    rpc_engine_t *engine = data;
    int i;

    apr_atomic_set32(&engine->closed, 1);
    if (!apr_atomic_read32(&engine->retiring))
        rpc_engine_finish(engine);
    else
        rpc_room_leave(engine->room.room);
    rpc_detach_cut(&engine->ties);
    for (i = 0; i < engine->count; i++)
        rpc_loop_join(engine->loops[i].loop);
    close(engine->told.fd);
    engine->told.fd = -1;
    return APR_SUCCESS;
}

/* Behind httpd's connections, which may have sessions of this kind (httpd/upstream_member.h). */
static apr_status_t free_method(void *method)
{
    BIO_meth_free(method);
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
    el->home = (rpc_detach_home_t){ el->loop, &engine->tls, &engine->ties, &engine->alive,
                                     engine_arrived, el };
    el->end.run = engine_end_channels;
    el->finish.run = engine_finish;
    el->again.fire = again;
    el->heed.run = heed;
    el->sessions.run = begin_session_looks;
    el->session_look.fire = look_at_sessions;
    return APR_SUCCESS;
}

/* The first loop is told by a descriptor, as a handler of signals can write to one. */
static apr_status_t make_told(rpc_engine_t *engine)
{
    apr_status_t rv = rpc_watch_add(engine->loops[0].loop, &engine->bell);

    engine->look.fire = engine_look;
    engine->told.ready = engine_told;
    engine->told.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (engine->told.fd < 0)
        return errno;
    return rv == APR_SUCCESS ? rpc_watch_add(engine->loops[0].loop, &engine->told) : rv;
}

apr_status_t rpc_engine_start(rpc_engine_t **out, const rpc_engine_params_t *params,
                              apr_pool_t *pool)
{
    rpc_engine_t *engine = apr_pcalloc(pool, sizeof(*engine));
    apr_size_t count = (apr_size_t)params->threads;
    apr_status_t rv;
    int i;

    engine->count = params->threads;
    engine->told.fd = -1;
    engine->bell = (rpc_watch_t){ params->bell, bell_rings };
    engine->loops = apr_pcalloc(pool, sizeof(*engine->loops) * count);
    engine->proxies = apr_pcalloc(pool, sizeof(*engine->proxies) * count);
    engine->dialer.health = params->health;
    engine->grace = params->grace;
    engine->room.room = params->room;
    engine->heed_parent = params->heed_parent;
    engine->log = rpc_server_log(ap_server_conf);
    rv = rpc_resolver_make(&engine->dialer.resolver,
                           &(rpc_resolver_params_t){ .log = &engine->log }, pool);
    pthread_mutex_init(&engine->ties.lock, NULL);
    engine->tls = (rpc_tls_kind_t){ rpc_tls_method(), rpc_detach_nobody(pool, ap_server_conf) };
    if (!engine->tls.method)
        rv = APR_ENOMEM;
    apr_pool_cleanup_register(pool, engine->tls.method, free_method, apr_pool_cleanup_null);
    for (i = 0; rv == APR_SUCCESS && i < engine->count; i++)
        rv = make_loop(engine, i, pool);
    if (rv == APR_SUCCESS)
        rv = make_told(engine);
    for (i = 0; rv == APR_SUCCESS && i < engine->count; i++)
        rv = rpc_loop_start(engine->loops[i].loop);
    apr_pool_pre_cleanup_register(pool, engine, engine_end);
    *out = engine;
    return rv;
}
