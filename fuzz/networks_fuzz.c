/* networks_fuzz: any RpcTargetNetworks or RpcSourceAddress. The first byte of an input chooses: 0,
 * the rest is a list of sources; else a list of networks.
 *
 * A list is accepted, or refused with its place. What an accepted list says about an address is
 * compared with a second, simpler parser: bit by bit, entry by entry.
 */
#include "target/sources.h"

#include <arpa/inet.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "fuzz.h"

static apr_pool_t *new_pool(void)
{
    static int initialized;
    apr_pool_t *pool;

    if (!initialized++)
        apr_initialize();
    apr_pool_create(&pool, NULL);
    return pool;
}

static void must_be_placed(const char *text, const rpc_syntax_error_t *err)
{
    size_t len = strlen(text);

    MUST(err->expected && *err->expected, "an error without a word of what is expected");
    MUST(err->column >= 1 && (size_t)err->column <= len + 1, "column %d of %zu", err->column, len);
    MUST(!strncmp(text + err->column - 1, err->element, strlen(err->element)), "element \"%s\"",
         err->element);
}

/* ---- the second reading ---- */

/* An address as 128 bits; IPv4 is where RFC 4291 maps it. */
static void read_address(const char *text, unsigned char bits[16])
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

    memcpy(bits, mapped, 12);
    if (inet_pton(AF_INET, text, bits + 12) != 1)
        MUST(inet_pton(AF_INET6, text, bits) == 1, "no address: \"%s\"", text);
}

static int is_ipv4(const unsigned char bits[16])
{
    unsigned char mapped[16];

    read_address("0.0.0.0", mapped);
    return !memcmp(bits, mapped, 12);
}

/* How many bits of NETWORK, which is an address with or without a length, hold ADDR; -1: not
 * all. */
static int held(const char *network, const unsigned char addr[16])
{
    const char *slash = strchr(network, '/');
    unsigned char bits[16];
    char text[64];
    int length, i, v4 = !strchr(network, ':');

    apr_cpystrn(text, network,
                slash && (size_t)(slash - network) < sizeof(text) ? (size_t)(slash - network) + 1
                                                                  : sizeof(text));
    read_address(text, bits);
    length = slash ? atoi(slash + 1) + (v4 ? 96 : 0) : 128;
    if (is_ipv4(addr) && (length < 96 || !is_ipv4(bits)))
        return -1;
    for (i = 0; i < length; i++) {
        if ((bits[i / 8] ^ addr[i / 8]) & (0x80 >> i % 8))
            return -1;
    }
    return length - (is_ipv4(addr) ? 96 : 0);
}

static const struct { const char *word, *networks; } words[] = {
    { "any", "0.0.0.0/0 ::/0" },
    { "private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7" },
    { "loopback", "127.0.0.0/8 ::1" },
    { "link-local", "169.254.0.0/16 fe80::/10" },
    { "multicast", "224.0.0.0/4 ff00::/8" },
    { "unspecified", "0.0.0.0/8 ::" },
    { "broadcast", "255.255.255.255" },
};
#define WORDS (sizeof(words) / sizeof(*words))

static int held_by_any(apr_pool_t *pool, const char *networks, const unsigned char addr[16])
{
    char *copy = apr_pstrdup(pool, networks), *state, *one = apr_strtok(copy, " ", &state);
    int best = -1;

    for (; one; one = apr_strtok(NULL, " ", &state)) {
        int bits = held(one, addr);

        best = bits > best ? bits : best;
    }
    return best;
}

static int held_by(apr_pool_t *pool, const char *entry, const unsigned char addr[16])
{
    size_t i;

    entry += *entry == '!' || *entry == '+';
    for (i = 0; i < WORDS; i++) {
        if (!strcasecmp(words[i].word, entry))
            return held_by_any(pool, words[i].networks, addr);
    }
    return held(entry, addr);
}

typedef struct opinion {
    int allowed, named;     /* named: by an entry, or as a special address */
} opinion_t;

static opinion_t opinion_of(apr_pool_t *pool, const char *text, const unsigned char addr[16])
{
    char *copy = apr_pstrdup(pool, text), *state, *one = apr_strtok(copy, " \t\r\n\v\f", &state);
    int best = -1, denied = 0, allows = 0;
    size_t i;

    for (; one; one = apr_strtok(NULL, " \t\r\n\v\f", &state)) {
        int bits = held_by(pool, one, addr);

        allows |= *one != '!' && *one != '+';
        if (bits > best || (bits == best && bits >= 0 && *one == '!')) {
            best = bits;
            denied = *one == '!';
        }
    }
    for (i = 2; i < WORDS; i++) {
        if (held_by_any(pool, words[i].networks, addr) > best)
            return (opinion_t){ 0, 1 };
    }
    return best >= 0 ? (opinion_t){ !denied, 1 } : (opinion_t){ !allows, 0 };
}

