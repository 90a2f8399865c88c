/* wire/rts.c: one table of all PDUs of [MS-RPCH] 2.2.4, one cursor to read little-endian data and
 * one to write it. A command's layout is known from its type alone.
 */
#include "wire/rts.h"

#include <assert.h>
#include <string.h>

/* ---- the table ---- */

#define RW  RTS_CMD_RECEIVE_WINDOW_SIZE
#define FCA RTS_CMD_FLOW_CONTROL_ACK
#define CT  RTS_CMD_CONNECTION_TIMEOUT
#define CK  RTS_CMD_COOKIE
#define CL  RTS_CMD_CHANNEL_LIFETIME
#define KA  RTS_CMD_CLIENT_KEEPALIVE
#define V   RTS_CMD_VERSION
#define E   RTS_CMD_EMPTY
#define NA  RTS_CMD_NEGATIVE_ANCE
#define AN  RTS_CMD_ANCE
#define CA  RTS_CMD_CLIENT_ADDRESS
#define AG  RTS_CMD_ASSOCIATION_GROUP_ID
#define D   RTS_CMD_DESTINATION
#define PT  RTS_CMD_PING_TRAFFIC_SENT_NOTIFY

#define C_IP RTS_HOP_C_IP
#define IP_C RTS_HOP_IP_C
#define IP_S RTS_HOP_IP_S
#define S_IP RTS_HOP_S_IP
#define C_OP RTS_HOP_C_OP
#define OP_C RTS_HOP_OP_C
#define OP_S RTS_HOP_OP_S
#define S_OP RTS_HOP_S_OP

#define NONE 0
#define PING RTS_FLAG_PING
#define OTHR RTS_FLAG_OTHER_CMD
#define RECY RTS_FLAG_RECYCLE_CHANNEL
#define IN   RTS_FLAG_IN_CHANNEL
#define OUT  RTS_FLAG_OUT_CHANNEL

#define NO_DEST -1
#define ANY_DEST -2
#define TO_C RTS_FD_CLIENT
#define TO_S RTS_FD_SERVER

