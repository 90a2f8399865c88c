/* delegate/negotiate.c: DER is written from its end, so that each length is known when it is
 * due. */
#include "delegate/negotiate.h"

#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>

#define HEAD_MAX 9              /* bytes of a tag and a length */
#define HEADS 5                 /* that may stand before one another */

static const unsigned char spnego[] = { 0x06, 6, 0x2b, 6, 1, 5, 5, 2 };
/* [0] SEQUENCE OF MechType: Kerberos */
static const unsigned char mechanisms[] = {
    0xa0, 13, 0x30, 11, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2
};

static unsigned char *before(unsigned char *at, const unsigned char *bytes, size_t size)
{
    return memcpy(at - size, bytes, size);
}

/* TAG and the length of what stands from AT to END. */
static unsigned char *head(unsigned char *at, const unsigned char *end, unsigned char tag)
{
    size_t size = (size_t)(end - at), left = size;

    if (size < 0x80)
        *--at = (unsigned char)size;
    else {
        unsigned char *behind = at;

        for (; left; left >>= 8)
            *--at = (unsigned char)left;
        left = (size_t)(behind - at);
        *--at = (unsigned char)(0x80 | left);
    }
    *--at = tag;
    return at;
}

const char *delegate_negotiate(apr_pool_t *pool, const void *token, size_t size)
{
    size_t room = size + sizeof(spnego) + sizeof(mechanisms) + HEADS * HEAD_MAX;
    unsigned char *bytes = apr_palloc(pool, room), *end = bytes + room, *at = end;
    char *text;

    at = before(at, token, size);
    at = head(at, end, 0x04);               /* OCTET STRING */
    at = head(at, end, 0xa2);               /* [2] mechToken */
    at = before(at, mechanisms, sizeof(mechanisms));
    at = head(at, end, 0x30);               /* NegTokenInit */
    at = head(at, end, 0xa0);               /* [0] of NegotiationToken */
    at = before(at, spnego, sizeof(spnego));
    at = head(at, end, 0x60);               /* RFC 2743 3.1 */
    text = apr_palloc(pool, (apr_size_t)apr_base64_encode_len((int)(end - at)));
    apr_base64_encode_binary(text, at, (int)(end - at));
    return apr_pstrcat(pool, "Negotiate ", text, NULL);
}
