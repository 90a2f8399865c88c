/* target/sources.c: an array of addresses for each family, and the number of the next one. */
#include "target/sources.h"

#include <string.h>
#include <unistd.h>
#include <apr_strings.h>
#include <apr_tables.h>

struct rpc_sources {
    apr_array_header_t *v4, *v6;    /* rpc_address_t */
    unsigned v4_turn, v6_turn;      /* atomic */
    const char *text;
};

static rpc_sources_t *sources_copy(apr_pool_t *pool, const rpc_sources_t *base)
{
    rpc_sources_t *sources = apr_pcalloc(pool, sizeof *sources);

    sources->v4 = base ? apr_array_copy(pool, base->v4)
                       : apr_array_make(pool, 2, sizeof(rpc_address_t));
    sources->v6 = base ? apr_array_copy(pool, base->v6)
                       : apr_array_make(pool, 2, sizeof(rpc_address_t));
    return sources;
}

apr_status_t rpc_sources_parse(apr_pool_t *pool, const char *text, const rpc_sources_t *base,
                               rpc_sources_t **sources, rpc_syntax_error_t *err)
{
    rpc_sources_t *result = sources_copy(pool, base);
    rpc_syntax_t x = { pool, text, err };
    const char *at = text + strspn(text, RPC_BLANKS);

    if (!*at)
        return rpc_syntax_fail(&x, at, 0, "an address of this machine");
    while (*at) {
        apr_size_t len = strcspn(at, RPC_BLANKS);
        rpc_address_t source = { .v4 = { .sin_family = AF_UNSPEC } };
        apr_status_t rv = rpc_networks_parse_local(&x, at, len, &source);

        if (rv != APR_SUCCESS)
            return rv;
        APR_ARRAY_PUSH(source.any.sa_family == AF_INET ? result->v4 : result->v6,
                       rpc_address_t) = source;
        at += len;
        at += strspn(at, RPC_BLANKS);
    }
    result->text = *rpc_sources_text(base) ? apr_pstrcat(pool, base->text, " ", text,
                                                         NULL) : apr_pstrdup(pool, text);
    *sources = result;
    return APR_SUCCESS;
}

const char *rpc_sources_text(const rpc_sources_t *sources)
{
    return sources ? sources->text : "";
}

int rpc_sources_count(const rpc_sources_t *sources, int family)
{
    return !sources           ? 0
         : family == AF_INET  ? sources->v4->nelts
         : family == AF_INET6 ? sources->v6->nelts
                              : 0;
}

/* The process id makes children begin with different addresses, although fork() copied the turn. */
const rpc_address_t *rpc_sources_next(rpc_sources_t *sources, int family)
{
    int count = rpc_sources_count(sources, family);
    unsigned turn;

    if (!count)
        return NULL;
    turn = __atomic_fetch_add(family == AF_INET ? &sources->v4_turn : &sources->v6_turn, 1,
                              __ATOMIC_RELAXED);
    turn += (unsigned)getpid();
    return &APR_ARRAY_IDX(family == AF_INET ? sources->v4 : sources->v6, turn % (unsigned)count,
                          rpc_address_t);
}
