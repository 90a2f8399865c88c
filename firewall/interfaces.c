/* rpc_interfaces: the table of names, and UUIDs from text and from the wire.
 *
 * Rows hold UUIDs as text, as the specifications print them; they are compared as bytes in
 * the same order, which rpc_interface_read() restores from either byte order of the wire.
 * The table is searched from its beginning, for each name in the configuration and each refusal.
 */
#include "firewall/interfaces.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const rpc_interface_info_t table[] = {
    /* every RPC server: C706 appendix O and Q */
    { "mgmt", "afa8bd80-7d8a-11c9-bef4-08002b102989", 1, 0, "remote management of an RPC server" },
    { "epm", "e1af8308-5d1f-11c9-91a4-08002b14a0fa", 3, 0, "endpoint mapper" },
    /* Exchange: [MS-OXCRPC], [MS-OXABREF], [MS-OXNSPI] */
    { "emsmdb", "a4f1db00-ca47-1067-b31f-00dd010662da", 0, 81, "Exchange mailbox" },
    { "async-emsmdb", "5261574a-4572-206e-b268-6b199213b4e4", 0, 1,
      "Exchange mailbox, notifications" },
    { "rfr", "1544f5e0-613c-11d1-93df-00c04fd7bd09", 1, 0, "Exchange address book referral" },
    { "nspi", "f5cc5a18-4264-101a-8c59-08002b2f8426", 56, 0, "Exchange address book" },
    /* [MS-TSGU] */
    { "tsgu", "44e265dd-7daf-42cd-8560-3cdb6e7a2729", 1, 3, "Remote Desktop Gateway" },
    /* accounts and domains: [MS-SAMR], [MS-LSAD], [MS-NRPC], [MS-DRSR], [MS-DSSP], [MS-BKRP] ... */
    { "samr", "12345778-1234-abcd-ef00-0123456789ac", 1, 0, "account database" },
    { "lsarpc", "12345778-1234-abcd-ef00-0123456789ab", 0, 0, "local security authority" },
    { "netlogon", "12345678-1234-abcd-ef00-01234567cffb", 1, 0, "domain logon" },
    { "drsuapi", "e3514235-4b06-11d1-ab04-00c04fc2dcd2", 4, 0, "directory replication" },
    { "dssetup", "3919286a-b10c-11d0-9ba8-00c04fd92ef5", 0, 0, "directory set-up" },
    { "backupkey", "3dde7c30-165d-11d1-ab8f-00805f14db40", 1, 0, "backup keys" },
    { "gkdi", "b9785960-524f-11df-8b6d-83dcded72085", 1, 0, "group key distribution" },
    { "icertpassage", "91ae6020-9e3c-11cf-8d7c-00aa00c091be", 0, 0, "certificate enrolment" },
    { "dnsserver", "50abc2a4-574d-40b3-9d66-ee4fd5fba076", 5, 0, "DNS server management" },
    { "dhcpsrv", "6bffd098-a112-3610-9833-46c3f874532d", 1, 0, "DHCP server management" },
    { "dhcpsrv2", "5b821720-f63b-11d0-aad2-00c04fc324db", 1, 0,
      "DHCP server management, newer calls" },
    /* files: [MS-SRVS], [MS-WKST], [MS-DFSNM], [MS-FRS1], [MS-FRS2], [MS-EFSR], [MS-FSRVP] ... */
    { "srvsvc", "4b324fc8-1670-01d3-1278-5a47bf6ee188", 3, 0, "file server" },
    { "wkssvc", "6bffd098-a112-3610-9833-46c3f87e345a", 1, 0, "workstation" },
    { "dfs", "4fc742e0-4a10-11cf-8273-00aa004ae673", 3, 0, "distributed file system" },
    { "frsrpc", "f5cc59b4-4264-101a-8c59-08002b2f8426", 1, 1, "file replication" },
    { "frstransport", "897e2e5f-93f3-4376-9c9c-fd2277495c27", 1, 0, "DFS replication" },
    { "efsrpc", "df1941c5-fe89-4e79-bf10-463657acf44d", 1, 0, "file encryption" },
    { "lsaefsrpc", "c681d488-d850-11d0-8c52-00c04fd90f7e", 1, 0, "file encryption, in lsass" },
    { "fssagentrpc", "a8e0653c-2744-4389-a61d-7373df8b2292", 1, 0, "shadow copies of shares" },
    { "witness", "ccd8c074-d0e5-4a40-92b4-d074faa6ba28", 1, 1, "file server cluster" },
    { "mdssvc", "885d85fb-c754-4062-a0e7-6872ce0064f4", 2, 0, "Spotlight search" },
    /* the machine: [MS-RRP], [MS-SCMR], [MS-EVEN], [MS-EVEN6], [MS-TSCH], [MS-RPRN] ... */
    { "winreg", "338cd001-2244-31f1-aaaa-900038001003", 1, 0, "registry" },
    { "svcctl", "367abb81-9844-35f1-ad32-98f038001003", 2, 0, "services" },
    { "eventlog", "82273fdc-e32a-18c3-3f78-827929dc23ea", 0, 0, "event log" },
    { "eventlog6", "f6beaff7-1e19-4fbb-9f8f-b89e2018337c", 1, 0, "event log, newer calls" },
    { "atsvc", "1ff70682-0a51-30e8-076d-740be8cee98b", 1, 0, "scheduled jobs" },
    { "sasec", "378e52b0-c0a9-11cf-822d-00aa0051e40f", 1, 0, "scheduled jobs' accounts" },
    { "itaskschedulerservice", "86d35949-83c9-4044-b424-db363231fd0c", 1, 0, "scheduled tasks" },
    { "spoolss", "12345678-1234-abcd-ef00-0123456789ab", 1, 0, "printing" },
    { "iremotewinspool", "76f03f96-cdfd-44fc-a22c-64950a001209", 1, 0, "printing, newer calls" },
    { "initshutdown", "894de0c0-0d55-11d3-a322-00c04fa321a1", 1, 0, "remote shutdown" },
    { "w32time", "8fb6d884-2388-11d0-8c35-00c04fda2795", 4, 1, "time service" },
    /* [MS-DCOM] */
    { "iobjectexporter", "99fcfec4-5260-101b-bbcb-00aa0021347a", 0, 0, "DCOM object resolver" },
    { "iactivation", "4d9f4ab8-7d1c-11cf-861e-0020af6e7c57", 0, 0, "DCOM activation" },
    { "iremotescmactivator", "000001a0-0000-0000-c000-000000000046", 0, 0,
      "DCOM activation, newer calls" },
    /* Samba's own */
    { "unixinfo", "9c54e310-a955-4885-bd31-78787147dfa6", 0, 0, "Samba: Unix user ids" },
    { "rpcecho", "60a15ec5-4de8-11d7-a637-005056a20182", 1, 0, "Samba: echo, for tests" },
};

