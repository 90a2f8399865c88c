/* rts_fuzz: any bytes through rts_parse(). What it accepts must be the same after rts_write(). The
 * first byte of an input chooses: 0, the rest is a PDU; 1, the same with its frag_length put
 * right; above, a row of the table, whose values are the rest.
 */
#include "wire/rts.h"

#include "fuzz.h"

/* Padding's content and what fills up a ClientAddress mean nothing: zero in both. */
static void zero_padding(const rts_pdu_t *pdu, uint8_t *data, size_t len)
{
    static const uint8_t value_size[RTS_CMD_COUNT] = { 4, 24, 4, 16, 4, 4, 4, 0, 4, 0, 0, 20, 16, 4,
                                                       4 };
    size_t at = RTS_HEADER_SIZE;
    int i;

    for (i = 0; i < pdu->count; i++) {
        const rts_command_t *cmd = &pdu->cmd[i];

        at += 4 + value_size[cmd->type];
        if (cmd->type == RTS_CMD_CLIENT_ADDRESS && cmd->u.address.ipv6)
            at += 12;
        MUST(at <= len, "command %d ends at %zu of %zu", i, at, len);
        if (cmd->type == RTS_CMD_CLIENT_ADDRESS)
            memset(data + at - 12, 0, 12);
        if (cmd->type == RTS_CMD_PADDING) {
            memset(data + at, 0, cmd->u.u32);
            at += cmd->u.u32;
        }
    }
    MUST(at == len, "commands end at %zu of %zu", at, len);
}

static void look_at(const rts_pdu_t *pdu)
{
    int hop;

    for (hop = RTS_HOP_C_IP; hop <= RTS_HOP_S_OP; hop <<= 1) {
        rts_pdu_id_t id = rts_identify(pdu, (rts_hop_t)hop);
        const rts_pdu_info_t *info = rts_info(id);

        MUST(info->id == id && info->name, "row %d", id);
        MUST(id == RTS_UNKNOWN || ((info->hops & (unsigned)hop) && info->flags == pdu->flags),
             "%s on hop 0x%x", info->name, hop);
    }
    MUST(rts_destination(pdu) <= RTS_FD_OUT_PROXY, "destination %d", rts_destination(pdu));
    rts_cookie(pdu, 2);
    rts_group(pdu);
    rts_ack(pdu);
}

/* One PDU that parses; DATA is ours to change. */
static void round_trip(const rts_pdu_t *pdu, uint8_t *data, size_t len)
{
    uint8_t *buf = malloc(len);
    size_t size = rts_write(pdu, buf, len);

    MUST(size == len, "%zu bytes, written as %zu", len, size);
    zero_padding(pdu, data, len);
    MUST(memcmp(buf, data, len) == 0, "written differently");
    MUST(rts_write(pdu, buf, len - 1) == 0, "%zu bytes written into one less", len);
    free(buf);
}

static void read_bytes(const uint8_t *data, size_t len, int fix_length)
{
    uint8_t *copy = fuzz_copy(data, len);
    const char *wrong;
    rts_pdu_t pdu;

    if (fix_length && len >= 10) {
        copy[8] = (uint8_t)len;
        copy[9] = (uint8_t)(len >> 8);
    }
    wrong = rts_parse(copy, len, &pdu);
    MUST(!wrong || pdu.count == 0, "%s, yet %d commands", wrong, pdu.count);
    look_at(&pdu);
    if (!wrong)
        round_trip(&pdu, copy, len);
    free(copy);
}

/* A PDU of the table, its values from the input, is recognised on each of its hops. */
static void write_row(rts_pdu_id_t id, const uint8_t *data, size_t len)
{
    uint8_t buf[RTS_MAX_SIZE];
    rts_pdu_t pdu, again;
    const char *wrong;
    size_t size;
    int i, hop;

    rts_begin(&pdu, id);
    for (i = 0; i < pdu.count; i++) {
        rts_command_t *cmd = &pdu.cmd[i];
        size_t take = len < 16 ? len : 16;

        if (cmd->type == RTS_CMD_DESTINATION || cmd->type == RTS_CMD_CLIENT_ADDRESS)
            continue;
        memcpy(&cmd->u, data, take);
        data += take;
        len -= take;
    }
    size = rts_write(&pdu, buf, sizeof(buf));
    MUST(size >= RTS_HEADER_SIZE, "%s written as %zu bytes", rts_info(id)->name, size);
    wrong = rts_parse(buf, size, &again);
    MUST(!wrong, "%s: %s", rts_info(id)->name, wrong);
    for (hop = RTS_HOP_C_IP; hop <= RTS_HOP_S_OP; hop <<= 1)
        MUST(id == RTS_UNKNOWN || !(rts_info(id)->hops & (unsigned)hop)
                 || rts_identify(&again, (rts_hop_t)hop) <= id,
             "%s not recognised", rts_info(id)->name);
    look_at(&again);
    round_trip(&again, buf, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (data[0] < 2)
        read_bytes(data + 1, size - 1, data[0]);
    else
        write_row((rts_pdu_id_t)((data[0] - 2) % RTS_PDU_COUNT), data + 1, size - 1);
    return 0;
}
