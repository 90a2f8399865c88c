/* auth_ntlm_handshake: what a connection has said and shown so far.
 *
 * NTLM authenticates connections, not requests: a challenge belongs to the connection it was
 * sent on, is used once, and whoever has answered it is known on every later request of the
 * connection where the same settings hold. The state lives in a pool below the connection's and
 * is touched only by the thread that works on the connection.
 */
#ifndef AUTH_NTLM_HANDSHAKE_H
#define AUTH_NTLM_HANDSHAKE_H

#include <httpd.h>

#include "ntlm/ntlmssp.h"

typedef enum {
    AUTH_NTLM_STEP_CHALLENGE,   /* the reply is a CHALLENGE to send */
    AUTH_NTLM_STEP_GRANTED,     /* r->user is set */
    AUTH_NTLM_STEP_REFUSED,     /* logged */
    AUTH_NTLM_STEP_ERROR        /* logged; 500 */
} auth_ntlm_step_t;

typedef struct auth_ntlm_reply {
    const uint8_t *message;     /* CHALLENGE, in the connection's state */
    size_t size;
    uint8_t session_key[NTLMSSP_KEY];   /* GRANTED: ExportedSessionKey */
    int key_exch;               /* GRANTED: the client has chosen it */
} auth_ntlm_reply_t;

/* Sets r->user when this connection has authenticated under the settings that hold here, for the one
 * who asks now. */
int auth_ntlm_known(request_rec *r);
/* Takes one NTLM message. */
auth_ntlm_step_t auth_ntlm_step(request_rec *r, const uint8_t *msg, size_t size,
                                auth_ntlm_reply_t *reply);
/* Whatever the connection has shown is void. */
void auth_ntlm_forget(request_rec *r);

/* SPNEGO's list of mechanisms, as long as a handshake lasts. */
typedef struct auth_ntlm_mechs {
    const uint8_t *list;        /* MechTypeList; NULL: not wrapped in SPNEGO */
    size_t size;
    int mic_wanted;             /* NTLM was not the client's favourite */
} auth_ntlm_mechs_t;

/* Copies them to the connection's handshake; and gives them back, good until the next step. */
void auth_ntlm_keep_mechs(request_rec *r, const auth_ntlm_mechs_t *mechs);
auth_ntlm_mechs_t auth_ntlm_kept_mechs(request_rec *r);

/* The hook that gives each connection its state. */
void auth_ntlm_handshake_register(apr_pool_t *p);
/* Has this been asked of the connection before? From any thread. */
int auth_ntlm_conn_told(conn_rec *c);

/* auth/channel_binding.c: is BINDING, 16 bytes, that of the certificate of r's connection? */
int auth_ntlm_binding_matches(request_rec *r, const uint8_t *binding);
/* Is that certificate good for HOST, a name or an address? */
int auth_ntlm_certificate_names(request_rec *r, const char *host);
void auth_ntlm_binding_register(apr_pool_t *p);

#endif
