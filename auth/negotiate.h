/* auth_ntlm_negotiate: NTLM under HTTP's name Negotiate (RFC 4559), wrapped in SPNEGO or raw as
 * Wine sends it.
 */
#ifndef AUTH_NTLM_NEGOTIATE_H
#define AUTH_NTLM_NEGOTIATE_H

#include "auth/handshake.h"

/* Takes one token of Negotiate, as auth_ntlm_step does a message. The reply's message, if there
 * is one, is what to send back: with a challenge, and with SPNEGO also when granted. */
auth_ntlm_step_t auth_ntlm_negotiate(request_rec *r, const uint8_t *token, size_t size,
                                     auth_ntlm_reply_t *reply);

#endif
