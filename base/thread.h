/* rpc_thread: threads of the module. All signals are blocked in them, for httpd handles these.
 */
#ifndef RPC_THREAD_H
#define RPC_THREAD_H

#include <pthread.h>

/* Starts a thread that somebody joins. Returns 0 or an errno. */
int rpc_thread_start(pthread_t *thread, void *(*run)(void *data), void *data);

/* Starts a thread that nobody waits for, not even the end of the process. It uses nothing of a
 * pool that ends with the process, nor a library that ends with it (but see httpd/watchdog.h). */
int rpc_thread_start_detached(void *(*run)(void *data), void *data);

#endif
