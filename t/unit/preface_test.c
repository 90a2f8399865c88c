/* preface_test: the preface byte by byte, cut anywhere, and damaged in every byte. */
#include <apr_general.h>
#include "wire/preface.h"
#include "unit.h"

#define SECRET "abcdefghijklmnopqrstuvwxyz012345"
#define SECRET_BYTES (const uint8_t *)SECRET

static const rpc_preface_t sample = { "dc1", 135, "DC1:135", "demo", "10.9.8.7", "www:443",
                                      "10.0.0.0/8", "10.0.0.1",
                                      1500, 0x20000, 0x4000, SECRET_BYTES };
static const uint8_t sample_bytes[] =
    "RPXY" "\x05\x00" "\x76\x00" SECRET "\xdc\x05\x00\x00" "\x00\x00\x02\x00"
    "\x00\x40\x00\x00"
    "\x03\x00" "dc1" "\x03\x00" "135" "\x07\x00" "DC1:135" "\x04\x00" "demo"
    "\x08\x00" "10.9.8.7" "\x07\x00" "www:443"
    "\x0a\x00" "10.0.0.0/8" "\x08\x00" "10.0.0.1";
#define SAMPLE_LEN (sizeof sample_bytes - 1)

static void test_bytes(apr_pool_t *pool)
{
    uint8_t buf[RPC_PREFACE_MAX];
    rpc_preface_t back = { .port = 0 };
    size_t size = rpc_preface_write(&sample, buf, sizeof buf);

    is_bytes(buf, size, sample_bytes, SAMPLE_LEN, "written byte-exact");
    ok(rpc_preface_read(sample_bytes, SAMPLE_LEN, &back, pool) == (int)SAMPLE_LEN, "and read");
    ok(!strcmp(back.host, "dc1") && back.port == 135 && !strcmp(back.target, "DC1:135")
           && !strcmp(back.user, "demo") && !strcmp(back.client, "10.9.8.7")
           && !strcmp(back.vhost, "www:443") && back.connect_timeout == 1500
           && back.setup_timeout == 0x20000 && back.receive_window == 0x4000
           && !strcmp(back.networks, "10.0.0.0/8")
           && !strcmp(back.sources, "10.0.0.1") && !memcmp(back.secret, SECRET, RPC_PREFACE_SECRET),
       "with every field");
    memcpy(buf + size, "\x05\x00\x14\x03", 4);
    ok(rpc_preface_read(buf, size + 4, &back, pool) == (int)size, "what follows is left alone");
}

/* In a block of its exact size, so that reading past it is seen. */
static int read_exact(const uint8_t *data, size_t len, apr_pool_t *pool)
{
    uint8_t *copy = unit_copy(data, len);
    rpc_preface_t preface;
    int rv = rpc_preface_read(copy, len, &preface, pool);

    free(copy);
    return rv;
}

static void test_cut(apr_pool_t *pool)
{
    size_t len;

    for (len = 0; len < SAMPLE_LEN; len++)
        ok(read_exact(sample_bytes, len, pool) == 0, "%d bytes: more are needed", (int)len);
}

static void test_capacity(void)
{
    uint8_t buf[RPC_PREFACE_MAX];
    size_t cap, written = 0;

    for (cap = 0; cap < SAMPLE_LEN; cap++) {
        memset(buf, 0xaa, sizeof buf);
        written += rpc_preface_write(&sample, buf, cap);
        if (buf[cap] != 0xaa)
            break;
    }
    ok(cap == SAMPLE_LEN && written == 0, "no buffer too small is written to its end or past it");
    ok(rpc_preface_write(&sample, buf, SAMPLE_LEN) == SAMPLE_LEN, "one of the exact size is");
}

