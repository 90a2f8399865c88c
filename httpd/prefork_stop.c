/* httpd/prefork_stop.c: our handler of the two signals stands before prefork's, and calls the one
 * that prefork has for a graceful stop: after it the loop of connections ends. If there is still a
 * connection a moment later, something else than its client keeps the child, such as a server
 * behind mod_proxy: then it ends by prefork's own handler. More signals change nothing, because at
 * a stop the parent sends two at once, and at the end of a graceful stop it does not wait.
 */
#include "httpd/prefork_stop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_portable.h>
#include <apr_signal.h>
#include <httpd.h>
#include <http_connection.h>
#include <mpm_common.h>

#define MOMENT 1    /* seconds */

static struct sigaction at_once, gracefully;    /* prefork's handlers */
static void (*tell)(void);                  /* NULL: this is no child of prefork */
static pid_t child;
static pthread_t main_thread;
static volatile sig_atomic_t busy;          /* it has a connection */
static volatile sig_atomic_t client;        /* whose socket is this; -1: it is a channel's */
static volatile sig_atomic_t told;          /* a signal has come */

static void on_alarm(int signal)
{
    if (busy)
        at_once.sa_handler(SIGTERM);
}

static void stop(void)
{
    told = 1;
    tell();
    gracefully.sa_handler(AP_SIG_GRACEFUL);
    apr_signal(SIGALRM, on_alarm);
    alarm(MOMENT);
}

/* In a process that the child has forked for a CGI script, before it becomes one. It shares the
 * child's descriptors, so it must do nothing but end. */
static void end_copy(int signal)
{
    apr_signal(signal, SIG_DFL);
    kill(getpid(), signal);
}

static void on_signal(int signal)
{
    int saved = errno;

    if (getpid() != child)
        end_copy(signal);
    else {
        if (!told)
            stop();
        if (busy && client >= 0)
            shutdown(client, SHUT_RD);
    }
    errno = saved;
}

static apr_status_t connection_over(void *data)
{
    busy = 0;
    return APR_SUCCESS;
}

/* mod_proxy, too, makes connections, within one and on other threads. */
static conn_rec *note_connection(apr_pool_t *p, server_rec *s, apr_socket_t *csd, long id,
                                 void *sbh, apr_bucket_alloc_t *alloc)
{
    apr_os_sock_t fd;

    if (!tell || busy || !pthread_equal(pthread_self(), main_thread)
        || apr_os_sock_get(&fd, csd) != APR_SUCCESS)
        return NULL;
    client = fd;
    busy = 1;
    apr_pool_cleanup_register(p, NULL, connection_over, apr_pool_cleanup_null);
    if (told)       /* since accept() */
        shutdown(fd, SHUT_RD);
    return NULL;
}

void rpc_prefork_stop_spare(void)
{
    if (tell)
        client = -1;
}

static int is_function(const struct sigaction *action)
{
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

int rpc_prefork_stop_told(void)
{
    return told;
}

void rpc_prefork_stop_child_init(void (*on_told)(void))
{
    struct sigaction ours = { .sa_handler = on_signal };

    sigaction(SIGTERM, NULL, &at_once);
    sigaction(AP_SIG_GRACEFUL, NULL, &gracefully);
    if (!is_function(&at_once) || !is_function(&gracefully))
        return;
    child = getpid();
    main_thread = pthread_self();
    tell = on_told;
    ours.sa_flags = at_once.sa_flags;
    sigaddset(&ours.sa_mask, SIGTERM);
    sigaddset(&ours.sa_mask, SIGHUP);
    sigaddset(&ours.sa_mask, AP_SIG_GRACEFUL);
    sigaction(SIGTERM, &ours, NULL);
    sigaction(SIGHUP, &ours, NULL);
}

void rpc_prefork_stop_register(apr_pool_t *p)
{
    ap_hook_create_connection(note_connection, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
