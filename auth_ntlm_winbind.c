/* auth_ntlm_winbind.c: the provider "winbind": the domain, or this machine's own accounts, through
 * Samba's winbindd. libwbclient's contexts are not for sharing, so each worker thread has one,
 * with its connection to winbindd, made when it first asks.
 */
#include "auth_ntlm.h"

#include <apr_strings.h>
#include <ap_provider.h>

#ifdef HAVE_WBCLIENT

#include <apr_thread_proc.h>
#include <http_config.h>
#include <http_log.h>
#include <stdbool.h>
#include <wbclient.h>

APLOG_USE_MODULE(auth_ntlm);

/* NTSTATUS, [MS-ERREF] 2.3.1 */
#define STATUS_NO_SUCH_USER 0xC0000064u
#define STATUS_ACCESS_DENIED 0xC0000022u
#define STATUS_NO_LOGON_SERVERS 0xC000005Eu
#define STATUS_DOMAIN_CONTROLLER_NOT_FOUND 0xC0000233u
#define STATUS_NO_TRUST_SAM_ACCOUNT 0xC000018Bu
#define STATUS_TRUSTED_RELATIONSHIP_FAILURE 0xC000018Du
#define STATUS_INVALID_HANDLE 0xC0000008u
#define STATUS_IO_TIMEOUT 0xC00000B5u

static apr_threadkey_t *contexts;   /* of each thread of this child; made in child_init */

static void context_free(void *ctx)
{
    wbcCtxFree(ctx);
}

static struct wbcContext *context_here(void)
{
    void *ctx = NULL;

    apr_threadkey_private_get(&ctx, contexts);
    if (!ctx) {
        ctx = wbcCtxCreate();
        apr_threadkey_private_set(ctx, contexts);
    }
    return ctx;
}

/* What the domain says no with, and what says that it could not be asked. */
static auth_ntlm_verdict_t verdict_of(uint32_t status)
{
    switch (status) {
    case STATUS_NO_SUCH_USER:
        return AUTH_NTLM_UNKNOWN;
    case STATUS_ACCESS_DENIED: case STATUS_NO_LOGON_SERVERS: case STATUS_DOMAIN_CONTROLLER_NOT_FOUND:
    case STATUS_NO_TRUST_SAM_ACCOUNT: case STATUS_TRUSTED_RELATIONSHIP_FAILURE:
    case STATUS_INVALID_HANDLE: case STATUS_IO_TIMEOUT:
        return AUTH_NTLM_ERROR;
    default:
        return AUTH_NTLM_DENIED;
    }
}

static auth_ntlm_verdict_t refused(request_rec *r, const char *user, const struct wbcAuthErrorInfo *error)
{
    auth_ntlm_verdict_t verdict = verdict_of(error->nt_status);
    const char *text = error->nt_string ? error->nt_string : "";

    if (verdict == AUTH_NTLM_ERROR)
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "winbind cannot check users: %s%s", text,
                      error->nt_status == STATUS_ACCESS_DENIED
                      ? ": httpd's User must be in the group of winbindd's privileged socket (winbindd_priv)" : "");
    else
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "NTLM user \"%s\": winbind says %s",
                      ap_escape_logitem(r->pool, user), text);
    return verdict;
}

static auth_ntlm_verdict_t granted(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                   const struct wbcAuthUserInfo *info, auth_ntlm_proof_t *proof)
{
    if (info->user_flags & WBC_AUTH_USER_INFO_GUEST) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "NTLM user \"%s\": winbind would let in a guest",
                      ap_escape_logitem(r->pool, attempt->user));
        return AUTH_NTLM_DENIED;
    }
    proof->user = apr_pstrdup(r->pool, info->account_name ? info->account_name : attempt->user);
    proof->domain = apr_pstrdup(r->pool, info->domain_name ? info->domain_name : attempt->domain);
    memcpy(proof->session_key, info->user_session_key, NTLMSSP_KEY);
    return AUTH_NTLM_GRANTED;
}

static auth_ntlm_verdict_t check(request_rec *r, const auth_ntlm_attempt_t *attempt, auth_ntlm_proof_t *proof)
{
    const ntlmssp_authenticate_t *auth = attempt->auth;
    struct wbcAuthUserParams params = { auth->user, auth->domain, auth->workstation, 0, 0,
                                        WBC_AUTH_USER_LEVEL_RESPONSE, { NULL } };
    struct wbcContext *ctx = context_here();
    struct wbcAuthUserInfo *info = NULL;
    struct wbcAuthErrorInfo *error = NULL;
    auth_ntlm_verdict_t verdict = AUTH_NTLM_ERROR;
    wbcErr rv;

    memcpy(params.password.response.challenge, attempt->challenge, NTLMSSP_CHALLENGE);
    params.password.response.nt_length = (uint32_t)auth->nt_response_size;
    params.password.response.nt_data = (uint8_t *)auth->nt_response;
    rv = ctx ? wbcCtxAuthenticateUserEx(ctx, &params, &info, &error) : WBC_ERR_NO_MEMORY;
    if (rv == WBC_ERR_SUCCESS)
        verdict = granted(r, attempt, info, proof);
    else if (rv == WBC_ERR_AUTH_ERROR && error)
        verdict = refused(r, attempt->user, error);
    else
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "winbind cannot be asked: %s: does winbindd run, and is "
                      "httpd's User in the group of its privileged socket (winbindd_priv)?", wbcErrorString(rv));
    wbcFreeMemory(info);
    wbcFreeMemory(error);
    return verdict;
}

static const char *configured(apr_pool_t *p, const char *path)
{
    return NULL;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_threadkey_private_create(&contexts, context_free, pchild);
}

static const auth_ntlm_provider_t provider = { check, configured };

void auth_ntlm_winbind_register(apr_pool_t *p)
{
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_register_provider(p, AUTH_NTLM_PROVIDER_GROUP, AUTH_NTLM_WINBIND, AUTH_NTLM_PROVIDER_VERSION, &provider);
}

#else

static auth_ntlm_verdict_t check(request_rec *r, const auth_ntlm_attempt_t *attempt, auth_ntlm_proof_t *proof)
{
    return AUTH_NTLM_ERROR;
}

static const char *configured(apr_pool_t *p, const char *path)
{
    return "mod_auth_ntlm was built without libwbclient: install libwbclient-dev (Debian) and build it again";
}

static const auth_ntlm_provider_t provider = { check, configured };

void auth_ntlm_winbind_register(apr_pool_t *p)
{
    ap_register_provider(p, AUTH_NTLM_PROVIDER_GROUP, AUTH_NTLM_WINBIND, AUTH_NTLM_PROVIDER_VERSION, &provider);
}

#endif
