/* endpoint_fuzz: the server role with proxies and targets that do anything.
 *
 * There are two virtual connections, each with its own target. A script opens legs, with a preface
 * or through a listener, of either kind or of version 1, and lets them and the targets send PDUs of
 * the table or none, RPC PDUs, acknowledgements; close, fail, stop reading; and lets time pass.
 * Whatever comes out is checked by endpoint_model.c.
 */
#include "endpoint_model.h"
#define LEAVE_TIME 0    /* all end at once */
#include "game.h"
#include "wire/farewell.h"

/* ---- PDUs ---- */

static rts_cookie_t own_cookie(const side_t *side)
{
    return model_cookie((uint8_t)(0x40 + side->number));
}

/* The predecessor of a replacement, or the successor that a PDU announces. */
static rts_cookie_t other_cookie(const side_t *side, rts_pdu_id_t id)
{
    const rpc_vc_t *vc = model_vc(side->game, side->vc);

    if (vc && id == RTS_IN_R1_A2 && vc->in)
        return vc->in->cookie;
    if (vc && id == RTS_OUT_R1_A4 && vc->out)
        return vc->out->cookie;
    if (vc && id == RTS_IN_R1_A6 && vc->in_next)
        return vc->in_next->cookie;
    if (vc && (id == RTS_OUT_R1_A8 || id == RTS_OUT_R2_A7))
        return vc->out_cookie;
    return model_cookie((uint8_t)(0xc0 + side->number));    /* R2: any new one */
}

static rts_cookie_t cookie_for(const side_t *side, rts_pdu_id_t id, int nth)
{
    int first = id == RTS_CONN_A2 || id == RTS_CONN_B2;
    int replacing = id == RTS_IN_R1_A2 || id == RTS_OUT_R1_A4;

    if ((first || replacing) && nth == 0)
        return model_cookie((uint8_t)(0xa0 + side->vc));
    return (first && nth == 1) || nth == 2 ? own_cookie(side) : other_cookie(side, id);
}

/* What an OUT leg may say of hop 3; what an IN leg passes on of hop 4 is of no concern here. */
static rts_ack_t true_ack(const side_t *side)
{
    int64_t available = side->window - side->held;
    const rpc_leg_t *leg = model_leg(side);
    rts_ack_t ack = { (uint32_t)side->received, available > 0 ? (uint32_t)available : 0,
                      leg ? leg->cookie : own_cookie(side) };

    return ack;
}

/* The value of a command; variant 3: one that it should not have. */
static uint32_t value_for(const side_t *side, uint32_t type, int variant, unsigned arg)
{
    if (variant == 3)
        return arg & 32 ? 0xffffffff : arg & 16 ? 1 : 0;
    switch (type) {
    case RTS_CMD_RECEIVE_WINDOW_SIZE:
        return side->game->proxy_window;
    case RTS_CMD_CHANNEL_LIFETIME:
        return side->game->lifetime;
    case RTS_CMD_VERSION:
        return 1;
    case RTS_CMD_PING_TRAFFIC_SENT_NOTIFY:
        return arg & 64 ? 100000 : 1040;
    default:
        return 120000;
    }
}

static void make_pdu(const side_t *side, rts_pdu_id_t id, int variant, unsigned arg, rts_pdu_t *pdu)
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
            cmd->u.ack = true_ack(side);
            break;
        case RTS_CMD_DESTINATION:
            if (id == RTS_FLOW_CONTROL_ACK_WITH_DESTINATION)
                cmd->u.u32 = arg >> 4 & 3;
            break;
        case RTS_CMD_ASSOCIATION_GROUP_ID: case RTS_CMD_CLIENT_ADDRESS:
        case RTS_CMD_EMPTY: case RTS_CMD_ANCE: case RTS_CMD_NEGATIVE_ANCE:
            break;
        default:
            cmd->u.u32 = value_for(side, cmd->type, variant, arg);
        }
    }
}

