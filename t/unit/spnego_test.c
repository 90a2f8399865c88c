/* spnego_test: tokens as clients send them, in every order and wrapping, everything that a reader
 * has to refuse, and the tokens that are written, byte by byte. */
#include "ntlm/spnego.h"

#include "unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Tokens are in hexadecimal. "{...}" stands for a length and the bytes of this length. */
#define OID_SPNEGO "06{2b0601050502}"
#define OID_NTLM   "06{2b06010401823702020a}"
#define OID_KRB5   "06{2a864886f712010202}"
#define OID_MSKRB5 "06{2a864882f712010202}"
#define OID_NEGOEX "06{2b06010401823702021e}"
#define TOKEN "4e544c4d53535000"
#define MIC "000102030405060708090a0b0c0d0e0f"
#define INIT(fields) "a0{30{" fields "}}"
#define RESP(fields) "a1{30{" fields "}}"
#define MECHS(list) "a0{" list "}"
#define OCTETS(n, data) "a" #n "{04{" data "}}"

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes_t;

/* Puts the length of SIZE bytes before these bytes. Returns the new size. */
static size_t with_length(uint8_t *data, size_t size)
{
    size_t head = size < 0x80 ? 1 : size < 0x100 ? 2 : 3, i;

    for (i = size; i > 0; i--)
        data[head + i - 1] = data[i - 1];
    if (head > 1)
        data[0] = (uint8_t)(0x7f + head);
    if (head == 3)
        data[1] = (uint8_t)(size >> 8);
    data[head - 1] = (uint8_t)size;
    return head + size;
}

/* Writes the bytes up to a closing brace or the end. Returns how many bytes were written. */
static size_t unhex_into(const char **text, uint8_t *out)
{
    size_t size = 0;

    while (**text && **text != '}') {
        unsigned v = 0;

        if (**text == '{') {
            ++*text;
            size += with_length(out + size, unhex_into(text, out + size));
            ++*text;
            continue;
        }
        sscanf(*text, "%2x", &v);
        out[size++] = (uint8_t)v;
        *text += 2;
    }
    return size;
}

/* Bytes in a block of exactly their size, so that a sanitizer sees a read beyond it. The caller
 * frees it. */
static bytes_t unhex(const char *text)
{
    uint8_t buf[1024];
    size_t size = unhex_into(&text, buf);

    return (bytes_t){ unit_copy(buf, size), size };
}

/* Text for messages; NULL is "none". */
static void is_hex(const uint8_t *data, size_t size, const char *hex, const char *what)
{
    bytes_t want = unhex(hex ? hex : "");

    is_int(data != NULL, hex != NULL, "%s is there, or not", what);
    if (data && hex)
        is_bytes(data, size, want.data, want.size, "%s", what);
    free(want.data);
}

/* ---- what is read ---- */

typedef struct token {
    const char *name, *hex;
    int init, ntlm;
    const char *mechs, *token, *mic;
} token_t;

#define LIST_NTLM "30{" OID_NTLM "}"
#define LIST_WINDOWS "30{" OID_MSKRB5 OID_KRB5 OID_NTLM OID_NEGOEX "}"
#define LIST_TWICE "30{" OID_NTLM OID_NTLM "}"
#define LONG_TOKEN MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC MIC
/* The token of Samba's client: only NTLM is offered, with its NEGOTIATE. */
#define SAMBA_TOKEN \
    "4e544c4d53535000010000001582086200000000280000000000000028000000060100000000000f"
#define SAMBA_INIT \
    "604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa22a0428" SAMBA_TOKEN

