/* httpd/endpoint_parent.c: the parent's side of the endpoint processes. What it shares with each
 * of them it has made itself:
 *
 *   the listening sockets (httpd/endpoint_listen.c), which stay open in the parent over all
 *     restarts, so that legs wait in their backlog while one process follows another;
 *   a control socket, over which a process says that it serves, and the parent what is to be
 *     done (httpd/endpoint_process.h); its end of file says that the parent is gone.
 *
 * Each restart starts a new process, with the configuration and the module of then. It gets a
 * line (endpoint/handover.h) to each one of before that still runs; these go when they have no
 * virtual connection left. Which of them accepts legs is settled between them: the newest that
 * could begin.
 *
 * A process that dies is followed by another at once. When one cannot begin, or dies young again
 * and again, the next one comes after a pause, longer each time. Unless an older one still
 * accepts legs the sockets are closed meanwhile, so that proxies know at once that there is no
 * endpoint, and their clients get 503. The parent has no timers: another child that does nothing
 * but end is its clock.
 */
#include "httpd/endpoint_parent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_portable.h>
#include <apr_signal.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <mpm_common.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "httpd/endpoint_process.h"
#include "httpd/endpoint_secret.h"
#include "httpd/module.h"
#include "io/pass.h"

APLOG_USE_MODULE(rpcproxy);

/* A process that lives for a shorter time has died young. */
#define YOUNG apr_time_from_sec(10)
/* Of one restart each; when there are as many, the oldest must go. */
#define PROCESSES RPC_PROCESS_LINES

typedef struct process {
    apr_proc_t proc;            /* pid 0: the place is free */
    unsigned number;            /* 1, 2, ..., in the order of their births */
    int control;                /* our end */
    apr_time_t born;
} process_t;

/* The state of the parent that outlives restarts. The number in KEPT_NAME stands for its layout. */
#define KEPT_NAME "rpcproxy-endpoint-2"
typedef struct retained {
    rpc_listen_set_t listening;
    char path[108];             /* of the Unix socket */
    pid_t parent;
    process_t processes[PROCESSES];
    unsigned newest;            /* number of the youngest; 0: there was none */
    unsigned serving;           /* number of the youngest that has said it serves */
    int deaths;                 /* one after the other, young */
    int attempts;               /* in vain, to make a process that serves */
    apr_time_t again;           /* the next one; 0: nobody waits for that */
    apr_proc_t pause;           /* the child that ends then; pid 0: there is none */
    int pause_control;          /* which ends it at once */
    apr_proc_t pause_over;      /* the last one: told to end, and may not have done so; or 0 */
} retained_t;

/* The state for one generation of the configuration. */
typedef struct supervisor {
    retained_t *kept;
    server_rec *s;
    apr_pool_t *pconf;
    rpc_endpointd_params_t params;
} supervisor_t;

/* What httpd's table of other children knows one process by. */
typedef struct watched {
    supervisor_t *sup;
    apr_proc_t proc;
} watched_t;

static supervisor_t *supervisor;    /* NULL: between two configurations */

static retained_t *get_retained(void)
{
    retained_t *kept = ap_retained_data_get(KEPT_NAME);

    return kept ? kept : ap_retained_data_create(KEPT_NAME, sizeof(*kept));
}

const char *rpc_endpointd_socket(void)
{
    return get_retained()->path;
}

pid_t rpc_endpointd_owner(void)
{
    return get_retained()->parent;
}

/* ---- what is said ---- */

static void tell_process(const process_t *p, server_rec *s, char what, int fd)
{
    const struct iovec part = { &what, 1 };
    apr_status_t rv = rpc_pass_send(p->control, &part, 1, fd);

    /* At the end of file it is about to have ended, which is well, too. */
    if (rv != APR_SUCCESS && rv != APR_EOF)
        ap_log_error(APLOG_MARK, APLOG_WARNING, rv, s,
                     RPCNO(0055) "cannot tell endpoint process %d of the restart",
                     (int)p->proc.pid);
}

/* Reads which processes serve. */
static void listen_to_all(retained_t *kept)
{
    process_t *p;
    char letter;
    size_t len;
    int fd;

    for (p = kept->processes; p < kept->processes + PROCESSES; p++) {
        while (p->proc.pid
               && (len = 1, rpc_pass_receive(p->control, &letter, &len, &fd)) == APR_SUCCESS) {
            if (letter == RPC_SAY_READY && p->number > kept->serving) {
                kept->serving = p->number;
                kept->attempts = 0;
            }
            if (fd >= 0)
                close(fd);
        }
    }
}

/* ---- processes ---- */

