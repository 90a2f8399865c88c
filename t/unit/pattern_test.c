/* pattern_test: which names a pattern matches, which part of a name may become part of another one,
 * and which patterns configtest warns of.
 */
#include "target/pattern.h"

#include <apr_general.h>

#include "unit.h"

typedef struct row {
    const char *pattern, *name;
    int matches;
} row_t;

static const row_t rows[] = {
    { "*", "anything.example.com", 1 }, { "*", "::1", 1 }, { "*", "", 1 },
    { "exch1", "EXCH1", 1 }, { "exch1", "exch10", 0 }, { "exch1", "exch1.evil.test", 0 },
    { "exch*", "exch", 1 }, { "exch*", "Exch-12_a", 1 }, { "exch*", "exch.evil.test", 0 },
    { "exch*", "exch1@evil.test", 0 }, { "exch*", "exc", 0 }, { "exch*", "", 0 },
    { "mail.*", "mail.x", 1 }, { "mail.*", "mail.evil.test", 0 },
    { "10.1.*", "10.1.2.3", 1 }, { "10.1.*", "10.1.", 1 }, { "10.1.*", "10.1.evil.test", 0 },
    { "10.1.*", "10.1.2.3.evil.test", 0 }, { "10.1.*", "10.10.2.3", 0 },
    { "10.1.*", "10.1.2.3@x", 0 },
    { "10.1.1*", "10.1.100.3", 1 }, { "1*", "1st", 0 },
    { "*.example.com", "a.example.com", 1 }, { "*.example.com", "A.B.EXAMPLE.COM", 1 },
    { "*.example.com", "example.com", 0 }, { "*.example.com", ".example.com", 0 },
    { "*.example.com", "evilexample.com", 0 }, { "*.example.com", "a.example.com.evil.test", 0 },
    { "*@example.com", "guid@example.com", 1 }, { "*@example.com", "@example.com", 0 },
    { "*@example.com", "a@b@example.com", 0 }, { "*@example.com", "guid@evilexample.com", 0 },
    { "*example.com", "example.com", 1 }, { "*example.com", "a.example.com", 1 },
    { "*example.com", "guid@example.com", 1 }, { "*example.com", "evilexample.com", 0 },
    { "*example.com", "evil-example.com", 0 }, { "*example.com", "com", 0 },
    { "*1", "::1", 0 }, { "2001:db8::1", "2001:DB8:0::1", 1 }, { "2001:db8::1", "2001:db8::2", 0 },
    { "2001:db8:*", "2001:db8::1", 0 },
};

static void test_match(void)
{
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        is_int(!!rpc_pattern_match(rows[i].pattern, rows[i].name), rows[i].matches, "%s %s %s",
               rows[i].pattern, rows[i].matches ? "takes" : "does not take", rows[i].name);
}

static void test_captured(apr_pool_t *pool)
{
    is_str(rpc_pattern_captured(pool, "*@example.com", "0a-f_9@example.com"), "0a-f_9",
           "before a suffix");
    is_str(rpc_pattern_captured(pool, "exch*", "exch12"), "12", "behind a prefix");
    is_str(rpc_pattern_captured(pool, "exch*", "exch"), "", "nothing");
    is_str(rpc_pattern_captured(pool, "exch1", "exch1"), "", "no star");
    is_str(rpc_pattern_captured(pool, "*", "host"), "host", "all of it");
    is_str(rpc_pattern_captured(pool, "*@example.com", "1.attacker.test@example.com"), NULL,
           "a dot would lead elsewhere");
    is_str(rpc_pattern_captured(pool, "10.1.*", "10.1.2.3"), NULL, "in an address, too");
    is_str(rpc_pattern_captured(pool, "*.example.com", "a.b.example.com"), NULL,
           "or within the domain");
    is_str(rpc_pattern_captured(pool, "*", "a@b"), NULL, "other characters");
    is_str(rpc_pattern_captured(pool, "*", "::1"), NULL, "an IPv6 address");
}

static void test_surprise(apr_pool_t *pool)
{
    static const char *const plain[] = { "*", "exch*", "10.1.*", "*.example.com", "*@example.com",
                                         "exch1", "10.1.2.3", "::1" };
    size_t i;

    for (i = 0; i < sizeof(plain) / sizeof(*plain); i++)
        is_str(rpc_pattern_surprise(pool, plain[i]), NULL, "%s is what it looks like", plain[i]);
    is_str(rpc_pattern_surprise(pool, "*example.com"),
           "it matches example.com and every name that ends in .example.com or @example.com; "
           "write *.example.com or *@example.com if only "
           "these are meant", "*example.com is not");
    is_str(rpc_pattern_surprise(pool, "10.1.1*"),
           "it also matches addresses in which further digits follow "
           "10.1.1; write 10.1.1.* if the number ends there",
           "nor is 10.1.1*");
}

static void test_meets(void)
{
    static const struct { const char *a, *b; int meets; } pairs[] = {
        { "exch1", "EXCH1", 1 }, { "exch1", "exch2", 0 }, { "exch*", "exch1", 1 },
        { "exch1", "exch*", 1 }, { "exch*", "mail*", 0 }, { "exch*", "ex*", 1 }, { "*", "*", 1 },
        { "*", "exch*", 1 }, { "*.a.test", "*", 1 }, { "*.a.test", "*.b.test", 0 },
        { "*.a.test", "*.sub.a.test", 1 }, { "exch*", "*.a.test", 1 }, { "::1", "0:0::1", 1 },
    };
    size_t i;

    for (i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
        ok(!!rpc_pattern_meets(pairs[i].a, pairs[i].b) == pairs[i].meets, "%s and %s: %s",
           pairs[i].a, pairs[i].b,
           pairs[i].meets ? "a name may match both" : "no name matches both");
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    test_match();
    test_captured(pool);
    test_surprise(pool);
    test_meets();
    apr_terminate();
    return unit_done();
}
