/* auth_failure_cache: small records about accounts and addresses that all children share.
 *
 * A record is a number and the time since which it counts. Records lie in one of httpd's caches
 * (socache): in shared memory by default, or in a cache that several machines share when
 * AuthNtlmFailuresSOCache names one. Keys are hashes with a secret, so that nobody outside can
 * compute names that fall into one part of the cache and push other records out of it. Times are
 * taken from the monotonic clock, because setting the system's clock must neither unblock nor block
 * anybody. The wall time counts only for a record of another machine, or for one that is older than
 * the last boot of this machine.
 *
 * The cache lives as long as the configuration: a restart forgets what is in shared memory.
 * Worker threads, or one that may wait as they may.
 */
#ifndef AUTH_FAILURE_CACHE_H
#define AUTH_FAILURE_CACHE_H

#include <httpd.h>
#include <http_config.h>

#define AUTH_FAILURE_KEY 16

typedef struct auth_failure_key {
    unsigned char id[AUTH_FAILURE_KEY];
    apr_uint64_t farm;          /* its name at other machines (auth/failure_farm.h); 0: none */
} auth_failure_key_t;

typedef struct auth_failure_record {
    apr_uint32_t count;         /* 0: there is no record */
    apr_time_t start;           /* by rpc_clock_now(); not later than now */
} auth_failure_record_t;

/* The key for the SIZE bytes at OF. Records of different KINDs or with different WINDOWs (seconds)
 * have different keys, because a short window would end a long one early. */
auth_failure_key_t auth_failure_key(const request_rec *r, char kind, int window, const void *of,
                                    size_t size);

/* To be called around fetch and store; TO_WRITE when a record is read, changed and written back.
 * Reading takes no lock when the cache is safe for several threads by itself, so that no client
 * waits while a distant cache answers for another client. After an error nothing is locked. */
apr_status_t auth_failure_lock(request_rec *r, int to_write);
void auth_failure_unlock(request_rec *r, int to_write);

/* Fetches the record while its window (seconds) is open; else an empty record that starts now. */
apr_status_t auth_failure_fetch(request_rec *r, const auth_failure_key_t *key, int window,
                                auth_failure_record_t *record);
apr_status_t auth_failure_store(request_rec *r, const auth_failure_key_t *key, int window,
                                const auth_failure_record_t *record);

/* The cache's name, for messages. */
const char *auth_failure_cache_name(const request_rec *r);

/* Called while the configuration is read, when a section needs the cache. */
void auth_failure_cache_wanted(cmd_parms *cmd);
/* AuthNtlmFailuresSOCache and AuthNtlmFailuresSecret, which stand in the global configuration
 * only. */
const char *auth_failure_cache_set(cmd_parms *cmd, void *config, const char *arg);
const char *auth_failure_cache_set_secret(cmd_parms *cmd, void *config, const char *arg);
/* The hooks that make the cache and its mutex. */
void auth_failure_cache_register(apr_pool_t *p);

#endif
