/* smbpasswd: users and NT hashes in Samba's text format, one account a line:
 *
 *     name:uid:LM hash:NT hash:[flags]:LCT-time:
 *
 * as `pdbedit -Lw` and smbpasswd(8) write it. No httpd headers; a table is read-only once made.
 * Source: ntlm/smbpasswd.c
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
    const char *barred;         /* NULL: may log on; else why not */
} smbpasswd_user_t;

typedef struct smbpasswd {
    apr_hash_t *users;          /* smbpasswd_user_t by name in upper case */
    unsigned malformed;         /* lines skipped */
    unsigned first_malformed;   /* number of the first of them */
} smbpasswd_t;

/* Reads SIZE bytes of TEXT; all of the table lives in POOL. Empty lines and comments (#) are no
 * lines; of several for a name the first counts. */
smbpasswd_t *smbpasswd_read(apr_pool_t *pool, const char *text, size_t size);
/* The user of that name (UTF-8), in whatever case; NULL: none. POOL is for a moment's memory. */
const smbpasswd_user_t *smbpasswd_find(const smbpasswd_t *table, apr_pool_t *pool, const char *name);

#endif
