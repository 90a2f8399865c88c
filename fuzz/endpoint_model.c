/* endpoint_model.c: reads every far end and records what comes. It uses endpoint/vc.h only to see
 * how full queues are, and whether delivery can be expected.
 */
#include "wire/farewell.h"
#include "endpoint_model.h"

rts_cookie_t model_cookie(uint8_t first)
{
    rts_cookie_t cookie;

    memset(cookie.b, first, sizeof(cookie.b));
    return cookie;
}

static side_t *side_of(const game_t *game, int number)
{
    MUST(number >= 0 && number < game->side_count, "side %d", number);
    return game->sides[number];
}

static side_t *side_of_stream(const game_t *game, const rpc_stream_t *s)
{
    return side_of(game, s->watch.fd);
}

rpc_vc_t *model_vc(const game_t *game, int vc)
{
    rts_cookie_t cookie = model_cookie((uint8_t)(0xa0 + vc));
    rpc_vc_t *v;

    for (v = game->ep->vcs; v; v = v->next) {
        if (!v->reason && rts_cookie_equal(&v->cookie, &cookie))
            return v;
    }
    return NULL;
}

rpc_leg_t *model_leg(const side_t *side)
{
    rpc_vc_t *vc = model_vc(side->game, side->vc);
    rpc_leg_t *legs[5];
    int i;

    if (!vc || !side->peer->stream)
        return NULL;
    legs[0] = vc->in;
    legs[1] = vc->in_next;
    legs[2] = vc->out;
    legs[3] = vc->out_next;
    legs[4] = vc->out_old;
    for (i = 0; i < 5; i++) {
        if (legs[i] && legs[i]->stream == side->peer->stream)
            return legs[i];
    }
    return NULL;
}

/* ---- RPC PDUs ---- */

static side_t *source_of(const side_t *side, const uint8_t *pdu)
{
    side_t *source = side_of(side->game, traffic_source(pdu));

    MUST(source->port == side->port && source->vc == side->vc, "%d's PDU at %d", source->number,
         side->number);
    return source;
}

/* From one IN leg, and after its last PDU from its successor. */
static void target_hears(side_t *target, const uint8_t *pdu, uint32_t size)
{
    side_t *source = source_of(target, pdu);
    side_t *before = target->channel < 0 ? NULL : side_of(target->game, target->channel);

    MUST(source->kind == (target->port >= PORT_V1 ? SIDE_V1 : SIDE_IN), "RPC PDU of %d",
         source->number);
    MUST(!source->over, "a PDU of %d after those of its successor", source->number);
    if (before && source != before) {
        MUST(traffic_at_mark(&before->traffic), "%u PDUs of %d arrived", before->traffic.arrived,
             before->number);
        MUST(before->stranger == source->stranger, "a stranger's PDU");
        before->over = 1;
    }
    target->channel = source->number;
    traffic_arrive(&source->traffic, source->number, pdu, size);
}

static void out_hears_rpc(side_t *leg, const uint8_t *pdu, uint32_t size)
{
    side_t *target = source_of(leg, pdu);

    MUST(target->kind == SIDE_TARGET && leg->kind == SIDE_OUT, "%d's PDU at %d", target->number,
         leg->number);
    MUST(!leg->over, "an RPC PDU after OUT_R1/A9");
    /* A predecessor may still have some to take, and OUT_R1/A9 behind them. */
    traffic_arrive_on(&target->traffic, target->number, &leg->next, pdu, size);
    leg->received += size;
    leg->held += size;
    leg->used += size;
    MUST(leg->window >= 0, "an RPC PDU before CONN/A2");
    MUST(!leg->honest || leg->held <= leg->window, "%d holds %ld bytes, its window is %ld",
         leg->number, (long)leg->held, (long)leg->window);
    MUST(leg->used <= leg->lifetime, "%lu bytes in a lifetime of %lu", (unsigned long)leg->used,
         (unsigned long)leg->lifetime);
}

/* ---- RTS PDUs ---- */

static void in_hears_ack(side_t *leg, const rts_ack_t *ack)
{
    MUST(ack->bytes_received <= leg->sent, "%u bytes acknowledged of %lu", ack->bytes_received,
         (unsigned long)leg->sent);
    MUST(ack->available_window <= (uint64_t)leg->announced, "%u free of %ld", ack->available_window,
         (long)leg->announced);
    leg->may_send = (int64_t)ack->available_window - (int64_t)(leg->sent - ack->bytes_received);
}

