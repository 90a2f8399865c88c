/* auth_failure_farm: records of auth/failure_cache.h at the other machines of a farm, when
 * mod_rpcproxy knows these (RpcSharedStore). A cache that several machines share needs no farm.
 */
#ifndef AUTH_FAILURE_FARM_H
#define AUTH_FAILURE_FARM_H

#include "auth/failure_cache.h"

/* The farm's name of what a key is made of; 0: there is no farm. */
apr_uint64_t auth_failure_farm_name(const void *of, apr_size_t size);
/* What the other machines have counted is added to RECORD, whose window has so many SECONDS. */
void auth_failure_farm_add(const auth_failure_key_t *key, int seconds,
                           auth_failure_record_t *record);
/* The other machines are told of one more. */
void auth_failure_farm_tell(const auth_failure_key_t *key, int seconds);

#endif
