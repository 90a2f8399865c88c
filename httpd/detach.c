/* httpd/detach.c: how a connection leaves httpd.
 *
 *   handler (worker)     obstacles; the socket is duplicated; 100-continue; the header of a
 *                        response is made, but not sent; what httpd has read is taken; the request
 *                        is copied
 *   httpd                frees request and connection: aborted, so without a word to the client
 *   our clean-up, last   the TLS session gets a BIO of ours; off to the loop
 *
 * A pool's clean-ups run in the order opposite to their registration. We register ours in mod_ssl's
 * pre_handshake hook, just before mod_ssl registers its own, so it runs when mod_ssl has let go of
 * the session. Before that nothing of the session that mod_ssl uses may be changed.
 */
#include "httpd/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_atomic.h>
#include <apr_optional.h>
#include <apr_optional_hooks.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_ssl.h>
#include <mod_ssl.h>
#include <util_filter.h>

#include "base/descriptors.h"
#include "base/list.h"
#include "base/message_id.h"
#include "httpd/module.h"
#include "httpd/prefork_stop.h"
#include "httpd/request_channel.h"

APLOG_USE_MODULE(rpcproxy);

#define AHEAD_MAX 1048576   /* bytes that a client may have sent ahead */
#define HEADER_MAX 65536    /* bytes of a header; what is longer is somebody else's answer */

typedef struct tie tie_t;

/* A connection on its way to the loop, and then the client of a channel. */
typedef struct detached {
    rpc_client_t client;            /* first: the stream is one of these */
    struct detached *next, *prev;   /* on their way */
    tie_t *tie;
    const rpc_detach_home_t *home;
    const rpc_channel_spec_t *spec; /* until it is the channel's */
    rpc_record_t *record;
    SSL *ssl;                       /* until it is the client's */
    rpc_job_t arrival;
} detached_t;

/* Of a connection, in its pool. */
struct tie {
    SSL *ssl;                       /* of mod_ssl; NULL: none */
    detached_t *leaves;             /* NULL: stays */
};

static const char CAPTURE[] = "RPCPROXY_CAPTURE";

/* ---- the clean-up ---- */

static void detached_arrive(rpc_job_t *job)
{
    detached_t *d = RPC_OWNER_OF(job, detached_t, arrival);
    rpc_stream_t *s = &d->client.socket.s;

    if (!s->error && rpc_watch_add(s->loop, &s->watch) != APR_SUCCESS)
        s->error = errno;
    d->home->detached(s, d->spec, d->home->ctx);
}

/* BROKEN: mod_ssl may still use the session. */
static void send_off(detached_t *d, int broken)
{
    rpc_stream_t *s = &d->client.socket.s;

    if (broken)
        s->error = APR_ECONNABORTED;
    else if (d->ssl && !rpc_tls_adopt(&d->client.tls, d->ssl, s->watch.fd, d->home->tls))
        s->error = APR_ENOMEM;
    if (!d->client.tls.ssl)
        SSL_free(d->ssl);
    rpc_loop_post(s->loop, &d->arrival);
}

/* With the lock of its ties. */
static void untie(detached_t *d)
{
    RPC_LIST_REMOVE(d->home->ties->first, d);
    d->tie->leaves = NULL;
}

/* All workers share the lock, so it is held for no system call. rpc_detach_cut() may have been here
 * meanwhile. */
static apr_status_t release_tie(void *data)
{
    const tie_t *tie = data;
    detached_t *d = tie->leaves;
    rpc_detach_ties_t *ties = d ? d->home->ties : NULL;

    if (!ties)
        return APR_SUCCESS;
    pthread_mutex_lock(&ties->lock);
    d = tie->leaves;
    if (d)
        untie(d);
    pthread_mutex_unlock(&ties->lock);
    if (d)
        send_off(d, 0);
    return APR_SUCCESS;
}

/* Prefork may come here from the handler of a signal that has interrupted whoever has the lock. */
void rpc_detach_cut(rpc_detach_ties_t *ties)
{
    detached_t *d;

    if (pthread_mutex_trylock(&ties->lock) != 0)
        return;
    while ((d = ties->first)) {
        untie(d);
        send_off(d, 1);
    }
    pthread_mutex_unlock(&ties->lock);
}

