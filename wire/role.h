/* rpc_role: the role of the proxy in a channel, [MS-RPCH] 3.1.2, 3.2.3, 3.2.4. */
#ifndef RPC_ROLE_H
#define RPC_ROLE_H

/* RPC_MIXED is the role of version 1. */
typedef enum { RPC_INBOUND, RPC_OUTBOUND, RPC_MIXED } rpc_role_t;

#endif
