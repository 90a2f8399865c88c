/* rpc_address: an IPv4 or IPv6 address with a port. No httpd headers. */
#ifndef RPC_ADDRESS_H
#define RPC_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

typedef union rpc_address {
    struct sockaddr any;        /* of AF_INET or AF_INET6 */
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} rpc_address_t;

/* Copies an IPv4 or IPv6 address; an IPv4-mapped IPv6 address becomes IPv4. 0: another family. */
int rpc_address_set(rpc_address_t *address, const struct sockaddr *from);
socklen_t rpc_address_size(const rpc_address_t *address);
/* The address without its port, for people; returns TEXT. */
#define RPC_ADDRESS_TEXT INET6_ADDRSTRLEN
const char *rpc_address_text(const rpc_address_t *address, char text[RPC_ADDRESS_TEXT]);
/* Its 4 or 16 bytes. */
const void *rpc_address_bytes(const rpc_address_t *address);

#define RPC_ADDRESS_V4 4
#define RPC_ADDRESS_V6 16
/* Bytes of the prefix of IPv4-mapped IPv6 addresses, ::ffff:0:0 (RFC 4291 2.5.5.2). */
#define RPC_ADDRESS_MAPPED (RPC_ADDRESS_V6 - RPC_ADDRESS_V4)
int rpc_address_is_mapped(const unsigned char addr[RPC_ADDRESS_V6]);

/* The IPv4 address, in network byte order, that an IPv6 address stands for; 0: it stands for none.
 * Mapped addresses (::ffff:0:0/96, RFC 4291), compatible ones (::/96 without those that would be in
 * 0.0.0.0/8, such as ::1), the well-known prefix of NAT64 (64:ff9b::/96, RFC 6052), and 6to4, where
 * one IPv4 host has a whole network (2002::/16, RFC 3056). */
int rpc_address_embedded(const unsigned char addr[RPC_ADDRESS_V6],
                         unsigned char v4[RPC_ADDRESS_V4]);

#endif
