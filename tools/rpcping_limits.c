/* rpcping_limits.c: thresholds as the monitoring plug-ins write them: an alarm comes outside of
 * start:end, with @ inside. "10" is 0:10, "10:" has no end, "~:10" no start. */
#include <math.h>
#include <stdlib.h>
#include "rpcping.h"

/* A number, or NONE where there is none. Returns what follows it; strtod's "nan" is none. */
static const char *bound(const char *at, double none, double *value)
{
    char *end;

    *value = strtod(at, &end);
    if (end == at || isnan(*value)) {
        *value = none;
        return at;
    }
    return end;
}

int ping_limit_parse(ping_limit_t *limit, const char *text)
{
    const char *at = text;
    double first;

    limit->text = text;
    limit->inside = *at == '@';
    at += limit->inside;
    if (*at == '~') {
        first = -INFINITY;
        at++;
    }
    else {
        at = bound(at, NAN, &first);
    }
    if (*at == ':') {
        limit->start = isnan(first) ? 0 : first;
        at = bound(at + 1, INFINITY, &limit->end);
    }
    else {
        limit->start = 0;
        limit->end = first;     /* a '~' alone ends below its start */
    }
    return *at == '\0' && limit->start <= limit->end;
}

int ping_limit_alerts(const ping_limit_t *limit, double seconds)
{
    if (!limit->text) {
        return 0;
    }
    return limit->inside == (seconds >= limit->start && seconds <= limit->end);
}
