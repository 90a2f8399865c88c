/* ntlmssp: the messages of NTLM ([MS-NLMP] 2.2.1, 2.2.2) and what a server checks (3.2, 3.3.2).
 *
 * Only NTLMv2, with HMAC-MD5 and MD5 of OpenSSL; nothing is sealed. Bytes in, bytes out: no httpd
 * headers, no state, any thread. Every length in a message is checked. Parsed fields point into the
 * message, which has to live as long as they are used.
 */
#ifndef NTLMSSP_H
#define NTLMSSP_H

#include <stddef.h>
#include <stdint.h>

#define NTLMSSP_MAX 12288       /* bytes of the longest message taken or made */
#define NTLMSSP_KEY 16          /* bytes of a hash or session key */
#define NTLMSSP_CHALLENGE 8
#define NTLMSSP_NAME 768        /* bytes of a name in UTF-8, with its terminator */

/* The NegotiateFlags (2.2.2.5) that are used here. */
#define NTLMSSP_UNICODE             0x00000001u
#define NTLMSSP_OEM                 0x00000002u
#define NTLMSSP_REQUEST_TARGET      0x00000004u
#define NTLMSSP_SIGN                0x00000010u
#define NTLMSSP_NTLM                0x00000200u
#define NTLMSSP_ANONYMOUS           0x00000800u
#define NTLMSSP_ALWAYS_SIGN         0x00008000u
#define NTLMSSP_TARGET_TYPE_DOMAIN  0x00010000u
#define NTLMSSP_EXTENDED_SECURITY   0x00080000u
#define NTLMSSP_TARGET_INFO         0x00800000u
#define NTLMSSP_VERSION             0x02000000u
#define NTLMSSP_128                 0x20000000u
#define NTLMSSP_KEY_EXCH            0x40000000u

/* The MessageType, if MSG begins with the signature and is long enough to have a type; else 0. */
unsigned ntlmssp_type(const uint8_t *msg, size_t size);

/* ---- NEGOTIATE, 2.2.1.1 ---- */

typedef struct ntlmssp_negotiate {
    uint32_t flags;
} ntlmssp_negotiate_t;

/* Reads a NEGOTIATE of 16 bytes or more: old clients send no names and no Version. Names in it are
 * ignored. Returns NULL, or what is wrong with the message. */
const char *ntlmssp_read_negotiate(const uint8_t *msg, size_t size, ntlmssp_negotiate_t *out);

/* ---- CHALLENGE, 2.2.1.2 ---- */

/* The names of the server in UTF-8; NULL: that pair is left out. */
typedef struct ntlmssp_target {
    const char *nb_domain, *nb_computer, *dns_domain, *dns_computer, *dns_tree;
} ntlmssp_target_t;

typedef struct ntlmssp_challenge {
    const ntlmssp_target_t *target;     /* TargetName is its nb_domain */
    uint8_t challenge[NTLMSSP_CHALLENGE];   /* from a CSPRNG, by the caller */
    uint64_t timestamp;                 /* MsvAvTimestamp, FILETIME; makes clients send a MIC */
} ntlmssp_challenge_t;

/* Writes the answer to a NEGOTIATE with CLIENT_FLAGS. It has those flags of the client that are
 * safe, Unicode if the client has it, always extended session security, and KEY_EXCH with 128 bits.
 * Returns the bytes written, or 0: no room, or a name that is too long or not UTF-8. */
size_t ntlmssp_write_challenge(const ntlmssp_challenge_t *challenge, uint32_t client_flags,
                               uint8_t *buf, size_t size);

/* ---- AUTHENTICATE, 2.2.1.3 ---- */

typedef struct ntlmssp_authenticate {
    uint32_t flags;
    char domain[NTLMSSP_NAME], user[NTLMSSP_NAME], workstation[NTLMSSP_NAME];  /* UTF-8, as sent */
    const uint8_t *nt_response;         /* NTLMv2_RESPONSE (2.2.2.8): proof, then the blob */
    size_t nt_response_size;
    const uint8_t *lm_response;
    size_t lm_response_size;
    const uint8_t *session_key;         /* EncryptedRandomSessionKey; NULL: none */
    size_t session_key_size;
    /* from the blob (2.2.2.7): */
    uint64_t timestamp;
    uint32_t av_flags;                  /* MsvAvFlags */
    uint64_t server_time;               /* MsvAvTimestamp, which the CHALLENGE had; 0: no such
                                         * pair */
    char target_name[NTLMSSP_NAME];     /* MsvAvTargetName, UTF-8; "": no such pair, or an empty
                                         * one */
    const uint8_t *channel_binding;     /* 16 bytes; NULL: no such pair, or zeros, which mean
                                         * none */
    size_t mic_offset;                  /* of the MIC in the message; 0: the client sends none */
    int anonymous;                      /* neither user nor responses */
} ntlmssp_authenticate_t;

/* Returns NULL, or what is wrong with the message: NTLMv1, a field or pair outside the message, a
 * name with a NUL or a control character in it or not in UTF-16, MsvAvFlags that promise a MIC for
 * which there is no place, ... Names may be Unicode or OEM, which has to be ASCII here. */
const char *ntlmssp_read_authenticate(const uint8_t *msg, size_t size, ntlmssp_authenticate_t *out);

/* ---- crypto, 3.3.2 and 3.1.5.1.2; each function returns 1, or 0 when it fails ---- */

/* NTOWFv2: user in upper case (Unicode), domain as it is; both UTF-8. */
int ntlmssp_ntowf_v2(const uint8_t nt_hash[NTLMSSP_KEY], const char *user, const char *domain,
                     uint8_t key[NTLMSSP_KEY]);
/* Is the response right? Computes the session key (SessionBaseKey) even for a wrong response, so
 * that both cases take the same time. */
int ntlmssp_check_response(const uint8_t ntowf[NTLMSSP_KEY],
                           const uint8_t challenge[NTLMSSP_CHALLENGE],
                           const ntlmssp_authenticate_t *auth, uint8_t session_key[NTLMSSP_KEY]);
/* Turns the SessionBaseKey into the ExportedSessionKey. With KEY_EXCH the client has chosen that
 * key; returns 0 when the client has set the flag but sent no key. */
int ntlmssp_exported_key(const ntlmssp_authenticate_t *auth, uint8_t session_key[NTLMSSP_KEY]);
/* Is the MIC of MSG, at MIC_OFFSET in it, right? */
int ntlmssp_check_mic(const uint8_t session_key[NTLMSSP_KEY], const uint8_t *negotiate,
                      size_t negotiate_size, const uint8_t *challenge, size_t challenge_size,
                      const uint8_t *msg, size_t size, size_t mic_offset);
/* The value of MsvAvChannelBindings for application data that consists of PREFIX and HASH, such as
 * "tls-server-end-point:" and a certificate's hash: MD5 of a gss_channel_bindings_struct
 * (2.2.2.1). */
int ntlmssp_channel_binding(const char *prefix, const uint8_t *hash, size_t hash_size,
                            uint8_t binding[16]);
/* The signature (2.2.2.9.2) of message number SEQ, by the server or by the client, with or without
 * KEY_EXCH. SPNEGO uses it as mechListMIC. SESSION_KEY is the ExportedSessionKey. */
int ntlmssp_sign(const uint8_t session_key[NTLMSSP_KEY], int key_exch, int by_server, uint32_t seq,
                 const uint8_t *data, size_t size, uint8_t signature[16]);

#endif
