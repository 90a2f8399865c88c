/* auth/failure_cache.c: the cache is opened at post_config if a section sets AuthNtlmFailures. A
 * global mutex guards records that are read, changed and written back.
 */
#include "auth/failure_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <apr_general.h>
#include <apr_global_mutex.h>
#include <apr_strings.h>
#include <ap_provider.h>
#include <ap_socache.h>
#include <http_core.h>
#include <http_log.h>
#include <util_mutex.h>

#include "auth/failure_farm.h"
#include "auth/provider.h"
#include "base/clock.h"
#include "base/message_id.h"

APLOG_USE_MODULE(auth_ntlm);

#define CACHE_ID "ntlm-failures"        /* of cache and mutex; a cache allows 16 characters */
#define CACHE_DEFAULT "shmcb"
#define CACHE_ARGUMENTS "rpcproxy-failures(4194304)"    /* some 60,000 records at a time */
#define CACHE_INDEX 24                  /* bytes shmcb needs for an entry besides key and value */
/* The cache drops a record by the time of day. Each record is kept for one day longer than it
 * counts, so that setting the clock forward by less than a day loses nothing. */
#define CACHE_SLACK apr_time_from_sec(24 * 3600)
#define RETAINED "auth-ntlm-failures"
#define SECRET_SIZE 32
#define SECRET_TEXT_MIN 16              /* characters of AuthNtlmFailuresSecret */
#define BOOT_SIZE 8                     /* characters of the kernel's boot id, 32 bits */
#define RECORD_SIZE (4 + 8 + 8 + BOOT_SIZE)

/* Survives restarts of httpd. */
typedef struct machine {
    unsigned char secret[SECRET_SIZE];
    unsigned char boot[BOOT_SIZE];      /* shows which machine's monotonic clock a record has */
} machine_t;

/* Of one configuration: userdata of pconf. */
typedef struct cache {
    int wanted;                         /* a section sets AuthNtlmFailures */
    const char *secret;                 /* AuthNtlmFailuresSecret, or NULL */
    const machine_t *machine;
    const char *name;
    const ap_socache_provider_t *provider;
    ap_socache_instance_t *instance;
    apr_global_mutex_t *mutex;
} cache_t;

static cache_t *cache_of_pool(apr_pool_t *pconf)
{
    void *cache = NULL;

    apr_pool_userdata_get(&cache, CACHE_ID, pconf);
    return cache;
}

static cache_t *cache_of(const request_rec *r)
{
    return cache_of_pool(r->server->process->pconf);
}

const char *auth_failure_cache_name(const request_rec *r)
{
    return cache_of(r)->name;
}

/* ---- keys ---- */

auth_failure_key_t auth_failure_key(const request_rec *r, char kind, int window, const void *of,
                                    size_t size)
{
    const cache_t *cache = cache_of(r);
    const void *secret = cache->secret ? (const void *)cache->secret : cache->machine->secret;
    int secret_size = cache->secret ? (int)strlen(cache->secret) : SECRET_SIZE;
    char *text = apr_palloc(r->pool, size + 16);
    int head = apr_snprintf(text, 16, "%c%d:", kind, window);
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    auth_failure_key_t key;

    memcpy(text + head, of, size);
    HMAC(EVP_sha256(), secret, secret_size, (const unsigned char *)text, (size_t)head + size,
         digest, NULL);
    memcpy(key.id, digest, AUTH_FAILURE_KEY);
    key.farm = strcmp(cache->name, CACHE_DEFAULT) == 0
               ? auth_failure_farm_name(text, (size_t)head + size) : 0;
    return key;
}

/* ---- records ---- */

/* Big-endian, because machines of different byte orders may share a cache. */
static unsigned char *write_number(unsigned char *out, apr_uint64_t value, int bytes)
{
    while (bytes--)
        *out++ = (unsigned char)(value >> (8 * bytes));
    return out;
}

static apr_uint64_t read_number(const unsigned char *in, int bytes)
{
    apr_uint64_t value = 0;

    while (bytes--)
        value = value << 8 | *in++;
    return value;
}

static void write_record(const cache_t *cache, unsigned char *out,
                         const auth_failure_record_t *record)
{
    apr_time_t wall = apr_time_now() - (rpc_clock_now() - record->start);

    out = write_number(out, record->count, 4);
    out = write_number(out, (apr_uint64_t)wall, 8);
    out = write_number(out, (apr_uint64_t)record->start, 8);
    memcpy(out, cache->machine->boot, BOOT_SIZE);
}

