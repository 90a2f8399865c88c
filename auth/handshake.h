/* auth_ntlm_handshake: the state of NTLM on one connection.
 *
 * NTLM authenticates connections, not requests: a challenge belongs to the connection it was
 * sent on and is used once. The user who has answered it is known for every later request of the
 * connection where the same settings hold. The state lives in a subpool of the connection's pool
 * and is touched only by the thread that works on the connection.
 */
#ifndef AUTH_NTLM_HANDSHAKE_H
#define AUTH_NTLM_HANDSHAKE_H

#include <httpd.h>

#include "ntlm/ntlmssp.h"

typedef enum {
    AUTH_NTLM_STEP_CHALLENGE,   /* the reply is a CHALLENGE to send */
    AUTH_NTLM_STEP_GRANTED,     /* r->user is set */
    AUTH_NTLM_STEP_REFUSED,     /* has been logged */
    AUTH_NTLM_STEP_ERROR        /* has been logged; the answer is 500 */
} auth_ntlm_step_t;

typedef struct auth_ntlm_reply {
    const uint8_t *message;     /* CHALLENGE, in the connection's state */
    size_t size;
    uint8_t session_key[NTLMSSP_KEY];   /* GRANTED: ExportedSessionKey */
    int key_exch;               /* GRANTED: the client has chosen that key */
} auth_ntlm_reply_t;

/* Sets r->user and returns 1 when this connection has authenticated under the settings of R and for
 * the client that has sent R. */
int auth_ntlm_known(request_rec *r);
/* Takes one NTLM message. */
auth_ntlm_step_t auth_ntlm_step(request_rec *r, const uint8_t *msg, size_t size,
                                auth_ntlm_reply_t *reply);
/* Forgets the user of the connection, and a handshake that has begun. */
void auth_ntlm_forget(request_rec *r);

/* SPNEGO's list of mechanisms, kept while a handshake lasts. */
typedef struct auth_ntlm_mechs {
    const uint8_t *list;        /* MechTypeList; NULL: the messages are not wrapped in SPNEGO */
    size_t size;
    int mic_wanted;             /* NTLM was not the first choice of the client */
} auth_ntlm_mechs_t;

/* The first copies the list into the state of the connection; the second returns that copy, which
 * is valid until the next step. */
void auth_ntlm_keep_mechs(request_rec *r, const auth_ntlm_mechs_t *mechs);
auth_ntlm_mechs_t auth_ntlm_kept_mechs(request_rec *r);

/* The hook that gives each connection its state. */
void auth_ntlm_handshake_register(apr_pool_t *p);
/* Returns 0 at the first call for a connection and 1 later, for messages to be logged once. Any
 * thread. */
int auth_ntlm_conn_told(conn_rec *c);

/* auth/channel_binding.c: do the 16 bytes of BINDING belong to the certificate of r's
 * connection? */
int auth_ntlm_binding_matches(request_rec *r, const uint8_t *binding);
/* Is that certificate valid for HOST, a name or an address? */
int auth_ntlm_certificate_names(request_rec *r, const char *host);
void auth_ntlm_binding_register(apr_pool_t *p);

#endif
