/* delegate_principal: which principal of Kerberos a user of httpd is, and which one a server.
 *
 *   alice            alice in the default realm of krb5.conf
 *   DOM\alice        alice in the realm that [domain_realm] of krb5.conf gives for DOM; without
 *                    such a line, nobody
 *   alice@suffix     whoever has this user principal name (an "enterprise name"): the KDC of the
 *                    default realm says who that is. The suffix is a domain of mail as often as a
 *                    realm, and alice of the realm may be somebody else
 *   by mod_auth_gssapi   the principal that it names in GSS_NAME
 *
 * Where the domain does not count (RPC_WHO_ANY_DOMAIN of base/who.h), nobody has checked it: it is
 * left away. The account is never folded or trimmed: the KDC gets the bytes that were authenticated
 * here. A name with a character that means something in principals is nobody.
 *
 * No httpd headers, no state. Any thread that has a krb5_context of its own.
 */
#ifndef DELEGATE_PRINCIPAL_H
#define DELEGATE_PRINCIPAL_H

#include <apr_pools.h>
#include <krb5.h>

#include "base/who.h"

typedef struct delegate_who {
    const char *user;           /* REMOTE_USER */
    const char *principal;      /* GSS_NAME; NULL: GSSAPI has not authenticated the user */
    rpc_who_domain_t domain;
} delegate_who_t;

typedef struct delegate_principal {
    const char *text;           /* as Kerberos writes it; an enterprise name without a realm */
    int enterprise;
} delegate_principal_t;

/* The principal of WHO, in POOL. Returns NULL, or why WHO is nobody. */
const char *delegate_principal(apr_pool_t *pool, krb5_context context, const delegate_who_t *who,
                               delegate_principal_t *principal);

/* The principal of SERVICE, which is "HTTP/host" or "HTTP/host@REALM", in POOL: its realm is the
 * one that [domain_realm] gives for the host, else the default realm. No name is looked up in the
 * DNS. NULL: there is no realm. */
const char *delegate_service(apr_pool_t *pool, krb5_context context, const char *service);

#endif
