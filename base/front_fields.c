/* base/front_fields.c: see base/front_fields.h. */
#include "base/front_fields.h"

#include <string.h>

#include <apr_cstr.h>

/* A star at the end stands for any text. */
static const char *const fields[] = {
    "Via", "Forwarded", "X-Forwarded*", "X-Real-IP", "X-Client-IP", "Client-IP",
    "X-Cluster-Client-IP", "True-Client-IP", "X-ProxyUser-IP", "X-Remote-IP", "X-Remote-Addr",
    "X-Originating-IP", "X-Original-*", "X-Envoy-*", "X-Varnish", "X-ARR-*", "X-Azure-*",
    "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "CF-*", "CDN-Loop", "Fastly-*", "Front-End-Https",
    "X-Scheme", "X-BlueCoat-Via", "Surrogate-Capability", "Proxy-Connection",
};

static int matches(const char *name, const char *pattern)
{
    size_t size = strlen(pattern);

    return pattern[size - 1] == '*' ? apr_cstr_casecmpn(name, pattern, size - 1) == 0
                                    : apr_cstr_casecmp(name, pattern) == 0;
}

int rpc_front_field(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (matches(name, fields[i]))
            return 1;
    return 0;
}