static rts_pdu_id_t usual(const side_t *side, unsigned arg)
{
    static const rts_pdu_id_t in[] = { RTS_IN_R1_A6, RTS_IN_R1_B1, RTS_OUT_R1_A8, RTS_OUT_R2_A7,
                                       RTS_FLOW_CONTROL_ACK_WITH_DESTINATION };
    static const rts_pdu_id_t out[] = { RTS_FLOW_CONTROL_ACK, RTS_OUT_R2_A4,
                                        RTS_PING_TRAFFIC_SENT_NOTIFY,
                                        RTS_FLOW_CONTROL_ACK_WITH_DESTINATION };

    if (arg >= 128)
        return (rts_pdu_id_t)(arg % RTS_PDU_COUNT);
    return side->kind == SIDE_IN ? in[(arg & 15) % 5] : out[(arg & 15) % 4];
}

/* The books follow what is said: the kind of leg with the first, window and lifetime at A2 and A4,
 * pings, a division at B1. */
static void note_pdu(side_t *side, const rts_pdu_t *pdu)
{
    rts_pdu_id_t id;

    if (!side->spoke && !side->muddled)
        side->kind = pdu->flags & RTS_FLAG_OUT_CHANNEL ? SIDE_OUT : SIDE_IN;
    side->spoke = 1;
    id = rts_identify(pdu, side->kind == SIDE_IN ? RTS_HOP_IP_S : RTS_HOP_OP_S);

    switch (id) {
    case RTS_CONN_A2:
    case RTS_OUT_R1_A4:
        if (side->window >= 0)
            break;
        side->window = rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0);
        side->lifetime = rts_u32(pdu, RTS_CMD_CHANNEL_LIFETIME, 0);
        side->used = id == RTS_CONN_A2 ? 28 : 0;    /* CONN/A3 */
        break;
    case RTS_IN_R1_B1:
        traffic_mark(&side->traffic);
        break;
    default:
        break;
    }
}

static void say_id(side_t *side, rts_pdu_id_t id, int variant, unsigned arg)
{
    rts_pdu_t pdu;

    if (!fake_alive(side->peer))
        return;
    make_pdu(side, id, variant, arg, &pdu);
    script_trace("%d says %s%s", side->number, rts_info(id)->name,
                 variant ? " with something wrong" : "");
    note_pdu(side, &pdu);
    say_pdu(side, &pdu);
}

static void say_rpc(side_t *side, uint32_t size, int break_it)
{
    static uint8_t buf[DCERPC_MAX_PDU];

    if (size > side->game->budget || !fake_alive(side->peer)
        || (!side->spoke && side->kind != SIDE_V1 && side->kind != SIDE_TARGET)
        || (side->kind == SIDE_IN && side->may_send < (int64_t)size && !break_it))
        return;
    side->game->budget -= size;
    side->may_send -= size;
    side->sent += size;
    fake_say(side->peer, buf, traffic_make(&side->traffic, side->number, size, buf));
}

static void say_preface(side_t *side, int malformed)
{
    uint8_t buf[RPC_PREFACE_MAX];
    char target[16];
    rpc_preface_t p = { .host = "target", .port = (uint16_t)side->port, .target = target,
                        .user = side->stranger ? "mallory" : "alice", .client = "192.0.2.7",
                        .vhost = "vhost:443",
                        .networks = "10.0.0.0/8" };
    size_t size;

    snprintf(target, sizeof(target), "srv%d:6001", side->vc);
    size = rpc_preface_write(&p, buf, sizeof(buf));
    if (malformed)
        buf[6] ^= 0x11;
    fake_say(side->peer, buf, size);
}

/* ---- steps ---- */

/* A leg. Variant 0: opens a connection; 1: replaces its predecessor; 2: says nothing yet; 3: as
 * 1, with a cookie that is wrong. WHO: which connection, a stranger's, through a listener. */
