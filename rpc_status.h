/* rpc_status: what all children of the server know of their channels: how many there are.
 *
 * A table in shared memory, one row a child, so that a child that dies takes its count
 * along. It outlives restarts, as children of the generation before do.
 */
#ifndef RPC_STATUS_H
#define RPC_STATUS_H

#include <httpd.h>

/* Makes the table, or finds it again after a restart. From post_config. */
apr_status_t rpc_status_init(apr_pool_t *pconf, server_rec *s);
/* Takes a row for this child. From child_init. */
void rpc_status_child_init(void);
/* Frees the row of a child that has ended. In the parent. */
void rpc_status_child_gone(pid_t pid);

/* Counts one channel more, unless there are MAX already: then 0. Any thread. */
int rpc_status_enter(int max);
void rpc_status_leave(void);
/* Channels of the whole server. */
apr_uint32_t rpc_status_channels(void);

#endif
