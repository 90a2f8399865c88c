/* proxy_fuzz: the inbound, outbound and mixed proxies with clients and servers that do anything.
 *
 * There are two proxies on two loops, so that channels are handed over; two virtual connections. A
 * script opens clients and lets them, and the server at the end of each leg, send PDUs of the table
 * or none, RPC PDUs, acknowledgements; close, fail, stop reading; and lets time pass. Whatever
 * comes out is checked by proxy_model.c. Where the settings say so a firewall is among it, and
 * clients bind: proxy_binds.c.
 */
#include "proxy_binds.h"
#include "proxy_model.h"

/* An OUT client may have closed its sending side only, until its leg is there or is given up. */
#define LEAVE_TIME apr_time_from_sec(600)
#include "game.h"
#include "wire/farewell.h"

/* ---- who ---- */

/* The last client of this kind and connection, before one; NULL: there was none. */
static side_t *latest(const game_t *game, side_kind_t kind, int vc, int before)
{
    while (--before >= 0) {
        if (game->sides[before]->kind == kind && game->sides[before]->vc == vc)
            return game->sides[before];
    }
    return NULL;
}

/* ---- PDUs ---- */

/* What is free of the window of whoever hears the leg's PDUs: hop 2 at an IN leg, else hop 4. */
static rts_ack_t true_ack(const side_t *leg, const side_t *client)
{
    const side_t *receiver = client && client->kind == SIDE_OUT ? client : leg;
    int64_t available = receiver->window - receiver->held;
    rts_ack_t ack = { (uint32_t)receiver->received, available > 0 ? (uint32_t)available : 0,
                      side_cookie(client ? client : leg) };

    return ack;
}

static rts_cookie_t cookie_for(const side_t *side, rts_pdu_id_t id, int nth)
{
    const game_t *game = side->game;
    int replacing = id == RTS_IN_R1_A1 || id == RTS_OUT_R1_A3;
    const side_t *other = NULL;

    if (id == RTS_CONN_A1 || id == RTS_CONN_B1 || replacing) {
        if (nth == 0)
            return model_cookie((uint8_t)(0xa0 + side->vc));
        if (replacing && nth == 1)
            other = latest(game, side->kind, side->vc, side->number);
        else
            other = side;
    }
    else if (id == RTS_IN_R1_A5)
        other = latest(game, SIDE_IN, side->vc, game->side_count);
    else
        other = latest(game, SIDE_OUT, side->vc, game->side_count);
    return other ? side_cookie(other) : model_cookie(0);
}

/* The value of a command; variant 3: one that it should not have. */
static uint32_t value_for(const side_t *side, uint32_t type, int variant, unsigned arg)
{
    if (variant == 3)
        return arg & 32 ? 0xffffffff : arg & 16 ? 1 : 0;
    switch (type) {
    case RTS_CMD_RECEIVE_WINDOW_SIZE:
        return side->kind == SIDE_LEG ? side->game->server_window : side->game->client_window;
    case RTS_CMD_CONNECTION_TIMEOUT:
        return 120000;
    case RTS_CMD_CHANNEL_LIFETIME:
        return side->game->lifetime;
    case RTS_CMD_VERSION:
        return 1;
    default:
        return 300000;
    }
}

static void make_pdu(side_t *side, rts_pdu_id_t id, int variant, unsigned arg, rts_pdu_t *pdu)
{
    int i, cookies = 0;

    rts_begin(pdu, id);
    for (i = 0; i < pdu->count; i++) {
        rts_command_t *cmd = &pdu->cmd[i];

        switch (cmd->type) {
        case RTS_CMD_COOKIE:
            cmd->u.cookie = cookie_for(side, id, cookies++);
            if (variant == cookies)
                cmd->u.cookie.b[0] ^= (uint8_t)(arg | 1);
            break;
        case RTS_CMD_FLOW_CONTROL_ACK:
            cmd->u.ack = true_ack(side, model_current(side));
            break;
        case RTS_CMD_DESTINATION:
            if (id == RTS_FLOW_CONTROL_ACK_WITH_DESTINATION)
                cmd->u.u32 = side->kind == SIDE_LEG && !(arg & 64) ? RTS_FD_OUT_PROXY
                                                                   : arg >> 4 & 3;
            break;
        case RTS_CMD_ASSOCIATION_GROUP_ID: case RTS_CMD_CLIENT_ADDRESS:
        case RTS_CMD_EMPTY: case RTS_CMD_ANCE: case RTS_CMD_NEGATIVE_ANCE:
            break;
        default:
            cmd->u.u32 = value_for(side, cmd->type, variant, arg);
        }
    }
}

