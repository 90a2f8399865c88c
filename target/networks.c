/* target/networks.c: parses the lists of RpcTargetNetworks and applies them.
 *
 * A network is a family, up to 16 bytes and a number of bits. One table of special networks holds
 * the words of the grammar and the implicit entries that deny them: a word stands for all its rows.
 * To judge an address all entries are compared and the longest match is kept. Lists are short and
 * are used once for each connection.
 */
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include "target/networks.h"

#define MAPPED_BITS 96          /* of the prefix of IPv4-mapped IPv6 addresses */

typedef struct network {
    int family;
    int bits;
    unsigned char addr[RPC_ADDRESS_V6];
} network_t;

typedef struct entry {
    network_t network;
    int denies;
    const char *text;
} entry_t;

struct rpc_networks {
    apr_array_header_t *entries;    /* entry_t */
    int allows;                     /* an entry allows a network */
    const char *text;
};

static const struct special {
    const char *word;
    network_t network;
    const char *denied_by;      /* the implicit entry, if there is one */
    int no_source;              /* nothing can be bound to it */
} specials[] = {
    { "any", { AF_INET, 0, { 0 } }, NULL, 0 },
    { "any", { AF_INET6, 0, { 0 } }, NULL, 0 },
    { "private", { AF_INET, 8, { 10 } }, NULL, 0 },
    { "private", { AF_INET, 12, { 172, 16 } }, NULL, 0 },
    { "private", { AF_INET, 16, { 192, 168 } }, NULL, 0 },
    { "private", { AF_INET6, 7, { 0xfc } }, NULL, 0 },
    { "loopback", { AF_INET, 8, { 127 } }, "!loopback (default)", 0 },
    { "loopback", { AF_INET6, 128, { [15] = 1 } }, "!loopback (default)", 0 },
    { "link-local", { AF_INET, 16, { 169, 254 } }, "!link-local (default)", 0 },
    { "link-local", { AF_INET6, 10, { 0xfe, 0x80 } }, "!link-local (default)", 0 },
    { "multicast", { AF_INET, 4, { 224 } }, "!multicast (default)", 1 },
    { "multicast", { AF_INET6, 8, { 0xff } }, "!multicast (default)", 1 },
    /* Linux takes 0.0.0.0 for loopback. */
    { "unspecified", { AF_INET, 8, { 0 } }, "!unspecified (default)", 1 },
    { "unspecified", { AF_INET6, 128, { 0 } }, "!unspecified (default)", 1 },
    { "broadcast", { AF_INET, 32, { 255, 255, 255, 255 } }, "!broadcast (default)", 1 },
};
#define SPECIALS (sizeof specials / sizeof *specials)

static int is_within(const network_t *network, int family, const unsigned char *addr)
{
    int whole = network->bits / 8, rest = network->bits % 8;

    if (network->family != family || memcmp(network->addr, addr, (size_t)whole))
        return 0;
    return !rest || !((network->addr[whole] ^ addr[whole]) >> (8 - rest));
}

/* ---- parsing ---- */

/* An address of either family, as written. */
static apr_status_t parse_address(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                  network_t *network)
{
    char buf[INET_ADDRSTRLEN];

    memset(network, 0, sizeof *network);
    if (memchr(at, '%', len))
        return rpc_syntax_fail(x, at, len, "an address without zone");
    if (memchr(at, '[', len))
        return rpc_syntax_fail(x, at, len, "an IPv6 address without brackets");
    if (memchr(at, ':', len)) {
        network->family = AF_INET6;
        network->bits = 8 * RPC_ADDRESS_V6;
        return rpc_ipv6_parse(at, len, network->addr) ? APR_SUCCESS
            : rpc_syntax_fail(x, at, len, "an IPv6 address");
    }
    network->family = AF_INET;
    network->bits = 8 * RPC_ADDRESS_V4;
    if (len && len < sizeof buf) {
        memcpy(buf, at, len);
        buf[len] = '\0';
        if (inet_pton(AF_INET, buf, network->addr) == 1)
            return APR_SUCCESS;
    }
    return rpc_syntax_fail(x, at, len, "an IPv4 address of four numbers up to 255");
}

