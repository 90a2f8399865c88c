/* ntlmssp_test: messages as clients send them, the CHALLENGE byte by byte, everything that a reader
 * has to refuse, and keys and responses compared with those of other implementations.
 * ntlm_vectors_test has the example of [MS-NLMP] 4.2.4. */
#include "ntlm/ntlmssp.h"

#include "ntlmssp_messages.h"
#include "unit.h"

#define FIELDS 6
#define FLAGS_AT 60
#define MIC_FLAGS 0x02
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint8_t nonce[8] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
/* 4.2.2.1.2, for "Password" */
static const uint8_t nt_hash[16] = { 0xa4, 0xf4, 0x9c, 0x40, 0x65, 0x10, 0xbd, 0xca,
                                     0xb6, 0x82, 0x4e, 0xe7, 0xc3, 0x0f, 0xd8, 0x52 };
static const ntlmssp_target_t target = { "TEST", "SERVER", "test.example", "server.test.example",
                                         "example" };
#define TIMESTAMP 0x01dc5c5e12345678u

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes_t;

/* Bytes in a block of exactly their size, so that a sanitizer sees a read beyond it. The caller
 * frees it. */
static bytes_t unhex(const char *text)
{
    bytes_t b = { malloc(strlen(text) / 2 + 1), strlen(text) / 2 };
    uint8_t *exact;
    size_t i;

    for (i = 0; i < b.size; i++) {
        unsigned v = 0;

        sscanf(text + 2 * i, "%2x", &v);
        b.data[i] = (uint8_t)v;
    }
    exact = unit_copy(b.data, b.size);
    free(b.data);
    b.data = exact;
    return b;
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v & 0xffff);
    put16(p + 2, v >> 16);
}

/* ---- messages made here ---- */

enum { LM, NT, DOMAIN, USER, WORKSTATION, KEY };

/* The parts of a message; texts are bytes in hexadecimal. */
typedef struct parts {
    const char *field[FIELDS];
    uint32_t flags;
    size_t head;                /* where the payload begins */
} parts_t;

#define PROOF_HEX "00112233445566778899aabbccddeeff"
/* 2.2.2.7 up to the pairs: versions, time, client challenge */
#define LATER_HEX "785634125e5cdc01" "aaaaaaaaaaaaaaaa" "00000000"
#define BLOB_HEX "0101000000000000" LATER_HEX
#define RESPONSE(pairs) PROOF_HEX BLOB_HEX pairs
#define EOL "00000000"
#define U_USER "5500730065007200"
#define U_TEST "5400450053005400"
#define MIC_PAIR "06000400" "02000000"

static const parts_t usual = {
    { "", RESPONSE(EOL EOL), U_TEST, U_USER, "", "" }, NTLMSSP_UNICODE | NTLMSSP_NTLM, 64
};

static bytes_t build(const parts_t *p)
{
    static const int order[FIELDS] = { DOMAIN, USER, WORKSTATION, LM, NT, KEY };
    bytes_t b = { calloc(1, 16384), p->head }, exact;
    int i;

    memcpy(b.data, "NTLMSSP", 8);
    put32(b.data + 8, 3);
    put32(b.data + FLAGS_AT, p->flags);
    for (i = 0; i < FIELDS; i++) {
        bytes_t part = unhex(p->field[order[i]]);
        uint8_t *at = b.data + 12 + 8 * order[i];

        put16(at, (unsigned)part.size);
        put16(at + 2, (unsigned)part.size);
        put32(at + 4, (uint32_t)b.size);
        memcpy(b.data + b.size, part.data, part.size);
        b.size += part.size;
        free(part.data);
    }
    exact = (bytes_t){ unit_copy(b.data, b.size), b.size };
    free(b.data);
    return exact;
}

static const char *read_parts(const parts_t *p, ntlmssp_authenticate_t *out)
{
    bytes_t b = build(p);
    const char *wrong = ntlmssp_read_authenticate(b.data, b.size, out);

    free(b.data);
    return wrong;
}

/* The usual message, except for one field and for the place where its payload begins. */
static void check_field(int field, const char *hex, size_t head, int taken, const char *what)
{
    parts_t p = usual;
    ntlmssp_authenticate_t auth;
    const char *wrong;

    p.field[field] = hex;
    p.head = head;
    wrong = read_parts(&p, &auth);
    ok((wrong == NULL) == taken, "%s is %s", what, wrong ? wrong : "taken");
}

/* ---- NEGOTIATE ---- */

