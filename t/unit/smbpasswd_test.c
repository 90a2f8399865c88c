/* smbpasswd_test: lines of all kinds, and which users they accept. */
#include "ntlm/smbpasswd.h"

#include <apr_general.h>
#include <apr_strings.h>

#include "unit.h"

#define LM "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
#define NT "0123456789ABCDEFfedcba9876543210"
#define NO_PASSWORD "NO PASSWORDXXXXXXXXXXXXXXXXXXXXX"

static const uint8_t hash[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                  0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10 };

static smbpasswd_t *read_text(apr_pool_t *pool, const char *text)
{
    return smbpasswd_read(pool, text, strlen(text));
}

static void test_line(apr_pool_t *pool)
{
    smbpasswd_t *table = read_text(pool, "Alice:1000:" LM ":" NT ":[UX         ]:LCT-6523A000:\n");
    const smbpasswd_user_t *user = smbpasswd_find(table, pool, "aLICE");

    is_int(table->malformed, 0, "a line as pdbedit writes it");
    if (ok(user != NULL, "found in whatever case")) {
        is_str(user->name, "Alice", "named as written");
        is_bytes(user->nt_hash, 16, hash, 16, "hash, in digits of either case");
        is_str(user->barred, NULL, "let in");
    }
    ok(!smbpasswd_find(table, pool, "alic") && !smbpasswd_find(table, pool, "alicee")
       && !smbpasswd_find(table, pool, ""), "nobody else");
}

/* Tests whether two names are one account. */
static void test_case(apr_pool_t *pool)
{
    static const struct { const char *written, *asked; int same; } rows[] = {
        { "\xc3\x96zt\xc3\xbcrk", "\xc3\xb6zt\xc3\xbcrk", 1 },
        { "\xc3\x96zt\xc3\xbcrk", "\xc3\x96ZT\xc3\x9cRK", 1 },
        { "\xce\xa3\xce\xaf\xcf\x83\xcf\x85\xcf\x86\xce\xbf\xcf\x82",
          "\xce\xa3\xce\x8a\xce\xa3\xce\xa5\xce\xa6\xce\x9f\xce\xa3", 1 },
        { "\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd", "\xd0\xb8\xd0\x92\xd0\x90\xd0\x9d", 1 },
        { "\xc4\xb1lker", "ilker", 0 }, { "\xc4\xb0lker", "ilker", 0 }, { "\xe2\x84\xaa", "k", 0 },
        { "stra\xc3\x9f", "strass", 0 },
        { "Zo\xeb", "zo\xeb", 0 }, { "Zo\xeb", "Zo\xeb", 1 }, { "Zo\xeb", "Zo\xc3\xab", 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        smbpasswd_t *table = read_text(pool, apr_psprintf(pool, "%s:1:" LM ":" NT ":[U]:LCT-0:\n",
                                                          rows[i].written));

        is_int(smbpasswd_find(table, pool, rows[i].asked) != NULL, rows[i].same, "%s and %s",
               rows[i].written, rows[i].asked);
    }
}

/* Flags, NT hash, and why such a user is refused; NULL: the user is accepted. */
static void test_flags(apr_pool_t *pool)
{
    static const struct { const char *flags, *nt, *barred; } rows[] = {
        { "[U          ]", NT, NULL }, { "[U]", NT, NULL }, { "[UHX        ]", NT, NULL },
        { "[DU         ]", NT, "disabled" }, { "[UL         ]", NT, "locked" },
        { "[NU         ]", NT, "without a password" },
        { "[NU         ]", NO_PASSWORD, "without a password" },
        { "[U          ]", NO_PASSWORD, "without an NT hash" },
        { "[U          ]", LM, "without an NT hash" },
        { "[W          ]", NT, "an account of a machine or a domain" },
        { "[S          ]", NT, "an account of a machine or a domain" },
        { "[I          ]", NT, "an account of a machine or a domain" },
    };
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *line = apr_psprintf(pool, "u:1:" LM ":%s:%s:LCT-0:\n", rows[i].nt,
                                        rows[i].flags);
        const smbpasswd_user_t *user = smbpasswd_find(read_text(pool, line), pool, "u");

        if (ok(user != NULL, "%s %.11s: there", rows[i].flags, rows[i].nt))
            is_str(user->barred, rows[i].barred, "%s %.11s: why not", rows[i].flags, rows[i].nt);
    }
}

static void test_malformed(apr_pool_t *pool)
{
    static const char *const lines[] = {
        "alice", ":", "a:1:" LM, "a:1:" LM ":" NT, ":1:" LM ":" NT ":[U]:",
        "a:1:" LM ":" NT ":U:LCT-0:",
        "a:1:" LM ":" NT "0:[U]:", "a:1:" LM ":0123:[U]:", "a:1:" LM "::[U]:", " ",
        "a:1:" LM ":" NT ":[", "a:1:" LM ":" NT ":[U   ", "a:1:" LM ":" NT ":[U   :]:",
    };
    size_t i;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        smbpasswd_t *table = read_text(pool, apr_pstrcat(pool, "# comment\n\n", lines[i],
                                                         "\nb:1:" LM ":" NT ":[U]:\n", lines[i],
                                                         "\n", NULL));

        is_int(table->malformed, 2, "malformed, twice: %s", lines[i]);
        is_int(table->first_malformed, 3, "first in line 3");
        ok(smbpasswd_find(table, pool, "b") && apr_hash_count(table->users) == 1,
           "the rest is read");
    }
}

static void test_files(apr_pool_t *pool)
{
    static const char nul[] = "a\0b:1:" LM ":" NT ":[U]:\n";
    static const char cut[] = "alice:1:" LM ":" NT ":[DU         ]:LCT-0:";
    smbpasswd_t *table = smbpasswd_read(pool, "", 0);
    size_t n;

    is_int(apr_hash_count(table->users) + table->malformed, 0, "an empty file");
    table = read_text(pool, "a:1:" LM ":" NT ":[U]:\r\nb:1:" LM ":" NT ":[U]:");
    ok(smbpasswd_find(table, pool, "a") && smbpasswd_find(table, pool, "b") && !table->malformed,
       "CR LF, and no end of line at the end");
    table = read_text(pool, "a:1:" LM ":" NT ":[DU]:\nA:1:" LM ":" NT ":[U]:\n");
    is_str(smbpasswd_find(table, pool, "a")->barred, "disabled", "the first line of a user counts");
    table = smbpasswd_read(pool, nul, sizeof(nul) - 1);
    ok(table->malformed == 1 && !apr_hash_count(table->users), "NUL is no part of a name");
    for (n = 0; n < sizeof(cut) - 1; n++) {
        /* in a block of its size, so that a sanitizer sees a read beyond it */
        char *exact = malloc(n ? n : 1);
        const smbpasswd_user_t *user;

        memcpy(exact, cut, n);
        user = smbpasswd_find(smbpasswd_read(pool, exact, n), pool, "alice");
        if (user && n < strlen("alice:1:" LM ":" NT ":[DU         ]"))
            ok(0, "cut at %zu: a disabled user whose flags are not all there", n);
        free(exact);
    }
    ok(1, "cut anywhere");
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    test_line(pool);
    test_case(pool);
    test_flags(pool);
    test_malformed(pool);
    test_files(pool);
    apr_pool_destroy(pool);
    apr_terminate();
    return unit_done();
}
