/* ntlm_fuzz: NTLM's messages, SPNEGO around them, and lines of smbpasswd. The first byte of an
 * input chooses; the rest is the message, in memory of just its size.
 */
#include "ntlmssp.h"
#include "smbpasswd.h"
#include "spnego.h"

#include <apr_general.h>

#include "fuzz.h"

static int inside(const uint8_t *p, size_t size, const uint8_t *data, size_t len)
{
    return !p || (p >= data && size <= len && (size_t)(p - data) <= len - size);
}

static void check_name(const char *name)
{
    size_t len = strlen(name);

    MUST(len < NTLMSSP_NAME, "a name of %zu bytes", len);
    MUST(strspn(name, "\1\2\3\4\5\6\a\b\t\n\v\f\r\x7f") == 0, "a control character");
}

static void authenticate(const uint8_t *data, size_t len)
{
    static const uint8_t challenge[NTLMSSP_CHALLENGE];
    uint8_t key[NTLMSSP_KEY] = { 0 }, session[NTLMSSP_KEY];
    ntlmssp_authenticate_t auth;

    if (ntlmssp_read_authenticate(data, len, &auth))
        return;
    check_name(auth.user);
    check_name(auth.domain);
    check_name(auth.workstation);
    MUST(inside(auth.nt_response, auth.nt_response_size, data, len), "a response outside");
    MUST(inside(auth.lm_response, auth.lm_response_size, data, len), "a response outside");
    MUST(inside(auth.session_key, auth.session_key_size, data, len), "a key outside");
    MUST(inside(auth.channel_binding, 16, data, len), "a binding outside");
    MUST(!auth.mic_offset || auth.mic_offset + 16 <= len, "a MIC outside");
    if (auth.anonymous)
        return;
    MUST(ntlmssp_ntowf_v2(key, auth.user, auth.domain, key), "names that have no key");
    MUST(!ntlmssp_check_response(key, challenge, &auth, session), "a proof without a password");
    ntlmssp_exported_key(&auth, session);
    if (auth.mic_offset)
        ntlmssp_check_mic(session, data, len, data, len, data, len, auth.mic_offset);
}

/* Whoever asks for whatever gets a challenge that is one. */
static void negotiate(const uint8_t *data, size_t len)
{
    const ntlmssp_target_t target = { "EXAMPLE", "MAIL", "example.com", NULL, NULL };
    const ntlmssp_challenge_t challenge = { &target, { 1, 2, 3, 4, 5, 6, 7, 8 }, 0x0123456789abcdef };
    ntlmssp_negotiate_t n;
    uint8_t buf[512];
    size_t size;

    if (ntlmssp_read_negotiate(data, len, &n))
        return;
    size = ntlmssp_write_challenge(&challenge, n.flags, buf, sizeof(buf));
    MUST(size && ntlmssp_type(buf, size) == 2, "no challenge");
    MUST(ntlmssp_write_challenge(&challenge, n.flags, buf, size - 1) == 0, "a challenge without room");
}

static void spnego(const uint8_t *data, size_t len)
{
    uint8_t buf[256];
    spnego_token_t t;

    if (spnego_read(data, len, &t))
        return;
    MUST(inside(t.mech_types, t.mech_types_size, data, len), "mechanisms outside");
    MUST(inside(t.token, t.token_size, data, len), "a token outside");
    MUST(inside(t.mic, t.mic_size, data, len), "a MIC outside");
    if (t.token && t.token_size <= sizeof(buf) - SPNEGO_OVERHEAD)
        MUST(spnego_write(SPNEGO_ACCEPT_INCOMPLETE, 1, t.token, t.token_size, NULL, buf, sizeof(buf)),
             "not written again");
}

static void users(const uint8_t *data, size_t len)
{
    apr_pool_t *pool;
    smbpasswd_t *table;

    apr_pool_create(&pool, NULL);
    table = smbpasswd_read(pool, (const char *)data, len);
    MUST(!table->malformed == !table->first_malformed, "malformed lines without a number");
    MUST(!smbpasswd_find(table, pool, ""), "a user without a name");
    apr_pool_destroy(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parsers[])(const uint8_t *data, size_t len) = { authenticate, negotiate, spnego, users };
    static int begun;
    uint8_t *copy;

    if (!begun)
        apr_initialize();
    begun = 1;
    if (!size)
        return 0;
    copy = fuzz_copy(data + 1, size - 1);
    parsers[data[0] % 4](copy, size - 1);
    free(copy);
    return 0;
}