static void test_type(void)
{
    bytes_t b = unhex("4e544c4d5353500003000000");
    size_t size;

    is_int(ntlmssp_type(b.data, b.size), 3, "a type");
    for (size = 0; size < b.size; size++) {
        uint8_t *cut = unit_copy(b.data, size);

        is_int(ntlmssp_type(cut, size), 0, "no type in %zu bytes", size);
        free(cut);
    }
    b.data[7] = 1;
    is_int(ntlmssp_type(b.data, b.size), 0, "no type behind another signature");
    free(b.data);
}

static void check_negotiate(const char *hex, size_t cut_to, int taken, uint32_t flags,
                            const char *what)
{
    bytes_t b = unhex(hex);
    size_t size = cut_to ? cut_to : b.size;
    uint8_t *exact = unit_copy(b.data, size);
    ntlmssp_negotiate_t n = { 0 };

    ok((ntlmssp_read_negotiate(exact, size, &n) == NULL) == taken, "NEGOTIATE %s: %s", what,
       taken ? "taken" : "refused");
    if (taken)
        is_int(n.flags, flags, "its flags");
    free(exact);
    free(b.data);
}

static void test_negotiate(void)
{
    uint8_t *large = calloc(1, NTLMSSP_MAX + 1);
    ntlmssp_negotiate_t n;
    size_t size;

    check_negotiate(impacket_negotiate, 0, 1, 0xa0880205u, "of Impacket");
    check_negotiate(samba_negotiate, 0, 1, 0x62088215u, "of Samba");
    check_negotiate(curl_negotiate, 0, 1, 0x00088206u, "of curl");
    check_negotiate(curl_negotiate, 16, 1, 0x00088206u, "of 16 bytes");
    for (size = 1; size < 16; size++)
        check_negotiate(curl_negotiate, size, 0, 0, "that is cut off");
    check_negotiate("4e544c4d53535000" "01000000" "00020800", 0, 0, 0,
                    "with neither Unicode nor OEM");
    check_negotiate("4e544c4d53535000" "02000000" "07020800", 0, 0, 0, "of another type");
    check_negotiate("4e544c4d53535001" "01000000" "07020800", 0, 0, 0, "with another signature");
    memcpy(large, "NTLMSSP\0\1\0\0\0\7", 13);
    ok(!ntlmssp_read_negotiate(large, NTLMSSP_MAX, &n), "NEGOTIATE of the greatest size");
    ok(ntlmssp_read_negotiate(large, NTLMSSP_MAX + 1, &n) != NULL,
       "NEGOTIATE of one byte more: refused");
    free(large);
}

/* ---- CHALLENGE ---- */

static void make_challenge(const ntlmssp_target_t *t, ntlmssp_challenge_t *c)
{
    c->target = t;
    memcpy(c->challenge, nonce, sizeof(nonce));
    c->timestamp = TIMESTAMP;
}

static void check_challenge(const char *hex, uint32_t asked, const char *what)
{
    bytes_t want = unhex(hex);
    uint8_t *buf = malloc(want.size);
    ntlmssp_challenge_t c;
    size_t size, room;

    make_challenge(&target, &c);
    size = ntlmssp_write_challenge(&c, asked, buf, want.size);
    is_bytes(buf, size, want.data, want.size, "CHALLENGE for %s, in just enough room", what);
    for (room = 0; room < want.size; room++) {
        uint8_t *less = malloc(room + 1);

        size = ntlmssp_write_challenge(&c, asked, less, room);
        free(less);
        if (size)
            break;
    }
    is_int(room, want.size, "and in no less");
    free(buf);
    free(want.data);
}

static uint32_t flags_for(uint32_t asked)
{
    uint8_t buf[512];
    ntlmssp_challenge_t c;

    make_challenge(&target, &c);
    if (!ntlmssp_write_challenge(&c, asked, buf, sizeof(buf)))
        return 0;
    return (uint32_t)buf[20] | (uint32_t)buf[21] << 8 | (uint32_t)buf[22] << 16
         | (uint32_t)buf[23] << 24;
}

static void test_challenge_flags(void)
{
    uint32_t fixed = NTLMSSP_NTLM | NTLMSSP_EXTENDED_SECURITY | NTLMSSP_TARGET_INFO
                     | NTLMSSP_TARGET_TYPE_DOMAIN | NTLMSSP_VERSION;
    uint32_t choice = NTLMSSP_UNICODE | NTLMSSP_OEM;

    is_int(flags_for(0xffffffffu) & choice, NTLMSSP_UNICODE, "Unicode rather than OEM");
    is_int(flags_for(NTLMSSP_OEM), fixed | NTLMSSP_OEM, "what is said in any case, and OEM");
    is_int(flags_for(NTLMSSP_UNICODE | NTLMSSP_KEY_EXCH) & NTLMSSP_KEY_EXCH, 0,
           "no KEY_EXCH without 128 bits");
    is_int(flags_for(0xffffffffu) & (NTLMSSP_KEY_EXCH | NTLMSSP_128),
           NTLMSSP_KEY_EXCH | NTLMSSP_128, "KEY_EXCH with them");
    is_int(flags_for(0xffffffffu) & (0x80u | 0x20u | 0x40u | 0x80000000u | NTLMSSP_ANONYMOUS), 0,
           "never LM keys, sealing, datagrams, 56 bits, anonymous");
}

