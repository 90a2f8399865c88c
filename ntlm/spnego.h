/* spnego: as much of RFC 4178 as carries NTLM in HTTP's Negotiate: reads NegTokenInit and
 * NegTokenResp, writes NegTokenResp. DER, bounds-checked; no httpd headers, no state, any
 * thread. What was read points into the token. Source: ntlm/spnego.c
 */
#ifndef SPNEGO_H
#define SPNEGO_H

#include <stddef.h>
#include <stdint.h>

#define SPNEGO_MAX 65535        /* bytes of the longest token taken: Windows makes tickets as large */
#define SPNEGO_OVERHEAD 128     /* bytes that spnego_write adds at most to token and MIC */

typedef enum {
    SPNEGO_ACCEPT_COMPLETED = 0, SPNEGO_ACCEPT_INCOMPLETE = 1, SPNEGO_REJECT = 2,
    SPNEGO_REQUEST_MIC = 3
} spnego_state_t;

typedef struct spnego_token {
    int init;                           /* NegTokenInit; else NegTokenResp */
    int ntlm;                           /* init: place of NTLM among the mechanisms, 1 the first; 0: not there */
    const uint8_t *mech_types;          /* init: MechTypeList in DER, what mechListMIC is made of */
    size_t mech_types_size;
    const uint8_t *token;               /* mechToken (of the first mechanism), responseToken; NULL: none */
    size_t token_size;
    const uint8_t *mic;                 /* mechListMIC; NULL: none */
    size_t mic_size;
} spnego_token_t;

/* Returns NULL, or what is wrong with it. */
const char *spnego_read(const uint8_t *data, size_t size, spnego_token_t *out);

/* A NegTokenResp; names NTLM as supportedMech when WITH_MECH, TOKEN and MIC (16 bytes) may be
 * NULL. Bytes written; 0: no room. */
size_t spnego_write(spnego_state_t state, int with_mech, const uint8_t *token, size_t token_size,
                    const uint8_t *mic, uint8_t *buf, size_t size);

#endif
