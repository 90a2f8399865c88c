/* target/pattern.c: the '*' is first or last, so a match is a comparison of the other end and a
 * look at what is left over for the '*'.
 */
#include "target/pattern.h"

#include <string.h>

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "base/syntax.h"

static int same_ipv6(const char *a, const char *b)
{
    unsigned char addr_a[16], addr_b[16];
    apr_size_t len_a = rpc_ipv6_parse(a, strlen(a), addr_a);
    apr_size_t len_b = rpc_ipv6_parse(b, strlen(b), addr_b);

    return len_a && len_b && !memcmp(addr_a, addr_b, 16) && !strcmp(a + len_a, b + len_b);
}

/* "10.1." of "10.1.*". */
static int is_numeric(const char *text, apr_size_t len)
{
    return len > 0 && strspn(text, "0123456789.") >= len;
}

/* The '*' is the last character of PATTERN, behind LEN others. REST is the rest of NAME behind
 * these. */
static int match_prefix(const char *pattern, apr_size_t len, const char *name)
{
    const char *rest = name + len;

    if (strlen(name) < len || apr_cstr_casecmpn(pattern, name, len))
        return 0;
    return is_numeric(pattern, len) ? rest[strspn(rest, "0123456789.")] == '\0'
                                    : !strpbrk(rest, ".@");
}

/* SUFFIX is PATTERN without its '*', which comes first. Either the rest of the name ends where a
 * label or the part before '@' ends, or the suffix begins with such an end. */
static int match_suffix(const char *suffix, const char *name)
{
    apr_size_t len = strlen(suffix), size = strlen(name), rest = size - len;

    if (size < len || apr_cstr_casecmp(suffix, name + rest))
        return 0;
    if (suffix[0] == '@')
        return rest > 0 && !memchr(name, '@', rest);
    if (suffix[0] == '.')
        return rest > 0;
    return rest == 0 || strchr(".@", name[rest - 1]);
}

int rpc_pattern_match(const char *pattern, const char *name)
{
    apr_size_t len = strlen(pattern);

    if (!strcmp(pattern, "*"))
        return 1;
    if (strchr(name, ':'))
        return same_ipv6(pattern, name);
    if (pattern[0] == '*')
        return match_suffix(pattern + 1, name);
    if (len && pattern[len - 1] == '*')
        return match_prefix(pattern, len - 1, name);
    return !apr_cstr_casecmp(pattern, name);
}

int rpc_pattern_meets(const char *a, const char *b)
{
    apr_size_t len_a = strlen(a), len_b = strlen(b), len = len_a < len_b ? len_a : len_b;

    if (!strchr(b, '*'))
        return rpc_pattern_match(a, b);
    if (!strchr(a, '*'))
        return rpc_pattern_match(b, a);
    len--;          /* compares the texts beside both '*', over the length of the shorter one */
    if (*a == '*' && *b == '*')
        return !apr_cstr_casecmp(a + len_a - len, b + len_b - len);
    if (*a != '*' && *b != '*')
        return !apr_cstr_casecmpn(a, b, len);
    return 1;
}

const char *rpc_pattern_captured(apr_pool_t *pool, const char *pattern, const char *name)
{
    apr_size_t len = strlen(pattern);
    const char *text = "", *c;

    if (pattern[0] == '*')
        text = apr_pstrmemdup(pool, name, strlen(name) - (len - 1));
    else if (len && pattern[len - 1] == '*')
        text = apr_pstrdup(pool, name + len - 1);
    for (c = text; *c; c++) {
        if (!apr_isalnum(*c) && !strchr("-_", *c))
            return NULL;
    }
    return text;
}

const char *rpc_pattern_surprise(apr_pool_t *pool, const char *pattern)
{
    apr_size_t len = strlen(pattern);
    const char *suffix = pattern + 1;

    if (pattern[0] == '*' && *suffix && !strchr(".@", *suffix))
        return apr_psprintf(pool,
                            "it matches %s and every name that ends in .%s or @%s; write *.%s or "
                            "*@%s if only these are meant",
                            suffix, suffix, suffix, suffix, suffix);
    if (len > 1 && pattern[len - 1] == '*' && is_numeric(pattern, len - 1)
        && pattern[len - 2] != '.')
        return apr_psprintf(pool,
                            "it also matches addresses in which further digits follow %.*s; write "
                            "%.*s.* if the number ends there",
                            (int)len - 1, pattern, (int)len - 1, pattern);
    return NULL;
}
