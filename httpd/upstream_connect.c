/* httpd/upstream_connect.c: mod_proxy connects, mod_ssl shakes hands, and what they have made is
 * taken from them.
 *
 * The order of clean-ups is that of httpd/detach.c: ours is registered in mod_ssl's pre_handshake
 * hook, and so runs when mod_ssl has let go of the session. mod_proxy clears the pool of a
 * connection that is to be closed when it is released; a connection of which it has not done so is
 * not used.
 */
#include "httpd/upstream_connect.h"

#include <fcntl.h>
#include <unistd.h>

#include <openssl/x509v3.h>

#include <apr_optional_hooks.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_log.h>

#include "base/clock.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

static const char SCHEME[] = "rpcproxy";        /* what mod_proxy's lines in the log call us */
static const char DEADLINE[] = "RPCPROXY_DEADLINE";
static const char origin_key[] = "rpcproxy-origin";

/* A connection of mod_proxy's, in its pool. */
typedef struct origin {
    SSL *ssl;                   /* of mod_ssl; NULL: none */
    int ours;                   /* SSL is held */
    int *gone;                  /* set when mod_proxy and mod_ssl have let go of it */
} origin_t;

/* ---- the connection in httpd ---- */

static apr_status_t origin_end(void *data)
{
    origin_t *origin = data;

    if (origin->gone)
        *origin->gone = 1;
    if (origin->ours)
        SSL_free(origin->ssl);
    return APR_SUCCESS;
}

static origin_t *make_origin(conn_rec *c, SSL *ssl)
{
    origin_t *origin = apr_pcalloc(c->pool, sizeof(*origin));

    origin->ssl = ssl;
    apr_pool_userdata_setn(origin, origin_key, NULL, c->pool);
    apr_pool_cleanup_register(c->pool, origin, origin_end, apr_pool_cleanup_null);
    return origin;
}

/* A hook of mod_ssl. Distributions leave its header (mod_ssl_openssl.h) out. */
typedef int ssl_HOOK_pre_handshake_t(conn_rec *c, SSL *ssl, int is_proxy);

static int note_session(conn_rec *c, SSL *ssl, int is_proxy)
{
    if (is_proxy)
        make_origin(c, ssl);
    return OK;
}

/* The session is held, lest a handshake that fails takes the reason with it. mod_ssl lets proxies
 * authenticate after the handshake, by a callback that wants its connection. */
static origin_t *hold_origin(conn_rec *c)
{
    void *data = NULL;
    origin_t *origin;

    apr_pool_userdata_get(&data, origin_key, c->pool);
    origin = data ? data : make_origin(c, NULL);
    if (origin->ssl) {
        origin->ours = SSL_up_ref(origin->ssl);
        SSL_set_post_handshake_auth(origin->ssl, 0);
    }
    return origin;
}

/* ---- time ---- */

/* mod_ssl waits for each read of a handshake. This bounds all of them together. */
typedef struct deadline {
    apr_socket_t *socket;
    apr_time_t until;
} deadline_t;

static apr_status_t read_in_time(ap_filter_t *f, apr_bucket_brigade *bb, ap_input_mode_t mode,
                                 apr_read_type_e block, apr_off_t bytes)
{
    const deadline_t *deadline = f->ctx;
    apr_interval_time_t left = deadline->until - rpc_clock_now();

    if (left <= 0)
        return APR_TIMEUP;
    apr_socket_timeout_set(deadline->socket, left);
    return ap_get_brigade(f->next, bb, mode, block, bytes);
}

apr_interval_time_t rpc_upstream_timeout(const request_rec *r, const rpc_upstream_way_t *way)
{
    return way->worker->s->timeout_set ? way->worker->s->timeout
           : way->conf->timeout_set ? way->conf->timeout : r->server->timeout;
}

static void bound_handshake(request_rec *r, const rpc_upstream_way_t *way, proxy_conn_rec *conn)
{
    deadline_t *deadline = apr_palloc(conn->connection->pool, sizeof(*deadline));

    deadline->socket = conn->sock;
    deadline->until = rpc_clock_now() + (way->worker->s->conn_timeout_set
                                        ? way->worker->s->conn_timeout
                                        : rpc_upstream_timeout(r, way));
    ap_add_input_filter(DEADLINE, deadline, NULL, conn->connection);
}

/* ---- the handshake ---- */

/* mod_ssl shakes hands before the first byte. */
static int shake_hands(conn_rec *c)
{
    apr_bucket_brigade *bb = apr_brigade_create(c->pool, c->bucket_alloc);
    const char *result;

    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_flush_create(c->bucket_alloc));
    if (ap_pass_brigade(c->output_filters, bb) != APR_SUCCESS)
        return 0;
    result = apr_table_get(c->notes, "SSL_connect_rv");
    return result && strcmp(result, "ok") == 0;
}

/* mod_ssl says why at level info only, and not to us. */
static const char *why_no_hands(request_rec *r, const origin_t *origin)
{
    long verdict = SSL_get_verify_result(origin->ssl);

    if (verdict != X509_V_OK)
        return apr_psprintf(r->pool, "its certificate is not accepted: %s (see SSLProxyVerify and "
                            "SSLProxyCACertificateFile)", X509_verify_cert_error_string(verdict));
    return SSL_is_init_finished(origin->ssl)
             ? "its certificate is for another name, has expired, or is not accepted for another "
               "reason (see SSLProxyCheckPeerName and SSLProxyCheckPeerExpire)"
             : "the TLS handshake has failed or took too long (see SSLProxyProtocol, "
               "SSLProxyCipherSuite and connectiontimeout)";
}

