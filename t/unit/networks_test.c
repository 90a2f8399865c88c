/* networks_test: the grammar of RpcTargetNetworks and RpcSourceAddress, the messages about faults,
 * and which entry decides about which address. */
#include <arpa/inet.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "target/sources.h"
#include "fault.h"
#include "unit.h"

static void address(const char *text, rpc_address_t *out)
{
    memset(out, 0, sizeof *out);
    out->any.sa_family = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(out->any.sa_family, text,
                  out->any.sa_family == AF_INET ? (void *)&out->v4.sin_addr
                                                : (void *)&out->v6.sin6_addr)
        != 1)
        abort();
}

/* ---- lists that parse, and one question about each ---- */

static const struct question {
    const char *networks;       /* NULL: no directive */
    const char *address;
    int allowed;
    const char *rule;
} questions[] = {
    /* no directive: all addresses but the special ones */
    { NULL, "192.0.2.1", 1, "any (default)" },
    { NULL, "10.1.2.3", 1, "any (default)" },
    { NULL, "2001:db8::1", 1, "any (default)" },
    { NULL, "fd00::1", 1, "any (default)" },
    { NULL, "127.0.0.1", 0, "!loopback (default)" },
    { NULL, "127.255.255.255", 0, "!loopback (default)" },
    { NULL, "126.255.255.255", 1, "any (default)" },
    { NULL, "128.0.0.0", 1, "any (default)" },
    { NULL, "::1", 0, "!loopback (default)" },
    { NULL, "::2", 1, "any (default)" },
    { NULL, "169.254.0.0", 0, "!link-local (default)" },
    { NULL, "169.254.169.254", 0, "!link-local (default)" },
    { NULL, "169.253.255.255", 1, "any (default)" },
    { NULL, "169.255.0.0", 1, "any (default)" },
    { NULL, "fe80::1", 0, "!link-local (default)" },
    { NULL, "febf:ffff::1", 0, "!link-local (default)" },
    { NULL, "fec0::1", 1, "any (default)" },
    { NULL, "fe7f::1", 1, "any (default)" },
    { NULL, "224.0.0.1", 0, "!multicast (default)" },
    { NULL, "239.255.255.250", 0, "!multicast (default)" },
    { NULL, "240.0.0.1", 1, "any (default)" },
    { NULL, "223.255.255.255", 1, "any (default)" },
    { NULL, "ff02::1", 0, "!multicast (default)" },
    { NULL, "0.0.0.0", 0, "!unspecified (default)" },
    { NULL, "0.255.0.1", 0, "!unspecified (default)" },
    { NULL, "1.0.0.0", 1, "any (default)" },
    { NULL, "::", 0, "!unspecified (default)" },
    { NULL, "255.255.255.255", 0, "!broadcast (default)" },
    { NULL, "255.255.255.254", 1, "any (default)" },
    /* IPv4 addresses written as IPv6 */
    { NULL, "::ffff:127.0.0.1", 0, "!loopback (default)" },
    { NULL, "::ffff:0.0.0.0", 0, "!unspecified (default)" },
    { NULL, "::ffff:169.254.169.254", 0, "!link-local (default)" },
    { NULL, "::ffff:192.0.2.1", 1, "any (default)" },
    { "10.0.0.0/8", "::ffff:10.1.2.3", 1, "10.0.0.0/8" },
    { "::ffff:10.0.0.0/104", "10.1.2.3", 1, "::ffff:10.0.0.0/104" },
    { "::ffff:10.0.0.0/104", "11.1.2.3", 0, "!any (default)" },
    { "::ffff:0:0/96", "192.0.2.1", 1, "::ffff:0:0/96" },
    { "::ffff:0:0/96", "127.0.0.1", 0, "!loopback (default)" },
    { "::ffff:10.1.2.3", "10.1.2.3", 1, "::ffff:10.1.2.3" },
    { "::/0", "::ffff:192.0.2.1", 0, "!any (default)" },
    { "0.0.0.0/0", "2001:db8::1", 0, "!any (default)" },
    { "10.0.0.0/8", "a00::1", 0, "!any (default)" },
    /* IPv6 addresses that stand for an IPv4 one */
    { NULL, "64:ff9b::127.0.0.1", 0, "!loopback (default)" },
    { NULL, "::127.0.0.1", 0, "!loopback (default)" },
    { NULL, "2002:7f00:1::1", 0, "!loopback (default)" },
    { NULL, "64:ff9b::169.254.169.254", 0, "!link-local (default)" },
    { NULL, "64:ff9b::192.0.2.1", 1, "any (default)" },
    { NULL, "64:ff9c::127.0.0.1", 1, "any (default)" },
    { "any", "64:ff9b::127.0.0.1", 0, "!loopback (default)" },
    { "64:ff9b::/96", "64:ff9b::127.0.0.1", 0, "!loopback (default)" },
    { "64:ff9b::/96 loopback", "64:ff9b::127.0.0.1", 1, "64:ff9b::/96" },
    { "64:ff9b::/96", "64:ff9b::192.0.2.1", 1, "64:ff9b::/96" },
    { "64:ff9b::/96 !192.0.2.0/24", "64:ff9b::192.0.2.1", 0, "!192.0.2.0/24" },
    { "!10.1.9.0/24", "64:ff9b::10.1.9.1", 0, "!10.1.9.0/24" },
    { "!10.1.9.0/24", "::10.1.9.1", 0, "!10.1.9.0/24" },
    { "!10.1.9.0/24", "2002:a01:901:7::9", 0, "!10.1.9.0/24" },
    { "!10.1.9.0/24", "2002:a01:801:7::9", 1, "any (default)" },
    { "10.1.0.0/16", "64:ff9b::10.1.2.3", 1, "10.1.0.0/16" },
    { "10.1.0.0/16", "64:ff9b::10.2.2.3", 0, "!any (default)" },
    { "!2002::/16", "2002:a01:801::1", 0, "!2002::/16" },
    /* one network in addition to those that are allowed anyway */
    { "+127.0.0.2", "127.0.0.2", 1, "+127.0.0.2" },
    { "+127.0.0.2", "127.0.0.3", 0, "!loopback (default)" },
    { "+127.0.0.2", "192.0.2.1", 1, "any (default)" },
    { "10.0.0.0/8 +127.0.0.2", "192.0.2.1", 0, "!any (default)" },
    { "10.0.0.0/8 +loopback", "127.0.0.2", 1, "+loopback" },
    { "+127.0.0.2 !127.0.0.2", "127.0.0.2", 0, "!127.0.0.2" },
    /* only the networks that are allowed */
    { "10.1.0.0/16 2001:db8:1::/48 !10.1.9.0/24", "10.1.8.255", 1, "10.1.0.0/16" },
    { "10.1.0.0/16 2001:db8:1::/48 !10.1.9.0/24", "10.1.9.0", 0, "!10.1.9.0/24" },
    { "10.1.0.0/16 2001:db8:1::/48 !10.1.9.0/24", "10.1.10.0", 1, "10.1.0.0/16" },
    { "10.1.0.0/16 2001:db8:1::/48 !10.1.9.0/24", "10.2.0.0", 0, "!any (default)" },
    { "10.1.0.0/16 2001:db8:1::/48 !10.1.9.0/24", "2001:db8:1:ffff::1", 1, "2001:db8:1::/48" },
    { "10.1.0.0/16 2001:db8:1::/48 !10.1.9.0/24", "2001:db8:2::1", 0, "!any (default)" },
    { "2001:db8:1::/48", "192.0.2.1", 0, "!any (default)" },
    { "192.0.2.7", "192.0.2.7", 1, "192.0.2.7" },
    { "192.0.2.7", "192.0.2.8", 0, "!any (default)" },
    { "2001:db8::7", "2001:DB8:0::7", 1, "2001:db8::7" },
    { "2001:db8::7", "2001:db8::6", 0, "!any (default)" },
    { "\t10.0.0.0/8  ", "10.0.0.1", 1, "10.0.0.0/8" },
    /* odd lengths */
    { "172.16.0.0/12", "172.31.255.255", 1, "172.16.0.0/12" },
    { "172.16.0.0/12", "172.32.0.0", 0, "!any (default)" },
    { "192.0.2.128/25", "192.0.2.128", 1, "192.0.2.128/25" },
    { "192.0.2.128/25", "192.0.2.127", 0, "!any (default)" },
    { "192.0.2.6/31", "192.0.2.7", 1, "192.0.2.6/31" },
    { "192.0.2.6/31", "192.0.2.8", 0, "!any (default)" },
    { "128.0.0.0/1", "192.0.2.8", 1, "128.0.0.0/1" },
    { "128.0.0.0/1", "64.0.0.1", 0, "!any (default)" },
    { "2001:db8::/127", "2001:db8::1", 1, "2001:db8::/127" },
    { "2001:db8::/127", "2001:db8::2", 0, "!any (default)" },
    { "8000::/1", "fd00::1", 1, "8000::/1" },
    /* all networks but those that are denied */
    { "!10.1.9.0/24", "10.1.9.1", 0, "!10.1.9.0/24" },
    { "!10.1.9.0/24", "10.1.8.1", 1, "any (default)" },
    { "!10.1.9.0/24", "2001:db8::1", 1, "any (default)" },
    { "!10.1.9.0/24", "127.0.0.1", 0, "!loopback (default)" },
    { "!private", "10.1.9.1", 0, "!private" },
    { "!private", "192.0.2.1", 1, "any (default)" },
    { "!any", "192.0.2.1", 0, "!any" },
    { "!any 192.0.2.0/24", "192.0.2.1", 1, "192.0.2.0/24" },
    /* the longest prefix decides, in any order */
    { "10.0.0.0/8 !10.1.0.0/16 10.1.2.0/24 !10.1.2.3", "10.9.9.9", 1, "10.0.0.0/8" },
    { "10.0.0.0/8 !10.1.0.0/16 10.1.2.0/24 !10.1.2.3", "10.1.9.9", 0, "!10.1.0.0/16" },
    { "10.0.0.0/8 !10.1.0.0/16 10.1.2.0/24 !10.1.2.3", "10.1.2.9", 1, "10.1.2.0/24" },
    { "10.0.0.0/8 !10.1.0.0/16 10.1.2.0/24 !10.1.2.3", "10.1.2.3", 0, "!10.1.2.3" },
    { "!10.1.2.3 10.1.2.0/24 !10.1.0.0/16 10.0.0.0/8", "10.1.2.9", 1, "10.1.2.0/24" },
    { "!10.1.2.3 10.1.2.0/24 !10.1.0.0/16 10.0.0.0/8", "10.1.2.3", 0, "!10.1.2.3" },
    /* of prefixes of the same length, the denial decides */
    { "10.1.0.0/16 !10.1.0.0/16", "10.1.2.3", 0, "!10.1.0.0/16" },
    { "!10.1.0.0/16 10.1.0.0/16", "10.1.2.3", 0, "!10.1.0.0/16" },
    { "any !any", "192.0.2.1", 0, "!any" },
    { "192.0.2.1 192.0.2.1/32", "192.0.2.1", 1, "192.0.2.1" },
    /* a special address is only allowed by an entry for its own kind */
    { "any", "192.0.2.1", 1, "any" },
    { "any", "2001:db8::1", 1, "any" },
    { "any", "127.0.0.1", 0, "!loopback (default)" },
    { "0.0.0.0/0", "127.0.0.1", 0, "!loopback (default)" },
    { "126.0.0.0/7", "127.0.0.1", 0, "!loopback (default)" },
    { "127.0.0.0/8", "127.0.0.1", 1, "127.0.0.0/8" },
    { "127.0.0.2", "127.0.0.2", 1, "127.0.0.2" },
    { "127.0.0.2", "127.0.0.1", 0, "!loopback (default)" },
    { "::1", "::1", 1, "::1" },
    { "::1", "127.0.0.1", 0, "!loopback (default)" },
    { "::/127", "::1", 0, "!loopback (default)" },
    { "loopback", "127.9.9.9", 1, "loopback" },
    { "loopback", "::1", 1, "loopback" },
    { "LoopBack", "::ffff:127.0.0.1", 1, "LoopBack" },
    { "loopback", "192.0.2.1", 0, "!any (default)" },
    { "loopback", "169.254.0.1", 0, "!link-local (default)" },
    { "any loopback", "192.0.2.1", 1, "any" },
    { "any loopback !127.0.0.3", "127.0.0.1", 1, "loopback" },
    { "any loopback !127.0.0.3", "127.0.0.3", 0, "!127.0.0.3" },
    { "link-local", "169.254.1.1", 1, "link-local" },
    { "link-local", "fe80::1", 1, "link-local" },
    { "fe80::/10", "fe80::1", 1, "fe80::/10" },
    { "fe00::/9", "fe80::1", 0, "!link-local (default)" },
    { "multicast", "ff02::1", 1, "multicast" },
    { "private", "10.0.0.1", 1, "private" },
    { "private", "172.31.0.1", 1, "private" },
    { "private", "192.168.255.255", 1, "private" },
    { "private", "fdff::1", 1, "private" },
    { "private", "192.169.0.0", 0, "!any (default)" },
    { "private", "127.0.0.1", 0, "!loopback (default)" },
    { "0.0.0.0", "0.0.0.0", 1, "0.0.0.0" },
    { "unspecified", "::", 1, "unspecified" },
    { "broadcast", "255.255.255.255", 1, "broadcast" },
};

