/* rpc_interfaces: the identifiers of RPC interfaces in PDUs and in the configuration,
 * and the names of well-known interfaces. Bytes and text only; no state, any thread.
 */
#ifndef RPC_INTERFACES_H
#define RPC_INTERFACES_H

#include <stddef.h>
#include <stdint.h>

#define RPC_SYNTAX_SIZE         20  /* p_syntax_id_t on the wire (C706 12.6.3.1) */
#define RPC_UUID_TEXT           36  /* characters of a UUID */
#define RPC_INTERFACE_TEXT_MAX  96  /* bytes for rpc_interface_text(), with the NUL */

/* An abstract syntax: UUID (bytes in the order they are written as text) and version. */
typedef struct rpc_interface {
    uint8_t uuid[16];
    uint16_t major, minor;
} rpc_interface_t;

typedef struct rpc_interface_info {
    const char *name;       /* "emsmdb": lower case, no blank, no '@' */
    const char *uuid;       /* in lower case */
    uint16_t major, minor;  /* the version in use, for people: a name means every version */
    const char *what;       /* for people, one line */
} rpc_interface_info_t;

/* By name, without case; NULL if unknown. */
const rpc_interface_info_t *rpc_interface_by_name(const char *at, size_t len);
/* By UUID, whatever the version; NULL if it has no name. */
const rpc_interface_info_t *rpc_interface_by_uuid(const uint8_t uuid[16]);

/* "a4f1db00-ca47-1067-b31f-00dd010662da", exactly; 1 if it is one. */
int rpc_uuid_parse(const char *at, size_t len, uint8_t uuid[16]);

/* A p_syntax_id_t of RPC_SYNTAX_SIZE bytes: the version's low half is its major part. */
void rpc_interface_read(const uint8_t *data, int little_endian, rpc_interface_t *interface);
void rpc_interface_write(const rpc_interface_t *interface, int little_endian, uint8_t *data);

/* "emsmdb (a4f1db00-ca47-1067-b31f-00dd010662da@0.81)", without a name
 * "00000000-0000-0000-0000-000000000000@1.0". Returns BUF. */
const char *rpc_interface_text(const rpc_interface_t *interface, char buf[RPC_INTERFACE_TEXT_MAX]);

#endif
