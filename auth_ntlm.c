/* auth_ntlm.c: AuthType NTLM: the module record, and the HTTP headers of the authentication.
 *
 *   no Authorization   the user that the connection has shown before; else 401 with the schemes
 *   NTLM, Negotiate    one step of the connection's handshake (auth/handshake.c)
 *   Basic              under TLS, any of httpd's authn providers (auth/basic.c)
 *
 * NTLM authenticates the connection. So the module neither offers nor accepts NTLM on a connection
 * that several clients may share (auth/shared_connection.c).
 */
#include <openssl/evp.h>

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>

#include "auth/basic.h"
#include "auth/basic_watch.h"
#include "auth/config.h"
#include "auth/failure_cache.h"
#include "auth/failures.h"
#include "auth/handshake.h"
#include "auth/negotiate.h"
#include "auth/passed_watch.h"
#include "auth/provider.h"
#include "auth/shared_connection.h"
#include "base/message_id.h"
#include "base/version.h"
#include "ntlm/spnego.h"

#define BODY_MAX (256 * 1024)   /* bytes of a request's body that a challenge reads and discards */

static int is_ours(request_rec *r)
{
    const char *type = ap_auth_type(r);

    return type && ap_cstr_casecmp(type, "NTLM") == 0;
}

/* ---- the schemes that are offered ---- */

static void offer_scheme(request_rec *r, const char *scheme)
{
    apr_table_addn(r->err_headers_out, "WWW-Authenticate", scheme);
}

static void offer_all(request_rec *r)
{
    if (!auth_ntlm_why_shared(r)) {
        if (auth_ntlm_config(r)->negotiate > 0)
            offer_scheme(r, "Negotiate");
        offer_scheme(r, "NTLM");
    }
    if (auth_ntlm_offers_basic(r)) {
        const char *realm = ap_auth_name(r);

        offer_scheme(r, apr_pstrcat(r->pool, "Basic realm=\"",
                                    realm ? realm : ap_get_server_name(r), "\"", NULL));
    }
}

/* Hook: another module answers 401, for example because a Require failed. */
static int note_failure(request_rec *r, const char *auth_type)
{
    if (ap_cstr_casecmp(auth_type, "NTLM") != 0)
        return DECLINED;
    offer_all(r);
    return OK;
}

/* Returns 401, or 403 where no scheme can be offered. Over HTTP/2, mod_http2 turns a 403 with this
 * note into HTTP_1_1_REQUIRED, and the client repeats the request over HTTP/1.1 by itself. A client
 * that has chosen Basic gets 401 over HTTP/2, too. */
static int refuse_request(request_rec *r)
{
    int has_basic = auth_ntlm_offers_basic(r);

    if (r->connection->master && !(has_basic && strcmp(r->ap_auth_type, "Basic") == 0)) {
        apr_table_setn(r->notes, "ssl-renegotiate-forbidden", "NTLM");
        return HTTP_FORBIDDEN;
    }
    if (auth_ntlm_why_shared(r) && !has_basic)
        return HTTP_FORBIDDEN;
    offer_all(r);
    return HTTP_UNAUTHORIZED;
}

/* ---- NTLM and Negotiate ---- */

/* Decodes a token from base64. Returns NULL, or what is wrong with the token. */
static const char *decode_token(request_rec *r, const char *text, size_t max, const uint8_t **token,
                                size_t *size)
{
    size_t len = strlen(text), pad = 0;
    uint8_t *bytes;
    int n;

    while (len && apr_isspace(text[len - 1]))
        len--;
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    if (!len || len % 4)
        return "the token is not base64";
    if (len / 4 * 3 > max)
        return apr_psprintf(r->pool, "the token is longer than %" APR_SIZE_T_FMT " bytes", max);
    bytes = apr_palloc(r->pool, len / 4 * 3);
    n = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)len);
    if (n < 0)
        return "the token is not base64";
    *token = bytes;
    *size = (size_t)n - pad;
    return NULL;
}

static const char *with_token(request_rec *r, const char *scheme, const auth_ntlm_reply_t *reply)
{
    char *text = apr_palloc(r->pool, (apr_size_t)apr_base64_encode_len((int)reply->size));

    apr_base64_encode_binary(text, reply->message, (int)reply->size);
    return apr_pstrcat(r->pool, scheme, " ", text, NULL);
}

/* Answers "Expect: 100-continue", then reads the body and discards it. After a body longer than
 * BODY_MAX the connection ends, because nobody knows where the next request would begin. */
static void discard_body(request_rec *r)
{
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_off_t all = 0, size = 0;
    int ended = 0;

    while (!ended && all <= BODY_MAX
           && ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES, APR_BLOCK_READ,
                             HUGE_STRING_LEN) == APR_SUCCESS) {
        ended = !APR_BRIGADE_EMPTY(bb) && APR_BUCKET_IS_EOS(APR_BRIGADE_LAST(bb));
        if (apr_brigade_length(bb, 1, &size) != APR_SUCCESS)
            break;
        all += size;
        apr_brigade_cleanup(bb);
    }
    if (!ended)
        r->connection->keepalive = AP_CONN_CLOSE;
}

/* The next message of the handshake needs this connection. httpd closes it when the 401 goes out
 * while the client still waits for 100-continue. */