static void new_leg(game_t *game, const step_t *step, side_kind_t kind)
{
    int variant = VARIANT(step->op);
    side_t *leg = side_new(game, kind, step->who & 1);

    if (!leg)
        return;
    leg->stranger = (step->who & 14) == 14;
    leg->peer->chunk = step->arg >> 4;
    script_trace("%d: a leg, kind %d, variant %d, connection %d", leg->number, kind, variant,
                 leg->vc);
    if ((step->who >> 4 & 7) == 1) {
        leg->stranger = 0;      /* nobody there has a name */
        leg->via = (rpc_endpoint_listener_t){ "listener", "target", (uint16_t)leg->port,
                                              step->who >> 7 };
        rpc_endpoint_accept(game->ep, leg->number, &leg->via);
    }
    else {
        rpc_endpoint_accept(game->ep, leg->number, NULL);
        say_preface(leg, (step->who >> 4 & 15) == 15);
    }
    if (kind == SIDE_V1 || variant == 2)
        return;
    say_id(leg, kind == SIDE_IN ? (variant ? RTS_IN_R1_A2 : RTS_CONN_B2)
                                : (variant ? RTS_OUT_R1_A4 : RTS_CONN_A2),
           variant == 3 ? 1 + (step->arg & 1) : 0, step->arg);
}

static void op_in(game_t *game, const step_t *step)
{
    new_leg(game, step, SIDE_IN);
}

static void op_out(game_t *game, const step_t *step)
{
    new_leg(game, step, SIDE_OUT);
}

static void op_v1(game_t *game, const step_t *step)
{
    new_leg(game, step, SIDE_V1);
}

/* Variant 1, 2: with that cookie wrong; 3: with values wrong. */
static void op_rts_in(game_t *game, const step_t *step)
{
    side_t *side = pick(game, SIDE_IN, step->who);

    if (side)
        say_id(side, usual(side, step->arg), VARIANT(step->op), step->arg);
}

static void op_rts_out(game_t *game, const step_t *step)
{
    side_t *side = pick(game, SIDE_OUT, step->who);

    if (side)
        say_id(side, usual(side, step->arg), VARIANT(step->op), step->arg);
}

static void rpc(side_t *side, const step_t *step)
{
    unsigned times = 1 + (step->arg >> 4);

    if (!side || (side->kind == SIDE_OUT && VARIANT(step->op) != 3))
        return;
    script_trace("%d says %u RPC PDUs of %u bytes", side->number, times, traffic_size(step->arg));
    while (times--)
        say_rpc(side, traffic_size(step->arg), VARIANT(step->op) == 3);
}

static void op_rpc(game_t *game, const step_t *step)
{
    rpc(pick(game, -1, step->who), step);
}

static void op_rpc_target(game_t *game, const step_t *step)
{
    rpc(pick(game, SIDE_TARGET, step->who), step);
}

static void say_forged(side_t *target)
{
    uint8_t buf[RPC_FAREWELL_MAX];

    script_trace("%d says a farewell", target->number);
    target->garbage = 1;
    fake_say(target->peer, buf, rpc_farewell_write(RPC_REASON_NO_MEMORY, FORGED, buf));
}

/* Bytes that are no PDU, or the beginning of one; variant 3, of a target: what only the endpoint
 * may say. */
static void op_raw(game_t *game, const step_t *step)
{
    static const uint8_t bytes[] = { 5, 0, 0, 3, 0x10, 0, 0, 0, 0x10, 0x27, 0, 0, 1, 0, 0, 0, 7, 7,
                                     5, 0, 20, 3, 0x10, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0x55, 0,
                                     9, 0 };
    side_t *side = pick(game, -1, step->who);
    size_t from = step->arg & 31;

    if (!side)
        return;
    if (VARIANT(step->op) == 3 && side->kind == SIDE_TARGET) {
        say_forged(side);
        return;
    }
    script_trace("%d says bytes", side->number);
    side->garbage = 1;
    side->muddled |= !side->spoke && side->kind != SIDE_V1 && side->kind != SIDE_TARGET;
    fake_say(side->peer, bytes + from, 1 + ((sizeof(bytes) - from - 1) & (step->arg >> 3)));
}

