/* delegate_negotiate: a token of Kerberos as an Authorization field of HTTP (RFC 4559), within the
 * first message of SPNEGO (RFC 4178), which offers Kerberos alone.
 */
#ifndef DELEGATE_NEGOTIATE_H
#define DELEGATE_NEGOTIATE_H

#include <stddef.h>

#include <apr_pools.h>

/* "Negotiate ..." in POOL. */
const char *delegate_negotiate(apr_pool_t *pool, const void *token, size_t size);

#endif
