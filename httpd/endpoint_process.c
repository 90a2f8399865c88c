/* httpd/endpoint_process.c: an endpoint process: a loop, an endpoint on it, the sockets to accept
 * legs from, lines to the processes before and after it, and the parent at the other end of a
 * control socket, whose end of file says that the parent is gone.
 *
 *   serving   accepts legs
 *   retired   another process accepts them, or none any more: goes when it has no virtual
 *             connection left, at the latest after RpcGracefulTimeout
 */
#include "httpd/endpoint_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ap_listen.h>
#include <ap_mpm.h>
#include <apr_portable.h>
#include <apr_signal.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <mod_unixd.h>
#include <mpm_common.h>
#include <unixd.h>

#include "base/message_id.h"
#include "endpoint/handover.h"
#include "httpd/endpoint_secret.h"
#include "httpd/module.h"
#include "httpd/server_log.h"
#include "io/pass.h"
#include "target/connect.h"

APLOG_USE_MODULE(rpcproxy);

#define ACCEPT_AGAIN apr_time_from_msec(100)
/* The number of legs that one listener takes before other listeners and the new legs get their
 * turn. */
#define ACCEPT_TURN 64
/* The number of turns for the legs in the backlog of a listener that ends. */
#define LAST_TURNS 64
/* The greatest number of silent legs of one listener, if there are enough descriptors. */
#define SILENT_MAX 1024
/* If a restart takes longer, the next configuration does not need this process. */
#define UNCERTAIN_MAX apr_time_from_sec(120)

typedef struct process process_t;

typedef struct listener {
    process_t *me;
    rpc_watch_t watch;      /* fd -1: closed */
    rpc_job_t more;         /* there may be more to accept */
    int starved;            /* its legs wait, for want of descriptors or memory */
    rpc_listen_t says;
    rpc_endpoint_listener_t via;
} listener_t;

struct process {
    const rpc_endpointd_birth_t *birth;
    server_rec *s;
    apr_pool_t *pool;
    rpc_loop_t *loop;
    rpc_endpoint_t *endpoint;
    rpc_handover_t *handover;
    int count;
    listener_t listeners[RPC_LISTEN_MAX];
    rpc_watch_t control, sigterm;
    rpc_timer_t again, limit, drained, uncertain;
    rpc_log_t log;
    int retired;            /* goes when idle */
    int leaving;            /* goes now: legs that still come are for the next process */
};

/* ---- legs ---- */

static void listener_close(listener_t *l)
{
    if (l->watch.fd < 0)
        return;
    rpc_watch_remove(l->me->loop, &l->watch);
    rpc_loop_unschedule(l->me->loop, &l->more);
    close(l->watch.fd);
    l->watch.fd = -1;
}

/* epoll reports no further event for this listener, so a timer tries again. */
static void accept_later(process_t *me)
{
    rpc_timer_set(me->loop, &me->again, rpc_loop_now(me->loop) + ACCEPT_AGAIN);
}

static void accept_failed(listener_t *l, int error)
{
    if (error == EAGAIN) {
        if (l->starved)
            rpc_log(&l->me->log, RPC_LOG_NOTICE, 0,
                    RPCNO(0049) "endpoint: all connections are accepted again");
        l->starved = 0;
        return;
    }
    if (error == EINVAL) {  /* shut: a restart has taken it from us, or httpd stops */
        listener_close(l);
        return;
    }
    if (!l->starved)
        rpc_log(&l->me->log, RPC_LOG_ERR, error,
                RPCNO(0050) "endpoint: cannot accept a connection; it is tried "
                "again several times a second, and until then clients wait");
    l->starved = 1;
    accept_later(l->me);    /* out of descriptors */
}

/* 1: there may be more. */
static int accept_some(listener_t *l)
{
    process_t *me = l->me;
    const rpc_endpoint_listener_t *via = l->says.host[0] ? &l->via : NULL;
    int n, fd;

    if (me->leaving || l->watch.fd < 0)
        return 0;
    for (n = 0; n < ACCEPT_TURN; n++) {
        if (rpc_endpoint_is_full(me->endpoint, via)) {
            accept_later(me);
            return 0;
        }
        fd = accept4(l->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno != ECONNABORTED && errno != EINTR) {
            accept_failed(l, errno);
            return 0;
        }
        if (fd >= 0)
            rpc_endpoint_accept(me->endpoint, fd, via);
    }
    return 1;
}

static void accept_legs(rpc_job_t *job)
{
    listener_t *l = RPC_OWNER_OF(job, listener_t, more);

    if (accept_some(l))
        rpc_loop_schedule(l->me->loop, job);
}

