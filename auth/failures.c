/* auth/failures.c: counts wrong passwords and blocks further tries.
 *
 *   tallies   one for each account and one for each address, each with a window that its first
 *             failure opens. A full tally blocks until its window ends. Blocked tries do not count.
 *   known     a pair of account and address, for a day since its last success; written again at
 *             most once an hour
 *
 * NTLM and AuthNtlmBasicProvider call these functions themselves; auth/basic_watch.c calls them for
 * mod_auth_basic, auth/passed_watch.c for a server behind.
 */
#include "auth/failures.h"

#include <apr_strings.h>
#include <http_log.h>

#include "auth/failure_cache.h"
#include "auth/failure_farm.h"
#include "auth/provider.h"
#include "base/clock.h"
#include "base/message_id.h"
#include "base/who.h"

APLOG_USE_MODULE(auth_ntlm);

#define KNOWN_FOR (24 * 60 * 60)        /* seconds */
#define KNOWN_AGAIN apr_time_from_sec(60 * 60)

/* The keys of one try in the cache. */
typedef struct subject {
    auth_failure_key_t account, address, known;
    int has_account;
} subject_t;

static rpc_who_network_t network_of(const request_rec *r)
{
    const apr_sockaddr_t *client = r->useragent_addr;

    return rpc_who_network(client ? client->ipaddr_ptr : NULL,
                           client ? (size_t)client->ipaddr_len : 0);
}

static subject_t subject_of(const request_rec *r, int seconds, const auth_account_t *account)
{
    rpc_who_network_t network = network_of(r);
    size_t size = strlen(account->canonical), both_size = sizeof(network) + size;
    char *both = apr_palloc(r->pool, both_size);
    subject_t s;

    memcpy(both, &network, sizeof(network));
    memcpy(both + sizeof(network), account->canonical, size);
    s.has_account = size > 0;
    s.account = auth_failure_key(r, 'u', seconds, account->canonical, size);
    s.address = auth_failure_key(r, 'a', seconds, &network, sizeof(network));
    s.known = auth_failure_key(r, 'k', 0, both, both_size);
    return s;
}

/* Tries are allowed while the cache cannot be reached: their passwords are still checked, and an
 * attacker who brings the cache down would otherwise lock everybody out. */
static int cache_failed(request_rec *r, const char *what, apr_status_t rv)
{
    if (rv == APR_SUCCESS)
        return 0;
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r,
                  RPCNO(0113) "AuthNtlmFailures: cannot %s (cache %s); until it can, tries are "
                  "not limited",
                  what, auth_failure_cache_name(r));
    return 1;
}

/* ---- has the limit been reached? ---- */

typedef struct tallies {
    auth_failure_record_t account, address;
} tallies_t;

static void add_elsewhere(const auth_failures_limit_t *limit, const subject_t *s, tallies_t *t)
{
    auth_failure_farm_add(&s->address, limit->seconds, &t->address);
    if (s->has_account)
        auth_failure_farm_add(&s->account, limit->seconds, &t->account);
}

/* Reads both tallies, with what other machines have counted. The account's tally counts as empty at
 * an address where the account is known. */
static apr_status_t look_up_failures(request_rec *r, const auth_failures_limit_t *limit,
                                     const subject_t *s, tallies_t *t)
{
    apr_status_t rv = auth_failure_lock(r, 0);

    t->account = (auth_failure_record_t){ 0, 0 };
    if (rv != APR_SUCCESS)
        return rv;
    rv = auth_failure_fetch(r, &s->address, limit->seconds, &t->address);
    if (rv == APR_SUCCESS && s->has_account)
        rv = auth_failure_fetch(r, &s->account, limit->seconds, &t->account);
    add_elsewhere(limit, s, t);
    if (rv == APR_SUCCESS && t->account.count >= (unsigned)limit->max) {
        auth_failure_record_t known;

        rv = auth_failure_fetch(r, &s->known, KNOWN_FOR, &known);
        auth_failure_farm_add(&s->known, KNOWN_FOR, &known);
        if (known.count)
            t->account.count = 0;
    }
    auth_failure_unlock(r, 0);
    return rv;
}

/* Logs the line for fail2ban. The text repeats the address, because httpd writes
 * "[client 2001:db8::1:443]", where the port cannot be told from the address. */
