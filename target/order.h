/* rpc_route: the order in which the servers that may serve a request are tried.
 *
 * Without weights it is the configured order. With weights it is a rendezvous hash of a key: the
 * same key gives the same order in every child and on every machine. So both halves of a virtual
 * connection reach the same server without talking to each other, and a server that is added or
 * removed moves only its own share of the keys. Servers that failed lately come last, in the same
 * order. No httpd headers; any thread.
 */
#ifndef RPC_ROUTE_H
#define RPC_ROUTE_H

#include "shared/health.h"
#include "target/server_list.h"

/* One of them. */
typedef struct rpc_place {
    rpc_binding_t binding;
    const char *url;            /* of an RPC proxy that is already there, instead of the binding */
    int weight;                 /* its share, from 1; 0: in the order written */
    int named;                  /* the configuration itself writes this name or address */
} rpc_place_t;

/* Lists the servers of the COUNT PLACES in OUT, best first. NOW as in shared/health.h. */
void rpc_route_order(const rpc_place_t *places, int count, const char *key,
                     const rpc_health_t *health, apr_time_t now, rpc_server_list_t *out);

/* The number that a server draws for KEY, WEIGHT being its share: the smallest of all is first. The
 * same in every child and on every machine. */
double rpc_route_draw(const char *host, apr_port_t port, int weight, const char *key);

#endif
