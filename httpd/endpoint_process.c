/* httpd/endpoint_process.c: the endpoint process: a loop, an endpoint on it, the sockets to
 * accept legs from, and the parent at the other end of a control socket, whose end of file
 * says that the parent is gone.
 */
#include "httpd/endpoint_process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ap_listen.h>
#include <ap_mpm.h>
#include <apr_portable.h>
#include <apr_signal.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <mod_unixd.h>
#include <mpm_common.h>
#include <unixd.h>

#include "httpd/module.h"
#include "target/connect.h"
#include "endpoint/endpoint.h"

APLOG_USE_MODULE(rpcproxy);

#define RESOLVER_THREADS 4
#define ACCEPT_AGAIN apr_time_from_msec(100)

typedef struct process process_t;

typedef struct listener {
    process_t *me;
    rpc_watch_t watch;
    rpc_listen_t says;
    rpc_endpoint_listener_t via;
} listener_t;

struct process {
    server_rec *s;
    rpc_loop_t *loop;
    rpc_endpoint_t *endpoint;
    int count;
    listener_t listeners[RPC_LISTEN_MAX];
    rpc_watch_t control, sigterm;
    rpc_timer_t again;
    rpc_log_t log;
    int retiring;           /* goes when idle */
    int leaving;            /* goes now: legs that still come are for the next process */
};

static void write_log(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    ap_log_error(APLOG_MARK, level, status, (server_rec *)log->ctx, "%s", text);
}

/* ---- legs ---- */

