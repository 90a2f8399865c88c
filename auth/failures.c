/* auth/failures.c: how often a password was wrong, and what follows from it.
 *
 *   cache     opened at post_config if a section sets AuthNtlmFailures; key -> tally, guarded by
 *             a global mutex, for a tally is read, raised and written back
 *   tallies   one per account and one per address, each with a window that its first failure
 *             opens; full, it blocks until that window ends, and blocked tries do not count
 *
 * NTLM and AuthNtlmBasicProvider call these functions themselves; for mod_auth_basic
 * auth/basic_watch.c does. What is kept lives as long as the configuration: a restart forgets
 * failures, unless the cache is another program's.
 */
#include "auth/failures.h"

#include <apr_global_mutex.h>
#include <apr_lib.h>
#include <apr_sha1.h>
#include <apr_strings.h>
#include <ap_provider.h>
#include <ap_socache.h>
#include <http_core.h>
#include <http_log.h>
#include <util_mutex.h>

#include "auth/provider.h"
#include "base/clock.h"

APLOG_USE_MODULE(auth_ntlm);

#define CACHE_ID "ntlm-failures"        /* of cache and mutex; a cache takes 16 characters */
#define CACHE_DEFAULT "shmcb"
#define CACHE_ARGUMENTS "rpcproxy-failures(1048576)"    /* some 15,000 failures at a time */
#define CACHE_INDEX 24                  /* bytes shmcb needs for an entry besides key and value */
/* The cache lets go of a tally by the time of day. It is kept for a day longer than it counts, so that
 * a clock set forward by less forgets nothing. */
#define CACHE_SLACK apr_time_from_sec(24 * 3600)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define KEY_SIZE 16
#define TALLY_SIZE 28

/* Of one configuration: userdata of pconf. */
typedef struct failures {
    int wanted;                         /* a section sets AuthNtlmFailures */
    const ap_socache_provider_t *provider;
    ap_socache_instance_t *cache;
    apr_global_mutex_t *mutex;
    apr_uint64_t boot;                  /* of this machine; 0: not known */
} failures_t;

/* A window is measured by the clock that nobody sets, which is one machine's from one boot to the
 * next. Whoever has its tally from another machine, or from before, goes by the time of day. */
typedef struct tally {
    apr_uint32_t count;
    apr_uint64_t boot;
    apr_time_t since;                   /* as rpc_clock_now() on that machine */
    apr_time_t start;                   /* the same moment's time of day */
} tally_t;

/* What a tally is kept under. */
typedef struct failure_key {
    unsigned char id[KEY_SIZE];
} failure_key_t;

static failures_t *failures_of(apr_pool_t *pconf)
{
    void *f = NULL;

    apr_pool_userdata_get(&f, CACHE_ID, pconf);
    return f;
}

/* ---- keys ---- */

/* Hashed, so that keys are short, fit every cache, and spread over the parts of shmcb, which
 * chooses by the first byte. Sections with windows of one length count together; another length
 * counts apart, or a short window would cut a long one off. */
static void make_key(failure_key_t *key, char kind, int seconds, const void *of, size_t size)
{
    unsigned char digest[APR_SHA1_DIGESTSIZE];
    apr_sha1_ctx_t ctx;
    char head[16];
    int n = apr_snprintf(head, sizeof(head), "%c%d:", kind, seconds);

    apr_sha1_init(&ctx);
    apr_sha1_update(&ctx, head, (unsigned)n);
    apr_sha1_update(&ctx, of, (unsigned)size);
    apr_sha1_final(digest, &ctx);
    memcpy(key->id, digest, KEY_SIZE);
}

/* A letter in lower case, as far as two bytes of UTF-8 go: Latin, Greek, Cyrillic. Where upper
 * and lower case are neighbours the odd one stands for both; a key may mix some more. */
