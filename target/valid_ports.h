/* rpc_valid_ports: the server:port pairs that a client may name, in the grammar of the registry
 * value ValidPorts (doc/protocol.md, "ValidPorts"), with some additions for httpd.
 *
 *   list   = entry *( ";" entry ) [ ";" ]          spaces around entries are ignored
 *   entry  = server ":" port [ "-" port ]
 *   server = name | prefix "*" | "*" suffix | IPv6 literal, bare or in brackets | "*"
 *
 * Names are compared as text, without case and without DNS. What the list does not allow is
 * refused. No httpd headers; a parsed list does not change and may be used on any thread.
 */
#ifndef RPC_VALID_PORTS_H
#define RPC_VALID_PORTS_H

#include <apr_pools.h>
#include "target/binding.h"

#define RPC_SERVER_MAX 1023     /* characters of a server's name (2.2.2) */

typedef struct rpc_valid_ports rpc_valid_ports_t;

/* One entry. */
typedef struct rpc_valid_port {
    const char *server;         /* a pattern (target/pattern.h), without brackets and last dot */
    apr_port_t low, high;
    const char *text;           /* the entry as written */
} rpc_valid_port_t;

/* Parses TEXT, whose entries are added to BASE (NULL: none). APR_EINVAL: *ERR says
 * which entry, which column, what was expected. The result lives in POOL. */
apr_status_t rpc_valid_ports_parse(apr_pool_t *pool, const char *text,
                                   const rpc_valid_ports_t *base,
                                   rpc_valid_ports_t **list, rpc_syntax_error_t *err);

/* Parses TEXT, which is one entry. With PORT_OPTIONAL an entry without a port covers all ports. An
 * address that can be read in two ways ("fe80::1:80") is read as one with a port, unless brackets
 * decide. RpcBackend uses this function, too. */
apr_status_t rpc_valid_port_parse(apr_pool_t *pool, const char *text, int port_optional,
                                  rpc_valid_port_t *entry, rpc_syntax_error_t *err);

/* The entries of A, then those of B, in POOL. Both may be NULL. */
rpc_valid_ports_t *rpc_valid_ports_join(apr_pool_t *pool, const rpc_valid_ports_t *a,
                                        const rpc_valid_ports_t *b);

/* Number I of its entries; NULL: there are no more. LIST may be NULL. */
const rpc_valid_port_t *rpc_valid_ports_entry(const rpc_valid_ports_t *list, int i);

/* May a client reach SERVER:PORT? The entry that allows it, or NULL; then *NEAREST
 * (if not NULL) is the entry that came closest - same server, other ports; else same
 * first label of the name ("rosco" against "rosco.example.com") - or NULL. LIST may
 * be NULL: nothing is allowed. */
const rpc_valid_port_t *rpc_valid_ports_match(const rpc_valid_ports_t *list,
                                              const char *server, apr_port_t port,
                                              const rpc_valid_port_t **nearest);

#endif
