/* game.h: the part that the drivers endpoint_fuzz.c and proxy_fuzz.c share. It reads the steps of a
 * script, carries out those that are the same for every side, and plays the end.
 *
 * Each driver includes this header once, after the header of its model, which defines game_t and
 * side_t. Before it includes the header it defines LEAVE_TIME, the time that may pass until all has
 * ended when everybody leaves. Behind it the driver defines the functions that are declared here.
 */
#ifndef GAME_H
#define GAME_H

#define NO_SETTLE 0x80          /* of an op: the next step comes before anything is done */
#define VARIANT(op) ((op) >> 5 & 3)

typedef void op_t(game_t *game, const step_t *step);

/* The action of each step, by the lowest five bits of its op. */
static op_t *const ops[32];

static game_t *game_new(const uint8_t settings[3]);
/* Ends what is under test, at once. */
static void game_close(game_t *game);

/* The sides to whose data the windows of the game belong. */
static int side_acknowledges(const side_t *side);
/* A true acknowledgement by SIDE, after SHARE of 255 of what it holds was consumed. */
static void acknowledge(side_t *side, unsigned share);
/* SIDE is one end of a pipe, which has to deliver before it ends. */
static int side_is_of_pipe(const side_t *side);

/* The NTH side that is there, of one kind or (-1) any. */
static side_t *pick(const game_t *game, int kind, unsigned nth)
{
    side_t *found[FAKE_PEERS];
    unsigned count = 0;
    int i;

    for (i = 0; i < game->side_count; i++) {
        if (game->sides[i]->peer->stream && (kind < 0 || (int)game->sides[i]->kind == kind))
            found[count++] = game->sides[i];
    }
    return count ? found[nth % count] : NULL;
}

static void say_pdu(side_t *side, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE * 4];

    fake_say(side->peer, buf, rts_write(pdu, buf, sizeof(buf)));
}

static void op_connected(game_t *game, const step_t *step)
{
    fake_connected(game->world, step->who & 3, step->arg < 192);
}

static void op_close(game_t *game, const step_t *step)
{
    side_t *side = pick(game, -1, step->who);

    if (!side)
        return;
    script_trace("%d closes, variant %d", side->number, VARIANT(step->op));
    switch (VARIANT(step->op)) {
    case 0: case 1:
        fake_eof(side->peer);
        break;
    case 2:
        fake_fail(side->peer, 1, 1);
        break;
    default:
        fake_fail(side->peer, step->arg & 1, step->arg & 2);
    }
}

/* How much a side takes from now on: nothing, a little, all. */
static void op_room(game_t *game, const step_t *step)
{
    side_t *side = pick(game, -1, step->who);

    if (!side)
        return;
    script_trace("%d takes %d", side->number, step->arg);
    fake_take(side->peer, step->arg == 0    ? 0
                          : step->arg < 128 ? (int64_t)step->arg * step->arg
                                            : FAKE_EVER);
}

static void op_chunk(game_t *game, const step_t *step)
{
    side_t *side = pick(game, -1, step->who);

    if (side)
        side->peer->chunk = step->arg;
}

static void op_turn(game_t *game, const step_t *step)
{
    int turns = 1 + (step->arg & 3);

    while (turns--)
        fake_turn(game->world);
}

static void play(game_t *game, script_t *script)
{
    step_t step;
    int steps = 0;

    while (steps++ < SCRIPT_STEPS_MAX && script_next(script, &step)) {
        ops[step.op & 31](game, &step);
        if (!(step.op & NO_SETTLE))
            fake_settle(game->world);
        model_check_bounds(game);
    }
    fake_settle(game->world);
}

/* All take, read and acknowledge what there is. */
static void be_kind(game_t *game)
{
    uint64_t before, after = 0;
    int i;

    script_trace("all are kind");
    for (i = 0; i < game->side_count; i++)
        fake_take(game->sides[i]->peer, FAKE_EVER);
    do {
        before = after;
        after = 0;
        fake_settle(game->world);
        for (i = 0; i < game->side_count; i++) {
            if (side_acknowledges(game->sides[i]))
                acknowledge(game->sides[i], 255);
        }
        fake_settle(game->world);
        for (i = 0; i < game->side_count; i++)
            after += game->sides[i]->received
                     + (side_acknowledges(game->sides[i]) ? 0 : game->sides[i]->peer->taken);
    } while (after != before);
    model_check_delivered(game);
}

/* Everybody leaves: whatever waits, it has to end within LEAVE_TIME. */
static void leave(game_t *game)
{
    int i;

    script_trace("all leave");
    for (i = 0; i < game->side_count; i++) {
        side_t *side = game->sides[i];

        if (!side->peer->stream)
            continue;
        if (side_is_of_pipe(side))
            fake_take(side->peer, FAKE_EVER);
        fake_eof(side->peer);
    }
    fake_settle(game->world);
    if (LEAVE_TIME)
        fake_advance(game->world, LEAVE_TIME);
    model_check_end(game);
}

/* Nobody says anything more. */
static void fall_silent(game_t *game)
{
    script_trace("all fall silent");
    fake_advance(game->world, apr_time_from_sec(600));
    model_check_silent(game);
}

/* Plays the end that the bits of HOW choose, and frees the game. */
static void game_end(game_t *game, int how)
{
    int i;

    if (how & 1)
        be_kind(game);
    if (how & 2)
        fall_silent(game);
    if (how & 4)
        leave(game);
    game_close(game);
    model_check_end(game);
    fake_world_free(game->world);
    for (i = 0; i < game->side_count; i++) {
        dcerpc_framer_reset(&game->sides[i]->framer);
        free(game->sides[i]);
    }
    apr_pool_destroy(game->pool);
    free(game);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script_t script = { data + 3, data + size };
    game_t *game;

    if (size < 3)
        return 0;
    game = game_new(data);
    play(game, &script);
    game_end(game, data[2]);
    return 0;
}

#endif
