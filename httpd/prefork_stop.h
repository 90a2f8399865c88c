/* rpc_prefork_stop: how a child of the prefork MPM ends when it is told to in the middle of its
 * work.
 *
 * Prefork ends a child within the handler of SIGTERM or SIGHUP, wherever that has interrupted it.
 * If that was within malloc(), and the child has threads, as it has with this module, the handler
 * waits for ever for the lock of malloc(), until the parent kills the child. So while a child has a
 * connection, the handler only ends its reading; the child ends when the connection has.
 */
#ifndef RPC_PREFORK_STOP_H
#define RPC_PREFORK_STOP_H

#include <apr_pools.h>

/* Registers a hook. From register_hooks. */
void rpc_prefork_stop_register(apr_pool_t *p);

/* From child_init of a child of prefork, on its main thread. TOLD is called when a signal has come
 * that has to wait, within its handler. */
void rpc_prefork_stop_child_init(void (*told)(void));

/* The socket of this child's connection is a channel's from now on, so its reading goes on. Without
 * effect in other MPMs. */
void rpc_prefork_stop_spare(void);

#endif