/* The number of bits behind the '/'. All bits of the address behind these must be zero. */
static apr_status_t parse_bits(const rpc_syntax_t *x, const char *at, apr_size_t len,
                               network_t *network)
{
    const char *slash = memchr(at, '/', len);
    unsigned char host_bits = 0;
    int bits = 0, most = network->bits, i;
    apr_size_t n, digits = (apr_size_t)(at + len - slash) - 1;

    for (n = 0; n < digits && apr_isdigit(slash[1 + n]) && bits <= most; n++)
        bits = bits * 10 + (slash[1 + n] - '0');
    if (!digits || n < digits || bits > most)
        return rpc_syntax_fail(x, slash + 1, digits, "a prefix length up to %d behind the '/'",
                               most);
    network->bits = bits;
    for (i = bits / 8; i < most / 8; i++) {
        unsigned char keep = i == bits / 8 ? (unsigned char)(0xff00 >> bits % 8) : 0;

        host_bits |= network->addr[i] & (unsigned char)~keep;
        network->addr[i] &= keep;
    }
    if (host_bits) {
        char text[INET6_ADDRSTRLEN];

        inet_ntop(network->family, network->addr, text, sizeof text);
        return rpc_syntax_fail(x, at, len, "%s/%d, or the single address without '/'", text, bits);
    }
    return APR_SUCCESS;
}

static apr_status_t parse_network(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                  network_t *network)
{
    const char *slash = memchr(at, '/', len);
    apr_status_t rv = parse_address(x, at, slash ? (apr_size_t)(slash - at) : len, network);

    if (rv == APR_SUCCESS && slash)
        rv = parse_bits(x, at, len, network);
    if (rv != APR_SUCCESS || network->family != AF_INET6 || network->bits < MAPPED_BITS
        || !rpc_address_is_mapped(network->addr))
        return rv;
    network->family = AF_INET;
    network->bits -= MAPPED_BITS;
    memmove(network->addr, network->addr + RPC_ADDRESS_MAPPED, RPC_ADDRESS_V4);
    memset(network->addr + RPC_ADDRESS_V4, 0, RPC_ADDRESS_MAPPED);
    return APR_SUCCESS;
}

static void add_network(rpc_networks_t *networks, const network_t *network, int denies,
                        const char *text)
{
    entry_t *entry = apr_array_push(networks->entries);

    entry->network = *network;
    entry->denies = denies;
    entry->text = text;
    networks->allows |= !denies && *text != '+';
}

/* Adds the rows of a word; 0: the text is not such a word. */
static int add_word(rpc_networks_t *networks, const char *at, apr_size_t len, int denies,
                    const char *text)
{
    int found = 0;
    size_t i;

    for (i = 0; i < SPECIALS; i++) {
        if (strlen(specials[i].word) == len && !apr_cstr_casecmpn(specials[i].word, at, len)) {
            add_network(networks, &specials[i].network, denies, text);
            found = 1;
        }
    }
    return found;
}

static apr_status_t parse_network_entry(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                        rpc_networks_t *networks)
{
    const char *text = apr_pstrmemdup(x->pool, at, len), *comma = strpbrk(text, ",;");
    int denies = *at == '!', sign = denies || *at == '+';
    network_t network;
    apr_status_t rv;

    if (comma)
        return rpc_syntax_fail(x, at + (comma - text), 1, "a blank between two networks");
    at += sign;
    len -= (apr_size_t)sign;
    if (!len)
        return rpc_syntax_fail(x, at - 1, 1, "a network right behind the '%c'", at[-1]);
    if (add_word(networks, at, len, denies, text))
        return APR_SUCCESS;
    if (!memchr(at, ':', len) && !apr_isdigit(*at))
        return rpc_syntax_fail(x, at, len,
                               "a network such as 10.1.0.0/16 or 2001:db8::/32, or any, private, "
                               "loopback, link-local, multicast, unspecified or broadcast");
    if ((rv = parse_network(x, at, len, &network)) != APR_SUCCESS)
        return rv;
    add_network(networks, &network, denies, text);
    return APR_SUCCESS;
}

