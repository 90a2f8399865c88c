/* httpd/farm_guesses.c: see base/farm_guesses.h. */
#include "httpd/farm_guesses.h"

#include "base/clock.h"
#include "base/farm_guesses.h"

static const rpc_context_t *context;

static apr_uint64_t rpc_farm_guesses_of(const void *of, apr_size_t size)
{
    return context->farm ? rpc_farm_hash(context->farm, of, size) : 0;
}

static apr_uint32_t rpc_farm_guessed(apr_uint64_t name, apr_time_t *until)
{
    rpc_farm_entry_t entry;

    if (!rpc_farm_find(context->farm, RPC_FARM_GUESSES, name, &entry)
        || (apr_time_t)entry.b <= rpc_clock_now())
        return 0;
    *until = (apr_time_t)entry.b;
    return entry.a < APR_UINT32_MAX ? (apr_uint32_t)entry.a : APR_UINT32_MAX;
}

static void rpc_farm_guess_more(apr_uint64_t name, apr_interval_time_t time)
{
    if (context->farm)
        rpc_farm_guess(context->farm, name, time);
}

void rpc_farm_guesses_register(const rpc_context_t *of_server)
{
    context = of_server;
    APR_REGISTER_OPTIONAL_FN(rpc_farm_guesses_of);
    APR_REGISTER_OPTIONAL_FN(rpc_farm_guessed);
    APR_REGISTER_OPTIONAL_FN(rpc_farm_guess_more);
}
