/* auth/basic.c: the providers are asked for the name as it was typed. When no provider knows that
 * name, they are asked again without the domain, so that a user who can log on with NTLM as
 * DOM\user or user@domain can do the same with Basic.
 *
 * RFC 7617 lets a server ask for UTF-8, but the RPC library of Windows uses only the ANSI code
 * page. Text of another character set is hardly ever valid UTF-8 by chance, so valid UTF-8 is read
 * as UTF-8.
 */
#include "auth/basic.h"

#include <apr_strings.h>
#include <apr_xlate.h>
#include <ap_provider.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_ssl.h>
#include <mod_auth.h>

#include "auth/account_name.h"
#include "auth/config.h"
#include "auth/failures.h"
#include "auth/provider.h"
#include "base/message_id.h"
#include "ntlm/unicode.h"

APLOG_USE_MODULE(auth_ntlm);

#define UTF8_MAX 4              /* bytes of UTF-8 that one byte of another set may become */

int auth_ntlm_offers_basic(request_rec *r)
{
    return auth_ntlm_config(r)->basic && ap_ssl_conn_is_ssl(r->connection);
}

/* ---- character sets ---- */

/* TEXT converted to UTF-8; NULL when it is not text of that character set. */
static const char *from_charset(apr_pool_t *pool, const char *charset, const char *text)
{
    apr_size_t size = strlen(text), room = UTF8_MAX * size;
    char *out = apr_pcalloc(pool, room + 1);
    apr_xlate_t *set;

    return apr_xlate_open(&set, "UTF-8", charset, pool) == APR_SUCCESS
                && apr_xlate_conv_buffer(set, text, &size, out, &room) == APR_SUCCESS && !size
             ? out
             : NULL;
}

/* Converts both to UTF-8 when AuthNtlmBasicCharset is set. Returns 0 when they cannot be read. */
static int read_text(request_rec *r, const char **user, const char **password)
{
    const char *charset = auth_ntlm_config(r)->basic_charset;

    if (!charset || (ntlmssp_is_utf8(*user) && ntlmssp_is_utf8(*password)))
        return 1;
    *user = from_charset(r->pool, charset, *user);
    *password = from_charset(r->pool, charset, *password);
    return *user && *password;
}

/* ---- providers ---- */

static authn_status ask_providers(request_rec *r, const char *user, const char *password)
{
    const apr_array_header_t *names = auth_ntlm_config(r)->basic;
    authn_status status = AUTH_USER_NOT_FOUND;
    int i;

    r->user = apr_pstrdup(r->pool, user);
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

/* A failure is counted for the name that a provider knows. When none knows either name, it is
 * counted for the last name tried. */
static int log_on(request_rec *r, const char *typed, const char *password)
{
    const auth_failures_limit_t *limit = &auth_ntlm_config(r)->failures;
    const char *domain, *bare = auth_ntlm_account_name(r->pool, typed, &domain);
    auth_account_t account = auth_ntlm_account(r, r->pool, typed);
    authn_status status;

    if (auth_failures_blocked(r, limit, &account))
        return HTTP_UNAUTHORIZED;
    status = ask_providers(r, typed, password);
    if (status == AUTH_USER_NOT_FOUND && *domain && *bare) {
        account = auth_ntlm_account(r, r->pool, bare);
        if (auth_failures_blocked(r, limit, &account))
            return HTTP_UNAUTHORIZED;
        status = ask_providers(r, bare, password);
    }
    switch (status) {
    case AUTH_GRANTED:
        /* Other tries may have failed meanwhile. */
        if (auth_failures_blocked(r, limit, &account))
            return HTTP_UNAUTHORIZED;
        auth_failures_success(r, limit, &account);
        return OK;
    case AUTH_GENERAL_ERROR:
        return HTTP_INTERNAL_SERVER_ERROR;
    default:
        auth_failures_count(r, limit, &account);
        return HTTP_UNAUTHORIZED;
    }
}

int auth_ntlm_basic(request_rec *r)
{
    const auth_ntlm_config_t *cfg = auth_ntlm_config(r);
    const auth_account_t nobody = { "", "" };
    const char *user, *password, *why = NULL;

    r->ap_auth_type = "Basic";
    if (!auth_ntlm_offers_basic(r)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, RPCNO(0111) "Basic refused: %s", cfg->basic
                      ? "the connection does not use TLS" : "there is no AuthNtlmBasicProvider");
        return HTTP_UNAUTHORIZED;
    }
    if (ap_get_basic_auth_components(r, &user, &password) != APR_SUCCESS)
        why = "the token is not a user and a password";
    else if (!read_text(r, &user, &password))
        why = apr_psprintf(r->pool, "its text is neither UTF-8 nor %s", cfg->basic_charset);
    if (why) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, RPCNO(0112) "Basic refused: %s", why);
        auth_failures_count(r, &cfg->failures, &nobody);
        return HTTP_UNAUTHORIZED;
    }
    return log_on(r, user, password);
}
