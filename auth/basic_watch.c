/* auth/basic_watch.c: AuthNtlmFailures for AuthType Basic. Hooks around mod_auth_basic show what it
 * decides:
 *
 *   before mod_auth_basic runs      the try is noted, or refused when the limit has been reached
 *   authorization is reached        the password was right
 *   401 goes out instead            the password was wrong: one more failure
 */
#include "auth/basic_watch.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "auth/config.h"
#include "auth/failures.h"

#define TRY_KEY "auth-failures-try"

/* A password that mod_auth_basic checks. It is userdata of the client's request, also when a
 * subrequest or an internal redirect needs it, so that each request counts once. */
typedef struct basic_try {
    auth_account_t account;
    auth_failures_limit_t limit;
    int passed;                         /* the password was right somewhere in this request */
    enum { TRY_OPEN, TRY_PASSED, TRY_COUNTED, TRY_BLOCKED } state;
} basic_try_t;

static apr_pool_t *client_pool(const request_rec *r)
{
    while (r->main)
        r = r->main;
    return r->pool;                     /* internal redirects share it */
}

static basic_try_t *try_of(const request_rec *r)
{
    void *t = NULL;

    apr_pool_userdata_get(&t, TRY_KEY, client_pool(r));
    return t;
}

/* The credentials of the request, if there are any, read as mod_auth_basic reads them: text that is
 * not valid base64 gives a user, too, often an empty one. */
static basic_try_t *new_try(request_rec *r, const auth_failures_limit_t *limit)
{
    const char *header = apr_table_get(r->headers_in, r->proxyreq == PROXYREQ_PROXY
                                       ? "Proxy-Authorization" : "Authorization");
    apr_pool_t *p = client_pool(r);
    const char *decoded;
    basic_try_t *t;

    if (!header || ap_cstr_casecmp(ap_getword(r->pool, &header, ' '), "Basic") != 0)
        return NULL;
    while (*header == ' ' || *header == '\t')
        header++;
    decoded = ap_pbase64decode(p, header);
    t = apr_pcalloc(p, sizeof(*t));
    t->limit = *limit;
    t->account = auth_ntlm_account(r, p, ap_getword_nulls(p, &decoded, ':'));
    apr_pool_userdata_setn(t, TRY_KEY, NULL, p);
    return t;
}

/* Leaves the request as mod_auth_basic does after a wrong password. */
static int basic_refuse(request_rec *r, const basic_try_t *t)
{
    r->ap_auth_type = (char *)ap_auth_type(r);
    r->user = apr_pstrdup(r->pool, t->account.name);
    ap_note_auth_failure(r);
    return HTTP_UNAUTHORIZED;
}

static int before_basic(request_rec *r)
{
    const char *type = ap_auth_type(r);
    const auth_failures_limit_t *limit = &auth_ntlm_config(r)->failures;
    basic_try_t *t;

    if (limit->max <= 0 || !type || ap_cstr_casecmp(type, "Basic") != 0 || !ap_auth_name(r))
        return DECLINED;
    t = try_of(r);
    if (!t) {
        t = new_try(r, limit);
        if (!t)
            return DECLINED;
        if (auth_failures_blocked(r, limit, &t->account))
            t->state = TRY_BLOCKED;
    }
    if (t->state == TRY_PASSED)
        t->state = TRY_OPEN;            /* another section checks the password again */
    return t->state == TRY_BLOCKED ? basic_refuse(r, t) : DECLINED;
}

/* Authorization runs only for an authenticated user, and a 401 of its own is not a failure. Tries
 * that ran at the same time may have reached the limit meanwhile. Then a right password is refused
 * as well, or an attacker could try many passwords at once on many connections. */
static int after_basic(request_rec *r)
{
    basic_try_t *t = try_of(r);

    if (!t || t->state != TRY_OPEN)
        return DECLINED;
    if (auth_failures_blocked(r, &t->limit, &t->account)) {
        t->state = TRY_BLOCKED;
        return basic_refuse(r, t);
    }
    t->state = TRY_PASSED;
    t->passed = 1;
    auth_failures_success(r, &t->limit, &t->account);
    return DECLINED;
}

static void basic_failed(request_rec *r)
{
    basic_try_t *t = try_of(r);

    if (t && t->state == TRY_OPEN) {
        t->state = TRY_COUNTED;
        auth_failures_count(r, &t->limit, &t->account);
    }
}

static int is_refusal(const request_rec *r)
{
    return r->status == HTTP_UNAUTHORIZED || r->status == HTTP_PROXY_AUTHENTICATION_REQUIRED;
}

static void before_error(request_rec *r)
{
    if (is_refusal(r))
        basic_failed(r);
}

/* ErrorDocument 401 is an internal redirect, so no error filter sees the refusal. */
static int before_redirect(request_rec *r)
{
    if (r->prev && is_refusal(r->prev))
        basic_failed(r->prev);
    return DECLINED;
}

/* A try that has led to no 401, such as that of a subrequest for a directory listing that shows
 * what the client may see. It is no failure when the password was right elsewhere in the request,
 * and a 5xx says nothing about the password. */
static int at_end(request_rec *r)
{
    const basic_try_t *t = try_of(r);
    const request_rec *q;

    if (!t || t->passed)
        return DECLINED;
    for (q = r; q; q = q->next) {
        if (ap_is_HTTP_SERVER_ERROR(q->status))
            return DECLINED;
    }
    basic_failed(r);
    return DECLINED;
}

void auth_basic_watch_register(apr_pool_t *p)
{
    /* mod_ssl's FakeBasicAuth writes the header that this hook reads. */
    static const char *const before[] = { "mod_ssl.c", NULL };
    static const char *const after[] = { "mod_auth_basic.c", NULL };

    ap_hook_check_authn(before_basic, before, after, APR_HOOK_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authz(after_basic, NULL, NULL, APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_insert_error_filter(before_error, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_read_request(before_redirect, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_log_transaction(at_end, NULL, NULL, APR_HOOK_FIRST);
}
