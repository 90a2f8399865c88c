/* spnego: the part of RFC 4178 that carries NTLM in HTTP's Negotiate: reads NegTokenInit and
 * NegTokenResp, writes NegTokenResp. DER, bounds-checked; no httpd headers, no state, any
 * thread. Pointers in a result point into the token that was read.
 */
#ifndef SPNEGO_H
#define SPNEGO_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the longest token that is taken: Windows makes tickets as large. */
#define SPNEGO_MAX 65535
#define SPNEGO_OVERHEAD 128     /* bytes that spnego_write adds at most to token and MIC */

typedef enum {
    SPNEGO_ACCEPT_COMPLETED = 0, SPNEGO_ACCEPT_INCOMPLETE = 1, SPNEGO_REJECT = 2,
    SPNEGO_REQUEST_MIC = 3
} spnego_state_t;

typedef struct spnego_token {
    int init;                           /* NegTokenInit; else NegTokenResp */
    int ntlm;                           /* init: place of NTLM among the mechanisms, from 1; 0: not
                                         * there */
    const uint8_t *mech_types;          /* init: MechTypeList in DER, which the mechListMIC
                                         * covers */
    size_t mech_types_size;
    const uint8_t *token;               /* mechToken (of the first mechanism), responseToken; NULL:
                                         * none */
    size_t token_size;
    const uint8_t *mic;                 /* mechListMIC; NULL: none */
    size_t mic_size;
} spnego_token_t;

/* Returns NULL, or what is wrong with the token. */
const char *spnego_read(const uint8_t *data, size_t size, spnego_token_t *out);

/* Writes a NegTokenResp, which names NTLM as supportedMech when WITH_MECH is set. TOKEN and MIC (16
 * bytes) may be NULL. Returns the bytes written; 0: no room. */
size_t spnego_write(spnego_state_t state, int with_mech, const uint8_t *token, size_t token_size,
                    const uint8_t *mic, uint8_t *buf, size_t size);

#endif
