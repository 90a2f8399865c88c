/* proxy_model.c: reads every far end and records what comes. It uses proxy/virtual.h only to see
 * how full queues are, and in which state delivery can be expected.
 */
#include "proxy_binds.h"
#include "proxy_model.h"

#include "proxy/mixed.h"
#include "io/pipe.h"
#include "proxy/virtual.h"

rts_cookie_t model_cookie(uint8_t first)
{
    rts_cookie_t cookie;

    memset(cookie.b, first, sizeof(cookie.b));
    return cookie;
}

rts_cookie_t side_cookie(const side_t *side)
{
    return model_cookie((uint8_t)(0x40 + side->number));
}

static side_t *side_of(const game_t *game, int number)
{
    MUST(number >= 0 && number < game->side_count, "side %d", number);
    return game->sides[number];
}

/* Has who says these PDUs, in version 2, said pieces before? They may make up others. */
static int may_be_garbage(const side_t *side)
{
    const game_t *game = side->game;
    int i;

    if (side->kind == SIDE_OUT)
        return side->leg >= 0 && game->sides[side->leg]->garbage;
    for (i = side->channel; i < game->side_count; i++) {
        if (game->sides[i]->vc == side->vc && game->sides[i]->kind == SIDE_IN
            && game->sides[i]->garbage)
            return 1;
    }
    return 0;
}

/* ---- RPC PDUs ---- */

static void heard_counted(side_t *side, const side_t *partner, uint32_t size)
{
    side->received += size;
    side->held += size;
    MUST(side->window >= 0, "an RPC PDU before a window was announced");
    MUST(!side->honest || !fake_alive(partner->peer) || side->held <= side->window,
         "%d holds %ld bytes, its window is %ld", side->number, (long)side->held,
         (long)side->window);
}

static side_t *source_of(const side_t *side, const uint8_t *pdu)
{
    side_t *source = side_of(side->game, traffic_source(pdu));

    MUST(source->vc == side->vc, "a PDU of connection %d at one of %d", source->vc, side->vc);
    return source;
}

/* On an IN leg: the PDUs of one channel up to its last, then those of its successor. */
static void leg_hears_rpc(side_t *leg, const uint8_t *pdu, uint32_t size)
{
    side_t *source, *before = side_of(leg->game, leg->channel);

    if (may_be_garbage(leg)) {
        heard_counted(leg, before, size);
        return;
    }
    source = source_of(leg, pdu);
    MUST(source->kind == SIDE_IN, "RPC PDU of %d on leg %d", source->number, leg->number);
    if (source != before) {
        MUST(source->number > before->number, "%d's PDU after those of %d", source->number,
             before->number);
        MUST(traffic_at_mark(&before->traffic), "%u PDUs of %d arrived", before->traffic.arrived,
             before->number);
        MUST(strcmp(before->identity, source->identity) == 0, "a stranger's PDU");
        leg->channel = source->number;
    }
    binds_arrive(leg, source, pdu, size);
    heard_counted(leg, source, size);
}

static void client_hears_rpc(side_t *client, const uint8_t *pdu, uint32_t size)
{
    side_t *leg = may_be_garbage(client) ? side_of(client->game, client->leg)
                                         : source_of(client, pdu);

    MUST(client->kind == SIDE_OUT && client->leg == leg->number && leg->channel == client->number,
         "%d's PDU at %d, whose leg is %d", leg->number, client->number, client->leg);
    if (!may_be_garbage(client))
        traffic_arrive(&leg->traffic, leg->number, pdu, size);
    heard_counted(client, leg, size);
}

/* ---- RTS PDUs ---- */

static void said_last(side_t *side, const traffic_t *traffic)
{
    side->said_last = 1;
    MUST(may_be_garbage(side) || traffic_at_mark(traffic), "%u PDUs arrived before the last one",
         traffic->arrived);
}

