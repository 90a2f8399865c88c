/* ntlm/smbpasswd.c: reads the lines of the file, each on its own. */
#include "ntlm/smbpasswd.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "ntlm/unicode.h"

#define HASH_DIGITS 32
#define FIELDS 5                /* name, uid, LM, NT, flags; later fields are ignored */

/* A key that is the same for all spellings of a name. A name that is not UTF-8 is its own key; no
 * NTLM message can name that user. */
static const char *key_of(apr_pool_t *pool, const char *name)
{
    size_t room = 3 * strlen(name) + 5;
    char *key = apr_palloc(pool, room);

    return ntlmssp_upcase_utf8(name, key, room) ? key : apr_pstrdup(pool, name);
}

static int read_hash(const char *text, uint8_t hash[16])
{
    int i;

    if (strlen(text) != HASH_DIGITS || strspn(text, "0123456789abcdefABCDEF") != HASH_DIGITS)
        return 0;
    for (i = 0; i < 16; i++) {
        const char digits[3] = { text[2 * i], text[2 * i + 1], '\0' };

        hash[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return 1;
}

/* Account control of smbpasswd(5). An account without a usable hash is known but barred, so that no
 * other provider is asked for it. */
static const char *why_barred(const char *flags, int has_hash)
{
    if (strchr(flags, 'D'))
        return "disabled";
    if (strchr(flags, 'L'))
        return "locked";
    if (strpbrk(flags, "WSI"))
        return "an account of a machine or a domain";
    if (strchr(flags, 'N'))
        return "without a password";
    return has_hash ? NULL : "without an NT hash";
}

/* Splits LINE at colons, in place. Returns the number of fields. */
static int split_line(char *line, char *fields[FIELDS])
{
    int n = 0;

    while (line && n < FIELDS) {
        char *colon = strchr(line, ':');

        if (colon)
            *colon = '\0';
        fields[n++] = line;
        line = colon ? colon + 1 : NULL;
    }
    return n;
}

static int take_line(smbpasswd_t *table, apr_pool_t *pool, char *line)
{
    smbpasswd_user_t *user = apr_pcalloc(pool, sizeof(*user));
    char *fields[FIELDS];
    const char *key;
    int has_hash;

    /* Flags without a closing bracket may be incomplete, when the file is just being written. */
    if (split_line(line, fields) < FIELDS || !*fields[0] || strlen(fields[3]) != HASH_DIGITS
        || fields[4][0] != '[' || !strchr(fields[4], ']'))
        return 0;
    has_hash = read_hash(fields[3], user->nt_hash);
    user->name = apr_pstrdup(pool, fields[0]);
    user->barred = why_barred(fields[4], has_hash);
    key = key_of(pool, user->name);
    if (!apr_hash_get(table->users, key, APR_HASH_KEY_STRING))
        apr_hash_set(table->users, key, APR_HASH_KEY_STRING, user);
    return 1;
}

smbpasswd_t *smbpasswd_read(apr_pool_t *pool, const char *text, size_t size)
{
    smbpasswd_t *table = apr_pcalloc(pool, sizeof(*table));
    const char *end = text + size;
    unsigned number = 0;

    table->users = apr_hash_make(pool);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t len = (size_t)((newline ? newline : end) - text);
        char *line = apr_pstrmemdup(pool, text, len);

        number++;
        text += len + 1;
        if (len && line[len - 1] == '\r')
            line[len - 1] = '\0';
        if (!*line || *line == '#' || take_line(table, pool, line))
            continue;
        if (!table->malformed++)
            table->first_malformed = number;
    }
    return table;
}

const smbpasswd_user_t *smbpasswd_find(const smbpasswd_t *table, apr_pool_t *pool, const char *name)
{
    return apr_hash_get(table->users, key_of(pool, name), APR_HASH_KEY_STRING);
}
