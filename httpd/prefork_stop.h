/* rpc_prefork_stop: how a child of the prefork MPM ends when it is told to in the middle of its
 * work.
 *
 * Prefork ends a child within the handler of SIGTERM or SIGHUP, wherever that has interrupted it.
 * If that was within malloc(), and the child has threads, as it has with this module, the handler
 * waits for ever for the lock of malloc(), until the parent kills the child. So the handler only
 * notes the signal, and ends the reading of the child's connection; the child ends when its main
 * thread comes to it, or by prefork's handler when a second has passed.
 */
#ifndef RPC_PREFORK_STOP_H
#define RPC_PREFORK_STOP_H

#include <apr_pools.h>

/* Registers a hook. From register_hooks. */
void rpc_prefork_stop_register(apr_pool_t *p);

/* From child_init of a child of prefork, on its main thread. ON_TOLD is called when a signal has
 * come, within its handler. */
void rpc_prefork_stop_child_init(void (*on_told)(void));

/* Has such a signal come? Then this child does not end gracefully. From any thread. */
int rpc_prefork_stop_told(void);

/* The socket of this child's connection is a channel's from now on, so its reading goes on. Without
 * effect in other MPMs. */
void rpc_prefork_stop_spare(void);

#endif
