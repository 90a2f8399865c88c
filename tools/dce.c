/* dce.c: the syntaxes that the tools speak, and texts for people. */
#include "dce.h"

#include "firewall/interfaces.h"
#include "wire/dcerpc.h"

const ndr_syntax_t dce_syntax_ndr = {
    {{ 0x8a, 0x88, 0x5d, 0x04, 0x1c, 0xeb, 0x11, 0xc9,
       0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60 }}, 2, 0
};
const ndr_syntax_t dce_syntax_mgmt = {
    {{ 0xaf, 0xa8, 0xbd, 0x80, 0x7d, 0x8a, 0x11, 0xc9,
       0xbe, 0xf4, 0x08, 0x00, 0x2b, 0x10, 0x29, 0x89 }}, 1, 0
};
const ndr_syntax_t dce_syntax_echo = {
    {{ 0x60, 0xa1, 0x5e, 0xc5, 0x4d, 0xe8, 0x11, 0xd7,
       0xa6, 0x37, 0x00, 0x50, 0x56, 0xa2, 0x01, 0x82 }}, 1, 0
};

static const struct { uint32_t status; const char *text; } statuses[] = {
    { 0x00000005, "access denied" },
    { 0x000006aa, "the endpoint (port) in the request is not valid" },
    { 0x000006ab, "the network address in the request is not valid" },
    { 0x000006b5, "the interface is unknown" },
    { 0x000006b9, "the proxy or server is out of resources" },
    { 0x000006ba, "the RPC server is unavailable: the proxy may not reach this server and port, "
                  "cannot resolve it, or cannot connect to it" },
    { 0x000006bb, "the server is too busy" },
    { 0x000006be, "the remote procedure call failed" },
    { 0x000006bf, "the remote procedure call failed and was not executed" },
    { 0x000006c0, "RPC protocol error: a peer received what it did not expect" },
    { 0x000006d1, "the procedure number is out of range" },
    { 0x000006d3, "the authentication service is unknown" },
    { 0x000006f7, "the server could not decode the arguments" },
    { 0x0000071c, "communication with the server failed" },
    { 0x1c000006, "invalid tag" },
    { 0x1c000007, "invalid bound" },
    { 0x1c00001b, "the server has no memory left for this call" },
    { 0x1c010002, "the operation number is out of range" },
    { 0x1c010003, "unknown interface" },
    { 0x1c010009, "the server shuts down or is too busy" },
    { 0x1c01000b, "protocol error" },
};

int dce_syntax_serves(const ndr_syntax_t *offered, const ndr_syntax_t *asked)
{
    return ndr_uuid_equal(&offered->uuid, &asked->uuid) && offered->major == asked->major
        && offered->minor >= asked->minor;
}

void dce_begin(ndr_out_t *out, uint8_t ptype, uint8_t flags, uint32_t call_id)
{
    uint8_t *at = ndr_out_room(out, 16);

    if (at) {
        dcerpc_header_write(at, ptype, flags, 0, call_id);
    }
}

void dce_finish(ndr_out_t *out)
{
    ndr_out_patch_u16(out, 8, (uint16_t)out->len);
}

const char *dce_interface_name(const ndr_uuid_t *uuid)
{
    const rpc_interface_info_t *info = rpc_interface_by_uuid(uuid->b);

    return info ? info->name : NULL;
}

const char *dce_status_text(uint32_t status)
{
    size_t i;

    for (i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
        if (statuses[i].status == status) {
            return statuses[i].text;
        }
    }
    return NULL;
}

const char *dce_reject_text(uint16_t reason)
{
    switch (reason) {
    case DCE_NO_INTERFACE: return "the server does not offer this interface";
    case DCE_NO_SYNTAX: return "the server does not speak this transfer syntax";
    case DCE_LOCAL_LIMIT: return "a limit of the server is reached";
    default: return "no reason given";
    }
}

const char *dce_nak_text(uint16_t reason)
{
    switch (reason) {
    case 1: return "temporary congestion";
    case 2: return "a limit of the server is reached";
    case 4: return "protocol version not supported";
    case 8: return "authentication type not recognised";
    case 9: return "invalid checksum";
    default: return "no reason given";
    }
}