/* Returns the size of the CHALLENGE for such names, or 0 when it cannot be written. */
static size_t size_for(const ntlmssp_target_t *t, uint32_t flags)
{
    static uint8_t buf[NTLMSSP_MAX];
    ntlmssp_challenge_t c;

    make_challenge(t, &c);
    return ntlmssp_write_challenge(&c, flags, buf, sizeof(buf));
}

static void test_challenge_names(void)
{
    char name[NTLMSSP_MAX + 1];
    ntlmssp_target_t t = { "A", NULL, NULL, NULL, NULL };

    is_int(size_for(&(ntlmssp_target_t){ NULL, NULL, NULL, NULL, NULL }, NTLMSSP_UNICODE),
           56 + 12 + 4, "no names: a time and the end");
    is_int(size_for(&t, NTLMSSP_UNICODE), 56 + 2 + 6 + 12 + 4, "a name, twice");
    is_int(size_for(&t, NTLMSSP_OEM), 56 + 1 + 6 + 12 + 4, "OEM: TargetName alone");
    t.nb_domain = "\xf0\x9f\x98\x80";
    is_int(size_for(&t, NTLMSSP_UNICODE), 56 + 4 + 8 + 12 + 4, "a surrogate pair, twice");
    t.nb_domain = "\xff";
    is_int(size_for(&t, NTLMSSP_UNICODE), 0, "none for a TargetName that is no UTF-8");
    t.nb_domain = "A";
    t.dns_tree = "\xc3";
    is_int(size_for(&t, NTLMSSP_UNICODE), 0, "none for a pair that is no UTF-8");
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    t.dns_tree = name;
    is_int(size_for(&t, NTLMSSP_UNICODE), 0, "none for a name that is too long");
}

/* ---- AUTHENTICATE of clients ---- */

typedef struct client {
    const char *name, *negotiate, *challenge, *authenticate, *key;
    const char *workstation, *target_name;
    size_t mic_offset;
    int key_exch, own_time;
} client_t;

static const client_t clients[] = {
    { "Impacket", impacket_negotiate, impacket_challenge, impacket_authenticate, impacket_key,
      "CLIENT",
      "cifs/SERVER", 0, 0, 0 },
    { "Impacket, signing", impacket_sign_negotiate, impacket_sign_challenge,
      impacket_sign_authenticate,
      impacket_sign_key, "CLIENT", "cifs/SERVER", 0, 1, 0 },
    { "Samba", samba_negotiate, samba_challenge, samba_authenticate, samba_key, "CLIENT",
      "host/server.test.example", 72, 1, 0 },
    { "curl", curl_negotiate, curl_challenge, curl_authenticate, NULL, "WORKSTATION", "", 0, 0, 1 },
};

/* Computes the key that both sides have. Returns 0 when the response is wrong. */
static int prove(const ntlmssp_authenticate_t *auth, uint8_t key[16])
{
    uint8_t ntowf[16];

    return ntlmssp_ntowf_v2(nt_hash, auth->user, auth->domain, ntowf)
           && ntlmssp_check_response(ntowf, nonce, auth, key) && ntlmssp_exported_key(auth, key);
}

/* The three messages of a handshake, and what both sides have agreed. */
typedef struct handshake {
    bytes_t negotiate, challenge, authenticate;
    uint8_t key[16];
    size_t mic_offset;
} handshake_t;

static int mic_is_right(const handshake_t *h, size_t size)
{
    return ntlmssp_check_mic(h->key, h->negotiate.data, h->negotiate.size, h->challenge.data,
                             h->challenge.size, h->authenticate.data, size, h->mic_offset);
}

/* For how many bytes of a message does the MIC stay right when the byte changes? */
static int right_though_changed(const handshake_t *h, const bytes_t *message)
{
    int right = 0;
    size_t i;

    for (i = 0; i < message->size; i++) {
        message->data[i] ^= 1;
        right += mic_is_right(h, h->authenticate.size);
        message->data[i] ^= 1;
    }
    return right;
}

