/* binding_text: a binding as text, such as "ncacn_ip_tcp:dc1[135]", for unit tests and fuzz
 * targets. */
#ifndef BINDING_TEXT_H
#define BINDING_TEXT_H

#include <string.h>

#include <apr_strings.h>

#include "target/binding.h"

static const char *binding_text(apr_pool_t *pool, const rpc_binding_t *binding)
{
    const char *protseq = binding->protseq == RPC_PROTSEQ_TCP ? "ncacn_ip_tcp" : "ncacn_http";
    int v6 = strchr(binding->host, ':') != NULL;
    const char *port = binding->port ? apr_psprintf(pool, "[%d]", (int)binding->port) : "";

    return apr_pstrcat(pool, protseq, v6 ? ":[" : ":", binding->host, v6 ? "]" : "", port, NULL);
}

#endif
