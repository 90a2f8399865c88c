/* target/connect.c: a connect goes through
 *
 *   resolving (asks the resolver; skipped for literals and Unix sockets)
 *     -> attempts, one beside the other (non-blocking; the timer or a failure starts the next)
 *     -> done
 *
 * The resolver keeps a list of names, each with an answer, or with those who wait for it while a
 * thread looks it up. Its lock guards the list, and of a connect what says whether it waits; it is
 * held for a walk through the list, never for a look-up. Who waits can leave at any time. Who does
 * not wait any more, though the answer is on its way, stays until the job that brings it frees it:
 * rpc_loop_post() orders the accesses of the two threads.
 */
#include "target/connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <apr_allocator.h>
#include <apr_cstr.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <apr_thread_pool.h>

#define BACKLOG_RETRY apr_time_from_msec(10)
#define ATTEMPT_DELAY apr_time_from_msec(250)   /* RFC 8305 section 5 */

/* getaddrinfo() tells no time to live. An answer is kept for less than what names that change
 * usually have (a minute and more), yet long enough for a client that opens its connections by the
 * dozen; a failure just so long that the threads are not all busy with a name server that is down.
 * An old answer can cost a failed connect, which is its end, but never passes an address: these
 * are judged when they are used. */
#define GOOD_FOR apr_time_from_sec(30)
#define BAD_FOR apr_time_from_sec(5)
#define NAMES 256

typedef struct name name_t;
struct name {
    rpc_resolver_t *resolver;
    name_t *next, *prev;
    int looking;                /* a thread does, or is about to */
    rpc_connect_t *waiting;     /* for it */
    int error;                  /* EAI_*, else ADDRESSES: the answer, unless LOOKING */
    rpc_addresses_t addresses;
    apr_time_t until;
    char host[];
};

struct rpc_resolver {
    rpc_resolver_params_t params;
    apr_thread_pool_t *threads;
    pthread_mutex_t lock;       /* of what follows, of all names, and of NAME and LOOK of connects */
    name_t *first, *last;       /* that was used last, first */
    int count;
    int ended;
};

typedef enum { LOOK_NOT, LOOK_WAITING, LOOK_ANSWERED } look_t;

typedef struct attempt {
    rpc_connect_t *connect;
    rpc_watch_t watch;          /* fd -1 when it is over */
} attempt_t;

struct rpc_connect {
    rpc_loop_t *loop;
    rpc_connect_ended_t *ended; /* or: */
    rpc_connect_done_t *done;
    void *ctx;

    rpc_resolver_t *resolver;   /* NULL: not asked */
    char *host;                 /* that it was asked for */
    name_t *name;               /* that is waited for */
    rpc_connect_t *next_waiting, **link;
    look_t look;
    int gai_error;              /* the answer; with ADDRESSES written before the job is posted */
    rpc_addresses_t addresses;

    /* The rest: loop thread only. */
    int cancelled;
    uint16_t port;
    const rpc_networks_t *networks;
    rpc_sources_t *sources;
    int next, tried, running;   /* of ADDRESSES */
    attempt_t attempts[RPC_ADDRESSES_MAX];
    struct sockaddr_un unix_addr;   /* or this, attempt 0 */

    rpc_timer_t deadline;
    rpc_timer_t again;          /* the next address; or a Unix socket's full backlog, no refusal */
    rpc_job_t step;             /* back from the resolver, or the first attempt */
    apr_status_t status;        /* of the last attempt */
    const char *rule;
    char address[RPC_ADDRESS_TEXT];
};

/* ---- looking up ---- */

static int system_look_up(const char *host, int flags, rpc_addresses_t *addresses)
{
    struct addrinfo hints, *all, *ai;
    int err;

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addresses->count = 0;
    err = getaddrinfo(host, NULL, &hints, &all);
    if (err)
        return err;
    for (ai = all; ai && addresses->count < RPC_ADDRESSES_MAX; ai = ai->ai_next)
        addresses->count += rpc_address_set(&addresses->list[addresses->count], ai->ai_addr);
    freeaddrinfo(all);
    return addresses->count ? 0 : EAI_NONAME;
}

int rpc_resolve(const char *host, rpc_addresses_t *addresses)
{
    return system_look_up(host, AI_ADDRCONFIG, addresses);
}

static int usual_look_up(void *ctx, const char *host, rpc_addresses_t *addresses)
{
    return rpc_resolve(host, addresses);
}

static apr_time_t usual_now(void *ctx)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return apr_time_from_sec(ts.tv_sec) + ts.tv_nsec / 1000;
}

/* ---- the names of a resolver, under its lock ---- */

