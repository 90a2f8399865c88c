/* ntlm/spnego.c: a small reader and writer of DER.
 *
 *   NegTokenInit  [APPLICATION 0] { OID SPNEGO, [0] SEQUENCE { [0] MechTypeList, [1] reqFlags,
 *                                                              [2] mechToken, [3] mechListMIC } }
 *   NegTokenResp  [1] SEQUENCE { [0] negState, [1] supportedMech,
 *                                [2] responseToken, [3] mechListMIC }
 */
#include "ntlm/spnego.h"

#include <string.h>

static const uint8_t oid_spnego[] = { 0x2b, 6, 1, 5, 5, 2 };
static const uint8_t oid_ntlm[] = { 0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10 };

#define TAG_OCTETS 0x04
#define TAG_OID 0x06
#define TAG_ENUMERATED 0x0a
#define TAG_SEQUENCE 0x30
#define TAG_APPLICATION 0x60
#define TAG_CONTEXT(n) (uint8_t)(0xa0 + (n))

/* ---- reading ---- */

typedef struct der {
    const uint8_t *data;
    size_t size;
} der_t;

/* Takes the next element from IN: its tag and its content. 0: there is none, or it is malformed. */
static int der_take(der_t *in, uint8_t *tag, der_t *inner)
{
    size_t len, head = 2, i;

    if (in->size < 2)
        return 0;
    len = in->data[1];
    if (len & 0x80) {
        size_t bytes = len & 0x7f;

        if (bytes < 1 || bytes > 2 || in->size < 2 + bytes)
            return 0;
        for (len = 0, i = 0; i < bytes; i++)
            len = len << 8 | in->data[2 + i];
        head += bytes;
    }
    if (len > in->size - head)
        return 0;
    *tag = in->data[0];
    *inner = (der_t){ in->data + head, len };
    in->data += head + len;
    in->size -= head + len;
    return 1;
}

/* Takes the next element, which has to have that tag. */
static int der_enter(der_t *in, uint8_t wanted, der_t *inner)
{
    uint8_t tag;

    return der_take(in, &tag, inner) && tag == wanted;
}

static int is_oid(const der_t *d, const uint8_t *oid, size_t size)
{
    return d->size == size && memcmp(d->data, oid, size) == 0;
}

static const char *read_mechs(der_t field, spnego_token_t *out)
{
    der_t list, mech;
    int place = 0;

    out->mech_types = field.data;
    out->mech_types_size = field.size;
    if (!der_enter(&field, TAG_SEQUENCE, &list))
        return "mechTypes is no list";
    while (list.size) {
        if (!der_enter(&list, TAG_OID, &mech))
            return "a mechanism is no OID";
        place++;
        if (!out->ntlm && is_oid(&mech, oid_ntlm, sizeof(oid_ntlm)))
            out->ntlm = place;
    }
    return NULL;
}

static const char *read_octets(der_t field, const uint8_t **data, size_t *size)
{
    der_t octets;

    if (!der_enter(&field, TAG_OCTETS, &octets))
        return "a token is no octet string";
    *data = octets.data;
    *size = octets.size;
    return NULL;
}

/* Reads the fields of NegTokenInit or NegTokenResp; other tags are skipped. */
static const char *read_token_fields(der_t in, spnego_token_t *out)
{
    const char *wrong = NULL;
    der_t fields, field;
    unsigned seen = 0;
    uint8_t tag;

    if (!der_enter(&in, TAG_SEQUENCE, &fields))
        return "no sequence of fields";
    while (fields.size && !wrong) {
        if (!der_take(&fields, &tag, &field))
            return "a field that is cut off";
        if (tag >= TAG_CONTEXT(0) && tag <= TAG_CONTEXT(3)) {
            if (seen & 1u << (tag & 3))
                return "a field twice";
            seen |= 1u << (tag & 3);
        }
        if (tag == TAG_CONTEXT(0) && out->init)
            wrong = read_mechs(field, out);
        else if (tag == TAG_CONTEXT(2))
            wrong = read_octets(field, &out->token, &out->token_size);
        else if (tag == TAG_CONTEXT(3))
            wrong = read_octets(field, &out->mic, &out->mic_size);
    }
    return wrong;
}

const char *spnego_read(const uint8_t *data, size_t size, spnego_token_t *out)
{
    der_t in = { data, size }, inner, oid, fields;
    uint8_t tag;

    memset(out, 0, sizeof(*out));
    if (!der_take(&in, &tag, &inner))
        return "no SPNEGO token";
    if (tag == TAG_CONTEXT(1))
        return read_token_fields(inner, out);
    out->init = 1;
    if (tag == TAG_APPLICATION) {
        if (!der_enter(&inner, TAG_OID, &oid) || !is_oid(&oid, oid_spnego, sizeof(oid_spnego)))
            return "a token of another mechanism than SPNEGO";
        if (!der_take(&inner, &tag, &fields))
            return "an SPNEGO token that is cut off";
        inner = fields;
    }
    if (tag != TAG_CONTEXT(0))
        return "neither NegTokenInit nor NegTokenResp";
    return read_token_fields(inner, out);
}

/* ---- writing, from the end to the beginning, so that lengths are known ---- */

typedef struct writer {
    uint8_t *start, *at;
    int failed;
} writer_t;

static void der_put(writer_t *w, const void *data, size_t size)
{
    if (w->failed || (size_t)(w->at - w->start) < size) {
        w->failed = 1;
        return;
    }
    w->at -= size;
    memcpy(w->at, data, size);
}

/* Writes tag and length in front of the bytes between w->at and END. */
static void der_wrap(writer_t *w, uint8_t tag, const uint8_t *end)
{
    size_t len = (size_t)(end - w->at);
    const uint8_t three[] = { tag, 0x82, (uint8_t)(len >> 8), (uint8_t)len };
    const uint8_t two[] = { tag, 0x81, (uint8_t)len };
    const uint8_t one[] = { tag, (uint8_t)len };

    if (len > 0xffff)
        w->failed = 1;
    else if (len > 0xff)
        der_put(w, three, sizeof(three));
    else if (len > 0x7f)
        der_put(w, two, sizeof(two));
    else
        der_put(w, one, sizeof(one));
}

static void der_put_field(writer_t *w, int number, uint8_t tag, const void *data, size_t size)
{
    const uint8_t *end = w->at;

    der_put(w, data, size);
    der_wrap(w, tag, end);
    der_wrap(w, TAG_CONTEXT(number), end);
}

size_t spnego_write(spnego_state_t state, int with_mech, const uint8_t *token, size_t token_size,
                    const uint8_t *mic, uint8_t *buf, size_t size)
{
    writer_t w = { buf, buf + size, 0 };
    const uint8_t *end = w.at;
    uint8_t byte = (uint8_t)state;
    size_t written;

    if (mic)
        der_put_field(&w, 3, TAG_OCTETS, mic, 16);
    if (token)
        der_put_field(&w, 2, TAG_OCTETS, token, token_size);
    if (with_mech)
        der_put_field(&w, 1, TAG_OID, oid_ntlm, sizeof(oid_ntlm));
    der_put_field(&w, 0, TAG_ENUMERATED, &byte, 1);
    der_wrap(&w, TAG_SEQUENCE, end);
    der_wrap(&w, TAG_CONTEXT(1), end);
    if (w.failed)
        return 0;
    written = (size_t)(end - w.at);
    memmove(buf, w.at, written);
    return written;
}
