/* Tables and the common header. UUIDs stand as text and are parsed when compared:
 * this is for people's eyes, a few times per run.
 */
#include "dce.h"

const ndr_syntax_t dce_syntax_ndr = {
    {{ 0x8a, 0x88, 0x5d, 0x04, 0x1c, 0xeb, 0x11, 0xc9, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60 }}, 2, 0
};
const ndr_syntax_t dce_syntax_mgmt = {
    {{ 0xaf, 0xa8, 0xbd, 0x80, 0x7d, 0x8a, 0x11, 0xc9, 0xbe, 0xf4, 0x08, 0x00, 0x2b, 0x10, 0x29, 0x89 }}, 1, 0
};
const ndr_syntax_t dce_syntax_echo = {
    {{ 0x60, 0xa1, 0x5e, 0xc5, 0x4d, 0xe8, 0x11, 0xd7, 0xa6, 0x37, 0x00, 0x50, 0x56, 0xa2, 0x01, 0x82 }}, 1, 0
};

static const struct { const char *uuid, *name; } interfaces[] = {
    { "afa8bd80-7d8a-11c9-bef4-08002b102989", "mgmt" },
    { "e1af8308-5d1f-11c9-91a4-08002b14a0fa", "epmapper" },
    { "60a15ec5-4de8-11d7-a637-005056a20182", "rpcecho" },
    { "a4f1db00-ca47-1067-b31f-00dd010662da", "Exchange EMSMDB" },
    { "5261574a-4572-206e-b268-6b199213b4e4", "Exchange ASYNCEMSMDB" },
    { "1544f5e0-613c-11d1-93df-00c04fd7bd09", "Exchange RFR" },
    { "f5cc5a18-4264-101a-8c59-08002b2f8426", "NSPI" },
    { "44e265dd-7daf-42cd-8560-3cdb6e7a2729", "TSGU (RD Gateway)" },
    { "12345778-1234-abcd-ef00-0123456789ac", "samr" },
    { "12345778-1234-abcd-ef00-0123456789ab", "lsarpc" },
    { "12345678-1234-abcd-ef00-01234567cffb", "netlogon" },
    { "e3514235-4b06-11d1-ab04-00c04fc2dcd2", "drsuapi" },
    { "3919286a-b10c-11d0-9ba8-00c04fd92ef5", "dssetup" },
    { "4b324fc8-1670-01d3-1278-5a47bf6ee188", "srvsvc" },
    { "6bffd098-a112-3610-9833-46c3f87e345a", "wkssvc" },
    { "338cd001-2244-31f1-aaaa-900038001003", "winreg" },
    { "367abb81-9844-35f1-ad32-98f038001003", "svcctl" },
    { "12345678-1234-abcd-ef00-0123456789ab", "spoolss" },
    { "76f03f96-cdfd-44fc-a22c-64950a001209", "winspool" },
    { "82273fdc-e32a-18c3-3f78-827929dc23ea", "eventlog" },
    { "8d9f4e40-a03d-11ce-8f69-08003e30051b", "ntsvcs" },
    { "894de0c0-0d55-11d3-a322-00c04fa321a1", "initshutdown" },
    { "1ff70682-0a51-30e8-076d-740be8cee98b", "atsvc" },
    { "4fc742e0-4a10-11cf-8273-00aa004ae673", "netdfs" },
    { "6bffd098-a112-3610-9833-012892020162", "browser" },
    { "3dde7c30-165d-11d1-ab8f-00805f14db40", "backupkey" },
    { "9c54e310-a955-4885-bd31-78787147dfa6", "unixinfo" },
    { "50abc2a4-574d-40b3-9d66-ee4fd5fba076", "dnsserver" },
    { "885d85fb-c754-4062-a0e7-6872ce0064f4", "mdssvc" },
    { "a8e0653c-2744-4389-a61d-7373df8b2292", "fsrvp" },
    { "ccd8c074-d0e5-4a40-92b4-d074faa6ba28", "witness" },
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

void dce_header(uint8_t *at, uint8_t ptype, uint8_t flags, uint16_t frag_length, uint32_t call_id)
{
    const uint8_t header[16] = {
        5, 0, ptype, flags, 0x10, 0, 0, 0, (uint8_t)frag_length, (uint8_t)(frag_length >> 8), 0, 0,
        (uint8_t)call_id, (uint8_t)(call_id >> 8), (uint8_t)(call_id >> 16), (uint8_t)(call_id >> 24)
    };
    int i;

    for (i = 0; i < 16; i++) {
        at[i] = header[i];
    }
}

void dce_begin(ndr_out_t *out, uint8_t ptype, uint8_t flags, uint32_t call_id)
{
    uint8_t *at = ndr_out_room(out, 16);

    if (at) {
        dce_header(at, ptype, flags, 0, call_id);
    }
}

void dce_finish(ndr_out_t *out)
{
    ndr_out_patch_u16(out, 8, (uint16_t)out->len);
}

const char *dce_interface_name(const ndr_uuid_t *uuid)
{
    size_t i;

    for (i = 0; i < sizeof(interfaces) / sizeof(*interfaces); i++) {
        ndr_uuid_t known;

        if (ndr_uuid_parse(interfaces[i].uuid, &known) && ndr_uuid_equal(&known, uuid)) {
            return interfaces[i].name;
        }
    }
    return NULL;
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
