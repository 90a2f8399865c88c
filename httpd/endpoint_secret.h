/* rpc_endpoint_secret: a secret that only the processes of this server know. The endpoint process
 * accepts a leg on its Unix socket only if its preface has the secret (wire/preface.h).
 *
 * The parent makes it at its first start and keeps it over all restarts, because children and
 * endpoint processes of different generations speak to each other. The secret is only in the memory
 * that these processes inherit; a program that one of them executes, such as a CGI script, does not
 * have it.
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
