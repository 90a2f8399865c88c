/* rpc_connect.c: a connect goes through
 *
 *   resolving (a resolver thread; skipped for literals and Unix sockets)
 *     -> connecting to address 1, 2, ... (non-blocking, one at a time)
 *     -> done
 *
 * While a look-up is under way its thread holds the connect; cancelling then only marks
 * it, and the job that brings the answer back to the loop frees it. That job is the one
 * thing the two threads share, and rpc_loop_post() orders their accesses.
 */
#include "rpc_connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <apr_thread_pool.h>

#define BACKLOG_RETRY apr_time_from_msec(10)

struct rpc_resolver {
    apr_thread_pool_t *threads;
};

struct rpc_connect {
    rpc_loop_t *loop;
    rpc_connect_done_t *done;
    void *ctx;

    char *host;                 /* while resolving */
    char port[8];
    int gai_error;              /* written by the resolver thread */
    int resolving, cancelled;   /* loop thread only */

    struct addrinfo *addresses; /* of getaddrinfo */
    const struct addrinfo *next;
    struct sockaddr_un unix_addr;
    struct addrinfo unix_info;

    rpc_watch_t watch;          /* fd -1 when no attempt is under way */
    rpc_timer_t deadline;
    rpc_timer_t again;          /* a Unix socket's full backlog is no refusal */
    rpc_job_t step;             /* back from the resolver, or the first attempt */
    apr_status_t status;        /* of the last attempt */
};

static void stop_attempt(rpc_connect_t *c)
{
    if (c->watch.fd >= 0) {
        rpc_watch_remove(c->loop, &c->watch);
        close(c->watch.fd);
        c->watch.fd = -1;
    }
}

static void connect_free(rpc_connect_t *c)
{
    stop_attempt(c);
    rpc_timer_cancel(c->loop, &c->deadline);
    rpc_timer_cancel(c->loop, &c->again);
    rpc_loop_unschedule(c->loop, &c->step);
    if (c->addresses)
        freeaddrinfo(c->addresses);
    free(c->host);
    free(c);
}

static void finish(rpc_connect_t *c, rpc_reason_t reason, int fd)
{
    rpc_connect_done_t *done = c->done;
    void *ctx = c->ctx;
    apr_status_t status = c->status;

    if (fd >= 0) {
        rpc_watch_remove(c->loop, &c->watch);
        c->watch.fd = -1;
    }
    if (c->resolving)
        c->cancelled = 1;       /* the look-up's answer will free it */
    else
        connect_free(c);
    done(ctx, reason, status, fd);
}

/* Starts on the next address that lets itself be tried; ends when none is left. */
static void try_next(rpc_connect_t *c)
{
    while (c->next) {
        const struct addrinfo *ai = c->next;
        int one = 1;

        c->next = ai->ai_next;
        c->watch.fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->watch.fd < 0) {
            c->status = errno;
            continue;
        }
        if (ai->ai_family != AF_UNIX)
            setsockopt(c->watch.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(c->watch.fd, ai->ai_addr, ai->ai_addrlen) == 0
            || errno == EINPROGRESS) {
            if (rpc_watch_add(c->loop, &c->watch) == APR_SUCCESS)
                return;
        }
        c->status = errno;
        close(c->watch.fd);
        c->watch.fd = -1;
        if (ai->ai_family == AF_UNIX && APR_STATUS_IS_EAGAIN(c->status)) {
            c->next = ai;
            rpc_timer_set(c->loop, &c->again, rpc_loop_now(c->loop) + BACKLOG_RETRY);
            return;
        }
    }
    finish(c, RPC_REASON_CONNECT_FAILED, -1);
}

static void attempt_done(rpc_connect_t *c, int err)
{
    c->status = err;
    if (!err) {
        finish(c, RPC_REASON_NONE, c->watch.fd);
        return;
    }
    stop_attempt(c);
    try_next(c);
}

static void connect_ready(rpc_watch_t *watch, uint32_t events)
{
    rpc_connect_t *c = RPC_OWNER_OF(watch, rpc_connect_t, watch);
    int err = 0;
    socklen_t len = sizeof(err);

    if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
        return;
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    attempt_done(c, err);
}

