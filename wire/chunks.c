#include "wire/chunks.h"

#define SKIPPED_MAX 16384   /* bytes of an extension, or of trailers */
#define DIGITS_MAX  15

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, FIELD, FIELD_LF, LAST_LF };

static int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 32;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Goes on to state TO if BYTE is WANTED. */
static void expect(rpc_chunks_t *c, uint8_t byte, uint8_t wanted, uint8_t to)
{
    c->state = to;
    if (byte != wanted)
        c->error = "a chunk has no end";
}

static void take_size(rpc_chunks_t *c, uint8_t byte)
{
    int value = hex_value(byte);

    if (value >= 0 && c->digits < DIGITS_MAX) {
        c->left = c->left * 16 + (uint64_t)value;
        c->digits++;
    }
    else if (!c->digits || (byte != '\r' && byte != ';' && byte != ' ' && byte != '\t'))
        c->error = "a chunk has no size";
    else
        c->state = byte == '\r' ? SIZE_LF : EXTENSION;
}

/* A byte that is no data. */
static void take(rpc_chunks_t *c, uint8_t byte)
{
    if (++c->skipped > SKIPPED_MAX)
        c->error = "what stands between chunks is too long";
    switch (c->state) {
    case SIZE:
        take_size(c, byte);
        break;
    case EXTENSION:
        if (byte == '\r' || byte == '\n')
            expect(c, byte, '\r', SIZE_LF);
        break;
    case SIZE_LF:
        c->digits = 0;
        expect(c, byte, '\n', c->left ? DATA : TRAILER);
        break;
    case DATA_CR:
        expect(c, byte, '\r', DATA_LF);
        break;
    case DATA_LF:
        expect(c, byte, '\n', SIZE);
        break;
    case TRAILER:
        c->state = byte == '\r' ? LAST_LF : FIELD;
        if (byte == '\n')
            c->error = "a trailer has no end";
        break;
    case FIELD:
        if (byte == '\r' || byte == '\n')
            expect(c, byte, '\r', FIELD_LF);
        break;
    case FIELD_LF:
        expect(c, byte, '\n', TRAILER);
        break;
    case LAST_LF:
        expect(c, byte, '\n', LAST_LF);
        c->done = !c->error;
    }
}

size_t rpc_chunks_next(rpc_chunks_t *c, const uint8_t **data, size_t *len, const uint8_t **run)
{
    size_t n;

    for (; *len && c->state != DATA && !c->done && !c->error; (*data)++, (*len)--)
        take(c, **data);
    if (!*len || c->state != DATA || c->error)
        return 0;
    n = *len < c->left ? *len : (size_t)c->left;
    *run = *data;
    *data += n;
    *len -= n;
    c->left -= n;
    c->skipped = 0;
    if (!c->left)
        c->state = DATA_CR;
    return n;
}