static void test_questions(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof questions / sizeof *questions; i++) {
        const struct question *q = &questions[i];
        const char *written = q->networks ? q->networks : "", *rule = NULL;
        rpc_networks_t *networks = NULL;
        rpc_syntax_error_t err = { 0, NULL, NULL };
        rpc_address_t a;

        if (q->networks
            && !ok(rpc_networks_parse(pool, q->networks, NULL, &networks, &err) == APR_SUCCESS,
                   "\"%s\" parses", q->networks))
            continue;
        address(q->address, &a);
        is_int(rpc_networks_allow(networks, &a.any, &rule), q->allowed, "\"%s\": %s is %s", written,
               q->address, q->allowed ? "allowed" : "denied");
        is_str(rule, q->rule, "by %s", q->rule);
    }
}

/* ---- lists that do not, with element, column and a word of the help ---- */

static const struct fault {
    const char *text;
    int column;
    const char *element, *help;
} faults[] = {
    { "", 1, "", "10.1.0.0/16" },
    { "  ", 3, "", "10.1.0.0/16" },
    { "!", 1, "!", "behind the '!'" },
    { "any ! loopback", 5, "!", "behind the '!'" },
    { "!!any", 2, "!any", "a network such as" },
    { "lan", 1, "lan", "private, loopback" },
    { "any dc1.example", 5, "dc1.example", "private, loopback" },
    { "loopback/8", 1, "loopback/8", "private, loopback" },
    { "10.0.0.0/8,192.0.2.1", 11, ",", "a blank between" },
    { "any;10.0.0.0/8", 4, ";", "a blank between" },
    { "10.1", 1, "10.1", "four numbers" },
    { "10.1/16", 1, "10.1", "four numbers" },
    { "10.1.2.256", 1, "10.1.2.256", "four numbers" },
    { "10.1.2.3.4/8", 1, "10.1.2.3.4", "four numbers" },
    { "111.111.111.1111111111/8", 1, "111.111.111.1111111111", "four numbers" },
    { "any !10.1.x.0/24", 6, "10.1.x.0", "four numbers" },
    { "10.1.0.0/", 10, "", "up to 32" },
    { "10.1.0.0/33", 10, "33", "up to 32" },
    { "10.1.0.0/99999999999999999999", 10, "99999999999999999999", "up to 32" },
    { "10.1.0.0/-1", 10, "-1", "up to 32" },
    { "10.1.0.0/16x", 10, "16x", "up to 32" },
    { "10.1.0.0/16/8", 10, "16/8", "up to 32" },
    { "10.1.0.0/255.255.0.0", 10, "255.255.0.0", "up to 32" },
    { "2001:db8::/129", 12, "129", "up to 128" },
    { "10.1.2.0/16", 1, "10.1.2.0/16", "10.1.0.0/16" },
    { "10.1.2.3/0", 1, "10.1.2.3/0", "0.0.0.0/0" },
    { "192.0.2.129/31", 1, "192.0.2.129/31", "192.0.2.128/31" },
    { "!2001:db8::1/32", 2, "2001:db8::1/32", "2001:db8::/32" },
    { "2001:db8::/31 2001:db9::/31", 15, "2001:db9::/31", "2001:db8::/31" },
    { "2001:db8:::/32", 1, "2001:db8:::", "an IPv6 address" },
    { "[2001:db8::]/32", 1, "[2001:db8::]", "without brackets" },
    { "fe80::1%eth0", 1, "fe80::1%eth0", "without zone" },
    { "12345::/16", 1, "12345::", "an IPv6 address" },
};