static void name_unlink(rpc_resolver_t *r, name_t *name)
{
    *(name->prev ? &name->prev->next : &r->first) = name->next;
    *(name->next ? &name->next->prev : &r->last) = name->prev;
    r->count--;
}

static void name_to_front(rpc_resolver_t *r, name_t *name)
{
    name->prev = NULL;
    name->next = r->first;
    *(r->first ? &r->first->prev : &r->last) = name;
    r->first = name;
    r->count++;
}

static void name_drop(rpc_resolver_t *r, name_t *name)
{
    name_unlink(r, name);
    free(name);
}

/* What is known of HOST, or being looked up; used last from now on. A walk does: there are few. */
static name_t *name_find(rpc_resolver_t *r, const char *host)
{
    name_t *name;

    for (name = r->first; name && apr_cstr_casecmp(name->host, host) != 0; name = name->next)
        ;
    if (!name)
        return NULL;
    if (!name->looking && name->until <= r->params.now(r->params.ctx)) {
        name_drop(r, name);
        return NULL;
    }
    name_unlink(r, name);
    name_to_front(r, name);
    return name;
}

/* Room for one more; 0: as many are being looked up. */
static int make_room(rpc_resolver_t *r)
{
    name_t *name = r->last;

    if (r->count < r->params.names)
        return 1;
    while (name && name->looking)
        name = name->prev;
    if (name)
        name_drop(r, name);
    return name != NULL;
}

static void leave_name(rpc_connect_t *c)
{
    *c->link = c->next_waiting;
    if (c->next_waiting)
        c->next_waiting->link = c->link;
    c->name = NULL;
    c->look = LOOK_NOT;
}

static void wait_for(name_t *name, rpc_connect_t *c)
{
    c->name = name;
    c->look = LOOK_WAITING;
    c->link = &name->waiting;
    c->next_waiting = name->waiting;
    if (name->waiting)
        name->waiting->link = &c->next_waiting;
    name->waiting = c;
}

/* ---- asking a resolver ---- */

/* Brings what was found to those who wait. */
static void answer_name(name_t *name, int error, const rpc_addresses_t *found)
{
    rpc_resolver_t *r = name->resolver;
    rpc_connect_t *c, *next;

    pthread_mutex_lock(&r->lock);
    name->looking = 0;
    name->error = error;
    name->addresses = *found;
    name->until = r->params.now(r->params.ctx) + (error ? BAD_FOR : GOOD_FOR);
    next = name->waiting;
    name->waiting = NULL;
    for (c = next; c; c = c->next_waiting) {
        c->name = NULL;
        c->look = LOOK_ANSWERED;
    }
    pthread_mutex_unlock(&r->lock);
    while ((c = next)) {
        next = c->next_waiting;
        c->gai_error = error;
        c->addresses = *found;
        rpc_loop_post(c->loop, &c->step);
    }
}

/* On a resolver thread. */
static void *APR_THREAD_FUNC look_up_name(apr_thread_t *thread, void *data)
{
    name_t *name = data;
    rpc_resolver_t *r = name->resolver;
    rpc_addresses_t found;
    int error, wanted;

    pthread_mutex_lock(&r->lock);
    wanted = name->waiting != NULL;
    if (!wanted)
        name_drop(r, name);     /* all have left while it was queued */
    pthread_mutex_unlock(&r->lock);
    if (!wanted)
        return NULL;
    memset(&found, 0, sizeof(found));
    error = r->params.look_up(r->params.ctx, name->host, &found);
    if (!error && !found.count)
        error = EAI_NONAME;
    answer_name(name, error, &found);
    return NULL;
}

/* Under the lock: has HOST looked up. */
static name_t *start_look_up(rpc_resolver_t *r, const char *host)
{
    size_t size = strlen(host) + 1;
    name_t *name;

    if (!make_room(r) || !(name = calloc(1, sizeof(*name) + size)))
        return NULL;
    memcpy(name->host, host, size);
    name->resolver = r;
    name->looking = 1;
    if (apr_thread_pool_push(r->threads, look_up_name, name, APR_THREAD_TASK_PRIORITY_NORMAL, r)
        != APR_SUCCESS) {
        free(name);
        return NULL;
    }
    name_to_front(r, name);
    return name;
}

/* Takes the answer that is known, or waits for one: then 0. */
static int ask(rpc_connect_t *c)
{
    rpc_resolver_t *r = c->resolver;
    name_t *name = NULL;
    int waits = 0;

    pthread_mutex_lock(&r->lock);
    if (!r->ended && !(name = name_find(r, c->host)))
        name = start_look_up(r, c->host);
    if (!name)
        c->gai_error = EAI_AGAIN;
    else if (name->looking) {
        wait_for(name, c);
        waits = 1;
    }
    else {
        c->gai_error = name->error;
        c->addresses = name->addresses;
    }
    pthread_mutex_unlock(&r->lock);
    return !waits;
}

