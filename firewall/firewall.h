/* rpc_firewall: checks the DCE/RPC PDUs of a client and decides which may go on to the server.
 *
 * There is one call for each whole PDU, as dcerpc_framer_next() cuts them. A bind (C706 12.6.4.3)
 * and an alter_context (12.6.4.1) may ask only for interfaces that the rules of the port allow, and
 * only with at least the required authentication level. After a bind has passed, the server checks
 * the requests. The firewall looks only at their authentication verifier, and only when the
 * required level is integrity or privacy.
 *
 * The inbound proxy cannot answer the client, whose OUT channel may be on another machine. So the
 * server answers a refused bind: rpc_firewall_blind() replaces the UUID of a refused interface by
 * one that no server implements. The server's own provider rejection (C706 12.6.3.1), or its
 * bind_nak, then reaches the client in the right order. The other contexts of a bind are not
 * affected.
 *
 * The change does not disturb authentication. sec_trailer carries the tokens of bind, alter_context
 * and auth3, and these tokens do not cover the PDU ([MS-RPCE] 2.2.2.11). PDUs are protected only
 * after the security context exists: stub, header and trailer of requests and responses, with or
 * without the header signing that a flag of the bind negotiates (2.2.2.3, 3.3.1.5.2.2). A
 * verification trailer names the interface of its own request's context (2.2.2.13.4), which was not
 * changed.
 *
 * Transfer syntaxes are not checked; bind time feature negotiation (3.3.1.5.3) is one of them.
 *
 * Bytes only: no sockets, no httpd, no memory.
 */
#ifndef RPC_FIREWALL_H
#define RPC_FIREWALL_H

#include "wire/dcerpc.h"
#include "firewall/rules.h"

/* Replaces the interface of a refused context, with version 0.0. No server implements it. */
#define RPC_FIREWALL_NOBODY "02f9bd78-f373-4ffc-8144-afede8f96ea8"

/* The firewall of one virtual channel. Its fields are private. */
typedef struct rpc_firewall {
    const rpc_firewall_rules_t *rules;
    apr_port_t port;
    uint8_t least_level;    /* rpc_auth_level_t */
    uint8_t level;          /* the highest that a bind or alter_context has asked for */
    uint8_t bound;          /* a bind has been seen, or may have been elsewhere */
    uint8_t elsewhere;      /* it is not known what was asked for before */
    uint32_t look;          /* bit N: PTYPE N is of interest */
} rpc_firewall_t;

typedef enum {
    RPC_FIREWALL_PASS,
    RPC_FIREWALL_BLIND,         /* may go on after rpc_firewall_blind() has changed it */
    RPC_FIREWALL_END            /* must not go on; the connection ends */
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

/* The result for one PDU. */
typedef struct rpc_firewall_result {
    rpc_firewall_cause_t cause;
    const char *why;            /* for people: static text; NULL when it passed */
    unsigned contexts;          /* refused ones */
    int has_interface;          /* INTERFACE is the first refused one, or the first of a bind that
                                 * passed */
    rpc_interface_t interface;
    const char *nearest;        /* the rule that came closest, of the rules' pool; or NULL */
    unsigned level;             /* auth_level asked for; 0: no authentication */
} rpc_firewall_result_t;

/* A connection to PORT. RULES may be NULL; it must outlive FW, or the next of these calls.
 * ELSEWHERE: the connection exists already, and it is not known what was asked for on it (IN_R1).
 * The firewall has to assume that it was bound, at the required level if requests show it, because
 * a server refuses a second bind. */
void rpc_firewall_begin(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules, apr_port_t port,
                        rpc_auth_level_t least, int elsewhere);
/* After begin(): what was asked for elsewhere is known after all. LEVEL as in rpc_firewall_t. */
void rpc_firewall_recall(rpc_firewall_t *fw, int bound, unsigned level);
/* A successor channel takes FW over (IN_R2), with all that was seen so far. When the rules or the
 * least level are others than before, binds that were seen do not count, because they were not
 * judged by these rules. A bind has to come first then. */
void rpc_firewall_renew(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules,
                        rpc_auth_level_t least);

/* Must a PDU of this type be checked? If not, it passes. After a bind this call is the only cost of
 * a request; without rules and level it is the only cost of any PDU but binds, which are remembered
 * for successors. */
static inline int rpc_firewall_wants(const rpc_firewall_t *fw, uint8_t ptype)
{
    return ptype < 32 && (fw->look >> ptype & 1);
}

/* Checks a whole PDU of HEADER->frag_length bytes from the client. RESULT says why it is blinded or
 * refused:
 *
 *   bind, alter_context   an interface, or the level: BLIND. A bad PDU, or an alter_context
 *                         before a bind: END.
 *   others                END, whatever is wrong.
 *
 * An alter_context without authentication uses an existing security context, so a bind must have
 * asked for the required level before. Where nobody knows what was asked for
 * elsewhere such an alter_context is refused when the required level is connect. For
 * higher levels each request shows its level. */
rpc_firewall_verdict_t rpc_firewall_check(rpc_firewall_t *fw, const uint8_t *pdu,
                                          const dcerpc_header_t *header,
                                          rpc_firewall_result_t *result);

/* Blinds PDU, a bind or alter_context for which rpc_firewall_check() has returned BLIND: writes
 * RPC_FIREWALL_NOBODY over the abstract syntax of each refused context, or of all contexts when the
 * level was too low. Nothing else changes. */
void rpc_firewall_blind(const rpc_firewall_t *fw, uint8_t *pdu, const dcerpc_header_t *header,
                        const rpc_firewall_result_t *result);

#endif
