/* httpd/server_log.c: log lines that belong to no request, and the thread that writes all lines of
 * the error log that a loop has to say.
 */
#include "httpd/server_log.h"

#include <stdlib.h>
#include <string.h>

#include <http_log.h>
#include <http_main.h>

#include "base/clock.h"
#include "base/message_id.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

/* The ends of 10,000 channels, whose lines come at once, have room. */
#define ROOM ((size_t)8 << 20)
#define LAST_MOMENT apr_time_from_sec(1)

static rpc_log_writer_t *writer;    /* of this process */

typedef struct server_line {
    rpc_line_t line;
    server_rec *s;
    int level;
    apr_status_t status;
    char text[];
} server_line_t;

static void write_server_line(rpc_line_t *line, apr_pool_t *pool)
{
    server_line_t *l = (server_line_t *)line;

    ap_log_error(APLOG_MARK, l->level, l->status, l->s, "%s", l->text);
    free(l);
}

static void drop_server_line(rpc_line_t *line)
{
    free(line);
}

static void write_to_server_log(const rpc_log_t *log, int level, apr_status_t status,
                                const char *text)
{
    size_t size = sizeof(server_line_t) + strlen(text) + 1;
    server_line_t *l = malloc(size);

    if (!l) {
        rpc_server_log_give(NULL);
        return;
    }
    *l = (server_line_t){ { .write = write_server_line, .drop = drop_server_line, .size = size },
                          log->ctx, level, status };
    strcpy(l->text, text);
    rpc_server_log_give(&l->line);
}

/* httpd writes notices whatever the level is. */
rpc_log_t rpc_server_log(server_rec *s)
{
    int level = ap_get_server_module_loglevel(s, APLOG_MODULE_INDEX);

    return (rpc_log_t){ write_to_server_log, level < APLOG_NOTICE ? APLOG_NOTICE : level, s };
}

static void write_at_once(rpc_line_t *line)
{
    apr_pool_t *pool;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        line->drop(line);
        return;
    }
    line->given = rpc_clock_now();
    line->write(line, pool);
    apr_pool_destroy(pool);
}

void rpc_server_log_give(rpc_line_t *line)
{
    if (writer)
        rpc_log_writer_give(writer, line);
    else if (line)
        write_at_once(line);
}

static void missing(unsigned long lines)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, ap_server_conf,
                 RPCNO(0033) "the error log has not taken lines for a while: %lu "
                 "lines about channels had to be dropped",
                 lines);
}

apr_status_t rpc_server_log_start(void)
{
    return rpc_log_writer_start(&writer, ROOM, missing);
}

void rpc_server_log_finish(void)
{
    if (writer)
        rpc_log_writer_finish(writer, LAST_MOMENT);
}