static process_t *process_of(retained_t *kept, pid_t pid)
{
    process_t *p;

    for (p = kept->processes; p < kept->processes + PROCESSES; p++)
        if (p->proc.pid == pid)
            return p;
    return NULL;
}

static process_t *process_number(retained_t *kept, unsigned number)
{
    process_t *p;

    for (p = kept->processes; p < kept->processes + PROCESSES; p++)
        if (p->proc.pid && p->number == number)
            return p;
    return NULL;
}

static void process_gone(process_t *p)
{
    close(p->control);
    memset(p, 0, sizeof(*p));
}

/* A free place for the next process. If there is none, the oldest process has to end. */
static process_t *free_place(retained_t *kept, server_rec *s)
{
    process_t *p, *oldest = kept->processes;

    for (p = kept->processes; p < kept->processes + PROCESSES; p++) {
        if (!p->proc.pid)
            return p;
        if (p->number < oldest->number)
            oldest = p;
    }
    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                 RPCNO(0056) "endpoint process %d, which was started %d restarts ago, is ended "
                 "with its virtual connections, because there may be at most %d such processes",
                 (int)oldest->proc.pid, PROCESSES, PROCESSES);
    tell_process(oldest, s, RPC_SAY_LEAVE, -1);
    process_gone(oldest);
    return oldest;
}

static void endpoint_supervise(int reason, void *data, apr_wait_t status);

static void watch(supervisor_t *sup, const apr_proc_t *proc)
{
    watched_t *watched = apr_palloc(sup->pconf, sizeof(*watched));

    *watched = (watched_t){ sup, *proc };
    apr_proc_other_child_register(&watched->proc, endpoint_supervise, watched, NULL, sup->pconf);
}

