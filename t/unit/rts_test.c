/* rts_test: the table of RTS PDUs compared with the list of the specification, the byte examples,
 * and everything that a parser has to refuse. */
#include "wire/rts.h"

#include "unit.h"

#define C_IP RTS_HOP_C_IP
#define IP_C RTS_HOP_IP_C
#define IP_S RTS_HOP_IP_S
#define S_IP RTS_HOP_S_IP
#define C_OP RTS_HOP_C_OP
#define OP_C RTS_HOP_OP_C
#define OP_S RTS_HOP_OP_S
#define S_OP RTS_HOP_S_OP

/* ---- 2.2.4.2 to 2.2.4.51, written down a second time ---- */

/* Commands: V, c Cookie, w ReceiveWindowSize, t ConnectionTimeout, l ChannelLifetime,
 * k ClientKeepalive, g AssociationGroupId, a ClientAddress, E Empty, A ANCE, N NegativeANCE,
 * p PingTrafficSentNotify, f FlowControlAck; 0 and 2 a Destination of that value, D of any. */
typedef struct expected {
    rts_pdu_id_t id;
    const char *name;
    const char *commands;
    unsigned flags;
    size_t size;
    unsigned hops;
    rts_pdu_id_t alike;     /* an earlier PDU with the same bytes on the same hop */
} expected_t;