/* Waits no more; 0: the answer is on its way. */
static int leave(rpc_connect_t *c)
{
    look_t look;

    if (!c->resolver)
        return 1;
    pthread_mutex_lock(&c->resolver->lock);
    if (c->look == LOOK_WAITING)
        leave_name(c);
    look = c->look;
    pthread_mutex_unlock(&c->resolver->lock);
    return look != LOOK_ANSWERED;
}

/* Nothing answers at these addresses: who comes next asks anew, the server may have moved. */
static void forget(rpc_resolver_t *r, const char *host)
{
    name_t *name;

    pthread_mutex_lock(&r->lock);
    name = r->ended ? NULL : name_find(r, host);
    if (name && !name->looking)
        name_drop(r, name);
    pthread_mutex_unlock(&r->lock);
}

/* Before the pools below are destroyed, for loops may live there and look-ups post to them. */
static apr_status_t resolver_end(void *data)
{
    rpc_resolver_t *r = data;

    pthread_mutex_lock(&r->lock);
    r->ended = 1;
    pthread_mutex_unlock(&r->lock);
    apr_thread_pool_destroy(r->threads);
    pthread_mutex_lock(&r->lock);
    while (r->first) {
        while (r->first->waiting)
            leave_name(r->first->waiting);
        name_drop(r, r->first);
    }
    pthread_mutex_unlock(&r->lock);
    return APR_SUCCESS;
}

/* The threads come, and go when there is nothing to do, with a pool each, while a loop's thread
 * allocates from POOL: below an allocator with a lock, which that of POOL need not have. */
static apr_status_t make_threads(rpc_resolver_t *r, apr_pool_t *pool)
{
    apr_allocator_t *allocator;
    apr_thread_mutex_t *mutex;
    apr_pool_t *own;
    apr_status_t rv = apr_allocator_create(&allocator);

    if (rv == APR_SUCCESS)
        rv = apr_pool_create_ex(&own, pool, NULL, allocator);
    if (rv != APR_SUCCESS)
        return rv;
    apr_allocator_owner_set(allocator, own);
    rv = apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, own);
    if (rv != APR_SUCCESS)
        return rv;
    apr_allocator_mutex_set(allocator, mutex);
    return apr_thread_pool_create(&r->threads, 0, (apr_size_t)r->params.threads, own);
}

apr_status_t rpc_resolver_make(rpc_resolver_t **out, const rpc_resolver_params_t *params, apr_pool_t *pool)
{
    rpc_resolver_t *r = apr_pcalloc(pool, sizeof(*r));
    apr_status_t rv;

    r->params = *params;
    if (!r->params.names)
        r->params.names = NAMES;
    if (!r->params.look_up)
        r->params.look_up = usual_look_up;
    if (!r->params.now)
        r->params.now = usual_now;
    pthread_mutex_init(&r->lock, NULL);
    *out = r;
    rv = make_threads(r, pool);
    if (rv == APR_SUCCESS)
        apr_pool_pre_cleanup_register(pool, r, resolver_end);
    return rv;
}

apr_status_t rpc_resolver_create(rpc_resolver_t **out, int threads, apr_pool_t *pool)
{
    rpc_resolver_params_t params = { .threads = threads };

    return rpc_resolver_make(out, &params, pool);
}

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
    rpc_timer_cancel(c->loop, &c->deadline);
    rpc_timer_cancel(c->loop, &c->again);
    rpc_loop_unschedule(c->loop, &c->step);
    free(c->host);
    free(c);
}

/* Frees it, or has that done by the job that is on its way. */
static void give_up(rpc_connect_t *c)
{
    if (leave(c)) {
        connect_free(c);
        return;
    }
    c->cancelled = 1;
    rpc_timer_cancel(c->loop, &c->deadline);
}

static void finish(rpc_connect_t *c, rpc_reason_t reason, attempt_t *winner)
{
    rpc_connect_result_t result = { .reason = reason, .status = c->status, .fd = -1, .rule = c->rule };
    rpc_connect_ended_t *ended = c->ended;
    rpc_connect_done_t *done = c->done;
    void *ctx = c->ctx;

    apr_cpystrn(result.address, c->address, sizeof(result.address));
    if (winner) {
        result.fd = winner->watch.fd;
        result.rule = NULL;
        if (!c->unix_addr.sun_family)
            rpc_address_text(&c->addresses.list[winner - c->attempts], result.address);
        rpc_watch_remove(c->loop, &winner->watch);
        winner->watch.fd = -1;
    }
    if (c->host && (reason == RPC_REASON_CONNECT_FAILED || reason == RPC_REASON_CONNECT_TIMEOUT))
        forget(c->resolver, c->host);
    give_up(c);
    if (ended)
        ended(ctx, &result);
    else
        done(ctx, result.reason, result.status, result.fd);
}