/* The IPv4 address that ADDR stands for, in its mapped form; 0: none, or ADDR is mapped itself. */
static int stands_for(const unsigned char addr[16], unsigned char mapped[16])
{
    static const unsigned char compatible[12], nat64[12] = { 0, 0x64, 0xff, 0x9b };
    int six_to_four = addr[0] == 0x20 && addr[1] == 2;

    memset(mapped, 0, 10);
    mapped[10] = mapped[11] = 0xff;
    memcpy(mapped + 12, addr + (six_to_four ? 2 : 12), 4);
    return six_to_four || !memcmp(addr, nat64, 12) || (!memcmp(addr, compatible, 12) && addr[12]);
}

/* Allowed? */
static int read_again(apr_pool_t *pool, const char *text, const unsigned char addr[16])
{
    opinion_t whole = opinion_of(pool, text, addr), v4;
    unsigned char mapped[16];

    if (!stands_for(addr, mapped))
        return whole.allowed;
    v4 = opinion_of(pool, text, mapped);
    return !whole.named || (v4.named && !v4.allowed) ? v4.allowed : whole.allowed;
}

/* ---- asking ---- */

static void ask(apr_pool_t *pool, const char *text, const rpc_networks_t *networks,
                const char *about)
{
    rpc_address_t address;
    unsigned char bits[16];
    const char *rule = NULL;
    int allowed;

    read_address(about, bits);
    memset(&address, 0, sizeof(address));
    address.v6.sin6_family = AF_INET6;
    memcpy(&address.v6.sin6_addr, bits, 16);
    allowed = rpc_networks_allow(networks, &address.any, &rule);
    MUST(rule && *rule, "no rule for %s", about);
    MUST(allowed == (*rule != '!'), "%s is %s by %s", about, allowed ? "allowed" : "denied", rule);
    MUST(allowed == read_again(pool, text, bits), "%s is %s by %s", about,
         allowed ? "allowed" : "denied", rule);
}

static void read_networks(apr_pool_t *pool, const char *text)
{
    static const char *const about[] = {
        "192.0.2.1", "10.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255",
        "0.0.0.0",
        "2001:db8::1", "fd00::1", "::1", "::", "fe80::1", "ff02::1", "::ffff:0:1",
        "64:ff9b::10.1.2.3", "64:ff9b::127.0.0.1", "::10.1.2.3", "2002:a01:203::1",
    };
    rpc_syntax_error_t err = { 0, NULL, NULL };
    rpc_networks_t *networks = NULL;
    char *copy = apr_pstrdup(pool, text), *state, *one;
    size_t i;

    if (rpc_networks_parse(pool, text, NULL, &networks, &err) != APR_SUCCESS) {
        MUST(!networks, "networks in spite of an error");
        must_be_placed(text, &err);
        return;
    }
    for (i = 0; i < sizeof(about) / sizeof(*about); i++)
        ask(pool, text, networks, about[i]);
    for (one = apr_strtok(copy, " \t\r\n\v\f", &state); one;
         one = apr_strtok(NULL, " \t\r\n\v\f", &state)) {
        one += *one == '!' || *one == '+';
        one[strcspn(one, "/")] = '\0';
        if (*one >= '0' && *one <= '9' ? 1 : strchr(one, ':') != NULL)
            ask(pool, text, networks, one);
    }
}

static void read_sources(apr_pool_t *pool, const char *text)
{
    rpc_syntax_error_t err = { 0, NULL, NULL };
    rpc_sources_t *sources = NULL;
    char buf[RPC_ADDRESS_TEXT];
    int families[] = { AF_INET, AF_INET6 }, i, k;

    if (rpc_sources_parse(pool, text, NULL, &sources, &err) != APR_SUCCESS) {
        MUST(!sources, "sources in spite of an error");
        must_be_placed(text, &err);
        return;
    }
    MUST(rpc_sources_count(sources, AF_INET) + rpc_sources_count(sources, AF_INET6) > 0, "none");
    for (i = 0; i < 2; i++) {
        for (k = rpc_sources_count(sources, families[i]); k > 0; k--) {
            const rpc_address_t *source = rpc_sources_next(sources, families[i]);
            rpc_sources_t *again = NULL;

            MUST(source && source->any.sa_family == families[i], "family");
            rpc_address_text(source, buf);
            MUST(rpc_sources_parse(pool, buf, NULL, &again, &err) == APR_SUCCESS, "%s: %s", buf,
                 err.expected);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool;
    char *text;

    if (!size)
        return 0;
    pool = new_pool();
    text = fuzz_text(data + 1, size - 1);
    if (data[0])
        read_networks(pool, text);
    else
        read_sources(pool, text);
    free(text);
    apr_pool_destroy(pool);
    return 0;
}
