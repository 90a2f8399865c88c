/* rpc_endpoint_secret: what the server's processes know, and no other program does: the endpoint
 * process takes legs on its Unix socket only from those who say it (wire/preface.h).
 *
 * The parent makes it at its first start and keeps it over all restarts, since children and
 * endpoint processes of different generations speak to each other. It is nowhere but in the
 * memory that these inherit: a program that one of them executes, such as a CGI script, has lost it.
 */
#ifndef RPC_ENDPOINT_SECRET_H
#define RPC_ENDPOINT_SECRET_H

#include <stdint.h>
#include <apr_errno.h>

/* In the parent, before any child. Fails only without a source of random bytes. */
apr_status_t rpc_endpoint_secret_make(void);

/* RPC_PREFACE_SECRET bytes; NULL before they are made. */
const uint8_t *rpc_endpoint_secret(void);

#endif
