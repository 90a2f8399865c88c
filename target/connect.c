/* target/connect.c: a connect goes through
 *
 *   resolving (asks the resolver; skipped for literals and Unix sockets)
 *     -> attempts, one beside the other (non-blocking; the timer or a failure starts the next)
 *     -> done
 */
#include "target/connect.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include <apr_strings.h>

#include "base/descriptors.h"

#define BACKLOG_RETRY apr_time_from_msec(10)
#define ATTEMPT_DELAY apr_time_from_msec(250)   /* RFC 8305 section 5 */

typedef struct attempt {
    rpc_connect_t *connect;
    rpc_watch_t watch;          /* fd -1 when it is over */
} attempt_t;

struct rpc_connect {
    rpc_loop_t *loop;
    rpc_connect_ended_t *ended; /* or: */
    rpc_connect_done_t *done;
    void *ctx;

    rpc_resolver_t *resolver;
    rpc_look_up_t *look_up;     /* under way */
    char *host;                 /* the look-up that the resolver does, or NULL */
    rpc_addresses_t addresses;
    uint16_t port;
    const rpc_networks_t *networks;
    rpc_sources_t *sources;
    int next, tried, running;   /* numbers of ADDRESSES */
    attempt_t attempts[RPC_ADDRESSES_MAX];
    struct sockaddr_un unix_addr;   /* or this, attempt 0 */

    rpc_timer_t deadline;
    rpc_timer_t again;          /* starts the next address; or tries a full Unix socket again */
    rpc_job_t step;             /* the first attempt */
    apr_status_t status;        /* of the last attempt */
    apr_status_t ours;          /* of the last one that failed for a reason of ours, or 0 */
    int had_way;                /* this machine has a route to at least one address */
    const char *rule;
    char address[RPC_ADDRESS_TEXT];
};

/* ---- the end of a connect ---- */

static void stop_attempt(attempt_t *attempt)
{
    rpc_connect_t *c = attempt->connect;

    if (attempt->watch.fd < 0)
        return;
    rpc_watch_remove(c->loop, &attempt->watch);
    close(attempt->watch.fd);
    attempt->watch.fd = -1;
    c->running--;
}

static void connect_free(rpc_connect_t *c)
{
    int i;

    for (i = 0; i < RPC_ADDRESSES_MAX; i++)
        stop_attempt(&c->attempts[i]);
    if (c->look_up)
        rpc_look_up_cancel(c->look_up);
    rpc_timer_cancel(c->loop, &c->deadline);
    rpc_timer_cancel(c->loop, &c->again);
    rpc_loop_unschedule(c->loop, &c->step);
    free(c->host);
    free(c);
}

/* Did this machine cause the failure, by a lack of resources or by a policy? It has when a system
 * call fails at once. What comes later comes from the network, EACCES (by ICMPv6) included. */
static int is_local_failure(apr_status_t status)
{
    switch (status) {
    case EMFILE: case ENFILE: case ENOBUFS: case ENOMEM: case ENOSPC:
    case EADDRNOTAVAIL: case EADDRINUSE: case EAGAIN:   /* no port is left to connect from */
    case EACCES: case EPERM:                            /* a policy of this machine */
        return 1;
    default:
        return 0;
    }
}

/* This machine has no interface, no route or no protocol for the address. When a name has addresses
 * of two families, one family may never be usable on this machine. Then the addresses of the other
 * family decide. */
static int is_no_way(apr_status_t status)
{
    return status == ENETUNREACH || status == ENETDOWN || status == EAFNOSUPPORT;
}

/* How an attempt began. */
static void note_begun(rpc_connect_t *c, apr_status_t status)
{
    c->status = status;
    if (is_local_failure(status))
        c->ours = status;
    else if (!is_no_way(status))
        c->had_way = 1;
}

/* This function alone decides whether a failure is a local one or the server's. */
static void connect_judge(const rpc_connect_t *c, rpc_connect_result_t *result)
{
    if (!result->reason || result->reason == RPC_REASON_ADDRESS_REFUSED)
        return;
    if (c->unix_addr.sun_family)
        result->reason = RPC_REASON_LOCAL_FAILURE;
    else if (c->ours) {
        result->reason = RPC_REASON_LOCAL_FAILURE;
        result->status = c->ours;
    }
    else if (c->tried && !c->had_way)
        result->reason = RPC_REASON_LOCAL_FAILURE;
}

