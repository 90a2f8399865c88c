/* rpc_backend: the real place of the server that a request asks for.
 *
 * Knows the lists of the configuration (RpcValidPorts, RpcBackend), but no request_rec. Nothing
 * changes after configuration, so any thread may call.
 */
#ifndef RPC_TARGET_H
#define RPC_TARGET_H

#include <apr_tables.h>
#include "target/binding.h"
#include "target/order.h"
#include "target/query.h"
#include "target/valid_ports.h"

/* One RpcBackend directive. */
typedef struct rpc_backend {
    const char *pattern;    /* server part */
    apr_port_t low, high;   /* ports it covers; 1-65535 when none was written */
    rpc_place_t places[RPC_ROUTE_MAX];  /* in the order written, all of one protocol
                                         * sequence, or all URLs */
    int count;
    int lacks_weights;      /* some places have a weight, others have none */
    const char *env;        /* instead of places: the variable of the request that names them */
    const char *upstream;   /* places with URLs: the one that stands for all of them, for mod_proxy;
                             * whoever has the directive sets it */
    const char *text;       /* as configured, for messages */
} rpc_backend_t;

/* RpcNspiProtocolSequences and RpcNspiServers: the ports of the address book, and the global
 * catalogs that serve it. */
typedef struct rpc_nspi {
    const apr_array_header_t *ports;    /* apr_port_t; NULL: none */
    const apr_array_header_t *servers;  /* const char *; NULL: the server that was asked for */
    /* the port of the servers; 0: the port that was asked for */
    apr_port_t port;
} rpc_nspi_t;

/* All settings that tell where targets are. Arrays may be NULL. */
typedef struct rpc_directory {
    const apr_array_header_t *backends; /* rpc_backend_t *, the first that matches counts */
    rpc_nspi_t nspi;
    /* The value of a request's variable, or NULL; for RpcBackend env=. */
    const char *(*variable)(void *ctx, const char *name);
    void *ctx;
} rpc_directory_t;

/* Parses the COUNT arguments of RpcBackend: "pattern:ports" or "pattern", then string bindings,
 * each perhaps followed by "weight=N", or "env=NAME" alone. In place of bindings there may be URLs
 * with http://, https:// or balancer://, of RPC proxies that are already there. APR_EINVAL: *ERR,
 * and *ARG is the argument's number, from 1. */
apr_status_t rpc_backend_parse(apr_pool_t *pool, const char *const *args, int count,
                               rpc_backend_t **backend, rpc_syntax_error_t *err, int *arg);

/* Is this a port of the address book? */
int rpc_nspi_port(const rpc_nspi_t *nspi, apr_port_t port);

/* Fills PLACES (room for RPC_ROUTE_MAX) with the places of TARGET: for a port of the address book
 * the global catalogs; else those of the first backend that matches, with its empty ports and stars
 * filled in; else ncacn_http:server[port]. Returns their number, with strings in POOL. 0: the
 * backend has no place for TARGET, and *WHY says why. *BACKEND (if not NULL) is the directive that
 * matched, or NULL. */
int rpc_target_places(apr_pool_t *pool, const rpc_directory_t *directory,
                      const rpc_target_t *target, rpc_place_t *places,
                      const rpc_backend_t **backend, const char **why);

/* The first backend that matches TARGET, if it has URLs; for a port of the address book that of the
 * first global catalog which has URLs; else NULL. TARGET NULL: none is asked for, and the first
 * backend with URLs serves. */
const rpc_backend_t *rpc_target_upstream(const rpc_directory_t *directory,
                                         const rpc_target_t *target);

#endif
