/* rpc_firewall: looks at the DCE/RPC PDUs of a client and says which may go on to the server.
 *
 * Whole PDUs, one call for each, as dcerpc_framer_next() cuts them. A bind (C706 12.6.4.3) and
 * an alter_context (12.6.4.1) may ask only for interfaces that the rules of the port allow, and
 * not below the least authentication level. Requests are the server's to judge once a bind has
 * passed; only their lack of an authentication verifier is seen, and that only where integrity
 * or privacy is the least level.
 *
 * A bind cannot be edited, for its authentication may cover it, so that one refused context
 * refuses all of it. Transfer syntaxes are not judged, and bind time feature negotiation
 * ([MS-RPCE] 3.3.1.5.3) is one of them.
 *
 * Bytes only: no sockets, no httpd, no memory.
 */
#ifndef RPC_FIREWALL_H
#define RPC_FIREWALL_H

#include "dcerpc.h"
#include "rpc_firewall_rules.h"

/* Of one virtual connection; belongs to its owner, who looks at nothing in it. */
typedef struct rpc_firewall {
    const rpc_firewall_rules_t *rules;
    apr_port_t port;
    uint8_t least_level;    /* rpc_auth_level_t */
    uint8_t bound;          /* a bind has passed */
    uint32_t look;          /* bit N: PTYPE N is of interest */
} rpc_firewall_t;

/* Why a PDU was refused. */
typedef enum {
    RPC_FIREWALL_OK = 0,
    RPC_FIREWALL_INTERFACE,     /* asks for an interface that no rule of the port allows */
    RPC_FIREWALL_LEVEL,         /* authentication missing, or below the least level */
    RPC_FIREWALL_NOT_BOUND,     /* anything else before a bind */
    RPC_FIREWALL_BAD_PTYPE,     /* a PTYPE that no client sends */
    RPC_FIREWALL_BAD_PDU        /* lengths that contradict each other, or a fragmented bind */
} rpc_firewall_cause_t;

/* Two fixed parts and a result for each context: 16 + 8 + 2 + 2 + 4 + 255 * 24. */
#define RPC_FIREWALL_ANSWER_MAX 6152

/* What became of one PDU. */
typedef struct rpc_firewall_result {
    rpc_firewall_cause_t cause;
    const char *why;            /* for people: static text; NULL when it passed */
    int ends;                   /* refused, and the connection ends behind the answer */
    int has_interface;          /* INTERFACE is the refused one, or the first of a bind that passed */
    rpc_interface_t interface;
    const char *nearest;        /* the rule that came closest, of the rules' pool; or NULL */
    unsigned level;             /* auth_level asked for; 0: no authentication */
    size_t answer_len;          /* 0: nothing to say */
    uint8_t answer[RPC_FIREWALL_ANSWER_MAX];    /* a PDU for the client, in its byte order */
} rpc_firewall_result_t;

/* A connection to PORT. RULES may be NULL; it must outlive FW. BOUND: the connection exists
 * already and its bind is not to be expected here (a successor channel through this proxy). */
void rpc_firewall_begin(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules, apr_port_t port,
                        rpc_auth_level_t least, int bound);

/* Is there anything to look at in a PDU of this type? If not it passes. To ask is all that a
 * request costs behind a bind, and all that any PDU costs when neither rules nor a level apply. */
static inline int rpc_firewall_wants(const rpc_firewall_t *fw, uint8_t ptype)
{
    return ptype < 32 && (fw->look >> ptype & 1);
}

/* Looks at a whole PDU of HEADER->frag_length bytes from the client. 1: it may pass. 0: it must
 * not be passed on; RESULT says why, RESULT->answer goes to the client if it has bytes, and the
 * connection ends if RESULT->ends:
 *
 *   bind            bind_nak (C706 12.6.4.5, reasons of [MS-RPCE] 2.2.2.5): reason not specified
 *                   for an interface or a level, protocol error for a bad PDU. Ends.
 *   alter_context   interface: alter_context_resp (12.6.4.2) with provider_rejection for each
 *                   context, and the connection goes on as it was. Level: fault, access denied.
 *                   Bad PDU, not bound: fault, protocol error. Faults end.
 *   request         fault, protocol error before a bind, access denied without verifier. Ends.
 *   others          nothing to answer. Ends. */
int rpc_firewall_check(rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *header,
                       rpc_firewall_result_t *result);

/* "interface", "level"...: for the log. */
const char *rpc_firewall_cause_name(rpc_firewall_cause_t cause);

#endif