static const expected_t pdus[] = {
    { RTS_CONN_A1, "CONN/A1", "Vccw", 0x00, 76, C_OP, 0 },
    { RTS_CONN_A2, "CONN/A2", "Vcclw", 0x10, 84, OP_S, 0 },
    { RTS_CONN_A3, "CONN/A3", "t", 0x00, 28, OP_C, 0 },
    { RTS_CONN_B1, "CONN/B1", "Vcclkg", 0x00, 104, C_IP, 0 },
    { RTS_CONN_B2, "CONN/B2", "Vccwtga", 0x08, 128, IP_S, 0 },
    { RTS_CONN_B3, "CONN/B3", "wV", 0x00, 36, S_IP, 0 },
    { RTS_CONN_C1, "CONN/C1", "Vwt", 0x00, 44, S_OP, 0 },
    { RTS_CONN_C2, "CONN/C2", "Vwt", 0x00, 44, OP_C, 0 },
    { RTS_IN_R1_A1, "IN_R1/A1", "Vccc", 0x04, 88, C_IP, 0 },
    { RTS_IN_R1_A2, "IN_R1/A2", "Vcccwt", 0x0c, 104, IP_S, 0 },
    { RTS_IN_R1_A3, "IN_R1/A3", "0Vwt", 0x00, 52, S_OP, 0 },
    { RTS_IN_R1_A4, "IN_R1/A4", "0Vwt", 0x00, 52, OP_C, 0 },
    { RTS_IN_R1_A5, "IN_R1/A5", "c", 0x00, 40, C_IP, 0 },
    { RTS_IN_R1_A6, "IN_R1/A6", "c", 0x00, 40, IP_S, 0 },
    { RTS_IN_R1_B1, "IN_R1/B1", "E", 0x00, 24, IP_S, 0 },
    { RTS_IN_R1_B2, "IN_R1/B2", "w", 0x00, 28, S_IP, 0 },
    { RTS_IN_R2_A1, "IN_R2/A1", "Vccc", 0x04, 88, C_IP, RTS_IN_R1_A1 },
    { RTS_IN_R2_A2, "IN_R2/A2", "c", 0x00, 40, IP_S, RTS_IN_R1_A6 },
    { RTS_IN_R2_A3, "IN_R2/A3", "0", 0x00, 28, S_OP, 0 },
    { RTS_IN_R2_A4, "IN_R2/A4", "0", 0x00, 28, OP_C, 0 },
    { RTS_IN_R2_A5, "IN_R2/A5", "c", 0x00, 40, C_IP, RTS_IN_R1_A5 },
    { RTS_OUT_R1_A1, "OUT_R1/A1", "0", 0x04, 28, S_OP, 0 },
    { RTS_OUT_R1_A2, "OUT_R1/A2", "0", 0x04, 28, OP_C, 0 },
    { RTS_OUT_R1_A3, "OUT_R1/A3", "Vcccw", 0x04, 96, C_OP, 0 },
    { RTS_OUT_R1_A4, "OUT_R1/A4", "Vccclwt", 0x14, 112, OP_S, 0 },
    { RTS_OUT_R1_A5, "OUT_R1/A5", "0Vt", 0x10, 44, S_OP, 0 },
    { RTS_OUT_R1_A6, "OUT_R1/A6", "0Vt", 0x10, 44, OP_C, 0 },
    { RTS_OUT_R1_A7, "OUT_R1/A7", "2c", 0x10, 48, C_IP, 0 },
    { RTS_OUT_R1_A8, "OUT_R1/A8", "2c", 0x10, 48, IP_S, 0 },
    { RTS_OUT_R1_A9, "OUT_R1/A9", "A", 0x00, 24, S_OP, 0 },
    { RTS_OUT_R1_A10, "OUT_R1/A10", "A", 0x00, 24, OP_C, 0 },
    { RTS_OUT_R1_A11, "OUT_R1/A11", "A", 0x00, 24, C_OP, 0 },
    { RTS_OUT_R2_A1, "OUT_R2/A1", "0", 0x04, 28, S_OP, RTS_OUT_R1_A1 },
    { RTS_OUT_R2_A2, "OUT_R2/A2", "0", 0x04, 28, OP_C, RTS_OUT_R1_A2 },
    { RTS_OUT_R2_A3, "OUT_R2/A3", "Vcccw", 0x04, 96, C_OP, RTS_OUT_R1_A3 },
    { RTS_OUT_R2_A4, "OUT_R2/A4", "c", 0x00, 40, OP_S, 0 },
    { RTS_OUT_R2_A5, "OUT_R2/A5", "0A", 0x00, 32, S_OP, 0 },
    { RTS_OUT_R2_A6, "OUT_R2/A6", "0A", 0x00, 32, OP_C, 0 },
    { RTS_OUT_R2_A7, "OUT_R2/A7", "2cV", 0x10, 56, C_IP, 0 },
    { RTS_OUT_R2_A8, "OUT_R2/A8", "2c", 0x10, 48, IP_S, RTS_OUT_R1_A8 },
    { RTS_OUT_R2_B1, "OUT_R2/B1", "A", 0x00, 24, S_OP, RTS_OUT_R1_A9 },
    { RTS_OUT_R2_B2, "OUT_R2/B2", "N", 0x00, 24, S_OP, 0 },
    { RTS_OUT_R2_B3, "OUT_R2/B3", "A", 0x20, 24, OP_C, 0 },
    { RTS_OUT_R2_C1, "OUT_R2/C1", "E", 0x01, 24, C_OP, 0 },
    { RTS_KEEP_ALIVE, "Keep-Alive", "k", 0x02, 28, C_IP, 0 },
    { RTS_PING_TRAFFIC_SENT_NOTIFY, "PingTrafficSentNotify", "p", 0x02, 28, OP_S, 0 },
    { RTS_ECHO, "Echo", "", 0x40, 20, IP_C | OP_C, 0 },
    { RTS_PING, "Ping", "", 0x01, 20, C_IP | OP_C, 0 },
    { RTS_FLOW_CONTROL_ACK, "FlowControlAck", "f", 0x02, 48, S_IP | OP_S, 0 },
    { RTS_FLOW_CONTROL_ACK_WITH_DESTINATION, "FlowControlAckWithDestination", "Df", 0x02, 56,
      C_IP | IP_S | S_OP | OP_C, 0 },
};

#define PDUS ((int)(sizeof(pdus) / sizeof(pdus[0])))

static int command_type(char letter)
{
    static const char letters[] = "wftclkVEpNAag";
    static const int types[] = {
        0x0, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0xE, 0x9, 0xA, 0xB, 0xC,
    };
    const char *at = strchr(letters, letter);

    return at ? types[at - letters] : 0xD;
}