static void connect_finish(rpc_connect_t *c, rpc_reason_t reason, attempt_t *winner)
{
    rpc_connect_result_t result = {
        .reason = reason, .status = c->status, .fd = -1, .rule = c->rule
    };
    rpc_connect_ended_t *ended = c->ended;
    rpc_connect_done_t *done = c->done;
    void *ctx = c->ctx;

    connect_judge(c, &result);
    apr_cpystrn(result.address, c->address, sizeof(result.address));
    if (winner) {
        result.fd = winner->watch.fd;
        result.rule = NULL;
        if (!c->unix_addr.sun_family)
            rpc_address_text(&c->addresses.list[winner - c->attempts], result.address);
        rpc_watch_remove(c->loop, &winner->watch);
        winner->watch.fd = -1;
    }
    if (c->host
        && (result.reason == RPC_REASON_CONNECT_FAILED
            || result.reason == RPC_REASON_CONNECT_TIMEOUT))
        rpc_resolver_forget(c->resolver, c->host);
    connect_free(c);
    if (ended)
        ended(ctx, &result);
    else
        done(ctx, result.reason, result.status, result.fd);
}

/* ---- attempts ---- */

/* A socket for FAMILY, bound to SOURCE if that is not NULL. connect() chooses the local port, so
 * that a local port can be used for connections to several servers at the same time. */
static int open_socket(int family, const rpc_address_t *source)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -1;
    if (rpc_descriptors_short(fd, RPC_DESCRIPTORS_KEPT)) {
        close(fd);
        errno = EMFILE;
        return -1;
    }
    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!source)
        return fd;