/* Which PDUs one may expect from a side. */
static rts_pdu_id_t usual(const side_t *side, unsigned arg)
{
    static const rts_pdu_id_t in_client[] = { RTS_IN_R1_A5, RTS_OUT_R1_A7, RTS_OUT_R2_A7, RTS_PING,
                                              RTS_KEEP_ALIVE,
                                              RTS_FLOW_CONTROL_ACK_WITH_DESTINATION };
    static const rts_pdu_id_t out_client[] = { RTS_OUT_R1_A11, RTS_OUT_R2_C1 };
    static const rts_pdu_id_t in_leg[] = { RTS_CONN_B3, RTS_IN_R1_B2, RTS_FLOW_CONTROL_ACK };
    static const rts_pdu_id_t out_leg[] = { RTS_CONN_C1, RTS_IN_R1_A3, RTS_IN_R2_A3, RTS_OUT_R1_A1,
                                            RTS_OUT_R1_A5, RTS_OUT_R1_A9, RTS_OUT_R2_A5,
                                            RTS_OUT_R2_B2,
                                            RTS_FLOW_CONTROL_ACK_WITH_DESTINATION };
    const side_t *client = side->kind == SIDE_LEG ? side->game->sides[side->client] : NULL;

    if (arg >= 128)
        return (rts_pdu_id_t)(arg % RTS_PDU_COUNT);
    arg &= 15;
    if (side->kind == SIDE_IN)
        return in_client[arg % (sizeof(in_client) / sizeof(in_client[0]))];
    if (side->kind == SIDE_OUT)
        return out_client[arg % 2];
    if (client && client->kind == SIDE_IN)
        return in_leg[arg % 3];
    return out_leg[arg % (sizeof(out_leg) / sizeof(out_leg[0]))];
}

/* The books follow what is said: a window at B3 and B2, a division at A5, A9 and B1. */
static void note_pdu(side_t *side, const rts_pdu_t *pdu)
{
    rts_hop_t hop = side->kind == SIDE_IN                            ? RTS_HOP_C_IP
                  : side->kind == SIDE_OUT                           ? RTS_HOP_C_OP
                  : side->game->sides[side->client]->kind == SIDE_IN ? RTS_HOP_S_IP
                                                                     : RTS_HOP_S_OP;
    rts_pdu_id_t id = rts_identify(pdu, hop);

    if ((id == RTS_CONN_B3 || id == RTS_IN_R1_B2) && side->window < 0)
        side->window = rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0);
    if (id == RTS_IN_R1_A5 || id == RTS_OUT_R1_A9)
        traffic_mark(&side->traffic);
}

static void say_id(side_t *side, rts_pdu_id_t id, int variant, unsigned arg)
{
    rts_pdu_t pdu;

    make_pdu(side, id, variant, arg, &pdu);
    script_trace("%d says %s%s", side->number, rts_info(id)->name,
                 variant ? " with something wrong" : "");
    if (fake_alive(side->peer)) {
        note_pdu(side, &pdu);
        say_pdu(side, &pdu);
    }
}

/* A server obeys its window, unless it is to BREAK it; clients need not. */
static void say_rpc(side_t *side, uint32_t size, int break_it)
{
    static uint8_t buf[DCERPC_MAX_PDU];
    int out_leg = side->kind == SIDE_LEG && side->game->sides[side->client]->kind == SIDE_OUT;

    if (size > side->game->budget || !fake_alive(side->peer)
        || (out_leg && side->may_send < (int64_t)size && !break_it))
        return;
    side->game->budget -= size;
    side->may_send -= size;
    side->sent += size;
    fake_say(side->peer, buf, traffic_make(&side->traffic, side->number, size, buf));
}

