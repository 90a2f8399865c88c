/* httpd/status_page.h: SetHandler rpcproxy-status: who is connected, what is full, what is down,
 * and why somebody was refused; for people, for programs and for monitoring systems.
 *
 *   status_page      the handler: the request and its query string
 *   status_html      a page without scripts;  ?format=json: status_json
 *   status_metrics   ?format=openmetrics, ?format=prometheus
 *   status_actions   POST: ends connections, drains servers
 *   status_facts     what these have in common
 *   status_out       texts, escaped
 *
 * shared/view joins, filters and sorts the virtual connections.
 */
#ifndef RPC_STATUS_PAGE_H
#define RPC_STATUS_PAGE_H

#include <httpd.h>

#include "httpd/context.h"

#define RPC_STATUS_HANDLER "rpcproxy-status"

/* From register_hooks. CONTEXT stays. */
void rpc_status_page_register(apr_pool_t *p, const rpc_context_t *context);

#endif
