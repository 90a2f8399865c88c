/* base/address.c: IPv4-mapped IPv6 addresses become IPv4 addresses when they are set. */
#include "base/address.h"

#include <string.h>
#include <arpa/inet.h>
#include <apr_strings.h>

static const unsigned char mapped_prefix[RPC_ADDRESS_MAPPED] = { [10] = 0xff, [11] = 0xff };

int rpc_address_is_mapped(const unsigned char addr[RPC_ADDRESS_V6])
{
    return !memcmp(addr, mapped_prefix, sizeof mapped_prefix);
}

int rpc_address_set(rpc_address_t *address, const struct sockaddr *from)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;

    memset(address, 0, sizeof *address);
    if (from->sa_family == AF_INET)
        address->v4 = *(const struct sockaddr_in *)from;
    else if (from->sa_family == AF_INET6 && rpc_address_is_mapped(v6->sin6_addr.s6_addr)) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = v6->sin6_port;
        memcpy(&address->v4.sin_addr, v6->sin6_addr.s6_addr + sizeof mapped_prefix, RPC_ADDRESS_V4);
    }
    else if (from->sa_family == AF_INET6)
        address->v6 = *v6;
    else
        return 0;
    return 1;
}

socklen_t rpc_address_size(const rpc_address_t *address)
{
    return address->any.sa_family == AF_INET ? sizeof address->v4 : sizeof address->v6;
}

const void *rpc_address_bytes(const rpc_address_t *address)
{
    return address->any.sa_family == AF_INET ? (const void *)&address->v4.sin_addr
                                             : (const void *)&address->v6.sin6_addr;
}

const char *rpc_address_text(const rpc_address_t *address, char text[RPC_ADDRESS_TEXT])
{
    if (!inet_ntop(address->any.sa_family, rpc_address_bytes(address), text, RPC_ADDRESS_TEXT))
        apr_cpystrn(text, "?", RPC_ADDRESS_TEXT);
    return text;
}

int rpc_address_embedded(const unsigned char addr[RPC_ADDRESS_V6], unsigned char v4[RPC_ADDRESS_V4])
{
    static const unsigned char zero[RPC_ADDRESS_MAPPED] = { 0 };
    static const unsigned char nat64[RPC_ADDRESS_MAPPED] = { 0x00, 0x64, 0xff, 0x9b };
    const unsigned char *last = addr + RPC_ADDRESS_MAPPED;
    int is_compatible = !memcmp(addr, zero, sizeof zero) && last[0];

    if (addr[0] == 0x20 && addr[1] == 0x02)
        memcpy(v4, addr + 2, RPC_ADDRESS_V4);
    else if (is_compatible || rpc_address_is_mapped(addr) || !memcmp(addr, nat64, sizeof nat64))
        memcpy(v4, last, RPC_ADDRESS_V4);
    else
        return 0;
    return 1;
}