static void listener_ready(rpc_watch_t *watch, uint32_t events)
{
    listener_t *l = RPC_OWNER_OF(watch, listener_t, watch);

    rpc_loop_schedule(l->me->loop, &l->more);
}

static void accept_again(rpc_timer_t *timer)
{
    process_t *me = RPC_OWNER_OF(timer, process_t, again);
    int i;

    for (i = 0; i < me->count; i++)
        if (me->listeners[i].watch.fd >= 0)
            rpc_loop_schedule(me->loop, &me->listeners[i].more);
}

/* Stops listening. Legs that have connected already are still taken. */
static void listen_no_more(process_t *me)
{
    int turns;

    for (; me->count; me->count--) {
        listener_t *l = &me->listeners[me->count - 1];

        for (turns = 0; turns < LAST_TURNS && accept_some(l); turns++)
            ;
        listener_close(l);
    }
    rpc_timer_cancel(me->loop, &me->again);
}

/* ---- the end ---- */

static void endpoint_leave(process_t *me)
{
    me->leaving = 1;
    rpc_loop_stop(me->loop);
}

static void go_if_idle(void *ctx)
{
    process_t *me = ctx;

    if (!me->retired || rpc_endpoint_count(me->endpoint) || rpc_handover_pending(me->handover))
        return;
    if (rpc_endpoint_drains(me->endpoint) > rpc_loop_now(me->loop))
        rpc_timer_set(me->loop, &me->drained, rpc_endpoint_drains(me->endpoint));
    else
        endpoint_leave(me);
}

static void drained(rpc_timer_t *timer)
{
    go_if_idle(RPC_OWNER_OF(timer, process_t, drained));
}

static void out_of_time(rpc_timer_t *timer)
{
    process_t *me = RPC_OWNER_OF(timer, process_t, limit);

    rpc_log(&me->log, RPC_LOG_NOTICE, 0,
                 RPCNO(0051) "endpoint: RpcGracefulTimeout is over; %u virtual "
                 "connections from before the restart are ended", rpc_endpoint_count(me->endpoint));
    endpoint_leave(me);
}

static void endpoint_retire(process_t *me)
{
    apr_interval_time_t limit = me->birth->params->graceful_timeout;

    if (me->retired)
        return;
    listen_no_more(me);
    me->retired = 1;
    if (limit)
        rpc_timer_set(me->loop, &me->limit, rpc_loop_now(me->loop) + limit);
    go_if_idle(me);
}

static void endpoint_succeeded(void *ctx)
{
    endpoint_retire(ctx);
}

static void sigterm_ready(rpc_watch_t *watch, uint32_t events)
{
    endpoint_leave(RPC_OWNER_OF(watch, process_t, sigterm));
}

/* ---- orders of the parent ---- */