/* ---- attempts ---- */

/* A socket for FAMILY, bound to SOURCE if that is not NULL. Which port it gets is left to
 * connect(), so that each serves for as many connections as there are servers' ports. */
static int open_socket(int family, const rpc_address_t *source)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -1;
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

/* Starts on address I, if that is allowed. A source that is not there, or has no port left for this
 * server, is no reason not to try the next. */
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
        c->status = start_connect(&c->attempts[i], &to->any, rpc_address_size(to),
                                  rpc_sources_next(c->sources, family));
    } while (c->status == EADDRNOTAVAIL && --sources > 0);
    return c->status == APR_SUCCESS;
}

/* Starts on the next address that lets itself be tried; ends when none is left or under way. */
static void try_next(rpc_connect_t *c)
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
    finish(c, c->tried ? RPC_REASON_CONNECT_FAILED : RPC_REASON_ADDRESS_REFUSED, NULL);
}

static void try_unix(rpc_connect_t *c)
{
    c->status = start_connect(&c->attempts[0], (struct sockaddr *)&c->unix_addr, sizeof(c->unix_addr), NULL);
    if (APR_STATUS_IS_EAGAIN(c->status))
        rpc_timer_set(c->loop, &c->again, rpc_loop_now(c->loop) + BACKLOG_RETRY);
    else if (c->status != APR_SUCCESS)
        finish(c, RPC_REASON_CONNECT_FAILED, NULL);
}

static void try_some(rpc_connect_t *c)
{
    if (c->unix_addr.sun_family)
        try_unix(c);
    else
        try_next(c);
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
        finish(c, RPC_REASON_NONE, attempt);
        return;
    }
    stop_attempt(attempt);
    try_next(c);
}

static void deadline_passed(rpc_timer_t *timer)
{
    rpc_connect_t *c = RPC_OWNER_OF(timer, rpc_connect_t, deadline);

    c->status = APR_TIMEUP;
    finish(c, c->tried || !c->host ? RPC_REASON_CONNECT_TIMEOUT : RPC_REASON_RESOLVE_FAILED, NULL);
}

static void try_again(rpc_timer_t *timer)
{
    try_some(RPC_OWNER_OF(timer, rpc_connect_t, again));
}

/* The first from I on that is of FAMILY, or is not; COUNT: none. */
static int next_of(const rpc_addresses_t *all, int i, int family, int is)
{
    while (i < all->count && (all->list[i].any.sa_family == family) != is)
        i++;
    return i;
}

/* The families take turns, each in its order, the first address's family first (RFC 8305 section 4). */
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

/* On the loop: the addresses are known, or will never be. */
static void resolved(rpc_job_t *job)
{
    rpc_connect_t *c = RPC_OWNER_OF(job, rpc_connect_t, step);

    c->look = LOOK_NOT;         /* no thread but this one knows it now */
    if (c->cancelled)
        connect_free(c);
    else if (c->gai_error) {
        c->status = APR_OS_START_EAIERR + abs(c->gai_error);
        finish(c, RPC_REASON_RESOLVE_FAILED, NULL);
    }
    else {
        if (c->addresses.count)
            take_turns(&c->addresses);
        try_some(c);
    }
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
    c->again.fire = try_again;
    c->step.run = resolved;
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
    if (system_look_up(params->host, AI_NUMERICHOST, &c->addresses) == 0) {
        rpc_loop_schedule(loop, &c->step);
        return c;
    }
    c->host = strdup(params->host);
    if (!c->host) {
        connect_free(c);
        return NULL;
    }
    c->resolver = params->resolver;
    if (ask(c))
        rpc_loop_schedule(loop, &c->step);
    return c;
}

rpc_connect_t *rpc_connect_tcp(rpc_loop_t *loop, rpc_resolver_t *resolver, const char *host,
                               uint16_t port, apr_interval_time_t timeout,
                               rpc_connect_done_t *done, void *ctx)
{
    rpc_connect_params_t params = { .resolver = resolver, .host = host, .port = port, .timeout = timeout,
                                    .networks = rpc_networks_unchecked() };
    rpc_connect_t *c = rpc_connect_start(loop, &params, NULL, ctx);

    if (c)
        c->done = done;
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
    give_up(c);
}