static int destination_of(const expected_t *e)
{
    char c = e->commands[0];

    return c == 'D' ? -2 : c == '0' || c == '2' ? c - '0' : -1;
}

static void test_row(int nth)
{
    const expected_t *e = &pdus[nth];
    const rts_pdu_info_t *info = rts_info(e->id);
    char section[16];
    size_t i;

    snprintf(section, sizeof(section), "2.2.4.%d", nth + 2);
    is_int(e->id, nth + 1, "%s: in the order of the sections", e->name);
    is_int(info->id, e->id, "%s: its row has its id", e->name);
    is_str(info->name, e->name, "%s: name", e->name);
    is_str(info->section, section, "%s: section", e->name);
    is_int(info->flags, e->flags, "%s: flags", e->name);
    is_int(info->hops, e->hops, "%s: hops", e->name);
    is_int(info->destination, destination_of(e), "%s: destination", e->name);
    is_int(info->count, (long long)strlen(e->commands), "%s: number of commands", e->name);
    for (i = 0; i < strlen(e->commands) && i < RTS_MAX_COMMANDS; i++)
        is_int(info->cmd[i], command_type(e->commands[i]), "%s: command %zu", e->name, i);
}

/* ---- write, parse, identify ---- */

static rts_cookie_t cookie_from(uint8_t first)
{
    rts_cookie_t cookie;
    int i;

    for (i = 0; i < 16; i++)
        cookie.b[i] = (uint8_t)(first + i);
    return cookie;
}

static const rts_command_t *command_of(const rts_pdu_t *pdu, rts_command_type_t type)
{
    int i;

    for (i = 0; i < pdu->count; i++) {
        if (pdu->cmd[i].type == (uint32_t)type)
            return &pdu->cmd[i];
    }
    return NULL;
}

/* Gives every command another value, so that two commands cannot be confused unnoticed. */
static void fill(rts_pdu_t *pdu)
{
    rts_cookie_t cookie;
    rts_ack_t ack = { 0xfffffff0u, 0x00040000u, cookie_from(0x11) };
    rts_address_t address = { 0, { 192, 0, 2, 10 } };
    int i, cookies = 0;

    for (i = 0; i < pdu->count; i++) {
        switch (pdu->cmd[i].type) {
        case RTS_CMD_COOKIE:
            cookie = cookie_from((uint8_t)(0xa0 + 16 * cookies));
            rts_set_cookie(pdu, cookies++, &cookie);
            break;
        case RTS_CMD_ASSOCIATION_GROUP_ID:
            cookie = cookie_from(0x51);
            rts_set_group(pdu, &cookie);
            break;
        case RTS_CMD_FLOW_CONTROL_ACK: rts_set_ack(pdu, &ack); break;
        case RTS_CMD_CLIENT_ADDRESS: rts_set_address(pdu, &address); break;
        case RTS_CMD_EMPTY: case RTS_CMD_ANCE: case RTS_CMD_NEGATIVE_ANCE:
        case RTS_CMD_VERSION: case RTS_CMD_DESTINATION:
            break;
        default:
            rts_set_u32(pdu, (rts_command_type_t)pdu->cmd[i].type, 0x01020304u * (unsigned)(i + 1));
        }
    }
}

static void test_identify(const expected_t *e, const rts_pdu_t *pdu)
{
    rts_pdu_id_t want = e->alike ? e->alike : e->id;
    unsigned hop;

    for (hop = 1; hop <= RTS_HOP_S_OP; hop <<= 1) {
        rts_pdu_id_t got = rts_identify(pdu, (rts_hop_t)hop);

        if (e->hops & hop)
            is_str(rts_info(got)->name, rts_info(want)->name, "%s: known on hop %02x", e->name,
                   hop);
        else
            ok(got != e->id, "%s: not taken for itself on hop %02x", e->name, hop);
    }
}

