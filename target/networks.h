/* rpc_networks: which addresses a leg may be connected to (RpcTargetNetworks), and the grammar of
 * networks.
 *
 *   networks = entry *( blank entry )
 *   entry    = [ "!" | "+" ] network               "!" denies, else it is allowed
 *   network  = address [ "/" bits ] | word
 *   word     = "any" | "private" | "loopback" | "link-local" | "multicast" | "unspecified" | "broadcast"
 *
 * The longest prefix that holds the address decides, and of two equally long ones the denial.
 * There are implicit entries, which any other of the same length overrules:
 *
 *   !loopback !link-local !multicast !unspecified !broadcast
 *   any, when nothing is written but denials and networks with a "+"; else !any
 *
 * so that "10.1.0.0/16 !10.1.9.0/24" is all that can be reached, "!10.1.9.0/24" all that cannot
 * beside the special addresses, and these are reached only when named: "any" does not name them,
 * "loopback" and "127.0.0.2" do. "+127.0.0.2" allows one more beside what is allowed anyhow.
 *
 * IPv4 addresses in IPv6 dress (::ffff:a.b.c.d) count, and are connected to, as IPv4. Other IPv6
 * addresses that stand for an IPv4 one (base/address.h) are judged by the rules for that one, too:
 * what denies it by name, or as a special address, counts; what allows it counts where no rule
 * speaks of the IPv6 address.
 *
 * No httpd headers. What is parsed is read-only: any thread. Source: target/networks.c
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
/* The entries of A and those of B, in POOL. Both may be NULL. */
rpc_networks_t *rpc_networks_join(apr_pool_t *pool, const rpc_networks_t *a, const rpc_networks_t *b);

/* As it was written, entries of the base first; "" for NULL. */
const char *rpc_networks_text(const rpc_networks_t *networks);

/* No rules at all, special addresses too: for what is connected to on other grounds. */
const rpc_networks_t *rpc_networks_unchecked(void);

/* May ADDRESS be connected to? *RULE (if not NULL) becomes the entry that decided, as written, or
 * as above followed by " (default)"; it lives as long as NETWORKS. NULL for NETWORKS: the implicit
 * entries alone. */
int rpc_networks_allow(const rpc_networks_t *networks, const struct sockaddr *address, const char **rule);

/* NETWORKS and HOST beside it, which the configuration itself names as a server: when that is an
 * address it is allowed, unless an entry with a "!" decides about it. In POOL, or NETWORKS itself. */
const rpc_networks_t *rpc_networks_with(apr_pool_t *pool, const rpc_networks_t *networks, const char *host);
/* The entry with a "!" that decides about HOST; NULL: there is none, or HOST is no address. */
const char *rpc_networks_denial(const rpc_networks_t *networks, const char *host);

/* The LEN characters AT a place of the text of SYNTAX, as an address that this machine may have,
 * port 0: no network, none of the special addresses that nothing can be bound to. */
apr_status_t rpc_networks_parse_local(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                                      rpc_address_t *address);

#endif
