/* auth_ntlm_negotiate: NTLM as the HTTP scheme Negotiate (RFC 4559), wrapped in SPNEGO, or raw as
 * Wine sends it.
 */
#ifndef AUTH_NTLM_NEGOTIATE_H
#define AUTH_NTLM_NEGOTIATE_H

#include "auth/handshake.h"

/* Takes one token of Negotiate as auth_ntlm_step() takes a message. When the reply has a message,
 * the server has to send it: with a challenge, and with SPNEGO also when access is granted. */
auth_ntlm_step_t auth_ntlm_negotiate(request_rec *r, const uint8_t *token, size_t size,
                                     auth_ntlm_reply_t *reply);

#endif
