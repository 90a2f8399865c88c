/* dcerpc_test: streams of PDUs that are cut at every place, and streams that are not PDUs. */
#include "wire/dcerpc.h"

#include "unit.h"

#define BIG 1
#define LITTLE 0

/* Writes a PDU of SIZE bytes whose content tells where it is; returns SIZE. */
static size_t make_pdu(uint8_t *to, int big, uint8_t ptype, size_t size, uint8_t call)
{
    size_t i;

    memset(to, 0, DCERPC_HEADER_SIZE);
    to[0] = 5;
    to[2] = ptype;
    to[3] = 3;
    to[4] = big ? 0x00 : 0x10;
    to[big ? 8 : 9] = (uint8_t)(size >> 8);
    to[big ? 9 : 8] = (uint8_t)size;
    to[big ? 15 : 12] = call;
    for (i = DCERPC_HEADER_SIZE; i < size; i++)
        to[i] = (uint8_t)(call * 31 + i);
    return size;
}

/* A stream of different PDUs, and where each begins. */
typedef struct stream {
    uint8_t data[2048];
    size_t len;
    size_t start[16];
    int count;
} stream_t;

static void make_stream(stream_t *s)
{
    static const struct { int big; uint8_t ptype; size_t size; } parts[] = {
        { LITTLE, DCERPC_RTS, 20 }, { BIG, DCERPC_BIND, 72 }, { LITTLE, DCERPC_REQUEST, 16 },
        { LITTLE, DCERPC_REQUEST, 17 }, { BIG, DCERPC_REQUEST, 260 }, { LITTLE, DCERPC_RTS, 56 },
        { LITTLE, DCERPC_RESPONSE, 511 }, { BIG, DCERPC_FAULT, 16 }, { LITTLE, DCERPC_AUTH3, 33 },
    };
    size_t i;

    memset(s, 0, sizeof(*s));
    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        s->start[s->count++] = s->len;
        s->len += make_pdu(s->data + s->len, parts[i].big, parts[i].ptype, parts[i].size,
                           (uint8_t)(i + 1));
    }
    s->start[s->count] = s->len;
}

/* Feeds one piece. Counts PDUs that are not the next PDU of the stream, and wrong answers of the
 * framer about itself. */
static int feed(dcerpc_framer_t *f, const stream_t *s, size_t from, size_t len, int *next)
{
    uint8_t *copy = unit_copy(s->data + from, len);
    const uint8_t *data = copy, *pdu;
    dcerpc_header_t h;
    dcerpc_frame_t what;
    size_t missing;
    int wrong = 0;

    while ((what = dcerpc_framer_next(f, &data, &len, &pdu, &h)) == DCERPC_FRAME_PDU) {
        size_t start = s->start[*next], size = s->start[*next + 1] - start;

        if (*next >= s->count || h.frag_length != size || h.call_id != (uint32_t)*next + 1
            || memcmp(pdu, s->data + start, size) != 0 || dcerpc_framer_held(f) != 0) {
            wrong++;
            break;
        }
        ++*next;
    }
    from = (size_t)(data - copy) + from - s->start[*next];
    missing = from == 0 ? 0 : from < DCERPC_HEADER_SIZE ? DCERPC_HEADER_SIZE - from
              : s->start[*next + 1] - s->start[*next] - from;
    wrong += what != DCERPC_FRAME_MORE || len != 0 || dcerpc_framer_held(f) != from
             || dcerpc_framer_missing(f) != missing || (from == 0 && f->partial != NULL);
    free(copy);
    return wrong;
}

static void test_split_once(const stream_t *s)
{
    int wrong = 0;
    size_t cut;

    for (cut = 0; cut <= s->len; cut++) {
        dcerpc_framer_t f = { 0 };
        int next = 0;

        wrong += feed(&f, s, 0, cut, &next);
        wrong += feed(&f, s, cut, s->len - cut, &next);
        wrong += next != s->count;
        dcerpc_framer_reset(&f);
    }
    is_int(wrong, 0, "%d PDUs of %zu bytes, cut in two at every byte", s->count, s->len);
}

static void test_pieces(const stream_t *s)
{
    int wrong = 0;
    size_t size, at;

    for (size = 1; size <= 300; size++) {
        dcerpc_framer_t f = { 0 };
        int next = 0;

        for (at = 0; at < s->len; at += size)
            wrong += feed(&f, s, at, s->len - at < size ? s->len - at : size, &next);
        wrong += next != s->count;
        dcerpc_framer_reset(&f);
    }
    is_int(wrong, 0, "in pieces of 1 to 300 bytes");
}

