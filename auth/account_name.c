/* auth/account_name.c: takes DOM\user and user@domain apart. */
#include "auth/account_name.h"

#include <string.h>

#include <apr_strings.h>

const char *auth_ntlm_account_name(apr_pool_t *pool, const char *name, const char **domain)
{
    const char *slash = strchr(name, '\\'), *at = strrchr(name, '@');

    *domain = "";
    if (slash) {
        *domain = apr_pstrmemdup(pool, name, (apr_size_t)(slash - name));
        return slash + 1;
    }
    if (at && at != name) {
        *domain = at + 1;
        return apr_pstrmemdup(pool, name, (apr_size_t)(at - name));
    }
    return name;
}
