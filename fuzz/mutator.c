/* mutator.c: changes scripts step by step, so that the steps after a change keep their meaning. */
#include "script.h"

#define SETTINGS 3

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t max, unsigned seed);

static unsigned next(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static size_t steps_of(size_t size)
{
    return size < SETTINGS ? 0 : (size - SETTINGS) / SCRIPT_STEP;
}

static uint8_t *step_at(uint8_t *data, size_t n)
{
    return data + SETTINGS + n * SCRIPT_STEP;
}

/* Copies steps FROM.. to AT, pushing aside what is there; returns the steps now. */
static size_t insert(uint8_t *data, size_t steps, size_t at, const uint8_t *from, size_t count)
{
    memmove(step_at(data, at + count), step_at(data, at), (steps - at) * SCRIPT_STEP);
    memcpy(step_at(data, at), from, count * SCRIPT_STEP);
    return steps + count;
}

static size_t mutate_once(uint8_t *data, size_t steps, size_t max_steps, unsigned *rnd)
{
    uint8_t some[8 * SCRIPT_STEP];
    size_t at = steps ? next(rnd) % steps : 0, count = 1 + next(rnd) % 8, i;

    switch (steps ? next(rnd) % 8 : 0) {
    case 0:     /* new ones */
        count = 1 + next(rnd) % 3;
        for (i = 0; i < sizeof(some); i++)
            some[i] = (uint8_t)next(rnd);
        return steps + count > max_steps ? steps : insert(data, steps, at, some, count);
    case 1:     /* some again, elsewhere */
        if (count > steps - at)
            count = steps - at;
        memcpy(some, step_at(data, at), count * SCRIPT_STEP);
        return steps + count > max_steps
                 ? steps
                 : insert(data, steps, next(rnd) % (steps + 1), some, count);
    case 2:     /* fewer */
        if (count > steps - at)
            count = steps - at;
        memmove(step_at(data, at), step_at(data, at + count), (steps - at - count) * SCRIPT_STEP);
        return steps - count;
    case 3:     /* settings */
        data[next(rnd) % SETTINGS] = (uint8_t)next(rnd);
        return steps;
    case 4:     /* two change places */
        i = next(rnd) % steps;
        memcpy(some, step_at(data, at), SCRIPT_STEP);
        memcpy(step_at(data, at), step_at(data, i), SCRIPT_STEP);
        memcpy(step_at(data, i), some, SCRIPT_STEP);
        return steps;
    default:    /* one byte */
        i = next(rnd) % SCRIPT_STEP;
        if (next(rnd) & 1)
            step_at(data, at)[i] = (uint8_t)next(rnd);
        else
            step_at(data, at)[i] ^= (uint8_t)(1u << next(rnd) % 8);
        return steps;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    unsigned rnd = seed, times = 1 + next(&rnd) % 4;
    size_t steps = steps_of(size), max_steps = steps_of(max);

    if (max < SETTINGS)
        return size;
    if (size < SETTINGS)
        memset(data + size, 0, SETTINGS - size);
    if (next(&rnd) % 16 == 0)
        return LLVMFuzzerMutate(data, size, max);
    while (times--)
        steps = mutate_once(data, steps, max_steps, &rnd);
    return SETTINGS + steps * SCRIPT_STEP;
}

/* The beginning of one, the end of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                                 uint8_t *out, size_t max, unsigned seed)
{
    size_t head, from, tail;

    if (!steps_of(a_size) || !steps_of(b_size) || max < a_size)
        return 0;
    head = SETTINGS + (1 + next(&seed) % steps_of(a_size)) * SCRIPT_STEP;
    from = SETTINGS + next(&seed) % steps_of(b_size) * SCRIPT_STEP;
    tail = b_size - from;
    if (tail > max - head)
        tail = max - head;
    memcpy(out, a, head);
    memcpy(out + head, b + from, tail);
    return head + tail;
}
