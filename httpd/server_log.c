/* httpd/server_log.c: log lines that belong to no request. */
#include "httpd/server_log.h"

#include <http_log.h>

#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

static void write_line(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    ap_log_error(APLOG_MARK, level, status, (server_rec *)log->ctx, "%s", text);
}

rpc_log_t rpc_server_log(server_rec *s)
{
    return (rpc_log_t){ write_line, ap_get_server_module_loglevel(s, APLOG_MODULE_INDEX), s };
}
