/* rpc_firewall_rules: the RPC interfaces that clients may ask for at each port.
 *
 *   rule      = ports interface *( interface )          separated by blanks
 *   ports     = port [ "-" port ]
 *   interface = ( name | uuid ) [ "@" major "." minor ]
 *
 * A port that no rule names is not restricted. At a port that rules name, only the interfaces in
 * these rules are allowed; several rules for a port add up. A rule with a version allows the same
 * major version and minor versions up to the given one, as a server of that version would; a rule
 * without a version allows any. rpc_firewall_rules_both() makes rules of two sets, which both have
 * to allow an interface. The management interface is no exception: a rule must name it ("mgmt"), as
 * the profiles do.
 *
 * No httpd headers; rules are read-only once made and may be used on any thread.
 */
#ifndef RPC_FIREWALL_RULES_H
#define RPC_FIREWALL_RULES_H

#include <apr_pools.h>
#include "base/syntax.h"
#include "firewall/interfaces.h"

typedef struct rpc_firewall_rules rpc_firewall_rules_t;

/* Values are the auth_level of the wire ([MS-RPCE] 2.2.1.1.8). */
typedef enum {
    RPC_AUTH_LEVEL_NONE = 1,
    RPC_AUTH_LEVEL_CONNECT = 2,
    RPC_AUTH_LEVEL_INTEGRITY = 5,
    RPC_AUTH_LEVEL_PRIVACY = 6
} rpc_auth_level_t;

/* RpcAllowInterfaces: one rule, TEXT, is added to BASE (NULL: none). APR_EINVAL: *ERR says
 * which element, which column, what was expected. The result lives in POOL; BASE stays. */
apr_status_t rpc_firewall_rules_parse(apr_pool_t *pool, const char *text,
                                      const rpc_firewall_rules_t *base,
                                      rpc_firewall_rules_t **rules, rpc_syntax_error_t *err);

/* RpcProfile: the rules of a profile, "exchange", "rdgateway", "samba" or "none" (without
 * case), are added to BASE. */
apr_status_t rpc_firewall_rules_profile(apr_pool_t *pool, const char *name,
                                        const rpc_firewall_rules_t *base,
                                        rpc_firewall_rules_t **rules, rpc_syntax_error_t *err);

/* Adds a rule for INTERFACES ("nspi rfr") at the ports LOW to HIGH, in the name of the directive
 * BY. NULL if INTERFACES is not a list of interfaces, or LOW to HIGH is not a range. */
rpc_firewall_rules_t *rpc_firewall_rules_allow(apr_pool_t *pool, const rpc_firewall_rules_t *base,
                                               apr_port_t low, apr_port_t high,
                                               const char *interfaces, const char *by);

/* Require rpc-interface: INTERFACES and nothing else, whatever the port. */
apr_status_t rpc_firewall_rules_only(apr_pool_t *pool, const char *interfaces,
                                     rpc_firewall_rules_t **rules, rpc_syntax_error_t *err);

/* What A and B both allow, in POOL; they must live as long. NULL allows all. */
const rpc_firewall_rules_t *rpc_firewall_rules_both(apr_pool_t *pool, const rpc_firewall_rules_t *a,
                                                    const rpc_firewall_rules_t *b);

/* A copy in POOL that has nothing in common with RULES, which may be NULL. */
const rpc_firewall_rules_t *rpc_firewall_rules_clone(apr_pool_t *pool,
                                                     const rpc_firewall_rules_t *rules);

/* Do A and B have the same rules, perhaps in two copies? Both may be NULL. */
int rpc_firewall_rules_equal(const rpc_firewall_rules_t *a, const rpc_firewall_rules_t *b);

/* RpcMinAuthLevel: "none", "connect", "integrity" or "privacy" (without case). */
apr_status_t rpc_auth_level_parse(apr_pool_t *pool, const char *text, rpc_auth_level_t *level,
                                  rpc_syntax_error_t *err);
/* "privacy", "call", "pkt"...; "unknown" for a level without a name. LEVEL may be any value of the
 * wire. */
const char *rpc_auth_level_name(unsigned level);

/* The text of rule number I with its directive, as in "RpcAllowInterfaces 6001 emsmdb", and its
 * ports; NULL: there are no more. RULES may be NULL. */
const char *rpc_firewall_rules_entry(const rpc_firewall_rules_t *rules, int i, apr_port_t *low,
                                     apr_port_t *high);

/* Does any rule name PORT? RULES may be NULL: none does. */
int rpc_firewall_rules_cover(const rpc_firewall_rules_t *rules, apr_port_t port);

/* May a client ask for INTERFACE at PORT? Returns 1 also when no rule names PORT. If not, *NEAREST
 * (if not NULL) is the rule that comes closest, with its directive: a rule of the port with another
 * version of this interface, else one that allows it at another port, else the port's first
 * rule. */
int rpc_firewall_rules_allowed(const rpc_firewall_rules_t *rules, apr_port_t port,
                               const rpc_interface_t *interface, const char **nearest);

#endif