static void test_no_copy(const stream_t *s)
{
    dcerpc_framer_t f = { 0 };
    const uint8_t *data = s->data, *pdu;
    size_t len = s->len;
    dcerpc_header_t h;
    int seen = 0, copied = 0;

    while (seen < s->count + 1
           && dcerpc_framer_next(&f, &data, &len, &pdu, &h) == DCERPC_FRAME_PDU) {
        copied += pdu != s->data + s->start[seen] || f.partial != NULL;
        seen++;
    }
    is_int(seen, s->count, "many PDUs in one buffer");
    is_int(copied, 0, "none of them is copied");
    data = NULL;
    is_int(dcerpc_framer_next(&f, &data, &len, &pdu, &h), DCERPC_FRAME_MORE, "no data: more");
    dcerpc_framer_reset(&f);
}

static void test_largest(int big)
{
    static const size_t cuts[] = { 1, 9, 10, 15, 16, 17, 4096, 32768, 65534 };
    uint8_t *whole = malloc(DCERPC_MAX_PDU + 20);
    const uint8_t *data, *pdu;
    dcerpc_header_t h;
    size_t i, len;
    int wrong = 0;

    make_pdu(whole, big, DCERPC_REQUEST, DCERPC_MAX_PDU, 7);
    make_pdu(whole + DCERPC_MAX_PDU, LITTLE, DCERPC_RTS, 20, 8);
    for (i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        dcerpc_framer_t f = { 0 };

        data = whole;
        len = cuts[i];
        wrong += dcerpc_framer_next(&f, &data, &len, &pdu, &h) != DCERPC_FRAME_MORE;
        len = DCERPC_MAX_PDU + 20 - cuts[i];
        wrong += dcerpc_framer_next(&f, &data, &len, &pdu, &h) != DCERPC_FRAME_PDU
                 || h.frag_length != DCERPC_MAX_PDU || h.call_id != 7 || len != 20
                 || memcmp(pdu, whole, DCERPC_MAX_PDU) != 0;
        wrong += dcerpc_framer_next(&f, &data, &len, &pdu, &h) != DCERPC_FRAME_PDU
                 || h.ptype != DCERPC_RTS || pdu != whole + DCERPC_MAX_PDU || f.partial != NULL;
        dcerpc_framer_reset(&f);
    }
    is_int(wrong, 0, "a %s-endian PDU of 65,535 bytes and one behind it", big ? "big" : "little");
    free(whole);
}

static void test_held_memory(void)
{
    uint8_t pdu[100];
    const uint8_t *data = pdu, *out;
    size_t len = 40;
    dcerpc_framer_t f = { 0 };
    dcerpc_header_t h;

    make_pdu(pdu, LITTLE, DCERPC_REQUEST, 100, 1);
    dcerpc_framer_next(&f, &data, &len, &out, &h);
    is_int((long long)dcerpc_framer_held(&f), 40, "40 bytes held");
    is_int((long long)dcerpc_framer_missing(&f), 60, "60 bytes missing");
    is_int((long long)f.cap, 100, "no more memory than the PDU needs");
    len = 60;
    dcerpc_framer_next(&f, &data, &len, &out, &h);
    is_bytes(out, h.frag_length, pdu, 100, "joined");
    is_int(dcerpc_framer_next(&f, &data, &len, &out, &h), DCERPC_FRAME_MORE, "then more");
    ok(f.partial == NULL, "an idle stream holds no memory");
    dcerpc_framer_reset(&f);
}

/* ---- what is no PDU ---- */

/* The bytes come at once, and one by one. Each time the framer reports an error, with a reason, and
 * stays in error. */
static void expect_error(const uint8_t *bytes, size_t size, const char *name)
{
    dcerpc_framer_t f = { 0 };
    const uint8_t *data = bytes, *pdu;
    size_t len = size, i;
    dcerpc_header_t h;
    dcerpc_frame_t what = DCERPC_FRAME_MORE;

    is_int(dcerpc_framer_next(&f, &data, &len, &pdu, &h), DCERPC_FRAME_ERROR, "%s", name);
    ok(f.error != NULL, "%s: with a reason", name);
    is_int(dcerpc_framer_next(&f, &data, &len, &pdu, &h), DCERPC_FRAME_ERROR, "%s: final", name);
    dcerpc_framer_reset(&f);
    for (i = 0; i < size && what == DCERPC_FRAME_MORE; i++) {
        data = bytes + i;
        len = 1;
        what = dcerpc_framer_next(&f, &data, &len, &pdu, &h);
    }
    is_int(what, DCERPC_FRAME_ERROR, "%s, byte by byte", name);
    dcerpc_framer_reset(&f);
    ok(f.error == NULL && f.partial == NULL, "%s: as new after a reset", name);
}

static void expect_bad(size_t offset, uint8_t value, const char *name)
{
    uint8_t pdu[32];

    make_pdu(pdu, LITTLE, DCERPC_REQUEST, sizeof(pdu), 1);
    pdu[offset] = value;
    expect_error(pdu, sizeof(pdu), name);
}

