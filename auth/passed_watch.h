/* auth_passed_watch: AuthNtlmFailures where there is no AuthType: for the passwords, of Basic and
 * of NTLM, that a server behind mod_proxy checks.
 */
#ifndef AUTH_PASSED_WATCH_H
#define AUTH_PASSED_WATCH_H

#include <httpd.h>

/* The hooks around mod_proxy, and the functions of base/passed_on.h. */
void auth_passed_watch_register(apr_pool_t *p);

#endif
