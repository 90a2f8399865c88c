/* wire/farewell.c: reasons are sent as tokens and not as numbers, because after a restart the
 * endpoint may be of an older version of the module.
 */
#include "wire/farewell.h"

#include <stdio.h>
#include <string.h>

#include "wire/dcerpc.h"

#define MAGIC "RPXE"
#define MAGIC_SIZE 4

size_t rpc_farewell_write(rpc_reason_t reason, const char *why, uint8_t buf[RPC_FAREWELL_MAX])
{
    char *text = (char *)buf + DCERPC_HEADER_SIZE;
    size_t room = RPC_FAREWELL_MAX - DCERPC_HEADER_SIZE, size;

    size = (size_t)snprintf(text, room, MAGIC "%s", rpc_reason_info(reason)->token) + 1;
    snprintf(text + size, room - size, "%s", why);
    size += DCERPC_HEADER_SIZE + strlen(text + size) + 1;
    dcerpc_header_write(buf, RPC_FAREWELL_PTYPE, DCERPC_WHOLE, (uint16_t)size, 0);
    return size;
}

const char *rpc_farewell_read(const uint8_t *pdu, size_t len, rpc_reason_t *reason)
{
    const char *token = (const char *)pdu + DCERPC_HEADER_SIZE + MAGIC_SIZE, *why;

    if (len < DCERPC_HEADER_SIZE + MAGIC_SIZE + 2 || len > RPC_FAREWELL_MAX
        || pdu[2] != RPC_FAREWELL_PTYPE || memcmp(pdu + DCERPC_HEADER_SIZE, MAGIC, MAGIC_SIZE) != 0
        || pdu[len - 1] != 0)
        return NULL;
    why = token + strlen(token) + 1;
    if (why >= (const char *)pdu + len)
        return NULL;
    *reason = rpc_reason_named(token);
    return why;
}
