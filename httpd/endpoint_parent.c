/* httpd/endpoint_parent.c: the parent's side of the endpoint process. Parent and process share two
 * things, both made by the parent:
 *
 *   the listening sockets (httpd/endpoint_listen.c), which stay open in the parent over all
 *     restarts, so that legs wait in their backlog while one endpoint process follows another;
 *   a control socket: each restart sends the re-opened error log through it, and the listening
 *     sockets if they changed, and asks the process to go once it has no virtual connection;
 *     its end of file says that the parent is gone.
 *
 * The parent starts a new process, with the configuration of then, whenever one has ended.
 */
#include "httpd/endpoint_parent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <mpm_common.h>

#include "httpd/module.h"
#include "httpd/endpoint_process.h"

APLOG_USE_MODULE(rpcproxy);

/* What outlives restarts in the parent. */
typedef struct retained {
    rpc_listen_set_t listening; /* the Unix socket is the first */
    int control;                /* our end; -1 when no process runs */
    pid_t parent;
    apr_proc_t proc;
} retained_t;

/* What the supervision of one generation of the configuration needs. */
typedef struct supervisor {
    retained_t *kept;
    server_rec *s;
    apr_pool_t *pconf;
    rpc_endpointd_params_t params;
} supervisor_t;

const char *rpc_endpointd_socket(apr_pool_t *p, server_rec *s, const char *configured)
{
    return ap_runtime_dir_relative(p, configured ? configured : "rpcproxy.sock");
}

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
    if (rv == APR_INCHILD) {
        close(kept->control);
        rpc_endpointd_process(sup->s, &sup->params, &kept->listening, control[1]);
    }
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
static void tell(const retained_t *kept, server_rec *s, char what, const rpc_listen_t *where, int fd)
{
    char room[CMSG_SPACE(sizeof(int))];
    struct iovec iov[2] = { { &what, 1 }, { (void *)where, sizeof(*where) } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = where ? 2 : 1 };

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
static void carry_over(const retained_t *kept, server_rec *s, int changed)
{
    apr_os_file_t log = -1;
    int i;

    if (changed) {
        tell(kept, s, RPC_SAY_FORGET, NULL, -1);
        for (i = 0; i < kept->listening.count; i++)
            tell(kept, s, RPC_SAY_LISTEN, &kept->listening.at[i], kept->listening.at[i].fd);
    }
    if (!s->error_log || apr_os_file_get(&log, s->error_log) != APR_SUCCESS)
        log = -1;
    tell(kept, s, RPC_SAY_GO_WHEN_IDLE, NULL, log);
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

    if (getpid() != sup->kept->parent)
        return APR_SUCCESS;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING)
        unlink(sup->kept->listening.at[0].name);
    else if (sup->kept->control >= 0)
        tell(sup->kept, sup->s, RPC_SAY_GO_WHEN_IDLE, NULL, -1);
    return APR_SUCCESS;
}

static retained_t *get_retained(void)
{
    static const char key[] = "rpcproxy-endpoint";
    retained_t *kept = ap_retained_data_get(key);

    if (!kept) {
        kept = ap_retained_data_create(key, sizeof(*kept));
        kept->control = -1;
    }
    return kept;
}

static apr_status_t make_set(rpc_listen_set_t *set, const rpc_endpointd_params_t *params,
                             apr_pool_t *pconf, server_rec *s)
{
    const char *path = rpc_endpointd_socket(pconf, s, params->socket);
    int i;

    memset(set, 0, sizeof(*set));
    set->at[0].fd = -1;
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "RpcEndpointSocket %s: a Unix socket's path "
                     "has at most %d characters", path,
                     (int)sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        return APR_ENAMETOOLONG;
    }
    apr_cpystrn(set->at[0].name, path, sizeof(set->at[0].name));
    set->count = 1;
    for (i = 0; params->listen && i < params->listen->nelts && set->count < RPC_LISTEN_MAX; i++)
        set->at[set->count++] = APR_ARRAY_IDX(params->listen, i, rpc_listen_t);
    return APR_SUCCESS;
}

static apr_status_t listen_all(retained_t *kept, apr_pool_t *pconf, server_rec *s,
                               const rpc_endpointd_params_t *params, int *changed)
{
    rpc_listen_set_t wanted;
    apr_status_t rv = make_set(&wanted, params, pconf, s);

    return rv == APR_SUCCESS ? rpc_listen_update(&kept->listening, &wanted, s, changed) : rv;
}

apr_status_t rpc_endpointd_listen(apr_pool_t *pconf, server_rec *s,
                                  const rpc_endpointd_params_t *params)
{
    int changed;

    return listen_all(get_retained(), pconf, s, params, &changed);
}

apr_status_t rpc_endpointd_start(apr_pool_t *pconf, server_rec *s,
                                 const rpc_endpointd_params_t *params)
{
    supervisor_t *sup = apr_pcalloc(pconf, sizeof(*sup));
    apr_status_t rv;
    int changed;

    sup->kept = get_retained();
    sup->s = s;
    sup->pconf = pconf;
    sup->kept->parent = getpid();
    sup->params = *params;
    rv = listen_all(sup->kept, pconf, s, params, &changed);
    if (rv != APR_SUCCESS)
        return rv;
    apr_pool_cleanup_register(pconf, sup, let_go, apr_pool_cleanup_null);
    if (is_running(sup->kept)) {
        apr_proc_other_child_register(&sup->kept->proc, supervise, sup, NULL, pconf);
        carry_over(sup->kept, s, changed);
        return APR_SUCCESS;
    }
    if (sup->kept->control >= 0)
        close(sup->kept->control);
    rv = start_process(sup);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s, "cannot start the endpoint process");
    return rv;
}

void rpc_endpointd_child_init(void)
{
    retained_t *kept = get_retained();

    if (getpid() == kept->parent)
        return;     /* httpd -X: one process is both */
    rpc_listen_close(&kept->listening);
    if (kept->control >= 0)
        close(kept->control);
    kept->control = -1;
}
