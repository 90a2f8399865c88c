/* base/log.c: formats a line only when its level is logged. */
#include "base/log.h"

#include <stdio.h>

void rpc_log(const rpc_log_t *log, int level, apr_status_t status, const char *fmt, ...)
{
    char text[1000];
    va_list args;

    if (!rpc_log_is(log, level))
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    log->write(log, level, status, text);
}
