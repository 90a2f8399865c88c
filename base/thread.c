/* base/thread.c: threads, with the signal mask that they inherit at creation. */
#include "base/thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static unsigned spared;         /* threads, atomic */

static int start(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *data)
{
    sigset_t all, before;
    int rv;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rv = pthread_create(thread, attr, run, data);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rv;
}

int rpc_thread_start(pthread_t *thread, void *(*run)(void *), void *data)
{
    return start(thread, NULL, run, data);
}

/* ---- threads that the end of the process does not wait for ---- */

/* The first of all exit handlers, since it was registered last: those of libraries, OpenSSL's say,
 * would end these below a thread that is within them. */
static void spare_threads(int status, void *data)
{
    if (__atomic_load_n(&spared, __ATOMIC_ACQUIRE))
        _exit(status);
}

/* httpd unloads its modules when a child ends. This module has to stay loaded, because a thread
 * that nobody waits for may still return into its code. */
static void prepare(void)
{
    Dl_info here;

    if (dladdr((void *)prepare, &here))
        dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    on_exit(spare_threads, NULL);
}

void rpc_thread_spare(int more)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, prepare);
    __atomic_add_fetch(&spared, (unsigned)more, __ATOMIC_ACQ_REL);
}

typedef struct errand {
    void *(*run)(void *data);
    void *data;
} errand_t;

static void *run_spared(void *data)
{
    errand_t errand = *(errand_t *)data;

    free(data);
    errand.run(errand.data);
    rpc_thread_spare(-1);
    return NULL;
}

int rpc_thread_start_detached(void *(*run)(void *), void *data)
{
    errand_t *errand = malloc(sizeof(*errand));
    pthread_attr_t attr;
    pthread_t thread;
    int rv;

    if (!errand)
        return ENOMEM;
    *errand = (errand_t){ run, data };
    rpc_thread_spare(1);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rv = start(&thread, &attr, run_spared, errand);
    pthread_attr_destroy(&attr);
    if (rv == 0)
        return 0;
    rpc_thread_spare(-1);
    free(errand);
    return rv;
}
