/* farm_guesses: what mod_auth_ntlm asks mod_rpcproxy, which knows the other machines of a farm
 * (RpcSharedStore): how many passwords were wrong there. Optional functions, for either module may
 * be loaded without the other. None of them waits. Any thread.
 */
#ifndef FARM_GUESSES_H
#define FARM_GUESSES_H

#include <apr_optional.h>
#include <apr_time.h>

/* The farm's name of the SIZE bytes at OF, which say what is counted; 0: there is no farm. */
APR_DECLARE_OPTIONAL_FN(apr_uint64_t, rpc_farm_guesses_of, (const void *of, apr_size_t size));
/* How many there were elsewhere that count still, and *UNTIL when, by rpc_clock_now(). */
APR_DECLARE_OPTIONAL_FN(apr_uint32_t, rpc_farm_guessed, (apr_uint64_t name, apr_time_t *until));
/* One more here, which counts for TIME. */
APR_DECLARE_OPTIONAL_FN(void, rpc_farm_guess_more, (apr_uint64_t name, apr_interval_time_t time));

#endif
