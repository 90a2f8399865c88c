/* auth_ntlm.c: AuthType NTLM: module record, and what travels in HTTP's headers.
 *
 *   no Authorization   who the connection belongs to, or 401 with what is offered
 *   NTLM, Negotiate    one step of the connection's handshake (auth/handshake.c)
 *   Basic              under TLS, any of httpd's authn providers
 *
 * NTLM belongs to the connection, so it is neither offered nor taken where the connection is
 * not the client's own: behind a proxy that says so (Via) and in HTTP/2.
 */
#include <openssl/evp.h>

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <ap_provider.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <http_ssl.h>
#include <mod_auth.h>

#include "auth/basic_watch.h"
#include "auth/config.h"
#include "auth/failures.h"
#include "auth/handshake.h"
#include "auth/negotiate.h"
#include "auth/provider.h"

static int is_ours(request_rec *r)
{
    const char *type = ap_auth_type(r);

    return type && ap_cstr_casecmp(type, "NTLM") == 0;
}

/* ---- what is offered ---- */

static const char *why_no_ntlm(const request_rec *r)
{
    if (r->connection->master)
        return "HTTP/2 has no connections of one user";
    if (apr_table_get(r->headers_in, "Via"))
        return "a proxy (Via) may share the connection among users";
    return NULL;
}

static int offers_basic(const request_rec *r)
{
    return auth_ntlm_config(r)->basic && ap_ssl_conn_is_ssl(r->connection);
}

static void offer(request_rec *r, const char *scheme)
{
    apr_table_addn(r->err_headers_out, "WWW-Authenticate", scheme);
}

static void offer_all(request_rec *r)
{
    if (!why_no_ntlm(r)) {
        if (auth_ntlm_config(r)->negotiate > 0)
            offer(r, "Negotiate");
        offer(r, "NTLM");
    }
    if (offers_basic(r)) {
        const char *realm = ap_auth_name(r);

        offer(r, apr_pstrcat(r->pool, "Basic realm=\"", realm ? realm : ap_get_server_name(r), "\"", NULL));
    }
}

/* Hook: a 401 that others answer, such as one for a failed Require. */
static int note_failure(request_rec *r, const char *auth_type)
{
    if (ap_cstr_casecmp(auth_type, "NTLM") != 0)
        return DECLINED;
    offer_all(r);
    return OK;
}

/* 401, or 403 where nothing could be offered. */
static int refuse(request_rec *r)
{
    if (why_no_ntlm(r) && !offers_basic(r)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "NTLM is not possible: %s", why_no_ntlm(r));
        return HTTP_FORBIDDEN;
    }
    offer_all(r);
    return HTTP_UNAUTHORIZED;
}

/* ---- NTLM and Negotiate ---- */

/* The bytes of a token in base64; NULL: it is none. */
static const uint8_t *decode(request_rec *r, const char *text, size_t *size)
{
    size_t len = strlen(text), pad = 0;
    uint8_t *bytes;
    int n;

    while (len && apr_isspace(text[len - 1]))
        len--;
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    if (!len || len % 4 || len / 4 * 3 > NTLMSSP_MAX)
        return NULL;
    bytes = apr_palloc(r->pool, len / 4 * 3);
    n = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)len);
    if (n < 0)
        return NULL;
    *size = (size_t)n - pad;
    return bytes;
}

static const char *with_token(request_rec *r, const char *scheme, const auth_ntlm_reply_t *reply)
{
    char *text = apr_palloc(r->pool, (apr_size_t)apr_base64_encode_len((int)reply->size));

    apr_base64_encode_binary(text, reply->message, (int)reply->size);
    return apr_pstrcat(r->pool, scheme, " ", text, NULL);
}

/* The second leg needs this connection. */
static void keep_connection(request_rec *r)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");

    if (!r->server->keep_alive)
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "NTLM needs the connection kept: set KeepAlive On");
    if ((!length || strcmp(length, "0") == 0) && !apr_table_get(r->headers_in, "Transfer-Encoding"))
        r->expecting_100 = 0;   /* of a body that is none; pending at the 401 it would cost the connection */
}