static const token_t tokens[] = {
    { "Samba's NegTokenInit", SAMBA_INIT, 1, 1, LIST_NTLM, SAMBA_TOKEN, NULL },
    { "NegTokenInit", "60{" OID_SPNEGO INIT(MECHS(LIST_NTLM) OCTETS(2, TOKEN)) "}",
      1, 1, LIST_NTLM, TOKEN, NULL },
    { "NegTokenInit without GSS-API's wrapping", INIT(MECHS(LIST_NTLM) OCTETS(2, TOKEN)),
      1, 1, LIST_NTLM, TOKEN, NULL },
    { "NTLM behind Kerberos, before NegoEx",
      "60{" OID_SPNEGO INIT(MECHS(LIST_WINDOWS) OCTETS(2, TOKEN)) "}",
      1, 3, LIST_WINDOWS, TOKEN, NULL },
    { "Kerberos alone", INIT(MECHS("30{" OID_KRB5 "}") OCTETS(2, TOKEN)),
      1, 0, "30{" OID_KRB5 "}", TOKEN, NULL },
    { "MS Kerberos alone", INIT(MECHS("30{" OID_MSKRB5 "}")), 1, 0, "30{" OID_MSKRB5 "}", NULL,
      NULL },
    { "an OID that begins like NTLM's", INIT(MECHS("30{06{2b06010401823702020a01}}")),
      1, 0, "30{06{2b06010401823702020a01}}", NULL, NULL },
    { "an OID that NTLM's begins like", INIT(MECHS("30{06{2b060104018237}}")),
      1, 0, "30{06{2b060104018237}}", NULL, NULL },
    { "NTLM twice", INIT(MECHS(LIST_TWICE)), 1, 1, LIST_TWICE, NULL, NULL },
    { "no token", INIT(MECHS(LIST_NTLM)), 1, 1, LIST_NTLM, NULL, NULL },
    { "an empty list", INIT(MECHS("3000")), 1, 0, "3000", NULL, NULL },
    { "neither list nor token", INIT(""), 1, 0, NULL, NULL, NULL },
    { "reqFlags", INIT(MECHS(LIST_NTLM) "a1{03020102}" OCTETS(2, TOKEN)), 1, 1, LIST_NTLM, TOKEN,
      NULL },
    { "unknown fields", INIT("a9{0500}" MECHS(LIST_NTLM) "a4{}" OCTETS(2, TOKEN) "a5{ff}"),
      1, 1, LIST_NTLM, TOKEN, NULL },
    { "a mechListMIC", INIT(MECHS(LIST_NTLM) OCTETS(2, TOKEN) OCTETS(3, MIC)), 1, 1, LIST_NTLM,
      TOKEN, MIC },
    { "NegTokenResp", RESP(OCTETS(2, TOKEN)), 0, 0, NULL, TOKEN, NULL },
    { "NegTokenResp with a state", RESP("a0{0a0101}" OCTETS(2, TOKEN)), 0, 0, NULL, TOKEN, NULL },
    { "NegTokenResp of everything",
      RESP("a0{0a0101}a1{" OID_NTLM "}" OCTETS(2, TOKEN) OCTETS(3, MIC)),
      0, 0, NULL, TOKEN, MIC },
    { "NegTokenResp with a MIC alone", RESP(OCTETS(3, MIC)), 0, 0, NULL, NULL, MIC },
    { "an empty NegTokenResp", RESP(""), 0, 0, NULL, NULL, NULL },
    { "lengths of two bytes", RESP(OCTETS(2, LONG_TOKEN)), 0, 0, NULL, LONG_TOKEN, NULL },
};

static void test_token(const token_t *want)
{
    bytes_t b = unhex(want->hex);
    spnego_token_t got;

    is_str(spnego_read(b.data, b.size, &got), NULL, "%s", want->name);
    is_int(got.init, want->init, "NegTokenInit");
    is_int(got.ntlm, want->ntlm, "the place of NTLM");
    is_hex(got.mech_types, got.mech_types_size, want->mechs, "list of mechanisms");
    is_hex(got.token, got.token_size, want->token, "token");
    is_hex(got.mic, got.mic_size, want->mic, "mechListMIC");
    free(b.data);
}

/* Each beginning of a token, in memory of exactly its size. */
static void test_cut(const token_t *want)
{
    bytes_t b = unhex(want->hex);
    spnego_token_t got;
    size_t size;
    int taken = 0;

    for (size = 0; size < b.size; size++) {
        uint8_t *cut = unit_copy(b.data, size);

        taken += !spnego_read(cut, size, &got);
        free(cut);
    }
    is_int(taken, 0, "no beginning of it is taken");
    free(b.data);
}

