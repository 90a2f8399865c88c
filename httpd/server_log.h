/* rpc_server_log: the error log of a server, for code that does not know httpd, and for loops,
 * which must not wait for it. Any thread that no signal handler interrupts.
 */
#ifndef RPC_SERVER_LOG_H
#define RPC_SERVER_LOG_H

#include <httpd.h>

#include "base/log.h"
#include "httpd/log_writer.h"

/* Writes to the log of S, at the level that S has now. */
rpc_log_t rpc_server_log(server_rec *s);

/* Makes a thread of this process that writes what is said from now on; before, and in other
 * processes, lines are written at once, on the thread that says them. */
apr_status_t rpc_server_log_start(void);

/* A line of the error log that its owner writes. */
void rpc_server_log_give(rpc_line_t *line);

/* Waits for a moment until all is written; nothing is written afterwards. */
void rpc_server_log_finish(void);

#endif