static void test_faults(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof faults / sizeof *faults; i++) {
        const struct fault *f = &faults[i];
        rpc_networks_t *networks = NULL;
        rpc_syntax_error_t err = { 0, "", "" };
        char *text = unit_copy(f->text, strlen(f->text) + 1);
        apr_status_t rv = rpc_networks_parse(pool, text, NULL, &networks, &err);

        fault_is(f->text, rv, networks, &err, f->column, f->element, f->help);
        free(text);
    }
}

static int allows(const rpc_networks_t *networks, const char *text)
{
    rpc_address_t a;

    address(text, &a);
    return rpc_networks_allow(networks, &a.any, NULL);
}

static void test_adding(apr_pool_t *pool)
{
    rpc_networks_t *one, *two;
    rpc_syntax_error_t err;

    rpc_networks_parse(pool, "10.0.0.0/8", NULL, &one, &err);
    rpc_networks_parse(pool, "!10.1.0.0/16", one, &two, &err);
    ok(allows(two, "10.2.0.1") && !allows(two, "10.1.0.1") && !allows(two, "192.0.2.1"),
       "a list adds to its base");
    ok(allows(one, "10.1.0.1"), "the base stays as it was");
    rpc_networks_parse(pool, "!192.0.2.1", NULL, &one, &err);
    ok(allows(one, "192.0.2.2"), "denials alone leave the rest");
    rpc_networks_parse(pool, "10.0.0.0/8", one, &two, &err);
    ok(allows(two, "10.2.0.1") && !allows(two, "192.0.2.2"), "with what is allowed they do not");
}

