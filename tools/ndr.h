/* ndr: cursors that read and write NDR data (C706 14), as far as the tools
 * need it: integers, UUIDs and bytes, aligned from the start of the data.
 *
 * Errors stick: after a read beyond the end (or a failed allocation) every further
 * call is harmless, and ndr_in_ok() or ndr_out_ok() tells of the error at the end.
 */
#ifndef NDR_H
#define NDR_H

#include <stddef.h>
#include <stdint.h>

typedef struct ndr_in {
    const uint8_t *data;
    size_t len, pos;
    int little_endian;
    int failed;
} ndr_in_t;

/* Grows by malloc; zero it to start, ndr_out_free() at the end. Writes little-endian. */
typedef struct ndr_out {
    uint8_t *data;
    size_t len, cap;
    int failed;
} ndr_out_t;

/* A UUID in the order of its text: 4-2-2-8 bytes, big-endian. */
typedef struct ndr_uuid { uint8_t b[16]; } ndr_uuid_t;

/* An interface or a transfer syntax: p_syntax_id_t of C706 12.6.3.1. */
typedef struct ndr_syntax {
    ndr_uuid_t uuid;
    uint16_t major, minor;
} ndr_syntax_t;

void ndr_in_start(ndr_in_t *in, const uint8_t *data, size_t len, int little_endian);
int ndr_in_ok(const ndr_in_t *in);
size_t ndr_in_left(const ndr_in_t *in);
void ndr_in_align(ndr_in_t *in, size_t to);
uint8_t ndr_in_u8(ndr_in_t *in);
uint16_t ndr_in_u16(ndr_in_t *in);      /* aligned to 2 */
uint32_t ndr_in_u32(ndr_in_t *in);      /* aligned to 4 */
void ndr_in_uuid(ndr_in_t *in, ndr_uuid_t *uuid);
void ndr_in_syntax(ndr_in_t *in, ndr_syntax_t *syntax);
/* Returns LEN bytes where they lie, or NULL when there are fewer. */
const uint8_t *ndr_in_bytes(ndr_in_t *in, size_t len);

int ndr_out_ok(const ndr_out_t *out);
void ndr_out_free(ndr_out_t *out);
/* Makes room for LEN more bytes, which are not zeroed, and moves on behind them. NULL: out of
 * memory. */
uint8_t *ndr_out_room(ndr_out_t *out, size_t len);
void ndr_out_align(ndr_out_t *out, size_t to);
void ndr_out_u8(ndr_out_t *out, uint8_t value);
void ndr_out_u16(ndr_out_t *out, uint16_t value);
void ndr_out_u32(ndr_out_t *out, uint32_t value);
void ndr_out_uuid(ndr_out_t *out, const ndr_uuid_t *uuid);
void ndr_out_syntax(ndr_out_t *out, const ndr_syntax_t *syntax);
void ndr_out_bytes(ndr_out_t *out, const void *data, size_t len);
/* Overwrites two bytes at AT that have been written before. */
void ndr_out_patch_u16(ndr_out_t *out, size_t at, uint16_t value);

int ndr_uuid_equal(const ndr_uuid_t *a, const ndr_uuid_t *b);
/* 36 characters and a NUL. */
char *ndr_uuid_text(const ndr_uuid_t *uuid, char text[37]);

#endif