/* What a firewall looks at. */
static void say_bind(side_t *client, unsigned shape)
{
    uint8_t buf[BINDS_MAX];
    size_t size;

    if (client->game->budget < sizeof(buf) || !fake_alive(client->peer))
        return;
    size = binds_make(client, shape, buf);
    script_trace("%d says a PDU of type %d, %zu bytes, shape %03x", client->number, buf[2], size,
                 shape);
    client->game->budget -= size;
    fake_say(client->peer, buf, size);
}

/* ---- steps ---- */

static void fill_spec(side_t *client, int stranger, int other_rules)
{
    static const rts_address_t address = { 0, { 192, 0, 2, 1 } };
    const game_t *game = client->game;
    rpc_channel_spec_t *spec = &client->spec;

    spec->role = client->kind == SIDE_IN  ? RPC_INBOUND
               : client->kind == SIDE_OUT ? RPC_OUTBOUND
                                          : RPC_MIXED;
    spec->content_length = client->kind == SIDE_IN ? game->content_length : INT64_MAX;
    snprintf(client->identity, sizeof(client->identity), "%s", stranger ? "mallory" : "alice");
    spec->identity = client->identity;
    client->servers = (rpc_server_list_t){
        1, { { RPC_PROTSEQ_HTTP, "server", (uint16_t)client->number } }
    };
    spec->leg.servers = &client->servers;
    snprintf(client->unix_path, sizeof(client->unix_path), "%d", client->number);
    spec->leg.unix_path = game->with_unix_path ? client->unix_path : NULL;
    spec->preface = (const uint8_t *)PREFACE;
    spec->preface_len = game->with_preface ? strlen(PREFACE) : 0;
    spec->client_address = address;
    spec->receive_window = game->receive_window;
    spec->connection_timeout = apr_time_from_sec(120);
    spec->channel_lifetime = game->lifetime;
    spec->leg.timeout = apr_time_from_sec(10);
    spec->setup_timeout = spec->first_pdu_timeout = apr_time_from_sec(30);
    spec->idle_timeout = apr_time_from_sec(240);
    spec->log = &game->log;
    spec->ended = model_ended;
    spec->ctx = client;
    binds_fill_spec(client, other_rules);
}

/* A client of KIND. Variant 0: opens a connection; 1: replaces its predecessor; 2: says nothing
 * yet; 3: as 1, with a cookie that is wrong. WHO: which connection, a stranger's, whose loop. */
static void new_client(game_t *game, const step_t *step, side_kind_t kind)
{
    int variant = VARIANT(step->op), stranger = (step->who & 14) == 14;
    side_t *client = side_new(game, kind, step->who & 1);
    int loop = step->who >> 4 & 1;

    if (!client)
        return;
    script_trace("%d: a client, kind %d, variant %d, connection %d", client->number, kind, variant,
                 client->vc);
    fill_spec(client, stranger, step->who & 32);
    if (kind == SIDE_IN && game->content_length != INT64_MAX)
        client->peer->length = (uint64_t)game->content_length;
    client->peer->chunk = step->arg >> 4;
    rpc_channel_start(game->proxies[loop], fake_open_http(client->peer, game->world->loops[loop]),
                      &client->spec);
    if (kind == SIDE_MIXED || variant == 2)
        return;
    say_id(client, kind == SIDE_IN ? (variant ? RTS_IN_R1_A1 : RTS_CONN_B1)
                                   : (variant ? RTS_OUT_R1_A3 : RTS_CONN_A1),
           variant == 3 ? 1 + (step->arg & 1) : 0, step->arg);
}

static void op_in(game_t *game, const step_t *step)
{
    new_client(game, step, SIDE_IN);
}

static void op_out(game_t *game, const step_t *step)
{
    new_client(game, step, SIDE_OUT);
}

static void op_mixed(game_t *game, const step_t *step)
{
    new_client(game, step, SIDE_MIXED);
}

/* An RTS PDU. Variant 1, 2: with that cookie wrong; 3: with values wrong. */
static void op_rts(game_t *game, const step_t *step)
{
    side_t *side = pick(game, -1, step->who);

    if (side && side->kind != SIDE_MIXED)
        say_id(side, usual(side, step->arg), VARIANT(step->op), step->arg);
}