static unsigned lower(unsigned c)
{
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
        return c + 0x20;
    if (c >= 0x400 && c <= 0x40f)
        return c + 0x50;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
        return (c - 1) | 1;
    return (c >= 0x100 && c <= 0x17f) || (c >= 0x460 && c <= 0x4ff) ? c | 1 : c;
}

/* In place. Names are compared by their providers without case: every spelling is one account. */
static void fold(char *name)
{
    unsigned char *c;

    for (c = (unsigned char *)name; *c; c++) {
        if ((c[0] & 0xe0) == 0xc0 && (c[1] & 0xc0) == 0x80) {
            unsigned folded = lower((c[0] & 0x1fu) << 6 | (c[1] & 0x3fu));

            *c++ = (unsigned char)(0xc0 | folded >> 6);
            *c = (unsigned char)(0x80 | (folded & 0x3f));
        }
        else
            *c = (unsigned char)apr_tolower(*c);
    }
}

/* The account's name alone: without DOM\ before and @realm behind, in lower case. */
static void account_key(failure_key_t *key, apr_pool_t *p, int seconds, const char *user)
{
    const char *slash = strrchr(user, '\\'), *at;
    char *name;

    if (slash && slash[1])
        user = slash + 1;
    at = strchr(user, '@');
    name = at && at > user ? apr_pstrmemdup(p, user, (apr_size_t)(at - user)) : apr_pstrdup(p, user);
    fold(name);
    make_key(key, 'u', seconds, name, strlen(name));
}

/* IPv4 whole, IPv6 by the /64 that one subscriber has; IPv4 within IPv6 (mapped, or NAT64's
 * well-known prefix) as IPv4. */
static void address_key(failure_key_t *key, const request_rec *r, int seconds)
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    static const unsigned char nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
    const apr_sockaddr_t *a = r->useragent_addr;
    const unsigned char *ip = a ? a->ipaddr_ptr : NULL;

    if (!ip)
        make_key(key, 'a', seconds, r->useragent_ip, strlen(r->useragent_ip));
    else if (a->ipaddr_len == 4)
        make_key(key, 'a', seconds, ip, 4);
    else if (memcmp(ip, mapped, sizeof(mapped)) == 0 || memcmp(ip, nat64, sizeof(nat64)) == 0)
        make_key(key, 'a', seconds, ip + 12, 4);
    else
        make_key(key, 'a', seconds, ip, 8);
}

/* ---- tallies in the cache ---- */

/* Big-endian, so that machines that share a cache agree. */
static unsigned char *write_number(unsigned char *out, apr_uint64_t n, int bytes)
{
    while (bytes-- > 0)
        *out++ = (unsigned char)(n >> 8 * bytes);
    return out;
}

static apr_uint64_t read_number(const unsigned char **in, int bytes)
{
    apr_uint64_t n = 0;

    while (bytes-- > 0)
        n = n << 8 | *(*in)++;
    return n;
}

static void write_tally(unsigned char *out, const tally_t *t)
{
    out = write_number(out, t->count, 4);
    out = write_number(out, t->boot, 8);
    out = write_number(out, (apr_uint64_t)t->since, 8);
    write_number(out, (apr_uint64_t)t->start, 8);
}

static void read_tally(const unsigned char *in, tally_t *t)
{
    t->count = (apr_uint32_t)read_number(&in, 4);
    t->boot = read_number(&in, 8);
    t->since = (apr_time_t)read_number(&in, 8);
    t->start = (apr_time_t)read_number(&in, 8);
}

/* What is left of its window; 0 or less: nothing. */
static apr_interval_time_t left_of(const failures_t *f, const tally_t *t, int seconds)
{
    apr_interval_time_t age = t->boot && t->boot == f->boot ? rpc_clock_now() - t->since
                                                            : apr_time_now() - t->start;

    return apr_time_from_sec(seconds) - age;
}

/* The tally of a window that is still open; else a new one from now on. APR_EGENERAL is how dbm
 * says that it has no such key. */