static void close_all(int *fds, int count)
{
    int i;

    for (i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Lines from a new process, whose ends are THEIRS, to each that runs, OURS. */
static apr_status_t make_lines(const retained_t *kept, int ours[PROCESSES], int theirs[PROCESSES])
{
    apr_status_t rv = APR_SUCCESS;
    int i, pair[2];

    for (i = 0; i < PROCESSES; i++)
        ours[i] = theirs[i] = -1;
    for (i = 0; i < PROCESSES && rv == APR_SUCCESS; i++) {
        if (kept->processes[i].proc.pid && (rv = rpc_pass_pair(pair)) == APR_SUCCESS) {
            ours[i] = pair[0];
            theirs[i] = pair[1];
        }
    }
    if (rv != APR_SUCCESS) {
        close_all(ours, PROCESSES);
        close_all(theirs, PROCESSES);
    }
    return rv;
}

/* In the new process: its own are LINES and the end of CONTROL that it has been given. */
static void be_born(const supervisor_t *sup, rpc_endpointd_birth_t *birth, int ours[PROCESSES],
                    int parents_end)
{
    int i;

    close(parents_end);
    if (sup->kept->pause.pid)
        close(sup->kept->pause_control);
    close_all(ours, PROCESSES);
    for (i = 0; i < PROCESSES; i++)
        if (sup->kept->processes[i].proc.pid)
            close(sup->kept->processes[i].control);
    rpc_endpointd_process(birth);
}

static apr_status_t fork_process(supervisor_t *sup, process_t *p, rpc_endpointd_birth_t *birth,
                                 int ours[PROCESSES])
{
    int control[2];
    apr_proc_t proc;
    apr_status_t rv = rpc_pass_pair(control);

    if (rv != APR_SUCCESS)
        return rv;
    birth->control = control[1];
    rv = apr_proc_fork(&proc, sup->pconf);
    if (rv == APR_INCHILD)
        be_born(sup, birth, ours, control[0]);
    close(control[1]);
    if (rv != APR_INPARENT) {
        close(control[0]);
        return rv;
    }
    p->proc = proc;
    p->control = control[0];
    p->number = ++sup->kept->newest;
    p->born = rpc_clock_now();
    return APR_SUCCESS;
}

static apr_status_t start_process(supervisor_t *sup)
{
    retained_t *kept = sup->kept;
    rpc_endpointd_birth_t birth = { sup->s, &sup->params, &kept->listening,
                                    .attempts = kept->attempts };
    process_t *p = free_place(kept, sup->s);
    int ours[PROCESSES], i;
    apr_status_t rv = make_lines(kept, ours, birth.lines);

    if (rv != APR_SUCCESS)
        return rv;
    listen_to_all(kept);
    birth.alone = process_number(kept, kept->serving) == NULL;
    rv = fork_process(sup, p, &birth, ours);
    for (i = 0; i < PROCESSES && rv == APR_SUCCESS; i++)
        if (ours[i] >= 0)
            tell_process(&kept->processes[i], sup->s, RPC_SAY_SUCCESSOR, ours[i]);
    close_all(ours, PROCESSES);
    close_all(birth.lines, PROCESSES);
    if (rv != APR_SUCCESS)
        return rv;
    watch(sup, &p->proc);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, sup->s, RPCNO(0057) "endpoint process %d started",
                 (int)p->proc.pid);
    return APR_SUCCESS;
}

/* ---- when there can be none ---- */

/* In the order of their names. The addresses are the parent's since the first post_config. */
static void make_set(rpc_listen_set_t *set, const rpc_endpointd_params_t *params, const char *path)
{
    int i;

    memset(set, 0, sizeof(*set));
    if (path) {
        set->at[0].fd = -1;
        apr_cpystrn(set->at[0].name, path, sizeof(set->at[0].name));
        set->count = 1;
    }
    for (i = 0; params->listen && i < params->listen->nelts && set->count < RPC_LISTEN_MAX; i++)
        set->at[set->count++] = APR_ARRAY_IDX(params->listen, i, rpc_listen_t);
}

/* Opens the sockets of the configuration, if it needs the endpoint. */
static apr_status_t listen_all(supervisor_t *sup, int level)
{
    rpc_listen_set_t wanted = { 0 };

    if (sup->params.wanted)
        make_set(&wanted, &sup->params, sup->kept->path);
    return rpc_listen_update(&sup->kept->listening, &wanted, sup->s, level);
}

static int is_served(retained_t *kept)
{
    listen_to_all(kept);
    return process_number(kept, kept->serving) != NULL;
}

/* 1 s, 2 s, 4 s, at most 60 s. */
static apr_interval_time_t pause_before(int attempt)
{
    return apr_time_from_sec(attempt < 7 ? 1 << (attempt - 1) : 60);
}

/* The child that is the parent's clock; it ends with the parent, too. */
static void be_a_pause(int control, apr_interval_time_t pause)
{
    struct pollfd fd = { control, POLLIN, 0 };

    prctl(PR_SET_NAME, "rpc-pause");
    apr_signal(SIGHUP, SIG_IGN);
    apr_signal(AP_SIG_GRACEFUL, SIG_IGN);
    apr_signal(AP_SIG_GRACEFUL_STOP, SIG_IGN);
    apr_signal(SIGTERM, SIG_DFL);
    rpc_endpointd_close_others(&control, 1);
    poll(&fd, 1, (int)apr_time_as_msec(pause));
    _exit(0);
}

/* If this child cannot be started, the monitor hook, which runs every ten seconds, takes its
 * place. */
static void start_pause(supervisor_t *sup, apr_interval_time_t pause)
{
    retained_t *kept = sup->kept;
    apr_proc_t proc;
    apr_status_t rv;
    int control[2];

    if (kept->pause.pid || rpc_pass_pair(control) != APR_SUCCESS)
        return;
    rv = apr_proc_fork(&proc, sup->pconf);
    if (rv == APR_INCHILD) {
        close(control[0]);
        be_a_pause(control[1], pause);
    }
    close(control[1]);
    if (rv != APR_INPARENT) {
        close(control[0]);
        return;
    }
    kept->pause = proc;
    kept->pause_control = control[0];
    watch(sup, &proc);
}

static void end_pause(retained_t *kept)
{
    kept->again = 0;
    if (kept->pause.pid) {
        close(kept->pause_control);
        kept->pause_over = kept->pause;
    }
    memset(&kept->pause, 0, sizeof(kept->pause));
}

/* Postpones the next attempt. If no other process serves, the sockets are closed meanwhile, so that
 * no proxy waits for an endpoint in vain. */
static void put_off(supervisor_t *sup, apr_interval_time_t pause)
{
    static const rpc_listen_set_t nothing;
    retained_t *kept = sup->kept;

    if (!is_served(kept))
        rpc_listen_update(&kept->listening, &nothing, sup->s, APLOG_ERR);
    kept->again = rpc_clock_now() + pause;
    start_pause(sup, pause);
}

static void start_or_put_off(supervisor_t *sup)
{
    retained_t *kept = sup->kept;
    apr_status_t rv = start_process(sup);

    if (rv == APR_SUCCESS)
        return;
    if (!kept->attempts++)
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, sup->s,
                     RPCNO(0058) "cannot start the endpoint process; httpd tries "
                     "again with pauses of up to a minute; until then %s",
                     is_served(kept) ? "the process from before the restart serves"
                                     : "its clients are answered 503");
    put_off(sup, pause_before(kept->attempts));
}