static void test_round_trip(const expected_t *e)
{
    rts_pdu_t pdu, back;
    uint8_t buf[RTS_MAX_SIZE], again[RTS_MAX_SIZE];
    uint8_t *copy;
    size_t size;

    rts_begin(&pdu, e->id);
    fill(&pdu);
    size = rts_write(&pdu, buf, sizeof(buf));
    is_int((long long)size, (long long)e->size, "%s: size", e->name);
    copy = unit_copy(buf, size);
    is_str(rts_parse(copy, size, &back), NULL, "%s: parsed", e->name);
    free(copy);
    is_bytes(again, rts_write(&back, again, sizeof(again)), buf, size, "%s: written again",
             e->name);
    is_int(rts_destination(&back), e->commands[0] == 'D' ? 0 : destination_of(e),
           "%s: destination read", e->name);
    test_identify(e, &back);
}

static void test_values(void)
{
    rts_pdu_t pdu, back;
    uint8_t buf[RTS_MAX_SIZE];
    rts_cookie_t second = cookie_from(0xb0), group = cookie_from(0x51);
    const rts_address_t *address;

    rts_begin(&pdu, RTS_CONN_B2);
    is_int(rts_u32(&pdu, RTS_CMD_VERSION, 0), 1, "Version begins as 1");
    is_int(rts_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 7), 0, "other values begin as 0");
    fill(&pdu);
    ok(rts_parse(buf, rts_write(&pdu, buf, sizeof(buf)), &back) == NULL, "B2 parsed");
    is_int(rts_u32(&back, RTS_CMD_RECEIVE_WINDOW_SIZE, 0), 0x04080c10, "window read");
    is_int(rts_u32(&back, RTS_CMD_CONNECTION_TIMEOUT, 0), 0x050a0f14, "time-out read");
    is_int(rts_u32(&back, RTS_CMD_CHANNEL_LIFETIME, 4711), 4711, "default for a command not there");
    is_bytes(rts_cookie(&back, 1)->b, 16, second.b, 16, "second cookie");
    ok(rts_cookie(&back, 2) == NULL, "no third cookie");
    is_bytes(rts_group(&back)->b, 16, group.b, 16, "association group");
    ok(rts_ack(&back) == NULL, "no ack");
    address = &command_of(&back, RTS_CMD_CLIENT_ADDRESS)->u.address;
    ok(!address->ipv6 && address->addr[0] == 192 && address->addr[3] == 10,
       "address in network order");
    is_int(rts_destination(&back), -1, "no destination");
    is_int(rts_identify(&back, RTS_HOP_IP_S), RTS_CONN_B2, "known by what it has");
}

static void test_ipv6(void)
{
    rts_address_t address = { 1, { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x42 } };
    static const uint8_t zeros[12];
    const rts_address_t *read;
    rts_pdu_t pdu, back;
    uint8_t buf[RTS_MAX_SIZE];
    size_t size;

    rts_begin(&pdu, RTS_CONN_B2);
    rts_set_address(&pdu, &address);
    size = rts_write(&pdu, buf, sizeof(buf));
    is_int((long long)size, 140, "B2 with an IPv6 client: size");
    is_bytes(buf + 112, 16, address.addr, 16, "IPv6 address in network order");
    is_bytes(buf + 128, 12, zeros, 12, "12 zero bytes behind it");
    memset(buf + 128, 0xee, 12);
    is_str(rts_parse(buf, size, &back), NULL, "padding is ignored");
    read = &command_of(&back, RTS_CMD_CLIENT_ADDRESS)->u.address;
    ok(read->ipv6, "read as IPv6");
    is_bytes(read->addr, 16, address.addr, 16, "IPv6 address read");
    is_int(rts_identify(&back, RTS_HOP_IP_S), RTS_CONN_B2, "still CONN/B2");
}

/* ---- the byte examples ---- */

static size_t unhex(const char *hex, uint8_t *buf)
{
    size_t n = 0;
    int used;
    unsigned byte;

    while (sscanf(hex, "%2x%n", &byte, &used) == 1) {
        buf[n++] = (uint8_t)byte;
        hex += used;
    }
    return n;
}

#define VC    "03000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
#define CK_B  "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
#define CK_C  "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
#define GROUP "0c000000 d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
#define START "05001403 10000000 "

typedef struct example { rts_pdu_id_t id; rts_hop_t hop; const char *hex; } example_t;