static apr_status_t fetch(failures_t *f, request_rec *r, const failure_key_t *key, int seconds, tally_t *t)
{
    unsigned char data[TALLY_SIZE + 1] = { 0 };
    unsigned size = TALLY_SIZE;
    apr_status_t rv = f->provider->retrieve(f->cache, r->server, key->id, KEY_SIZE, data, &size, r->pool);

    if (rv == APR_SUCCESS && size == TALLY_SIZE) {
        read_tally(data, t);
        if (left_of(f, t, seconds) > 0)
            return APR_SUCCESS;
    }
    *t = (tally_t){ 0, f->boot, rpc_clock_now(), apr_time_now() };
    return APR_STATUS_IS_NOTFOUND(rv) || rv == APR_EGENERAL ? APR_SUCCESS : rv;
}

static apr_status_t raise_tally(failures_t *f, request_rec *r, const failure_key_t *key, int seconds,
                                tally_t *t)
{
    unsigned char data[TALLY_SIZE];
    apr_status_t rv = fetch(f, r, key, seconds, t);

    if (rv != APR_SUCCESS)
        return rv;
    t->count++;
    write_tally(data, t);
    return f->provider->store(f->cache, r->server, key->id, KEY_SIZE,
                              apr_time_now() + left_of(f, t, seconds) + CACHE_SLACK, data, TALLY_SIZE, r->pool);
}

/* A cache that cannot be reached lets tries through: the passwords are still checked, and a
 * cache that is down, or made to be, would otherwise lock everybody out. */
static int cache_failed(request_rec *r, const char *what, apr_status_t rv)
{
    if (rv == APR_SUCCESS)
        return 0;
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r, "AuthNtlmFailures: cannot %s (cache %s); tries are "
                  "not limited meanwhile", what, failures_of(r->server->process->pconf)->provider->name);
    return 1;
}

/* Reading needs the mutex only where the cache itself is not safe: no client waits for
 * another's answer from a distant cache. */
static apr_status_t lock_to_read(failures_t *f)
{
    return f->provider->flags & AP_SOCACHE_FLAG_NOTMPSAFE ? apr_global_mutex_lock(f->mutex) : APR_SUCCESS;
}

static void unlock_read(failures_t *f)
{
    if (f->provider->flags & AP_SOCACHE_FLAG_NOTMPSAFE)
        apr_global_mutex_unlock(f->mutex);
}

/* Both tallies; USER may be NULL. */
static apr_status_t look_up(failures_t *f, request_rec *r, int seconds, const char *user,
                            tally_t *account, tally_t *address)
{
    failure_key_t key;
    apr_status_t rv = lock_to_read(f);

    memset(account, 0, sizeof(*account));
    if (rv != APR_SUCCESS)
        return rv;
    address_key(&key, r, seconds);
    rv = fetch(f, r, &key, seconds, address);
    if (rv == APR_SUCCESS && user) {
        account_key(&key, r->pool, seconds, user);
        rv = fetch(f, r, &key, seconds, account);
    }
    unlock_read(f);
    return rv;
}

/* ---- the three questions ---- */

static const char *name_or_null(const char *user)
{
    return user && *user ? user : NULL;
}

static const char *quoted(request_rec *r, const char *user)
{
    return user ? ap_escape_logitem(r->pool, user) : "";
}

/* The lines for fail2ban. The address stands in the text once more, because httpd writes
 * "[client 2001:db8::1:443]" and nobody can tell the port from the address. */
static int is_over(request_rec *r, const auth_failures_limit_t *limit, const char *user, int *suspect)
{
    failures_t *f = failures_of(r->server->process->pconf);
    tally_t account, address, *full;
    apr_interval_time_t left;

    *suspect = 1;
    if (cache_failed(r, "look up failures", look_up(f, r, limit->seconds, user, &account, &address)))
        return 0;
    *suspect = account.count > 0;
    full = account.count >= (unsigned)limit->max ? &account : &address;
    if (full->count < (unsigned)limit->max)
        return 0;
    left = left_of(f, full, limit->seconds);
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "AuthNtlmFailures: blocked try from %s, user \"%s\": %u "
                  "failures of the %s, not looked at for another %d s", r->useragent_ip, quoted(r, user),
                  full->count, full == &account ? "account" : "address",
                  left > 0 ? (int)apr_time_sec(left) + 1 : 1);
    return 1;
}