static void try_start_again(supervisor_t *sup)
{
    end_pause(sup->kept);
    listen_all(sup, APLOG_ERR);
    start_or_put_off(sup);
}

void rpc_endpointd_monitor(void)
{
    if (supervisor && supervisor->kept->again && rpc_clock_now() >= supervisor->kept->again)
        try_start_again(supervisor);
}

/* ---- when one has ended ---- */

static int is_stopping(void)
{
    int state = 0;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) != APR_SUCCESS || state == AP_MPMQ_STOPPING;
}

/* The MPM passes the exit code or the signal, without saying which. */
static void log_death(const supervisor_t *sup, pid_t pid, apr_wait_t status,
                      apr_interval_time_t pause)
{
    if (!status)
        return;
    if (pause)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, sup->s,
                     RPCNO(0059) "endpoint process %d died (exit code or signal %d) like those "
                     "before it: the next one is started in %d s, and until then its clients are "
                     "answered 503",
                     (int)pid, (int)status, (int)apr_time_sec(pause));
    else
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, sup->s,
                     RPCNO(0060) "endpoint process %d died (exit code or signal %d): "
                     "httpd starts another one",
                     (int)pid, (int)status);
}

/* The newest process, which was to serve, has ended: another one follows. */
static void newest_ended(supervisor_t *sup, pid_t pid, apr_wait_t status, int young)
{
    retained_t *kept = sup->kept;
    apr_interval_time_t pause = 0;

    if (status == RPC_PROCESS_CANNOT_BEGIN) {   /* it has logged why */
        kept->attempts++;
        put_off(sup, pause_before(kept->attempts));
        return;
    }
    kept->deaths = young ? kept->deaths + 1 : 0;
    if (kept->deaths > 1) {
        pause = pause_before(kept->deaths - 1);
        kept->attempts = kept->deaths - 1;
    }
    log_death(sup, pid, status, pause);
    if (pause)
        put_off(sup, pause);
    else
        start_or_put_off(sup);
}

static void process_ended(supervisor_t *sup, process_t *p, apr_wait_t status)
{
    pid_t pid = p->proc.pid;
    int newest = p->number == sup->kept->newest, young = rpc_clock_now() - p->born < YOUNG;

    listen_to_all(sup->kept);
    process_gone(p);
    if (is_stopping())
        return;
    if (newest && sup->params.wanted)
        newest_ended(sup, pid, status, young);
    else if (status)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, sup->s,
                     RPCNO(0061) "endpoint process %d from before the restart died "
                     "(exit code or signal %d)",
                     (int)pid, (int)status);
}

/* An endpoint process has ended, or one that was told to leave. */
static void child_ended(supervisor_t *sup, pid_t pid, apr_wait_t status)
{
    retained_t *kept = sup->kept;
    process_t *p = process_of(kept, pid);

    if (pid == kept->pause_over.pid)
        kept->pause_over.pid = 0;
    if (p)
        process_ended(sup, p, status);
    else if (pid == kept->pause.pid && !is_stopping())
        try_start_again(sup);
}

static void endpoint_supervise(int reason, void *data, apr_wait_t status)
{
    watched_t *watched = data;

    switch (reason) {
    case APR_OC_REASON_DEATH:
    case APR_OC_REASON_LOST:
        apr_proc_other_child_unregister(data);
        child_ended(watched->sup, watched->proc.pid, status);
        break;
    default:    /* a restart goes through post_config; unregistering tells nothing new */
        break;
    }
}

/* ---- graceful stop: httpd closes its own listeners, and tells no module ---- */

static struct {
    struct sigaction before;
    const retained_t *kept;
} stop;

/* The addresses of TCP are free for the next server from here, as httpd's own are. */
static void graceful_stop(int signal)
{
    int error = errno;

    if (getpid() == stop.kept->parent)
        rpc_listen_shut_tcp(&stop.kept->listening);
    errno = error;
    if (stop.before.sa_handler != SIG_IGN && stop.before.sa_handler != SIG_DFL)
        stop.before.sa_handler(signal);
}

/* The MPM sets its handler when it begins to run, and starts children behind that. */
void rpc_endpointd_child_started(void)
{
    retained_t *kept = get_retained();
    struct sigaction ours, now;

    if (getpid() != kept->parent || !supervisor || sigaction(AP_SIG_GRACEFUL_STOP, NULL, &now) < 0
        || now.sa_handler == graceful_stop || (now.sa_flags & SA_SIGINFO))
        return;
    stop.before = ours = now;
    stop.kept = kept;
    ours.sa_handler = graceful_stop;
    sigaction(AP_SIG_GRACEFUL_STOP, &ours, NULL);
}