static void read_record(const cache_t *cache, const unsigned char *in,
                        auth_failure_record_t *record)
{
    apr_time_t now = rpc_clock_now();

    record->count = (apr_uint32_t)read_number(in, 4);
    if (memcmp(in + 20, cache->machine->boot, BOOT_SIZE) == 0)
        record->start = (apr_time_t)read_number(in + 12, 8);
    else
        record->start = now - (apr_time_now() - (apr_time_t)read_number(in + 4, 8));
    if (record->start > now)
        record->start = now;
}

/* The dbm cache returns APR_EGENERAL for a key that it does not have. */
apr_status_t auth_failure_fetch(request_rec *r, const auth_failure_key_t *key, int window,
                                auth_failure_record_t *record)
{
    const cache_t *cache = cache_of(r);
    unsigned char data[RECORD_SIZE + 1] = { 0 };
    unsigned size = RECORD_SIZE;
    apr_status_t rv = cache->provider->retrieve(cache->instance, r->server, key->id,
                                                AUTH_FAILURE_KEY, data,
                                                &size, r->pool);

    if (rv == APR_SUCCESS && size == RECORD_SIZE) {
        read_record(cache, data, record);
        if (rpc_clock_now() - record->start < apr_time_from_sec(window))
            return APR_SUCCESS;
    }
    record->count = 0;
    record->start = rpc_clock_now();
    return APR_STATUS_IS_NOTFOUND(rv) || rv == APR_EGENERAL ? APR_SUCCESS : rv;
}

apr_status_t auth_failure_store(request_rec *r, const auth_failure_key_t *key, int window,
                                const auth_failure_record_t *record)
{
    const cache_t *cache = cache_of(r);
    unsigned char data[RECORD_SIZE];
    apr_time_t left = record->start + apr_time_from_sec(window) - rpc_clock_now();

    write_record(cache, data, record);
    return cache->provider->store(cache->instance, r->server, key->id, AUTH_FAILURE_KEY,
                                  apr_time_now() + left + CACHE_SLACK, data, RECORD_SIZE, r->pool);
}

static int needs_mutex(const cache_t *cache, int to_write)
{
    return to_write || (cache->provider->flags & AP_SOCACHE_FLAG_NOTMPSAFE);
}

apr_status_t auth_failure_lock(request_rec *r, int to_write)
{
    const cache_t *cache = cache_of(r);

    return needs_mutex(cache, to_write) ? apr_global_mutex_lock(cache->mutex) : APR_SUCCESS;
}

void auth_failure_unlock(request_rec *r, int to_write)
{
    const cache_t *cache = cache_of(r);

    if (needs_mutex(cache, to_write))
        apr_global_mutex_unlock(cache->mutex);
}

/* ---- configuration ---- */

static const char *open_cache(cache_t *cache, apr_pool_t *pconf, apr_pool_t *ptemp,
                              const char *name, const char *arguments)
{
    cache->name = name;
    cache->provider = ap_lookup_provider(AP_SOCACHE_PROVIDER_GROUP, name,
                                         AP_SOCACHE_PROVIDER_VERSION);
    if (!cache->provider)
        return apr_psprintf(ptemp,
                            "there is no cache \"%s\"; expected before: LoadModule "
                            "socache_%s_module modules/mod_socache_%s.so",
                            name, name, name);
    return cache->provider->create(&cache->instance, arguments, ptemp, pconf);
}

const char *auth_failure_cache_set(cmd_parms *cmd, void *config, const char *arg)
{
    cache_t *cache = cache_of_pool(cmd->server->process->pconf);
    const char *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY), *colon = strchr(arg, ':');

    if (wrong)
        return wrong;
    wrong = open_cache(cache, cmd->pool, cmd->temp_pool,
                       colon ? apr_pstrmemdup(cmd->pool, arg, (apr_size_t)(colon - arg)) : arg,
                       colon ? colon + 1 : NULL);
    return wrong ? apr_psprintf(cmd->pool, RPCNO(0139) "AuthNtlmFailuresSOCache: %s", wrong) : NULL;
}

const char *auth_failure_cache_set_secret(cmd_parms *cmd, void *config, const char *arg)
{
    const char *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (wrong)
        return wrong;
    if (strlen(arg) < SECRET_TEXT_MIN)
        return apr_psprintf(cmd->pool,
                            RPCNO(0140) "AuthNtlmFailuresSecret: expected %d characters or more "
                            "that nobody can guess, such as those that \"openssl rand -hex 32\" "
                            "prints",
                            SECRET_TEXT_MIN);
    cache_of_pool(cmd->server->process->pconf)->secret = arg;
    return NULL;
}

