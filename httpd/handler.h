/* httpd/handler.h: what httpd asks of a module for each request. */
#ifndef RPC_HANDLER_H
#define RPC_HANDLER_H

#include <httpd.h>
#include "httpd/request_channel.h"

/* Registers the request's hooks. CONTEXT stays; all of it must be filled before the first request.
 * From register_hooks. */
void rpc_handler_register(apr_pool_t *p, const rpc_context_t *context);

#define RPC_ECHO_MAX 16     /* bytes of body that make a request an echo (2.1.2.1.5) */

/* Who serves what policy allows. The functions return what a handler does; DONE: the channel has
 * begun, and its end counts it out. */
typedef struct rpc_service {
    /* A body of LENGTH bytes, at most RPC_ECHO_MAX: an echo, or a leg of a handshake. */
    int (*small)(request_rec *r, apr_int64_t length, void *ctx);
    int (*channel)(request_rec *r, rpc_channel_spec_t *spec, void *ctx);
    void *ctx;
    /* The proxy behind us that it goes to, and what authenticates; NULL: there is none. */
    const char *upstream;
    apr_port_t port;
} rpc_service_t;

/* Judges R, whose method belongs to RPC over HTTP or whose URL is ours, and has BY serve it. For
 * R's worker, from a handler. */
int rpc_request_serve(request_rec *r, const rpc_service_t *by);

/* Refuses R, with one line in the log that says WHY. Returns what a handler does. */
int rpc_request_refuse(request_rec *r, rpc_reason_t reason, const char *why);
/* Hands a channel to an I/O thread, or refuses it. */
int rpc_request_hand_over(request_rec *r, const rpc_channel_spec_t *spec);

#endif
