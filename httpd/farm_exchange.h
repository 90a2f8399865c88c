/* rpc_exchange: RpcSharedStore: what this machine and the others of its farm tell each other by a
 * Redis or Valkey. Several times a second the watchdog's thread, in one child at a time, writes
 * what has changed here, reads what has changed elsewhere, and fills shared/farm.h for all others.
 * So nobody else waits for the store, and a store that is away is a table that ends by itself.
 *
 * In the store, for each machine:
 *
 *   rpcproxy:FARM:machines         the numbers of the machines
 *   rpcproxy:FARM:MACHINE          its head: sums, and the versions of its pages; for 5 seconds
 *   rpcproxy:FARM:MACHINE:PAGE     entries of shared/farm.h; for a minute
 *
 * An entry lies in the page that its key says, and only pages that have changed are written and
 * read. Heads and pages are sealed (httpd/farm_seal.h). When there are several stores, all are
 * written and all are read, and of a page the newest version counts; so none of them matters.
 * Times are those of the machine's own clock, and its head says what that is now.
 */
#ifndef RPC_FARM_EXCHANGE_H
#define RPC_FARM_EXCHANGE_H

#include "httpd/config.h"
#include "httpd/context.h"

/* Is all there that RpcSharedStore needs? Logs what is missing. From check_config. */
int rpc_exchange_possible(server_rec *s);
/* This machine joins the farm, if RpcSharedStore is set; else CONTEXT has no farm from now on.
 * From post_config. Logs what goes wrong. */
apr_status_t rpc_exchange_start(apr_pool_t *pconf, server_rec *s, rpc_context_t *context);

#endif
