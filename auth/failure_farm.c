/* auth/failure_farm.c: asks mod_rpcproxy, if it is loaded. */
#include "auth/failure_farm.h"

#include "base/farm_guesses.h"

apr_uint64_t auth_failure_farm_name(const void *of, apr_size_t size)
{
    APR_OPTIONAL_FN_TYPE(rpc_farm_guesses_of) *name = APR_RETRIEVE_OPTIONAL_FN(rpc_farm_guesses_of);

    return name ? name(of, size) : 0;
}

/* The window that ends last is the one that counts. */
void auth_failure_farm_add(const auth_failure_key_t *key, int seconds,
                           auth_failure_record_t *record)
{
    APR_OPTIONAL_FN_TYPE(rpc_farm_guessed) *guessed = APR_RETRIEVE_OPTIONAL_FN(rpc_farm_guessed);
    apr_time_t until = 0, start;
    apr_uint32_t count = key->farm && guessed ? guessed(key->farm, &until) : 0;

    if (!count)
        return;
    start = until - apr_time_from_sec(seconds);
    if (!record->count || start > record->start)
        record->start = start;
    record->count += count;
}

void auth_failure_farm_tell(const auth_failure_key_t *key, int seconds)
{
    APR_OPTIONAL_FN_TYPE(rpc_farm_guess_more) *tell = APR_RETRIEVE_OPTIONAL_FN(rpc_farm_guess_more);

    if (key->farm && tell)
        tell(key->farm, apr_time_from_sec(seconds));
}