static int take_token(request_rec *r, const char *scheme, const char *text)
{
    auth_ntlm_reply_t reply = { NULL, 0, { 0 }, 0 };
    size_t size;
    const uint8_t *token = decode(r, text, &size);
    auth_ntlm_step_t step;

    if (!token) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "%s refused: no token in base64", scheme);
        auth_ntlm_forget(r);
        return refuse(r);
    }
    step = strcmp(scheme, "NTLM") == 0 ? auth_ntlm_step(r, token, size, &reply)
                                       : auth_ntlm_negotiate(r, token, size, &reply);
    if (step == AUTH_NTLM_STEP_ERROR)
        return HTTP_INTERNAL_SERVER_ERROR;
    if (step == AUTH_NTLM_STEP_REFUSED)
        return refuse(r);
    if (reply.size)
        offer(r, with_token(r, scheme, &reply));
    if (step == AUTH_NTLM_STEP_GRANTED)
        return OK;
    keep_connection(r);
    return HTTP_UNAUTHORIZED;
}

/* ---- Basic ---- */

static authn_status ask_basic(request_rec *r, const char *user, const char *password)
{
    const apr_array_header_t *names = auth_ntlm_config(r)->basic;
    authn_status status = AUTH_USER_NOT_FOUND;
    int i;

    for (i = 0; i < names->nelts && status == AUTH_USER_NOT_FOUND; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const authn_provider *provider =
            ap_lookup_provider(AUTHN_PROVIDER_GROUP, name, AUTHN_PROVIDER_VERSION);

        apr_table_setn(r->notes, AUTHN_PROVIDER_NAME_NOTE, name);
        status = provider->check_password(r, user, password);
        apr_table_unset(r->notes, AUTHN_PROVIDER_NAME_NOTE);
    }
    return status;
}

static int take_basic(request_rec *r)
{
    const auth_failures_limit_t *limit = &auth_ntlm_config(r)->failures;
    const char *user, *password;

    if (!offers_basic(r)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "Basic refused: %s", auth_ntlm_config(r)->basic
                      ? "the connection has no TLS" : "there is no AuthNtlmBasicProvider");
        return refuse(r);
    }
    if (ap_get_basic_auth_components(r, &user, &password) != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "Basic refused: not a user and a password");
        auth_failures_count(r, limit, NULL);
        return refuse(r);
    }
    if (auth_failures_blocked(r, limit, user, NULL))
        return refuse(r);
    r->user = apr_pstrdup(r->pool, user);
    r->ap_auth_type = "Basic";
    switch (ask_basic(r, user, password)) {
    case AUTH_GRANTED:
        if (auth_failures_blocked(r, limit, user, NULL))     /* others have guessed meanwhile */
            return refuse(r);
        auth_failures_forget(r, limit, user);
        return OK;
    case AUTH_GENERAL_ERROR:
        return HTTP_INTERNAL_SERVER_ERROR;
    default:
        auth_failures_count(r, limit, user);
        return refuse(r);
    }
}

/* ---- hooks ---- */

static int take_ntlm(request_rec *r, const char *scheme, const char *rest)
{
    if (why_no_ntlm(r)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "%s refused: %s", scheme, why_no_ntlm(r));
        return refuse(r);
    }
    return take_token(r, scheme, rest);
}

static int authenticate(request_rec *r)
{
    const char *header, *scheme;

    if (!is_ours(r))
        return DECLINED;
    r->ap_auth_type = "NTLM";
    header = apr_table_get(r->headers_in, "Authorization");
    if (!header)
        return !why_no_ntlm(r) && auth_ntlm_known(r) ? OK : refuse(r);
    scheme = ap_getword_white(r->pool, &header);
    if (ap_cstr_casecmp(scheme, "Basic") == 0)
        return take_basic(r);
    if (ap_cstr_casecmp(scheme, "NTLM") == 0)
        return take_ntlm(r, "NTLM", header);
    if (ap_cstr_casecmp(scheme, "Negotiate") == 0 && auth_ntlm_config(r)->negotiate > 0)
        return take_ntlm(r, "Negotiate", header);
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "scheme \"%s\" is not offered",
                  ap_escape_logitem(r->pool, scheme));
    return refuse(r);
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const after[] = { "mod_auth_basic.c", NULL };

    auth_ntlm_file_register(p);
    auth_ntlm_winbind_register(p);
    auth_ntlm_binding_register(p);
    auth_failures_register(p);
    auth_basic_watch_register(p);
    ap_hook_check_authn(authenticate, NULL, after, APR_HOOK_MIDDLE, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_note_auth_failure(note_failure, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(auth_ntlm) = {
    STANDARD20_MODULE_STUFF,
    auth_ntlm_create_dir,
    auth_ntlm_merge_dir,
    NULL,
    NULL,
    auth_ntlm_commands,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
