/* httpd/log_names.c: cuts the arguments of the logs' directives into words.
 *
 * A format has names in braces; a condition is a variable's name, or an expression, where names
 * stand in several ways. A word that is no name costs nothing. So all of the text is cut at
 * whatever cannot be part of a name, and what stands in braces is taken as a whole, too.
 */
#include "httpd/log_names.h"

#include <string.h>

#include <apr_cstr.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <util_cfgtree.h>

#define NAME_MAX_LEN 255

struct rpc_log_names {
    apr_hash_t *words;          /* canonical */
    apr_array_header_t *ssl;    /* const char * */
    char items[256];            /* by letter: 1 */
};

/* User-Agent, as expressions write it: USER_AGENT. */
static void canonical(char *to, const char *name, apr_size_t len)
{
    apr_size_t i;

    for (i = 0; i < len; i++)
        to[i] = name[i] == '-' ? '_' : (char)apr_toupper(name[i]);
    to[len] = '\0';
}

static void add_name(rpc_log_names_t *names, const char *name, apr_size_t len)
{
    apr_pool_t *pool = apr_hash_pool_get(names->words);
    char *word;

    if (!len || len > NAME_MAX_LEN)
        return;
    word = apr_palloc(pool, len + 1);
    canonical(word, name, len);
    if (apr_hash_get(names->words, word, APR_HASH_KEY_STRING))
        return;
    apr_hash_set(names->words, word, APR_HASH_KEY_STRING, word);
    if (strncmp(word, "SSL_", 4) == 0)
        APR_ARRAY_PUSH(names->ssl, const char *) = word;
    if (strncmp(word, "HTTP_", 5) == 0)
        add_name(names, word + 5, len - 5);
}

static void add_all(rpc_log_names_t *names, const char *const *list)
{
    for (; *list; list++)
        add_name(names, *list, strlen(*list));
}

static int in_word(char c)
{
    return apr_isalnum(c) || c == '_' || c == '-' || c == '.';
}

static void add_words(rpc_log_names_t *names, const char *text)
{
    while (*text) {
        apr_size_t len = 0;

        while (in_word(text[len]))
            len++;
        add_name(names, text, len);
        text += len ? len : 1;
    }
}

/* %!200,304{Referer}i: what is in braces, and the letter. */
static void add_items(rpc_log_names_t *names, const char *text)
{
    while ((text = strchr(text, '%')) != NULL) {
        text++;
        for (;;) {
            const char *end = *text == '{' ? strchr(text, '}') : NULL;

            if (end) {
                add_name(names, text + 1, (apr_size_t)(end - text - 1));
                text = end + 1;
            }
            else if (*text && strchr("!<>,+-^0123456789", *text))
                text++;
            else
                break;
        }
        names->items[(unsigned char)*text] = 1;
        if (*text)
            text++;
    }
}

static int is_of_a_log(const char *directive)
{
    static const char *const directives[] = { "LogFormat", "CustomLog", "TransferLog",
                                              "GlobalLog", "ErrorLogFormat" };
    unsigned i;

    for (i = 0; i < sizeof(directives) / sizeof(*directives); i++)
        if (apr_cstr_casecmp(directive, directives[i]) == 0)
            return 1;
    return 0;
}

static void read_tree(rpc_log_names_t *names, const ap_directive_t *d)
{
    for (; d; d = d->next) {
        if (is_of_a_log(d->directive)) {
            add_words(names, d->args);
            add_items(names, d->args);
        }
        read_tree(names, d->first_child);
    }
}

const rpc_log_names_t *rpc_log_names_read(apr_pool_t *pool)
{
    static const char *const always[] = { "Referer", NULL };    /* of ErrorLogFormat's default */
    static const char *const of_cookies[] = { "Cookie", NULL };
    static const char *const of_tls[] = { "SSL_PROTOCOL", "SSL_CIPHER", "SSL_CLIENT_S_DN",
                                          "SSL_CLIENT_I_DN", "SSL_CLIENT_VERIFY", NULL };
    rpc_log_names_t *names = apr_pcalloc(pool, sizeof(*names));

    names->words = apr_hash_make(pool);
    names->ssl = apr_array_make(pool, 8, sizeof(const char *));
    read_tree(names, ap_conftree);
    add_all(names, always);
    if (rpc_log_names_item(names, 'C'))
        add_all(names, of_cookies);
    if (rpc_log_names_item(names, 'c'))
        add_all(names, of_tls);
    return names;
}

int rpc_log_names_has(const rpc_log_names_t *names, const char *name)
{
    char word[NAME_MAX_LEN + 1];
    apr_size_t len = strlen(name);

    if (len > NAME_MAX_LEN)
        return 0;
    canonical(word, name, len);
    return apr_hash_get(names->words, word, (apr_ssize_t)len) != NULL;
}

int rpc_log_names_item(const rpc_log_names_t *names, char letter)
{
    return names->items[(unsigned char)letter];
}

const apr_array_header_t *rpc_log_names_ssl(const rpc_log_names_t *names)
{
    return names->ssl;
}