static void keep_connection(request_rec *r)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");
    int chunked = apr_table_get(r->headers_in, "Transfer-Encoding") != NULL;
    apr_off_t size = 0;

    if (!r->server->keep_alive)
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      RPCNO(0101) "NTLM needs a connection that stays open: set KeepAlive On");
    if (!r->expecting_100 || r->connection->keepalive == AP_CONN_CLOSE
        || (length && !ap_parse_strict_length(&size, length)))
        return;
    if (!chunked && size == 0)
        r->expecting_100 = 0;       /* the body is empty */
    else if (chunked || size <= BODY_MAX)
        discard_body(r);
}

static int take_token(request_rec *r, const char *scheme, const char *text)
{
    auth_ntlm_reply_t reply = { NULL, 0, { 0 }, 0 };
    int is_ntlm = strcmp(scheme, "NTLM") == 0;
    size_t size = 0;
    const uint8_t *token = NULL;
    const char *wrong = decode_token(r, text, is_ntlm ? NTLMSSP_MAX : SPNEGO_MAX, &token, &size);
    auth_ntlm_step_t step;

    if (wrong) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, RPCNO(0102) "%s refused: %s", scheme, wrong);
        auth_ntlm_forget(r);
        return refuse_request(r);
    }
    step = is_ntlm ? auth_ntlm_step(r, token, size, &reply)
                   : auth_ntlm_negotiate(r, token, size, &reply);
    if (step == AUTH_NTLM_STEP_ERROR)
        return HTTP_INTERNAL_SERVER_ERROR;
    if (step == AUTH_NTLM_STEP_REFUSED)
        return refuse_request(r);
    if (reply.size)
        offer_scheme(r, with_token(r, scheme, &reply));
    if (step == AUTH_NTLM_STEP_GRANTED)
        return OK;
    keep_connection(r);
    return HTTP_UNAUTHORIZED;
}

/* ---- hooks ---- */

/* Tells modules that count users, such as mod_rpcproxy, which names belong to one account. */
static int note_domains(request_rec *r)
{
    if (auth_ntlm_domains(r) == RPC_WHO_ANY_DOMAIN)
        apr_table_setn(r->notes, RPC_WHO_ANY_DOMAIN_NOTE, "1");
    return DECLINED;
}

/* Logs at most one line for each connection, whatever the reason is. */
static void log_shared(request_rec *r, const char *why)
{
    if (auth_ntlm_conn_told(r->connection->master ? r->connection->master : r->connection))
        return;
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  RPCNO(0103) "NTLM is neither offered nor accepted here: %s%s",
                  why, r->connection->master ? "" : "; see AuthNtlmPinnedConnections");
}

/* A user that was shown on a connection which turns out to be shared is forgotten. */
static int is_shared(request_rec *r)
{
    const char *why = auth_ntlm_why_shared(r);

    if (!why)
        return 0;
    log_shared(r, why);
    auth_ntlm_forget(r);
    return 1;
}

static int authenticate(request_rec *r)
{
    const char *header, *scheme;
    int shared;

    if (!is_ours(r))
        return DECLINED;
    r->ap_auth_type = "NTLM";
    shared = is_shared(r);
    header = apr_table_get(r->headers_in, "Authorization");
    if (!header)
        return !shared && auth_ntlm_known(r) ? OK : refuse_request(r);
    scheme = ap_getword_white(r->pool, &header);
    if (ap_cstr_casecmp(scheme, "Basic") == 0) {
        int status = auth_ntlm_basic(r);

        return status == HTTP_UNAUTHORIZED ? refuse_request(r) : status;
    }
    if (shared)
        return refuse_request(r);
    if (ap_cstr_casecmp(scheme, "NTLM") == 0)
        return take_token(r, "NTLM", header);
    if (ap_cstr_casecmp(scheme, "Negotiate") == 0 && auth_ntlm_config(r)->negotiate > 0)
        return take_token(r, "Negotiate", header);
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  RPCNO(0104) "the client used the scheme \"%s\", which is not offered",
                  ap_escape_logitem(r->pool, scheme));
    return refuse_request(r);
}

/* As in mod_rpcproxy.c; either module may be loaded without the other. */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    ap_add_version_component(pconf, "mod_auth_ntlm/" RPCPROXY_VERSION);
    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const after[] = { "mod_auth_basic.c", NULL };

    auth_ntlm_file_register(p);
    auth_ntlm_winbind_register(p);
    auth_ntlm_binding_register(p);
    auth_ntlm_shared_register(p);
    auth_ntlm_handshake_register(p);
    auth_failure_cache_register(p);
    auth_basic_watch_register(p);
    auth_passed_watch_register(p);
    ap_hook_check_authn(authenticate, NULL, after, APR_HOOK_MIDDLE, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_fixups(note_domains, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_note_auth_failure(note_failure, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(auth_ntlm) = {
    /* STANDARD20_MODULE_STUFF with the name that <IfModule> and mod_info know: not that of this
     * file, but that of the module, as for all others. */
    MODULE_MAGIC_NUMBER_MAJOR, MODULE_MAGIC_NUMBER_MINOR, -1, "mod_auth_ntlm.c", NULL, NULL,
    MODULE_MAGIC_COOKIE, NULL,
    auth_ntlm_create_dir,
    auth_ntlm_merge_dir,
    NULL,
    NULL,
    auth_ntlm_commands,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
