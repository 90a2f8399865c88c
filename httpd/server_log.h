/* rpc_server_log: the error log of a server, for code that does not know httpd. Any thread.
 */
#ifndef RPC_SERVER_LOG_H
#define RPC_SERVER_LOG_H

#include <httpd.h>

#include "base/log.h"

/* Writes to the log of S, at the level that S has now. */
rpc_log_t rpc_server_log(server_rec *s);

#endif
