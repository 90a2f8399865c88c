/* proxy_binds.c: the shape of a PDU defines its bytes, so the PDU that arrives is compared with the
 * one that was made. In a bind only syntaxes may differ, and only as the firewall replaces them.
 *
 *   shape 0x1XX  bit 0 alter_context; 1-2 contexts; 3-4 level; 5 the first context asks for what is
 *                not allowed, 6 the last does; 7 big-endian
 *   shape 0x2XX  bits 0-2 which; 3-4 level; 7 big-endian
 */
#include "proxy_binds.h"

#include "firewall/firewall.h"

#define BODY 28
#define CONTEXT 44              /* with one transfer syntax */
#define TOKEN 16
#define CO_CANCEL 18
#define ORPHANED 19

static const uint8_t levels[] = { 0, RPC_AUTH_LEVEL_CONNECT, RPC_AUTH_LEVEL_INTEGRITY,
                                  RPC_AUTH_LEVEL_PRIVACY };

/* ---- rules ---- */

static rpc_firewall_rules_t *rules_of(const game_t *game, const char *text)
{
    rpc_firewall_rules_t *rules = NULL;
    rpc_syntax_error_t err;

    MUST(rpc_firewall_rules_parse(game->pool, text, NULL, &rules, &err) == APR_SUCCESS, "%s",
         err.expected);
    return rules;
}

static void refused(void *ctx, rpc_reason_t reason, const char *text)
{
    side_t *client = ctx;

    script_trace("  %d: %s", client->number, text);
    MUST(!client->ended && client->kind != SIDE_OUT, "%d is refused a bind: %s", client->number,
         text);
    MUST(strstr(text, " refused: "), "%s", text);
}

void binds_fill_spec(side_t *client, int other_rules)
{
    const game_t *game = client->game;
    rpc_channel_spec_t *spec = &client->spec;

    spec->asked_port = 6001;
    spec->least_level = RPC_AUTH_LEVEL_NONE;
    spec->refused = refused;
    if (game->firewall & 16 && other_rules)
        return;
    if (game->firewall >> 2 & 3)
        spec->least_level = (rpc_auth_level_t)levels[game->firewall >> 2 & 3];
    switch (game->firewall & 3) {
    case 1:
        spec->rules = rules_of(game, "6001 emsmdb mgmt");
        break;
    case 2:
        spec->rules = rules_of(game, "6002 emsmdb");
        break;
    case 3:
        spec->rules = rpc_firewall_rules_both(game->pool, rules_of(game, "6001 emsmdb samr"),
                                              rules_of(game, "6001 emsmdb nspi"));
    }
}

static int has_rules(const side_t *client)
{
    return rpc_firewall_rules_cover(client->spec.rules, 6001);
}

static int is_guarded(const side_t *client)
{
    return has_rules(client) || client->spec.least_level > RPC_AUTH_LEVEL_NONE;
}

/* ---- PDUs ---- */

static const struct other {
    uint8_t ptype, flags;
    int contexts;               /* as announced; there is one */
} others[] = {
    { DCERPC_REQUEST, 3, 0 }, { DCERPC_AUTH3, 3, 0 }, { CO_CANCEL, 3, 0 }, { ORPHANED, 3, 0 },
    { DCERPC_RESPONSE, 3, 0 }, { DCERPC_BIND, 1, 1 }, { DCERPC_BIND, 3, 200 },
    { DCERPC_ALTER, 3, 2 },
};

static int is_bind(unsigned shape)
{
    return shape >> 8 == 1;
}

static unsigned level_of(unsigned shape)
{
    return levels[shape >> 3 & 3];
}

static unsigned contexts_of(unsigned shape)
{
    return is_bind(shape) ? 1 + (shape >> 1 & 3) : others[shape & 7].contexts ? 1 : 0;
}

static int asks_too_much(unsigned shape, unsigned context)
{
    return is_bind(shape)
        && ((shape & 32 && context == 0) || (shape & 64 && context == contexts_of(shape) - 1));
}

static void put_u16(uint8_t *at, unsigned value, int big)
{
    at[big ? 1 : 0] = (uint8_t)value;
    at[big ? 0 : 1] = (uint8_t)(value >> 8);
}

static void put_interface(uint8_t *at, const char *name, int big)
{
    const rpc_interface_info_t *info = rpc_interface_by_name(name, strlen(name));
    rpc_interface_t interface = { .major = info->major, .minor = info->minor };

    rpc_uuid_parse(info->uuid, RPC_UUID_TEXT, interface.uuid);
    rpc_interface_write(&interface, !big, at);
}

