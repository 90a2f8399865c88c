/* rpc_require: RPC targets and interfaces in httpd's authorization language.
 *
 *   Require rpc-target gc1:6004 "exch1:6001-6002;exch2:6001"
 *       granted when the request asks for one of these, written as for RpcValidPorts; and for
 *       requests that ask for none (echoes, the first leg of a handshake), which reach nothing.
 *   Require rpc-interface emsmdb nspi
 *       always granted, and then the channel may bind to these interfaces only, beside what
 *       RpcAllowInterfaces says. So <RequireAll>, with a group before it, gives that group its
 *       interfaces. Of several that httpd comes by all must allow an interface, even where the
 *       section around them fails further down: so it stands last in its <RequireAll>.
 */
#ifndef RPC_REQUIRE_H
#define RPC_REQUIRE_H

#include <httpd.h>

#include "firewall/rules.h"

/* Both providers; from register_hooks. */
void rpc_require_register(apr_pool_t *p);

/* Does R ask for something that authorization has not seen? httpd asks once for a section, but a
 * RewriteRule may change the query behind that, with an internal redirect or without, and mod_dir
 * the section. */
int rpc_require_outdated(request_rec *r);

/* Asks authorization again, of the user that is known. OK, or the status to answer with. */
int rpc_require_ask_again(request_rec *r);

/* The rules of Require rpc-interface for this request, in its pool; NULL: none. */
const rpc_firewall_rules_t *rpc_require_interfaces(request_rec *r);

#endif
