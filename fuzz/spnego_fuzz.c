/* spnego_fuzz: any bytes through spnego_read(), and its answer written and read again. The first
 * byte of an input chooses what is written; with its top bit the rest is a token's content, else a
 * token.
 */
#include "ntlm/spnego.h"

#include "fuzz.h"

static int inside(const uint8_t *p, size_t size, const uint8_t *data, size_t len)
{
    return !p || (p >= data && size <= len && (size_t)(p - data) <= len - size);
}

/* What is written is read as it was, fits just so, and never takes more than was promised. */
static void write_and_read(unsigned how, const uint8_t *token, size_t size)
{
    static const uint8_t mic[16] = { 1, 2, 3 };
    size_t room = size + sizeof(mic) + SPNEGO_OVERHEAD, written, with_mic = how & 4;
    spnego_state_t state = (spnego_state_t)(how & 3);
    uint8_t *buf = malloc(room), *exact;
    spnego_token_t t;
    const char *wrong;

    written = spnego_write(state, how & 8, token, size, with_mic ? mic : NULL, buf, room);
    MUST(written && written <= room, "%zu bytes written as %zu", size, written);
    exact = malloc(written);
    MUST(spnego_write(state, how & 8, token, size, with_mic ? mic : NULL, exact, written)
             == written,
         "not in just enough room");
    MUST(memcmp(buf, exact, written) == 0, "not the same again");
    wrong = spnego_read(exact, written, &t);
    MUST(!wrong, "%s", wrong);
    MUST(!t.init && !t.mech_types && !t.token == !token && !t.mic == !with_mic,
         "something else is read");
    MUST(!token || (t.token_size == size && (!size || memcmp(t.token, token, size) == 0)),
         "another token");
    MUST(!t.mic || (t.mic_size == sizeof(mic) && memcmp(t.mic, mic, sizeof(mic)) == 0),
         "another MIC");
    MUST(!spnego_write(state, how & 8, token, size, with_mic ? mic : NULL, exact, written - 1),
         "in one byte less");
    free(exact);
    free(buf);
}

static void read_bytes(unsigned how, const uint8_t *data, size_t size)
{
    spnego_token_t t, again;

    if (spnego_read(data, size, &t))
        return;
    MUST(inside(t.mech_types, t.mech_types_size, data, size), "mechanisms outside");
    MUST(inside(t.token, t.token_size, data, size), "a token outside");
    MUST(inside(t.mic, t.mic_size, data, size), "a MIC outside");
    MUST(t.init || (!t.ntlm && !t.mech_types), "mechanisms in NegTokenResp");
    MUST(t.ntlm >= 0 && (!t.ntlm || (t.mech_types && (size_t)t.ntlm * 2 <= size)),
         "NTLM in place %d", t.ntlm);
    MUST(spnego_read(data, size, &again) == NULL && again.token == t.token && again.mic == t.mic,
         "not the same");
    write_and_read(how, t.token, t.token_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (!size)
        return 0;
    copy = fuzz_copy(data + 1, size - 1);
    if (data[0] & 0x80)
        write_and_read(data[0], copy, size - 1);
    else
        read_bytes(data[0], copy, size - 1);
    free(copy);
    return 0;
}