static void test_mic(handshake_t *h)
{
    size_t size = h->authenticate.size;

    ok(mic_is_right(h, size), "its MIC is right");
    is_int(right_though_changed(h, &h->negotiate), 0, "not with any byte of NEGOTIATE changed");
    is_int(right_though_changed(h, &h->challenge), 0, "nor of CHALLENGE");
    is_int(right_though_changed(h, &h->authenticate), 0, "nor of AUTHENTICATE");
    ok(!mic_is_right(h, size - 1), "nor one byte short");
    ok(!mic_is_right(h, h->mic_offset + 15), "nor ending within the MIC");
    memset(h->authenticate.data + h->mic_offset, 0, 16);
    ok(!mic_is_right(h, size), "nor a MIC of zeros");
}

static void test_read(const client_t *c, const bytes_t *a, ntlmssp_authenticate_t *auth)
{
    is_str(ntlmssp_read_authenticate(a->data, a->size, auth), NULL, "AUTHENTICATE of %s is taken",
           c->name);
    is_str(auth->user, "User", "its user");
    is_str(auth->domain, "TEST", "its domain");
    is_str(auth->workstation, c->workstation, "its workstation");
    ok(!auth->anonymous && !auth->channel_binding, "neither anonymous nor bound");
    ok((auth->timestamp == TIMESTAMP) == !c->own_time, "the server's time, or its own");
    ok(auth->server_time == TIMESTAMP, "MsvAvTimestamp as it was sent");
    is_str(auth->target_name, c->target_name, "MsvAvTargetName");
    is_int(auth->mic_offset, c->mic_offset, "the place of its MIC");
    is_int(auth->flags & NTLMSSP_KEY_EXCH ? 1 : 0, c->key_exch, "KEY_EXCH");
    ok(!auth->session_key == !c->key_exch, "and a key with it alone");
}

static void test_client(const client_t *c)
{
    handshake_t h = { unhex(c->negotiate), unhex(c->challenge), unhex(c->authenticate), { 0 },
                      c->mic_offset };
    bytes_t want = unhex(c->key ? c->key : "");
    ntlmssp_authenticate_t auth;
    ntlmssp_negotiate_t asked = { 0 };

    ntlmssp_read_negotiate(h.negotiate.data, h.negotiate.size, &asked);
    check_challenge(c->challenge, asked.flags, c->name);
    test_read(c, &h.authenticate, &auth);
    ok(prove(&auth, h.key), "its response is right");
    if (c->key)
        is_bytes(h.key, 16, want.data, want.size, "its key");
    if (c->mic_offset)
        test_mic(&h);
    free(h.negotiate.data);
    free(h.challenge.data);
    free(h.authenticate.data);
    free(want.data);
}

/* Each beginning of a message, in memory of just that size. */
static void test_cut(const char *name, const char *hex)
{
    bytes_t a = unhex(hex);
    ntlmssp_authenticate_t auth;
    size_t size;
    int taken = 0;

    for (size = 0; size < a.size; size++) {
        uint8_t *cut = unit_copy(a.data, size);

        taken += !ntlmssp_read_authenticate(cut, size, &auth);
        free(cut);
    }
    is_int(taken, 0, "no beginning of %s's message is taken", name);
    free(a.data);
}

static void test_anonymous(void)
{
    static const char *const messages[] = { impacket_anonymous_authenticate,
                                            samba_anonymous_authenticate };
    ntlmssp_authenticate_t auth;
    parts_t p = usual;
    size_t i;

    for (i = 0; i < COUNT(messages); i++) {
        bytes_t a = unhex(messages[i]);

        is_str(ntlmssp_read_authenticate(a.data, a.size, &auth), NULL, "anonymous %zu", i);
        ok(auth.anonymous && !auth.user[0] && !auth.nt_response, "and is so called");
        free(a.data);
        test_cut("anonymous", messages[i]);
    }
    p.field[USER] = "";
    is_str(read_parts(&p, &auth), NULL, "a response without a user");
    ok(!auth.anonymous, "is not anonymous");
    p.flags |= NTLMSSP_ANONYMOUS;
    is_str(read_parts(&p, &auth), NULL, "nor with a flag that says so");
    ok(!auth.anonymous, "for the flag is the client's word only");
}

/* ---- AUTHENTICATE that is wrong ---- */

