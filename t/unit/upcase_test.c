/* upcase_test: letters in upper case as Windows has them, and names that are equal in upper case.
 * The expectations are those of exFAT's up-case table.
 */
#include "ntlm/upcase.h"
#include "ntlm/unicode.h"

#include "unit.h"

/* Letters of many scripts, at both ends of each range of the table and beside them. */
static void test_letters(void)
{
    static const struct { uint32_t c, up; const char *name; } rows[] = {
        { 'a', 'A', "a" }, { 'z', 'Z', "z" }, { '`', '`', "before a" }, { '{', '{', "behind z" },
        { 'A', 'A', "A" },
        { 0x7f, 0x7f, "DEL" }, { 0xb5, 0xb5, "micro sign" }, { 0xdf, 0xdf, "sharp s" },
        { 0xe0, 0xc0, "a grave" },
        { 0xf6, 0xd6, "o umlaut" }, { 0xf7, 0xf7, "the sign of division" }, { 0xfe, 0xde, "thorn" },
        { 0xff, 0x178, "y umlaut" }, { 0x101, 0x100, "a macron" }, { 0x100, 0x100, "A macron" },
        { 0x130, 0x130, "I with a dot" }, { 0x131, 0x131, "dotless i" }, { 0x138, 0x138, "kra" },
        { 0x149, 0x149, "n with an apostrophe" }, { 0x17e, 0x17d, "z caron" },
        { 0x17f, 0x17f, "long s" },
        { 0x180, 0x243, "b stroke" }, { 0x1c5, 0x1c5, "Dz in title case" }, { 0x1c6, 0x1c4, "dz" },
        { 0x1dd, 0x18e, "turned e" },
        { 0x1f0, 0x1f0, "j caron" }, { 0x250, 0x250, "turned a, of Unicode 5.1" },
        { 0x253, 0x181, "b hook" },
        { 0x26b, 0x2c62, "l tilde" }, { 0x3ac, 0x386, "alpha tonos" },
        { 0x390, 0x390, "iota with three marks" },
        { 0x3b1, 0x391, "alpha" }, { 0x3c2, 0x3a3, "final sigma" }, { 0x3c3, 0x3a3, "sigma" },
        { 0x3d0, 0x3d0, "curled beta" },
        { 0x430, 0x410, "Cyrillic a" }, { 0x44f, 0x42f, "ya" }, { 0x45f, 0x40f, "dzhe" },
        { 0x4cf, 0x4c0, "palochka" },
        { 0x561, 0x531, "Armenian ayb" }, { 0x586, 0x556, "feh" }, { 0x587, 0x587, "ech yiwn" },
        { 0x10d0, 0x10d0, "Georgian an" },
        { 0x1d7d, 0x2c63, "p stroke" }, { 0x1e9b, 0x1e9b, "long s with a dot" },
        { 0x1ea1, 0x1ea0, "a with a dot" },
        { 0x1f51, 0x1f59, "upsilon dasia" }, { 0x1f80, 0x1f88, "alpha psili, iota" },
        { 0x1fb3, 0x1fbc, "alpha with iota" },
        { 0x1fbe, 0x1fbe, "prosgegrammeni" }, { 0x212a, 0x212a, "Kelvin" },
        { 0x217f, 0x216f, "Roman thousand" },
        { 0x24e9, 0x24cf, "z in a circle" }, { 0x2d25, 0x10c5, "Georgian hoe" },
        { 0xab70, 0xab70, "Cherokee a" },
        { 0xff41, 0xff21, "wide a" }, { 0xff5a, 0xff3a, "wide z" }, { 0xff5b, 0xff5b, "behind it" },
        { 0x10428, 0x10428, "Deseret, outside the plane" },
        { 0x10ffff, 0x10ffff, "the last of all" },
    };
    size_t i;
    uint32_t c, twice = 0;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        is_int(ntlmssp_upcase(rows[i].c), rows[i].up, "%s", rows[i].name);
    for (c = 0; c < 0x10000; c++)
        twice += ntlmssp_upcase(ntlmssp_upcase(c)) != ntlmssp_upcase(c);
    is_int(twice, 0, "what is in upper case stays so");
}

static void test_names(void)
{
    char out[32];

    ok(ntlmssp_upcase_utf8("\xc3\x96zt\xc3\xbcrk", out, sizeof(out)), "a name");
    is_str(out, "\xc3\x96ZT\xc3\x9cRK", "in upper case");
    ok(ntlmssp_upcase_utf8("\xc9\xab", out, sizeof(out)), "a letter whose other case is longer");
    is_str(out, "\xe2\xb1\xa2", "in upper case");
    ok(ntlmssp_upcase_utf8("", out, 1), "no name");
    ok(!ntlmssp_upcase_utf8("abc", out, 6) && ntlmssp_upcase_utf8("abc", out, 7),
       "room for the longest letter");
    ok(!ntlmssp_upcase_utf8("\xff", out, sizeof(out))
           && !ntlmssp_upcase_utf8("a\xc3", out, sizeof(out)),
       "no UTF-8");
    ok(ntlmssp_is_utf8("") && ntlmssp_is_utf8("a\xc3\xbc\xf0\x9f\x98\x80"), "UTF-8");
    ok(!ntlmssp_is_utf8("a\xfc") && !ntlmssp_is_utf8("\xc0\x80")
           && !ntlmssp_is_utf8("\xed\xa0\x80"),
       "and none");
}

int main(void)
{
    test_letters();
    test_names();
    return unit_done();
}