static void accept_legs(listener_t *l)
{
    process_t *me = l->me;
    int fd;

    if (me->leaving)
        return;
    while ((fd = accept4(l->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        rpc_endpoint_accept(me->endpoint, fd, l->says.host[0] ? &l->via : NULL);
    /* EINVAL: the parent has given this socket up, and says so in a moment. */
    if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR || errno == EINVAL)
        return;
    /* Out of descriptors: no further edge tells when to try again. */
    ap_log_error(APLOG_MARK, APLOG_ERR, errno, me->s, "endpoint: cannot accept a leg");
    rpc_timer_set(me->loop, &me->again, rpc_loop_now(me->loop) + ACCEPT_AGAIN);
}

static void listener_ready(rpc_watch_t *watch, uint32_t events)
{
    accept_legs(RPC_OWNER_OF(watch, listener_t, watch));
}

static void accept_again(rpc_timer_t *timer)
{
    process_t *me = RPC_OWNER_OF(timer, process_t, again);
    int i;

    for (i = 0; i < me->count; i++)
        accept_legs(&me->listeners[i]);
}

static apr_status_t listen_too(process_t *me, const rpc_listen_t *says, int fd)
{
    listener_t *l = &me->listeners[me->count];

    if (me->count == RPC_LISTEN_MAX) {
        close(fd);
        return APR_ENOSPC;
    }
    l->me = me;
    l->says = *says;
    l->via = (rpc_endpoint_listener_t){ l->says.name, l->says.host, says->port, says->version1 };
    l->watch = (rpc_watch_t){ fd, listener_ready };
    me->count++;
    return rpc_watch_add(me->loop, &l->watch);
}

/* What has connected here already is still taken. */
static void forget_listeners(process_t *me)
{
    while (me->count) {
        listener_t *l = &me->listeners[me->count - 1];

        accept_legs(l);
        rpc_watch_remove(me->loop, &l->watch);
        close(l->watch.fd);
        me->count--;
    }
}

/* ---- the end ---- */

static void leave(process_t *me)
{
    me->leaving = 1;
    rpc_loop_stop(me->loop);
}

static void go_if_idle(void *ctx)
{
    process_t *me = ctx;

    if (me->retiring && rpc_endpoint_count(me->endpoint) == 0)
        leave(me);
}

static void sigterm_ready(rpc_watch_t *watch, uint32_t events)
{
    leave(RPC_OWNER_OF(watch, process_t, sigterm));
}

/* ---- what the parent says ---- */

/* The parent has opened its logs anew, say after a rotation: write where it writes. */
static void use_log(process_t *me, int fd)
{
    apr_os_file_t current;

    if (me->s->error_log && apr_os_file_get(&current, me->s->error_log) == APR_SUCCESS)
        dup2(fd, current);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static void go_when_idle(process_t *me, int log)
{
    if (log >= 0)
        use_log(me, log);
    me->retiring = 1;
    go_if_idle(me);
}

/* Another build of the module may say things of another size: those are let be. */
static void obey(process_t *me, const char *message, size_t len, int fd)
{
    rpc_listen_t says;
    apr_status_t rv = APR_SUCCESS;

    if (*message == RPC_SAY_GO_WHEN_IDLE) {
        go_when_idle(me, fd);
        return;
    }
    if (*message == RPC_SAY_FORGET)
        forget_listeners(me);
    else if (*message == RPC_SAY_LISTEN && len == 1 + sizeof(says) && fd >= 0) {
        memcpy(&says, message + 1, sizeof(says));
        rv = listen_too(me, &says, fd);
        fd = -1;
    }
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, me->s, "endpoint: cannot listen at %s", says.name);
    if (fd >= 0)
        close(fd);
}

static int received_fd(struct msghdr *msg)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    int fd;

    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS
        || c->cmsg_len != CMSG_LEN(sizeof(fd)))
        return -1;
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

static void control_ready(rpc_watch_t *watch, uint32_t events)
{
    process_t *me = RPC_OWNER_OF(watch, process_t, control);

    for (;;) {
        char message[1 + sizeof(rpc_listen_t)], room[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { message, sizeof(message) };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
                              .msg_controllen = sizeof(room) };
        ssize_t n = recvmsg(watch->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            leave(me);  /* the parent is gone */
            return;
        }
        obey(me, message, (size_t)n, received_fd(&msg));
    }
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

static apr_status_t make_endpoint(process_t *me, const rpc_endpointd_params_t *given)
{
    rpc_endpoint_params_t params = {
        .receive_window = given->receive_window,
        .setup_timeout = given->setup_timeout,
        .connect_timeout = given->connect_timeout,
        .dialer.health = given->health,
        .networks = given->networks,
        .sources = given->sources,
        .log = &me->log,
        .idle = go_if_idle,
        .ctx = me,
    };
    apr_pool_t *pool;
    apr_status_t rv = apr_pool_create_unmanaged_ex(&pool, NULL, NULL);

    if (rv == APR_SUCCESS)
        rv = rpc_loop_create(&me->loop, pool);
    if (rv == APR_SUCCESS)
        rv = rpc_resolver_create(&params.dialer.resolver, RESOLVER_THREADS, pool);
    if (rv != APR_SUCCESS)
        return rv;
    me->log = (rpc_log_t){ write_log, ap_get_server_module_loglevel(me->s, APLOG_MODULE_INDEX),
                           me->s };
    me->endpoint = rpc_endpoint_create(me->loop, &params, pool);
    return APR_SUCCESS;
}

static apr_status_t watch_all(process_t *me, const rpc_listen_set_t *listeners, int control)
{
    apr_status_t rv;
    int i;

    me->again.fire = accept_again;
    me->control = (rpc_watch_t){ control, control_ready };
    me->sigterm = (rpc_watch_t){ set_signals(), sigterm_ready };
    rv = rpc_watch_add(me->loop, &me->sigterm);
    if (rv == APR_SUCCESS)
        rv = rpc_watch_add(me->loop, &me->control);
    for (i = 0; rv == APR_SUCCESS && i < listeners->count; i++)
        rv = listen_too(me, &listeners->at[i], listeners->at[i].fd);
    return rv;
}

void rpc_endpointd_process(server_rec *s, const rpc_endpointd_params_t *params,
                           const rpc_listen_set_t *listeners, int control)
{
    process_t me = { .s = s };
    apr_status_t rv;

    ap_close_listeners();
    prctl(PR_SET_NAME, "rpc-endpoint");
    if (ap_unixd_setup_child())
        _exit(APEXIT_CHILDFATAL);
    rv = make_endpoint(&me, params);
    if (rv == APR_SUCCESS)
        rv = watch_all(&me, listeners, control);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, me.s, "endpoint: cannot start");
        _exit(APEXIT_CHILDSICK);
    }
    rpc_loop_run(me.loop);
    rpc_endpoint_close(me.endpoint);
    _exit(0);   /* the clean-ups of the pools are the parent's to run */
}
