/* rpc_endpointd.c: parent and endpoint process share two things, both made by the parent:
 *
 *   the listening Unix socket, which stays open in the parent over all restarts, so that legs
 *     wait in its backlog while one endpoint process follows another;
 *   a control socket: each restart sends the re-opened error log through it, and the listening
 *     socket if its path changed, and asks the process to go once it has no virtual connection;
 *     its end of file says that the parent is gone.
 *
 * The parent starts a new process, with the configuration of then, whenever one has ended.
 */
#include "rpc_endpointd.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ap_listen.h>
#include <ap_mpm.h>
#include <apr_portable.h>
#include <apr_signal.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <mod_unixd.h>
#include <mpm_common.h>
#include <unixd.h>

#include "mod_rpcproxy.h"
#include "rpc_connect.h"
#include "rpc_endpoint.h"

APLOG_USE_MODULE(rpcproxy);

#define BACKLOG 4096
#define RESOLVER_THREADS 4
#define ACCEPT_AGAIN apr_time_from_msec(100)

/* What the parent says on the control socket. */
#define GO_WHEN_IDLE 'G'    /* with the error log, if there is one to write to */
#define LISTEN_HERE 'L'     /* with the socket to listen on from now */

/* What outlives restarts in the parent. */
typedef struct retained {
    int listener;           /* -1 before the first start */
    int control;            /* our end; -1 when no process runs */
    apr_proc_t proc;
    struct sockaddr_un addr;
} retained_t;

/* What the supervision of one generation of the configuration needs. */
typedef struct supervisor {
    retained_t *kept;
    server_rec *s;
    apr_pool_t *pconf;
    pid_t parent;
    rpc_endpointd_params_t params;
} supervisor_t;

const char *rpc_endpointd_socket(apr_pool_t *p, server_rec *s, const char *configured)
{
    return ap_runtime_dir_relative(p, configured ? configured : "rpcproxy.sock");
}

/* ---- in the endpoint process ---- */

typedef struct process {
    server_rec *s;
    rpc_loop_t *loop;
    rpc_endpoint_t *endpoint;
    rpc_watch_t listener, control, sigterm;
    rpc_timer_t again;
    rpc_log_t log;
    int retiring;           /* goes when idle */
    int leaving;            /* goes now: legs that still come are for the next process */
} process_t;

static void write_log(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    ap_log_error(APLOG_MARK, level, status, (server_rec *)log->ctx, "%s", text);
}

