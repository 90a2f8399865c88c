/* httpd/status_auto.h: our lines on the page of mod_status, and in its ?auto. */
#ifndef RPC_STATUS_AUTO_H
#define RPC_STATUS_AUTO_H

#include <httpd.h>

#include "httpd/context.h"

/* From register_hooks; without mod_status nothing happens. CONTEXT stays. */
void rpc_status_auto_register(apr_pool_t *p, const rpc_context_t *context);

#endif
