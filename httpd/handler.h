/* httpd/handler.h: what httpd asks of a module for each request. */
#ifndef RPC_HANDLER_H
#define RPC_HANDLER_H

#include <httpd.h>
#include "httpd/request_channel.h"

/* Registers the request's hooks. CONTEXT stays; all of it must be filled before the first request.
 * From register_hooks. */
void rpc_handler_register(apr_pool_t *p, const rpc_context_t *context);

#endif