/* For any changed byte there is no crash and no result outside the token. */
static void test_changed(const token_t *want)
{
    bytes_t b = unhex(want->hex);
    spnego_token_t got;
    size_t i;
    int v, outside = 0;

    for (i = 0; i < b.size; i++) {
        uint8_t was = b.data[i];

        for (v = 0; v < 256; v++) {
            b.data[i] = (uint8_t)v;
            if (spnego_read(b.data, b.size, &got) || !got.token)
                continue;
            outside += got.token < b.data || got.token + got.token_size > b.data + b.size;
        }
        b.data[i] = was;
    }
    is_int(outside, 0, "with any byte changed, a token is inside");
    free(b.data);
}

/* Wrong lengths are written as bytes. */
static void test_refused(void)
{
    static const struct {
        const char *name, *hex;
    } rows[] = {
        { "nothing", "" }, { "a tag alone", "60" }, { "an empty wrapping", "60{}" },
        { "Kerberos's own wrapping", "60{" OID_KRB5 "0100}" },
        { "another mechanism's wrapping", "60{" OID_KRB5 INIT(MECHS(LIST_NTLM)) "}" },
        { "an OID that begins like SPNEGO's", "60{06{2b060105050201}" INIT(MECHS(LIST_NTLM)) "}" },
        { "SPNEGO's OID alone", "60{" OID_SPNEGO "}" },
        { "NegTokenResp in GSS-API's wrapping", "60{" OID_SPNEGO RESP(OCTETS(2, TOKEN)) "}" },
        { "NTLM without SPNEGO", "4e544c4d5353500001000000" },
        { "fields alone", "30{" MECHS(LIST_NTLM) "}" },
        { "a third choice", "a2{30{" MECHS(LIST_NTLM) "}}" },
        { "NegTokenInit without a sequence", "a0{}" },
        { "NegTokenResp without a sequence", "a1{}" },
        { "fields in a set", "a0{31{" MECHS(LIST_NTLM) "}}" },
        { "mechanisms in a set", INIT(MECHS("31{" OID_NTLM "}")) },
        { "mechanisms in no list", INIT(MECHS(OID_NTLM)) },
        { "no list in its field", INIT(MECHS("")) },
        { "a mechanism that is no OID", INIT(MECHS("30{" OID_NTLM "04{00}}")) },
        { "a mechanism longer than its list", INIT(MECHS("30{060b2b06010401823702020a}")) },
        { "a token that is no octet string", RESP("a2{03{00}}") },
        { "a token in no field", RESP("a2{}") },
        { "a MIC that is no octet string", RESP("a3{03{00}}") },
        { "a token longer than its field", RESP("a2{04090102030405060708}") },
        { "a field longer than its sequence", RESP("a20504020102") },
        { "a sequence longer than its choice", "a1{30050000}" }, { "half a field", RESP("a2") },
        { "an indefinite length", "a180" "30{" OCTETS(2, TOKEN) "}0000" },
        { "an indefinite length of a token", RESP("a2{2480" "04{00}" "0000}") },
        { "an indefinite length of nothing", RESP("a2{0480}") },
        { "a length of four bytes", "a184000000" "0c30{" OCTETS(2, TOKEN) "}" },
        { "a length of 127 bytes", "a1ff" "30{" OCTETS(2, TOKEN) "}" },
        { "a length that goes on behind the end", "a182" "01" },
    };
    spnego_token_t got;
    size_t i;

    for (i = 0; i < COUNT(rows); i++) {
        bytes_t b = unhex(rows[i].hex);
        const char *wrong = spnego_read(b.data, b.size, &got);

        ok(wrong != NULL, "%s is refused: %s", rows[i].name, wrong ? wrong : "");
        free(b.data);
    }
}

/* ---- what is written ---- */

typedef struct answer {
    const char *name;
    spnego_state_t state;
    int with_mech;
    const char *token, *mic, *hex;
} answer_t;

