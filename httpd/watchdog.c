/* httpd/watchdog.c: see httpd/watchdog.h. */
#include "httpd/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <apr_atomic.h>
#include <http_log.h>
#include <http_main.h>
#include <mod_watchdog.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "base/thread.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

#define PATIENCE apr_time_from_sec(2)

static rpc_watchdog_t *first;       /* of this configuration */
/* Of this child. */
static volatile apr_uint32_t ending;
static int bell = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;    /* guards what follows, and all busy */
static pthread_cond_t rested = PTHREAD_COND_INITIALIZER;
static unsigned rounds;             /* that run now */

int rpc_watchdog_possible(void)
{
    return APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance) != NULL;
}

static void note_result(rpc_watchdog_t *watchdog, apr_status_t rv)
{
    if (rv != APR_SUCCESS && !watchdog->failed)
        ap_log_error(APLOG_MARK, APLOG_WARNING, rv, ap_server_conf,
                     RPCNO(0155) "the watchdog %s cannot begin its round, and tries again",
                     watchdog->name);
    watchdog->failed = rv != APR_SUCCESS;
}

/* With the lock held, which it gives up meanwhile. */
static void do_round(rpc_watchdog_t *watchdog, apr_pool_t *pool)
{
    watchdog->busy = 1;
    rounds++;
    rpc_thread_spare(1);
    pthread_mutex_unlock(&lock);
    note_result(watchdog, watchdog->round(watchdog->data, pool));
    pthread_mutex_lock(&lock);
    rpc_thread_spare(-1);
    watchdog->busy = 0;
    rounds--;
    pthread_cond_broadcast(&rested);
}

/* With the lock held. */
static void leave(rpc_watchdog_t *watchdog)
{
    if (!watchdog->busy && watchdog->leave)
        watchdog->leave(watchdog->data);
}

/* STOPPING may come from the main thread although the watchdog's own is in a round. */
static apr_status_t on_watch(int state, void *data, apr_pool_t *pool)
{
    rpc_watchdog_t *watchdog = data;

    pthread_mutex_lock(&lock);
    if (state == AP_WATCHDOG_STATE_RUNNING && bell >= 0 && !rpc_watchdog_ends())
        do_round(watchdog, pool);
    else if (state == AP_WATCHDOG_STATE_STOPPING || rpc_watchdog_ends())
        leave(watchdog);
    pthread_mutex_unlock(&lock);
    return APR_SUCCESS;
}

static apr_status_t forget_all(void *data)
{
    first = NULL;
    return APR_SUCCESS;
}

apr_status_t rpc_watchdog_start(apr_pool_t *pconf, server_rec *s, rpc_watchdog_t *watchdog)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get
        = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *call
        = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *instance;
    apr_status_t rv = get(&instance, watchdog->name, 0, 1, pconf);

    if (rv == APR_SUCCESS)
        rv = call(instance, watchdog->interval, watchdog, on_watch);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s,
                     RPCNO(0024) "cannot start the watchdog %s", watchdog->name);
    if (!first)
        apr_pool_cleanup_register(pconf, NULL, forget_all, apr_pool_cleanup_null);
    watchdog->next = first;
    first = watchdog;
    return rv;
}

void rpc_watchdog_end(void)
{
    uint64_t one = 1;
    int saved = errno;

    apr_atomic_set32(&ending, 1);
    if (write(bell, &one, sizeof(one)) < 0)
        errno = saved;      /* there is no bell yet, and so no round */
}

int rpc_watchdog_ends(void)
{
    return apr_atomic_read32(&ending) != 0;
}

int rpc_watchdog_bell(void)
{
    return bell;
}

static apr_status_t await_rounds(void *data)
{
    struct timespec limit = rpc_clock_in(PATIENCE);
    rpc_watchdog_t *watchdog;
    int late = 0;

    rpc_watchdog_end();
    pthread_mutex_lock(&lock);
    while (rounds && !late)
        late = pthread_cond_clockwait(&rested, &lock, CLOCK_MONOTONIC, &limit);
    for (watchdog = first; watchdog; watchdog = watchdog->next) {
        if (watchdog->busy)
            ap_log_error(APLOG_MARK, APLOG_DEBUG, 0, ap_server_conf,
                         "this child ends while a round of the watchdog %s still runs",
                         watchdog->name);
        leave(watchdog);
    }
    pthread_mutex_unlock(&lock);
    return APR_SUCCESS;
}

apr_status_t rpc_watchdog_child_init(apr_pool_t *pool)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return errno;
    pthread_mutex_lock(&lock);
    bell = fd;
    pthread_mutex_unlock(&lock);
    apr_pool_pre_cleanup_register(pool, NULL, await_rounds);
    return APR_SUCCESS;
}
