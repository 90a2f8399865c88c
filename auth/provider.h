/* auth/provider: who can check an NTLM response, and the name of the module.
 *
 *   auth_ntlm.c                AuthType NTLM: module record, challenge and answer over HTTP
 *   auth/handshake.c           what a connection has said and shown so far
 *   auth/negotiate.c           NTLM under the name Negotiate
 *   auth/shared_connection.c   which connections may not be one client's own
 *   auth/channel_binding.c     which certificate a connection has
 *   auth/targets.c             which names the server has
 *   auth/account_name.c        user, DOM\user, user@domain
 *   auth/basic.c               Basic beside NTLM
 *   auth/provider_file.c       provider "file": NT hashes in smbpasswd's format
 *   auth/provider_winbind.c    provider "winbind": the domain, through libwbclient
 *   auth/failures.c            what guessing costs
 *   auth/basic_watch.c         ... with AuthType Basic
 *   auth/config.c              directives
 *   ntlm/                      messages
 *
 * A module of its own, for any location: it knows nothing of RPC. Everything runs on worker
 * threads.
 */
#ifndef AUTH_PROVIDER_H
#define AUTH_PROVIDER_H

#include <httpd.h>
#include <http_config.h>

#include "ntlm/ntlmssp.h"

#define AUTH_NTLM_PROVIDER_GROUP "auth-ntlm"
#define AUTH_NTLM_PROVIDER_VERSION "0"
#define AUTH_NTLM_FILE "file"
#define AUTH_NTLM_WINBIND "winbind"

/* What a provider is asked: names in UTF-8, already taken apart (DOM\user, user@realm). */
typedef struct auth_ntlm_attempt {
    const char *user, *domain;              /* the account looked for; domain may be "" */
    const ntlmssp_authenticate_t *auth;     /* as sent: the response is made of its names */
    uint8_t challenge[NTLMSSP_CHALLENGE];
} auth_ntlm_attempt_t;

/* What it answers. */
typedef struct auth_ntlm_proof {
    const char *user, *domain;              /* as the provider writes them, in r->pool; domain may be "" */
    uint8_t session_key[NTLMSSP_KEY];       /* SessionBaseKey */
} auth_ntlm_proof_t;

typedef enum {
    AUTH_NTLM_GRANTED,
    AUTH_NTLM_DENIED,           /* wrong password, disabled, locked, expired: asked no further */
    AUTH_NTLM_UNKNOWN,          /* no such user here: the next provider is asked */
    AUTH_NTLM_ERROR             /* cannot say (logged by the provider): 500 */
} auth_ntlm_verdict_t;

typedef struct auth_ntlm_provider {
    /* Proof is filled when granted. Has to take the same time for an unknown user as for a wrong
     * password; logs why at info, with the user's name escaped. */
    auth_ntlm_verdict_t (*check)(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                 auth_ntlm_proof_t *proof);
    /* At configtest, for each section that names it: NULL, or what is missing and how to mend it;
     * user_file is AuthNtlmUserFile there, or NULL. */
    const char *(*configured)(apr_pool_t *p, const char *user_file);
} auth_ntlm_provider_t;

/* Registers the two providers; from register_hooks. */
void auth_ntlm_file_register(apr_pool_t *p);
void auth_ntlm_winbind_register(apr_pool_t *p);

/* The only symbol httpd needs to see. */
extern module AP_MODULE_DECLARE_DATA auth_ntlm_module __attribute__((visibility("default")));

#endif
