/* dcerpc: the common header of connection-oriented DCE/RPC PDUs (C706 12.6.3.1)
 * and the cutting of a byte stream into PDUs.
 *
 * Bytes only: no sockets, no httpd. Memory by malloc, and only while a PDU is
 * incomplete, so that an idle stream holds none.
 */
#ifndef DCERPC_H
#define DCERPC_H

#include <stddef.h>
#include <stdint.h>

#define DCERPC_HEADER_SIZE 16
#define DCERPC_MAX_PDU     65535  /* frag_length is 16 bits */

/* The PTYPEs that the code looks at */
#define DCERPC_REQUEST     0
#define DCERPC_RESPONSE    2
#define DCERPC_FAULT       3
#define DCERPC_BIND        11
#define DCERPC_BIND_ACK    12
#define DCERPC_BIND_NAK    13
#define DCERPC_ALTER       14
#define DCERPC_ALTER_RESP  15
#define DCERPC_AUTH3       16
#define DCERPC_RTS         20

#define DCERPC_WHOLE       3    /* flags: first and last fragment (C706 12.6.3.1) */

typedef struct dcerpc_header {
    uint8_t version, version_minor, ptype, flags;
    int little_endian;
    uint16_t frag_length, auth_length;
    uint32_t call_id;
} dcerpc_header_t;

/* Decodes the header of DATA (at least DCERPC_HEADER_SIZE bytes). Returns NULL
 * or what is wrong: version not 5.0/5.1, unknown PTYPE (over 20), an impossible
 * data representation, frag_length below the header's size, auth_length beyond it. */
const char *dcerpc_header_parse(const uint8_t *data, dcerpc_header_t *header);

/* Writes a header of DCERPC_HEADER_SIZE bytes to AT: version 5.0, little-endian, no
 * authentication. */
void dcerpc_header_write(uint8_t *at, uint8_t ptype, uint8_t flags, uint16_t frag_length,
                         uint32_t call_id);

/* The PTYPE of an undecoded header. */
static inline uint8_t dcerpc_ptype(const uint8_t *data)
{
    return data[2];
}

/* The largest fragment that its sender will send, as a bind or its answer announces it (C706
 * 12.6.4.3); 0 for all other PDUs. PDU is a whole one, of SIZE bytes. */
uint32_t dcerpc_max_xmit_frag(const uint8_t *pdu, uint32_t size);

/* "bind_ack", "RTS", ...; "PTYPE ?" for an unknown one. */
const char *dcerpc_ptype_name(uint8_t ptype);

/* Cuts a stream into PDUs. Zero it to start; dcerpc_framer_reset() frees. */
typedef struct dcerpc_framer {
    uint8_t *partial;   /* a PDU begun, malloc'ed */
    size_t have, cap;   /* bytes in it, bytes allocated */
    const char *error;  /* why the bytes are not a stream of PDUs; NULL: they are, so far */
} dcerpc_framer_t;

typedef enum { DCERPC_FRAME_MORE, DCERPC_FRAME_PDU, DCERPC_FRAME_ERROR } dcerpc_frame_t;

/* Consumes bytes from *DATA and *LEN (both move forward). DCERPC_FRAME_PDU: *PDU and *HEADER
 * describe one whole PDU. They are valid until the next call on this framer and as long as the
 * caller's buffer is, because a PDU that lies whole in the caller's data is not copied.
 * DCERPC_FRAME_MORE: all data has been consumed and kept. DCERPC_FRAME_ERROR: f->error says why
 * (also "out of memory"); all later calls fail, too. */
dcerpc_frame_t dcerpc_framer_next(dcerpc_framer_t *f, const uint8_t **data, size_t *len,
                                  const uint8_t **pdu, dcerpc_header_t *header);

/* The bytes of an incomplete PDU that are held, and the number of bytes missing from it (0: nothing
 * is held; while the length is not known yet, the bytes missing from the header). */
size_t dcerpc_framer_held(const dcerpc_framer_t *f);
size_t dcerpc_framer_missing(const dcerpc_framer_t *f);

void dcerpc_framer_reset(dcerpc_framer_t *f);

#endif