static void test_header(void)
{
    bytes_t b = build(&usual);
    ntlmssp_authenticate_t auth;
    uint8_t *large = calloc(1, NTLMSSP_MAX + 1);

    is_str(ntlmssp_read_authenticate(b.data, b.size, &auth), NULL, "the usual message");
    b.data[8] = 1;
    ok(ntlmssp_read_authenticate(b.data, b.size, &auth) != NULL, "of another type: refused");
    b.data[8] = 3;
    b.data[0] = 'n';
    ok(ntlmssp_read_authenticate(b.data, b.size, &auth) != NULL, "with another signature: refused");
    b.data[0] = 'N';
    memcpy(large, b.data, b.size);
    is_str(ntlmssp_read_authenticate(large, NTLMSSP_MAX, &auth), NULL, "of the greatest size");
    ok(ntlmssp_read_authenticate(large, NTLMSSP_MAX + 1, &auth) != NULL,
       "of one byte more: refused");
    free(large);
    free(b.data);
}

/* Is the message accepted with this length and offset of a field? */
static int taken_with(const bytes_t *b, int field, unsigned size, uint32_t offset)
{
    bytes_t changed = { unit_copy(b->data, b->size), b->size };
    ntlmssp_authenticate_t auth;
    int taken;

    put16(changed.data + 12 + 8 * field, size);
    put32(changed.data + 12 + 8 * field + 4, offset);
    taken = !ntlmssp_read_authenticate(changed.data, changed.size, &auth);
    free(changed.data);
    return taken;
}

static void test_places(void)
{
    static const char *const names[FIELDS] = { "LM response", "NT response", "domain", "user",
                                               "workstation",
                                               "key" };
    bytes_t b = build(&usual);
    uint32_t end = (uint32_t)b.size;
    int i;

    for (i = 0; i < FIELDS; i++) {
        unsigned n = i == NT ? 52 : 2;

        ok(!taken_with(&b, i, n, end), "%s behind the end", names[i]);
        ok(!taken_with(&b, i, n, end - n + 1), "%s over the end", names[i]);
        ok(!taken_with(&b, i, 0xffff, 64), "%s of 65535 bytes", names[i]);
        ok(!taken_with(&b, i, n, 0xffffffffu), "%s at the last offset", names[i]);
        ok(!taken_with(&b, i, n, 0u - n), "%s whose end is 2^32", names[i]);
        ok(!taken_with(&b, i, n, 63), "%s over the header", names[i]);
        ok(!taken_with(&b, i, n, 0), "%s at the beginning", names[i]);
        if (i != NT) {
            ok(taken_with(&b, i, 0, 0), "%s, empty, at 0: taken", names[i]);
            ok(taken_with(&b, i, 0, 0xffffffffu), "%s, empty, anywhere: taken", names[i]);
        }
    }
    ok(taken_with(&b, USER, 8, 64), "user in the domain's bytes: taken");
    ok(!taken_with(&b, NT, 0, 0), "no response: refused");
    free(b.data);
}

typedef struct row {
    const char *hex, *what;
    int taken;
} row_t;

static void test_names(void)
{
    static const int fields[] = { DOMAIN, USER, WORKSTATION };
    static const row_t rows[] = {
        { "550073006500", "Unicode", 1 }, { "e4003cd800de", "Unicode with a surrogate pair", 1 },
        { "5500730065", "half a character", 0 }, { "55", "a single byte", 0 },
        { "3cd85500", "a high surrogate alone", 0 },
        { "55003cd8", "a high surrogate at the end", 0 },
        { "00de5500", "a low surrogate alone", 0 },
        { "00de3cd8", "a surrogate pair the wrong way round", 0 },
        { "3cd83cd800de", "a high surrogate before a pair", 0 },
        { "55000000", "a NUL at the end", 0 }, { "550000006500", "a NUL within", 0 },
        { "0a00", "a line feed", 0 }, { "0d00", "a carriage return", 0 },
        { "1b00", "an escape", 0 },
        { "7f00", "a delete", 0 }, { "8500", "a control character of C1", 0 },
        { "a000", "a space that sticks", 1 },
    };
    static const row_t oem[] = {
        { "55736572", "OEM name", 1 }, { "5573657200", "OEM name with a NUL", 0 },
        { "557365720a", "OEM line feed", 0 },
        { "e4", "OEM name that is no ASCII", 0 }, { "7f", "OEM delete", 0 },
    };
    size_t i, j;

    for (i = 0; i < COUNT(fields); i++) {
        for (j = 0; j < COUNT(rows); j++)
            check_field(fields[i], rows[j].hex, 64, rows[j].taken, rows[j].what);
    }
    for (j = 0; j < COUNT(oem); j++) {
        parts_t p = { { "", RESPONSE(EOL EOL), "", oem[j].hex, "", "" }, NTLMSSP_OEM, 64 };
        ntlmssp_authenticate_t auth;

        ok((read_parts(&p, &auth) == NULL) == oem[j].taken, "%s", oem[j].what);
        if (oem[j].taken)
            is_str(auth.user, "User", "as it is");
    }
}

