/* auth/negotiate.c: a client proposes mechanisms together with the first token of its first choice.
 * When the first choice is NTLM, the handshake goes on as without SPNEGO. When it is another
 * mechanism (Kerberos), the answer names NTLM and asks for a mechListMIC, which shows that nobody
 * has removed stronger mechanisms from the list on its way (RFC 4178 section 5).
 */
#include "auth/negotiate.h"

#include <openssl/crypto.h>

#include <apr_strings.h>
#include <http_log.h>

#include "base/message_id.h"
#include "ntlm/spnego.h"

APLOG_USE_MODULE(auth_ntlm);

#define SIGNATURE 16

static auth_ntlm_step_t negotiate_refuse(request_rec *r, const char *why)
{
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, RPCNO(0105) "Negotiate refused: %s", why);
    return AUTH_NTLM_STEP_REFUSED;
}

static void negotiate_wrap(request_rec *r, auth_ntlm_reply_t *reply, spnego_state_t state,
                           int with_mech,
                           const uint8_t *mic)
{
    size_t room = reply->size + SIGNATURE + SPNEGO_OVERHEAD;
    uint8_t *buf = apr_palloc(r->pool, room);

    reply->size = spnego_write(state, with_mech, reply->message, reply->size, mic, buf, room);
    reply->message = reply->size ? buf : NULL;
}

/* The client offers NTLM, but its token is for another mechanism. */
static auth_ntlm_step_t choose_ntlm(request_rec *r, const auth_ntlm_mechs_t *mechs,
                                    auth_ntlm_reply_t *reply)
{
    auth_ntlm_forget(r);
    auth_ntlm_keep_mechs(r, mechs);
    negotiate_wrap(r, reply, SPNEGO_REQUEST_MIC, 1, NULL);
    return AUTH_NTLM_STEP_CHALLENGE;
}

/* The MIC covers the list as the client made it, and is made with the session key. */
static int mic_is_right(const spnego_token_t *in, const auth_ntlm_mechs_t *mechs,
                        const auth_ntlm_reply_t *reply)
{
    uint8_t mic[SIGNATURE];

    return mechs->list && in->mic_size == SIGNATURE
           && ntlmssp_sign(reply->session_key, reply->key_exch, 0, 0, mechs->list, mechs->size, mic)
           && CRYPTO_memcmp(mic, in->mic, SIGNATURE) == 0;
}

/* A client whose first choice is NTLM need not sign the list. */
static auth_ntlm_step_t negotiate_finish(request_rec *r, const spnego_token_t *in,
                                         const auth_ntlm_mechs_t *mechs,
                                         auth_ntlm_reply_t *reply)
{
    uint8_t mic[SIGNATURE];
    int signs = in->mic || mechs->mic_wanted;

    if (signs && !(in->mic && mic_is_right(in, mechs, reply)
                   && ntlmssp_sign(reply->session_key, reply->key_exch, 1, 0, mechs->list,
                                   mechs->size, mic))) {
        auth_ntlm_forget(r);
        r->user = NULL;
        return negotiate_refuse(r, "the mechListMIC is missing or wrong");
    }
    negotiate_wrap(r, reply, SPNEGO_ACCEPT_COMPLETED, 0, signs ? mic : NULL);
    return AUTH_NTLM_STEP_GRANTED;
}

static auth_ntlm_step_t negotiate_step(request_rec *r, const spnego_token_t *in,
                                       const auth_ntlm_mechs_t *mechs,
                                       auth_ntlm_reply_t *reply)
{
    auth_ntlm_step_t result = auth_ntlm_step(r, in->token, in->token_size, reply);

    if (result == AUTH_NTLM_STEP_CHALLENGE) {
        auth_ntlm_keep_mechs(r, mechs);
        negotiate_wrap(r, reply, SPNEGO_ACCEPT_INCOMPLETE, in->init, NULL);
    }
    else if (result == AUTH_NTLM_STEP_GRANTED)
        return negotiate_finish(r, in, mechs, reply);
    return result;
}

auth_ntlm_step_t auth_ntlm_negotiate(request_rec *r, const uint8_t *token, size_t size,
                                     auth_ntlm_reply_t *reply)
{
    auth_ntlm_mechs_t mechs = auth_ntlm_kept_mechs(r);
    spnego_token_t in;
    const char *wrong;

    if (ntlmssp_type(token, size))
        return auth_ntlm_step(r, token, size, reply);
    wrong = spnego_read(token, size, &in);
    if (wrong)
        return negotiate_refuse(r, wrong);
    if (in.init && !in.ntlm)
        return negotiate_refuse(r,
                                "the client does not offer NTLM; for Kerberos use mod_auth_gssapi");
    if (in.init)
        mechs = (auth_ntlm_mechs_t){ in.mech_types, in.mech_types_size, in.ntlm != 1 };
    else    /* the step clears the pool in which the list lies */
        mechs.list = apr_pmemdup(r->pool, mechs.list, mechs.size);
    if (in.init && (in.ntlm != 1 || !in.token))
        return choose_ntlm(r, &mechs, reply);
    if (!in.token)
        return negotiate_refuse(r, "the client's message has no token");
    return negotiate_step(r, &in, &mechs, reply);
}
