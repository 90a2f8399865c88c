/* auth_ntlm_account_name: the forms in which people type who they are, for NTLM and Basic alike:
 * user, DOM\user, user@domain. Source: auth/account_name.c
 */
#ifndef AUTH_NTLM_ACCOUNT_NAME_H
#define AUTH_NTLM_ACCOUNT_NAME_H

#include <apr_pools.h>

/* The user alone in NAME; *DOMAIN is the rest, "" when there is none. What is not copied into POOL
 * is part of NAME. */
const char *auth_ntlm_account_name(apr_pool_t *pool, const char *name, const char **domain);

#endif
