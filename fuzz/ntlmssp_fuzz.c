/* ntlmssp_fuzz: messages that are made of pieces of the input, so that they pass the checks of the
 * header; ntlm_fuzz uses inputs unchanged. The first byte chooses an AUTHENTICATE, which must read
 * as it was written if it is accepted, or a CHALLENGE with such names, whose pairs are read. A
 * piece is a byte with its length, and then its bytes.
 */
#include "ntlm/ntlmssp.h"

#include "fuzz.h"

#define FIELDS 6
#define ROOM 4096

typedef struct input {
    const uint8_t *data;
    size_t size;
} input_t;

static unsigned next(input_t *in)
{
    if (!in->size)
        return 0;
    in->size--;
    return *in->data++;
}

static uint32_t number(input_t *in)
{
    uint32_t v = 0;
    int i;

    for (i = 0; i < 4; i++)
        v |= (uint32_t)next(in) << 8 * i;
    return v;
}

static input_t piece(input_t *in)
{
    size_t size = next(in);
    input_t p = { in->data, size < in->size ? size : in->size };

    in->data += p.size;
    in->size -= p.size;
    return p;
}

static void put(uint8_t *at, int bytes, size_t v)
{
    for (; bytes; bytes--, v >>= 8)
        *at++ = (uint8_t)v;
}

static size_t get(const uint8_t *at, int bytes)
{
    size_t v = 0;

    while (bytes--)
        v = v << 8 | at[bytes];
    return v;
}

static int inside(const uint8_t *p, size_t size, const uint8_t *msg, size_t len)
{
    return !p || (p >= msg && size <= len && (size_t)(p - msg) <= len - size);
}

/* ---- AUTHENTICATE ---- */

/* 16 bytes of proof and a blob whose pairs are the piece's; now and then the piece as it is. */
static size_t response(uint8_t *at, const input_t *p, unsigned how)
{
    size_t head = how & 1 ? 0 : 44;

    memset(at, 0, head);
    if (head)
        at[16] = at[17] = 1;
    memcpy(at + head, p->data, p->size);
    if (how & 2)
        return head + p->size;
    memset(at + head + p->size, 0, 8);
    return head + p->size + 8;
}

static size_t make(uint8_t *msg, input_t *in)
{
    static const uint8_t heads[] = { 64, 72, 88, 80 };
    unsigned how = next(in);
    size_t at = heads[how & 3];
    int i;

    memset(msg, 0, at);
    memcpy(msg, "NTLMSSP\0\3", 9);
    put(msg + 60, 4, number(in));
    for (i = 0; i < FIELDS; i++) {
        input_t p = piece(in);
        size_t size = p.size;

        if (i == 1)
            size = response(msg + at, &p, how >> 2);
        else if (size)
            memcpy(msg + at, p.data, size);
        put(msg + 12 + 8 * i, 2, size);
        put(msg + 12 + 8 * i + 4, 4, at);
        at += size;
    }
    return at;
}

/* Nothing that a log or a user's name could be broken with. */
static void check_name(const char *name)
{
    const uint8_t *p = (const uint8_t *)name;

    MUST(strlen(name) < NTLMSSP_NAME, "a name of %zu bytes", strlen(name));
    for (; *p; p++) {
        MUST(*p >= 0x20 && *p != 0x7f, "a control character %02x", *p);
        MUST(*p != 0xc2 || p[1] >= 0xa0, "a control character of C1, %02x", p[1]);
    }
}

static void check_places(const ntlmssp_authenticate_t *auth, const uint8_t *msg, size_t size)
{
    int i;

    MUST(inside(auth->nt_response, auth->nt_response_size, msg, size), "an NT response outside");
    MUST(inside(auth->lm_response, auth->lm_response_size, msg, size), "an LM response outside");
    MUST(inside(auth->session_key, auth->session_key_size, msg, size), "a key outside");
    MUST(!auth->channel_binding
         || inside(auth->channel_binding, 16, auth->nt_response, auth->nt_response_size),
         "a binding outside the response");
    MUST((auth->mic_offset != 0) == ((auth->av_flags & 2) != 0), "a MIC at %zu", auth->mic_offset);
    MUST(!auth->mic_offset || auth->mic_offset + 16 <= size, "a MIC outside");
    for (i = 0; auth->mic_offset && i < FIELDS; i++)
        MUST(!get(msg + 12 + 8 * i, 2) || get(msg + 12 + 8 * i + 4, 4) >= auth->mic_offset + 16,
             "field %d in the MIC", i);
    MUST(auth->anonymous || auth->nt_response_size >= 48, "a response of %zu bytes",
         auth->nt_response_size);
}

