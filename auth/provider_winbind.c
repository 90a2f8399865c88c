/* auth/provider_winbind.c: the provider "winbind": the domain, or this machine's own accounts,
 * through Samba's winbindd. Threads must not share a context of libwbclient. So each worker thread
 * has its own, with a connection to winbindd, made when the thread first needs it.
 */
#include "auth/provider.h"
#include "base/message_id.h"

#include <apr_strings.h>
#include <ap_provider.h>

#ifdef HAVE_WBCLIENT

#include <apr_thread_proc.h>
#include <http_config.h>
#include <http_log.h>
#include <stdbool.h>
#include <wbclient.h>

APLOG_USE_MODULE(auth_ntlm);

#define WIRE_NAME 256           /* bytes of a name in libwbclient's requests, with its end */

/* NTSTATUS, [MS-ERREF] 2.3.1 */
#define STATUS_ACCESS_DENIED 0xC0000022u

/* The statuses that refuse a user. Every other status means that the check itself has failed. */
static const struct { uint32_t status; auth_ntlm_verdict_t verdict; } answers[] = {
    { 0xC0000064u, AUTH_NTLM_UNKNOWN },     /* NO_SUCH_USER */
    { 0xC00000DFu, AUTH_NTLM_UNKNOWN },     /* NO_SUCH_DOMAIN */
    { 0xC000006Au, AUTH_NTLM_DENIED },      /* WRONG_PASSWORD */
    { 0xC000006Du, AUTH_NTLM_DENIED },      /* LOGON_FAILURE */
    { 0xC000006Eu, AUTH_NTLM_DENIED },      /* ACCOUNT_RESTRICTION */
    { 0xC000006Fu, AUTH_NTLM_DENIED },      /* INVALID_LOGON_HOURS */
    { 0xC0000070u, AUTH_NTLM_DENIED },      /* INVALID_WORKSTATION */
    { 0xC0000071u, AUTH_NTLM_DENIED },      /* PASSWORD_EXPIRED */
    { 0xC0000072u, AUTH_NTLM_DENIED },      /* ACCOUNT_DISABLED */
    { 0xC000015Bu, AUTH_NTLM_DENIED },      /* LOGON_TYPE_NOT_GRANTED */
    { 0xC0000193u, AUTH_NTLM_DENIED },      /* ACCOUNT_EXPIRED */
    { 0xC0000198u, AUTH_NTLM_DENIED },      /* NOLOGON_INTERDOMAIN_TRUST_ACCOUNT */
    { 0xC0000199u, AUTH_NTLM_DENIED },      /* NOLOGON_WORKSTATION_TRUST_ACCOUNT */
    { 0xC000019Au, AUTH_NTLM_DENIED },      /* NOLOGON_SERVER_TRUST_ACCOUNT */
    { 0xC0000224u, AUTH_NTLM_DENIED },      /* PASSWORD_MUST_CHANGE */
    { 0xC0000234u, AUTH_NTLM_DENIED },      /* ACCOUNT_LOCKED_OUT */
    { 0xC0000413u, AUTH_NTLM_DENIED },      /* AUTHENTICATION_FIREWALL_FAILED */
    { 0xC0000418u, AUTH_NTLM_DENIED },      /* NTLM_BLOCKED */
};

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

static auth_ntlm_verdict_t verdict_of(uint32_t status)
{
    size_t i;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (answers[i].status == status)
            return answers[i].verdict;
    }
    return AUTH_NTLM_ERROR;
}

/* The line names the domain, because a client may have invented it. */
static auth_ntlm_verdict_t winbind_refused(request_rec *r, const ntlmssp_authenticate_t *auth,
                                           const char *user,
                                           const struct wbcAuthErrorInfo *error)
{
    auth_ntlm_verdict_t verdict = verdict_of(error->nt_status);
    const char *text = error->nt_string ? error->nt_string : "", *mend = "";

    if (error->nt_status == STATUS_ACCESS_DENIED)
        mend =
            ": httpd's User must be in the group of winbindd's privileged socket (winbindd_priv)";
    if (verdict == AUTH_NTLM_ERROR)
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      RPCNO(0122) "winbind cannot check user \"%s\" of domain \"%s\": %s (%08x)%s",
                      ap_escape_logitem(r->pool, user),
                      ap_escape_logitem(r->pool, auth->domain), text, error->nt_status, mend);
    else
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      RPCNO(0123) "NTLM user \"%s\": winbind answers %s",
                      ap_escape_logitem(r->pool, user), text);
    return verdict;
}