static void op_rts_client(game_t *game, const step_t *step)
{
    side_t *side = pick(game, step->who & 1 ? SIDE_IN : SIDE_OUT, step->who >> 1);

    if (side)
        say_id(side, usual(side, step->arg & 127), VARIANT(step->op) & 1, step->arg);
}

static void op_rts_leg(game_t *game, const step_t *step)
{
    side_t *side = pick(game, SIDE_LEG, step->who);

    if (side)
        say_id(side, usual(side, step->arg & 127), 0, step->arg & ~64u);
}

/* Up to 16 RPC PDUs of one size; where there is a firewall, clients' variants 1 and 2 are for
 * it. */
static void op_rpc(game_t *game, const step_t *step)
{
    side_t *side = pick(game, -1, step->who);
    unsigned times = 1 + (step->arg >> 4);

    if (!side || (side->kind == SIDE_OUT && VARIANT(step->op) != 3))
        return;
    if (side->game->firewall && side->kind != SIDE_LEG
        && (VARIANT(step->op) == 1 || VARIANT(step->op) == 2)) {
        say_bind(side, (unsigned)VARIANT(step->op) << 8 | step->arg);
        return;
    }
    script_trace("%d says %u RPC PDUs of %u bytes", side->number, times, traffic_size(step->arg));
    while (times--)
        say_rpc(side, traffic_size(step->arg), VARIANT(step->op) == 3);
}

/* 0: the leg is none to our endpoint. */
static int say_farewell(side_t *leg)
{
    uint8_t buf[RPC_FAREWELL_MAX];

    if (!leg->game->with_unix_path || side_is_mixed(leg) || !fake_alive(leg->peer))
        return 0;
    script_trace("%d says farewell", leg->number);
    leg->farewell = FAREWELL;
    fake_say(leg->peer, buf, rpc_farewell_write(FAREWELL, "a farewell", buf));
    return 1;
}

/* Variant 2: our endpoint's last word instead, although it may go on. */
static void op_banner(game_t *game, const step_t *step)
{
    side_t *leg = pick(game, SIDE_LEG, step->who);

    if (!leg || (VARIANT(step->op) == 2 && say_farewell(leg)))
        return;
    script_trace("%d says the banner", leg->number);
    leg->garbage |= leg->said_banner || leg->traffic.sent || VARIANT(step->op) == 3;
    leg->said_banner = 1;
    fake_say(leg->peer, RTS_BANNER, RTS_BANNER_SIZE - (VARIANT(step->op) == 3));
}

/* Bytes that are no PDU, or the beginning of one. */
static void op_raw(game_t *game, const step_t *step)
{
    static const uint8_t bytes[] = { 5, 0, 0, 3, 0x10, 0, 0, 0, 0x10, 0x27, 0, 0, 1, 0, 0, 0, 7, 7,
                                     5, 0, 20, 3, 0x10, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0x55, 0,
                                     9, 0 };
    side_t *side = pick(game, -1, step->who);
    size_t from = step->arg & 31;

    if (!side)
        return;
    script_trace("%d says bytes", side->number);
    side->garbage = 1;
    fake_say(side->peer, bytes + from, 1 + ((sizeof(bytes) - from - 1) & (step->arg >> 3)));
}

/* A true acknowledgement: of hop 2 or of hop 4, after some of what is held was consumed. */
static void acknowledge(side_t *leg, unsigned share)
{
    side_t *client = model_current(leg), *receiver;
    int in_leg = leg->game->sides[leg->client]->kind == SIDE_IN;

    if (!client)
        return;
    receiver = in_leg ? leg : client;
    if (receiver->window < 0)
        return;
    receiver->held -= receiver->held * share / 255;
    say_id(leg, in_leg ? RTS_FLOW_CONTROL_ACK : RTS_FLOW_CONTROL_ACK_WITH_DESTINATION, 0, 0);
}

static void op_ack(game_t *game, const step_t *step)
{
    side_t *leg = pick(game, SIDE_LEG, step->who);

    if (leg)
        acknowledge(leg, step->arg);
}