static const example_t examples[] = {
    { RTS_CONN_A1, C_OP, START "4c000000 00000000 00000400 06000000 01000000" VC
      "03000000" CK_B "00000000 00000100" },
    { RTS_CONN_B1, C_IP, START "68000000 00000000 00000600 06000000 01000000" VC
      "03000000" CK_C "04000000 00000040 05000000 e0930400" GROUP },
    { RTS_CONN_A2, OP_S, START "54000000 00000000 10000500 06000000 01000000" VC
      "03000000" CK_B "04000000 00000040 00000000 00000100" },
    { RTS_CONN_B2, IP_S, START "80000000 00000000 08000700 06000000 01000000" VC
      "03000000" CK_C "00000000 00000100 02000000 a0bb0d00" GROUP
      "0b000000 00000000 0a0200c0 00000000 00000000 00000000" },
    { RTS_CONN_A3, OP_C, START "1c000000 00000000 00000100 02000000 a0bb0d00" },
    { RTS_CONN_C2, OP_C, START "2c000000 00000000 00000300 06000000 01000000"
      "00000000 00000100 02000000 a0bb0d00" },
    { RTS_CONN_C1, S_OP, START "2c000000 00000000 00000300 06000000 01000000"
      "00000000 00000100 02000000 a0bb0d00" },
    { RTS_FLOW_CONTROL_ACK_WITH_DESTINATION, C_IP, START "38000000 00000000 02000200"
      "0d000000 03000000 01000000 00810000 00000100" CK_B },
    { RTS_FLOW_CONTROL_ACK, S_IP, START "30000000 00000000 02000100"
      "01000000 00810000 00000100" CK_C },
    { RTS_ECHO, IP_C, START "14000000 00000000 40000000" },
    { RTS_CONN_B3, S_IP, START "24000000 00000000 00000200 00000000 00000100 06000000 01000000" },
    { RTS_PING, OP_C, START "14000000 00000000 01000000" },
    { RTS_OUT_R2_C1, C_OP, START "18000000 00000000 01000100 07000000" },
    { RTS_OUT_R1_A9, S_OP, START "18000000 00000000 00000100 0a000000" },
    { RTS_OUT_R1_A10, OP_C, START "18000000 00000000 00000100 0a000000" },
    { RTS_OUT_R1_A11, C_OP, START "18000000 00000000 00000100 0a000000" },
    { RTS_OUT_R2_B3, OP_C, START "18000000 00000000 20000100 0a000000" },
};

/* The values that the examples share. */
static void set_example_values(rts_pdu_t *pdu, int is_out)
{
    rts_cookie_t vc = cookie_from(0xa0), group = cookie_from(0xd0);
    rts_cookie_t channel = cookie_from(is_out ? 0xb0 : 0xc0);
    rts_address_t address = { 0, { 192, 0, 2, 10 } };
    rts_ack_t ack = { 33024, 65536, channel };

    if (rts_cookie(pdu, 0))
        rts_set_cookie(pdu, 0, &vc);
    if (rts_cookie(pdu, 1))
        rts_set_cookie(pdu, 1, &channel);
    if (rts_group(pdu))
        rts_set_group(pdu, &group);
    if (rts_ack(pdu))
        rts_set_ack(pdu, &ack);
    if (command_of(pdu, RTS_CMD_CLIENT_ADDRESS))
        rts_set_address(pdu, &address);
    if (command_of(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE))
        rts_set_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 65536);
    if (command_of(pdu, RTS_CMD_CONNECTION_TIMEOUT))
        rts_set_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 900000);
    if (command_of(pdu, RTS_CMD_CHANNEL_LIFETIME))
        rts_set_u32(pdu, RTS_CMD_CHANNEL_LIFETIME, 1073741824);
    if (command_of(pdu, RTS_CMD_CLIENT_KEEPALIVE))
        rts_set_u32(pdu, RTS_CMD_CLIENT_KEEPALIVE, 300000);
}