static void test_other_families(void)
{
    struct sockaddr other = { .sa_family = AF_UNIX };
    const char *rule = NULL;

    ok(!rpc_networks_allow(NULL, &other, &rule), "what is neither IPv4 nor IPv6 is denied");
    is_str(rule, "!any (default)", "with a rule");
}

static void test_text(void)
{
    char text[RPC_ADDRESS_TEXT];
    rpc_address_t a, b;

    address("::ffff:192.0.2.1", &a);
    a.v6.sin6_port = htons(135);
    ok(rpc_address_set(&b, &a.any) && b.any.sa_family == AF_INET && b.v4.sin_port == htons(135),
       "IPv4 undressed");
    is_str(rpc_address_text(&b, text), "192.0.2.1", "and as text");
    is_int(rpc_address_size(&b), sizeof b.v4, "its size");
    address("2001:db8::1", &a);
    ok(rpc_address_set(&b, &a.any), "IPv6");
    is_str(rpc_address_text(&b, text), "2001:db8::1", "as text");
    is_int(rpc_address_size(&b), sizeof b.v6, "its size");
}

/* ---- sources ---- */

static const struct fault source_faults[] = {
    { "", 1, "", "of this machine" },
    { "10.0.0.0/8", 1, "10.0.0.0/8", "without '/'" },
    { "192.0.2.1 eth0", 11, "eth0", "four numbers" },
    { "192.0.2.1 0.0.0.0", 11, "0.0.0.0", "unspecified address" },
    { "::", 1, "::", "unspecified address" },
    { "ff02::1", 1, "ff02::1", "multicast address" },
    { "fe80::1%eth0", 1, "fe80::1%eth0", "without zone" },
    { "192.0.2.1,192.0.2.2", 1, "192.0.2.1,192.0.2.2", "four numbers" },
};

