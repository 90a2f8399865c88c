/* wire/dcerpc.c: the framer keeps only an incomplete PDU. While the length of the PDU is unknown it
 * has room for a header, then exactly for the PDU.
 */
#include "wire/dcerpc.h"

#include <stdlib.h>
#include <string.h>

static uint16_t get16(const uint8_t *p, int little)
{
    return little ? (uint16_t)(p[0] | p[1] << 8) : (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p, int little)
{
    return little ? get16(p, 1) | (uint32_t)get16(p + 2, 1) << 16
                  : (uint32_t)get16(p, 0) << 16 | get16(p + 2, 0);
}

const char *dcerpc_header_parse(const uint8_t *data, dcerpc_header_t *h)
{
    h->version = data[0];
    h->version_minor = data[1];
    h->ptype = data[2];
    h->flags = data[3];
    h->little_endian = data[4] >> 4 == 1;
    h->frag_length = get16(data + 8, h->little_endian);
    h->auth_length = get16(data + 10, h->little_endian);
    h->call_id = get32(data + 12, h->little_endian);
    if (h->version != 5 || h->version_minor > 1)
        return "not version 5.0 or 5.1";
    if (h->ptype > DCERPC_RTS)
        return "unknown PTYPE";
    if (data[4] >> 4 > 1 || (data[4] & 15) > 1 || data[5] > 3)
        return "impossible data representation";
    if (h->frag_length < DCERPC_HEADER_SIZE)
        return "frag_length below the header's size";
    if (h->auth_length > h->frag_length - DCERPC_HEADER_SIZE)
        return "auth_length beyond frag_length";
    return NULL;
}

void dcerpc_header_write(uint8_t *at, uint8_t ptype, uint8_t flags, uint16_t frag_length,
                         uint32_t call_id)
{
    const uint8_t header[DCERPC_HEADER_SIZE] = {
        5, 0, ptype, flags, 0x10, 0, 0, 0, (uint8_t)frag_length, (uint8_t)(frag_length >> 8), 0, 0,
        (uint8_t)call_id, (uint8_t)(call_id >> 8),
        (uint8_t)(call_id >> 16), (uint8_t)(call_id >> 24)
    };

    memcpy(at, header, sizeof(header));
}

const char *dcerpc_ptype_name(uint8_t ptype)
{
    static const char *const names[] = {
        "request", "ping", "response", "fault", "working", "nocall", "reject", "ack",
        "cl_cancel", "fack", "cancel_ack", "bind", "bind_ack", "bind_nak", "alter_context",
        "alter_context_resp", "auth3", "shutdown", "co_cancel", "orphaned", "RTS",
    };

    return ptype < sizeof(names) / sizeof(names[0]) ? names[ptype] : "PTYPE ?";
}

uint32_t dcerpc_max_xmit_frag(const uint8_t *pdu, uint32_t size)
{
    switch (dcerpc_ptype(pdu)) {
    case DCERPC_BIND: case DCERPC_BIND_ACK: case DCERPC_ALTER: case DCERPC_ALTER_RESP:
        return size < DCERPC_HEADER_SIZE + 2 ? 0
                                             : get16(pdu + DCERPC_HEADER_SIZE, pdu[4] >> 4 == 1);
    default:
        return 0;
    }
}

static dcerpc_frame_t framer_fail(dcerpc_framer_t *f, const char *error)
{
    f->error = error;
    return DCERPC_FRAME_ERROR;
}

/* Moves bytes from the input until the partial PDU has WANT bytes; returns 1 when it has. */
static int framer_fill(dcerpc_framer_t *f, const uint8_t **data, size_t *len, size_t want)
{
    size_t n = want - f->have;

    if (n > *len)
        n = *len;
    memcpy(f->partial + f->have, *data, n);
    f->have += n;
    *data += n;
    *len -= n;
    return f->have == want;
}

static int framer_reserve(dcerpc_framer_t *f, size_t cap)
{
    uint8_t *bigger;

    if (f->cap >= cap)
        return 1;
    bigger = realloc(f->partial, cap);
    if (!bigger)
        return 0;
    f->partial = bigger;
    f->cap = cap;
    return 1;
}

/* Continues a PDU that an earlier call has begun. */
static dcerpc_frame_t next_partial(dcerpc_framer_t *f, const uint8_t **data, size_t *len,
                                   const uint8_t **pdu, dcerpc_header_t *header)
{
    const char *wrong;

    if (f->have < DCERPC_HEADER_SIZE && !framer_fill(f, data, len, DCERPC_HEADER_SIZE))
        return DCERPC_FRAME_MORE;
    wrong = dcerpc_header_parse(f->partial, header);
    if (wrong)
        return framer_fail(f, wrong);
    if (!framer_reserve(f, header->frag_length))
        return framer_fail(f, "out of memory");
    if (f->have < header->frag_length && !framer_fill(f, data, len, header->frag_length))
        return DCERPC_FRAME_MORE;
    *pdu = f->partial;
    f->have = 0;    /* the memory of the PDU stays valid until the next call */
    return DCERPC_FRAME_PDU;
}

dcerpc_frame_t dcerpc_framer_next(dcerpc_framer_t *f, const uint8_t **data, size_t *len,
                                  const uint8_t **pdu, dcerpc_header_t *header)
{
    size_t cap = DCERPC_HEADER_SIZE;

    if (f->error)
        return DCERPC_FRAME_ERROR;
    if (f->partial && !f->have)
        dcerpc_framer_reset(f);     /* the PDU that was returned last */
    if (!*len)
        return DCERPC_FRAME_MORE;
    if (f->have)
        return next_partial(f, data, len, pdu, header);
    if (*len >= DCERPC_HEADER_SIZE) {
        const char *wrong = dcerpc_header_parse(*data, header);

        if (wrong)
            return framer_fail(f, wrong);
        cap = header->frag_length;
        if (*len >= cap) {
            *pdu = *data;
            *data += cap;
            *len -= cap;
            return DCERPC_FRAME_PDU;
        }
    }
    if (!framer_reserve(f, cap))
        return framer_fail(f, "out of memory");
    return next_partial(f, data, len, pdu, header);
}

size_t dcerpc_framer_held(const dcerpc_framer_t *f)
{
    return f->have;
}

size_t dcerpc_framer_missing(const dcerpc_framer_t *f)
{
    dcerpc_header_t header;

    if (!f->have)
        return 0;
    if (f->have < DCERPC_HEADER_SIZE)
        return DCERPC_HEADER_SIZE - f->have;
    dcerpc_header_parse(f->partial, &header);
    return header.frag_length - f->have;
}

void dcerpc_framer_reset(dcerpc_framer_t *f)
{
    free(f->partial);
    memset(f, 0, sizeof(*f));
}