/* Windows accepts at most 255 characters, here of three bytes of UTF-8 each. */
static void test_long_names(void)
{
    char hex[4 * 256 + 1] = "";
    ntlmssp_authenticate_t auth;
    uint8_t key[16];
    parts_t p = usual;
    int i;

    for (i = 0; i < 255; i++)
        strcpy(hex + 4 * i, "ac20");
    p.field[USER] = p.field[DOMAIN] = p.field[WORKSTATION] = hex;
    is_str(read_parts(&p, &auth), NULL, "names of 255 characters");
    is_int(strlen(auth.user), 3 * 255, "are read in full");
    ok(ntlmssp_ntowf_v2(nt_hash, auth.user, auth.domain, key), "and have a key");
    strcpy(hex + 4 * 255, "ac20");
    ok(read_parts(&p, &auth) != NULL, "of 256: refused");
}

static void test_pairs(void)
{
    static const row_t rows[] = {
        { RESPONSE(EOL), "the shortest NTLMv2 response", 1 },
        { RESPONSE(EOL EOL EOL), "bytes behind MsvAvEOL", 1 },
        { RESPONSE(""), "no pairs", 0 }, { RESPONSE("0000"), "half an MsvAvEOL", 0 },
        { RESPONSE("02000200" "4100"), "pairs without MsvAvEOL", 0 },
        { RESPONSE("02000200" "4100" "0000"), "pairs with half an MsvAvEOL", 0 },
        { RESPONSE("02000500" EOL), "a pair that runs past the response", 0 },
        { RESPONSE("0200ffff" EOL), "a pair of 65535 bytes", 0 },
        { RESPONSE("00000400" EOL), "an MsvAvEOL with a value", 0 },
        { RESPONSE("02000200" "4100" "02000200" "4100" EOL), "a pair twice", 0 },
        { RESPONSE("06000400" "00000000" "06000400" "02000000" EOL), "MsvAvFlags twice", 0 },
        { RESPONSE("06000200" "0200" EOL), "MsvAvFlags of 2 bytes", 0 },
        { RESPONSE("06000800" "0200000000000000" EOL), "MsvAvFlags of 8 bytes", 0 },
        { RESPONSE("07000400" "00000000" EOL), "a timestamp of 4 bytes", 0 },
        { RESPONSE("09000200" "4100" EOL), "a target name", 1 },
        { RESPONSE("09000000" EOL), "an empty one", 1 },
        { RESPONSE("09000300" "410042" EOL), "one with half a letter", 0 },
        { RESPONSE("09000400" "41000000" EOL), "one with a NUL in it", 0 },
        { RESPONSE("0a000800" "0000000000000000" EOL), "channel bindings of 8 bytes", 0 },
        { RESPONSE("0a001400" PROOF_HEX "00000000" EOL), "channel bindings of 20 bytes", 0 },
        { RESPONSE("0a000000" EOL), "channel bindings of none", 0 },
        { RESPONSE("0a001000" PROOF_HEX EOL), "channel bindings", 1 },
        { RESPONSE("63000200" "4100" EOL), "an unknown pair", 1 },
    };
    size_t i;

    for (i = 0; i < COUNT(rows); i++)
        check_field(NT, rows[i].hex, 64, rows[i].taken, rows[i].what);
}

static void test_responses(void)
{
    static const char v1[] = "000102030405060708090a0b0c0d0e0f1011121314151617";
    static const row_t rows[] = {
        { v1, "an NTLMv1 response", 0 }, { "0001", "a response of 2 bytes", 0 },
        { PROOF_HEX, "a proof alone", 0 },
        { PROOF_HEX "01010000000000000000", "a response that ends in its time", 0 },
        { PROOF_HEX "0201000000000000" LATER_HEX EOL, "RespType 2", 0 },
        { PROOF_HEX "0102000000000000" LATER_HEX EOL, "HiRespType 2", 0 },
    };
    ntlmssp_authenticate_t auth;
    parts_t p = usual;
    size_t i;

    for (i = 0; i < COUNT(rows); i++)
        check_field(NT, rows[i].hex, 64, rows[i].taken, rows[i].what);
    p.field[NT] = "";
    ok(read_parts(&p, &auth) != NULL, "a user without a response: refused");
    p.field[LM] = v1;
    ok(read_parts(&p, &auth) != NULL, "with an LM response alone: refused");
}