static void test_errors(void)
{
    uint8_t pdu[32];

    expect_bad(0, 4, "version 4");
    expect_bad(1, 2, "version 5.2");
    expect_bad(2, 21, "PTYPE 21");
    expect_bad(4, 0x20, "integers neither big nor little");
    expect_bad(4, 0x12, "a third character set");
    expect_bad(5, 4, "a fifth floating-point format");
    expect_bad(8, 15, "frag_length 15");
    expect_bad(8, 0, "frag_length 0");
    expect_bad(10, 17, "auth_length beyond the end");
    expect_bad(11, 0xff, "auth_length of 65,280 bytes");
    make_pdu(pdu, BIG, DCERPC_REQUEST, 15, 1);
    expect_error(pdu, sizeof(pdu), "big-endian frag_length 15");
    expect_error((const uint8_t *)"ncacn_http/1.0ncacn_http/1.0", 28, "a banner");
    expect_error((const uint8_t *)"HTTP/1.1 200 Success\r\n\r\n", 24, "HTTP");
    memset(pdu, 0, sizeof(pdu));
    expect_error(pdu, sizeof(pdu), "zeros");
    memset(pdu, 0xff, sizeof(pdu));
    expect_error(pdu, sizeof(pdu), "ones");
}

static void test_error_behind(void)
{
    uint8_t bytes[72];
    const uint8_t *data = bytes, *pdu;
    size_t len = sizeof(bytes);
    dcerpc_framer_t f = { 0 };
    dcerpc_header_t h;

    memset(bytes, 'x', sizeof(bytes));
    make_pdu(bytes, LITTLE, DCERPC_RTS, 20, 1);
    make_pdu(bytes + 20, BIG, DCERPC_BIND, 36, 2);
    is_int(dcerpc_framer_next(&f, &data, &len, &pdu, &h), DCERPC_FRAME_PDU, "a PDU,");
    is_int(dcerpc_framer_next(&f, &data, &len, &pdu, &h), DCERPC_FRAME_PDU, "another,");
    is_int(dcerpc_framer_next(&f, &data, &len, &pdu, &h), DCERPC_FRAME_ERROR, "then garbage");
    dcerpc_framer_reset(&f);
}

/* Random bytes behind a plausible start: never a crash, never a loop without progress. */
static void test_random(void)
{
    unsigned seed = 593, round;
    int wrong = 0, pdus = 0;

    for (round = 0; round < 20000; round++) {
        size_t len = unit_random(&seed) % 200, i;
        uint8_t *bytes = malloc(len + 1);
        const uint8_t *data = bytes, *pdu;
        dcerpc_framer_t f = { 0 };
        dcerpc_header_t h;

        for (i = 0; i < len; i++)
            bytes[i] = (uint8_t)(unit_random(&seed) % 24);
        if (len > 8) {
            bytes[0] = 5;
            bytes[1] = bytes[4] = bytes[5] = 0;
            bytes[8] = 0;
        }
        while (len) {
            size_t before = len, part = 1 + unit_random(&seed) % len, rest = len - part;
            dcerpc_frame_t what = dcerpc_framer_next(&f, &data, &part, &pdu, &h);

            len = part + rest;
            pdus += what == DCERPC_FRAME_PDU;
            if (what == DCERPC_FRAME_ERROR)
                break;
            wrong += what == DCERPC_FRAME_MORE && part != 0;
            if (len == before) {
                wrong++;
                break;
            }
        }
        dcerpc_framer_reset(&f);
        free(bytes);
    }
    is_int(wrong, 0, "random bytes (%d PDUs among them) are taken or refused", pdus);
}

static void test_header(void)
{
    uint8_t bytes[DCERPC_HEADER_SIZE] = { 5, 1, 12, 3, 0x10, 0, 0, 0, 0x34, 0x12, 0x08, 0x01,
                                          0x78, 0x56, 0x34, 0x12 };
    dcerpc_header_t h;

    is_str(dcerpc_header_parse(bytes, &h), NULL, "version 5.1 is taken");
    ok(h.little_endian && h.frag_length == 0x1234 && h.auth_length == 0x0108
       && h.call_id == 0x12345678 && h.ptype == DCERPC_BIND_ACK && h.flags == 3
       && h.version == 5 && h.version_minor == 1, "little-endian fields");
    bytes[4] = 0x01;
    is_str(dcerpc_header_parse(bytes, &h), NULL, "big-endian and EBCDIC is taken");
    ok(!h.little_endian && h.frag_length == 0x3412 && h.auth_length == 0x0801
       && h.call_id == 0x78563412, "big-endian fields");
    is_str(dcerpc_ptype_name(DCERPC_BIND_ACK), "bind_ack", "name of a PTYPE");
    is_str(dcerpc_ptype_name(DCERPC_RTS), "RTS", "name of the last");
    is_str(dcerpc_ptype_name(21), "PTYPE ?", "no name");
    is_str(dcerpc_ptype_name(255), "PTYPE ?", "no name either");
}

int main(void)
{
    stream_t s;

    make_stream(&s);
    test_header();
    test_split_once(&s);
    test_pieces(&s);
    test_no_copy(&s);
    test_largest(LITTLE);
    test_largest(BIG);
    test_held_memory();
    test_errors();
    test_error_behind();
    test_random();
    return unit_done();
}
