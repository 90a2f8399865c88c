/* ntlm/ntlmssp.c: NTLM messages: a reader that takes every field by its offset and length, both
 * checked against the message, and a writer for the one message that a server sends.
 *
 *   NEGOTIATE     signature, type, flags; the rest may be missing
 *   CHALLENGE     48 bytes, Version, then TargetName and TargetInfo
 *   AUTHENTICATE  64 bytes, from old clients; 72 with Version, 88 with a MIC behind it; then fields
 */
#include "ntlm/ntlmssp.h"

#include <string.h>

#include "ntlm/unicode.h"

#define SIGNATURE "NTLMSSP"     /* with its NUL: 8 bytes */
#define NEGOTIATE_MIN 16
#define AUTHENTICATE_MIN 64
#define MIC_AT 72               /* behind the Version */
#define MIC_SIZE 16
#define PROOF 16
#define BLOB_MIN 28             /* 2.2.2.7, up to the pairs */
#define V1_RESPONSE 24
#define CHALLENGE_HEAD 56

/* AvId, 2.2.2.1. */
enum { AV_EOL, AV_NB_COMPUTER, AV_NB_DOMAIN, AV_DNS_COMPUTER, AV_DNS_DOMAIN, AV_DNS_TREE, AV_FLAGS,
       AV_TIMESTAMP, AV_SINGLE_HOST, AV_TARGET_NAME, AV_BINDINGS };
#define AV_FLAG_MIC 0x2u

/* ---- numbers ---- */

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v & 0xffff);
    put16(p + 2, v >> 16);
}

unsigned ntlmssp_type(const uint8_t *msg, size_t size)
{
    return size >= 12 && memcmp(msg, SIGNATURE, 8) == 0 ? get32(msg + 8) : 0;
}

/* ---- NEGOTIATE ---- */

const char *ntlmssp_read_negotiate(const uint8_t *msg, size_t size, ntlmssp_negotiate_t *out)
{
    if (ntlmssp_type(msg, size) != 1)
        return "not a NEGOTIATE message";
    if (size > NTLMSSP_MAX)
        return "a NEGOTIATE message of that size";
    if (size < NEGOTIATE_MIN)
        return "a NEGOTIATE message that is cut off";
    out->flags = get32(msg + 12);
    if (!(out->flags & (NTLMSSP_UNICODE | NTLMSSP_OEM)))
        return "a NEGOTIATE message with neither Unicode nor OEM names";
    return NULL;
}

/* ---- CHALLENGE ---- */

/* The message that is being written. */
typedef struct writer {
    uint8_t *at, *end;
    int failed;
} writer_t;

static void put_pair(writer_t *w, int id, const char *name)
{
    size_t n = (size_t)-1;

    if (!name)
        return;
    if (w->end - w->at > 4)
        n = ntlmssp_to_utf16(name, 0, w->at + 4, (size_t)(w->end - w->at) - 4);
    if (n == (size_t)-1 || n > 0xffff) {
        w->failed = 1;
        return;
    }
    put16(w->at, (unsigned)id);
    put16(w->at + 2, n);
    w->at += 4 + n;
}

static void put_info(writer_t *w, const ntlmssp_challenge_t *c)
{
    const ntlmssp_target_t *t = c->target;

    put_pair(w, AV_NB_DOMAIN, t->nb_domain);
    put_pair(w, AV_NB_COMPUTER, t->nb_computer);
    put_pair(w, AV_DNS_DOMAIN, t->dns_domain);
    put_pair(w, AV_DNS_COMPUTER, t->dns_computer);
    put_pair(w, AV_DNS_TREE, t->dns_tree);
    if (w->end - w->at < 16) {
        w->failed = 1;
        return;
    }
    put16(w->at, AV_TIMESTAMP);
    put16(w->at + 2, 8);
    put32(w->at + 4, (uint32_t)c->timestamp);
    put32(w->at + 8, (uint32_t)(c->timestamp >> 32));
    put32(w->at + 12, AV_EOL);
    w->at += 16;
}

