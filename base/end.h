/* rpc_end: the end of a channel, as one event: what everybody who logs, counts or answers it needs.
 *
 * Made where the cause is known and handed on by value; whoever receives it adds what only it knows
 * (the user, the client, the server). No httpd headers.
 */
#ifndef RPC_END_H
#define RPC_END_H

#include <stdint.h>

#include "base/reason.h"

typedef struct rpc_end {
    rpc_reason_t reason;
    const char *where;      /* "outbound in Open_Start": whose state it was; NULL: in none */
    const char *why;        /* what was tried and why it failed, for people; good during the call */
    uint64_t received;      /* bytes of the request's body */
    uint64_t sent;          /* bytes of the response's */
    uint64_t to_upstream, from_upstream;    /* bytes, headers included; 0: there is none */
} rpc_end_t;

#endif