static void compute(const ntlmssp_authenticate_t *auth, const uint8_t *msg, size_t size)
{
    static const uint8_t challenge[NTLMSSP_CHALLENGE];
    uint8_t key[NTLMSSP_KEY] = { 0 }, session[NTLMSSP_KEY], again[NTLMSSP_KEY], signature[16];

    MUST(ntlmssp_ntowf_v2(key, auth->user, auth->domain, key), "names without a key");
    MUST(!ntlmssp_check_response(key, challenge, auth, session),
         "a response that is right by chance");
    ntlmssp_check_response(key, challenge, auth, again);
    MUST(memcmp(session, again, sizeof(again)) == 0, "another key for the same response");
    ntlmssp_exported_key(auth, session);
    if (auth->mic_offset)
        MUST(!ntlmssp_check_mic(session, msg, size, msg, size, msg, size, auth->mic_offset),
             "a MIC that is right by chance");
    MUST(ntlmssp_sign(session, auth->flags & 1, size & 1, (uint32_t)size, msg, size, signature),
         "no signature");
}

/* A beginning, in memory of just its size: refused, or all that is read is in it. */
static void check_cut(const uint8_t *msg, size_t size, size_t cut)
{
    uint8_t *less = fuzz_copy(msg, cut);
    ntlmssp_authenticate_t auth;

    if (!ntlmssp_read_authenticate(less, cut, &auth))
        check_places(&auth, less, cut);
    free(less);
}

static void authenticate(input_t *in)
{
    uint8_t buf[ROOM], *msg;
    size_t size = make(buf, in), poke = next(in);
    ntlmssp_authenticate_t auth;

    if (poke < 64 && poke >= 12)
        buf[poke] = (uint8_t)next(in);
    msg = fuzz_copy(buf, size);
    check_cut(msg, size, size * next(in) / 256);
    if (!ntlmssp_read_authenticate(msg, size, &auth)) {
        check_name(auth.user);
        check_name(auth.domain);
        check_name(auth.workstation);
        check_places(&auth, msg, size);
        if (!auth.anonymous)
            compute(&auth, msg, size);
    }
    free(msg);
}

/* ---- CHALLENGE ---- */

static void check_pairs(const uint8_t *p, size_t size)
{
    unsigned seen = 0;

    for (;;) {
        size_t id, len;

        MUST(size >= 4, "pairs end without an end");
        id = get(p, 2);
        len = get(p + 2, 2);
        MUST(len <= size - 4, "a pair of %zu in %zu bytes", len, size);
        MUST(id < 32 && !(seen & 1u << id), "pair %zu", id);
        seen |= 1u << id;
        if (id == 0)
            break;
        p += 4 + len;
        size -= 4 + len;
    }
    MUST(size == 4 && seen & 1u << 7, "pairs without a time, or with %zu bytes behind them", size);
}

static void check_challenge(const ntlmssp_challenge_t *c, uint32_t flags, const uint8_t *buf,
                            size_t size)
{
    size_t name = get(buf + 12, 2), name_at = get(buf + 16, 4);
    size_t info = get(buf + 40, 2), info_at = get(buf + 44, 4);
    uint8_t *exact = malloc(size);

    MUST(ntlmssp_type(buf, size) == 2 && memcmp(buf + 24, c->challenge, 8) == 0, "no CHALLENGE");
    MUST(name_at == 56 && info_at == name_at + name && info_at + info == size,
         "name %zu at %zu, pairs %zu at %zu", name, name_at, info, info_at);
    check_pairs(buf + info_at, info);
    MUST(ntlmssp_write_challenge(c, flags, exact, size) == size, "not in just enough room");
    MUST(memcmp(exact, buf, size) == 0, "not the same again");
    MUST(ntlmssp_write_challenge(c, flags, exact, size - 1) == 0, "in one byte less");
    free(exact);
}

static void challenge(input_t *in)
{
    static const uint8_t nonce[NTLMSSP_CHALLENGE] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    uint32_t flags = number(in);
    char *names[5];
    ntlmssp_target_t t;
    ntlmssp_challenge_t c = { &t, { 0 }, 0x0123456789abcdef };
    uint8_t buf[ROOM];
    size_t size;
    int i;

    for (i = 0; i < 5; i++) {
        input_t p = piece(in);

        names[i] = p.size ? fuzz_text(p.data, p.size) : NULL;
    }
    t = (ntlmssp_target_t){ names[0], names[1], names[2], names[3], names[4] };
    memcpy(c.challenge, nonce, sizeof(nonce));
    size = ntlmssp_write_challenge(&c, flags, buf, sizeof(buf));
    if (size)
        check_challenge(&c, flags, buf, size);
    for (i = 0; i < 5; i++)
        free(names[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t in = { data, size };

    if (next(&in) & 1)
        challenge(&in);
    else
        authenticate(&in);
    return 0;
}