static tie_t *make_tie(conn_rec *c, SSL *ssl)
{
    tie_t *tie = apr_pcalloc(c->pool, sizeof(*tie));

    tie->ssl = ssl;
    ap_set_module_config(c->conn_config, &rpcproxy_module, tie);
    apr_pool_cleanup_register(c->pool, tie, release_tie, apr_pool_cleanup_null);
    return tie;
}

/* A hook of mod_ssl. Distributions leave its header (mod_ssl_openssl.h) out. */
typedef int ssl_HOOK_pre_handshake_t(conn_rec *c, SSL *ssl, int is_proxy);

static int note_session(conn_rec *c, SSL *ssl, int is_proxy)
{
    if (!is_proxy)
        make_tie(c, ssl);
    return OK;
}

typedef int ssl_HOOK_init_server_t(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx);

/* A copy of libssl has its own table of methods, even of the same version. */
static int check_library(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx)
{
    if (is_proxy || SSL_CTX_get_ssl_method(ctx) == TLS_server_method())
        return OK;
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s,
                 RPCNO(0013) "mod_ssl uses a copy of libssl that mod_rpcproxy does not share: both "
                 "have to be linked with the same shared library");
    return APR_EGENERAL;
}

static tie_t *tie_of(conn_rec *c)
{
    return ap_get_module_config(c->conn_config, &rpcproxy_module);
}

conn_rec *rpc_detach_nobody(apr_pool_t *pool, server_rec *s)
{
    conn_rec *c = apr_pcalloc(pool, sizeof(*c));

    c->pool = pool;
    c->base_server = s;
    c->conn_config = ap_create_conn_config(pool);
    return c;
}

/* ---- obstacles ---- */

/* Filters of httpd that have nothing more to do once a request has been read, or whose work the
 * loop does. Any other might be there to see, or change, what a channel carries. */
static const char *unknown_filter(const ap_filter_t *f)
{
    static const char *const known[] = { "core", "core_in", "ssl/tls filter",
                                         "ssl/tls coalescing filter", "log_input_output",
                                         "reqtimeout", "remoteip_input" };
    size_t i;

    for (; f; f = f->next) {
        for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            if (ap_cstr_casecmp(f->frec->name, known[i]) == 0)
                break;
        if (i == sizeof(known) / sizeof(known[0]))
            return f->frec->name;
    }
    return NULL;
}

const char *rpc_detach_obstacle(request_rec *r)
{
    conn_rec *c = r->connection;
    const char *name = unknown_filter(c->input_filters);
    const tie_t *tie = tie_of(c);

    if (!name)
        name = unknown_filter(c->output_filters);
    if (name)
        return apr_psprintf(r->pool,
                            "a filter that rpcproxy does not know, %s, stands between it and the "
                            "client, and would see nothing of a channel: take it out for this host",
                            name);
    if (ap_ssl_conn_is_ssl(c) && !(tie && tie->ssl))
        return "the TLS of this connection is not mod_ssl's, the only one that a channel can have";
    return NULL;
}

/* Not by ap_ssl_var_lookup(): httpd looks up mod_ssl's functions anew only behind post_config.
 * Until then it would call into the mod_ssl of the pass before, which is no longer in memory. */
int rpc_detach_possible(apr_pool_t *pool, server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *look_up = APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
    char *ours = apr_pstrdup(pool, OpenSSL_version(OPENSSL_VERSION)), *space = strchr(ours, ' ');
    char name[] = "SSL_VERSION_LIBRARY";
    const char *theirs = look_up ? look_up(pool, s, NULL, NULL, name) : NULL;

    if (!theirs || !*theirs)
        return 1;
    if (space)
        *space = '/';
    ours[strcspn(ours, " ")] = '\0';
    if (strcmp(ours, theirs) == 0)
        return 1;
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s,
                 RPCNO(0014) "mod_ssl uses %s, but mod_rpcproxy %s: they have to be built on the "
                 "same libssl",
                 theirs, ours);
    return 0;
}

/* ---- the hand-over ---- */

/* mod_reqtimeout's clock must not disturb the reading. */
static void remove_request_clock(conn_rec *c)
{
    ap_filter_t **f = &c->input_filters;

    while (*f && ap_cstr_casecmp((*f)->frec->name, "reqtimeout") != 0)
        f = &(*f)->next;
    if (*f)
        *f = (*f)->next;
}