static void hears_rts(side_t *side, const uint8_t *data, uint32_t size)
{
    int in_leg = side->kind == SIDE_LEG && side_of(side->game, side->client)->kind == SIDE_IN;
    rts_hop_t hop = in_leg ? RTS_HOP_IP_S : side->kind == SIDE_LEG ? RTS_HOP_OP_S : RTS_HOP_OP_C;
    rts_pdu_t pdu;
    const char *wrong = rts_parse(data, size, &pdu);
    rts_pdu_id_t id = rts_identify(&pdu, hop);

    MUST(!wrong, "RTS PDU for %d: %s", side->number, wrong);
    script_trace("  %d hears %s", side->number, rts_info(id)->name);
    MUST(id != RTS_UNKNOWN || rts_destination(&pdu) >= 0, "an RTS PDU of no kind for %d",
         side->number);
    MUST(side->heard_any || side->kind != SIDE_LEG || id == RTS_CONN_A2 || id == RTS_CONN_B2
         || id == RTS_IN_R1_A2 || id == RTS_OUT_R1_A4, "a leg begins with %s", rts_info(id)->name);
    if (side->kind == SIDE_LEG && !in_leg && id == RTS_FLOW_CONTROL_ACK)
        side->may_send = (int64_t)rts_ack(&pdu)->available_window
                         - (int64_t)(side->sent - rts_ack(&pdu)->bytes_received);
    if (id == RTS_IN_R1_A2)
        side->bound = 1;
    if (in_leg && id == RTS_IN_R1_B1)
        said_last(side, &side_of(side->game, side->channel)->traffic);
    if (side->kind == SIDE_OUT && (id == RTS_OUT_R1_A10 || id == RTS_OUT_R2_B3)) {
        MUST(side->leg >= 0, "the last PDU on a channel without a leg");
        said_last(side, &side_of(side->game, side->leg)->traffic);
    }
}

/* ---- bytes ---- */

int side_is_mixed(const side_t *side)
{
    return side->kind == SIDE_MIXED
           || (side->kind == SIDE_LEG && side_of(side->game, side->client)->kind == SIDE_MIXED);
}

static void hears_pdu(side_t *side, const uint8_t *pdu, const dcerpc_header_t *header)
{
    script_trace("  %d hears a PDU of type %d, %u bytes", side->number, header->ptype,
                 header->frag_length);
    MUST(!side->said_last, "%d hears something after the last PDU", side->number);
    if (side_is_mixed(side)) {
        if (header->ptype != DCERPC_RTS)
            binds_arrive(side, source_of(side, pdu), pdu, header->frag_length);
    }
    else if (header->ptype == DCERPC_RTS)
        hears_rts(side, pdu, header->frag_length);
    else if (side->kind == SIDE_LEG)
        leg_hears_rpc(side, pdu, header->frag_length);
    else
        client_hears_rpc(side, pdu, header->frag_length);
    side->heard_any = 1;
}

static int partner_sent_garbage(const side_t *side)
{
    const game_t *game = side->game;
    int i;

    for (i = 0; i < game->side_count; i++) {
        if (game->sides[i]->vc == side->vc && game->sides[i]->garbage)
            return 1;
    }
    return 0;
}

