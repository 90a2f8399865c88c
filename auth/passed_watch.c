/* auth/passed_watch.c: the server behind says by its status whether a password was right:
 *
 *   before mod_proxy serves         the try is noted, or refused when the limit has been reached
 *   401                             the password was wrong: one more failure
 *   2xx, 101                        it was right, unless the page is one that nobody is asked for a
 *                                   password for: methods that only read show nothing
 *   any other status                says nothing about it
 *
 * Tries that run at the same time may exceed the limit by as many as there are requests on their
 * way: their answers are the server's, and go to the client.
 */
#include "auth/passed_watch.h"

#include <stdlib.h>

#include <apr_base64.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "auth/config.h"
#include "auth/failures.h"
#include "auth/provider.h"
#include "base/passed_on.h"
#include "base/who.h"
#include "ntlm/ntlmssp.h"
#include "ntlm/spnego.h"

#define TRY_KEY "auth-passed-try"

/* A password on its way. It is userdata of the client's request: one that is redirected within
 * httpd, to an ErrorDocument, counts once. */
typedef struct passed_try {
    auth_account_t account;
    auth_failures_limit_t limit;
    request_rec *of;                    /* whose status counts; NULL: none does */
    int shows;                          /* a good status shows that the password was right */
} passed_try_t;

static passed_try_t *try_of(const request_rec *r)
{
    void *t = NULL;

    apr_pool_userdata_get(&t, TRY_KEY, r->pool);
    return t;
}

/* Will a status say anything? Where mod_rpc_backend_auth has logged on, the password is none of the
 * client's. */
static int is_open(const passed_try_t *t)
{
    return t && t->of && !apr_table_get(t->of->notes, RPC_WHO_LOGGED_ON_NOTE);
}

/* ---- whose password it is ---- */

static const char *basic_name(request_rec *r, const char *text)
{
    const char *decoded = ap_pbase64decode(r->pool, text);

    return ap_getword_nulls(r->pool, &decoded, ':');
}

/* The AUTHENTICATE message in a token, raw or in SPNEGO; NULL: there is none. */
static const uint8_t *authenticate_in(const uint8_t *token, size_t *size)
{
    spnego_token_t spnego;

    if (!ntlmssp_type(token, *size)) {
        if (spnego_read(token, *size, &spnego) || !spnego.token)
            return NULL;
        token = spnego.token;
        *size = spnego.token_size;
    }
    return ntlmssp_type(token, *size) == 3 ? token : NULL;
}

/* A message that would be refused here, with NTLMv1 for one, may be good enough for the server
 * behind. What has been read of it counts. */
static const char *ntlm_name(request_rec *r, const char *text)
{
    uint8_t *token = apr_palloc(r->pool, (apr_size_t)apr_base64_decode_len(text) + 1);
    size_t size = (size_t)apr_base64_decode_binary(token, text);
    const uint8_t *message = authenticate_in(token, &size);
    ntlmssp_authenticate_t auth;

    if (!message)
        return NULL;
    ntlmssp_read_authenticate(message, size, &auth);
    return *auth.domain && *auth.user ? apr_pstrcat(r->pool, auth.domain, "\\", auth.user, NULL)
                                      : apr_pstrdup(r->pool, auth.user);
}

/* NULL: R has no password in it. *SCHEME, as the client wrote it. */
static const char *name_in(request_rec *r, const char **scheme)
{
    const char *text = apr_table_get(r->headers_in, "Authorization");

    if (!text)
        return NULL;
    *scheme = ap_getword_white(r->pool, &text);
    if (ap_cstr_casecmp(*scheme, "Basic") == 0)
        return basic_name(r, text);
    return ap_cstr_casecmp(*scheme, "NTLM") == 0 || ap_cstr_casecmp(*scheme, "Negotiate") == 0
             ? ntlm_name(r, text) : NULL;
}

/* ---- before the server behind is asked ---- */

static int is_passed_on(request_rec *r)
{
    const char *type = ap_auth_type(r);

    return !r->main && (!type || ap_cstr_casecmp(type, "None") == 0)
           && (r->proxyreq == PROXYREQ_REVERSE
               || (r->handler && strncmp(r->handler, "proxy:", 6) == 0));
}

/* Offers what the client has chosen, for what the server behind offers is not known. */
static int passed_refuse(request_rec *r, const char *scheme)
{
    const char *realm = ap_auth_name(r);

    if (ap_cstr_casecmp(scheme, "Basic") == 0)
        scheme = apr_pstrcat(r->pool, "Basic realm=\"", realm ? realm : ap_get_server_name(r), "\"",
                             NULL);
    apr_table_setn(r->err_headers_out, "WWW-Authenticate", scheme);
    return HTTP_UNAUTHORIZED;
}

static int before_proxy(request_rec *r)
{
    const auth_failures_limit_t *limit = &auth_ntlm_config(r)->failures;
    const char *scheme, *name;
    passed_try_t *t;

    if (limit->max <= 0 || !is_passed_on(r) || try_of(r) || !(name = name_in(r, &scheme)))
        return DECLINED;
    t = apr_pcalloc(r->pool, sizeof(*t));
    t->limit = *limit;
    t->account = auth_ntlm_account(r, r->pool, name);
    t->shows = r->method_number != M_GET && r->method_number != M_OPTIONS;
    apr_pool_userdata_setn(t, TRY_KEY, NULL, r->pool);
    if (auth_failures_blocked(r, limit, &t->account))
        return passed_refuse(r, scheme);
    t->of = r;
    return DECLINED;
}

/* ---- its answer ---- */

static void judge(request_rec *r, const passed_try_t *t, int status)
{
    if (status == HTTP_UNAUTHORIZED)
        auth_failures_count(r, &t->limit, &t->account);
    else if (status == HTTP_SWITCHING_PROTOCOLS || (t->shows && ap_is_HTTP_SUCCESS(status)))
        auth_failures_success(r, &t->limit, &t->account);
}

static int at_end(request_rec *r)
{
    const passed_try_t *t = try_of(r);

    if (is_open(t))
        judge(t->of, t, t->of->status);
    return DECLINED;
}

/* ---- an answer that httpd does not see ---- */

static void *auth_passed_on(request_rec *r)
{
    passed_try_t *t = try_of(r), *copy;
    size_t name, canonical;
    char *texts;

    if (!is_open(t))
        return NULL;
    t->of = NULL;               /* its end in httpd says nothing */
    name = strlen(t->account.name) + 1;
    canonical = strlen(t->account.canonical) + 1;
    copy = malloc(sizeof(*copy) + name + canonical);
    if (!copy)
        return NULL;
    *copy = *t;
    texts = (char *)(copy + 1);
    copy->account.name = memcpy(texts, t->account.name, name);
    copy->account.canonical = memcpy(texts + name, t->account.canonical, canonical);
    return copy;
}

static void auth_passed_answered(request_rec *r, const void *passed, int status)
{
    judge(r, passed, status);
}

void auth_passed_watch_register(apr_pool_t *p)
{
    APR_REGISTER_OPTIONAL_FN(auth_passed_on);
    APR_REGISTER_OPTIONAL_FN(auth_passed_answered);
    /* Before mod_rpcproxy closes the bodies of channels to others. */
    ap_hook_fixups(before_proxy, NULL, NULL, APR_HOOK_REALLY_FIRST - 2);
    ap_hook_log_transaction(at_end, NULL, NULL, APR_HOOK_FIRST);
}