static int is_over_limit(request_rec *r, const auth_failures_limit_t *limit,
                         const auth_account_t *account)
{
    subject_t s = subject_of(r, limit->seconds, account);
    tallies_t t;
    const auth_failure_record_t *full;
    apr_time_t left;

    if (cache_failed(r, "look up failures", look_up_failures(r, limit, &s, &t)))
        return 0;
    full = t.account.count >= (unsigned)limit->max ? &t.account : &t.address;
    if (full->count < (unsigned)limit->max)
        return 0;
    left = full->start + apr_time_from_sec(limit->seconds) - rpc_clock_now();
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                  RPCNO(0114) "AuthNtlmFailures: blocked try from %s, user \"%s\": %u "
                  "failures of the %s, passwords are not checked for another %d s",
                  r->useragent_ip, ap_escape_logitem(r->pool, account->name), full->count,
                  full == &t.account ? "account" : "address",
                  left > 0 ? (int)apr_time_sec(left) + 1 : 1);
    return 1;
}

/* ---- one more ---- */

static apr_status_t raise_tally(request_rec *r, const auth_failure_key_t *key, int seconds,
                                auth_failure_record_t *tally)
{
    apr_status_t rv = auth_failure_fetch(r, key, seconds, tally);

    if (rv != APR_SUCCESS)
        return rv;
    tally->count++;
    auth_failure_farm_tell(key, seconds);
    return auth_failure_store(r, key, seconds, tally);
}

static void count_failure(request_rec *r, const auth_failures_limit_t *limit,
                          const auth_account_t *account)
{
    subject_t s = subject_of(r, limit->seconds, account);
    tallies_t t = { { 0, 0 }, { 0, 0 } };
    apr_status_t rv = auth_failure_lock(r, 1);

    if (rv == APR_SUCCESS) {
        rv = raise_tally(r, &s.address, limit->seconds, &t.address);
        if (rv == APR_SUCCESS && s.has_account)
            rv = raise_tally(r, &s.account, limit->seconds, &t.account);
        auth_failure_unlock(r, 1);
    }
    add_elsewhere(limit, &s, &t);
    cache_failed(r, "count a failure", rv);
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                  RPCNO(0115) "AuthNtlmFailures: failed try from %s, user \"%s\": %s, "
                  "account %u and address %u of %u within %d s", r->useragent_ip,
                  ap_escape_logitem(r->pool, account->name),
                  s.has_account ? "wrong password or unknown user" : "no user in it",
                  t.account.count, t.address.count, (unsigned)limit->max, limit->seconds);
}

/* ---- a success ---- */

/* Basic sends the password with every request, so most requests find the pair known already. */
static apr_status_t remember_success(request_rec *r, const subject_t *s)
{
    auth_failure_record_t known;
    apr_status_t rv = auth_failure_lock(r, 0);

    if (rv != APR_SUCCESS)
        return rv;
    rv = auth_failure_fetch(r, &s->known, KNOWN_FOR, &known);
    auth_failure_unlock(r, 0);
    if (rv != APR_SUCCESS || (known.count && rpc_clock_now() - known.start < KNOWN_AGAIN))
        return rv;
    known = (auth_failure_record_t){ 1, rpc_clock_now() };
    rv = auth_failure_lock(r, 1);
    if (rv != APR_SUCCESS)
        return rv;
    rv = auth_failure_store(r, &s->known, KNOWN_FOR, &known);
    auth_failure_unlock(r, 1);
    auth_failure_farm_tell(&s->known, KNOWN_FOR);
    return rv;
}

/* ---- the three questions ---- */

int auth_failures_blocked(request_rec *r, const auth_failures_limit_t *limit,
                          const auth_account_t *account)
{
    return limit->max > 0 && is_over_limit(r, limit, account);
}

void auth_failures_count(request_rec *r, const auth_failures_limit_t *limit,
                         const auth_account_t *account)
{
    if (limit->max > 0)
        count_failure(r, limit, account);
}

void auth_failures_success(request_rec *r, const auth_failures_limit_t *limit,
                           const auth_account_t *account)
{
    if (limit->max > 0 && *account->canonical) {
        subject_t s = subject_of(r, limit->seconds, account);

        cache_failed(r, "note a success", remember_success(r, &s));
    }
}
