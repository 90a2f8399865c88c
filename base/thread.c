/* base/thread.c: threads, with the signal mask that they inherit at creation. */
#include "base/thread.h"

#include <dlfcn.h>
#include <signal.h>

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

/* httpd unloads its modules when a child ends. This module has to stay loaded, because a thread
 * that nobody waits for may still return into its code. */
static void pin_code(void)
{
    Dl_info here;

    if (dladdr((void *)pin_code, &here))
        dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

int rpc_thread_start_detached(void *(*run)(void *), void *data)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_attr_t attr;
    pthread_t thread;
    int rv;

    pthread_once(&once, pin_code);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rv = start(&thread, &attr, run, data);
    pthread_attr_destroy(&attr);
    return rv;
}
