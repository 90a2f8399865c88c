/* rpc_firewall: looks at the DCE/RPC PDUs of a client and says which may go on to the server.
 *
 * Whole PDUs, one call for each, as dcerpc_framer_next() cuts them. A bind (C706 12.6.4.3) and
 * an alter_context (12.6.4.1) may ask only for interfaces that the rules of the port allow, and
 * not below the least authentication level. Requests are the server's to judge once a bind has
 * passed; only their authentication verifier is looked at, and that only where integrity or
 * privacy is the least level.
 *
 * The inbound proxy has no way to the client, whose OUT channel may be another machine's. So it
 * is the server that answers a refused bind: rpc_firewall_blind() has it ask for an interface
 * that nobody serves, and the server's own provider rejection (C706 12.6.3.1), or bind_nak,
 * comes in its place among the other PDUs. What one context asks for does not touch the others.
 *
 * Authentication does not notice. The tokens of bind, alter_context and auth3 are the security
 * provider's, carried in sec_trailer, and nothing of the PDU goes into them ([MS-RPCE]
 * 2.2.2.11). Protection of PDUs begins with what follows the security context: stub, header and
 * trailer of requests and responses, whether header signing was agreed on by a flag of the
 * bind or not (2.2.2.3, 3.3.1.5.2.2). A verification trailer names the interface, but that of
 * its own request's context (2.2.2.13.4), which is one that was left alone.
 *
 * Transfer syntaxes are not judged, and bind time feature negotiation (3.3.1.5.3) is one of them.
 *
 * Bytes only: no sockets, no httpd, no memory.
 */
#ifndef RPC_FIREWALL_H
#define RPC_FIREWALL_H

#include "wire/dcerpc.h"
#include "firewall/rules.h"

/* What refused contexts ask for instead, version 0.0: an interface of ours that does not exist. */
#define RPC_FIREWALL_NOBODY "02f9bd78-f373-4ffc-8144-afede8f96ea8"

/* Of one virtual channel; belongs to its owner, who looks at nothing in it. */
typedef struct rpc_firewall {
    const rpc_firewall_rules_t *rules;
    apr_port_t port;
    uint8_t least_level;    /* rpc_auth_level_t */
    uint8_t level;          /* the highest that a bind or alter_context has asked for */
    uint8_t bound;          /* a bind has been seen */
    uint32_t look;          /* bit N: PTYPE N is of interest */
} rpc_firewall_t;

typedef enum {
    RPC_FIREWALL_PASS,
    RPC_FIREWALL_BLIND,         /* may go on as rpc_firewall_blind() leaves it */
    RPC_FIREWALL_END            /* must not go on, and the connection ends */
} rpc_firewall_verdict_t;

/* Why a PDU was refused. */
typedef enum {
    RPC_FIREWALL_OK = 0,
    RPC_FIREWALL_INTERFACE,     /* asks for an interface that no rule of the port allows */
    RPC_FIREWALL_LEVEL,         /* authentication missing, or below the least level */
    RPC_FIREWALL_NOT_BOUND,     /* anything else before a bind */
    RPC_FIREWALL_BAD_PTYPE,     /* a PTYPE that no client sends */
    RPC_FIREWALL_BAD_PDU        /* lengths that contradict each other, or a fragmented bind */
} rpc_firewall_cause_t;

/* What became of one PDU. */
typedef struct rpc_firewall_result {
    rpc_firewall_cause_t cause;
    const char *why;            /* for people: static text; NULL when it passed */
    unsigned contexts;          /* refused ones */
    int has_interface;          /* INTERFACE is the first refused one, or the first of a bind that passed */
    rpc_interface_t interface;
    const char *nearest;        /* the rule that came closest, of the rules' pool; or NULL */
    unsigned level;             /* auth_level asked for; 0: no authentication */
} rpc_firewall_result_t;

/* A connection to PORT. RULES may be NULL; it must outlive FW. BOUND: the connection exists
 * already, with binds that were seen elsewhere (a successor channel). */
void rpc_firewall_begin(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules, apr_port_t port,
                        rpc_auth_level_t least, int bound);
/* A successor channel takes FW over: with its own rules and level, and what was seen so far. */
void rpc_firewall_renew(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules, rpc_auth_level_t least);

/* Is there anything to look at in a PDU of this type? If not it passes. To ask is all that a
 * request costs behind a bind, and all that any PDU costs when neither rules nor a level apply. */
static inline int rpc_firewall_wants(const rpc_firewall_t *fw, uint8_t ptype)
{
    return ptype < 32 && (fw->look >> ptype & 1);
}

/* Is there nothing to look at, ever? */
static inline int rpc_firewall_idle(const rpc_firewall_t *fw)
{
    return fw->look == 0;
}

/* Looks at a whole PDU of HEADER->frag_length bytes from the client; RESULT says why it is not
 * left as it is:
 *
 *   bind, alter_context   an interface, or the level: BLIND. A bad PDU, or an alter_context
 *                         before a bind: END.
 *   others                END, for whatever is wrong.
 *
 * An alter_context without authentication goes by a security context that exists. One at the
 * least level must have been asked for; of what a successor's predecessors asked for elsewhere
 * nobody knows, and there it is refused when the least level is connect. Above that each request
 * shows its level. */
rpc_firewall_verdict_t rpc_firewall_check(rpc_firewall_t *fw, const uint8_t *pdu,
                                          const dcerpc_header_t *header, rpc_firewall_result_t *result);

/* PDU, a bind or alter_context that rpc_firewall_check() said BLIND of: writes
 * RPC_FIREWALL_NOBODY over the abstract syntax of each refused context, all of them for the
 * level. Nothing else changes. */
void rpc_firewall_blind(const rpc_firewall_t *fw, uint8_t *pdu, const dcerpc_header_t *header,
                        const rpc_firewall_result_t *result);

/* "interface", "level"...: for the log. */
const char *rpc_firewall_cause_name(rpc_firewall_cause_t cause);

#endif