/* libwbclient would cut a longer name, and so ask for another user. */
static int name_fits(const char *name)
{
    return strlen(name) < WIRE_NAME;
}

static auth_ntlm_verdict_t winbind_granted(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                           const struct wbcAuthUserInfo *info,
                                           auth_ntlm_proof_t *proof)
{
    if (info->user_flags & WBC_AUTH_USER_INFO_GUEST) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      RPCNO(0124) "NTLM user \"%s\": winbind would accept the user as a guest",
                      ap_escape_logitem(r->pool, attempt->user));
        return AUTH_NTLM_DENIED;
    }
    proof->user = apr_pstrdup(r->pool, info->account_name ? info->account_name : attempt->user);
    proof->domain = apr_pstrdup(r->pool, info->domain_name ? info->domain_name : attempt->domain);
    memcpy(proof->session_key, info->user_session_key, NTLMSSP_KEY);
    return AUTH_NTLM_GRANTED;
}

/* The response is computed from the names as sent. The LMv2 response is not passed on: if it is
 * right, winbindd does not check the NT response, which has the channel binding and the MIC
 * flag. */
static auth_ntlm_verdict_t winbind_check(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                         auth_ntlm_proof_t *proof)
{
    const ntlmssp_authenticate_t *auth = attempt->auth;
    struct wbcAuthUserParams params = { auth->user, auth->domain, auth->workstation, 0, 0,
                                        WBC_AUTH_USER_LEVEL_RESPONSE, { NULL } };
    struct wbcContext *ctx = context_here();
    struct wbcAuthUserInfo *info = NULL;
    struct wbcAuthErrorInfo *error = NULL;
    auth_ntlm_verdict_t verdict = AUTH_NTLM_ERROR;
    wbcErr rv;

    if (!name_fits(auth->user) || !name_fits(auth->domain) || !name_fits(auth->workstation)) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      RPCNO(0125) "NTLM user \"%s\": a name is too long for winbind",
                      ap_escape_logitem(r->pool, attempt->user));
        return AUTH_NTLM_UNKNOWN;
    }
    memcpy(params.password.response.challenge, attempt->challenge, NTLMSSP_CHALLENGE);
    params.password.response.nt_length = (uint32_t)auth->nt_response_size;
    params.password.response.nt_data = (uint8_t *)auth->nt_response;
    rv = ctx ? wbcCtxAuthenticateUserEx(ctx, &params, &info, &error) : WBC_ERR_NO_MEMORY;
    if (rv == WBC_ERR_SUCCESS)
        verdict = winbind_granted(r, attempt, info, proof);
    else if (rv == WBC_ERR_AUTH_ERROR && error)
        verdict = winbind_refused(r, auth, attempt->user, error);
    else
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      RPCNO(0126) "cannot connect to winbind: %s: does winbindd run, and is "
                      "httpd's User in the group of its privileged socket (winbindd_priv)?",
                      wbcErrorString(rv));
    wbcFreeMemory(info);
    wbcFreeMemory(error);
    return verdict;
}

static const char *winbind_configured(apr_pool_t *p, const char *path)
{
    return NULL;
}

static void winbind_child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_threadkey_private_create(&contexts, context_free, pchild);
}

static const auth_ntlm_provider_t provider = { winbind_check, winbind_configured };

void auth_ntlm_winbind_register(apr_pool_t *p)
{
    ap_hook_child_init(winbind_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_register_provider(p, AUTH_NTLM_PROVIDER_GROUP, AUTH_NTLM_WINBIND, AUTH_NTLM_PROVIDER_VERSION,
                         &provider);
}

#else

static auth_ntlm_verdict_t winbind_check(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                         auth_ntlm_proof_t *proof)
{
    return AUTH_NTLM_ERROR;
}

static const char *winbind_configured(apr_pool_t *p, const char *path)
{
    return "mod_auth_ntlm was built without libwbclient: install libwbclient-dev (Debian) and "
           "build it again";
}

static const auth_ntlm_provider_t provider = { winbind_check, winbind_configured };

void auth_ntlm_winbind_register(apr_pool_t *p)
{
    ap_register_provider(p, AUTH_NTLM_PROVIDER_GROUP, AUTH_NTLM_WINBIND, AUTH_NTLM_PROVIDER_VERSION,
                         &provider);
}

#endif
