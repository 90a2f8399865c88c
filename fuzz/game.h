/* game.h: the part of a driver that endpoint_fuzz.c and proxy_fuzz.c share: it reads the steps of a
 * script and carries out those that are the same for every side. Each driver includes it once,
 * after the header of its model, which defines game_t and side_t, and defines what is declared
 * here.
 */
#ifndef GAME_H
#define GAME_H

#define NO_SETTLE 0x80          /* of an op: the next step comes before anything is done */
#define VARIANT(op) ((op) >> 5 & 3)

typedef void op_t(game_t *game, const step_t *step);

/* The action of each step, by the lowest five bits of its op. */
static op_t *const ops[32];

static game_t *game_new(const uint8_t settings[3]);
/* Plays the end that the bits of HOW choose, and frees the game. */
static void game_end(game_t *game, int how);

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