/* The parent has opened its logs again, for example after a rotation: use the same log. */
static void use_log(const process_t *me, int fd)
{
    apr_os_file_t current;

    if (me->s->error_log && apr_os_file_get(&current, me->s->error_log) == APR_SUCCESS)
        dup2(fd, current);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

/* After the restart no parent has spoken: this module is not in the configuration any more. The
 * parent still holds the sockets, so they are shut down for it, too. */
static void nobody_came(rpc_timer_t *timer)
{
    process_t *me = RPC_OWNER_OF(timer, process_t, uncertain);
    int i;

    for (i = 0; i < me->count; i++)
        if (me->listeners[i].watch.fd >= 0)
            shutdown(me->listeners[i].watch.fd, SHUT_RDWR);
    endpoint_retire(me);
}

/* Carries out one order. This function owns FD, which may be -1. */
static void obey_order(process_t *me, char letter, int fd)
{
    if (letter != RPC_SAY_UNCERTAIN)
        rpc_timer_cancel(me->loop, &me->uncertain);
    switch (letter) {
    case RPC_SAY_SUCCESSOR:
        if (fd >= 0 && rpc_handover_offer(me->handover, fd) == APR_SUCCESS)
            return;
        break;
    case RPC_SAY_RESTARTED:
        if (fd >= 0)
            use_log(me, fd);
        return;
    case RPC_SAY_RETIRE:
        endpoint_retire(me);
        break;
    case RPC_SAY_LEAVE:
        endpoint_leave(me);
        break;
    case RPC_SAY_UNCERTAIN:
        rpc_timer_set(me->loop, &me->uncertain, rpc_loop_now(me->loop) + UNCERTAIN_MAX);
        break;
    }
    if (fd >= 0)
        close(fd);
}

static void control_ready(rpc_watch_t *watch, uint32_t events)
{
    process_t *me = RPC_OWNER_OF(watch, process_t, control);
    apr_status_t rv;

    for (;;) {
        char letter;
        size_t len = 1;
        int fd;

        rv = rpc_pass_receive(watch->fd, &letter, &len, &fd);
        if (rv != APR_SUCCESS)
            break;
        obey_order(me, letter, fd);
    }
    if (!APR_STATUS_IS_EAGAIN(rv))
        endpoint_leave(me);      /* the parent is gone */
}

/* ---- the beginning ---- */

/* Stop reaches the whole process group with some MPMs; restarts come over the control
 * socket. SIGTERM is read from a descriptor, so that connections end with a log line. */
static int set_signals(void)
{
    sigset_t term;

    apr_signal(SIGINT, SIG_IGN);
    apr_signal(SIGHUP, SIG_IGN);
    apr_signal(SIGPIPE, SIG_IGN);
    apr_signal(SIGCHLD, SIG_DFL);
    apr_signal(AP_SIG_GRACEFUL, SIG_IGN);
    apr_signal(AP_SIG_GRACEFUL_STOP, SIG_IGN);
    apr_signal(SIGTERM, SIG_DFL);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    return signalfd(-1, &term, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Would this descriptor keep something alive that the parent wants to end? Such are files that are
 * written, for example rotated access logs; pipes to programs that end with them; and listeners. */
static int keeps_alive(int fd)
{
    struct stat st;
    int listens = 0;
    socklen_t len = sizeof(listens);

    if (fstat(fd, &st) < 0)
        return 0;
    if (S_ISREG(st.st_mode))
        return (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    return S_ISFIFO(st.st_mode)
           || (S_ISSOCK(st.st_mode)
               && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens);
}

static int is_among(int fd, const int *fds, int count)
{
    while (count)
        if (fds[--count] == fd)
            return 1;
    return 0;
}

void rpc_endpointd_close_others(const int *keep, int count)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (fd > STDERR_FILENO && fd != dirfd(dir) && !is_among(fd, keep, count) && keeps_alive(fd))
            close(fd);
    }
    if (dir)
        closedir(dir);
}

static void close_others(const process_t *me)
{
    const rpc_listen_set_t *set = me->birth->listeners;
    int keep[RPC_LISTEN_MAX + 2], count = 0, i;
    apr_os_file_t log;

    keep[count++] = me->birth->control;
    if (me->s->error_log && apr_os_file_get(&log, me->s->error_log) == APR_SUCCESS)
        keep[count++] = log;
    for (i = 0; i < set->count; i++)
        keep[count++] = set->at[i].fd;
    rpc_endpointd_close_others(keep, count);
}

static apr_status_t listen_too(process_t *me, const rpc_listen_t *says)
{
    listener_t *l = &me->listeners[me->count];

    if (says->fd < 0)
        return APR_SUCCESS;     /* could not be opened */
    l->me = me;
    l->says = *says;
    l->via = (rpc_endpoint_listener_t){ l->says.name, l->says.host, says->port, says->version1 };
    l->watch = (rpc_watch_t){ says->fd, listener_ready };
    l->more.run = accept_legs;
    me->count++;
    return rpc_watch_add(me->loop, &l->watch);
}

static uint64_t name_in_logs(void *ctx, const rts_cookie_t *vc)
{
    const process_t *me = ctx;

    return rpc_status_hash_cookie(me->birth->params->live, vc);
}

/* The status page and the logs of the channels show it. */
static void served(void *ctx, const rts_cookie_t *vc, const char *host, uint16_t port)
{
    const process_t *me = ctx;
    char server[RPC_SUMS_SERVER];

    apr_snprintf(server, sizeof(server), "%s[%u]", host, port);
    rpc_sums_served(me->birth->params->sums, name_in_logs(ctx, vc), server);
}

/* All listeners together leave three of four descriptors to virtual connections. */
static unsigned silent_max(const process_t *me)
{
    rlim_t listeners = (rlim_t)me->birth->listeners->count + 1;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / 4 / listeners >= SILENT_MAX)
        return SILENT_MAX;
    return (unsigned)(limit.rlim_cur / 4 / listeners) + 1;
}

static apr_status_t make_endpoint(process_t *me)
{
    const rpc_endpointd_params_t *given = me->birth->params;
    const rpc_handover_params_t handover = { &me->log, endpoint_succeeded, go_if_idle, me };
    rpc_endpoint_params_t params = {
        .receive_window = given->receive_window,
        .setup_timeout = given->setup_timeout,
        .connect_timeout = given->connect_timeout,
        .dialer.health = given->health,
        .networks = given->networks,
        .sources = given->sources,
        .secret = rpc_endpoint_secret(),
        .silent_max = silent_max(me),
        .name = name_in_logs,
        .served = served,
        .log = &me->log,
        .idle = go_if_idle,
        .ctx = me,
    };
    apr_status_t rv = rpc_loop_create(&me->loop, me->pool);

    if (rv == APR_SUCCESS)
        rv = rpc_resolver_make(&params.dialer.resolver, &(rpc_resolver_params_t){ .log = &me->log },
                               me->pool);
    if (rv != APR_SUCCESS)
        return rv;
    me->endpoint = rpc_endpoint_create(me->loop, &params, me->pool);
    me->handover = rpc_handover_create(me->endpoint, me->loop, &handover, me->pool);
    return APR_SUCCESS;
}

static apr_status_t watch_all(process_t *me)
{
    const rpc_listen_set_t *set = me->birth->listeners;
    apr_status_t rv = rpc_watch_add(me->loop, &me->control);
    int i;

    me->sigterm.fd = set_signals();
    if (me->sigterm.fd < 0)
        return errno;
    if (rv == APR_SUCCESS)
        rv = rpc_watch_add(me->loop, &me->sigterm);
    for (i = 0; rv == APR_SUCCESS && i < set->count; i++)
        rv = listen_too(me, &set->at[i]);
    return rv;
}

static void cannot_begin(const process_t *me, apr_status_t rv)
{
    const rpc_listen_set_t *set = me->birth->listeners;
    int i;

    for (i = 0; i < set->count && me->birth->alone; i++)
        shutdown(set->at[i].fd, SHUT_RDWR);     /* the parent will close them in a moment */
    if (!me->birth->attempts)
        rpc_log(&me->log, RPC_LOG_ERR, rv,
                RPCNO(0052) "endpoint: cannot start; it is tried again with pauses of up to a "
                "minute; until then %s",
                me->birth->alone ? "its clients are answered 503"
                                 : "the process from before the restart serves");
    rpc_server_log_finish();
    _exit(RPC_PROCESS_CANNOT_BEGIN);
}

static void endpoint_begin(process_t *me)
{
    apr_status_t rv = apr_pool_create_unmanaged_ex(&me->pool, NULL, NULL);

    if (rv == APR_SUCCESS && ap_unixd_setup_child())
        rv = APR_EINIT;     /* why is logged there */
    if (rv == APR_SUCCESS)
        rv = rpc_server_log_start();
    if (rv == APR_SUCCESS)
        rv = make_endpoint(me);
    if (rv == APR_SUCCESS)
        rv = watch_all(me);
    if (rv != APR_SUCCESS)
        cannot_begin(me, rv);
}

/* Tells all older processes and the parent that this process serves. */
static void announce_serving(process_t *me)
{
    const char ready = RPC_SAY_READY;
    const struct iovec part = { (void *)&ready, 1 };
    int i;

    for (i = 0; i < RPC_PROCESS_LINES; i++)
        if (me->birth->lines[i] >= 0 && rpc_handover_follow(me->handover,
                                                            me->birth->lines[i]) != APR_SUCCESS)
            rpc_log(&me->log, RPC_LOG_ERR, 0,
                         RPCNO(0053) "endpoint: cannot reach a process from before the restart");
    rpc_pass_send(me->control.fd, &part, 1, -1);
    if (me->birth->attempts)
        rpc_log(&me->log, RPC_LOG_NOTICE, 0,
                     RPCNO(0054) "endpoint: process %d serves, after %d failed attempts",
                     (int)getpid(),
                     me->birth->attempts);
}

void rpc_endpointd_process(const rpc_endpointd_birth_t *birth)
{
    process_t me = { .birth = birth, .s = birth->s };

    ap_close_listeners();
    prctl(PR_SET_NAME, "rpc-endpoint");
    close_others(&me);
    me.log = rpc_server_log(me.s);
    me.again.fire = accept_again;
    me.limit.fire = out_of_time;
    me.drained.fire = drained;
    me.uncertain.fire = nobody_came;
    me.control = (rpc_watch_t){ birth->control, control_ready };
    me.sigterm = (rpc_watch_t){ -1, sigterm_ready };
    endpoint_begin(&me);
    announce_serving(&me);
    rpc_loop_run(me.loop);
    rpc_endpoint_close(me.endpoint);
    rpc_server_log_finish();
    _exit(0);   /* the clean-ups of the pools are the parent's to run */
}
