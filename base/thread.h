/* rpc_thread: threads of the module. All signals are blocked in them, for httpd handles these.
 */
#ifndef RPC_THREAD_H
#define RPC_THREAD_H

#include <pthread.h>

/* Starts a thread that somebody joins. Returns 0 or an errno. */
int rpc_thread_start(pthread_t *thread, void *(*run)(void *data), void *data);

/* Starts a thread that nobody waits for, not even the end of the process, which spares it. It uses
 * nothing of a pool that ends with the process. Returns 0 or an errno. */
int rpc_thread_start_detached(void *(*run)(void *data), void *data);

/* One MORE, or less (-1), of the threads that the end of the process spares: a process that exits
 * while there is one ends without the exit handlers of libraries, which would end these below it.
 * Any thread. */
void rpc_thread_spare(int more);

#endif
