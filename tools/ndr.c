/* NDR cursors. A reader never moves beyond its data; a writer doubles its buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ndr.h"

void ndr_in_start(ndr_in_t *in, const uint8_t *data, size_t len, int little_endian)
{
    *in = (ndr_in_t){ .data = data, .len = len, .little_endian = little_endian };
}

int ndr_in_ok(const ndr_in_t *in)
{
    return !in->failed;
}

size_t ndr_in_left(const ndr_in_t *in)
{
    return in->failed ? 0 : in->len - in->pos;
}

const uint8_t *ndr_in_bytes(ndr_in_t *in, size_t len)
{
    const uint8_t *at;

    if (in->failed || len > in->len - in->pos) {
        in->failed = 1;
        return NULL;
    }
    at = in->data + in->pos;
    in->pos += len;
    return at;
}

void ndr_in_align(ndr_in_t *in, size_t to)
{
    ndr_in_bytes(in, (to - in->pos % to) % to);
}

uint8_t ndr_in_u8(ndr_in_t *in)
{
    const uint8_t *p = ndr_in_bytes(in, 1);
    return p ? *p : 0;
}

uint16_t ndr_in_u16(ndr_in_t *in)
{
    const uint8_t *p;

    ndr_in_align(in, 2);
    p = ndr_in_bytes(in, 2);
    if (!p) {
        return 0;
    }
    return (uint16_t)(in->little_endian ? p[0] | p[1] << 8 : p[1] | p[0] << 8);
}

uint32_t ndr_in_u32(ndr_in_t *in)
{
    const uint8_t *p;

    ndr_in_align(in, 4);
    p = ndr_in_bytes(in, 4);
    if (!p) {
        return 0;
    }
    return in->little_endian
        ? (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0]
        : (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

void ndr_in_uuid(ndr_in_t *in, ndr_uuid_t *uuid)
{
    uint32_t low = ndr_in_u32(in);
    uint16_t mid = ndr_in_u16(in), high = ndr_in_u16(in);
    const uint8_t *rest = ndr_in_bytes(in, 8);

    store_be32(uuid->b, low);
    store_be32(uuid->b + 4, (uint32_t)mid << 16 | high);
    if (rest) {
        memcpy(uuid->b + 8, rest, 8);
    }
    else {
        memset(uuid->b + 8, 0, 8);
    }
}

/* The version is one u32 in the byte order of the PDU, with the major version in its low half. */
void ndr_in_syntax(ndr_in_t *in, ndr_syntax_t *syntax)
{
    uint32_t version;

    ndr_in_uuid(in, &syntax->uuid);
    version = ndr_in_u32(in);
    syntax->major = (uint16_t)version;
    syntax->minor = (uint16_t)(version >> 16);
}

int ndr_out_ok(const ndr_out_t *out)
{
    return !out->failed;
}

void ndr_out_free(ndr_out_t *out)
{
    free(out->data);
    *out = (ndr_out_t){ 0 };
}

static int grow(ndr_out_t *out, size_t len)
{
    size_t cap = out->cap ? out->cap : 256;
    uint8_t *data;

    while (cap - out->len < len) {
        cap *= 2;
    }
    data = realloc(out->data, cap);
    if (!data) {
        out->failed = 1;
        return 0;
    }
    out->data = data;
    out->cap = cap;
    return 1;
}

uint8_t *ndr_out_room(ndr_out_t *out, size_t len)
{
    uint8_t *at;

    if (out->failed || ((!out->data || out->cap - out->len < len) && !grow(out, len))) {
        return NULL;
    }
    at = out->data + out->len;
    out->len += len;
    return at;
}

void ndr_out_align(ndr_out_t *out, size_t to)
{
    size_t pad = (to - out->len % to) % to;
    uint8_t *p = ndr_out_room(out, pad);

    if (p) {
        memset(p, 0, pad);
    }
}

void ndr_out_u8(ndr_out_t *out, uint8_t value)
{
    ndr_out_bytes(out, &value, 1);
}

void ndr_out_u16(ndr_out_t *out, uint16_t value)
{
    uint8_t *p;

    ndr_out_align(out, 2);
    p = ndr_out_room(out, 2);
    if (p) {
        p[0] = (uint8_t)value;
        p[1] = (uint8_t)(value >> 8);
    }
}

void ndr_out_u32(ndr_out_t *out, uint32_t value)
{
    uint8_t *p;

    ndr_out_align(out, 4);
    p = ndr_out_room(out, 4);
    if (p) {
        p[0] = (uint8_t)value;
        p[1] = (uint8_t)(value >> 8);
        p[2] = (uint8_t)(value >> 16);
        p[3] = (uint8_t)(value >> 24);
    }
}

void ndr_out_bytes(ndr_out_t *out, const void *data, size_t len)
{
    uint8_t *p = ndr_out_room(out, len);

    if (p && len > 0) {
        memcpy(p, data, len);
    }
}

void ndr_out_uuid(ndr_out_t *out, const ndr_uuid_t *uuid)
{
    const uint8_t *b = uuid->b;

    ndr_out_u32(out, (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
    ndr_out_u16(out, (uint16_t)(b[4] << 8 | b[5]));
    ndr_out_u16(out, (uint16_t)(b[6] << 8 | b[7]));
    ndr_out_bytes(out, b + 8, 8);
}

void ndr_out_syntax(ndr_out_t *out, const ndr_syntax_t *syntax)
{
    ndr_out_uuid(out, &syntax->uuid);
    ndr_out_u32(out, (uint32_t)syntax->minor << 16 | syntax->major);
}

void ndr_out_patch_u16(ndr_out_t *out, size_t at, uint16_t value)
{
    if (!out->failed && at + 2 <= out->len) {
        out->data[at] = (uint8_t)value;
        out->data[at + 1] = (uint8_t)(value >> 8);
    }
}

int ndr_uuid_equal(const ndr_uuid_t *a, const ndr_uuid_t *b)
{
    return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

char *ndr_uuid_text(const ndr_uuid_t *uuid, char text[37])
{
    char *p = text;
    int i;

    for (i = 0; i < 16; i++) {
        p += sprintf(p, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid->b[i]);
    }
    return text;
}
