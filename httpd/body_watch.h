/* httpd/body_watch.h: the body of a channel is a stream without an end, and nobody but this module
 * can read it. A module that reads bodies before the handler, as mod_security does, finds none.
 *
 * The state of a request lies in its pool, which those share that an internal redirect makes of
 * it. All of this is for the thread that has the request.
 */
#ifndef RPC_BODY_WATCH_H
#define RPC_BODY_WATCH_H

#include <httpd.h>

/* Counts from now on what is read of R's body. */
void rpc_body_watch(request_rec *r);

/* From now on whoever reads R's body finds it empty. The connection ends with the request, as httpd
 * can no longer skip what is left of the body. */
void rpc_body_shut(request_rec *r);

/* R has come to our handler. Bytes of its body that somebody has read before. */
apr_off_t rpc_body_arrived(request_rec *r);

/* Has R's body been shut although another module has answered R before it came to our handler? */
int rpc_body_intercepted(request_rec *r);

/* Registers the filter; from register_hooks. */
void rpc_body_register(apr_pool_t *p);

#endif
