/* rpc_filter: the firewall (firewall/firewall.h) at work for one channel: its verdicts become
 * reasons and lines for the log. No httpd headers.
 */
#ifndef RPC_FILTER_H
#define RPC_FILTER_H

#include "firewall/firewall.h"
#include "proxy/spec.h"

#define RPC_FILTER_WHY_MAX 128

/* What becomes of a PDU that rpc_firewall_wants(). */
typedef struct rpc_filtered {
    rpc_reason_t reason;        /* NONE: it may go on */
    uint8_t *instead;           /* goes on in its place, malloc'ed for the caller; or NULL */
    char why[RPC_FILTER_WHY_MAX];   /* when there is a reason: for people */
} rpc_filtered_t;

/* Judges one whole PDU, which came on the channel of SPEC; SPEC->refused() hears of a bind that
 * is refused. On the loop's thread. */
void rpc_filter(rpc_firewall_t *fw, const rpc_channel_spec_t *spec, const uint8_t *pdu,
                rpc_filtered_t *filtered);

#endif
