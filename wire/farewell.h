/* rpc_farewell: what our endpoint says last on a leg of our own proxies when it cannot serve it: the
 * reason, and why in words, so that the proxy, which knows the client, can tell all of it in one line.
 *
 * Wire form: a connection-oriented PDU of type reject, which no server sends on a connection (C706
 * 12.6.3), and behind its header "RPXE", the reason's token, NUL, the words, NUL. Bytes only.
 */
#ifndef RPC_FAREWELL_H
#define RPC_FAREWELL_H

#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

#define RPC_FAREWELL_MAX 1024
#define RPC_FAREWELL_PTYPE 6

/* Encodes into BUF; words that are too long are cut. The size. */
size_t rpc_farewell_write(rpc_reason_t reason, const char *why, uint8_t buf[RPC_FAREWELL_MAX]);

/* Decodes a whole PDU. The words, within PDU; NULL: it is none. *REASON is none for a token that this
 * version does not know. */
const char *rpc_farewell_read(const uint8_t *pdu, size_t len, rpc_reason_t *reason);

#endif
