/* httpd/log_record.c: a copy of a request, held by its channel and by every line that still has to
 * be written.
 *
 *   taken (worker)  ->  lines of the error log (loop -> its thread)  ->  ended (loop)
 *     ->  the line in the access logs (another thread)
 *
 * The error log and the access logs have a thread each, so that one which takes no lines leaves the
 * other alone, and can be told of there. While a thread writes, it says in WRITING which record:
 * hooks that are asked about the rebuilt connection find there what only the live one knew.
 */
#include "httpd/log_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <http_protocol.h>
#include <http_ssl.h>
#include <util_cfgtree.h>

#include "base/message_id.h"
#include "httpd/ask_in_time.h"
#include "httpd/log_writer.h"
#include "httpd/logio.h"
#include "httpd/module.h"
#include "httpd/module_hook.h"
#include "httpd/request_copy.h"
#include "httpd/server_log.h"
#include "httpd/tls_items.h"

APLOG_USE_MODULE(rpcproxy);

/* A record has about 1 KB: the ends of all channels of a large child have room. */
#define ROOM ((size_t)16 << 20)
#define LAST_MOMENT apr_time_from_sec(1)
#define LOOK_UP_TIME apr_time_from_sec(1)   /* for the name of a client, HostnameLookups */
#define CONNECTION "; connection=%016" PRIx64
#define CONNECTION_TEXT 29                  /* bytes of that */
#define LATE apr_time_from_sec(1)           /* a line says how old it is */

/* Userdata of a request's pool: the record that was taken of it. */
static const char taken_key[] = "rpcproxy-record";

/* A field that came after the copy. */
typedef struct late_field {
    rpc_field_t field;
    struct late_field *next;        /* atomic */
} late_field_t;

struct rpc_record {
    rpc_line_t line;                /* in the access logs, at the end */
    rpc_request_copy_t *copy;
    unsigned holders;               /* atomic */
    int told;                       /* atomic: a line has been said, so the ids are in use */
    int introduced;                 /* one has been written; the error log's thread's */
    late_field_t *late;             /* atomic: in their order; whoever has the channel appends */
    late_field_t *newest;
    rpc_log_t log;
    uint64_t connection;            /* its public id, for the lines; 0: none */
    rpc_record_end_t end;
};

static const rpc_log_names_t *names;    /* of this generation's configuration */
static rpc_log_writer_t *access_logs;   /* of this child */

static _Thread_local struct {
    const rpc_record_t *record;
    const conn_rec *c;              /* the rebuilt one */
} writing;

/* ---- rebuilding ---- */

void rpc_record_hold(rpc_record_t *record)
{
    __atomic_add_fetch(&record->holders, 1, __ATOMIC_RELAXED);
}

void rpc_record_release(rpc_record_t *record)
{
    late_field_t *late, *next;

    if (__atomic_sub_fetch(&record->holders, 1, __ATOMIC_ACQ_REL))
        return;
    for (late = record->late; late; late = next) {
        next = late->next;
        free(late);
    }
    free(record->copy);
    free(record);
}

static request_rec *rebuild(const rpc_record_t *record, apr_pool_t *pool)
{
    request_rec *r = rpc_request_rebuild(record->copy, pool);
    late_field_t *late;

    for (late = __atomic_load_n(&record->late, __ATOMIC_ACQUIRE); late;
         late = __atomic_load_n(&late->next, __ATOMIC_ACQUIRE))
        rpc_request_set_field(r, &late->field);
    writing.record = record;
    writing.c = r->connection;
    return r;
}

static void done_writing(void)
{
    writing.record = NULL;
    writing.c = NULL;
}

/* Its ids are in use from now on. */
void rpc_record_show(rpc_record_t *record, apr_pool_t *pool,
                     void (*see)(request_rec *r, void *data), void *data)
{
    __atomic_store_n(&record->told, 1, __ATOMIC_RELAXED);
    see(rebuild(record, pool), data);
    done_writing();
}

/* ---- hooks that are asked about a rebuilt connection ---- */

static int tell_id(const conn_rec *c, const request_rec *r, const char **id)
{
    if (!c || c != writing.c)
        return DECLINED;
    *id = r ? writing.record->copy->request.log_id : writing.record->copy->log_id;
    return OK;
}