static void count(request_rec *r, const auth_failures_limit_t *limit, const char *user)
{
    failures_t *f = failures_of(r->server->process->pconf);
    tally_t account = { .count = 0 }, address = { .count = 0 };
    failure_key_t key;
    apr_status_t rv = apr_global_mutex_lock(f->mutex);

    if (rv == APR_SUCCESS) {
        address_key(&key, r, limit->seconds);
        rv = raise_tally(f, r, &key, limit->seconds, &address);
        if (rv == APR_SUCCESS && user) {
            account_key(&key, r->pool, limit->seconds, user);
            rv = raise_tally(f, r, &key, limit->seconds, &account);
        }
        apr_global_mutex_unlock(f->mutex);
    }
    cache_failed(r, "count a failure", rv);
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "AuthNtlmFailures: failed try from %s, user \"%s\": %s, "
                  "account %u and address %u of %u within %d s", r->useragent_ip, quoted(r, user),
                  user ? "wrong password or unknown user" : "no user in it",
                  account.count, address.count, (unsigned)limit->max, limit->seconds);
}

static void forget(request_rec *r, const auth_failures_limit_t *limit, const char *user)
{
    failures_t *f = failures_of(r->server->process->pconf);
    failure_key_t key;
    apr_status_t rv = apr_global_mutex_lock(f->mutex);

    if (rv == APR_SUCCESS) {
        account_key(&key, r->pool, limit->seconds, user);
        rv = f->provider->remove(f->cache, r->server, key.id, KEY_SIZE, r->pool);
        apr_global_mutex_unlock(f->mutex);
    }
    cache_failed(r, "forget failures", APR_STATUS_IS_NOTFOUND(rv) ? APR_SUCCESS : rv);
}

int auth_failures_blocked(request_rec *r, const auth_failures_limit_t *limit, const char *user, int *suspect)
{
    int ignored;

    return limit->max > 0 && is_over(r, limit, name_or_null(user), suspect ? suspect : &ignored);
}

void auth_failures_count(request_rec *r, const auth_failures_limit_t *limit, const char *user)
{
    if (limit->max > 0)
        count(r, limit, name_or_null(user));
}

void auth_failures_forget(request_rec *r, const auth_failures_limit_t *limit, const char *user)
{
    if (limit->max > 0 && name_or_null(user))
        forget(r, limit, user);
}

/* ---- configuration ---- */

static const char *open_cache(failures_t *f, apr_pool_t *pconf, apr_pool_t *ptemp, const char *name,
                              const char *arguments)
{
    f->provider = ap_lookup_provider(AP_SOCACHE_PROVIDER_GROUP, name, AP_SOCACHE_PROVIDER_VERSION);
    if (!f->provider)
        return apr_psprintf(ptemp, "there is no cache \"%s\"; expected before: LoadModule socache_%s_module "
                            "modules/mod_socache_%s.so", name, name, name);
    return f->provider->create(&f->cache, arguments, ptemp, pconf);
}

const char *auth_failures_set_socache(cmd_parms *cmd, void *config, const char *arg)
{
    failures_t *f = failures_of(cmd->server->process->pconf);
    const char *wrong = ap_check_cmd_context(cmd, GLOBAL_ONLY), *colon = strchr(arg, ':');

    if (wrong)
        return wrong;
    wrong = open_cache(f, cmd->pool, cmd->temp_pool,
                       colon ? apr_pstrmemdup(cmd->pool, arg, (apr_size_t)(colon - arg)) : arg,
                       colon ? colon + 1 : NULL);
    return wrong ? apr_psprintf(cmd->pool, "AuthNtlmFailuresSOCache: %s", wrong) : NULL;
}