void auth_failure_cache_wanted(cmd_parms *cmd)
{
    cache_of_pool(cmd->server->process->pconf)->wanted = 1;
}

/* The first 32 bits of the boot id; where there is none, random bytes for this start of httpd. */
static apr_status_t read_boot(unsigned char boot[BOOT_SIZE])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, boot, BOOT_SIZE);

    if (fd >= 0)
        close(fd);
    return size == BOOT_SIZE ? APR_SUCCESS : apr_generate_random_bytes(boot, BOOT_SIZE);
}

/* The value of the first start, so that a restart finds its records in a cache outside of httpd. */
static apr_status_t find_machine(cache_t *cache)
{
    machine_t *machine = ap_retained_data_get(RETAINED);
    apr_status_t rv = APR_SUCCESS;

    if (!machine) {
        machine = ap_retained_data_create(RETAINED, sizeof(*machine));
        rv = apr_generate_random_bytes(machine->secret, SECRET_SIZE);
        if (rv == APR_SUCCESS)
            rv = read_boot(machine->boot);
    }
    cache->machine = machine;
    return rv;
}

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    cache_t *cache = apr_pcalloc(pconf, sizeof(*cache));
    apr_status_t rv = ap_mutex_register(pconf, CACHE_ID, NULL, APR_LOCK_DEFAULT, 0);

    apr_pool_userdata_setn(cache, CACHE_ID, NULL, pconf);
    if (rv == APR_SUCCESS)
        rv = find_machine(cache);
    if (rv == APR_SUCCESS)
        return OK;
    ap_log_perror(APLOG_MARK, APLOG_CRIT, rv, plog,
                  RPCNO(0141) "AuthNtlmFailures: cannot register mutex %s, or find "
                  "random bytes", CACHE_ID);
    return !OK;
}

/* Runs at configtest, too; post_config does not. */
static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    cache_t *cache = cache_of_pool(pconf);
    const char *wrong;

    if (!cache->wanted)
        return OK;
    if (cache->instance) {
        if (!cache->secret && strcmp(cache->name, CACHE_DEFAULT) != 0)
            ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, s,
                         RPCNO(0142) "AuthNtlmFailuresSOCache %s: without AuthNtlmFailuresSecret "
                         "each machine, and each start of httpd, finds only the failures that it "
                         "has counted itself: set the same secret on all machines",
                         cache->name);
        return OK;
    }
    wrong = open_cache(cache, pconf, ptemp, CACHE_DEFAULT, CACHE_ARGUMENTS);
    if (!wrong)
        return OK;
    ap_log_error(APLOG_MARK, APLOG_CRIT | APLOG_STARTUP, 0, s, RPCNO(0143) "AuthNtlmFailures: %s; "
                 "or choose another cache by AuthNtlmFailuresSOCache", wrong);
    return !OK;
}

static apr_status_t close_cache(void *server)
{
    server_rec *s = server;
    cache_t *cache = cache_of_pool(s->process->pconf);

    if (cache && cache->instance)
        cache->provider->destroy(cache->instance, s);
    return APR_SUCCESS;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    /* shmcb divides its memory by this sum, but does not count the index entry of a record */
    static const struct ap_socache_hints hints = { AUTH_FAILURE_KEY, RECORD_SIZE + CACHE_INDEX,
                                                   apr_time_from_sec(60) };
    cache_t *cache = cache_of_pool(pconf);
    apr_status_t rv;

    if (!cache->wanted || ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        return OK;
    rv = ap_global_mutex_create(&cache->mutex, NULL, CACHE_ID, NULL, s, pconf, 0);
    if (rv == APR_SUCCESS)
        rv = cache->provider->init(cache->instance, CACHE_ID, &hints, s, pconf);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     RPCNO(0144) "AuthNtlmFailures: cannot set up mutex and cache (%s)",
                     cache->name);
        return !OK;
    }
    apr_pool_cleanup_register(pconf, s, close_cache, apr_pool_cleanup_null);
    return OK;
}

static void failure_cache_child_init(apr_pool_t *p, server_rec *s)
{
    cache_t *cache = cache_of_pool(s->process->pconf);
    apr_status_t rv;

    if (!cache->wanted)
        return;
    rv = apr_global_mutex_child_init(&cache->mutex, apr_global_mutex_lockfile(cache->mutex), p);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s,
                     RPCNO(0145) "AuthNtlmFailures: this child cannot use mutex %s", CACHE_ID);
}

void auth_failure_cache_register(apr_pool_t *p)
{
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(failure_cache_child_init, NULL, NULL, APR_HOOK_MIDDLE);
}
