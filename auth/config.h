/* auth_ntlm_config: the directives of mod_auth_ntlm and the configuration that they fill in. */
#ifndef AUTH_NTLM_CONFIG_H
#define AUTH_NTLM_CONFIG_H

#include <httpd.h>
#include <http_config.h>

#include "auth/failures.h"
#include "base/who.h"
#include "ntlm/ntlmssp.h"

typedef enum { AUTH_NTLM_EP_OFF, AUTH_NTLM_EP_ALLOW, AUTH_NTLM_EP_REQUIRE } auth_ntlm_ep_t;

/* One for each directory section. AUTH_NTLM_UNSET or NULL means: as in the enclosing section. */
#define AUTH_NTLM_UNSET (-1)
typedef struct auth_ntlm_config {
    apr_array_header_t *providers;      /* AuthNtlmProvider: names, const char * */
    apr_array_header_t *basic;          /* AuthNtlmBasicProvider: names of authn providers; NULL: no
                                         * Basic */
    const char *user_file;              /* AuthNtlmUserFile, full path */
    int negotiate;                      /* AuthNtlmNegotiate: offers NTLM as Negotiate, too */
    int omit_domain;                    /* AuthNtlmOmitDomain: REMOTE_USER without DOMAIN\ */
    int protection;                     /* AuthNtlmExtendedProtection: auth_ntlm_ep_t; default:
                                         * allow */
    ntlmssp_target_t *target;           /* AuthNtlmTargetInfo; NULL: made from the host's name */
    apr_array_header_t *targets;        /* AuthNtlmTargets: const char *; NULL: the names of the
                                         * server */
    int pinned;                         /* AuthNtlmPinnedConnections: no front end shares
                                         * connections */
    const char *basic_charset;          /* AuthNtlmBasicCharset: of text that is not UTF-8; NULL:
                                         * unchanged */
    auth_failures_limit_t failures;     /* AuthNtlmFailures */
} auth_ntlm_config_t;

/* The merged configuration of the section that R is in. */
const auth_ntlm_config_t *auth_ntlm_config(const request_rec *r);

/* Are names of different domains different accounts in the section of R? Not with
 * AuthNtlmOmitDomain, and not with the provider "file", which knows no domains. */
rpc_who_domain_t auth_ntlm_domains(const request_rec *r);
/* The account that NAME stands for in that section. It is in POOL and points to NAME, which has to
 * live as long. */
auth_account_t auth_ntlm_account(const request_rec *r, apr_pool_t *pool, const char *name);

void *auth_ntlm_create_dir(apr_pool_t *p, char *dir);
void *auth_ntlm_merge_dir(apr_pool_t *p, void *base, void *add);
extern const command_rec auth_ntlm_commands[];

#endif