static const answer_t answers[] = {
    { "accept-completed alone", SPNEGO_ACCEPT_COMPLETED, 0, NULL, NULL, RESP("a0{0a0100}") },
    { "reject", SPNEGO_REJECT, 0, NULL, NULL, "a1073005a0030a0102" },
    { "request-mic with NTLM", SPNEGO_REQUEST_MIC, 1, NULL, NULL,
      RESP("a0{0a0103}a1{" OID_NTLM "}") },
    { "accept-incomplete with a token", SPNEGO_ACCEPT_INCOMPLETE, 1, TOKEN, NULL,
      RESP("a0{0a0101}a1{" OID_NTLM "}" OCTETS(2, TOKEN)) },
    { "accept-completed with a MIC", SPNEGO_ACCEPT_COMPLETED, 0, NULL, MIC,
      RESP("a0{0a0100}" OCTETS(3, MIC)) },
    { "all of it", SPNEGO_ACCEPT_INCOMPLETE, 1, TOKEN, MIC,
      RESP("a0{0a0101}a1{" OID_NTLM "}" OCTETS(2, TOKEN) OCTETS(3, MIC)) },
    { "an empty token", SPNEGO_ACCEPT_INCOMPLETE, 0, "", NULL, RESP("a0{0a0101}" OCTETS(2, "")) },
    { "a long token", SPNEGO_ACCEPT_INCOMPLETE, 0, LONG_TOKEN, NULL,
      RESP("a0{0a0101}" OCTETS(2, LONG_TOKEN)) },
};

static void test_answer(const answer_t *a)
{
    bytes_t token = unhex(a->token ? a->token : ""), mic = unhex(a->mic ? a->mic : ""),
            want = unhex(a->hex);
    size_t room, size = 0;

    for (room = 0; room <= want.size && !size; room++) {
        uint8_t *buf = malloc(room ? room : 1);

        size = spnego_write(a->state, a->with_mech, a->token ? token.data : NULL, token.size,
                            a->mic ? mic.data : NULL, buf, room);
        if (size)
            is_bytes(buf, size, want.data, want.size, "%s", a->name);
        free(buf);
    }
    is_int(room - 1, want.size, "in just enough room, and in no less");
    free(token.data);
    free(mic.data);
    free(want.data);
}

/* Sizes at which a length needs another byte. A token that is written is read again. */
static void test_sizes(void)
{
    static const size_t sizes[] = { 1, 100, 121, 122, 127, 128, 129, 250, 255, 256, 257, 4096,
                                    12288, 65000 };
    static uint8_t token[70000], buf[70000 + SPNEGO_OVERHEAD];
    static const uint8_t mic[16] = { 1 };
    spnego_token_t got;
    size_t i;

    for (i = 0; i < COUNT(sizes); i++) {
        size_t size, n = sizes[i], room = n + sizeof(mic) + SPNEGO_OVERHEAD;

        memset(token, (int)i + 1, n);
        size = spnego_write(SPNEGO_ACCEPT_INCOMPLETE, 1, token, n, mic, buf, room);
        ok(size > n && size <= room, "a token of %zu bytes is written", n);
        is_str(spnego_read(buf, size, &got), NULL, "and read");
        ok(got.token && got.token_size == n && memcmp(got.token, token, n) == 0, "as it was");
        ok(got.mic && got.mic_size == 16 && memcmp(got.mic, mic, 16) == 0, "with its MIC");
    }
    is_int(spnego_write(SPNEGO_ACCEPT_INCOMPLETE, 0, token, 65536, NULL, buf, sizeof(buf)), 0,
           "a token of 65536 bytes is not");
}

int main(void)
{
    size_t i;

    for (i = 0; i < COUNT(tokens); i++) {
        test_token(&tokens[i]);
        test_cut(&tokens[i]);
        test_changed(&tokens[i]);
    }
    test_refused();
    for (i = 0; i < COUNT(answers); i++)
        test_answer(&answers[i]);
    test_sizes();
    return unit_done();
}
