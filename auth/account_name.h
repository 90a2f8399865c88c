/* auth_ntlm_account_name: the forms in which people type an account name, for NTLM and Basic alike:
 * user, DOM\user, user@domain.
 */
#ifndef AUTH_NTLM_ACCOUNT_NAME_H
#define AUTH_NTLM_ACCOUNT_NAME_H

#include <apr_pools.h>

/* Returns the user part of NAME and sets *DOMAIN to the domain, "" when NAME has none. Both are
 * either copies in POOL or point into NAME. */
const char *auth_ntlm_account_name(apr_pool_t *pool, const char *name, const char **domain);

#endif
