/* rpc_here: what this machine has to tell the others of its farm: entries of shared/farm.h, by the
 * page that each lies in. Of the process that exchanges; one thread.
 */
#ifndef RPC_FARM_HERE_H
#define RPC_FARM_HERE_H

#include "httpd/context.h"
#include "httpd/farm_layout.h"

typedef struct rpc_here_page {
    rpc_farm_entry_t *at;           /* malloc'ed, and used again */
    size_t count, room;
    uint64_t sum;                   /* of all of them, whatever their order */
} rpc_here_page_t;

typedef struct rpc_here {
    const rpc_context_t *context;
    rpc_farm_entry_t *noted;        /* room for RPC_FARM_NOTED */
    rpc_here_page_t pages[RPC_FARM_PAGES];
} rpc_here_t;

/* Collects what there is at NOW; a page may have several entries for one key. */
void rpc_here_collect(rpc_here_t *here, apr_time_t now);
/* Then one entry for each key. */
void rpc_here_join(rpc_here_page_t *page);
/* What is counted. */
void rpc_here_sums(const rpc_context_t *context, rpc_farm_sums_t *sums);
/* By which hash the machines know a server. */
uint64_t rpc_here_server(const rpc_farm_t *farm, const char *host, uint16_t port);

#endif