/* TargetName has the client's character set; all other names are Unicode. */
static void put_target_name(writer_t *w, const char *name, int unicode)
{
    size_t n = strlen(name);

    if (unicode)
        n = ntlmssp_to_utf16(name, 0, w->at, (size_t)(w->end - w->at));
    else if (n <= (size_t)(w->end - w->at))
        memcpy(w->at, name, n);
    else
        n = (size_t)-1;
    if (n == (size_t)-1)
        w->failed = 1;
    else
        w->at += n;
}

static void put_field(uint8_t *field, const uint8_t *msg, const uint8_t *from, const uint8_t *to)
{
    put16(field, (size_t)(to - from));
    put16(field + 2, (size_t)(to - from));
    put32(field + 4, (uint32_t)(from - msg));
}

/* The flags of the answer: some whenever the client asks for them, some always. */
static uint32_t challenge_flags(uint32_t asked)
{
    uint32_t flags = asked & (NTLMSSP_SIGN | NTLMSSP_ALWAYS_SIGN | NTLMSSP_REQUEST_TARGET
                              | NTLMSSP_128);

    /* FreeRDP makes its MIC with a key of its own choice, which it sends only with KEY_EXCH. */
    if (asked & NTLMSSP_128)
        flags |= asked & NTLMSSP_KEY_EXCH;
    flags |= asked & NTLMSSP_UNICODE ? NTLMSSP_UNICODE : NTLMSSP_OEM;
    return flags | NTLMSSP_NTLM | NTLMSSP_EXTENDED_SECURITY | NTLMSSP_TARGET_INFO
           | NTLMSSP_TARGET_TYPE_DOMAIN | NTLMSSP_VERSION;
}

size_t ntlmssp_write_challenge(const ntlmssp_challenge_t *challenge, uint32_t client_flags,
                               uint8_t *buf, size_t size)
{
    static const uint8_t version[8] = { 6, 1, 0, 0, 0, 0, 0, 15 };  /* NTLMSSP_REVISION_W2K3 */
    const char *name = challenge->target->nb_domain ? challenge->target->nb_domain : "";
    uint32_t flags = challenge_flags(client_flags);
    writer_t w = { buf + CHALLENGE_HEAD, buf + size, 0 };
    const uint8_t *info;

    if (size < CHALLENGE_HEAD)
        return 0;
    memset(buf, 0, CHALLENGE_HEAD);
    memcpy(buf, SIGNATURE, 8);
    put32(buf + 8, 2);
    put32(buf + 20, flags);
    memcpy(buf + 24, challenge->challenge, NTLMSSP_CHALLENGE);
    memcpy(buf + 48, version, sizeof(version));
    put_target_name(&w, name, flags & NTLMSSP_UNICODE ? 1 : 0);
    put_field(buf + 12, buf, buf + CHALLENGE_HEAD, w.at);
    info = w.at;
    if (!w.failed)
        put_info(&w, challenge);
    put_field(buf + 40, buf, info, w.at);
    return w.failed ? 0 : (size_t)(w.at - buf);
}

/* ---- AUTHENTICATE ---- */

typedef struct message {
    const uint8_t *data;
    size_t size;
    size_t first;               /* smallest offset of a field that is not empty */
} message_t;

/* Takes the field whose offset and length stand at AT; 0: it is not inside the message. */
static int take_field(message_t *m, size_t at, const uint8_t **data, size_t *size)
{
    size_t offset = get32(m->data + at + 4);

    *size = get16(m->data + at);
    *data = NULL;
    if (!*size)
        return 1;
    if (offset < AUTHENTICATE_MIN || offset > m->size || *size > m->size - offset)
        return 0;
    if (offset < m->first)
        m->first = offset;
    *data = m->data + offset;
    return 1;
}

static int oem_name(const uint8_t *in, size_t size, char *out)
{
    size_t i;

    for (i = 0; i < size; i++) {
        if (in[i] < 0x20 || in[i] >= 0x7f)
            return 0;
        out[i] = (char)in[i];
    }
    out[size] = '\0';
    return 1;
}

static const char *text_of(const uint8_t *data, size_t size, int unicode, char name[NTLMSSP_NAME])
{
    if (size > 2 * (NTLMSSP_NAME / 3 - 1))
        return "a name that is too long";
    if (unicode ? !ntlmssp_from_utf16(data, size, name, NTLMSSP_NAME) : !oem_name(data, size, name))
        return "a name that is not valid text";
    return NULL;
}

