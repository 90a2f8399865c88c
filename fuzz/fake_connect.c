/* fake_connect.c: target/connect.h without names and sockets. A connect succeeds in the next turn,
 * or waits until the script decides. The world decides where it leads.
 */
#include "fake.h"

struct rpc_connect {
    fake_world_t *world;
    rpc_loop_t *loop;
    rpc_connect_ended_t *ended;     /* or: */
    rpc_connect_done_t *done;
    void *ctx;
    int port;
    rpc_job_t step;
    rpc_timer_t deadline;
    rpc_connect_t *next;
};

static void connect_free(rpc_connect_t *c)
{
    rpc_connect_t **link = &c->world->connects;

    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    rpc_loop_unschedule(c->loop, &c->step);
    rpc_timer_cancel(c->loop, &c->deadline);
    free(c);
}

static void finish(rpc_connect_t *c, rpc_reason_t reason, apr_status_t status)
{
    fake_peer_t *peer = reason ? NULL : c->world->connected(c->world, c->port);
    rpc_connect_result_t result = { .fd = -1 };
    rpc_connect_ended_t *ended = c->ended;
    rpc_connect_done_t *done = c->done;
    void *ctx = c->ctx;

    if (peer)
        result.fd = peer->number;
    else {
        result.reason = reason ? reason : RPC_REASON_CONNECT_FAILED;
        result.status = status ? status : APR_ECONNREFUSED;
    }
    connect_free(c);
    if (ended)
        ended(ctx, &result);
    else
        done(ctx, result.reason, result.status, result.fd);
}

static void succeed(rpc_job_t *job)
{
    finish(RPC_OWNER_OF(job, rpc_connect_t, step), RPC_REASON_NONE, APR_SUCCESS);
}

static void deadline_passed(rpc_timer_t *timer)
{
    finish(RPC_OWNER_OF(timer, rpc_connect_t, deadline), RPC_REASON_CONNECT_TIMEOUT, APR_TIMEUP);
}

void fake_connected(fake_world_t *world, int nth, int ok)
{
    rpc_connect_t *c = world->connects;

    while (c && nth-- > 0)
        c = c->next;
    if (c)
        finish(c, ok ? RPC_REASON_NONE : RPC_REASON_CONNECT_FAILED, ok ? 0 : APR_ECONNREFUSED);
}

static rpc_connect_t *connect_new(rpc_loop_t *loop, int port, apr_interval_time_t timeout,
                                  void *ctx)
{
    rpc_connect_t *c = calloc(1, sizeof(*c));

    MUST(c, "out of memory");
    c->world = fake_world_of(loop);
    c->loop = loop;
    c->ctx = ctx;
    c->port = port;
    c->step.run = succeed;
    c->deadline.fire = deadline_passed;
    c->next = c->world->connects;
    c->world->connects = c;
    rpc_timer_set(loop, &c->deadline, c->world->now + timeout);
    if (!c->world->hold_connects)
        rpc_loop_schedule(loop, &c->step);
    return c;
}

rpc_connect_t *rpc_connect_start(rpc_loop_t *loop, const rpc_connect_params_t *params,
                                 rpc_connect_ended_t *ended, void *ctx)
{
    rpc_connect_t *c = connect_new(loop, params->port, params->timeout, ctx);

    c->ended = ended;
    return c;
}

rpc_connect_t *rpc_connect_unix(rpc_loop_t *loop, const char *path, apr_interval_time_t timeout,
                                rpc_connect_done_t *done, void *ctx)
{
    rpc_connect_t *c = connect_new(loop, atoi(path), timeout, ctx);

    c->done = done;
    return c;
}

void rpc_connect_cancel(rpc_connect_t *connect)
{
    connect_free(connect);
}