static void test_limits(apr_pool_t *pool)
{
    static char user[RPC_PREFACE_MAX + 1];
    uint8_t buf[RPC_PREFACE_MAX + 100];
    rpc_preface_t p = sample, back;
    size_t room = RPC_PREFACE_MAX - (SAMPLE_LEN - strlen(sample.user));

    memset(user, 'u', room);
    p.user = user;
    ok(rpc_preface_write(&p, buf, sizeof buf) == RPC_PREFACE_MAX, "16,384 bytes are written");
    ok(rpc_preface_read(buf, RPC_PREFACE_MAX, &back, pool) == RPC_PREFACE_MAX
           && rpc_preface_equal(&p, &back),
       "and read");
    user[room] = 'u';
    ok(rpc_preface_write(&p, buf, sizeof buf) == 0, "16,385 are not");
    memset(user, 'u', RPC_PREFACE_MAX);
    ok(rpc_preface_write(&p, buf, sizeof buf) == 0, "nor a user as long as that");
    p = sample;
    p.user = "";
    ok(rpc_preface_read(buf, rpc_preface_write(&p, buf, sizeof buf), &back, pool) > 0
           && !*back.user,
       "an anonymous user");
    p.user = NULL;
    ok(rpc_preface_read(buf, rpc_preface_write(&p, buf, sizeof buf), &back, pool) > 0
           && !*back.user,
       "NULL is one, too");
    p = sample;
    p.port = 0;
    ok(rpc_preface_write(&p, buf, sizeof buf) == 0, "no port, no preface");
    p = sample;
    p.host = "";
    ok(rpc_preface_write(&p, buf, sizeof buf) == 0, "no host, no preface");
}

static const struct damage {
    int at;
    const char *bytes;
    int len, result;
    const char *name;
} damages[] = {
    { 0, "r", 1, -1, "another first byte" },
    { 3, "X", 1, -1, "another fourth byte" },
    { 0, "\x05\x00\x14\x03", 4, -1, "an RTS PDU" },
    { 4, "\x02", 1, -2, "version 2, which had no secret" },
    { 4, "\x03", 1, -2, "version 3, which had no client" },
    { 4, "\x04", 1, -2, "version 4, which had no window" },
    { 4, "\x00", 1, -2, "version 0" },
    { 5, "\x01", 1, -2, "version 261" },
    { 6, "\x00\x00", 2, -2, "length 0" },
    { 6, "\x3f\x00", 2, -2, "length 63" },
    { 6, "\x01\x40", 2, -2, "length 16,385" },
    { 6, "\xff\xff", 2, -2, "length 65,535" },
    { 6, "\x77\x00", 2, 0, "a byte more than came" },
    { 6, "\x75\x00", 2, -2, "a byte less than its strings" },
    { 52, "\x00\x00", 2, -2, "strings that do not end at the end" },
    { 52, "\xff\xff", 2, -2, "a string over the end" },
    { 108, "\x09", 1, -2, "the last string one too long" },
    { 108, "\x07", 1, -2, "the last string one too short" },
    { 54, "\x00", 1, -2, "a NUL in the host" },
    { 73, "\x00", 1, -2, "a NUL in the user" },
    { 59, "000", 3, -2, "port 0" },
    { 59, "1 5", 3, -2, "a port with a blank" },
    { 59, "-13", 3, -2, "a negative port" },
    { 59, "0x1", 3, -2, "a hexadecimal port" },
};

static void test_damage(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof damages / sizeof *damages; i++) {
        uint8_t buf[SAMPLE_LEN];
        int rv;

        memcpy(buf, sample_bytes, SAMPLE_LEN);
        memcpy(buf + damages[i].at, damages[i].bytes, (size_t)damages[i].len);
        rv = read_exact(buf, SAMPLE_LEN, pool);
        ok(rv == damages[i].result, "%s: %d (is %d)", damages[i].name, damages[i].result, rv);
    }
    ok(read_exact((const uint8_t *)"RPY", 3, pool) == -1, "three bytes can tell");
    ok(read_exact((const uint8_t *)"RPXY\x01\x00", 6, pool) == -2, "six bytes tell a version");
}

#define NUMBERS "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

