/* auth_failure_cache: small records about accounts and addresses that all children share.
 *
 * A record is a number and the time since which it counts. Records lie in a cache of httpd's
 * (socache): in shared memory by default, and in a cache that several machines share where
 * AuthNtlmFailuresSOCache names one. Keys are hashes with a secret, so that nobody outside can
 * compute names that meet in one part of the cache and push others out of it. Times are kept by
 * the monotonic clock, for setting the system's clock must neither free nor lock anybody; a
 * record of another machine, or from before this one was booted, is read by its wall time.
 *
 * The cache lives as long as the configuration: a restart forgets what is in shared memory.
 * Worker threads only.
 */
#ifndef AUTH_FAILURE_CACHE_H
#define AUTH_FAILURE_CACHE_H

#include <httpd.h>
#include <http_config.h>

#define AUTH_FAILURE_KEY 16

typedef struct auth_failure_key {
    unsigned char id[AUTH_FAILURE_KEY];
} auth_failure_key_t;

typedef struct auth_failure_record {
    apr_uint32_t count;         /* 0: there is no record */
    apr_time_t start;           /* as rpc_clock_now(); not later than now */
} auth_failure_record_t;

/* The key of what the SIZE bytes at OF name. Records of another KIND, or with another WINDOW
 * (seconds), are apart: a short window would cut a long one off. */
auth_failure_key_t auth_failure_key(const request_rec *r, char kind, int window, const void *of, size_t size);

/* Around fetch and store: TO_WRITE for a record that is read, raised and written back. Reading
 * waits for nobody where the cache is safe by itself, so that no client waits for another's answer
 * from a distant cache. Nothing is held when it fails. */
apr_status_t auth_failure_lock(request_rec *r, int to_write);
void auth_failure_unlock(request_rec *r, int to_write);

/* The record, while its window (seconds) is open; else an empty one that starts now. */
apr_status_t auth_failure_fetch(request_rec *r, const auth_failure_key_t *key, int window,
                                auth_failure_record_t *record);
apr_status_t auth_failure_store(request_rec *r, const auth_failure_key_t *key, int window,
                                const auth_failure_record_t *record);

/* The cache's name, for messages. */
const char *auth_failure_cache_name(const request_rec *r);

/* While the configuration is read: a section needs the cache. */
void auth_failure_cache_wanted(cmd_parms *cmd);
/* AuthNtlmFailuresSOCache and AuthNtlmFailuresSecret, global only. */
const char *auth_failure_cache_set(cmd_parms *cmd, void *config, const char *arg);
const char *auth_failure_cache_set_secret(cmd_parms *cmd, void *config, const char *arg);
/* The hooks that make the cache and its mutex. */
void auth_failure_cache_register(apr_pool_t *p);

#endif
