/* auth_failures: what guessing passwords costs, for NTLM and Basic alike.
 *
 * Failures are counted per account (its name alone, in lower case, so that DOM\alice and
 * alice@realm are one) and per client address (IPv6 by /64), in a cache that all children share
 * (socache; another machine, too, with a provider that reaches it). From AuthNtlmFailures n
 * within its seconds on, tries are answered 401 unseen, with one line for fail2ban, until the
 * window that the first of them opened ends. Sections whose seconds are the same count together,
 * others apart. Worker threads only.
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

/* Is this account, or r's address, over its limit? Then it has been logged. USER NULL or empty:
 * only the address is looked at. To be asked before a password is looked at, and once more before
 * a right one is let in: tries that ran side by side may have reached the limit, and then the
 * right one among them must not show. *SUSPECT, unless NULL, tells whether the account may have
 * failures to forget; it is left alone where there is no limit. */
int auth_failures_blocked(request_rec *r, const auth_failures_limit_t *limit, const char *user, int *suspect);
/* One more failure; logs it. USER NULL or empty: no name was sent; the address pays. */
void auth_failures_count(request_rec *r, const auth_failures_limit_t *limit, const char *user);
/* The account has shown its password: its failures are forgotten (the address' are not). */
void auth_failures_forget(request_rec *r, const auth_failures_limit_t *limit, const char *user);

/* While the configuration is read, for each section with AuthNtlmFailures: the cache will be
 * needed. NULL, or what is missing for it. */
const char *auth_failures_wanted(cmd_parms *cmd);
/* AuthNtlmFailuresSOCache, global only. */
const char *auth_failures_set_socache(cmd_parms *cmd, void *config, const char *arg);

/* The hooks that make the cache and its mutex. */
void auth_failures_register(apr_pool_t *p);

#endif
