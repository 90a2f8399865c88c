/* rpc_route: in which order the servers that may serve a request are tried.
 *
 * As written, or, with weights, by a rendezvous hash of a key: the same key gives the same order
 * in every child and on every machine, so both halves of a virtual connection meet at one server
 * without a word between them, and a server that comes or goes moves only its own share of keys.
 * Those that did not answer lately come last, in the same order. No httpd headers; any thread.
 * Source: target/order.c
 */
#ifndef RPC_ROUTE_H
#define RPC_ROUTE_H

#include "target/binding.h"
#include "shared/health.h"

#define RPC_ROUTE_MAX 16        /* servers of one RpcBackend or RpcNspiServers */

/* One of them. */
typedef struct rpc_place {
    rpc_binding_t binding;
    int weight;                 /* its share, from 1; 0: in the order written */
    int named;                  /* the configuration itself writes this name or address */
} rpc_place_t;

/* NOW as in shared/health.h. Copies PLACES, COUNT of them, to OUT (room for COUNT), best first. */
void rpc_route_order(const rpc_place_t *places, int count, const char *key,
                     const rpc_health_t *health, apr_time_t now, rpc_binding_t *out);

#endif