/* All but the call id. */
static size_t build(unsigned shape, uint8_t buf[BINDS_MAX])
{
    const struct other *other = &others[shape & 7];
    unsigned contexts = contexts_of(shape), i;
    size_t at = contexts ? BODY : DCERPC_HEADER_SIZE + 8;
    int big = shape >> 7 & 1;

    memset(buf, (int)(0x30 ^ shape), BINDS_MAX);
    memcpy(buf, (uint8_t[]){ 5, 0,
                             is_bind(shape) ? (shape & 1 ? DCERPC_ALTER : DCERPC_BIND)
                                            : other->ptype,
                             is_bind(shape) ? 3 : other->flags, big ? 0 : 0x10, 0, 0, 0 }, 8);
    if (contexts)
        buf[24] = (uint8_t)(is_bind(shape) ? contexts : (unsigned)other->contexts);
    for (i = 0; i < contexts; i++) {
        buf[at + 2] = 1;
        put_interface(buf + at + 4, asks_too_much(shape, i) ? "winreg" : "emsmdb", big);
        at += CONTEXT;
    }
    if (level_of(shape)) {
        buf[at] = 10;
        buf[at + 1] = (uint8_t)level_of(shape);
        at += 8 + TOKEN;
    }
    put_u16(buf + 8, (unsigned)at, big);
    put_u16(buf + 10, level_of(shape) ? TOKEN : 0, big);
    return at;
}

size_t binds_make(side_t *client, unsigned shape, uint8_t buf[BINDS_MAX])
{
    size_t size = build(shape, buf);

    if (client->traffic.sent == TRAFFIC_MAX)
        return 0;
    client->shapes[client->traffic.sent] = (uint16_t)shape;
    return traffic_stamp(&client->traffic, client->number, (uint32_t)size, buf);
}

/* ---- what may arrive ---- */

/* A bind's level: 1 enough, 0 too low, -1: an alter_context's, whatever was asked for before. */
static int is_enough(const side_t *client, unsigned shape)
{
    if (client->spec.least_level == RPC_AUTH_LEVEL_NONE
        || level_of(shape) >= client->spec.least_level)
        return 1;
    return !level_of(shape) && is_bind(shape) && shape & 1 ? -1 : 0;
}

/* Each context as it was asked for, or nobody's; EXPECTED is told. All or none by the level. */
static void must_be_harmless(const side_t *client, unsigned shape, const uint8_t *pdu,
                             uint8_t *expected)
{
    uint8_t nobody[RPC_SYNTAX_SIZE];
    rpc_interface_t interface = { .major = 0 };
    int enough = is_enough(client, shape), blind = 0;
    unsigned i;

    rpc_uuid_parse(RPC_FIREWALL_NOBODY, RPC_UUID_TEXT, interface.uuid);
    rpc_interface_write(&interface, !(shape & 128), nobody);
    for (i = 0; i < contexts_of(shape); i++) {
        size_t at = BODY + i * CONTEXT + 4;
        int too_much = has_rules(client) && asks_too_much(shape, i);
        int refused_here = !memcmp(pdu + at, nobody, sizeof(nobody));

        MUST(refused_here || !(too_much || !enough), "context %u of shape %03x has passed", i,
             shape);
        MUST(!refused_here || too_much || enough < 1, "context %u of shape %03x was allowed", i,
             shape);
        blind += refused_here && !too_much;
        if (refused_here)
            memcpy(expected + at, nobody, sizeof(nobody));
    }
    for (i = 0; blind && i < contexts_of(shape); i++)
        MUST(!memcmp(pdu + BODY + i * CONTEXT + 4, nobody, sizeof(nobody)),
             "blinded in part, for its level");
}

/* A guarded client's PDU that is no bind, or no good one. */
static void must_be_allowed(const side_t *client, unsigned shape, uint8_t ptype)
{
    rpc_auth_level_t least = client->spec.least_level;
    unsigned level = shape ? level_of(shape) : 0;

    MUST(ptype == DCERPC_REQUEST || ptype == DCERPC_AUTH3 || ptype == CO_CANCEL
             || ptype == ORPHANED,
         "PTYPE %u has passed, shape %03x", ptype, shape);
    if (ptype == DCERPC_REQUEST && least >= RPC_AUTH_LEVEL_INTEGRITY)
        MUST(level >= least, "a request of level %u has passed", level);
    if (ptype == DCERPC_AUTH3 && least > RPC_AUTH_LEVEL_NONE)
        MUST(level >= least, "an auth3 of level %u has passed", level);
}

void binds_arrive(side_t *leg, side_t *client, const uint8_t *pdu, uint32_t size)
{
    unsigned shape = client->kind == SIDE_LEG ? 0 : client->shapes[pdu[12] | (pdu[13] & 1) << 8];
    uint8_t expected[BINDS_MAX];

    if (leg->kind == SIDE_LEG && is_guarded(client)) {
        MUST(leg->bound || pdu[2] == DCERPC_BIND, "PTYPE %u before a bind", pdu[2]);
        if (!is_bind(shape))
            must_be_allowed(client, shape, pdu[2]);
    }
    leg->bound |= pdu[2] == DCERPC_BIND;
    if (!shape) {
        traffic_arrive(&client->traffic, client->number, pdu, size);
        return;
    }
    traffic_arrive_any(&client->traffic, client->number, pdu, size);
    build(shape, expected);
    memcpy(expected + 12, pdu + 12, 4);
    if (is_bind(shape))
        must_be_harmless(client, shape, pdu, expected);
    MUST(!memcmp(expected, pdu, size), "PDU %u of %d is another", pdu[12], client->number);
}
