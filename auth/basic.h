/* auth_ntlm_basic: Basic beside NTLM (AuthNtlmBasicProvider): under TLS, by any of httpd's authn
 * providers. Worker threads. Source: auth/basic.c
 */
#ifndef AUTH_NTLM_BASIC_H
#define AUTH_NTLM_BASIC_H

#include <httpd.h>

int auth_ntlm_offers_basic(request_rec *r);
/* The Authorization of r, whose scheme is Basic: OK, and r->user is set; HTTP_UNAUTHORIZED, to be
 * answered by what is offered, or another status. Logs why not. */
int auth_ntlm_basic(request_rec *r);

#endif
