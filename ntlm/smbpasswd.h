/* smbpasswd: users and NT hashes in Samba's text format, one account in each line:
 *
 *     name:uid:LM hash:NT hash:[flags]:LCT-time:
 *
 * as `pdbedit -Lw` and smbpasswd(8) write it. No httpd headers. A table does not change once made.
 */
#ifndef SMBPASSWD_H
#define SMBPASSWD_H

#include <stddef.h>
#include <stdint.h>

#include <apr_hash.h>
#include <apr_pools.h>

typedef struct smbpasswd_user {
    const char *name;           /* as written */
    uint8_t nt_hash[16];
    const char *barred;         /* why the user may not log on; NULL: the user may */
} smbpasswd_user_t;

typedef struct smbpasswd {
    apr_hash_t *users;          /* smbpasswd_user_t by name in upper case */
    unsigned malformed;         /* lines skipped */
    unsigned first_malformed;   /* number of the first of them */
} smbpasswd_t;

/* Reads SIZE bytes of TEXT; all of the table lives in POOL. Empty lines and comments (#) are
 * skipped. When several lines have the same name, the first counts. */
smbpasswd_t *smbpasswd_read(apr_pool_t *pool, const char *text, size_t size);
/* The user of that name (UTF-8) in any case; NULL: none. POOL is for temporary memory. */
const smbpasswd_user_t *smbpasswd_find(const smbpasswd_t *table, apr_pool_t *pool,
                                       const char *name);

#endif