static const char *both_texts(apr_pool_t *pool, const char *a, const char *b)
{
    return *a && *b ? apr_pstrcat(pool, a, " ", b, NULL) : *a ? a : apr_pstrdup(pool, b);
}

/* An entry can be added to the copy. */
static rpc_networks_t *networks_copy(apr_pool_t *pool, const rpc_networks_t *base)
{
    rpc_networks_t *networks = apr_pcalloc(pool, sizeof *networks);

    networks->entries = apr_array_make(pool, 4, sizeof(entry_t));
    if (base && base->entries)
        apr_array_cat(networks->entries, base->entries);
    networks->allows = base && base->allows;
    networks->text = rpc_networks_text(base);
    return networks;
}

const char *rpc_networks_text(const rpc_networks_t *networks)
{
    return networks ? networks->text : "";
}

apr_status_t rpc_networks_parse(apr_pool_t *pool, const char *text, const rpc_networks_t *base,
                                rpc_networks_t **networks, rpc_syntax_error_t *err)
{
    rpc_networks_t *result = networks_copy(pool, base);
    rpc_syntax_t x = { pool, text, err };
    const char *at = text + strspn(text, RPC_BLANKS);

    if (!*at)
        return rpc_syntax_fail(&x, at, 0, "a network such as 10.1.0.0/16");
    while (*at) {
        apr_size_t len = strcspn(at, RPC_BLANKS);
        apr_status_t rv = parse_network_entry(&x, at, len, result);

        if (rv != APR_SUCCESS)
            return rv;
        at += len;
        at += strspn(at, RPC_BLANKS);
    }
    result->text = both_texts(pool, result->text, text);
    *networks = result;
    return APR_SUCCESS;
}

/* ---- asking ---- */

/* The configured entry that decides, or NULL. */
static const entry_t *best_entry(const rpc_networks_t *networks, int family,
                                 const unsigned char *addr)
{
    const entry_t *best = NULL;
    int i;

    for (i = 0; networks && networks->entries && i < networks->entries->nelts; i++) {
        const entry_t *entry = &APR_ARRAY_IDX(networks->entries, i, entry_t);
        int longer = best ? entry->network.bits - best->network.bits : 1;

        if ((longer > 0 || (longer == 0 && entry->denies > best->denies))
            && is_within(&entry->network, family, addr))
            best = entry;
    }
    return best;
}

/* The implicit entry of more than MORE_THAN bits that denies the address, or NULL. */
static const char *denied_special(int family, const unsigned char *addr, int more_than)
{
    const struct special *best = NULL;
    size_t i;

    for (i = 0; i < SPECIALS; i++) {
        const struct special *s = &specials[i];

        if (s->denied_by && s->network.bits > more_than && is_within(&s->network, family, addr)) {
            best = s;
            more_than = s->network.bits;
        }
    }
    return best ? best->denied_by : NULL;
}

/* The result for one address. */
typedef struct verdict {
    int allowed;
    int named;              /* an entry or a special network decided, not the default for the
                             * rest */
    const char *rule;
    const entry_t *entry;   /* that decided; or NULL */
} verdict_t;