static const char *tell_ssl_variable(apr_pool_t *p, server_rec *s, conn_rec *c, request_rec *r,
                                     const char *name)
{
    if (c && c == writing.c && ap_cstr_casecmp(name, "HTTPS") == 0)
        return writing.record->copy->is_tls ? "on" : "off";
    return c && c == writing.c ? rpc_request_copy_ssl(writing.record->copy, name) : NULL;
}

static int tell_tls(conn_rec *c)
{
    return c && c == writing.c && writing.record->copy->is_tls ? OK : DECLINED;
}

static const char *tell_scheme(const request_rec *r)
{
    return r->connection == writing.c ? writing.record->copy->scheme : NULL;
}

static apr_port_t tell_port(const request_rec *r)
{
    return r->connection == writing.c ? writing.record->copy->default_port : 0;
}

/* ---- lines of the error log ---- */

typedef struct record_line {
    rpc_line_t line;
    rpc_record_t *record;
    int level;
    apr_status_t status;
    char text[];
} record_line_t;

static void drop_record_line(rpc_line_t *line)
{
    record_line_t *l = (record_line_t *)line;

    rpc_record_release(l->record);
    free(l);
}

/* The level has been looked at; r->log says so to httpd, which would look at the server's. */
static void write_record_line(rpc_line_t *line, apr_pool_t *pool)
{
    static const struct ap_logconf all = { NULL, APLOG_TRACE8 };
    record_line_t *l = (record_line_t *)line;
    request_rec *r = rebuild(l->record, pool);
    apr_interval_time_t age = rpc_line_age(line);

    r->log = &all;
    if (l->record->introduced) {
        r->log_id = l->record->copy->request.log_id;
        r->connection->log_id = l->record->copy->log_id;
    }
    if (age < LATE)
        ap_log_rerror(APLOG_MARK, l->level, l->status, r, "%s", l->text);
    else
        ap_log_rerror(APLOG_MARK, l->level, l->status, r, "%s (%" APR_TIME_T_FMT " s ago)",
                      l->text, apr_time_sec(age));
    l->record->introduced = 1;
    done_writing();
    drop_record_line(line);
}

static void record_log(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    rpc_record_t *record = log->ctx;
    size_t size = sizeof(record_line_t) + strlen(text) + CONNECTION_TEXT + 1;
    record_line_t *l = malloc(size);

    if (!l) {
        rpc_server_log_give(NULL);
        return;
    }
    *l = (record_line_t){ { .write = write_record_line, .drop = drop_record_line, .size = size },
                          record, level, status };
    strcpy(l->text, text);
    if (record->connection)
        sprintf(l->text + strlen(text), CONNECTION, record->connection);
    rpc_record_hold(record);
    __atomic_store_n(&record->told, 1, __ATOMIC_RELAXED);
    rpc_server_log_give(&l->line);
}

void rpc_record_name(rpc_record_t *record, uint64_t connection)
{
    record->connection = connection;
}

const rpc_log_t *rpc_record_logger(const rpc_record_t *record)
{
    return &record->log;
}

/* ---- the line in the access logs ---- */

/* The name of a client, which HostnameLookups asks for when it is logged. */
typedef struct host_question {
    rpc_question_t question;
    rpc_record_t *record;
    char client[256], useragent[256];       /* "": none */
} host_question_t;

static void forget_hosts(rpc_question_t *question)
{
    host_question_t *q = (host_question_t *)question;

    rpc_record_release(q->record);
    free(q);
}

static void note_host(char *to, size_t size, const char *host, int is_address)
{
    if (host && !is_address)
        apr_cpystrn(to, host, size);
}

static void ask_hosts(rpc_question_t *question)
{
    host_question_t *q = (host_question_t *)question;
    apr_pool_t *pool;
    request_rec *r;
    const char *host;
    int is_address;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS)
        return;
    r = rebuild(q->record, pool);
    host = ap_get_remote_host(r->connection, r->per_dir_config, REMOTE_NAME, &is_address);
    note_host(q->client, sizeof(q->client), host, is_address);
    host = ap_get_useragent_host(r, REMOTE_NAME, &is_address);
    note_host(q->useragent, sizeof(q->useragent), host, is_address);
    done_writing();
    apr_pool_destroy(pool);
}

