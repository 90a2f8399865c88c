/* auth_failures: the limit on guessed passwords, for NTLM and Basic alike.
 *
 * Failures are counted for each account and for each client address, as base/who.h defines them, in
 * a cache that all children share (auth/failure_cache.h). The first failure opens a window of the
 * seconds that AuthNtlmFailures names. When its number of failures is reached, further tries are
 * answered with 401 before their password is checked, with one log line for fail2ban each, until
 * the window ends. Sections with the same number of seconds count together, others separately.
 *
 * A success does not lower the count, or an attacker would only have to wait for the owner's next
 * login. But after a success the account is known at the client's address for a day. Failures from
 * other addresses then do not lock the owner out at that address; failures from that address still
 * do. Worker threads, or one that may wait as they may.
 */
#ifndef AUTH_FAILURES_H
#define AUTH_FAILURES_H

#include <httpd.h>
#include <http_config.h>

/* The limit of one section of the configuration. */
typedef struct auth_failures_limit {
    int max;                            /* failures of an account or an address; 0 or less: no
                                         * limit */
    int seconds;                        /* how long a failure counts */
} auth_failures_limit_t;

/* Who tries. */
typedef struct auth_account {
    const char *name;                   /* as it was sent, for the log */
    const char *canonical;              /* by rpc_who_user(); "": no name was sent, only the address
                                         * counts */
} auth_account_t;

/* Has this account, or the address of R, reached its limit? If so, this function has logged it. To
 * be called before a password is checked, and again before a right password is accepted: tries that
 * ran at the same time may have reached the limit, and the answer must not show which was right. */
int auth_failures_blocked(request_rec *r, const auth_failures_limit_t *limit,
                          const auth_account_t *account);
/* Counts one more failure and logs it. */
void auth_failures_count(request_rec *r, const auth_failures_limit_t *limit,
                         const auth_account_t *account);
/* Notes that the account has shown its password at the address of R. */
void auth_failures_success(request_rec *r, const auth_failures_limit_t *limit,
                           const auth_account_t *account);

#endif
