/* auth/provider: the interface of a provider, which checks NTLM responses; and a map of the module.
 *
 *   auth_ntlm.c                AuthType NTLM: module record, challenge and answer over HTTP
 *   auth/handshake.c           the state of NTLM on one connection
 *   auth/negotiate.c           NTLM as the HTTP scheme Negotiate
 *   auth/shared_connection.c   which connections several clients may share
 *   auth/channel_binding.c     which certificate a connection has
 *   auth/targets.c             which names the server has
 *   auth/account_name.c        user, DOM\user, user@domain
 *   auth/basic.c               Basic beside NTLM
 *   auth/provider_file.c       provider "file": NT hashes in smbpasswd's format
 *   auth/provider_winbind.c    provider "winbind": the domain, through libwbclient
 *   auth/failures.c            the limit on guessed passwords
 *   auth/basic_watch.c         the same limit for AuthType Basic
 *   auth/passed_watch.c        the same limit where a server behind checks
 *   auth/config.c              the directives
 *   ntlm/                      the messages
 *
 * mod_auth_ntlm knows nothing of RPC and works for any location. Everything runs on worker threads.
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

/* The question for a provider. Names are UTF-8, and DOM\user or user@realm is already split. */
typedef struct auth_ntlm_attempt {
    const char *user, *domain;              /* the account looked for; domain may be "" */
    const ntlmssp_authenticate_t *auth;     /* as sent: the response is computed from its names */
    uint8_t challenge[NTLMSSP_CHALLENGE];
} auth_ntlm_attempt_t;

/* The answer of a provider. */
typedef struct auth_ntlm_proof {
    const char *user, *domain;              /* as the provider writes them, in r->pool; domain may
                                             * be "" */
    uint8_t session_key[NTLMSSP_KEY];       /* SessionBaseKey */
} auth_ntlm_proof_t;

typedef enum {
    AUTH_NTLM_GRANTED,
    AUTH_NTLM_DENIED,           /* wrong password, disabled, locked, expired: no other is asked */
    AUTH_NTLM_UNKNOWN,          /* no such user here: the next provider is asked */
    AUTH_NTLM_ERROR             /* the provider cannot tell, and has logged why: 500 */
} auth_ntlm_verdict_t;

typedef struct auth_ntlm_provider {
    /* Fills in PROOF when access is granted. Must take the same time for an unknown user as for a
     * wrong password. Logs a refusal at level info, with the user's name escaped. */
    auth_ntlm_verdict_t (*check)(request_rec *r, const auth_ntlm_attempt_t *attempt,
                                 auth_ntlm_proof_t *proof);
    /* Called at configtest for each section that names the provider. Returns NULL, or what is
     * missing and how to fix it. USER_FILE is AuthNtlmUserFile of that section, or NULL. */
    const char *(*configured)(apr_pool_t *p, const char *user_file);
} auth_ntlm_provider_t;

/* Register the two providers; called by register_hooks. */
void auth_ntlm_file_register(apr_pool_t *p);
void auth_ntlm_winbind_register(apr_pool_t *p);

/* The only symbol httpd needs to see. */
extern module AP_MODULE_DECLARE_DATA auth_ntlm_module __attribute__((visibility("default")));

#endif
