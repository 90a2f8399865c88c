/* dcerpc_fuzz: a stream cut into any pieces gives the same PDUs, and the same end, as the stream
 * in one piece. The first four bytes of an input say how to cut; the rest is the stream.
 */
#include "wire/dcerpc.h"

#include "fuzz.h"

#define PDUS_MAX 256

/* What one way of cutting gave. */
typedef struct result {
    size_t start[PDUS_MAX];     /* of each PDU, in the stream */
    dcerpc_header_t header[PDUS_MAX];
    int count;
    const char *error;
    size_t held, missing;
} result_t;

/* What the framer says of itself, SINCE bytes after the end of the last PDU. */
static void check_held(const dcerpc_framer_t *f, const uint8_t *stream, size_t since)
{
    size_t held = dcerpc_framer_held(f), missing = dcerpc_framer_missing(f), whole;
    dcerpc_header_t header;

    MUST(held == since, "%zu held of %zu", held, since);
    MUST(held ? missing > 0 : missing == 0, "%zu held, %zu missing", held, missing);
    MUST(held || !f->partial, "memory while nothing is held");
    whole = DCERPC_HEADER_SIZE;
    if (held >= whole) {
        dcerpc_header_parse(stream, &header);
        whole = header.frag_length;
    }
    MUST(!held || held + missing == whole, "%zu + %zu of %zu", held, missing, whole);
}

/* Not even a sound PDU is taken once the stream has gone wrong. */
static void check_final(dcerpc_framer_t *f)
{
    static const uint8_t sound[DCERPC_HEADER_SIZE] = { 5, 0, 0, 3, 0x10, 0, 0, 0,
                                                       DCERPC_HEADER_SIZE };
    const uint8_t *data = sound, *pdu;
    const char *error = f->error;
    size_t len = sizeof(sound);
    dcerpc_header_t header;

    MUST(error && *error, "an error without a word of what is wrong");
    MUST(dcerpc_framer_next(f, &data, &len, &pdu, &header) == DCERPC_FRAME_ERROR,
         "goes on after: %s", error);
    MUST(f->error == error, "%s, then %s", error, f->error ? f->error : "none");
    MUST(data == sound && len == sizeof(sound), "%zu bytes taken after an error",
         sizeof(sound) - len);
}

/* Feeds one piece; 0 once the stream has turned out to be none. */
static int feed(dcerpc_framer_t *f, result_t *r, const uint8_t *stream, size_t from, size_t len,
                size_t *done)
{
    uint8_t *copy = fuzz_copy(stream + from, len);
    const uint8_t *data = copy, *pdu;
    dcerpc_header_t header;
    dcerpc_frame_t what;

    while ((what = dcerpc_framer_next(f, &data, &len, &pdu, &header)) == DCERPC_FRAME_PDU) {
        MUST(header.frag_length >= DCERPC_HEADER_SIZE, "%u", header.frag_length);
        MUST(memcmp(pdu, stream + *done, header.frag_length) == 0, "PDU %d differs", r->count);
        MUST(*done + header.frag_length == from + (size_t)(data - copy), "PDU %d ends elsewhere",
             r->count);
        MUST(dcerpc_framer_held(f) == 0, "a PDU given out is held");
        if (r->count < PDUS_MAX) {
            r->start[r->count] = *done;
            r->header[r->count++] = header;
        }
        *done += header.frag_length;
    }
    if (what == DCERPC_FRAME_MORE) {
        MUST(len == 0, "%zu bytes not taken", len);
        check_held(f, stream + *done, from + (size_t)(data - copy) - *done);
    }
    r->error = f->error;
    if (what == DCERPC_FRAME_ERROR)
        check_final(f);
    free(copy);
    return what == DCERPC_FRAME_MORE;
}

/* CUT 0: in one piece; 1: as much as the framer says it lacks; else pieces of any length. */
static void run(result_t *r, const uint8_t *stream, size_t size, uint32_t cut)
{
    dcerpc_framer_t f = { NULL, 0, 0, NULL };
    size_t from = 0, done = 0, len;

    memset(r, 0, sizeof(*r));
    for (; from < size; from += len) {
        if (cut == 0)
            len = size;
        else if (cut == 1)
            len = dcerpc_framer_held(&f) ? dcerpc_framer_missing(&f) : DCERPC_HEADER_SIZE;
        else {
            cut = cut * 1664525u + 1013904223u;
            len = (cut >> 24) & 3 ? 1 + ((cut >> 16) & 15) : 1 + ((cut >> 12) & 1023);
        }
        if (len > size - from)
            len = size - from;
        if (!feed(&f, r, stream, from, len, &done))
            break;
    }
    r->held = f.error ? 0 : dcerpc_framer_held(&f);
    r->missing = f.error ? 0 : dcerpc_framer_missing(&f);
    dcerpc_framer_reset(&f);
    MUST(!f.partial && !f.have, "memory after a reset");
}

static void compare(const result_t *a, const result_t *b)
{
    int i;

    MUST(a->count == b->count, "%d PDUs, %d in pieces", a->count, b->count);
    for (i = 0; i < a->count; i++)
        MUST(a->start[i] == b->start[i] && a->header[i].frag_length == b->header[i].frag_length
                 && a->header[i].ptype == b->header[i].ptype
                 && a->header[i].call_id == b->header[i].call_id
                 && a->header[i].auth_length == b->header[i].auth_length,
             "PDU %d differs in pieces", i);
    MUST(a->error == b->error, "%s, in pieces %s", a->error ? a->error : "no error",
         b->error ? b->error : "no error");
    MUST(a->held == b->held && a->missing == b->missing, "%zu held, %zu in pieces", a->held,
         b->held);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t cut;
    result_t *whole, *pieces;

    if (size < 5)
        return 0;
    cut = data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
    whole = malloc(sizeof(*whole));
    pieces = malloc(sizeof(*pieces));
    run(whole, data + 4, size - 4, 0);
    run(pieces, data + 4, size - 4, 1);
    compare(whole, pieces);
    run(pieces, data + 4, size - 4, cut | 2);
    compare(whole, pieces);
    free(whole);
    free(pieces);
    return 0;
}