static void accept_legs(process_t *me)
{
    int fd;

    if (me->leaving)
        return;
    while ((fd = accept4(me->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        rpc_endpoint_accept(me->endpoint, fd);
    if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
        return;
    /* Out of descriptors: no further edge tells when to try again. */
    ap_log_error(APLOG_MARK, APLOG_ERR, errno, me->s, "endpoint: cannot accept a leg");
    rpc_timer_set(me->loop, &me->again, rpc_loop_now(me->loop) + ACCEPT_AGAIN);
}

static void listener_ready(rpc_watch_t *watch, uint32_t events)
{
    accept_legs(RPC_OWNER_OF(watch, process_t, listener));
}

static void accept_again(rpc_timer_t *timer)
{
    accept_legs(RPC_OWNER_OF(timer, process_t, again));
}

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

/* The parent has opened its logs anew, say after a rotation: write where it writes. */
static void use_log(process_t *me, int fd)
{
    apr_os_file_t current;

    if (me->s->error_log && apr_os_file_get(&current, me->s->error_log) == APR_SUCCESS)
        dup2(fd, current);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

/* RpcEndpointSocket changed while there are virtual connections: go on at the new path. */
static void use_listener(process_t *me, int fd)
{
    apr_status_t rv;

    accept_legs(me);
    rpc_watch_remove(me->loop, &me->listener);
    close(me->listener.fd);
    me->listener.fd = fd;
    rv = rpc_watch_add(me->loop, &me->listener);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, me->s, "endpoint: cannot listen at the new path");
}

static void obey(process_t *me, char what, int fd)
{
    if (what == LISTEN_HERE) {
        if (fd >= 0)
            use_listener(me, fd);
        return;
    }
    if (fd >= 0)
        use_log(me, fd);
    me->retiring = 1;
    go_if_idle(me);
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
        char what, room[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { &what, 1 };
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
        obey(me, what, received_fd(&msg));
    }
}

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

static apr_status_t process_setup(process_t *me, const supervisor_t *sup, int control)
{
    rpc_endpoint_params_t params = {
        .receive_window = sup->params.receive_window,
        .setup_timeout = sup->params.setup_timeout,
        .connect_timeout = sup->params.connect_timeout,
        .log = &me->log,
        .idle = go_if_idle,
        .ctx = me,
    };
    apr_pool_t *pool;
    apr_status_t rv = apr_pool_create_unmanaged_ex(&pool, NULL, NULL);

    if (rv == APR_SUCCESS)
        rv = rpc_loop_create(&me->loop, pool);
    if (rv == APR_SUCCESS)
        rv = rpc_resolver_create(&params.resolver, RESOLVER_THREADS, pool);
    if (rv != APR_SUCCESS)
        return rv;
    me->log = (rpc_log_t){ write_log, ap_get_server_module_loglevel(me->s, APLOG_MODULE_INDEX),
                           me->s };
    me->endpoint = rpc_endpoint_create(me->loop, &params, pool);
    me->again.fire = accept_again;
    me->listener = (rpc_watch_t){ sup->kept->listener, listener_ready };
    me->control = (rpc_watch_t){ control, control_ready };
    me->sigterm = (rpc_watch_t){ set_signals(), sigterm_ready };
    rv = rpc_watch_add(me->loop, &me->sigterm);
    if (rv == APR_SUCCESS)
        rv = rpc_watch_add(me->loop, &me->control);
    if (rv == APR_SUCCESS)
        rv = rpc_watch_add(me->loop, &me->listener);
    return rv;
}

static void process_main(const supervisor_t *sup, int control) __attribute__((noreturn));
static void process_main(const supervisor_t *sup, int control)
{
    process_t me = { .s = sup->s };
    apr_status_t rv;

    ap_close_listeners();
    close(sup->kept->control);
    prctl(PR_SET_NAME, "rpc-endpoint");
    if (ap_unixd_setup_child())
        _exit(APEXIT_CHILDFATAL);
    rv = process_setup(&me, sup, control);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, me.s, "endpoint: cannot start");
        _exit(APEXIT_CHILDSICK);
    }
    rpc_loop_run(me.loop);
    rpc_endpoint_close(me.endpoint);
    _exit(0);   /* the clean-ups of the pools are the parent's to run */
}

/* ---- in the parent ---- */

static void supervise(int reason, void *data, apr_wait_t status);

static apr_status_t start_process(supervisor_t *sup)
{
    retained_t *kept = sup->kept;
    int control[2];
    apr_status_t rv;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        return errno;
    kept->control = control[0];
    rv = apr_proc_fork(&kept->proc, sup->pconf);
    if (rv == APR_INCHILD)
        process_main(sup, control[1]);
    close(control[1]);
    if (rv != APR_INPARENT) {
        close(control[0]);
        kept->control = -1;
        return rv;
    }
    apr_proc_other_child_register(&kept->proc, supervise, sup, NULL, sup->pconf);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, sup->s, "endpoint process %d started",
                 (int)kept->proc.pid);
    return APR_SUCCESS;
}

static void process_ended(supervisor_t *sup, apr_wait_t status)
{
    int stopping = 0;
    apr_status_t rv;

    close(sup->kept->control);
    sup->kept->control = -1;
    if (ap_mpm_query(AP_MPMQ_MPM_STATE, &stopping) != APR_SUCCESS
        || stopping == AP_MPMQ_STOPPING)
        return;
    if (status) /* the MPM passes the exit code or the signal, without saying which */
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, sup->s,
                     "endpoint process %d died (exit code or signal %d): starting another",
                     (int)sup->kept->proc.pid, (int)status);
    rv = start_process(sup);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, sup->s, "cannot start the endpoint process");
}

static void supervise(int reason, void *data, apr_wait_t status)
{
    supervisor_t *sup = data;

    switch (reason) {
    case APR_OC_REASON_DEATH:
    case APR_OC_REASON_LOST:
        apr_proc_other_child_unregister(data);
        process_ended(sup, status);
        break;
    default:    /* a restart goes through post_config; unregistering tells nothing new */
        break;
    }
}

