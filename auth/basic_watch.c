/* auth/basic_watch.c: AuthNtlmFailures for AuthType Basic. mod_auth_basic is watched from outside:
 *
 *   before it is asked            the try is noted, or refused where the limit has been reached
 *   authorization is reached      the password was right
 *   401 goes out instead          the password was wrong: one more failure
 */
#include "auth/basic_watch.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "auth/config.h"
#include "auth/failures.h"

#define TRY_KEY "auth-failures-try"

/* A password shown to mod_auth_basic: userdata of the client's request, whatever subrequest or
 * internal redirect asks for it. One request, one verdict. */
typedef struct basic_try {
    auth_account_t account;
    auth_failures_limit_t limit;
    int passed;                         /* somewhere in this request */
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

/* The credentials if there are any, read as mod_auth_basic reads them: what does not decode is
 * a user as well, often an empty one. */
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

/* As mod_auth_basic leaves a wrong password. */
static int refuse(request_rec *r, const basic_try_t *t)
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
        t->state = TRY_OPEN;            /* another section asks */
    return t->state == TRY_BLOCKED ? refuse(r, t) : DECLINED;
}

/* Authorization is asked only of those who are authenticated; its own 401 is no failure. Tries
 * that ran side by side may have reached the limit meanwhile: the right one among them does not
 * show, or many connections at once would buy as many guesses. */
static int after_basic(request_rec *r)
{
    basic_try_t *t = try_of(r);

    if (!t || t->state != TRY_OPEN)
        return DECLINED;
    if (auth_failures_blocked(r, &t->limit, &t->account)) {
        t->state = TRY_BLOCKED;
        return refuse(r, t);
    }
    t->state = TRY_PASSED;
    t->passed = 1;
    auth_failures_success(r, &t->limit, &t->account);
    return DECLINED;
}

static void failed(request_rec *r)
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
        failed(r);
}

/* ErrorDocument 401 is an internal redirect: no error filter sees the refusal. */
static int before_redirect(request_rec *r)
{
    if (r->prev && is_refusal(r->prev))
        failed(r->prev);
    return DECLINED;
}

/* What came to no 401: a subrequest's try, as for a listing that shows what the client may see.
 * It is none of who has passed elsewhere, and 5xx says nothing of the password. */
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
    failed(r);
    return DECLINED;
}

void auth_basic_watch_register(apr_pool_t *p)
{
    /* mod_ssl's FakeBasicAuth writes the header that is looked at. */
    static const char *const before[] = { "mod_ssl.c", NULL };
    static const char *const after[] = { "mod_auth_basic.c", NULL };

    ap_hook_check_authn(before_basic, before, after, APR_HOOK_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authz(after_basic, NULL, NULL, APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_insert_error_filter(before_error, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_read_request(before_redirect, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_log_transaction(at_end, NULL, NULL, APR_HOOK_FIRST);
}
