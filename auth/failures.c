/* auth/failures.c: how often a password was wrong, and what follows from it.
 *
 *   tallies   one per account and one per address, each with a window that its first failure
 *             opens; full, it blocks until that window ends, and blocked tries do not count
 *   known     account and address, since their last success; written again once an hour
 *
 * NTLM and AuthNtlmBasicProvider call these functions themselves; for mod_auth_basic
 * auth/basic_watch.c does.
 */
#include "auth/failures.h"

#include <apr_strings.h>
#include <http_log.h>

#include "auth/failure_cache.h"
#include "auth/provider.h"
#include "base/clock.h"
#include "base/who.h"

APLOG_USE_MODULE(auth_ntlm);

#define KNOWN_FOR (24 * 60 * 60)        /* seconds */
#define KNOWN_AGAIN apr_time_from_sec(60 * 60)

/* What is asked of the cache about one try. */
typedef struct subject {
    auth_failure_key_t account, address, known;
    int has_account;
} subject_t;

static rpc_who_network_t network_of(const request_rec *r)
{
    const apr_sockaddr_t *client = r->useragent_addr;

    return rpc_who_network(client ? client->ipaddr_ptr : NULL, client ? (size_t)client->ipaddr_len : 0);
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

/* A cache that cannot be reached lets tries through: the passwords are still checked, and a
 * cache that is down, or made to be, would otherwise lock everybody out. */
static int cache_failed(request_rec *r, const char *what, apr_status_t rv)
{
    if (rv == APR_SUCCESS)
        return 0;
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r, "AuthNtlmFailures: cannot %s (cache %s); tries are "
                  "not limited meanwhile", what, auth_failure_cache_name(r));
    return 1;
}

/* ---- is it over? ---- */

typedef struct tallies {
    auth_failure_record_t account, address;
} tallies_t;

/* The account's tally is left empty for an address that the account is known at. */
static apr_status_t look_up(request_rec *r, const auth_failures_limit_t *limit, const subject_t *s,
                            tallies_t *t)
{
    apr_status_t rv = auth_failure_lock(r, 0);

    t->account = (auth_failure_record_t){ 0, 0 };
    if (rv != APR_SUCCESS)
        return rv;
    rv = auth_failure_fetch(r, &s->address, limit->seconds, &t->address);
    if (rv == APR_SUCCESS && s->has_account)
        rv = auth_failure_fetch(r, &s->account, limit->seconds, &t->account);
    if (rv == APR_SUCCESS && t->account.count >= (unsigned)limit->max) {
        auth_failure_record_t known;

        rv = auth_failure_fetch(r, &s->known, KNOWN_FOR, &known);
        if (known.count)
            t->account.count = 0;
    }
    auth_failure_unlock(r, 0);
    return rv;
}

/* The lines for fail2ban. The address stands in the text once more, because httpd writes
 * "[client 2001:db8::1:443]" and nobody can tell the port from the address. */
static int is_over(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account)
{
    subject_t s = subject_of(r, limit->seconds, account);
    tallies_t t;
    const auth_failure_record_t *full;
    apr_time_t left;

    if (cache_failed(r, "look up failures", look_up(r, limit, &s, &t)))
        return 0;
    full = t.account.count >= (unsigned)limit->max ? &t.account : &t.address;
    if (full->count < (unsigned)limit->max)
        return 0;
    left = full->start + apr_time_from_sec(limit->seconds) - rpc_clock_now();
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "AuthNtlmFailures: blocked try from %s, user \"%s\": %u "
                  "failures of the %s, not looked at for another %d s", r->useragent_ip,
                  ap_escape_logitem(r->pool, account->name), full->count,
                  full == &t.account ? "account" : "address", left > 0 ? (int)apr_time_sec(left) + 1 : 1);
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
    return auth_failure_store(r, key, seconds, tally);
}

static void count(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account)
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
    cache_failed(r, "count a failure", rv);
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "AuthNtlmFailures: failed try from %s, user \"%s\": %s, "
                  "account %u and address %u of %u within %d s", r->useragent_ip,
                  ap_escape_logitem(r->pool, account->name),
                  s.has_account ? "wrong password or unknown user" : "no user in it",
                  t.account.count, t.address.count, (unsigned)limit->max, limit->seconds);
}

/* ---- a success ---- */

/* Basic shows its password with every request: most find that they are known. */
static apr_status_t know(request_rec *r, const subject_t *s)
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
    return rv;
}

/* ---- the three questions ---- */

int auth_failures_blocked(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account)
{
    return limit->max > 0 && is_over(r, limit, account);
}

void auth_failures_count(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account)
{
    if (limit->max > 0)
        count(r, limit, account);
}

void auth_failures_success(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account)
{
    if (limit->max > 0 && *account->canonical) {
        subject_t s = subject_of(r, limit->seconds, account);

        cache_failed(r, "note a success", know(r, &s));
    }
}
