/* ntlm/unicode.c: conversions that refuse everything that is not well-formed. */
#include "ntlm/unicode.h"

#include "ntlm/upcase.h"

#define BAD 0xffffffffu

static uint32_t unit_at(const uint8_t *p)
{
    return (uint32_t)(p[0] | p[1] << 8);
}

static size_t put_utf8(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

int ntlmssp_from_utf16(const uint8_t *in, size_t size, char *out, size_t room)
{
    size_t at = 0;

    if (size % 2)
        return 0;
    for (; size; in += 2, size -= 2) {
        uint32_t c = unit_at(in);

        if (c >= 0xd800 && c < 0xdc00 && size >= 4 && unit_at(in + 2) >> 10 == 0xdc00 >> 10) {
            c = 0x10000 + ((c & 0x3ff) << 10 | (unit_at(in + 2) & 0x3ff));
            in += 2;
            size -= 2;
        }
        else if (c >> 11 == 0xd800 >> 11)
            return 0;
        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || at + 5 > room)
            return 0;
        at += put_utf8(c, out + at);
    }
    out[at] = '\0';
    return 1;
}

/* The next character of UTF-8, in its shortest form; BAD if there is no such character. */
static uint32_t next_utf8(const uint8_t **in)
{
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    const uint8_t *p = *in;
    unsigned more = *p < 0x80 ? 0 : *p >> 5 == 6 ? 1 : *p >> 4 == 14 ? 2 : *p >> 3 == 30 ? 3 : 4, i;
    uint32_t c;

    if (more == 4)
        return BAD;
    c = more ? *p & (0x3fu >> more) : *p;
    for (i = 1; i <= more; i++) {
        if (p[i] >> 6 != 2)     /* the terminator ends here, too */
            return BAD;
        c = c << 6 | (p[i] & 0x3fu);
    }
    *in = p + more + 1;
    return c < least[more] || c > 0x10ffff || c >> 11 == 0xd800 >> 11 ? BAD : c;
}

int ntlmssp_is_utf8(const char *s)
{
    const uint8_t *p = (const uint8_t *)s;

    while (*p) {
        if (next_utf8(&p) == BAD)
            return 0;
    }
    return 1;
}

int ntlmssp_upcase_utf8(const char *in, char *out, size_t room)
{
    const uint8_t *p = (const uint8_t *)in;
    size_t at = 0;

    while (*p) {
        uint32_t c = next_utf8(&p);

        if (c == BAD || at + 5 > room)
            return 0;
        at += put_utf8(ntlmssp_upcase(c), out + at);
    }
    out[at] = '\0';
    return 1;
}

size_t ntlmssp_to_utf16(const char *in, int upper, uint8_t *out, size_t room)
{
    const uint8_t *p = (const uint8_t *)in;
    size_t at = 0;
    uint32_t c = 0;

    while (*p && at + 4 <= room && (c = next_utf8(&p)) != BAD) {
        if (upper)
            c = ntlmssp_upcase(c);
        if (c >= 0x10000) {
            uint32_t high = 0xd800 | (c - 0x10000) >> 10;

            out[at++] = (uint8_t)high;
            out[at++] = (uint8_t)(high >> 8);
            c = 0xdc00 | (c & 0x3ff);
        }
        out[at++] = (uint8_t)c;
        out[at++] = (uint8_t)(c >> 8);
    }
    return *p || c == BAD ? (size_t)-1 : at;
}