static void test_example(const example_t *e)
{
    const char *name = rts_info(e->id)->name;
    int is_out = e->id == RTS_CONN_A1 || e->id == RTS_CONN_A2
                 || e->id == RTS_FLOW_CONTROL_ACK_WITH_DESTINATION;
    uint8_t want[RTS_MAX_SIZE], got[RTS_MAX_SIZE];
    size_t len = unhex(e->hex, want);
    rts_pdu_t pdu, back;

    rts_begin(&pdu, e->id);
    set_example_values(&pdu, is_out);
    if (e->id == RTS_FLOW_CONTROL_ACK_WITH_DESTINATION)
        rts_set_u32(&pdu, RTS_CMD_DESTINATION, RTS_FD_OUT_PROXY);
    is_bytes(got, rts_write(&pdu, got, sizeof(got)), want, len, "example %s written", name);
    is_str(rts_parse(want, len, &back), NULL, "example %s parsed", name);
    is_int(rts_identify(&back, e->hop), e->id, "example %s recognised", name);
    is_bytes(got, rts_write(&back, got, sizeof(got)), want, len, "example %s written again", name);
}

static void test_example_values(void)
{
    uint8_t buf[RTS_MAX_SIZE];
    rts_cookie_t out = cookie_from(0xb0), in = cookie_from(0xc0);
    rts_pdu_t pdu;

    rts_parse(buf, unhex(examples[1].hex, buf), &pdu);
    is_int(rts_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, 0), 1073741824, "B1: lifetime 1 GiB");
    is_int(rts_u32(&pdu, RTS_CMD_CLIENT_KEEPALIVE, 0), 300000, "B1: keep-alive 300 s");
    ok(rts_cookie_equal(rts_cookie(&pdu, 1), &in), "B1: IN cookie");
    ok(!rts_cookie_equal(rts_cookie(&pdu, 0), &in), "B1: the other cookie differs");
    rts_parse(buf, unhex(examples[7].hex, buf), &pdu);
    is_int(rts_destination(&pdu), RTS_FD_OUT_PROXY, "ack: for the outbound proxy");
    is_int(rts_ack(&pdu)->bytes_received, 33024, "ack: bytes received");
    is_int(rts_ack(&pdu)->available_window, 65536, "ack: available window");
    ok(rts_cookie_equal(&rts_ack(&pdu)->cookie, &out), "ack: OUT cookie");
}

/* ---- forms that more than one PDU or layout may have ---- */

static rts_pdu_id_t id_of(const char *hex, rts_hop_t hop)
{
    uint8_t buf[RTS_MAX_SIZE];
    size_t len = unhex(hex, buf);
    rts_pdu_t pdu;

    return rts_parse(buf, len, &pdu) ? RTS_UNKNOWN : rts_identify(&pdu, hop);
}

static void test_variants(void)
{
    is_int(id_of(START "38000000 00000000 10000300 0d000000 02000000 03000000" CK_B
                 "06000000 01000000", RTS_HOP_IP_S), RTS_OUT_R2_A8, "OUT_R2/A8 with a Version");
    is_int(id_of(START "30000000 00000000 10000200 0d000000 02000000 03000000" CK_B, RTS_HOP_IP_S),
           RTS_OUT_R1_A8, "OUT_R2/A8 without is OUT_R1/A8 to whoever has no state");
    is_int(id_of(START "1c000000 00000000 01000100 08000000 00000000", RTS_HOP_C_OP),
           RTS_OUT_R2_C1, "OUT_R2/C1 with Padding of 0 bytes");
    is_int(id_of(START "24000000 00000000 01000100 08000000 08000000 ffffffffffffffff",
                 RTS_HOP_C_OP), RTS_OUT_R2_C1, "OUT_R2/C1 with Padding of 8 bytes, not zero");
    is_int(id_of(START "1c000000 00000000 00000100 08000000 00000000", RTS_HOP_IP_S),
           RTS_UNKNOWN, "Padding does not pass for Empty elsewhere");
    is_int(id_of(START "1c000000 00000000 04000100 0d000000 02000000", RTS_HOP_S_OP),
           RTS_UNKNOWN, "the Destination counts");
    is_int(id_of(START "24000000 00000000 00000200 06000000 01000000 00000000 00000100",
                 RTS_HOP_S_IP), RTS_UNKNOWN, "the order of commands counts");
    is_int(id_of(START "14000000 00000000 00000000", RTS_HOP_C_IP), RTS_UNKNOWN,
           "no flags and no commands is nothing");
    is_int(id_of(START "24000000 00000000 00000200 00000000 00000100 06000000 07000000",
                 RTS_HOP_S_IP), RTS_CONN_B3, "any Version is taken");
    is_int(id_of(START "14000000 00000000 40000000", RTS_HOP_IP_C), RTS_ECHO, "Echo to the client");
}

