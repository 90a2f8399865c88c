/* manual_test: the entries of doc/mod_rpcproxy.md have the ranges and the defaults of
 * httpd/numeric_directives.h. (tools/manual.pl check has the other fields.) */
#include <ctype.h>

#include "httpd/numeric_directives.h"

#include "unit.h"

#define RPC_UNSET (-1)  /* as in httpd/config.h, which needs httpd: the default is computed */

static char *manual;

static char *text_of(const char *path)
{
    FILE *in = fopen(path, "r");
    char *text = calloc(1, 1 << 20);

    if (!in || !text || !fread(text, 1, (1 << 20) - 1, in))
        exit(1);
    fclose(in);
    return text;
}

/* The factor of a unit, as directives.c has them. */
static long long factor(const char *unit, rpc_scale_t scale)
{
    static const struct { const char *name; rpc_scale_t scale; long long factor; } units[] = {
        { "K", RPC_SIZE, 1 << 10 }, { "M", RPC_SIZE, 1 << 20 }, { "G", RPC_SIZE, 1 << 30 },
        { "s", RPC_TIME, 1 }, { "min", RPC_TIME, 60 }, { "h", RPC_TIME, 3600 },
    };
    size_t i, len = strspn(unit, "abcdefghijklmnopqrstuvwxyzGKM");

    for (i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].scale == scale && strlen(units[i].name) == len
            && strncmp(units[i].name, unit, len) == 0)
            return units[i].factor;
    }
    return len ? -1 : 1;
}

/* The number behind LABEL, from the field Syntax of DIRECTIVE on, in the unit of the
 * configuration. */
static long long number(const char *directive, const char *label, rpc_scale_t scale)
{
    char heading[100];
    const char *at;
    char *end;
    long long n;

    snprintf(heading, sizeof heading, "\n## %s\n", directive);
    at = strstr(manual, heading);
    at = at ? strstr(at + 4, "**Syntax:**") : NULL;
    at = at ? strstr(at, label) : NULL;
    if (!at)
        return -1;
    for (at += strlen(label); *at && *at != '\n' && !isdigit((unsigned char)*at); at++)
        ;
    if (!isdigit((unsigned char)*at))
        return -1;
    n = strtoll(at, &end, 10);
    return n * factor(end, scale) * (scale == RPC_TIME ? APR_USEC_PER_SEC : 1);
}

#define COMPARE(field, directive, scale, low, high, zero, otherwise) \
    is_int(number(#directive, "` (", scale), low, #directive ": the least"); \
    is_int(number(#directive, " to ", scale), high, #directive ": the most"); \
    if ((otherwise) != RPC_UNSET) \
        is_int(number(#directive, "**Default:**", scale), otherwise, #directive ": the default");

int main(void)
{
    manual = text_of("doc/mod_rpcproxy.md");
    RPC_DIR_NUMBERS(COMPARE)
    RPC_SERVER_NUMBERS(COMPARE)
    return unit_done();
}