/* A true acknowledgement of hop 3, after some of what is held was consumed. */
static void acknowledge(side_t *leg, unsigned share)
{
    if (leg->window < 0 || !model_leg(leg))
        return;
    leg->held -= leg->held * share / 255;
    say_id(leg, RTS_FLOW_CONTROL_ACK, 0, 0);
}

static void op_ack(game_t *game, const step_t *step)
{
    side_t *leg = pick(game, SIDE_OUT, step->who);

    if (leg)
        acknowledge(leg, step->arg);
}

static void op_false_ack(game_t *game, const step_t *step)
{
    static const uint32_t values[] = { 0, 1, 100, 8192, 65536, 0x7fffffff, 0x80000000, 0xffffffff };
    side_t *leg = pick(game, SIDE_OUT, step->who);
    rts_pdu_t pdu;
    rts_ack_t ack;

    if (!leg)
        return;
    leg->honest = 0;
    ack = true_ack(leg);
    ack.bytes_received = values[step->arg & 7];
    ack.available_window = values[step->arg >> 3 & 7];
    if (step->arg & 64)
        ack.cookie.b[3] ^= 0xff;
    rts_begin(&pdu, RTS_FLOW_CONTROL_ACK);
    rts_set_ack(&pdu, &ack);
    say_pdu(leg, &pdu);
}

static void op_time(game_t *game, const step_t *step)
{
    static const int ms[] = { 1, 1000, 10001, 20000, 30001, 60001, 120001, 3600000 };

    script_trace("%d ms pass", ms[step->arg & 7]);
    fake_advance(game->world, apr_time_from_msec(ms[step->arg & 7]));
}

static void op_end_all(game_t *game, const step_t *step)
{
    if (step->arg < 240)
        return; /* rarely */
    script_trace("all end");
    rpc_endpoint_close(game->ep);
}

static op_t *const ops[32] = {
    op_in, op_out, op_v1, op_connected, op_rts_in, op_rts_in, op_rts_in, op_rts_in,
    op_rts_out, op_rts_out, op_rts_out, op_rpc, op_rpc, op_rpc_target, op_rpc_target, op_raw,
    op_close, op_room, op_room, op_chunk, op_ack, op_ack, op_false_ack, op_time,
    op_end_all, op_turn, op_in, op_out, op_rpc, op_rts_out, op_ack, op_rpc_target,
};

/* ---- the game ---- */

static void idle(void *ctx)
{
    game_t *game = ctx;

    MUST(rpc_endpoint_count(game->ep) == 0, "idle with %u", rpc_endpoint_count(game->ep));
}

static game_t *game_new(const uint8_t settings[3])
{
    static const uint32_t windows[] = { 8192, 65536, 262144, 20000 };
    static const uint32_t lifetimes[] = { 131072, 1 << 30, 200000, 1000 };
    game_t *game = calloc(1, sizeof(*game));
    rpc_endpoint_params_t params = { 0 };

    MUST(game, "out of memory");
    game->pool = script_pool();
    game->world = fake_world_new(game->pool);
    game->world->ctx = game;
    game->world->connected = model_connected;
    game->world->hold_connects = settings[0] >> 6 & 1;
    game->receive_window = windows[settings[0] & 3];
    game->proxy_window = windows[settings[0] >> 2 & 3];
    game->lifetime = lifetimes[settings[1] & 3];
    game->budget = 1024 * 1024;
    script_log(&game->log);
    params.receive_window = game->receive_window;
    params.setup_timeout = apr_time_from_sec(30);
    params.connect_timeout = apr_time_from_sec(10);
    params.log = &game->log;
    params.idle = idle;
    params.ctx = game;
    game->ep = rpc_endpoint_create(game->world->loops[0], &params, game->pool);
    return game;
}

static void game_close(game_t *game)
{
    rpc_endpoint_close(game->ep);
}

static int side_acknowledges(const side_t *side)
{
    return side->kind == SIDE_OUT;
}

static int side_is_of_pipe(const side_t *side)
{
    return side->port >= PORT_V1;
}