static void test_mic_place(void)
{
    static const size_t heads[] = { 64, 72, 80, 87 };
    static const char promised[] = RESPONSE(MIC_PAIR EOL);
    ntlmssp_authenticate_t auth;
    parts_t p = usual;
    size_t i;

    for (i = 0; i < COUNT(heads); i++) {
        char what[80];

        snprintf(what, sizeof(what), "a MIC that is promised, but the payload begins at %zu,",
                 heads[i]);
        check_field(NT, promised, heads[i], 0, what);
    }
    p.field[NT] = promised;
    p.head = 88;
    is_str(read_parts(&p, &auth), NULL, "with a payload from 88 on it is taken");
    is_int(auth.mic_offset, 72, "and is at 72");
    is_int(auth.av_flags, MIC_FLAGS, "as MsvAvFlags say");
    p.field[NT] = usual.field[NT];
    is_str(read_parts(&p, &auth), NULL, "a place for a MIC, but none promised");
    is_int(auth.mic_offset, 0, "has none");
}

static void test_binding_pair(void)
{
    ntlmssp_authenticate_t auth;
    parts_t p = usual;
    bytes_t b, want = unhex(PROOF_HEX);

    p.field[NT] = RESPONSE("0a001000" PROOF_HEX EOL);
    b = build(&p);
    is_str(ntlmssp_read_authenticate(b.data, b.size, &auth), NULL, "a message that is bound");
    ok(auth.channel_binding != NULL, "says to what");
    if (auth.channel_binding)
        is_bytes(auth.channel_binding, 16, want.data, want.size, "namely");
    free(b.data);
    free(want.data);
    p.field[NT] = RESPONSE("0a001000" "00000000000000000000000000000000" EOL);
    b = build(&p);
    is_str(ntlmssp_read_authenticate(b.data, b.size, &auth), NULL, "bindings of zeros");
    ok(!auth.channel_binding, "are none");
    free(b.data);
}

/* ---- what is computed ---- */

static void test_ntowf(void)
{
    static const struct {
        const char *user, *domain, *hex;
    } rows[] = {
        { "USER", "Domain", "0c868a403bfd7a93a3001ef22ef02e3f" },
        { "uSeR", "domain", "51286d67402c2f373fac9967c967b19d" },
        { "J\xc3\xbcrgen Gro\xc3\x9f", "Z\xc3\xbcrich", "8f7a0e9d3a24c2ae3046a2e05dbe0edd" },
        { "J\xc3\x9cRGEN GRO\xc3\x9f", "Z\xc3\xbcrich", "8f7a0e9d3a24c2ae3046a2e05dbe0edd" },
        { "\xcf\x82\xcf\x83", "\xce\xa9", "06fbd0861e64b5ab2e048056e4783ff4" },
        { "\xd0\xb6\xd1\x83\xd0\xba", "\xd0\xb6", "ddd731acdec31c90667c3b5628eddbee" },
        { "\xc3\xbf", "", "1d35c4fa401e5639688ab954ffdaf368" },
        { "a\xf0\x9f\x98\x80z", "d", "8bd8c0d868cf0bf06289b0bd37f17be6" },
        { "", "", "fa3610ae39ee4a98abf7fe129547eee9" },
    };
    static const char *const bad[] = { "\x80", "\xc3", "\xc0\x80", "\xe2\x82", "\xed\xa0\x80",
                                       "a\xff",
                                       "\xf4\x90\x80\x80", "\xf0\x80\x80\x80",
                                       "\xf8\x88\x80\x80\x80" };
    uint8_t key[16];
    size_t i;

    for (i = 0; i < COUNT(rows); i++) {
        bytes_t want = unhex(rows[i].hex);

        ok(ntlmssp_ntowf_v2(nt_hash, rows[i].user, rows[i].domain, key), "key of %s of %s",
           rows[i].user, rows[i].domain);
        is_bytes(key, 16, want.data, want.size, "as computed elsewhere");
        free(want.data);
    }
    for (i = 0; i < COUNT(bad); i++)
        ok(!ntlmssp_ntowf_v2(nt_hash, bad[i], "D", key)
               && !ntlmssp_ntowf_v2(nt_hash, "U", bad[i], key),
           "no key for what is no UTF-8, %zu", i);
}

