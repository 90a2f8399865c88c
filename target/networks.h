/* rpc_networks: which addresses a leg may be connected to (RpcTargetNetworks), and the grammar of
 * networks.
 *
 *   networks = entry *( blank entry )
 *   entry    = [ "!" | "+" ] network               "!" denies, else it is allowed
 *   network  = address [ "/" bits ] | word
 *   word     = "any" | "private" | "loopback" | "link-local" | "multicast" | "unspecified"
 *            | "broadcast"
 *
 * The entry with the longest prefix that contains the address decides; of two with the same length,
 * the denial. These implicit entries yield to any configured entry of the same length:
 *
 *   !loopback !link-local !multicast !unspecified !broadcast
 *   any, when the list has only denials and networks with a "+"; else !any
 *
 * So "10.1.0.0/16 !10.1.9.0/24" allows only the first network without the second, and
 * "!10.1.9.0/24" allows everything except that network and the special addresses. A special address
 * is allowed only when an entry names it: "loopback" and "127.0.0.2" name one, "any" does not.
 * "+127.0.0.2" allows that address in addition to the default.
 *
 * IPv4-mapped IPv6 addresses (::ffff:a.b.c.d) are treated as IPv4. The rules for an IPv4 address
 * also hold for other IPv6 addresses that stand for it (base/address.h): an entry that denies the
 * IPv4 address by name, or as a special address, counts; an entry that allows it counts when no
 * rule names the IPv6 address.
 *
 * No httpd headers. A parsed list does not change: any thread.
 */
#ifndef RPC_NETWORKS_H
#define RPC_NETWORKS_H

#include "base/address.h"
#include "base/syntax.h"

typedef struct rpc_networks rpc_networks_t;

/* Parses TEXT, whose entries are added to BASE (NULL: none). APR_EINVAL: *ERR says which entry,
 * which column, what was expected. The result lives in POOL. */
apr_status_t rpc_networks_parse(apr_pool_t *pool, const char *text, const rpc_networks_t *base,
                                rpc_networks_t **networks, rpc_syntax_error_t *err);
/* The text as configured, entries of the base first; "" for NULL. */
const char *rpc_networks_text(const rpc_networks_t *networks);

/* Is a connection to ADDRESS allowed? *RULE (if not NULL) becomes the entry that decided, as
 * configured, or an implicit one followed by " (default)"; it lives as long as NETWORKS. When
 * NETWORKS is NULL, only the implicit entries count. */
int rpc_networks_allow(const rpc_networks_t *networks, const struct sockaddr *address,
                       const char **rule);

/* NETWORKS extended by HOST, which the configuration itself names as a server: if HOST is an
 * address, it is allowed, unless an entry with a "!" decides about it. In POOL, or NETWORKS
 * itself. */
const rpc_networks_t *rpc_networks_with(apr_pool_t *pool, const rpc_networks_t *networks,
                                        const char *host);
/* The entry with a "!" that decides about HOST; NULL: there is none, or HOST is not an address. */
const char *rpc_networks_denial(const rpc_networks_t *networks, const char *host);

/* Parses the LEN characters at AT in the text of SYNTAX as an address that this machine may have,
 * with port 0. Networks and special addresses that a socket cannot be bound to are refused. */
apr_status_t rpc_networks_parse_local(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                                      rpc_address_t *address);

#endif