static int wants_hosts(const rpc_record_t *record)
{
    const rpc_request_copy_t *copy = record->copy;

    if (copy->hostname_lookups != HOSTNAME_LOOKUP_ON
        && copy->hostname_lookups != HOSTNAME_LOOKUP_DOUBLE)
        return 0;
    if (!rpc_log_names_item(names, 'h') && !rpc_log_names_has(names, "REMOTE_HOST"))
        return 0;
    return !copy->remote_host || (!copy->useragent_is_client && !copy->useragent_host);
}

/* Afterwards httpd has no reason to ask: a name that is not there in time is logged as an
 * address. */
static void find_hosts(rpc_record_t *record, request_rec *r)
{
    static rpc_asker_t asker = RPC_ASKER;
    host_question_t *q;

    if (!wants_hosts(record))
        return;
    if (!r->connection->remote_host)
        r->connection->remote_host = "";
    if (!r->useragent_host)
        r->useragent_host = "";
    q = calloc(1, sizeof(*q));
    if (!q)
        return;
    q->question.ask = ask_hosts;
    q->question.forget = forget_hosts;
    q->record = record;
    rpc_record_hold(record);
    if (!rpc_ask_in_time(&asker, &q->question, LOOK_UP_TIME))
        return;
    r->connection->remote_host = apr_pstrdup(r->pool, q->client);
    r->useragent_host = apr_pstrdup(r->pool, q->useragent);
    forget_hosts(&q->question);
}

static const char LOGGER[] = "mod_log_config.c";

static void write_access(rpc_line_t *line, apr_pool_t *pool)
{
    rpc_record_t *record = (rpc_record_t *)line;
    const rpc_record_end_t *end = &record->end;
    const rpc_request_copy_t *copy = record->copy;
    request_rec *r = rebuild(record, pool);
    request_rec *first = r->prev ? r->prev : r;
    ap_HOOK_log_transaction_t *hook = RPC_MODULE_HOOK(log_transaction, LOGGER);

    find_hosts(record, r);
    if (__atomic_load_n(&record->told, __ATOMIC_RELAXED)) {
        r->log_id = copy->request.log_id;
        r->connection->log_id = copy->log_id;
    }
    r->status = end->status;
    r->bytes_sent = (apr_off_t)end->body;
    r->connection->aborted = end->aborted != 0;
    rpc_logio_write(r->connection, copy->in + (apr_off_t)end->in, copy->out + (apr_off_t)end->out);
    if (hook)
        hook(first);
    done_writing();
    rpc_record_release(record);
}

static void drop_access(rpc_line_t *line)
{
    rpc_record_release((rpc_record_t *)line);
}

static void say_missing(unsigned long lines)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, ap_server_conf,
                 RPCNO(0034) "the access log takes lines again: %lu lines of channels are missing "
                 "in it",
                 lines);
}

static void say_full(void)
{
    rpc_log_t log = rpc_server_log(ap_server_conf);

    rpc_log(&log, RPC_LOG_WARN, 0,
            RPCNO(0035) "the access log, or the program that it is piped to, takes no lines: too "
            "many wait, and those of further channels are dropped until it takes lines again");
}

static void say_lost(unsigned long lines)
{
    rpc_log_t log = rpc_server_log(ap_server_conf);

    rpc_log(&log, RPC_LOG_WARN, 0,
            RPCNO(0036) "the access log, or the program that it is piped to, takes no lines: this "
            "child ends, and %lu lines of channels are lost",
            lines);
}

void rpc_record_end(rpc_record_t *record, const rpc_record_end_t *end)
{
    record->end = *end;
    record->line = (rpc_line_t){ .write = write_access, .drop = drop_access,
                                 .size = sizeof(*record) + record->copy->size };
    if (rpc_log_writer_give(access_logs, &record->line) == 1)
        say_full();
}

/* ---- at the hand-over ---- */

/* The log_transaction hooks of all modules but mod_log_config's and our own. */
static int run_other_hooks(request_rec *r)
{
    apr_array_header_t *hooks = ap_hook_get_log_transaction();
    int i;

    for (i = 0; i < hooks->nelts; i++) {
        const ap_LINK_log_transaction_t *hook = &APR_ARRAY_IDX(hooks, i, ap_LINK_log_transaction_t);
        const char *module = hook->szName ? hook->szName : "";

        if (strcmp(module, LOGGER) != 0 && strcmp(module, rpcproxy_module.name) != 0)
            hook->pFunc(r);
    }
    return DONE;    /* httpd runs none of them itself */
}