/* Sends "100 Continue". httpd does this in a blocking read of HTTP_IN, which never happens here. */
static void send_continue(request_rec *r)
{
    int status = r->status;
    const char *line = r->status_line;

    r->status = HTTP_CONTINUE;
    r->status_line = NULL;
    ap_send_interim_response(r, 0);     /* clears expecting_100, which it wants to find set */
    r->status = status;
    r->status_line = line;
}

static void flush_filters(request_rec *r, ap_filter_t *filters)
{
    ap_fflush(filters, apr_brigade_create(r->pool, r->connection->bucket_alloc));
}

typedef struct captured {
    enum { KEEP, PASS, DROP } mode;
    apr_bucket_brigade *made;
} captured_t;

/* Has a filter answered in our place, as rules of mod_security's phase 3 do? Our header has status
 * 200, and nothing of it is an end, is long, or has still to be read from somewhere. */
static int is_other_answer(apr_bucket_brigade *made)
{
    char line[sizeof("HTTP/1.1 200 ") - 1];
    apr_size_t len = sizeof(line);
    apr_off_t length;
    apr_bucket *b;

    for (b = APR_BRIGADE_FIRST(made); b != APR_BRIGADE_SENTINEL(made); b = APR_BUCKET_NEXT(b))
        if (APR_BUCKET_IS_EOS(b))
            return 1;
    apr_brigade_length(made, 0, &length);
    if (length < 0 || length > HEADER_MAX || apr_brigade_flatten(made, line, &len) != APR_SUCCESS)
        return 1;
    return len == sizeof(line)
        && memcmp(line + strlen("HTTP/1.1"), " 200 ", strlen(" 200 ")) != 0;
}

static apr_status_t keep_or_pass(ap_filter_t *f, captured_t *captured, apr_bucket_brigade *bb)
{
    APR_BRIGADE_PREPEND(bb, captured->made);
    if (!is_other_answer(bb))
        return ap_save_brigade(f, &captured->made, &bb, f->c->pool);
    captured->mode = PASS;
    return ap_pass_brigade(f->next, bb);
}

/* Below all filters of the request, above those of the connection. While a header is made it is
 * kept. Later nothing that httpd says reaches the client. But somebody else's answer does, as it
 * comes, for it may be long. */
static apr_status_t capture(ap_filter_t *f, apr_bucket_brigade *bb)
{
    captured_t *captured = f->ctx;

    switch (captured->mode) {
    case KEEP:
        return keep_or_pass(f, captured, bb);
    case PASS:
        return ap_pass_brigade(f->next, bb);
    default:
        apr_brigade_cleanup(bb);
        return APR_SUCCESS;
    }
}

static int has_data(apr_bucket_brigade *bb)
{
    apr_off_t length;

    return apr_brigade_length(bb, 0, &length) == APR_SUCCESS && length != 0;
}

/* Takes the header that MADE begins with, without the empty line behind it. */
static rpc_detach_result_t take_header(rpc_client_t *client, apr_bucket_brigade *made,
                                       apr_pool_t *pool)
{
    char *text, *end;
    apr_size_t len;

    if (apr_brigade_pflatten(made, &text, &len, pool) != APR_SUCCESS)
        return RPC_DETACH_LOST;
    end = memmem(text, len, "\r\n\r\n", 4);
    if (!end)
        return RPC_DETACH_ANSWERED;
    client->header = strndup(text, (size_t)(end - text) + 2);
    return client->header ? RPC_DETACH_DONE : RPC_DETACH_LOST;
}

/* Has httpd make the header of a response, with all that its modules add to one. A filter that
 * holds it back, for it waits for the end of a body (mod_security's), is left out. */