/* ---- what is refused ---- */

static const char *parse_hex(const char *hex)
{
    uint8_t buf[RTS_MAX_SIZE];
    size_t len = unhex(hex, buf);
    uint8_t *copy = unit_copy(buf, len);
    rts_pdu_t pdu;
    const char *wrong = rts_parse(copy, len, &pdu);

    free(copy);
    return wrong;
}

static void test_refused(void)
{
    ok(parse_hex(START "18000000 00000000 00000100 0f000000"), "command type 0xf");
    ok(parse_hex(START "18000000 00000000 00000100 ffffffff"), "command type 0xffffffff");
    ok(parse_hex(START "1c000000 00000000 04000100 0d000000 04000000"), "Destination 4");
    ok(parse_hex(START "24000000 00000000 00000200 06000000 01000000 0d000000 00000000"),
       "Destination not first");
    ok(parse_hex(START "2c000000 00000000 08000100 0b000000 02000000 00000000 00000000 00000000"
                 "00000000"), "AddressType 2");
    ok(parse_hex(START "2c000000 00000000 08000100 0b000000 01000000 00000000 00000000 00000000"
                 "00000000"), "IPv6 in the room of IPv4");
    ok(parse_hex(START "1c000000 00000000 01000100 08000000 01000000"), "Padding cut short");
    ok(parse_hex(START "1c000000 00000000 01000100 08000000 ffffffff"), "Padding of 4 GiB");
    ok(parse_hex(START "18000000 00000000 01000100 08000000"), "Padding without a length");
    ok(parse_hex(START "14000000 00000000 01000100"), "a command announced and missing");
    ok(parse_hex(START "18000000 00000000 01000000 07000000"), "a command not announced");
    ok(parse_hex(START "14000000 00000000 0000ffff"), "65,535 commands announced");
    ok(!parse_hex(START "34000000 00000000 00000800 07000000 07000000 07000000 07000000"
                  "07000000 07000000 07000000 07000000"), "8 commands are well-formed");
    ok(parse_hex(START "38000000 00000000 00000900 07000000 07000000 07000000 07000000"
                 "07000000 07000000 07000000 07000000 07000000"), "9 commands");
}

static void test_fixed_header(void)
{
    uint8_t good[RTS_MAX_SIZE], bad[RTS_MAX_SIZE];
    size_t len = unhex(examples[0].hex, good);
    int i, bit, missed = 0;
    rts_pdu_t pdu;

    for (i = 0; i < 16; i++) {
        for (bit = 0; bit < 8; bit++) {
            memcpy(bad, good, len);
            bad[i] ^= (uint8_t)(1 << bit);
            missed += rts_parse(bad, len, &pdu) == NULL || pdu.count != 0;
        }
    }
    is_int(missed, 0, "every bit of the first 16 bytes is looked at");
}

static void test_truncated(const expected_t *e)
{
    uint8_t buf[RTS_MAX_SIZE + 4] = { 0 };
    int accepted = 0;
    rts_pdu_t pdu;
    size_t size, n;

    rts_begin(&pdu, e->id);
    fill(&pdu);
    size = rts_write(&pdu, buf, sizeof(buf));
    for (n = 0; n < size + 4; n++) {
        uint8_t *copy = unit_copy(buf, n);

        if (n > 9)
            copy[8] = (uint8_t)n;   /* so that frag_length is still right */
        accepted += n != size && rts_parse(copy, n, &pdu) == NULL;
        free(copy);
    }
    is_int(accepted, 0, "%s: neither cut short nor longer", e->name);
}