/* Takes the tickets that follow a handshake. Whoever is behind us has nothing else to say yet. */
static int is_quiet(conn_rec *c)
{
    apr_bucket_brigade *bb = apr_brigade_create(c->pool, c->bucket_alloc);
    apr_off_t length = 0;
    apr_status_t rv;
    int i;

    for (i = 0; i < 2; i++) {   /* CORE says "nothing" once too often */
        rv = ap_get_brigade(c->input_filters, bb, AP_MODE_READBYTES, APR_NONBLOCK_READ, 512);
        if (rv != APR_SUCCESS)
            return APR_STATUS_IS_EAGAIN(rv);
        apr_brigade_length(bb, 1, &length);
        apr_brigade_cleanup(bb);
        if (length > 0)
            return 0;
    }
    return 1;
}

/* ---- from mod_proxy to us ---- */

/* Releases CONN, which is not used again. 1: nobody in httpd knows its session any more. */
static int let_go(proxy_conn_rec *conn, origin_t *origin, server_rec *s)
{
    int gone = 0;

    if (origin)
        origin->gone = &gone;
    if (conn->connection)
        conn->connection->aborted = 1;      /* so nothing is sent */
    conn->close = 1;                        /* determine_connection has reset it */
    rpc_proxy_api()->ap_proxy_release_connection(SCHEME, conn, s);
    if (origin && !gone)
        origin->gone = NULL;
    return gone;
}

static rpc_stream_t *take(request_rec *r, proxy_conn_rec *conn, origin_t *origin,
                          const rpc_tls_kind_t *tls)
{
    SSL *ssl = origin->ssl;
    rpc_stream_t *stream = NULL;
    apr_os_sock_t of_httpd;
    int fd = -1;

    if (apr_os_sock_get(&of_httpd, conn->sock) == APR_SUCCESS)
        fd = fcntl(of_httpd, F_DUPFD_CLOEXEC, 0);
    origin->ours = 0;           /* the reference is ours now */
    if (let_go(conn, origin, r->server) && fd >= 0) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        stream = rpc_secure_create(fd, ssl, tls);
    }
    if (!stream) {
        SSL_free(ssl);
        close(fd);
    }
    return stream;
}

/* ---- connecting ---- */

/* NULL: *WHY. */
static origin_t *open_origin(request_rec *r, const rpc_upstream_way_t *way, proxy_conn_rec *conn,
                             const char **why)
{
    const rpc_proxy_api_t *api = rpc_proxy_api();
    char *url = way->url, port[32];
    origin_t *origin;
    apr_uri_t uri;

    *why = "its name cannot be resolved, or a ProxyBlock is in its way";
    if (api->ap_proxy_determine_connection(r->pool, r, way->conf, way->worker, conn, &uri, &url,
                                           way->proxy_host, way->proxy_port, port, sizeof(port))
        != OK)
        return NULL;
    *why = "it cannot be connected to";
    if (api->ap_proxy_connect_backend(SCHEME, conn, way->worker, r->server) != OK)
        return NULL;
    *why = "SSLProxyEngine is not on there, or mod_ssl is not loaded";
    if (api->ap_proxy_connection_create_ex(SCHEME, conn, r) != OK)
        return NULL;
    origin = hold_origin(conn->connection);
    bound_handshake(r, way, conn);
    if (conn->is_ssl && (!origin->ssl || !shake_hands(conn->connection))) {
        if (origin->ssl)
            *why = why_no_hands(r, origin);
        return NULL;
    }
    if (origin->ssl)            /* else a ticket that comes ends a read early */
        SSL_set_mode(origin->ssl, SSL_MODE_AUTO_RETRY);
    *why = "it has closed the connection at once, or speaks without being asked";
    return is_quiet(conn->connection) ? origin : NULL;
}

rpc_stream_t *rpc_upstream_connect(request_rec *r, const rpc_upstream_way_t *way,
                                   const rpc_tls_kind_t *tls, rpc_reason_t *reason,
                                   const char **why)
{
    proxy_conn_rec *conn = NULL;
    rpc_stream_t *stream;
    origin_t *origin;

    *reason = RPC_REASON_CONNECT_FAILED;
    *why = "mod_proxy's worker for it is in error, or all its connections are in use";
    if (rpc_proxy_api()->ap_proxy_acquire_connection(SCHEME, &conn, way->worker, r->server) != OK)
        return NULL;
    conn->is_ssl = ap_cstr_casecmpn(way->url, "https:", 6) == 0;
    conn->close = 1;            /* one from the pool may be somebody's */
    origin = open_origin(r, way, conn, why);
    if (!origin) {
        let_go(conn, NULL, r->server);
        return NULL;
    }
    stream = take(r, conn, origin, tls);
    if (!stream) {
        *reason = RPC_REASON_LOCAL_FAILURE;
        *why = "memory or descriptors are short";
    }
    return stream;
}

void rpc_upstream_connect_register(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ssl, pre_handshake, note_session, NULL, NULL, APR_HOOK_MIDDLE);
    ap_register_input_filter(DEADLINE, read_in_time, NULL, AP_FTYPE_NETWORK - 1);
}