static void hears_rts(side_t *leg, const uint8_t *data, uint32_t size)
{
    rts_hop_t hop = leg->kind == SIDE_IN ? RTS_HOP_S_IP : RTS_HOP_S_OP;
    rts_pdu_t pdu;
    const char *wrong = rts_parse(data, size, &pdu);
    rts_pdu_id_t id = rts_identify(&pdu, hop);
    int destination = rts_destination(&pdu);

    MUST(!wrong, "RTS PDU for %d: %s", leg->number, wrong);
    script_trace("  %d hears %s", leg->number, rts_info(id)->name);
    MUST(leg->kind == SIDE_IN || leg->kind == SIDE_OUT, "an RTS PDU for %d", leg->number);
    leg->answered = 1;
    MUST(id != RTS_UNKNOWN || destination >= 0, "an RTS PDU of no kind for %d", leg->number);
    if (leg->kind == SIDE_OUT && destination != RTS_FD_OUT_PROXY)
        leg->used += size;
    switch (id) {
    case RTS_CONN_B3:
    case RTS_IN_R1_B2:
        leg->announced = rts_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0);
        leg->may_send = leg->announced - (int64_t)leg->sent;
        break;
    case RTS_FLOW_CONTROL_ACK:
        in_hears_ack(leg, rts_ack(&pdu));
        break;
    case RTS_OUT_R1_A9:     /* or OUT_R2/B1: the same leg goes on, its lifetime starts anew */
        leg->over = model_leg(leg) && model_vc(leg->game, leg->vc)->out_old == model_leg(leg);
        leg->used = 0;
        break;
    default:
        break;
    }
}

/* ---- bytes ---- */

/* The endpoint's own, or the beginning of what somebody else would have it say. */
static int hears_farewell(side_t *side, const uint8_t *pdu, uint32_t size)
{
    rpc_reason_t reason;
    const char *why = side->kind == SIDE_TARGET || side->kind == SIDE_V1
                        ? NULL
                        : rpc_farewell_read(pdu, size, &reason);

    MUST(!why || strcmp(why, FORGED) != 0, "%d hears a target's farewell", side->number);
    MUST(!why || reason, "a farewell for %d without a reason", side->number);
    side->farewell |= why != NULL;
    return why != NULL;
}

static void hears_pdu(side_t *side, const uint8_t *pdu, const dcerpc_header_t *header)
{
    MUST(!side->farewell, "%d hears a PDU behind the farewell", side->number);
    script_trace("  %d hears a PDU of type %d, %u bytes", side->number, header->ptype,
                 header->frag_length);
    if (side->kind == SIDE_TARGET) {
        MUST(header->ptype != DCERPC_RTS || side->port >= PORT_V1, "an RTS PDU for a target");
        target_hears(side, pdu, header->frag_length);
    }
    else if (side->kind == SIDE_V1)
        traffic_arrive(&source_of(side, pdu)->traffic, traffic_source(pdu), pdu,
                       header->frag_length);
    else if (header->ptype == DCERPC_RTS)
        hears_rts(side, pdu, header->frag_length);
    else if (!hears_farewell(side, pdu, header->frag_length))
        out_hears_rpc(side, pdu, header->frag_length);
}

/* In version 1 bytes are passed on as they are. */
static int may_be_garbage(const side_t *side)
{
    const game_t *game = side->game;
    int i;

    for (i = 0; i < game->side_count; i++) {
        const side_t *other = game->sides[i];

        if (other->port == side->port
            && (other->muddled || (side->port >= PORT_V1 && other->garbage)))
            return 1;
    }
    return 0;
}

static void side_hears(fake_peer_t *peer, const uint8_t *data, size_t len)
{
    side_t *side = peer->ctx;
    dcerpc_header_t header;
    dcerpc_frame_t frame;
    const uint8_t *pdu;

    while (len && side->kind != SIDE_TARGET && side->banner < RTS_BANNER_SIZE) {
        MUST(*data == (uint8_t)RTS_BANNER[side->banner], "byte %zu of the banner", side->banner);
        side->banner++;
        data++;
        len--;
    }
    if (may_be_garbage(side))
        return;
    while ((frame = dcerpc_framer_next(&side->framer, &data, &len, &pdu, &header))
           == DCERPC_FRAME_PDU)
        hears_pdu(side, pdu, &header);
    MUST(frame == DCERPC_FRAME_MORE, "no PDU for %d: %s", side->number, side->framer.error);
}

/* ---- sides ---- */

side_t *side_new(game_t *game, side_kind_t kind, int vc)
{
    fake_peer_t *peer = fake_peer_new(game->world, 0);
    side_t *side;

    if (!peer)
        return NULL;
    side = calloc(1, sizeof(*side));
    MUST(side, "out of memory");
    side->game = game;
    side->number = peer->number;
    side->peer = peer;
    side->kind = kind;
    side->vc = vc;
    side->port = kind == SIDE_V1 ? PORT_V1 + side->number : PORT_VC + vc;
    side->window = -1;
    side->honest = 1;
    side->channel = side->next = -1;
    peer->ctx = side;
    peer->heard = side_hears;
    MUST(side->number == game->side_count, "numbers differ");
    game->sides[game->side_count++] = side;
    return side;
}

