/* auth_basic_watch: AuthNtlmFailures for AuthType Basic, whose passwords mod_auth_basic checks.
 */
#ifndef AUTH_BASIC_WATCH_H
#define AUTH_BASIC_WATCH_H

#include <httpd.h>

/* The hooks around mod_auth_basic. */
void auth_basic_watch_register(apr_pool_t *p);

#endif