#ifdef IP_BIND_ADDRESS_NO_PORT
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
#endif
    if (bind(fd, &source->any, rpc_address_size(source)) < 0) {
        int err = errno;

        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

static apr_status_t start_connect(attempt_t *attempt, const struct sockaddr *addr, socklen_t size,
                                  const rpc_address_t *source)
{
    rpc_connect_t *c = attempt->connect;
    int fd = open_socket(addr->sa_family, source);
    apr_status_t status;

    if (fd < 0)
        return errno;
    attempt->watch.fd = fd;
    if (connect(fd, addr, size) == 0 || errno == EINPROGRESS)
        status = rpc_watch_add(c->loop, &attempt->watch);
    else
        status = errno;
    if (status == APR_SUCCESS)
        c->running++;
    else {
        close(fd);
        attempt->watch.fd = -1;
    }
    return status;
}

/* Starts a connection to address I, if that is allowed. When a source address is missing or has no
 * port left for this server, the next source is tried. */
static int try_address(rpc_connect_t *c, int i)
{
    rpc_address_t *to = &c->addresses.list[i];
    int family = to->any.sa_family, sources = rpc_sources_count(c->sources, family);
    const char *rule;

    if (!rpc_networks_allow(c->networks, &to->any, &rule)) {
        c->rule = rule;
        rpc_address_text(to, c->address);
        return 0;
    }
    c->tried++;
    if (!c->rule)
        rpc_address_text(to, c->address);
    *(family == AF_INET ? &to->v4.sin_port : &to->v6.sin6_port) = htons(c->port);
    do {
        note_begun(c, start_connect(&c->attempts[i], &to->any, rpc_address_size(to),
                                     rpc_sources_next(c->sources, family)));
    } while (c->status == EADDRNOTAVAIL && --sources > 0);
    return c->status == APR_SUCCESS;
}

/* Starts the next address that can be tried; ends when none is left and none is running. */
static void try_next_address(rpc_connect_t *c)
{
    while (c->next < c->addresses.count) {
        if (!try_address(c, c->next++))
            continue;
        if (c->next < c->addresses.count)
            rpc_timer_set(c->loop, &c->again, rpc_loop_now(c->loop) + ATTEMPT_DELAY);
        return;
    }
    if (c->running)
        return;
    if (!c->tried)
        c->status = APR_EACCES;
    connect_finish(c, c->tried ? RPC_REASON_CONNECT_FAILED : RPC_REASON_ADDRESS_REFUSED, NULL);
}

static void try_unix(rpc_connect_t *c)
{
    c->status = start_connect(&c->attempts[0], (struct sockaddr *)&c->unix_addr,
                              sizeof(c->unix_addr), NULL);
    if (APR_STATUS_IS_EAGAIN(c->status))
        rpc_timer_set(c->loop, &c->again, rpc_loop_now(c->loop) + BACKLOG_RETRY);
    else if (c->status != APR_SUCCESS)
        connect_finish(c, RPC_REASON_CONNECT_FAILED, NULL);
}

static void try_some(rpc_connect_t *c)
{
    if (c->unix_addr.sun_family)
        try_unix(c);
    else
        try_next_address(c);
}

static void connect_ready(rpc_watch_t *watch, uint32_t events)
{
    attempt_t *attempt = RPC_OWNER_OF(watch, attempt_t, watch);
    rpc_connect_t *c = attempt->connect;
    int err = 0;
    socklen_t len = sizeof(err);

    if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
        return;
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    c->status = err;
    if (!err) {
        connect_finish(c, RPC_REASON_NONE, attempt);
        return;
    }
    stop_attempt(attempt);
    try_next_address(c);
}

static void deadline_passed(rpc_timer_t *timer)
{
    rpc_connect_t *c = RPC_OWNER_OF(timer, rpc_connect_t, deadline);

    rpc_reason_t reason = RPC_REASON_CONNECT_TIMEOUT;

    c->status = APR_TIMEUP;
    if (c->look_up) {
        reason = rpc_look_up_cancel(c->look_up);
        c->look_up = NULL;
    }
    connect_finish(c, reason, NULL);
}

static void connect_try_again(rpc_timer_t *timer)
{
    try_some(RPC_OWNER_OF(timer, rpc_connect_t, again));
}

/* The first address from I on that is of FAMILY (IS 1), or is not (IS 0); COUNT: there is none. */
static int next_of(const rpc_addresses_t *all, int i, int family, int is)
{
    while (i < all->count && (all->list[i].any.sa_family == family) != is)
        i++;
    return i;
}

/* Sorts the addresses so that the families alternate, beginning with that of the first address
 * (RFC 8305 section 4). */
static void take_turns(rpc_addresses_t *addresses)
{
    rpc_addresses_t given = *addresses;
    int family = given.list[0].any.sa_family, at[2] = { 0, 0 }, i, is = 1;

    for (i = 0; i < given.count; i++, is = !is) {
        int pick = next_of(&given, at[is], family, is);

        if (pick == given.count) {
            is = !is;
            pick = next_of(&given, at[is], family, is);
        }
        addresses->list[i] = given.list[pick];
        at[is] = pick + 1;
    }
}

static void connect_start(rpc_job_t *job)
{
    try_some(RPC_OWNER_OF(job, rpc_connect_t, step));
}

static void resolved(void *ctx, const rpc_resolved_t *answer)
{
    rpc_connect_t *c = ctx;

    c->look_up = NULL;
    if (answer->reason) {
        c->status = APR_OS_START_EAIERR + abs(answer->error);
        connect_finish(c, answer->reason, NULL);
        return;
    }
    c->addresses = answer->addresses;
    take_turns(&c->addresses);
    try_some(c);
}

/* ---- the beginning ---- */

static rpc_connect_t *connect_new(rpc_loop_t *loop, apr_interval_time_t timeout, void *ctx)
{
    rpc_connect_t *c = calloc(1, sizeof(*c));
    int i;

    if (!c)
        return NULL;
    c->loop = loop;
    c->ctx = ctx;
    for (i = 0; i < RPC_ADDRESSES_MAX; i++) {
        c->attempts[i].connect = c;
        c->attempts[i].watch.fd = -1;
        c->attempts[i].watch.ready = connect_ready;
    }
    c->deadline.fire = deadline_passed;
    c->again.fire = connect_try_again;
    c->step.run = connect_start;
    rpc_timer_set(loop, &c->deadline, rpc_loop_now(loop) + timeout);
    return c;
}

rpc_connect_t *rpc_connect_start(rpc_loop_t *loop, const rpc_connect_params_t *params,
                                 rpc_connect_ended_t *ended, void *ctx)
{
    rpc_connect_t *c = connect_new(loop, params->timeout, ctx);

    if (!c)
        return NULL;
    c->ended = ended;
    c->port = params->port;
    c->networks = params->networks;
    c->sources = params->sources;
    if (rpc_resolve_literal(params->host, &c->addresses)) {
        rpc_loop_schedule(loop, &c->step);
        return c;
    }
    c->resolver = params->resolver;
    c->host = strdup(params->host);
    if (c->host)
        c->look_up = rpc_look_up_start(c->resolver, loop, c->host, params->user, resolved, c);
    if (!c->look_up) {
        connect_free(c);
        return NULL;
    }
    return c;
}

rpc_connect_t *rpc_connect_unix(rpc_loop_t *loop, const char *path, apr_interval_time_t timeout,
                                rpc_connect_done_t *done, void *ctx)
{
    rpc_connect_t *c = connect_new(loop, timeout, ctx);

    if (!c)
        return NULL;
    c->done = done;
    c->tried = 1;
    c->unix_addr.sun_family = AF_UNIX;
    snprintf(c->unix_addr.sun_path, sizeof(c->unix_addr.sun_path), "%s", path);
    rpc_loop_schedule(loop, &c->step);
    return c;
}

void rpc_connect_cancel(rpc_connect_t *c)
{
    connect_free(c);
}
