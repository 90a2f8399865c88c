/* rpc_farewell: what our endpoint says last on each leg of our own proxies before it closes it: the
 * reason, and why in words, so that the proxy, which knows the client, can tell all of it in one
 * line. A leg that ends without it means that the endpoint process has died. Version 1 has none,
 * because what the endpoint says there goes to the client.
 *
 * Wire form: a connection-oriented PDU of type reject, which no server sends on a connection (C706
 * 12.6.3), and behind its header "RPXE", the reason's token, NUL, the words, NUL. Only the
 * endpoint may say it: it never passes on one that its target has said. Bytes only.
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

/* Decodes a whole PDU. The words, within PDU; NULL: it is none. *REASON is none for a token that
 * this version does not know. */
const char *rpc_farewell_read(const uint8_t *pdu, size_t len, rpc_reason_t *reason);

#endif
