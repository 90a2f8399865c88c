/* httpd/session_cache.c: see httpd/session_cache.h. */
#include "httpd/session_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include <apu.h>
#include <apr_optional_hooks.h>
#include <httpd.h>
#include <openssl/ssl.h>

#include "httpd/server_log.h"
#include "io/loop.h"

/* A session that is to be removed, and of which this has a reference. */
typedef struct removal {
    rpc_line_t line;            /* first */
    SSL_CTX *ctx;               /* lives as long as the process */
    SSL_SESSION *session;
} removal_t;

/* The same in all contexts. */
static void (*of_mod_ssl)(SSL_CTX *ctx, SSL_SESSION *session);

static void free_removal(rpc_line_t *line)
{
    removal_t *removal = (removal_t *)line;

    SSL_SESSION_free(removal->session);
    free(removal);
}

/* All children share the lock that it may hold, so it is not cancelled meanwhile. */
static void remove_now(rpc_line_t *line, apr_pool_t *pool)
{
    const removal_t *removal = (removal_t *)line;
    int before;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    of_mod_ssl(removal->ctx, removal->session);
    free_removal(line);
    pthread_setcancelstate(before, NULL);
}

/* Without memory, the session stays until its time is over. */
static void remove_session(SSL_CTX *ctx, SSL_SESSION *session)
{
    removal_t *removal;

    if (!rpc_loop_is_here()) {
        of_mod_ssl(ctx, session);
        return;
    }
    removal = calloc(1, sizeof(*removal));
    if (!removal || !SSL_SESSION_up_ref(session)) {
        free(removal);
        return;
    }
    removal->line = (rpc_line_t){ .write = remove_now, .drop = free_removal,
                                  .size = sizeof(*removal) };
    removal->ctx = ctx;
    removal->session = session;
    rpc_server_log_give(&removal->line);
}

static int take_over(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx)
{
    void (*now)(SSL_CTX *, SSL_SESSION *) = SSL_CTX_sess_get_remove_cb(ctx);

    if (!is_proxy && now && now != remove_session) {
        of_mod_ssl = now;
        SSL_CTX_sess_set_remove_cb(ctx, remove_session);
    }
    return OK;
}

/* A hook of mod_ssl. Distributions leave its header (mod_ssl_openssl.h) out. */
typedef int ssl_HOOK_init_server_t(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx);

void rpc_session_cache_register(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ssl, init_server, take_over, NULL, NULL, APR_HOOK_MIDDLE);
}