static const char *take_name(message_t *m, size_t at, int unicode, char name[NTLMSSP_NAME])
{
    const uint8_t *data;
    size_t size;

    name[0] = '\0';
    if (!take_field(m, at, &data, &size))
        return "a name outside the message";
    return text_of(data, size, unicode, name);
}

static const char *take_pair(ntlmssp_authenticate_t *out, unsigned id, const uint8_t *value,
                             size_t size)
{
    static const uint8_t none[16];

    switch (id) {
    case AV_FLAGS:
        if (size != 4)
            return "MsvAvFlags of a wrong size";
        out->av_flags = get32(value);
        return NULL;
    case AV_BINDINGS:
        if (size != sizeof(none))
            return "channel bindings of a wrong size";
        out->channel_binding = memcmp(value, none, sizeof(none)) == 0 ? NULL : value;
        return NULL;
    case AV_TIMESTAMP:
        if (size != 8)
            return "a timestamp of a wrong size";
        out->server_time = get64(value);
        return NULL;
    case AV_TARGET_NAME:
        return text_of(value, size, 1, out->target_name);
    default:
        return NULL;
    }
}

/* Takes the pairs up to MsvAvEOL, which must be there. Each pair that is used may occur once. */
static const char *take_pairs(ntlmssp_authenticate_t *out, const uint8_t *p, size_t size)
{
    unsigned seen = 0;

    while (size >= 4) {
        unsigned id = get16(p);
        size_t len = get16(p + 2);
        const char *wrong;

        if (len > size - 4)
            return "an AV pair outside the response";
        if (id == AV_EOL)
            return len ? "an MsvAvEOL with a value" : NULL;
        if (id < 32 && seen & 1u << id)
            return "an AV pair twice";
        seen |= id < 32 ? 1u << id : 0;
        wrong = take_pair(out, id, p + 4, len);
        if (wrong)
            return wrong;
        p += 4 + len;
        size -= 4 + len;
    }
    return "AV pairs without an end";
}

static const char *take_response(message_t *m, ntlmssp_authenticate_t *out)
{
    const uint8_t *blob;

    if (!take_field(m, 12, &out->lm_response, &out->lm_response_size)
        || !take_field(m, 20, &out->nt_response, &out->nt_response_size)
        || !take_field(m, 52, &out->session_key, &out->session_key_size))
        return "a field outside the message";
    out->anonymous = !out->user[0] && !out->nt_response_size;
    if (out->anonymous)
        return NULL;
    if (out->nt_response_size <= V1_RESPONSE)
        return "an NTLMv1 response, or none";
    if (out->nt_response_size < PROOF + BLOB_MIN)
        return "a response that is cut off";
    blob = out->nt_response + PROOF;
    if (blob[0] != 1 || blob[1] != 1)
        return "a response of an unknown version";
    out->timestamp = get64(blob + 8);
    return take_pairs(out, blob + BLOB_MIN, out->nt_response_size - PROOF - BLOB_MIN);
}

const char *ntlmssp_read_authenticate(const uint8_t *msg, size_t size, ntlmssp_authenticate_t *out)
{
    message_t m = { msg, size, size };
    const char *wrong;
    int unicode;

    memset(out, 0, sizeof(*out));
    if (ntlmssp_type(msg, size) != 3)
        return "not an AUTHENTICATE message";
    if (size > NTLMSSP_MAX)
        return "an AUTHENTICATE message of that size";
    if (size < AUTHENTICATE_MIN)
        return "an AUTHENTICATE message that is cut off";
    out->flags = get32(msg + 60);
    unicode = out->flags & NTLMSSP_UNICODE ? 1 : 0;
    wrong = take_name(&m, 28, unicode, out->domain);
    if (!wrong)
        wrong = take_name(&m, 36, unicode, out->user);
    if (!wrong)
        wrong = take_name(&m, 44, unicode, out->workstation);
    if (!wrong)
        wrong = take_response(&m, out);
    if (wrong || !(out->av_flags & AV_FLAG_MIC))
        return wrong;
    if (m.first < MIC_AT + MIC_SIZE)
        return "a MIC is promised, and there is no place for it";
    out->mic_offset = MIC_AT;
    return NULL;
}