static void leave_signal(void)
{
    struct sigaction now;

    if (sigaction(AP_SIG_GRACEFUL_STOP, NULL, &now) == 0 && now.sa_handler == graceful_stop)
        sigaction(AP_SIG_GRACEFUL_STOP, &stop.before, NULL);
}

/* ---- configurations come and go ---- */

/* At the end the Unix socket's name goes. At a restart the next configuration may not even have
 * this module. */
static apr_status_t endpoint_let_go(void *data)
{
    static const rpc_listen_set_t nothing;
    supervisor_t *sup = data;
    process_t *p = sup->kept->processes;

    supervisor = NULL;
    if (getpid() != sup->kept->parent)
        return APR_SUCCESS;
    leave_signal();
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING)
        rpc_listen_update(&sup->kept->listening, &nothing, sup->s, APLOG_ERR);
    else for (; p < sup->kept->processes + PROCESSES; p++)
        if (p->proc.pid)
            tell_process(p, sup->s, RPC_SAY_UNCERTAIN, -1);
    return APR_SUCCESS;
}

/* Takes over the processes of earlier configurations. Some may have ended between two
 * configurations, while they were not watched. The others are watched again, and write to the log
 * of this configuration. */
static void carry_over(supervisor_t *sup)
{
    process_t *p = sup->kept->processes;
    apr_os_file_t log = -1;

    if (!sup->s->error_log || apr_os_file_get(&log, sup->s->error_log) != APR_SUCCESS)
        log = -1;
    for (; p < sup->kept->processes + PROCESSES; p++) {
        if (!p->proc.pid)
            continue;
        if (waitpid(p->proc.pid, NULL, WNOHANG) != 0) {
            process_gone(p);
            continue;
        }
        watch(sup, &p->proc);
        tell_process(p, sup->s, RPC_SAY_RESTARTED, log);
        if (!sup->params.wanted)
            tell_process(p, sup->s, RPC_SAY_RETIRE, -1);
    }
    listen_to_all(sup->kept);
    if (!sup->params.wanted)
        sup->kept->serving = 0;
}

apr_status_t rpc_endpointd_listen(server_rec *s, const rpc_endpointd_params_t *params)
{
    rpc_listen_set_t wanted = { 0 };

    if (params->wanted)
        make_set(&wanted, params, NULL);
    return rpc_listen_update(&get_retained()->listening, &wanted, s, APLOG_EMERG);
}

const char *rpc_endpointd_base(apr_pool_t *p, const rpc_endpointd_params_t *params)
{
    return ap_runtime_dir_relative(p, params->socket ? params->socket : "rpcproxy.sock");
}

apr_status_t rpc_endpointd_start(apr_pool_t *pconf, server_rec *s,
                                 const rpc_endpointd_params_t *params)
{
    supervisor_t *sup = apr_pcalloc(pconf, sizeof(*sup));
    retained_t *kept = sup->kept = get_retained();
    int restart = kept->parent == getpid();
    apr_status_t rv = rpc_endpoint_secret_make();

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s,
                     RPCNO(0062) "the endpoint has no secret, because this system provides no "
                     "random bytes");
        return rv;
    }
    sup->s = s;
    sup->pconf = pconf;
    sup->params = *params;
    kept->parent = getpid();
    kept->deaths = kept->attempts = 0;
    apr_snprintf(kept->path, sizeof(kept->path), "%s.%" APR_PID_T_FMT,
                 rpc_endpointd_base(pconf, params), kept->parent);
    apr_pool_cleanup_register(pconf, sup, endpoint_let_go, apr_pool_cleanup_null);
    supervisor = sup;
    rv = listen_all(sup, restart ? APLOG_ERR : APLOG_EMERG);
    if (rv != APR_SUCCESS && !restart)
        return rv;
    carry_over(sup);
    end_pause(kept);
    /* Nobody misses it, but the MPM warns of the end of children that it does not know. */
    if (kept->pause_over.pid && waitpid(kept->pause_over.pid, NULL, WNOHANG) == 0)
        watch(sup, &kept->pause_over);
    if (params->wanted)
        start_or_put_off(sup);
    return APR_SUCCESS;
}

void rpc_endpointd_child_init(void)
{
    retained_t *kept = get_retained();
    process_t *p;

    if (getpid() == kept->parent)
        return;     /* httpd -X: one process is both */
    supervisor = NULL;
    rpc_listen_close(&kept->listening);
    end_pause(kept);
    for (p = kept->processes; p < kept->processes + PROCESSES; p++)
        if (p->proc.pid)
            process_gone(p);
}