static rpc_detach_result_t make_header(request_rec *r, rpc_client_t *client, rpc_role_t role)
{
    conn_rec *c = r->connection;
    captured_t *captured = apr_pcalloc(c->pool, sizeof(*captured));
    rpc_detach_result_t result = RPC_DETACH_ANSWERED;
    ap_filter_t *f, *capturing;

    r->status = HTTP_OK;
    r->status_line = role == RPC_MIXED ? "200 OK" : "200 Success";
    apr_table_setn(r->subprocess_env, "no-gzip", "1");
    apr_table_setn(r->subprocess_env, "no-brotli", "1");
    apr_table_unset(r->subprocess_env, "rate-limit");       /* mod_ratelimit would wait here */
    ap_set_content_type(r, "application/rpc");
    ap_set_content_length(r, RPC_CLIENT_LENGTH);
    captured->made = apr_brigade_create(c->pool, c->bucket_alloc);
    capturing = ap_add_output_filter(CAPTURE, captured, r, c);
    for (f = r->output_filters; f != c->output_filters && captured->mode == KEEP
                                && !has_data(captured->made); f = f->next)
        flush_filters(r, f);
    if (captured->mode == KEEP)
        result = take_header(client, captured->made, c->pool);
    captured->mode = result == RPC_DETACH_ANSWERED ? PASS : DROP;
    if (captured->mode == PASS)
        ap_pass_brigade(capturing->next, captured->made);
    else
        apr_brigade_cleanup(captured->made);
    apr_table_unset(r->headers_out, "Content-Length");      /* the client's answer tells it */
    return result;
}

/* Takes what the filters below hold of the body. Afterwards the rest of it is in the socket, but
 * for the beginning of a TLS record, which is in the session. CORE says "nothing" once too
 * often. */
static apr_status_t take_ahead(conn_rec *c, rpc_client_t *client)
{
    apr_bucket_brigade *bb = apr_brigade_create(c->pool, c->bucket_alloc);
    apr_status_t rv = APR_SUCCESS;
    int nothing = 0;

    while (rv == APR_SUCCESS && nothing < 2) {
        char *data;
        apr_size_t len;

        if (ap_get_brigade(c->input_filters, bb, AP_MODE_READBYTES, APR_NONBLOCK_READ, 65536)
            != APR_SUCCESS)
            break;      /* nothing now, or an end, which the stream will find again */
        rv = apr_brigade_pflatten(bb, &data, &len, c->pool);
        apr_brigade_cleanup(bb);
        nothing = len ? 0 : nothing + 1;
        if (rv == APR_SUCCESS && (client->ahead.size + len > AHEAD_MAX
                                  || rpc_bytes_put(&client->ahead, data, len) != 0))
            rv = APR_ENOMEM;
    }
    client->was_ahead = client->ahead.size;
    return rv;
}

static void detached_gone(rpc_client_t *client)
{
    detached_t *d = (detached_t *)client;

    apr_atomic_dec32(d->home->alive);
}

static void note_field(void *record, const char *name, const char *value)
{
    rpc_record_header(record, name, value);
}

static void detached_written(rpc_client_t *client)
{
    detached_t *d = (detached_t *)client;
    rpc_client_sums_t sums = rpc_client_sums(client);
    rpc_record_end_t end = { client->status ? client->status : HTTP_OK,
                             client->socket.s.error != APR_SUCCESS,
                             sums.body, sums.in, sums.out };

    rpc_client_fields(client, note_field, d->record);
    rpc_record_end(d->record, &end);
}

/* A descriptor of R's socket that outlives the connection; -1: there is none, or a channel and its
 * leg would take those that the child needs to accept connections. */