const char *auth_failures_wanted(cmd_parms *cmd)
{
    failures_of(cmd->server->process->pconf)->wanted = 1;
    return NULL;
}

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    apr_status_t rv = ap_mutex_register(pconf, CACHE_ID, NULL, APR_LOCK_DEFAULT, 0);

    apr_pool_userdata_setn(apr_pcalloc(pconf, sizeof(failures_t)), CACHE_ID, NULL, pconf);
    if (rv == APR_SUCCESS)
        return OK;
    ap_log_perror(APLOG_MARK, APLOG_CRIT, rv, plog, "AuthNtlmFailures: cannot register mutex %s", CACHE_ID);
    return !OK;
}

/* Part of configtest, as post_config is not. */
static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    failures_t *f = failures_of(pconf);
    const char *wrong;

    if (!f->wanted || f->cache)
        return OK;
    wrong = open_cache(f, pconf, ptemp, CACHE_DEFAULT, CACHE_ARGUMENTS);
    if (!wrong)
        return OK;
    ap_log_error(APLOG_MARK, APLOG_CRIT | APLOG_STARTUP, 0, s, "AuthNtlmFailures: %s; "
                 "or choose another cache by AuthNtlmFailuresSOCache", wrong);
    return !OK;
}

static apr_status_t close_cache(void *server)
{
    server_rec *s = server;
    failures_t *f = failures_of(s->process->pconf);

    if (f && f->cache)
        f->provider->destroy(f->cache, s);
    return APR_SUCCESS;
}

/* Which boot of which machine this is. */
static apr_uint64_t boot_of_machine(apr_pool_t *ptemp)
{
    unsigned char digest[APR_SHA1_DIGESTSIZE];
    const unsigned char *at = digest;
    char text[64];
    apr_size_t size = sizeof(text);
    apr_sha1_ctx_t ctx;
    apr_file_t *file;

    if (apr_file_open(&file, BOOT_ID, APR_FOPEN_READ, 0, ptemp) != APR_SUCCESS)
        return 0;
    if (apr_file_read(file, text, &size) != APR_SUCCESS)
        size = 0;
    apr_file_close(file);
    if (!size)
        return 0;
    apr_sha1_init(&ctx);
    apr_sha1_update(&ctx, text, (unsigned)size);
    apr_sha1_final(digest, &ctx);
    return read_number(&at, 8);
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    /* shmcb divides its memory by the sum, and forgets its index in doing so */
    static const struct ap_socache_hints hints = { KEY_SIZE, TALLY_SIZE + CACHE_INDEX, apr_time_from_sec(60) };
    failures_t *f = failures_of(pconf);
    apr_status_t rv;

    if (!f->wanted || ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        return OK;
    f->boot = boot_of_machine(ptemp);
    rv = ap_global_mutex_create(&f->mutex, NULL, CACHE_ID, NULL, s, pconf, 0);
    if (rv == APR_SUCCESS)
        rv = f->provider->init(f->cache, CACHE_ID, &hints, s, pconf);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "AuthNtlmFailures: cannot set up mutex and cache (%s)",
                     f->provider->name);
        return !OK;
    }
    apr_pool_cleanup_register(pconf, s, close_cache, apr_pool_cleanup_null);
    return OK;
}

static void child_init(apr_pool_t *p, server_rec *s)
{
    failures_t *f = failures_of(s->process->pconf);
    apr_status_t rv;

    if (!f->wanted)
        return;
    rv = apr_global_mutex_child_init(&f->mutex, apr_global_mutex_lockfile(f->mutex), p);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "AuthNtlmFailures: this child cannot use mutex %s",
                     CACHE_ID);
}

void auth_failures_register(apr_pool_t *p)
{
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
}
