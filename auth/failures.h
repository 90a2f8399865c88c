/* auth_failures: what guessing passwords costs, for NTLM and Basic alike.
 *
 * Failures are counted per account and per client address, both as base/who.h sees them, in a
 * cache that all children share (auth/failure_cache.h). From AuthNtlmFailures n within its
 * seconds on, tries are answered 401 unseen, with one line for fail2ban, until the window that
 * the first of them opened ends. Sections whose seconds are the same count together, others apart.
 *
 * A success takes no failure back, or whoever guesses would wait for the owner's. But it makes the
 * account and the address known to each other for a day, and then failures of other addresses do
 * not keep the account's owner out there. The address' own failures still do. Worker threads only.
 */
#ifndef AUTH_FAILURES_H
#define AUTH_FAILURES_H

#include <httpd.h>
#include <http_config.h>

/* What a section allows; the configuration holds one. */
typedef struct auth_failures_limit {
    int max;                            /* of an account and of an address; 0 or less: no limit */
    int seconds;                        /* how long a failure counts */
} auth_failures_limit_t;

/* Who tries. */
typedef struct auth_account {
    const char *name;                   /* as it was sent, for the log */
    const char *canonical;              /* of rpc_who_user(); "": no name was sent, the address alone counts */
} auth_account_t;

/* Is this account, or r's address, over its limit? Then it has been logged. To be asked before a password is looked at, and once more before a right one is let in: tries that ran
 * side by side may have reached the limit, and then the right one among them must not show. */
int auth_failures_blocked(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account);
/* One more failure; logs it. */
void auth_failures_count(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account);
/* The account has shown its password at r's address. */
void auth_failures_success(request_rec *r, const auth_failures_limit_t *limit, const auth_account_t *account);

#endif