/* One that cannot be true, or is of another channel. */
static void op_false_ack(game_t *game, const step_t *step)
{
    static const uint32_t values[] = { 0, 1, 100, 8192, 65536, 0x7fffffff, 0x80000000, 0xffffffff };
    side_t *leg = pick(game, SIDE_LEG, step->who), *client = leg ? model_current(leg) : NULL;
    rts_pdu_t pdu;
    rts_ack_t ack;

    if (!client)
        return;
    leg->honest = client->honest = 0;
    ack = true_ack(leg, client);
    ack.bytes_received = values[step->arg & 7];
    ack.available_window = values[step->arg >> 3 & 7];
    if (step->arg & 64)
        ack.cookie.b[3] ^= 0xff;
    rts_begin(&pdu, client->kind == SIDE_IN ? RTS_FLOW_CONTROL_ACK
                                            : RTS_FLOW_CONTROL_ACK_WITH_DESTINATION);
    if (client->kind == SIDE_OUT)
        rts_set_u32(&pdu, RTS_CMD_DESTINATION, step->arg & 128 ? RTS_FD_CLIENT : RTS_FD_OUT_PROXY);
    rts_set_ack(&pdu, &ack);
    say_pdu(leg, &pdu);
}

static void op_time(game_t *game, const step_t *step)
{
    static const int ms[] = { 1, 1000, 10001, 30001, 60001, 120001, 240001, 3600000 };

    script_trace("%d ms pass", ms[step->arg & 7]);
    fake_advance(game->world, apr_time_from_msec(ms[step->arg & 7]));
}

static void op_end_all(game_t *game, const step_t *step)
{
    if (step->arg < 240)
        return; /* rarely */
    script_trace("all end");
    rpc_proxy_end_all(game->proxies[step->who & 1], RPC_REASON_SHUTDOWN);
}

static op_t *const ops[32] = {
    op_in, op_out, op_mixed, op_connected, op_rts, op_rts, op_rts_client, op_rts_client,
    op_rts_leg, op_rts_leg, op_rts_leg, op_rpc, op_rpc, op_rpc, op_banner, op_raw,
    op_close, op_room, op_room, op_chunk, op_ack, op_ack, op_false_ack, op_time,
    op_end_all, op_turn, op_in, op_out, op_rpc, op_rts_client, op_ack, op_rts_leg,
};

/* ---- the game ---- */

static game_t *game_new(const uint8_t settings[3])
{
    static const rpc_dialer_t nobody;
    static const uint32_t windows[] = { 8192, 65536, 262144, 20000 };
    static const uint32_t lifetimes[] = { 131072, 1 << 30, 262144, 1000 };
    static const int64_t lengths[] = { INT64_MAX, 1 << 30, 131072, 1000 };
    game_t *game = calloc(1, sizeof(*game));
    int i;

    MUST(game, "out of memory");
    game->pool = script_pool();
    game->world = fake_world_new(game->pool);
    game->world->ctx = game;
    game->world->connected = model_connected;
    game->receive_window = windows[settings[0] & 3];
    game->client_window = windows[settings[0] >> 2 & 3];
    game->server_window = windows[settings[0] >> 4 & 3];
    game->world->hold_connects = settings[0] >> 6 & 1;
    game->lifetime = lifetimes[settings[1] & 3];
    game->content_length = lengths[settings[1] >> 2 & 3];
    game->with_preface = settings[1] >> 4 & 1;
    game->with_unix_path = settings[1] >> 5 & 1;
    game->firewall = settings[2] >> 3;
    game->budget = 1536 * 1024;
    script_log(&game->log);
    for (i = 0; i < FAKE_LOOPS; i++)
        game->proxies[i] = rpc_proxy_create(game->world->loops[i], &nobody, game->proxies,
                                            FAKE_LOOPS, game->pool);
    return game;
}

static void game_close(game_t *game)
{
    int i;

    for (i = 0; i < FAKE_LOOPS; i++)
        rpc_proxy_end_all(game->proxies[i], RPC_REASON_SHUTDOWN);
}

static int side_acknowledges(const side_t *side)
{
    return side->kind == SIDE_LEG;
}

static int side_is_of_pipe(const side_t *side)
{
    return side_is_mixed(side);
}
