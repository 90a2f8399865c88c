/* rpc_front: may others than this client use its connection? A front end that puts requests of
 * several clients on one connection leaves traces in them (base/front_fields.h).
 */
#ifndef RPC_FRONT_H
#define RPC_FRONT_H

#include <httpd.h>

/* The hook that looks for traces. From register_hooks. */
void rpc_front_register(apr_pool_t *p);

/* Why the connection of R may be shared, in R's pool; NULL: it is R's client's alone. */
const char *rpc_front_shares(const request_rec *r);

#endif
