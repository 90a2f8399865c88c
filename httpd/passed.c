/* httpd/passed.c: verdicts wait as lines of a log do (httpd/log_writer.h). */
#include "httpd/passed.h"

#include <pthread.h>
#include <stdlib.h>

#include <http_core.h>
#include <http_log.h>
#include <http_main.h>

#include "base/message_id.h"
#include "base/passed_on.h"
#include "httpd/log_writer.h"
#include "httpd/module.h"
#include "httpd/server_log.h"

APLOG_USE_MODULE(rpcproxy);

#define ROOM ((size_t)1 << 20)
#define LAST_MOMENT apr_time_from_sec(1)

typedef struct verdict {
    rpc_line_t line;
    rpc_record_t *record;       /* held */
    void *passed;
    int status;
} verdict_t;

static rpc_log_writer_t *counting;      /* of this child; NULL: nobody wants to hear of it */

static void drop_verdict(rpc_line_t *line)
{
    verdict_t *v = (verdict_t *)line;

    rpc_record_release(v->record);
    free(v->passed);
    free(v);
}

static void tell(request_rec *r, void *data)
{
    const verdict_t *v = data;
    APR_OPTIONAL_FN_TYPE(auth_passed_answered) *answered =
        APR_RETRIEVE_OPTIONAL_FN(auth_passed_answered);

    if (answered)
        answered(r, v->passed, v->status);
}

/* All children share the lock that it may hold, so it is not cancelled meanwhile. */
static void count_verdict(rpc_line_t *line, apr_pool_t *pool)
{
    int before;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    rpc_record_show(((verdict_t *)line)->record, pool, tell, line);
    drop_verdict(line);
    pthread_setcancelstate(before, NULL);
}

static void say_uncounted(unsigned long verdicts)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, ap_server_conf,
                 RPCNO(0116) "AuthNtlmFailures: %lu answers of proxies behind this one were not "
                 "counted: its cache, or the lock around it, was too slow", verdicts);
}

static apr_status_t finish_counting(void *data)
{
    rpc_log_writer_finish(counting, LAST_MOMENT);
    return APR_SUCCESS;
}

apr_status_t rpc_passed_start(apr_pool_t *pool)
{
    apr_status_t rv;

    if (!APR_RETRIEVE_OPTIONAL_FN(auth_passed_answered))
        return APR_SUCCESS;
    rv = rpc_log_writer_start(&counting, ROOM, say_uncounted);
    if (rv == APR_SUCCESS)
        apr_pool_pre_cleanup_register(pool, NULL, finish_counting);
    return rv;
}

void *rpc_passed_take(request_rec *r)
{
    APR_OPTIONAL_FN_TYPE(auth_passed_on) *take = APR_RETRIEVE_OPTIONAL_FN(auth_passed_on);

    return take && counting ? take(r) : NULL;
}

void rpc_passed_answered(rpc_record_t *record, void *passed, int status)
{
    verdict_t *v = malloc(sizeof(*v));

    if (!v) {
        free(passed);
        rpc_log_writer_give(counting, NULL);
        return;
    }
    *v = (verdict_t){ { .write = count_verdict, .drop = drop_verdict, .size = sizeof(*v) },
                      record, passed, status };
    rpc_record_hold(record);
    rpc_log_writer_give(counting, &v->line);
}