/* Runs before all others. */
static int at_request_end(request_rec *r)
{
    void *record = NULL;
    request_rec *last = r;

    while (last->next)
        last = last->next;
    apr_pool_userdata_get(&record, taken_key, last->pool);
    return record ? run_other_hooks(r) : DECLINED;
}

rpc_record_t *rpc_record_take(request_rec *r)
{
    rpc_record_t *record = calloc(1, sizeof(*record));
    rpc_request_copy_t *copy = record ? rpc_request_copy(r, names) : NULL;

    if (!copy) {
        free(record);
        return NULL;
    }
    record->copy = copy;
    record->holders = 1;
    record->log = (rpc_log_t){ record_log, ap_get_request_module_loglevel(r, APLOG_MODULE_INDEX),
                                record };
    apr_pool_userdata_setn(record, taken_key, NULL, r->pool);
    return record;
}

/* ---- what comes later ---- */

static void add_late(rpc_record_t *record, rpc_field_where_t where, const char *name,
                     const char *value)
{
    size_t length = strlen(name) + 1;
    late_field_t *late;
    char *texts;

    if (!rpc_log_names_has(names, name))
        return;
    late = calloc(1, sizeof(*late) + length + strlen(value) + 1);
    if (!late)
        return;
    texts = (char *)(late + 1);
    memcpy(texts, name, length);
    strcpy(texts + length, value);
    late->field = (rpc_field_t){ where, texts, texts + length };
    __atomic_store_n(record->newest ? &record->newest->next : &record->late, late,
                     __ATOMIC_RELEASE);
    record->newest = late;
}

void rpc_record_note(rpc_record_t *record, const char *name, const char *value)
{
    add_late(record, RPC_FIELD_ENV, name, value);
}

void rpc_record_header(rpc_record_t *record, const char *name, const char *value)
{
    add_late(record, RPC_FIELD_OUT, name, value);
}

/* ---- the process ---- */

static apr_status_t finish_logs(void *data)
{
    unsigned long lost = access_logs ? rpc_log_writer_finish(access_logs, LAST_MOMENT) : 0;

    if (lost)
        say_lost(lost);
    rpc_server_log_finish();
    return APR_SUCCESS;
}

/* mod_log_config takes it for the main server only. The last one counts. */
static int logs_are_buffered(void)
{
    const ap_directive_t *d;
    int on = 0;

    for (d = ap_conftree; d; d = d->next) {
        if (ap_cstr_casecmp(d->directive, "BufferedLogs") == 0)
            on = ap_cstr_casecmp(d->args, "on") == 0;
    }
    return on;
}

/* mod_log_config locks a log's buffer only where a child has several threads of httpd. */
int rpc_record_possible(server_rec *s)
{
    int threads = 0;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    if (threads > 1 || !logs_are_buffered())
        return 1;
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s,
                 RPCNO(0037) "BufferedLogs is On, but under this MPM a child has one thread, for "
                 "which httpd does not lock the buffers, and the lines of channels are written by "
                 "another: set BufferedLogs Off, or use the event MPM");
    return 0;
}

apr_status_t rpc_record_start(apr_pool_t *pool)
{
    apr_status_t rv = rpc_server_log_start();

    if (rv == APR_SUCCESS)
        rv = rpc_log_writer_start(&access_logs, ROOM, say_missing);
    apr_pool_pre_cleanup_register(pool, NULL, finish_logs);
    return rv;
}

void rpc_record_prepare(apr_pool_t *pconf)
{
    names = rpc_log_names_read(pconf);
}

void rpc_record_register(apr_pool_t *p)
{
    ap_hook_log_transaction(at_request_end, NULL, NULL, APR_HOOK_REALLY_FIRST - 2);
    ap_hook_generate_log_id(tell_id, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_ssl_var_lookup(tell_ssl_variable, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_ssl_conn_is_ssl(tell_tls, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_http_scheme(tell_scheme, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_default_port(tell_port, NULL, NULL, APR_HOOK_REALLY_FIRST);
    rpc_tls_items_register(p);
}