/* A wrong response yields a key as well: that of the right response. */
static void test_wrong_response(void)
{
    bytes_t a = unhex(impacket_authenticate), want = unhex(impacket_key);
    ntlmssp_authenticate_t auth;
    uint8_t key[16], ntowf[16], other[16];
    size_t i;
    int taken = 0;

    ntlmssp_read_authenticate(a.data, a.size, &auth);
    ntlmssp_ntowf_v2(nt_hash, auth.user, auth.domain, ntowf);
    for (i = 0; i < auth.nt_response_size; i++) {
        a.data[(size_t)(auth.nt_response - a.data) + i] ^= 0x80;
        taken += ntlmssp_check_response(ntowf, nonce, &auth, key);
        a.data[(size_t)(auth.nt_response - a.data) + i] ^= 0x80;
    }
    is_int(taken, 0, "a response of which any byte is changed is wrong");
    a.data[auth.nt_response - a.data] ^= 1;
    memset(key, 0, sizeof(key));
    ok(!ntlmssp_check_response(ntowf, nonce, &auth, key), "a wrong proof");
    is_bytes(key, 16, want.data, want.size, "does not hold up the key");
    a.data[auth.nt_response - a.data] ^= 1;
    memcpy(other, ntowf, sizeof(other));
    other[0] ^= 1;
    ok(!ntlmssp_check_response(other, nonce, &auth, key), "another password");
    free(a.data);
    free(want.data);
}

static void test_binding(void)
{
    bytes_t hash = unhex("81acd762140fa692a142822d2fbe4dc6f54bcaa501f68ab37e5aeed0bafe4d99");
    bytes_t want = unhex("421782df33f5f2439ded6119a3fdbc68");
    uint8_t binding[16];

    ok(ntlmssp_channel_binding("tls-server-end-point:", hash.data, hash.size, binding),
       "a certificate's hash");
    is_bytes(binding, 16, want.data, want.size, "as MsvAvChannelBindings");
    free(hash.data);
    free(want.data);
}

static void check_signature(const char *key_hex, int key_exch, int by_server, uint32_t seq,
                            const char *data_hex, const char *hex, const char *what)
{
    bytes_t key = unhex(key_hex), data = unhex(data_hex), want = unhex(hex);
    uint8_t signature[16];

    ok(ntlmssp_sign(key.data, key_exch, by_server, seq, data.data, data.size, signature),
       "signature: %s", what);
    is_bytes(signature, 16, want.data, want.size, "as it has to be");
    free(key.data);
    free(data.data);
    free(want.data);
}

static void test_signatures(void)
{
    static const char plaintext[] = "50006c00610069006e007400650078007400";
    static const char key[] = "8de40ccadbc14a82f15cb0ad0de95ca3";       /* 4.2.4.1.2 */
    /* SPNEGO's list, of NTLM alone. */
    static const char mechs[] = "300c060a2b06010401823702020a";

    check_signature("eb93429a8bd952f8b89c55b87f475edc", 0, 0, 0, plaintext,
                    "01000000ff2aeb52f681793a00000000", "4.2.3.4, where there is no KEY_EXCH");
    check_signature("55555555555555555555555555555555", 0, 0, 0, plaintext,
                    "0100000070352851f256430900000000",
                    "4.2.4.4 before RC4, which comes behind the 18 bytes of data there");
    check_signature(key, 0, 0, 0, mechs, "010000005017d4c1e693fc0a00000000", "client, plain");
    check_signature(key, 0, 1, 0, mechs, "01000000678bcd5200acbd5500000000", "server, plain");
    check_signature(key, 0, 0, 0x01020304, mechs, "010000009f88c3ca4cb52c3c04030201",
                    "client, numbered");
    check_signature(key, 0, 1, 0x01020304, mechs, "010000002308aa532150e18104030201",
                    "server, numbered");
    check_signature(key, 1, 0, 0, mechs, "0100000010559232569e057e00000000", "client, KEY_EXCH");
    check_signature(key, 1, 1, 0, mechs, "01000000b5d3a52dba0769cf00000000", "server, KEY_EXCH");
}

static void test_exported_key(void)
{
    static const uint8_t sent[16] = { 1 };
    ntlmssp_authenticate_t auth;
    uint8_t key[16] = { 7 };

    memset(&auth, 0, sizeof(auth));
    auth.flags = NTLMSSP_KEY_EXCH;
    ok(!ntlmssp_exported_key(&auth, key), "KEY_EXCH without a key");
    auth.session_key = sent;
    auth.session_key_size = 17;
    ok(!ntlmssp_exported_key(&auth, key), "KEY_EXCH with a key of 17 bytes");
    is_int(key[0], 7, "changes nothing");
}

int main(void)
{
    size_t i;

    test_type();
    test_negotiate();
    test_challenge_flags();
    test_challenge_names();
    for (i = 0; i < COUNT(clients); i++) {
        test_client(&clients[i]);
        test_cut(clients[i].name, clients[i].authenticate);
    }
    test_anonymous();
    test_header();
    test_places();
    test_names();
    test_long_names();
    test_pairs();
    test_responses();
    test_mic_place();
    test_binding_pair();
    test_ntowf();
    test_wrong_response();
    test_binding();
    test_signatures();
    test_exported_key();
    return unit_done();
}