static int duplicate_socket(request_rec *r)
{
    apr_os_sock_t of_httpd, fd;

    if (apr_os_sock_get(&of_httpd, ap_get_conn_socket(r->connection)) != APR_SUCCESS)
        return -1;
    fd = fcntl(of_httpd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && rpc_descriptors_short(fd > of_httpd ? fd : of_httpd,
                                         RPC_DESCRIPTORS_KEPT_BY_CLIENTS)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static rpc_detach_result_t detached_create(detached_t **out, request_rec *r,
                                           const rpc_channel_spec_t *spec,
                                           const rpc_detach_home_t *home)
{
    detached_t *d = *out = calloc(1, sizeof(*d));
    int fd = d ? duplicate_socket(r) : -1;

    if (fd < 0) {
        free(d);
        return d ? RPC_DETACH_NO_DESCRIPTORS : RPC_DETACH_NO_MEMORY;
    }
    rpc_client_init(&d->client, home->loop, fd);
    d->client.body_left = spec->content_length;
    d->client.stay = spec->role == RPC_OUTBOUND;
    d->client.written = detached_written;
    d->client.gone = detached_gone;
    d->home = home;
    d->arrival.run = detached_arrive;
    return RPC_DETACH_DONE;
}

/* Of a connection that stays httpd's. */
static void detached_drop(detached_t *d)
{
    SSL_free(d->ssl);
    close(d->client.socket.s.watch.fd);
    rpc_bytes_clear(&d->client.ahead);
    free(d->client.header);
    free(d);
}

static rpc_detach_result_t give_up(request_rec *r, detached_t *d, rpc_detach_result_t result)
{
    r->connection->aborted |= result == RPC_DETACH_LOST;
    detached_drop(d);
    return result;
}

/* FIELDS, and of a header that httpd has made, those that its modules have added, Header's among
 * them: for the answer that a proxy behind us makes. In POOL. */
static const char *added_fields(apr_pool_t *pool, const char *fields, const char *header)
{
    static const char *const of_httpd[] = { "HTTP/", "Date:", "Server:", "Content-Type:",
                                            "Content-Length:", "Connection:", "Keep-Alive:",
                                            "Upgrade:" };
    char *line, *state;
    size_t i;

    for (line = apr_strtok(apr_pstrdup(pool, header ? header : ""), "\r\n", &state); line;
         line = apr_strtok(NULL, "\r\n", &state)) {
        for (i = 0; i < sizeof(of_httpd) / sizeof(of_httpd[0]); i++)
            if (ap_cstr_casecmpn(line, of_httpd[i], strlen(of_httpd[i])) == 0)
                break;
        if (i == sizeof(of_httpd) / sizeof(of_httpd[0]))
            fields = apr_pstrcat(pool, fields ? fields : "", line, "\r\n", NULL);
    }
    return fields;
}

rpc_detach_result_t rpc_detach(request_rec *r, const rpc_channel_spec_t *spec,
                               const rpc_detach_home_t *home)
{
    conn_rec *c = r->connection;
    detached_t *d;
    rpc_detach_result_t result = detached_create(&d, r, spec, home);
    rpc_channel_spec_t complete = *spec;
    tie_t *tie = tie_of(c);
    apr_status_t rv;

    if (result != RPC_DETACH_DONE)
        return result;
    if (!tie)
        tie = make_tie(c, NULL);
    c->keepalive = AP_CONN_CLOSE;
    remove_request_clock(c);
    if (r->expecting_100)
        send_continue(r);
    flush_filters(r, c->output_filters);
    result = make_header(r, &d->client, spec->role);
    if (result != RPC_DETACH_DONE)
        return give_up(r, d, result);
    if (tie->ssl) {
        SSL_up_ref(tie->ssl);
        /* Else a ticket that comes ends a read early. */
        SSL_set_mode(tie->ssl, SSL_MODE_AUTO_RETRY);
    }
    rpc_prefork_stop_spare();
    rv = take_ahead(c, &d->client);
    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      RPCNO(0016) "the client has sent more than %d bytes before its channel was "
                      "opened, or there is no memory for them",
                      AHEAD_MAX);
        d->client.socket.s.error = rv;
    }
    apr_socket_timeout_set(ap_get_conn_socket(c), 0);   /* the loop's copy never blocks either */
    d->ssl = tie->ssl;
    if (spec->upstream.stream)
        complete.upstream.fields = added_fields(r->pool, spec->upstream.fields, d->client.header);
    d->spec = rpc_request_detach(r, &complete, &d->record);
    r->eos_sent = 1;
    c->aborted = 1;
    if (!d->spec)
        return give_up(r, d, RPC_DETACH_LOST);
    apr_atomic_inc32(home->alive);
    pthread_mutex_lock(&home->ties->lock);
    d->tie = tie;
    tie->leaves = d;
    RPC_LIST_PUSH(home->ties->first, d);
    pthread_mutex_unlock(&home->ties->lock);
    return RPC_DETACH_DONE;
}

void rpc_detach_register(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ssl, init_server, check_library, NULL, NULL, APR_HOOK_MIDDLE);
    APR_OPTIONAL_HOOK(ssl, pre_handshake, note_session, NULL, NULL, APR_HOOK_MIDDLE);
    ap_register_output_filter(CAPTURE, capture, NULL, AP_FTYPE_CONNECTION);
}
