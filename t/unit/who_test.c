/* who_test: which spellings are one user, and which are one address. */
#include "base/who.h"

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "unit.h"

typedef struct spelling {
    const char *name, *with_domain, *any_domain, *what;
} spelling_t;

static const spelling_t spellings[] = {
    { "alice", "alice", "alice", "a name" },
    { "ALICE", "alice", "alice", "case" },
    { " alice", "alice", "alice", "a blank before" },
    { "alice  ", "alice", "alice", "blanks behind" },
    { "\talice\r\n", "alice", "alice", "controls are blanks" },
    { "al  ice", "al ice", "al ice", "repeated blanks" },
    { "al\xc2\xa0\xe3\x80\x80ice", "al ice", "al ice", "no-break and ideographic spaces" },
    { "\xef\xbd\x81lice", "alice", "alice", "full width" },
    { "\xef\xbc\xa1\xef\xbc\xac\xef\xbd\x89\xef\xbd\x83\xef\xbd\x85", "alice", "alice",
      "full width, in capitals" },
    { "al\xc2\xadice", "alice", "alice", "a soft hyphen" },
    { "al\xe2\x80\x8bice", "alice", "alice", "a space without width" },
    { "\xc3\x96zt\xc3\xbcrk", "\xc3\xb6zt\xc3\xbcrk", "\xc3\xb6zt\xc3\xbcrk", "umlauts fold" },
    { "O\xcc\x88ztu\xcc\x88rk", "\xc3\xb6zt\xc3\xbcrk", "\xc3\xb6zt\xc3\xbcrk",
      "umlauts of two characters" },
    { "\xd6zt\xfcrk", "\xc3\xb6zt\xc3\xbcrk", "\xc3\xb6zt\xc3\xbcrk", "umlauts of ISO 8859-1" },
    { "stra\xc3\x9f" "e", "strasse", "strasse", "sharp s" },
    { "\xce\xa3\xce\x8f", "\xcf\x83\xcf\x8e", "\xcf\x83\xcf\x8e", "Greek" },
    { "DOM\\alice", "alice@dom", "alice", "a domain before" },
    { "dom \\ Alice", "alice@dom", "alice", "blanks around the backslash" },
    { "DOM\xef\xbc\xbc" "alice", "alice@dom", "alice", "a backslash of full width" },
    { "alice@DOM", "alice@dom", "alice", "a domain behind" },
    { "alice@a.test", "alice@a.test", "alice", "one tenant" },
    { "alice@b.test", "alice@b.test", "alice", "another tenant" },
    { "alice@a.test.", "alice@a.test", "alice", "a dot behind the domain" },
    { "alice\xef\xbc\xa0" "a.test", "alice@a.test", "alice", "an at sign of full width" },
    { "\\alice", "alice", "alice", "an empty domain before" },
    { "alice@", "alice", "alice", "an empty domain behind" },
    { "@alice", "@alice", "@alice", "no name before the at sign" },
    { " @alice", "@alice", "@alice", "nor blanks alone" },
    { "DOM\\alice@a.test", "alice@a.test@dom", "alice@a.test", "both" },
    { "alice\\", "alice\\", "alice\\", "nothing behind the backslash" },
    { "", "", "", "nobody" },
    { "  ", "", "", "blanks alone" },
    { NULL, "", "", "no name" },
};

static void test_spellings(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof(spellings) / sizeof(*spellings); i++) {
        const spelling_t *s = &spellings[i];
        const char *with = rpc_who_user(pool, s->name, RPC_WHO_WITH_DOMAIN);

        is_str(with, s->with_domain, "%s", s->what);
        is_str(rpc_who_user(pool, s->name, RPC_WHO_ANY_DOMAIN), s->any_domain,
               "without its domain");
        is_str(rpc_who_user(pool, with, RPC_WHO_WITH_DOMAIN), with, "what is canonical stays");
    }
}

/* Are two names of LENGTH bytes that differ only in the last byte one user? */
static int same_beginning(apr_pool_t *pool, size_t length)
{
    char *one = apr_palloc(pool, length + 1), *other;

    memset(one, 'a', length);
    one[length] = '\0';
    other = apr_pstrdup(pool, one);
    other[length - 1] = 'b';
    return strcmp(rpc_who_user(pool, one, RPC_WHO_WITH_DOMAIN),
                  rpc_who_user(pool, other, RPC_WHO_WITH_DOMAIN))
        == 0;
}

static void test_long(apr_pool_t *pool)
{
    char *name = apr_palloc(pool, 2 * RPC_WHO_NAME_MAX);
    const char *user;
    size_t i;

    ok(!same_beginning(pool, RPC_WHO_NAME_MAX), "long names that differ");
    ok(same_beginning(pool, RPC_WHO_NAME_MAX + 1), "names that differ behind the bound");
    for (i = 0; i + 1 < 2 * RPC_WHO_NAME_MAX; i++)
        /* at each limit the name has an umlaut of two bytes */
        name[i] = i % 2 ? '\xb6' : '\xc3';
    name[i] = '\0';
    name[0] = 'x';
    name[1] = 'x';
    user = rpc_who_user(pool, name + 1, RPC_WHO_WITH_DOMAIN);
    is_int((int)strlen(user), RPC_WHO_NAME_MAX - 1, "a name is not cut within a character");
    is_str(user + strlen(user) - 2, "\xc3\xb6", "its last character is whole");
}

typedef struct net {
    uint8_t ip[16], size, bits, addr[8];
    const char *what;
} net_t;

static const net_t nets[] = {
    { { 192, 0, 2, 1 }, 4, 32, { 192, 0, 2, 1 }, "IPv4" },
    { { 0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 3 }, 16, 64, { 0x20, 1, 0xd, 0xb8, 0, 1, 0, 2 },
      "IPv6 by its /64" },
    { { [10] = 0xff, 0xff, 192, 0, 2, 1 }, 16, 32, { 192, 0, 2, 1 }, "mapped" },
    { { 0, 0x64, 0xff, 0x9b, [12] = 192, 0, 2, 1 }, 16, 32, { 192, 0, 2, 1 }, "NAT64" },
    { { [12] = 192, 0, 2, 1 }, 16, 32, { 192, 0, 2, 1 }, "compatible" },
    { { 0x20, 2, 192, 0, 2, 1, 9 }, 16, 32, { 192, 0, 2, 1 }, "6to4" },
    { { [15] = 1 }, 16, 64, { 0 }, "::1 is no IPv4 address" },
    { { 1, 2, 3 }, 3, 0, { 0 }, "of no known size" },
};

static void test_networks(void)
{
    size_t i;

    for (i = 0; i < sizeof(nets) / sizeof(*nets); i++) {
        rpc_who_network_t network = rpc_who_network(nets[i].ip, nets[i].size);

        is_int(network.bits, nets[i].bits, "%s", nets[i].what);
        ok(memcmp(network.addr, nets[i].addr, sizeof(network.addr)) == 0, "its bytes");
    }
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    test_spellings(pool);
    test_long(pool);
    test_networks();
    apr_terminate();
    return unit_done();
}