static verdict_t judge_address(const rpc_networks_t *networks, int family,
                               const unsigned char *addr)
{
    const entry_t *entry = best_entry(networks, family, addr);
    const char *special = denied_special(family, addr, entry ? entry->network.bits : -1);

    if (special)
        return (verdict_t){ 0, 1, special, NULL };
    if (entry)
        return (verdict_t){ !entry->denies, 1, entry->text, entry };
    if (networks && networks->allows)
        return (verdict_t){ 0, 0, "!any (default)", NULL };
    return (verdict_t){ 1, 0, "any (default)", NULL };
}

/* An IPv6 address that stands for an IPv4 address leads to it. So it is denied when a rule denies
 * that IPv4 address by name. Otherwise the rules for the IPv6 address come first, if there are
 * any. */
static verdict_t judge_both(const rpc_networks_t *networks, const rpc_address_t *address)
{
    const unsigned char *addr = rpc_address_bytes(address);
    unsigned char embedded[RPC_ADDRESS_V4];
    verdict_t whole = judge_address(networks, address->any.sa_family, addr), v4;

    if (address->any.sa_family != AF_INET6 || !rpc_address_embedded(addr, embedded))
        return whole;
    v4 = judge_address(networks, AF_INET, embedded);
    return !whole.named || (v4.named && !v4.allowed) ? v4 : whole;
}

int rpc_networks_allow(const rpc_networks_t *networks, const struct sockaddr *sa, const char **rule)
{
    verdict_t verdict = { 0, 0, "!any (default)", NULL };
    rpc_address_t address;

    if (rpc_address_set(&address, sa))
        verdict = judge_both(networks, &address);
    if (rule)
        *rule = verdict.rule;
    return verdict.allowed;
}

/* Reads HOST as an address, without its zone; 0: HOST is a name. */
static int read_host(const char *host, rpc_address_t *address)
{
    struct in6_addr v6;
    struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };

    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        return 1;
    }
    if (!rpc_ipv6_parse(host, strlen(host), v6.s6_addr))
        return 0;
    sa.sin6_addr = v6;
    return rpc_address_set(address, (struct sockaddr *)&sa);
}

const char *rpc_networks_denial(const rpc_networks_t *networks, const char *host)
{
    rpc_address_t address;
    verdict_t verdict;

    if (!read_host(host, &address))
        return NULL;
    verdict = judge_both(networks, &address);
    return verdict.entry && verdict.entry->denies ? verdict.entry->text : NULL;
}

const rpc_networks_t *rpc_networks_with(apr_pool_t *pool, const rpc_networks_t *networks,
                                        const char *host)
{
    char text[RPC_ADDRESS_TEXT];
    rpc_networks_t *with;
    rpc_syntax_error_t err;
    rpc_address_t address;

    if (!read_host(host, &address) || rpc_networks_allow(networks, &address.any, NULL)
        || rpc_networks_denial(networks, host)
        || rpc_networks_parse(pool, apr_pstrcat(pool, "+", rpc_address_text(&address, text), NULL),
                              networks,
                              &with, &err) != APR_SUCCESS)
        return networks;
    return with;
}

/* ---- single addresses ---- */

apr_status_t rpc_networks_parse_local(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                      rpc_address_t *address)
{
    network_t network;
    apr_status_t rv;
    size_t i;

    if (memchr(at, '/', len))
        return rpc_syntax_fail(x, at, len, "a single address without '/'");
    if ((rv = parse_network(x, at, len, &network)) != APR_SUCCESS)
        return rv;
    for (i = 0; i < SPECIALS; i++) {
        if (specials[i].no_source && is_within(&specials[i].network, network.family, network.addr))
            return rpc_syntax_fail(x, at, len, "an address of this machine, no %s address",
                                   specials[i].word);
    }
    memset(address, 0, sizeof *address);
    address->any.sa_family = (sa_family_t)network.family;
    if (network.family == AF_INET)
        memcpy(&address->v4.sin_addr, network.addr, RPC_ADDRESS_V4);
    else
        memcpy(&address->v6.sin6_addr, network.addr, RPC_ADDRESS_V6);
    return APR_SUCCESS;
}
