/* codec_fuzz: the texts of configuration and requests, and the preface. The first byte of an
 * input chooses the parser. A text ends at the first newline; what follows is a second text.
 */
#include "wire/preface.h"
#include "target/backend.h"
#include "target/pattern.h"

#include <apr_general.h>
#include <apr_strings.h>

#include "t/unit/binding_text.h"
#include "fuzz.h"

/* What a parser that failed says of it. */
static void check_error(apr_status_t rv, const rpc_syntax_error_t *err, const char *text)
{
    MUST(rv == APR_SUCCESS || rv == APR_EINVAL, "status %d", rv);
    if (rv == APR_SUCCESS)
        return;
    MUST(err->column >= 1 && (size_t)err->column <= strlen(text) + 1, "column %d", err->column);
    MUST(err->element && err->expected && *err->expected, "no word of what is wrong");
}

static void check_entry(const rpc_valid_port_t *entry)
{
    MUST(entry->server && *entry->server && entry->text, "an entry without a server");
    MUST(entry->low >= 1 && entry->low <= entry->high, "ports %u-%u", entry->low, entry->high);
    MUST(strlen(entry->server) <= RPC_SERVER_MAX, "a server of %zu characters",
         strlen(entry->server));
}

static void valid_ports(apr_pool_t *pool, const char *text, const char *second)
{
    rpc_valid_ports_t *list = NULL, *more = NULL;
    const rpc_valid_port_t *entry, *nearest;
    rpc_syntax_error_t err = { 0, NULL, NULL };
    apr_status_t rv = rpc_valid_ports_parse(pool, text, NULL, &list, &err);
    rpc_target_t target;

    check_error(rv, &err, text);
    if (rv != APR_SUCCESS)
        return;
    if (!rpc_target_parse(pool, second, &target)) {
        entry = rpc_valid_ports_match(list, target.server, target.port, &nearest);
        if (entry) {
            check_entry(entry);
            MUST(target.port >= entry->low && target.port <= entry->high
                 && rpc_pattern_match(entry->server, target.server), "not covered by its entry");
        }
        else if (nearest)
            check_entry(nearest);
    }
    if (rpc_valid_ports_parse(pool, second, list, &more, &err) == APR_SUCCESS)
        rpc_valid_ports_match(more, "dc1", 135, &nearest);
    rpc_valid_ports_match(rpc_valid_ports_join(pool, list, more), second, 6001, &nearest);
}

static void valid_port(apr_pool_t *pool, const char *text, const char *second)
{
    rpc_syntax_error_t err = { 0, NULL, NULL };
    int optional;

    for (optional = 0; optional < 2; optional++) {
        rpc_valid_port_t entry;
        apr_status_t rv = rpc_valid_port_parse(pool, text, optional, &entry, &err);

        check_error(rv, &err, text);
        if (rv == APR_SUCCESS)
            check_entry(&entry);
    }
    rpc_pattern_match(text, second);
}

/* A binding written out is read as the same. */
static void binding(apr_pool_t *pool, const char *text, const char *second)
{
    rpc_syntax_error_t err = { 0, NULL, NULL };
    rpc_binding_t one, two;
    apr_status_t rv = rpc_binding_parse(pool, text, &one, &err);
    const char *written;

    check_error(rv, &err, text);
    if (rv != APR_SUCCESS)
        return;
    written = binding_text(pool, &one);
    MUST(rpc_binding_parse(pool, written, &two, &err) == APR_SUCCESS, "%s", written);
    MUST(one.protseq == two.protseq && one.port == two.port && !strcmp(one.host, two.host),
         "%s is read differently", written);
}

static void target(apr_pool_t *pool, const char *text, const char *second)
{
    rpc_target_t t;
    const char *wrong = rpc_target_parse(pool, text, &t);
    const unsigned char *c;

    if (wrong)
        return;
    MUST(t.port >= 1 && t.server && *t.server && strlen(t.server) <= RPC_SERVER_MAX, "%s", text);
    for (c = (const unsigned char *)t.server; *c; c++)
        MUST(*c > ' ' && *c != 127, "byte %u in a server's name", *c);
}

