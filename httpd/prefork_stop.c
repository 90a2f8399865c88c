/* httpd/prefork_stop.c: our handler stands before prefork's. A second signal, which the parent
 * sends after two seconds, is no longer held up: something else than the client keeps the child.
 */
#include "httpd/prefork_stop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <apr_portable.h>
#include <httpd.h>
#include <http_connection.h>

static struct sigaction of_prefork;         /* the same for both signals */
static void (*tell)(void);                  /* NULL: this is no child of prefork */
static pthread_t main_thread;
static volatile sig_atomic_t busy;          /* it has a connection */
static volatile sig_atomic_t client;        /* whose socket is this; -1: it is a channel's */
static volatile sig_atomic_t held_up;       /* a signal that came meanwhile */

static void on_signal(int signal)
{
    int saved = errno;

    if (!busy || held_up) {
        of_prefork.sa_handler(signal);
        return;
    }
    held_up = signal;
    tell();
    if (client >= 0)
        shutdown(client, SHUT_RD);
    errno = saved;
}

/* The last of the connection's clean-ups. */
static apr_status_t connection_over(void *data)
{
    busy = 0;
    if (held_up)
        raise(held_up);
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
    return NULL;
}

void rpc_prefork_stop_spare(void)
{
    if (tell)
        client = -1;
}

void rpc_prefork_stop_child_init(void (*told)(void))
{
    static const int signals[] = { SIGTERM, SIGHUP };
    struct sigaction ours = { .sa_handler = on_signal };
    size_t i;

    sigaction(SIGTERM, NULL, &of_prefork);
    if (of_prefork.sa_handler == SIG_DFL || of_prefork.sa_handler == SIG_IGN)
        return;
    main_thread = pthread_self();
    tell = told;
    ours.sa_flags = of_prefork.sa_flags;
    for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&ours.sa_mask, signals[i]);
    for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &ours, NULL);
}

void rpc_prefork_stop_register(apr_pool_t *p)
{
    ap_hook_create_connection(note_connection, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