#define ROWS ((int)(sizeof(table) / sizeof(table[0])))

const rpc_interface_info_t *rpc_interface_by_name(const char *at, size_t len)
{
    int i;

    for (i = 0; i < ROWS; i++)
        if (strlen(table[i].name) == len && strncasecmp(table[i].name, at, len) == 0)
            return &table[i];
    return NULL;
}

const rpc_interface_info_t *rpc_interface_by_uuid(const uint8_t uuid[16])
{
    uint8_t row[16];
    int i;

    for (i = 0; i < ROWS; i++)
        if (rpc_uuid_parse(table[i].uuid, RPC_UUID_TEXT, row)
            && memcmp(row, uuid, sizeof(row)) == 0)
            return &table[i];
    return NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int rpc_uuid_parse(const char *at, size_t len, uint8_t uuid[16])
{
    size_t i, n = 0;

    if (len != RPC_UUID_TEXT)
        return 0;
    for (i = 0; i < len; n++) {
        int high, low;

        if ((i == 8 || i == 13 || i == 18 || i == 23) && at[i++] != '-')
            return 0;
        high = hex_digit(at[i]);
        low = hex_digit(at[i + 1]);
        if (high < 0 || low < 0)
            return 0;
        uuid[n] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    return 1;
}

/* The place in a little-endian UUID of each byte in text order. */
static const uint8_t swapped[] = { 3, 2, 1, 0, 5, 4, 7, 6 };

void rpc_interface_read(const uint8_t *data, int little_endian, rpc_interface_t *interface)
{
    int i;

    memcpy(interface->uuid, data, 16);
    if (!little_endian) {
        interface->minor = (uint16_t)(data[16] << 8 | data[17]);
        interface->major = (uint16_t)(data[18] << 8 | data[19]);
        return;
    }
    for (i = 0; i < 8; i++)
        interface->uuid[i] = data[swapped[i]];
    interface->major = (uint16_t)(data[16] | data[17] << 8);
    interface->minor = (uint16_t)(data[18] | data[19] << 8);
}

void rpc_interface_write(const rpc_interface_t *interface, int little_endian, uint8_t *data)
{
    uint16_t first = little_endian ? interface->major : interface->minor;
    uint16_t second = little_endian ? interface->minor : interface->major;
    int i;

    memcpy(data, interface->uuid, 16);
    for (i = 0; little_endian && i < 8; i++)
        data[swapped[i]] = interface->uuid[i];
    data[little_endian ? 16 : 17] = (uint8_t)first;
    data[little_endian ? 17 : 16] = (uint8_t)(first >> 8);
    data[little_endian ? 18 : 19] = (uint8_t)second;
    data[little_endian ? 19 : 18] = (uint8_t)(second >> 8);
}

const char *rpc_interface_text(const rpc_interface_t *interface, char buf[RPC_INTERFACE_TEXT_MAX])
{
    const rpc_interface_info_t *info = rpc_interface_by_uuid(interface->uuid);
    char uuid[RPC_UUID_TEXT + 1], *to = uuid;
    int i;

    for (i = 0; i < 16; i++)
        to += sprintf(to, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                      interface->uuid[i]);
    snprintf(buf, RPC_INTERFACE_TEXT_MAX, "%s%s%s@%u.%u%s", info ? info->name : "",
             info ? " (" : "", uuid, interface->major, interface->minor, info ? ")" : "");
    return buf;
}