static void hears_pdus(side_t *side, const uint8_t *data, size_t len)
{
    dcerpc_header_t header;
    const uint8_t *pdu;

    if (side_is_mixed(side) && partner_sent_garbage(side))
        return; /* it is passed on as it is */
    for (;;) {
        switch (dcerpc_framer_next(&side->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            return;
        case DCERPC_FRAME_ERROR:
            MUST(0, "no PDU for %d: %s", side->number, side->framer.error);
            return;
        case DCERPC_FRAME_PDU:
            hears_pdu(side, pdu, &header);
        }
    }
}

static void leg_hears(fake_peer_t *peer, const uint8_t *data, size_t len)
{
    side_t *leg = peer->ctx;

    while (len && leg->game->with_preface && leg->greeting < strlen(PREFACE)) {
        MUST(*data == (uint8_t)PREFACE[leg->greeting], "byte %zu of the preface", leg->greeting);
        leg->greeting++;
        data++;
        len--;
    }
    hears_pdus(leg, data, len);
}

static void client_hears(fake_peer_t *peer, const uint8_t *data, size_t len)
{
    side_t *client = peer->ctx;

    client->body += (int64_t)len;
    MUST(client->status, "%zu bytes for %d before its response header", len, client->number);
    MUST(client->length < 0 || client->body <= client->length, "%ld bytes in a response of %ld",
         (long)client->body, (long)client->length);
    if (client->status == 200)
        hears_pdus(client, data, len);
}

/* An OUT channel may speak: that of a new leg, or its predecessor has said B3. */
static void out_speaks(side_t *client)
{
    const rpc_virtual_t *v = RPC_OWNER_OF(client->peer->stream->owner, rpc_virtual_t, turn);
    side_t *leg = side_of(client->game, v->leg->watch.fd);

    client->leg = leg->number;
    if (leg->channel != client->number)
        MUST(side_of(client->game, leg->channel)->said_last, "%d speaks before %d has ended",
             client->number, leg->channel);
    leg->channel = client->number;
}

static void client_responded(fake_peer_t *peer, const rpc_answer_t *answer)
{
    side_t *client = peer->ctx;

    script_trace("  %d hears %d %s", client->number, answer->status, answer->reason);
    MUST(!client->status, "%d is answered twice", client->number);
    MUST(answer->status == 200 || answer->status == 503, "status %d", answer->status);
    MUST(answer->status == 503 || client->kind != SIDE_IN,
         "an IN request is answered with success");
    client->status = answer->status;
    client->length = answer->content_length;
    if (answer->status == 200 && client->kind == SIDE_OUT)
        out_speaks(client);
}

/* ---- sides ---- */

side_t *side_new(game_t *game, side_kind_t kind, int vc)
{
    fake_peer_t *peer = fake_peer_new(game->world, kind != SIDE_LEG);
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
    side->window = kind == SIDE_OUT ? (int64_t)game->client_window : -1;
    side->honest = 1;
    side->leg = -1;
    peer->ctx = side;
    peer->heard = kind == SIDE_LEG ? leg_hears : client_hears;
    peer->responded = client_responded;
    MUST(side->number == game->side_count, "numbers differ");
    game->sides[game->side_count++] = side;
    return side;
}

fake_peer_t *model_connected(fake_world_t *world, int port)
{
    game_t *game = world->ctx;
    side_t *leg = side_new(game, SIDE_LEG, side_of(game, port)->vc);

    if (!leg)
        return NULL;
    leg->client = leg->channel = port;
    leg->may_send = game->receive_window;
    script_trace("  leg %d for %d", leg->number, port);
    return leg->peer;
}

/* A farewell tells how the channel will end, and ends nothing while the leg is there. */
static void check_farewell(const side_t *client, rpc_reason_t reason)
{
    const game_t *game = client->game;
    int i;

    if (reason != FAREWELL)
        return;
    for (i = 0; i < game->side_count; i++) {
        if (game->sides[i]->vc == client->vc && game->sides[i]->farewell == reason
            && !fake_alive(game->sides[i]->peer))
            return;
    }
    MUST(0, "%d ends by a farewell that no leg has said, or that is still there", client->number);
}

void model_ended(void *ctx, const rpc_end_t *end)
{
    side_t *client = ctx;

    script_trace("  %d ends: %s", client->number, rpc_reason_info(end->reason)->token);
    MUST(!client->ended, "%d ends twice", client->number);
    MUST(end->reason > RPC_REASON_NONE && end->reason < RPC_REASON_COUNT, "reason %d", end->reason);
    MUST(client->peer->stream, "%d ends after its stream was closed", client->number);
    MUST(end->received == client->peer->taken, "%lu bytes received, not %lu",
         (unsigned long)client->peer->taken, (unsigned long)end->received);
    check_farewell(client, end->reason);
    client->ended = 1;
    client->reason = end->reason;
}

/* ---- checks ---- */

static const rpc_virtual_t *virtual_of(const side_t *leg)
{
    if (leg->kind != SIDE_LEG || !leg->peer->stream || side_is_mixed(leg))
        return NULL;
    return RPC_OWNER_OF(leg->peer->stream->owner, rpc_virtual_t, turn);
}

side_t *model_current(const side_t *leg)
{
    const rpc_virtual_t *v = virtual_of(leg);

    return v ? side_of(leg->game, v->current->client->watch.fd) : NULL;
}

static void check_virtual(const game_t *game, const rpc_virtual_t *v)
{
    size_t window = game->receive_window > DCERPC_MAX_PDU ? game->receive_window : DCERPC_MAX_PDU;
    size_t rts = RPC_FLOW_WINDOW_MAX + RPC_OUT_MAX + DCERPC_MAX_PDU;
    size_t held = v->successor ? v->successor->held.size : 0;

    if (v->role == &rpc_inbound_role)
        /* What predecessors left, a window of the channel, and one of its successor. */
        MUST(v->waiting.size + held <= 2 * RPC_FLOW_WINDOW_MAX + 2 * (window + RTS_MAX_SIZE),
             "%zu + %zu bytes wait", v->waiting.size, held);
    else
        MUST(v->waiting.size + held <= window + rts, "%zu + %zu bytes wait", v->waiting.size, held);
}

void model_check_bounds(const game_t *game)
{
    int i;

    for (i = 0; i < game->side_count; i++) {
        const side_t *side = game->sides[i];
        const rpc_stream_t *s = side->peer->stream;

        if (!s)
            continue;
        MUST(s->out.size <= RPC_OUT_MAX + DCERPC_MAX_PDU, "%zu bytes for %d", s->out.size, i);
        if (virtual_of(side))
            check_virtual(game, virtual_of(side));
    }
}

static void check_inbound(const rpc_virtual_t *v, const side_t *leg)
{
    const side_t *client = model_current(leg);

    MUST(v->state != RPC_FINISHED, "B1 was never said on leg %d", leg->number);
    if (v->state != RPC_OPENED && v->state != RPC_OPENED_A5W)
        return;
    MUST(client->traffic.arrived == client->traffic.sent, "%u of %u PDUs of %d arrived",
         client->traffic.arrived, client->traffic.sent, client->number);
}

static void check_outbound(const rpc_virtual_t *v, const side_t *leg)
{
    MUST(v->state != RPC_FINISHED, "A10 was never said by leg %d", leg->number);
    MUST(!v->last_words, "B3 was never said, leg %d", leg->number);
    if (v->state == RPC_OPENED || v->state == RPC_B1_OR_C1W || v->state == RPC_B1W)
        MUST(leg->traffic.arrived == leg->traffic.sent, "%u of %u PDUs of leg %d arrived",
             leg->traffic.arrived, leg->traffic.sent, leg->number);
}

void model_check_delivered(const game_t *game)
{
    int i;

    for (i = 0; i < game->side_count; i++) {
        const side_t *leg = game->sides[i], *client = model_current(leg);
        const rpc_virtual_t *v = virtual_of(leg);

        if (!v || !fake_alive(leg->peer) || !fake_alive(client->peer) || leg->garbage
            || client->garbage || leg->peer->write_error || client->peer->write_error)
            continue;
        if (!leg->honest || !client->honest)
            continue;
        if (v->role == &rpc_inbound_role)
            check_inbound(v, leg);
        else
            check_outbound(v, leg);
    }
}

/* A successor's time begins with its turn; and while bytes of a client wait for the window of its
 * server no more are read, so it is not called silent. */
static int is_excused(const game_t *game, const side_t *client)
{
    const rpc_stream_t *stream = client->peer->stream;
    int i;

    for (i = 0; i < game->side_count; i++) {
        const rpc_virtual_t *v = virtual_of(game->sides[i]);

        if (v && v->successor && v->successor->client == stream)
            return 1;
        if (v && v->role == &rpc_inbound_role && v->current->client == stream && v->waiting.first)
            return 1;
    }
    return 0;
}

void model_check_silent(const game_t *game)
{
    int i;

    for (i = 0; i < game->side_count; i++) {
        const side_t *client = game->sides[i];

        if (client->kind == SIDE_LEG || client->ended || is_excused(game, client))
            continue;
        MUST(client->status == 200, "%d lives on in silence", client->number);
    }
}

/* Has the channel ended because its leg has? */
static int leg_has_ended(const side_t *client, const side_t *leg)
{
    return client->reason == RPC_REASON_SERVER_CLOSED || client->reason == FAREWELL
           || (client->reason == RPC_REASON_LOCAL_FAILURE && leg->peer->eof);
}

/* What the server said before it closed has reached the client. */
static void check_server_closed(const game_t *game, const side_t *client)
{
    const side_t *leg = client->leg < 0 ? NULL : game->sides[client->leg];

    if (client->kind != SIDE_OUT || !leg || !leg_has_ended(client, leg)
        || leg->channel != client->number || client->said_last || leg->traffic.mark_count
        || client->peer->write_error || may_be_garbage(client))
        return;
    MUST(client->reason != RPC_REASON_LOCAL_FAILURE || !leg->farewell, "leg %d has said why",
         leg->number);
    MUST(leg->traffic.arrived == leg->traffic.sent,
         "%u of %u PDUs of leg %d arrived before its end", leg->traffic.arrived, leg->traffic.sent,
         leg->number);
}

void model_check_end(const game_t *game)
{
    int i;

    for (i = 0; i < game->side_count; i++) {
        const side_t *side = game->sides[i];

        MUST(!side->peer->stream, "stream %d is still open", i);
        if (side->kind == SIDE_LEG)
            continue;
        MUST(side->ended == 1, "%d has not ended", i);
        check_server_closed(game, side);
    }
}
