/* rpc_farewell: the last PDU that our endpoint sends on each leg of our own proxies before it
 * closes the leg. It has the reason and a text, so that the proxy, which knows the client, can
 * write all of it into one line of the log. A leg that ends without a farewell means that the
 * endpoint process has died. Version 1 has no farewell, because there the client gets whatever the
 * endpoint sends.
 *
 * Wire form: a connection-oriented PDU of type reject, which no server sends on a connection (C706
 * 12.6.3), and behind its header "RPXE", the token of the reason, NUL, the text, NUL. Only the
 * endpoint may send it: the endpoint never passes on a farewell that its target has sent. Bytes
 * only.
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