static void test_source_faults(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof source_faults / sizeof *source_faults; i++) {
        const struct fault *f = &source_faults[i];
        rpc_syntax_error_t err = { 0, "", "" };
        rpc_sources_t *sources = NULL;
        apr_status_t rv = rpc_sources_parse(pool, f->text, NULL, &sources, &err);

        fault_is(f->text, rv, sources, &err, f->column, f->element, f->help);
    }
}

static void test_sources(apr_pool_t *pool)
{
    rpc_sources_t *one = NULL, *all = NULL;
    const rpc_address_t *first, *second, *third;
    rpc_syntax_error_t err;
    char text[RPC_ADDRESS_TEXT];

    ok(rpc_sources_parse(pool, "192.0.2.1 ::ffff:192.0.2.2", NULL, &one, &err) == APR_SUCCESS,
       "two sources");
    ok(rpc_sources_parse(pool, "2001:db8::1", one, &all, &err) == APR_SUCCESS, "and one of IPv6");
    is_int(rpc_sources_count(one, AF_INET6), 0, "the base stays as it was");
    is_int(rpc_sources_count(all, AF_INET), 2, "two of IPv4");
    is_int(rpc_sources_count(all, AF_INET6), 1, "one of IPv6");
    is_int(rpc_sources_count(all, AF_UNIX), 0, "none of others");
    is_int(rpc_sources_count(NULL, AF_INET), 0, "none in no list");
    first = rpc_sources_next(all, AF_INET);
    second = rpc_sources_next(all, AF_INET);
    third = rpc_sources_next(all, AF_INET);
    ok(first && first == third && first != second, "in turn");
    ok(first->v4.sin_port == 0, "any port");
    is_str(rpc_address_text(rpc_sources_next(all, AF_INET6), text), "2001:db8::1",
           "each family in its own");
    ok(!rpc_sources_next(one, AF_INET6), "none of a family that has none");
    ok(!rpc_sources_next(NULL, AF_INET), "none of no list");
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&pool, NULL);
    test_questions(pool);
    test_faults(pool);
    test_adding(pool);
    test_other_families();
    test_text();
    test_source_faults(pool);
    test_sources(pool);
    return unit_done();
}
