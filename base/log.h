/* rpc_log: where the protocol code writes its log lines.
 *
 * Roles, streams and the endpoint know no request_rec. They log through this small object. The
 * folder httpd/ fills it in for the module; unit tests and fuzzers fill it in with functions of
 * their own.
 */
#ifndef RPC_LOG_H
#define RPC_LOG_H

#include <stdarg.h>
#include <apr_errno.h>

/* Levels have httpd's values (APLOG_ERR is 3, APLOG_TRACE1 is 8). */
enum rpc_log_level {
    RPC_LOG_ERR = 3,    /* the administrator must act */
    RPC_LOG_WARN = 4,
    RPC_LOG_NOTICE = 5, /* lifecycle of the module */
    RPC_LOG_INFO = 6,   /* one line per channel or virtual connection */
    RPC_LOG_DEBUG = 7,  /* PDU names, cookies */
    RPC_LOG_TRACE = 8   /* bytes, windows */
};

typedef struct rpc_log rpc_log_t;
struct rpc_log {
    /* Writes one line. Called on the thread that owns the logging object. */
    void (*write)(const rpc_log_t *log, int level, apr_status_t status,
                  const char *text);
    int level;  /* lines above this level are not even formatted */
    void *ctx;  /* for the writer */
};

/* Would a line of this level be written? */
#define rpc_log_is(log, lvl) ((log)->level >= (lvl))

/* Formats (at most 1,000 bytes) and writes a line. STATUS is 0 or an error
 * that the writer appends as text. */
void rpc_log(const rpc_log_t *log, int level, apr_status_t status,
             const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