static void deadline_passed(rpc_timer_t *timer)
{
    rpc_connect_t *c = RPC_OWNER_OF(timer, rpc_connect_t, deadline);

    c->status = APR_TIMEUP;
    finish(c, c->resolving ? RPC_REASON_RESOLVE_FAILED : RPC_REASON_CONNECT_TIMEOUT, -1);
}

static void try_again(rpc_timer_t *timer)
{
    try_next(RPC_OWNER_OF(timer, rpc_connect_t, again));
}

/* On the loop: the addresses are known, or will never be. */
static void resolved(rpc_job_t *job)
{
    rpc_connect_t *c = RPC_OWNER_OF(job, rpc_connect_t, step);

    c->resolving = 0;
    if (c->cancelled) {
        connect_free(c);
        return;
    }
    if (c->gai_error) {
        c->status = APR_EGENERAL;
        finish(c, RPC_REASON_RESOLVE_FAILED, -1);
        return;
    }
    try_next(c);
}

static int look_up(rpc_connect_t *c, int flags)
{
    struct addrinfo hints;
    int err;

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    err = getaddrinfo(c->host, c->port, &hints, &c->addresses);
    c->next = c->addresses;
    return err;
}

/* On a resolver thread. */
static void *APR_THREAD_FUNC resolve(apr_thread_t *thread, void *data)
{
    rpc_connect_t *c = data;

    c->gai_error = look_up(c, AI_ADDRCONFIG);
    rpc_loop_post(c->loop, &c->step);
    return NULL;
}

static rpc_connect_t *connect_new(rpc_loop_t *loop, apr_interval_time_t timeout,
                                  rpc_connect_done_t *done, void *ctx)
{
    rpc_connect_t *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->loop = loop;
    c->done = done;
    c->ctx = ctx;
    c->watch.fd = -1;
    c->watch.ready = connect_ready;
    c->deadline.fire = deadline_passed;
    c->again.fire = try_again;
    c->step.run = resolved;
    rpc_timer_set(loop, &c->deadline, rpc_loop_now(loop) + timeout);
    return c;
}

rpc_connect_t *rpc_connect_tcp(rpc_loop_t *loop, rpc_resolver_t *resolver, const char *host,
                               uint16_t port, apr_interval_time_t timeout,
                               rpc_connect_done_t *done, void *ctx)
{
    rpc_connect_t *c = connect_new(loop, timeout, done, ctx);

    if (!c)
        return NULL;
    snprintf(c->port, sizeof(c->port), "%u", port);
    c->host = strdup(host);
    if (!c->host) {
        connect_free(c);
        return NULL;
    }
    if (look_up(c, AI_NUMERICHOST) == 0) {
        rpc_loop_schedule(loop, &c->step);
        return c;
    }
    c->resolving = 1;
    if (apr_thread_pool_push(resolver->threads, resolve, c, APR_THREAD_TASK_PRIORITY_NORMAL,
                             resolver) != APR_SUCCESS) {
        c->resolving = 0;
        c->gai_error = EAI_AGAIN;
        rpc_loop_schedule(loop, &c->step);
    }
    return c;
}

rpc_connect_t *rpc_connect_unix(rpc_loop_t *loop, const char *path, apr_interval_time_t timeout,
                                rpc_connect_done_t *done, void *ctx)
{
    rpc_connect_t *c = connect_new(loop, timeout, done, ctx);

    if (!c)
        return NULL;
    c->unix_addr.sun_family = AF_UNIX;
    snprintf(c->unix_addr.sun_path, sizeof(c->unix_addr.sun_path), "%s", path);
    c->unix_info.ai_family = AF_UNIX;
    c->unix_info.ai_addr = (struct sockaddr *)&c->unix_addr;
    c->unix_info.ai_addrlen = sizeof(c->unix_addr);
    c->next = &c->unix_info;
    rpc_loop_schedule(loop, &c->step);
    return c;
}

void rpc_connect_cancel(rpc_connect_t *c)
{
    if (c->resolving) {
        c->cancelled = 1;
        rpc_timer_cancel(c->loop, &c->deadline);
    }
    else
        connect_free(c);
}

apr_status_t rpc_resolver_create(rpc_resolver_t **out, int threads, apr_pool_t *pool)
{
    rpc_resolver_t *resolver = apr_palloc(pool, sizeof(*resolver));

    *out = resolver;
    return apr_thread_pool_create(&resolver->threads, 0, (apr_size_t)threads, pool);
}