/* Says something to the running process, with a descriptor unless it is -1. */
static void tell(const retained_t *kept, server_rec *s, char what, int fd)
{
    char room[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { &what, 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        struct cmsghdr *c;

        memset(room, 0, sizeof(room));
        msg.msg_control = room;
        msg.msg_controllen = sizeof(room);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    /* EPIPE, ECONNRESET: it is about to have ended, which is well too. */
    if (sendmsg(kept->control, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EPIPE
        && errno != ECONNRESET)
        ap_log_error(APLOG_MARK, APLOG_WARNING, errno, s,
                     "cannot tell endpoint process %d of the restart", (int)kept->proc.pid);
}

/* A process that went on over the restart: where to listen and log, and to go when idle. */
static void carry_over(const retained_t *kept, server_rec *s, int moved)
{
    apr_os_file_t log = -1;

    if (moved)
        tell(kept, s, LISTEN_HERE, kept->listener);
    if (!s->error_log || apr_os_file_get(&log, s->error_log) != APR_SUCCESS)
        log = -1;
    tell(kept, s, GO_WHEN_IDLE, log);
}

/* Did it end while nobody watched, between two configurations? */
static int is_running(const retained_t *kept)
{
    return kept->control >= 0 && waitpid(kept->proc.pid, NULL, WNOHANG) == 0;
}

/* The configuration's pool goes, at a restart or at the end. The next configuration may
 * need no endpoint and never come to say so: it is told to go when idle now. */
static apr_status_t let_go(void *data)
{
    const supervisor_t *sup = data;

    if (getpid() != sup->parent)
        return APR_SUCCESS;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING)
        unlink(sup->kept->addr.sun_path);
    else if (sup->kept->control >= 0)
        tell(sup->kept, sup->s, GO_WHEN_IDLE, -1);
    return APR_SUCCESS;
}

/* Only httpd's User may connect: mode 0600, and his. */
static apr_status_t make_listener(retained_t *kept)
{
    mode_t mask = umask(0177);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    apr_status_t rv = APR_SUCCESS;

    unlink(kept->addr.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&kept->addr, sizeof(kept->addr)) < 0
        || (geteuid() == 0 && chown(kept->addr.sun_path, ap_unixd_config.user_id, (gid_t)-1) < 0)
        || listen(fd, BACKLOG) < 0)
        rv = errno;
    umask(mask);
    if (rv == APR_SUCCESS)
        kept->listener = fd;
    else if (fd >= 0)
        close(fd);
    return rv;
}

/* MOVED: is it another socket than before the restart? */
static apr_status_t listen_at(retained_t *kept, server_rec *s, const char *path, int *moved)
{
    apr_status_t rv;

    *moved = 0;

    if (strlen(path) >= sizeof(kept->addr.sun_path)) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "RpcEndpointSocket %s: a Unix socket's path "
                     "has at most %d characters", path, (int)sizeof(kept->addr.sun_path) - 1);
        return APR_ENAMETOOLONG;
    }
    if (kept->listener >= 0 && strcmp(path, kept->addr.sun_path) == 0)
        return APR_SUCCESS;
    if (kept->listener >= 0) {
        unlink(kept->addr.sun_path);
        close(kept->listener);
        kept->listener = -1;
    }
    *moved = 1;
    kept->addr.sun_family = AF_UNIX;
    apr_cpystrn(kept->addr.sun_path, path, sizeof(kept->addr.sun_path));
    rv = make_listener(kept);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s, "cannot listen at RpcEndpointSocket %s", path);
    return rv;
}

static retained_t *get_retained(server_rec *s)
{
    static const char key[] = "rpcproxy-endpoint";
    retained_t *kept = ap_retained_data_get(key);

    if (!kept) {
        kept = ap_retained_data_create(key, sizeof(*kept));
        kept->listener = kept->control = -1;
    }
    return kept;
}

apr_status_t rpc_endpointd_start(apr_pool_t *pconf, server_rec *s,
                                 const rpc_endpointd_params_t *params)
{
    supervisor_t *sup = apr_pcalloc(pconf, sizeof(*sup));
    apr_status_t rv;
    int moved;

    sup->kept = get_retained(s);
    sup->s = s;
    sup->pconf = pconf;
    sup->parent = getpid();
    sup->params = *params;
    rv = listen_at(sup->kept, s, rpc_endpointd_socket(pconf, s, params->socket), &moved);
    if (rv != APR_SUCCESS)
        return rv;
    apr_pool_cleanup_register(pconf, sup, let_go, apr_pool_cleanup_null);
    if (is_running(sup->kept)) {
        apr_proc_other_child_register(&sup->kept->proc, supervise, sup, NULL, pconf);
        carry_over(sup->kept, s, moved);
        return APR_SUCCESS;
    }
    if (sup->kept->control >= 0)
        close(sup->kept->control);
    rv = start_process(sup);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s, "cannot start the endpoint process");
    return rv;
}