static void test_write_capacity(const expected_t *e)
{
    uint8_t buf[RTS_MAX_SIZE] = { 0 };
    int wrong = 0;
    rts_pdu_t pdu;
    size_t cap;

    rts_begin(&pdu, e->id);
    for (cap = 0; cap < e->size; cap++) {
        uint8_t *exact = unit_copy(buf, cap);

        wrong += rts_write(&pdu, exact, cap) != 0;
        free(exact);
    }
    is_int(wrong, 0, "%s: not written into too little room", e->name);
}

static void test_write_too_long(void)
{
    uint8_t *buf = malloc(70000);
    rts_pdu_t pdu;

    memset(&pdu, 0, sizeof(pdu));
    pdu.count = 1;
    pdu.cmd[0].type = RTS_CMD_PADDING;
    pdu.cmd[0].u.u32 = 65507;
    is_int((long long)rts_write(&pdu, buf, 70000), 65535, "as long as frag_length can say");
    is_str(rts_parse(buf, 65535, &pdu), NULL, "and read again");
    is_int(rts_u32(&pdu, RTS_CMD_PADDING, 0), 65507, "the length of the Padding");
    pdu.cmd[0].u.u32 = 65508;
    is_int((long long)rts_write(&pdu, buf, 70000), 0, "longer than frag_length can say");
    free(buf);
}

/* A PDU that is accepted is written again as it was, except for bytes that are ignored. */
static void test_mutations(void)
{
    unsigned seed = 20040901, round;
    int accepted = 0, changed = 0;

    for (round = 0; round < 200000; round++) {
        uint8_t buf[RTS_MAX_SIZE], again[RTS_MAX_SIZE];
        const expected_t *e = &pdus[unit_random(&seed) % (unsigned)PDUS];
        rts_pdu_t pdu;
        size_t size;
        uint8_t *copy;
        unsigned hits = unit_random(&seed) % 3;

        rts_begin(&pdu, e->id);
        size = rts_write(&pdu, buf, sizeof(buf));
        do
            buf[unit_random(&seed) % size] = (uint8_t)(unit_random(&seed) % 17);
        while (hits--);
        copy = unit_copy(buf, size);
        if (rts_parse(copy, size, &pdu) == NULL) {
            int ignored = command_of(&pdu, RTS_CMD_CLIENT_ADDRESS)
                          || command_of(&pdu, RTS_CMD_PADDING);

            accepted++;
            changed += rts_write(&pdu, again, sizeof(again)) != size
                       || (!ignored && memcmp(buf, again, size) != 0);
        }
        free(copy);
    }
    ok(accepted > 1000, "of 200,000 damaged PDUs some (%d) are still well-formed", accepted);
    is_int(changed, 0, "and those are written as they were read");
}

static void test_small_things(void)
{
    rts_cookie_t cookie = cookie_from(0xf8), other = cookie;

    ok(rts_cookie_equal(&cookie, &other), "equal cookies");
    other.b[15] ^= 1;
    ok(!rts_cookie_equal(&cookie, &other), "cookies that differ in the last byte");
    is_str(rts_info(RTS_UNKNOWN)->name, "unknown RTS PDU", "name of what is unknown");
    is_str(rts_info((rts_pdu_id_t)9999)->name, "unknown RTS PDU", "name of what is no id");
}

int main(void)
{
    int i;

    is_int(PDUS, 50, "2.2.4.2 to 2.2.4.51 are 50 PDUs");
    is_int(RTS_PDU_COUNT, 51, "and the table has them and the unknown");
    for (i = 0; i < PDUS; i++) {
        test_row(i);
        test_round_trip(&pdus[i]);
        test_truncated(&pdus[i]);
        test_write_capacity(&pdus[i]);
    }
    for (i = 0; i < (int)(sizeof(examples) / sizeof(examples[0])); i++)
        test_example(&examples[i]);
    test_example_values();
    test_values();
    test_ipv6();
    test_variants();
    test_refused();
    test_fixed_header();
    test_write_too_long();
    test_mutations();
    test_small_things();
    return unit_done();
}