static void backend(apr_pool_t *pool, const char *text, const char *second)
{
    rpc_syntax_error_t err = { 0, NULL, NULL };
    const char *args[] = { text, second }, *why;
    rpc_place_t places[RPC_ROUTE_MAX];
    rpc_directory_t directory = { .backends = NULL };
    apr_array_header_t *all;
    rpc_backend_t *b;
    rpc_target_t t = { "dc1.example.com", 135 };
    int arg = 0;
    apr_status_t rv = rpc_backend_parse(pool, args, 2, &b, &err, &arg);

    if (rv != APR_SUCCESS) {
        MUST(arg == 1 || arg == 2, "argument %d", arg);
        check_error(rv, &err, arg == 1 ? text : second);
        return;
    }
    MUST(b->low >= 1 && b->low <= b->high, "ports %u-%u", b->low, b->high);
    all = apr_array_make(pool, 1, sizeof(b));
    APR_ARRAY_PUSH(all, rpc_backend_t *) = b;
    directory.backends = all;
    MUST(rpc_target_places(pool, &directory, &t, places, NULL, &why) == 1 || why,
         "nowhere, and no word why");
    MUST(why || (places[0].binding.port >= 1 && places[0].binding.host), "resolved to nowhere");
}

/* Each shorter beginning of a preface asks for more; written and read again it is the same. */
static void preface(apr_pool_t *pool, const uint8_t *data, size_t size)
{
    rpc_preface_t one, two;
    uint8_t buf[RPC_PREFACE_MAX], *copy = fuzz_copy(data, size);
    int used = rpc_preface_read(copy, size, &one, pool), again;
    size_t part, written;

    MUST(used >= -2 && used <= (int)size, "%d of %zu", used, size);
    if (used > 0) {
        written = rpc_preface_write(&one, buf, sizeof(buf));
        again = rpc_preface_read(buf, written, &two, pool);
        MUST(written && again == (int)written && rpc_preface_equal(&one, &two), "%zu, %d", written,
             again);
        MUST(rpc_preface_write(&one, buf, written - 1) == 0, "%zu bytes in one less", written);
    }
    free(copy);
    for (part = 0; part < (used > 0 ? (size_t)used : 0); part += 1 + part / 8) {
        copy = fuzz_copy(data, part);
        MUST(rpc_preface_read(copy, part, &two, pool) == 0, "%zu of %d bytes", part, used);
        free(copy);
    }
}

static void ipv6(const uint8_t *data, size_t size)
{
    char *copy = fuzz_copy(data, size);
    unsigned char addr[16];

    MUST(rpc_ipv6_parse(copy, size, addr) <= size, "longer than its text");
    free(copy);
}

static void texts(apr_pool_t *pool, int which, const uint8_t *data, size_t size)
{
    static void (*const parser[])(apr_pool_t *, const char *, const char *) =
        { valid_ports, valid_port, binding, target, backend };
    const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
    size_t first = newline ? (size_t)(newline - data) : size;
    char *text = fuzz_text(data, first);
    char *second = newline ? fuzz_text(newline + 1, size - first - 1) : fuzz_text("", 0);

    parser[which](pool, text, second);
    free(text);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;

    if (!parent
        && (apr_initialize() != APR_SUCCESS || apr_pool_create(&parent, NULL) != APR_SUCCESS))
        abort();
    if (!size)
        return 0;
    apr_pool_create(&pool, parent);
    switch (data[0] % 7) {
    case 5:
        preface(pool, data + 1, size - 1);
        break;
    case 6:
        ipv6(data + 1, size - 1);
        break;
    default:
        texts(pool, data[0] % 7, data + 1, size - 1);
    }
    apr_pool_destroy(pool);
    return 0;
}
