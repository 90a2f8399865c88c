/* auth_ntlm_basic: Basic beside NTLM (AuthNtlmBasicProvider): under TLS, checked by any of httpd's
 * authn providers. Worker threads.
 */
#ifndef AUTH_NTLM_BASIC_H
#define AUTH_NTLM_BASIC_H

#include <httpd.h>

int auth_ntlm_offers_basic(request_rec *r);
/* Checks the Authorization header of R, whose scheme is Basic. Returns OK with r->user set;
 * HTTP_UNAUTHORIZED, for which the caller offers the schemes; or another status. A refusal is
 * logged. */
int auth_ntlm_basic(request_rec *r);

#endif