/* Ports at and over the limits need another length. */
static void test_ports(apr_pool_t *pool)
{
    static const uint8_t high[] = "RPXY\x05\x00\x4a\x00" SECRET NUMBERS "\x01\x00h\x05\x00"
                                  "65535\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    static const uint8_t over[] = "RPXY\x05\x00\x4a\x00" SECRET NUMBERS "\x01\x00h\x05\x00"
                                  "65536\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    static const uint8_t none[] =
        "RPXY\x05\x00\x45\x00" SECRET NUMBERS
        "\x01\x00h\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    static const uint8_t nohost[] = "RPXY\x05\x00\x45\x00" SECRET NUMBERS "\x00\x00\x01\x00"
                                    "1\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    rpc_preface_t p;

    ok(rpc_preface_read(high, 74, &p, pool) == 74 && p.port == 65535, "port 65535");
    ok(rpc_preface_read(over, 74, &p, pool) == -2, "not 65536");
    ok(rpc_preface_read(none, 69, &p, pool) == -2, "nor none");
    ok(rpc_preface_read(nohost, 69, &p, pool) == -2, "nor no host");
}

/* Every byte with every value: never a crash, never more used than there is. */
static void test_every_byte(apr_pool_t *pool)
{
    uint8_t buf[SAMPLE_LEN];
    int wrong = 0, value;
    size_t i;

    for (i = 0; i < SAMPLE_LEN; i++) {
        for (value = 0; value < 256; value++) {
            int rv;

            memcpy(buf, sample_bytes, SAMPLE_LEN);
            buf[i] = (uint8_t)value;
            rv = read_exact(buf, SAMPLE_LEN, pool);
            wrong += rv > (int)SAMPLE_LEN || rv < -2;
        }
        apr_pool_clear(pool);
    }
    ok(wrong == 0, "every byte with every value is survived");
}

static void test_equal(void)
{
    const rpc_preface_t *s = &sample;
    rpc_preface_t p = sample;

    ok(rpc_preface_equal(s, &p), "equal to itself");
    p.host = "DC1", p.target = "dc1:135";
    ok(rpc_preface_equal(s, &p), "names without case");
    p = sample, p.host = "dc2";
    p.port = 136;
    ok(rpc_preface_equal(s, &p), "other servers, for the order of several may have changed");
    p = sample, p.target = "DC1:136";
    ok(!rpc_preface_equal(s, &p), "another target");
    p = sample, p.user = "eve";
    ok(!rpc_preface_equal(s, &p), "another user");
    p = sample, p.user = "Demo";
    ok(!rpc_preface_equal(s, &p), "users with case");
    p = sample, p.user = "";
    ok(!rpc_preface_equal(s, &p), "no user");
    p = sample, p.vhost = "www:444";
    ok(!rpc_preface_equal(s, &p), "another virtual host");
}

static void test_secret(void)
{
    uint8_t buf[RPC_PREFACE_MAX], one[RPC_PREFACE_SECRET];
    rpc_preface_t p = sample, *copy = rpc_preface_copy(&p);
    int i, known = 0;

    ok(rpc_preface_has_secret(&p, SECRET_BYTES) && !rpc_preface_has_secret(&p, NULL),
       "the secret, and none");
    for (i = 0; i < 8 * RPC_PREFACE_SECRET; i++) {
        memcpy(one, SECRET, sizeof one);
        one[i / 8] ^= (uint8_t)(1 << i % 8);
        known += rpc_preface_has_secret(&p, one);
    }
    ok(known == 0, "no bit of it may differ");
    ok(copy && !copy->secret && !rpc_preface_has_secret(copy, SECRET_BYTES),
       "a copy does not keep it");
    free(copy);
    p.secret = NULL;
    ok(rpc_preface_write(&p, buf, sizeof buf) == SAMPLE_LEN && buf[8] == 0 && buf[39] == 0,
       "none is written as zeros");
    ok(rpc_preface_has_secret(&p, NULL), "which who has none expects");
}

int main(void)
{
    apr_pool_t *pool, *scratch;

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&pool, NULL);
    apr_pool_create(&scratch, pool);
    test_bytes(pool);
    test_cut(pool);
    test_capacity();
    test_limits(pool);
    test_damage(pool);
    test_ports(pool);
    test_every_byte(scratch);
    test_equal();
    test_secret();
    return unit_done();
}
