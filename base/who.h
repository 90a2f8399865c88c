/* who: the one notion of a user and of a client address, for every limit, tally and table.
 *
 * A user's name reaches httpd in the spelling that the client has chosen. Two spellings are one
 * user here when any of the usual providers takes them for one account:
 *
 *   letters     case, width and composition do not count: "ALICE", full-width letters and an
 *               umlaut of two characters are "alice" and the umlaut (Unicode NFKC_Casefold)
 *   blanks      outer ones are dropped, repeated ones are one
 *   bytes       that are not UTF-8 are read as ISO 8859-1, as old clients send them
 *   domain      DOM\alice and alice@dom are one, and differ from alice@other and from alice;
 *               with RPC_WHO_ANY_DOMAIN the domain does not count
 *
 * A client's address counts as the network that one subscriber has: for IPv4 the whole address,
 * also where an IPv6 address contains it (base/address.h); for IPv6 the first 64 bits.
 *
 * No httpd. Any thread.
 */
#ifndef RPC_WHO_H
#define RPC_WHO_H

#include <stddef.h>
#include <stdint.h>

#include <apr_pools.h>

/* A note on the request, set by an authentication module: RPC_WHO_ANY_DOMAIN holds for its user. */
#define RPC_WHO_ANY_DOMAIN_NOTE "who-any-domain"

/* A note on the request, set by mod_rpc_backend_auth while mod_proxy serves it: this server logs
 * the user on to the server behind. So a 401 of that server is an error and no question to the
 * client. */
#define RPC_WHO_LOGGED_ON_NOTE "who-logged-on"

/* Bytes of a name that count; two users whose names begin with the same bytes are one user. */
#define RPC_WHO_NAME_MAX 1024

typedef enum {
    RPC_WHO_WITH_DOMAIN,    /* alice@a.test is not alice@b.test */
    RPC_WHO_ANY_DOMAIN      /* the provider that checks passwords ignores the domain */
} rpc_who_domain_t;

/* The canonical form of NAME, "account" or "account@domain", in POOL; "" for nobody (NAME NULL,
 * empty, or blanks alone). The canonical form of a canonical form is itself. */
const char *rpc_who_user(apr_pool_t *pool, const char *name, rpc_who_domain_t domain);

/* The network that an address counts as. It has no padding and no unused values, so that it may be
 * hashed and compared as bytes. */
typedef struct rpc_who_network {
    uint8_t bits;           /* 32: IPv4, 64: IPv6, 0: not known */
    uint8_t addr[8];        /* network byte order; IPv4 in the first four */
} rpc_who_network_t;

/* The network of the SIZE (4 or 16) bytes at IP, in network byte order. Any other SIZE gives the
 * unknown network, which all such clients share. */
rpc_who_network_t rpc_who_network(const void *ip, size_t size);

#endif