#define ROW(id, name, section, hops, flags, dest, n, ...) \
    [RTS_##id] = { RTS_##id, name, "2.2.4." section, hops, flags, n, { __VA_ARGS__ }, dest }

static const rts_pdu_info_t table[RTS_PDU_COUNT] = {
    [RTS_UNKNOWN] = { RTS_UNKNOWN, "unknown RTS PDU", "", 0, 0, 0, { 0 }, NO_DEST },
    ROW(CONN_A1, "CONN/A1", "2", C_OP, NONE, NO_DEST, 4, V, CK, CK, RW),
    ROW(CONN_A2, "CONN/A2", "3", OP_S, OUT, NO_DEST, 5, V, CK, CK, CL, RW),
    ROW(CONN_A3, "CONN/A3", "4", OP_C, NONE, NO_DEST, 1, CT),
    ROW(CONN_B1, "CONN/B1", "5", C_IP, NONE, NO_DEST, 6, V, CK, CK, CL, KA, AG),
    ROW(CONN_B2, "CONN/B2", "6", IP_S, IN, NO_DEST, 7, V, CK, CK, RW, CT, AG, CA),
    ROW(CONN_B3, "CONN/B3", "7", S_IP, NONE, NO_DEST, 2, RW, V),
    ROW(CONN_C1, "CONN/C1", "8", S_OP, NONE, NO_DEST, 3, V, RW, CT),
    ROW(CONN_C2, "CONN/C2", "9", OP_C, NONE, NO_DEST, 3, V, RW, CT),
    ROW(IN_R1_A1, "IN_R1/A1", "10", C_IP, RECY, NO_DEST, 4, V, CK, CK, CK),
    ROW(IN_R1_A2, "IN_R1/A2", "11", IP_S, IN | RECY, NO_DEST, 6, V, CK, CK, CK, RW, CT),
    ROW(IN_R1_A3, "IN_R1/A3", "12", S_OP, NONE, TO_C, 4, D, V, RW, CT),
    ROW(IN_R1_A4, "IN_R1/A4", "13", OP_C, NONE, TO_C, 4, D, V, RW, CT),
    ROW(IN_R1_A5, "IN_R1/A5", "14", C_IP, NONE, NO_DEST, 1, CK),
    ROW(IN_R1_A6, "IN_R1/A6", "15", IP_S, NONE, NO_DEST, 1, CK),
    ROW(IN_R1_B1, "IN_R1/B1", "16", IP_S, NONE, NO_DEST, 1, E),
    ROW(IN_R1_B2, "IN_R1/B2", "17", S_IP, NONE, NO_DEST, 1, RW),
    ROW(IN_R2_A1, "IN_R2/A1", "18", C_IP, RECY, NO_DEST, 4, V, CK, CK, CK),
    ROW(IN_R2_A2, "IN_R2/A2", "19", IP_S, NONE, NO_DEST, 1, CK),
    ROW(IN_R2_A3, "IN_R2/A3", "20", S_OP, NONE, TO_C, 1, D),
    ROW(IN_R2_A4, "IN_R2/A4", "21", OP_C, NONE, TO_C, 1, D),
    ROW(IN_R2_A5, "IN_R2/A5", "22", C_IP, NONE, NO_DEST, 1, CK),
    ROW(OUT_R1_A1, "OUT_R1/A1", "23", S_OP, RECY, TO_C, 1, D),
    ROW(OUT_R1_A2, "OUT_R1/A2", "24", OP_C, RECY, TO_C, 1, D),
    ROW(OUT_R1_A3, "OUT_R1/A3", "25", C_OP, RECY, NO_DEST, 5, V, CK, CK, CK, RW),
    ROW(OUT_R1_A4, "OUT_R1/A4", "26", OP_S, RECY | OUT, NO_DEST, 7, V, CK, CK, CK, CL, RW, CT),
    ROW(OUT_R1_A5, "OUT_R1/A5", "27", S_OP, OUT, TO_C, 3, D, V, CT),
    ROW(OUT_R1_A6, "OUT_R1/A6", "28", OP_C, OUT, TO_C, 3, D, V, CT),
    ROW(OUT_R1_A7, "OUT_R1/A7", "29", C_IP, OUT, TO_S, 2, D, CK),
    ROW(OUT_R1_A8, "OUT_R1/A8", "30", IP_S, OUT, TO_S, 2, D, CK),
    ROW(OUT_R1_A9, "OUT_R1/A9", "31", S_OP, NONE, NO_DEST, 1, AN),
    ROW(OUT_R1_A10, "OUT_R1/A10", "32", OP_C, NONE, NO_DEST, 1, AN),
    ROW(OUT_R1_A11, "OUT_R1/A11", "33", C_OP, NONE, NO_DEST, 1, AN),
    ROW(OUT_R2_A1, "OUT_R2/A1", "34", S_OP, RECY, TO_C, 1, D),
    ROW(OUT_R2_A2, "OUT_R2/A2", "35", OP_C, RECY, TO_C, 1, D),
    ROW(OUT_R2_A3, "OUT_R2/A3", "36", C_OP, RECY, NO_DEST, 5, V, CK, CK, CK, RW),
    ROW(OUT_R2_A4, "OUT_R2/A4", "37", OP_S, NONE, NO_DEST, 1, CK),
    ROW(OUT_R2_A5, "OUT_R2/A5", "38", S_OP, NONE, TO_C, 2, D, AN),
    ROW(OUT_R2_A6, "OUT_R2/A6", "39", OP_C, NONE, TO_C, 2, D, AN),
    ROW(OUT_R2_A7, "OUT_R2/A7", "40", C_IP, OUT, TO_S, 3, D, CK, V),
    ROW(OUT_R2_A8, "OUT_R2/A8", "41", IP_S, OUT, TO_S, 2, D, CK),
    ROW(OUT_R2_B1, "OUT_R2/B1", "42", S_OP, NONE, NO_DEST, 1, AN),
    ROW(OUT_R2_B2, "OUT_R2/B2", "43", S_OP, NONE, NO_DEST, 1, NA),
    ROW(OUT_R2_B3, "OUT_R2/B3", "44", OP_C, RTS_FLAG_EOF, NO_DEST, 1, AN),
    ROW(OUT_R2_C1, "OUT_R2/C1", "45", C_OP, PING, NO_DEST, 1, E),
    ROW(KEEP_ALIVE, "Keep-Alive", "46", C_IP, OTHR, NO_DEST, 1, KA),
    ROW(PING_TRAFFIC_SENT_NOTIFY, "PingTrafficSentNotify", "47", OP_S, OTHR, NO_DEST, 1, PT),
    ROW(ECHO, "Echo", "48", IP_C | OP_C, RTS_FLAG_ECHO, NO_DEST, 0, 0),
    ROW(PING, "Ping", "49", C_IP | OP_C, RTS_FLAG_PING, NO_DEST, 0, 0),
    ROW(FLOW_CONTROL_ACK, "FlowControlAck", "50", S_IP | OP_S, OTHR, NO_DEST, 1, FCA),
    ROW(FLOW_CONTROL_ACK_WITH_DESTINATION, "FlowControlAckWithDestination", "51",
        C_IP | IP_S | S_OP | OP_C, OTHR, ANY_DEST, 2, D, FCA),
};

const rts_pdu_info_t *rts_info(rts_pdu_id_t id)
{
    return &table[(unsigned)id < RTS_PDU_COUNT ? id : RTS_UNKNOWN];
}

/* ---- reading ---- */

typedef struct cursor {
    const uint8_t *at, *end;
} cursor_t;

static int get_bytes(cursor_t *c, void *to, size_t len)
{
    if ((size_t)(c->end - c->at) < len)
        return 0;
    if (to)
        memcpy(to, c->at, len);
    c->at += len;
    return 1;
}

static int get_u16(cursor_t *c, uint16_t *value)
{
    uint8_t b[2];

    if (!get_bytes(c, b, 2))
        return 0;
    *value = (uint16_t)(b[0] | b[1] << 8);
    return 1;
}

static int get_u32(cursor_t *c, uint32_t *value)
{
    uint16_t low, high;

    if (!get_u16(c, &low) || !get_u16(c, &high))
        return 0;
    *value = low | (uint32_t)high << 16;
    return 1;
}

static const char CUT_SHORT[] = "a command is cut short";

/* 2.2.3.2: IPv4 is written as a little-endian number, IPv6 in network order:
 * doc/protocol.md, "ClientAddress" */
static const char *get_address(cursor_t *c, rts_address_t *address)
{
    uint32_t type;
    uint8_t b[4];
    int i;

    memset(address, 0, sizeof(*address));
    if (!get_u32(c, &type))
        return CUT_SHORT;
    if (type > 1)
        return "ClientAddress of an unknown type";
    address->ipv6 = (int)type;
    if (type == 1)
        return get_bytes(c, address->addr, 16) && get_bytes(c, NULL, 12) ? NULL : CUT_SHORT;
    if (!get_bytes(c, b, 4) || !get_bytes(c, NULL, 12))
        return CUT_SHORT;
    for (i = 0; i < 4; i++)
        address->addr[i] = b[3 - i];
    return NULL;
}

static const char *get_ack(cursor_t *c, rts_ack_t *ack)
{
    return get_u32(c, &ack->bytes_received) && get_u32(c, &ack->available_window)
           && get_bytes(c, ack->cookie.b, sizeof(ack->cookie.b)) ? NULL : CUT_SHORT;
}

static const char *get_command(cursor_t *c, rts_command_t *cmd, int first)
{
    if (!get_u32(c, &cmd->type))
        return CUT_SHORT;
    switch (cmd->type) {
    case RW: case CT: case CL: case KA: case V: case PT:
        return get_u32(c, &cmd->u.u32) ? NULL : CUT_SHORT;
    case D:
        if (!get_u32(c, &cmd->u.u32))
            return CUT_SHORT;
        if (cmd->u.u32 > RTS_FD_OUT_PROXY)
            return "unknown Destination";
        return first ? NULL : "Destination is not the first command";
    case CK: case AG:
        return get_bytes(c, cmd->u.cookie.b, sizeof(cmd->u.cookie.b)) ? NULL : CUT_SHORT;
    case FCA:
        return get_ack(c, &cmd->u.ack);
    case CA:
        return get_address(c, &cmd->u.address);
    case RTS_CMD_PADDING:
        return get_u32(c, &cmd->u.u32) && get_bytes(c, NULL, cmd->u.u32) ? NULL : CUT_SHORT;
    case E: case NA: case AN:
        return NULL;
    default:
        return "unknown command";
    }
}

/* The fields that 2.2.3.6.1 fixes. */
static const char *get_header(cursor_t *c, size_t len, rts_pdu_t *pdu)
{
    static const uint8_t start[8] = { 5, 0, 20, 3, 0x10, 0, 0, 0 };
    uint8_t b[8];
    uint16_t frag_length, auth_length;
    uint32_t call_id;

    if (!get_bytes(c, b, 8) || !get_u16(c, &frag_length) || !get_u16(c, &auth_length)
        || !get_u32(c, &call_id) || !get_u16(c, &pdu->flags) || !get_u16(c, &pdu->count))
        return "shorter than its header";
    if (memcmp(b, start, 8) != 0)
        return "version, type, flags or data representation is none of an RTS PDU";
    if (frag_length != len)
        return "frag_length differs from the length";
    if (auth_length != 0)
        return "auth_length is not 0";
    if (call_id != 0)
        return "call_id is not 0";
    if (pdu->count > RTS_MAX_COMMANDS)
        return "more commands than any RTS PDU has";
    return NULL;
}

const char *rts_parse(const uint8_t *data, size_t len, rts_pdu_t *pdu)
{
    cursor_t c = { data, data + len };
    const char *wrong;
    int i;

    memset(pdu, 0, sizeof(*pdu));
    wrong = get_header(&c, len, pdu);
    for (i = 0; !wrong && i < pdu->count; i++)
        wrong = get_command(&c, &pdu->cmd[i], i == 0);
    if (!wrong && c.at != c.end)
        wrong = "bytes left over after the last command";
    if (wrong)
        pdu->count = 0;     /* a caller that ignores the error finds no commands */
    return wrong;
}

/* ---- recognising ---- */

static int commands_match(const rts_pdu_t *pdu, const rts_pdu_info_t *info)
{
    int i;

    if (pdu->count != info->count)
        return 0;
    for (i = 0; i < pdu->count; i++) {
        if (pdu->cmd[i].type == info->cmd[i])
            continue;
        if (info->id == RTS_OUT_R2_C1 && pdu->cmd[i].type == RTS_CMD_PADDING)
            continue;   /* 2.2.4.45: Empty or Padding */
        return 0;
    }
    return 1;
}

static int destination_matches(const rts_pdu_t *pdu, const rts_pdu_info_t *info)
{
    return info->destination == ANY_DEST || info->destination == rts_destination(pdu);
}

rts_pdu_id_t rts_identify(const rts_pdu_t *pdu, rts_hop_t hop)
{
    int id;

    for (id = RTS_UNKNOWN + 1; id < RTS_PDU_COUNT; id++) {
        const rts_pdu_info_t *info = &table[id];
        /* A7 is passed on unchanged, so A8 may have its Version (2.2.4.40, 2.2.4.41). */
        const rts_pdu_info_t *shape = id == RTS_OUT_R2_A8 && pdu->count == 3
                                      ? &table[RTS_OUT_R2_A7] : info;

        if ((info->hops & hop) && pdu->flags == shape->flags && commands_match(pdu, shape)
            && destination_matches(pdu, shape))
            return (rts_pdu_id_t)id;
    }
    return RTS_UNKNOWN;
}

static const rts_command_t *find_command(const rts_pdu_t *pdu, uint32_t type, int nth)
{
    int i;

    for (i = 0; i < pdu->count; i++) {
        if (pdu->cmd[i].type == type && nth-- == 0)
            return &pdu->cmd[i];
    }
    return NULL;
}

int rts_destination(const rts_pdu_t *pdu)
{
    return pdu->count && pdu->cmd[0].type == D ? (int)pdu->cmd[0].u.u32 : -1;
}

uint32_t rts_u32(const rts_pdu_t *pdu, rts_command_type_t type, uint32_t deflt)
{
    const rts_command_t *cmd = find_command(pdu, type, 0);

    return cmd ? cmd->u.u32 : deflt;
}

const rts_cookie_t *rts_cookie(const rts_pdu_t *pdu, int nth)
{
    const rts_command_t *cmd = find_command(pdu, CK, nth);

    return cmd ? &cmd->u.cookie : NULL;
}

const rts_cookie_t *rts_group(const rts_pdu_t *pdu)
{
    const rts_command_t *cmd = find_command(pdu, AG, 0);

    return cmd ? &cmd->u.cookie : NULL;
}

const rts_ack_t *rts_ack(const rts_pdu_t *pdu)
{
    const rts_command_t *cmd = find_command(pdu, FCA, 0);

    return cmd ? &cmd->u.ack : NULL;
}

/* ---- writing ---- */

void rts_begin(rts_pdu_t *pdu, rts_pdu_id_t id)
{
    const rts_pdu_info_t *info = rts_info(id);
    int i;

    memset(pdu, 0, sizeof(*pdu));
    pdu->flags = info->flags;
    pdu->count = info->count;
    for (i = 0; i < info->count; i++) {
        pdu->cmd[i].type = info->cmd[i];
        if (info->cmd[i] == V)
            pdu->cmd[i].u.u32 = 1;
    }
    if (info->destination >= 0)
        pdu->cmd[0].u.u32 = (uint32_t)info->destination;
}

/* The command to set. If the PDU has no such command, the caller is wrong. */
static rts_command_t *must_find(rts_pdu_t *pdu, uint32_t type, int nth)
{
    rts_command_t *cmd = (rts_command_t *)find_command(pdu, type, nth);

    assert(cmd);
    return cmd;
}

void rts_set_u32(rts_pdu_t *pdu, rts_command_type_t type, uint32_t value)
{
    must_find(pdu, type, 0)->u.u32 = value;
}

void rts_set_cookie(rts_pdu_t *pdu, int nth, const rts_cookie_t *cookie)
{
    must_find(pdu, CK, nth)->u.cookie = *cookie;
}

void rts_set_group(rts_pdu_t *pdu, const rts_cookie_t *group)
{
    must_find(pdu, AG, 0)->u.cookie = *group;
}

void rts_set_ack(rts_pdu_t *pdu, const rts_ack_t *ack)
{
    must_find(pdu, FCA, 0)->u.ack = *ack;
}

void rts_set_address(rts_pdu_t *pdu, const rts_address_t *address)
{
    must_find(pdu, CA, 0)->u.address = *address;
}

typedef struct writer {
    uint8_t *buf;
    size_t at, cap;
    int overflow;
} writer_t;

static void put_bytes(writer_t *w, const void *from, size_t len)
{
    if (w->overflow || w->cap - w->at < len) {
        w->overflow = 1;
        return;
    }
    if (from)
        memcpy(w->buf + w->at, from, len);
    else
        memset(w->buf + w->at, 0, len);
    w->at += len;
}

static void put_u16(writer_t *w, uint16_t value)
{
    uint8_t b[2] = { (uint8_t)value, (uint8_t)(value >> 8) };

    put_bytes(w, b, 2);
}

static void put_u32(writer_t *w, uint32_t value)
{
    put_u16(w, (uint16_t)value);
    put_u16(w, (uint16_t)(value >> 16));
}

static void put_address(writer_t *w, const rts_address_t *address)
{
    int i;

    put_u32(w, address->ipv6 ? 1 : 0);
    if (address->ipv6)
        put_bytes(w, address->addr, 16);
    else
        for (i = 3; i >= 0; i--)
            put_bytes(w, &address->addr[i], 1);
    put_bytes(w, NULL, 12);
}

static void put_command(writer_t *w, const rts_command_t *cmd)
{
    put_u32(w, cmd->type);
    switch (cmd->type) {
    case E: case NA: case AN:
        break;
    case CK: case AG:
        put_bytes(w, cmd->u.cookie.b, sizeof(cmd->u.cookie.b));
        break;
    case FCA:
        put_u32(w, cmd->u.ack.bytes_received);
        put_u32(w, cmd->u.ack.available_window);
        put_bytes(w, cmd->u.ack.cookie.b, sizeof(cmd->u.ack.cookie.b));
        break;
    case CA:
        put_address(w, &cmd->u.address);
        break;
    case RTS_CMD_PADDING:
        put_u32(w, cmd->u.u32);
        put_bytes(w, NULL, cmd->u.u32);
        break;
    default:
        put_u32(w, cmd->u.u32);
    }
}

size_t rts_write(const rts_pdu_t *pdu, uint8_t *buf, size_t cap)
{
    static const uint8_t start[8] = { 5, 0, 20, 3, 0x10, 0, 0, 0 };
    writer_t w = { buf, 0, cap, 0 };
    int i;

    put_bytes(&w, start, sizeof(start));
    put_bytes(&w, NULL, 8);     /* frag_length below; auth_length and call_id are 0 */
    put_u16(&w, pdu->flags);
    put_u16(&w, pdu->count);
    for (i = 0; i < pdu->count; i++)
        put_command(&w, &pdu->cmd[i]);
    if (w.overflow || w.at > 65535)
        return 0;
    buf[8] = (uint8_t)w.at;
    buf[9] = (uint8_t)(w.at >> 8);
    return w.at;
}

int rts_cookie_equal(const rts_cookie_t *a, const rts_cookie_t *b)
{
    return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}
