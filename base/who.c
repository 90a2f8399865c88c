/* base/who.c: libutf8proc folds the name by the rules of Unicode; this file finds the domain in it.
 *
 * The name is folded before it is split, so that a full-width backslash or at sign separates like
 * the usual one. The parts are trimmed after the split, because LDAP takes "DOM \ alice" for alice,
 * too.
 */
#include "base/who.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <utf8proc.h>

#include "base/address.h"

/* NAME as UTF-8, NUL-terminated, in POOL. A NAME that is not UTF-8 is read as ISO 8859-1. */
static char *as_utf8(apr_pool_t *pool, const char *name, size_t size)
{
    const unsigned char *in = (const unsigned char *)name;
    char *out, *to;
    size_t i;

    for (i = 0; i < size;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(in + i, (utf8proc_ssize_t)(size - i), &c);

        if (n <= 0)
            break;
        i += (size_t)n;
    }
    if (i == size)
        return apr_pstrmemdup(pool, name, size);
    out = to = apr_palloc(pool, 2 * size + 1);
    for (i = 0; i < size; i++)
        to += utf8proc_encode_char(in[i], (utf8proc_uint8_t *)to);
    *to = '\0';
    return out;
}

/* The length of NAME, at most RPC_WHO_NAME_MAX. The cut is not within a character. */
static size_t bounded_size(const char *name)
{
    size_t size = strnlen(name, RPC_WHO_NAME_MAX + 1), back = 0;

    if (size <= RPC_WHO_NAME_MAX)
        return size;
    size = RPC_WHO_NAME_MAX;
    while (back < 3 && ((unsigned char)name[size - back] & 0xc0) == 0x80)
        back++;
    return size - back;
}

/* Controls count as blanks: no provider tells a tab from a space. */
static int is_blank(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_ZS: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
        return 1;
    default:
        return 0;
    }
}

/* Trims TEXT and makes one space of each run of blanks, in place; returns it. */
static char *squeeze_blanks(char *text)
{
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)text;
    char *to = text;
    int gap = 0;

    while (*from) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(from, -1, &c);

        if (n <= 0)
            break;
        if (is_blank(c))
            gap = to > text;
        else {
            if (gap)
                *to++ = ' ';
            gap = 0;
            memmove(to, from, (size_t)n);
            to += n;
        }
        from += n;
    }
    *to = '\0';
    return text;
}

/* The folded form of NAME in POOL; NULL: out of memory. */
static char *fold_name(apr_pool_t *pool, const char *name)
{
    char *utf8 = as_utf8(pool, name, bounded_size(name)), *copy;
    utf8proc_uint8_t *result = utf8proc_NFKC_Casefold((const utf8proc_uint8_t *)utf8);

    if (!result)
        return NULL;
    copy = apr_pstrdup(pool, (const char *)result);
    free(result);
    return copy;
}

/* Splits TEXT in two. *DOMAIN is "" when there is no domain, as in "\alice" and "@alice". */
static char *split_name(char *text, char **domain)
{
    char *at = strrchr(text, '\\');

    *domain = text + strlen(text);
    if (at && at[1]) {
        *at = '\0';
        *domain = squeeze_blanks(text);
        return squeeze_blanks(at + 1);
    }
    at = strrchr(text, '@');
    if (at && at > text) {
        *at = '\0';
        *domain = squeeze_blanks(at + 1);
    }
    return squeeze_blanks(text);
}

const char *rpc_who_user(apr_pool_t *pool, const char *name, rpc_who_domain_t which)
{
    char *text = name ? fold_name(pool, name) : NULL, *domain, *account;
    size_t size;

    if (!text)
        return name ? name : "";    /* without memory the name stays as it was sent */
    account = split_name(squeeze_blanks(text), &domain);
    size = strlen(domain);
    if (size && domain[size - 1] == '.')
        domain[size - 1] = '\0';
    if (which == RPC_WHO_ANY_DOMAIN || !*domain)
        return account;
    return *account ? apr_pstrcat(pool, account, "@", domain, NULL) : "";
}

rpc_who_network_t rpc_who_network(const void *ip, size_t size)
{
    rpc_who_network_t network = { 0, { 0 } };
    uint8_t v4[4];

    if (size == 4)
        memcpy(v4, ip, 4);
    else if (size != 16)
        return network;
    if (size == 4 || rpc_address_embedded(ip, v4)) {
        network.bits = 32;
        memcpy(network.addr, v4, 4);
    }
    else {
        network.bits = 64;
        memcpy(network.addr, ip, 8);
    }
    return network;
}