fake_peer_t *model_connected(fake_world_t *world, int port)
{
    game_t *game = world->ctx;
    int vc = port >= PORT_V1 ? side_of(game, port - PORT_V1)->vc : port - PORT_VC;
    side_t *target = side_new(game, SIDE_TARGET, vc);

    if (!target)
        return NULL;
    target->port = port;
    script_trace("  target %d for port %d", target->number, port);
    return target->peer;
}

/* ---- checks ---- */

static void check_leg(const game_t *game, const rpc_leg_t *leg, const side_t **first)
{
    const side_t *side;

    if (!leg)
        return;
    side = side_of_stream(game, leg->stream);
    MUST(leg->stream->out.size <= RPC_LEG_MAX + RPC_LOOP_SCRATCH, "%zu bytes for leg %d",
         leg->stream->out.size, side->number);
    MUST(!*first || ((*first)->stranger == side->stranger && (*first)->port == side->port
                     && !(*first)->via.host == !side->via.host), "%d and %d in one connection",
         (*first)->number, side->number);
    *first = side;
}

void model_check_bounds(const game_t *game)
{
    const rpc_vc_t *vc;

    for (vc = game->ep->vcs; vc; vc = vc->next) {
        const side_t *first = NULL;

        check_leg(game, vc->in, &first);
        check_leg(game, vc->in_next, &first);
        check_leg(game, vc->out, &first);
        check_leg(game, vc->out_next, &first);
        check_leg(game, vc->out_old, &first);
        MUST(vc->waiting.size <= RPC_LOOP_SCRATCH + DCERPC_MAX_PDU, "%zu bytes wait",
             vc->waiting.size);
        MUST(!vc->target
                 || vc->target->out.size
                        <= 2 * (size_t)game->receive_window + RPC_LOOP_SCRATCH + DCERPC_MAX_PDU,
             "%zu bytes for the target", vc->target->out.size);
    }
}

static int sound(const side_t *side)
{
    return fake_alive(side->peer) && !side->garbage && !may_be_garbage(side)
        && !side->peer->write_error && side->honest;
}

void model_check_delivered(const game_t *game)
{
    const rpc_vc_t *vc;

    for (vc = game->ep->vcs; vc; vc = vc->next) {
        const side_t *in, *out, *target;

        if (vc->state != RPC_VC_OPENED || vc->target_ended)
            continue;
        in = side_of_stream(game, vc->in->stream);
        out = side_of_stream(game, vc->out->stream);
        target = side_of_stream(game, vc->target);
        MUST(!sound(target) || !sound(in) || in->traffic.arrived == in->traffic.sent,
             "%u of %u PDUs of %d arrived", in->traffic.arrived, in->traffic.sent, in->number);
        MUST(!sound(target) || !sound(out) || vc->starved
                 || target->traffic.arrived == target->traffic.sent,
             "%u of %u PDUs of %d arrived", target->traffic.arrived, target->traffic.sent,
             target->number);
    }
}

void model_check_silent(const game_t *game)
{
    const rpc_vc_t *vc;

    MUST(!game->ep->newcomers, "a newcomer lives on in silence");
    for (vc = game->ep->vcs; vc; vc = vc->next) {
        MUST(vc->state == RPC_VC_OPENED, "a connection lives half open in silence");
        MUST(vc->in_state != RPC_IN_A6W, "a successor lives on in silence");
        MUST(!vc->target_ended && !vc->starved, "what cannot be delivered waits for ever");
    }
}

/* Who hears no farewell takes it that this process has died. */
static void check_farewell(const side_t *side)
{
    const fake_peer_t *peer = side->peer;

    MUST(!side->answered || side->farewell || side->via.host || peer->aborted || peer->write_error
             || may_be_garbage(side),
         "leg %d is closed without a word", side->number);
}

void model_check_end(const game_t *game)
{
    int i;

    MUST(rpc_endpoint_count(game->ep) == 0, "%u are counted", rpc_endpoint_count(game->ep));
    MUST(!game->ep->vcs && !game->ep->newcomers && !game->ep->v1s, "some are left");
    MUST(apr_hash_count(game->ep->table) == 0, "some are in the table");
    for (i = 0; i < game->side_count; i++) {
        MUST(!game->sides[i]->peer->stream, "stream %d is still open", i);
        check_farewell(game->sides[i]);
    }
}
