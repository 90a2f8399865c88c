/* firewall/firewall.c: checks the PDUs of a client for the inbound proxy.
 *
 * FW->look says which PTYPEs are checked at the moment; firewall_judge() has one function for each
 * of them. bind and alter_context have the same layout: read_bind_body() checks every length in it
 * once. Afterwards the contexts are read without further checks, both for the verdict and for
 * blinding.
 */
#include "firewall/firewall.h"

#include <string.h>

/* PTYPEs that only matter here (C706 12.6.4). */
#define CO_CANCEL 18
#define ORPHANED  19


#define BODY_SIZE    28 /* of bind and alter_context, up to the first context */
#define CONTEXT_SIZE 24 /* a context up to its transfer syntaxes */
#define TRAILER_SIZE 8  /* sec_trailer, [MS-RPCE] 2.2.2.11 */
#define LEVEL_HIGHEST RPC_AUTH_LEVEL_PRIVACY

/* ---- the PTYPEs that are checked ---- */

/* A PDU that no rule is about is only remembered. */
#define REMEMBERED (1u << DCERPC_BIND | 1u << DCERPC_ALTER)

static uint32_t interest(const rpc_firewall_t *fw)
{
    uint32_t quiet = 1u << DCERPC_RTS;  /* the roles handle RTS PDUs */

    if (fw->least_level <= RPC_AUTH_LEVEL_NONE && !rpc_firewall_rules_cover(fw->rules, fw->port))
        return REMEMBERED;
    if (fw->bound)
        quiet |= 1u << CO_CANCEL | 1u << ORPHANED;
    if (fw->bound && fw->least_level < RPC_AUTH_LEVEL_INTEGRITY)
        quiet |= 1u << DCERPC_REQUEST;
    return ~quiet;
}

void rpc_firewall_begin(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules, apr_port_t port,
                        rpc_auth_level_t least, int elsewhere)
{
    fw->rules = rules;
    fw->port = port;
    fw->least_level = (uint8_t)least;
    fw->level = elsewhere && least >= RPC_AUTH_LEVEL_INTEGRITY ? (uint8_t)least : 0;
    fw->bound = fw->elsewhere = elsewhere != 0;
    fw->look = interest(fw);
}

void rpc_firewall_recall(rpc_firewall_t *fw, int bound, unsigned level)
{
    fw->elsewhere = 0;
    fw->bound = bound != 0;
    fw->level = (uint8_t)level;
    fw->look = interest(fw);
}

void rpc_firewall_renew(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules,
                        rpc_auth_level_t least)
{
    if (fw->least_level == least && rpc_firewall_rules_equal(fw->rules, rules))
        fw->rules = rules;
    else
        rpc_firewall_begin(fw, rules, fw->port, least, 0);
}

/* ---- reading ---- */

/* The contexts of a bind or alter_context, once every length is known to be right. */
typedef struct contexts {
    size_t next;                /* where, in the PDU */
    unsigned left;
} contexts_t;

/* The place where the authentication trailer begins; the end of the PDU if there is none; 0 if the
 * trailer has no room behind the first AFTER bytes. */
static size_t trailer_at(const dcerpc_header_t *h, size_t after)
{
    size_t need = h->auth_length ? TRAILER_SIZE + (size_t)h->auth_length : 0;

    return h->frag_length >= after + need ? h->frag_length - need : 0;
}

/* The auth_level that is asked for; 0 without authentication, also for RPC_C_AUTHN_NONE. */
static unsigned auth_level(const uint8_t *pdu, const dcerpc_header_t *h)
{
    const uint8_t *trailer;

    if (!h->auth_length || !trailer_at(h, DCERPC_HEADER_SIZE))
        return 0;
    trailer = pdu + trailer_at(h, DCERPC_HEADER_SIZE);
    return trailer[0] ? trailer[1] : 0;
}

static contexts_t contexts_of(const uint8_t *pdu)
{
    contexts_t contexts = { BODY_SIZE, pdu[24] };

    return contexts;
}

/* The place of the next context's abstract syntax; 0 behind the last context. */
static size_t next_context(contexts_t *c, const uint8_t *pdu)
{
    size_t at = c->next;

    if (!c->left)
        return 0;
    c->next += CONTEXT_SIZE + (size_t)pdu[at + 2] * RPC_SYNTAX_SIZE;
    c->left--;
    return at + 4;
}

/* Returns NULL if the counts in a bind or alter_context fit its length, else what is wrong. */
static const char *read_bind_body(const uint8_t *pdu, const dcerpc_header_t *h)
{
    size_t end = trailer_at(h, BODY_SIZE), at = BODY_SIZE;
    unsigned left;

    if ((h->flags & DCERPC_WHOLE) != DCERPC_WHOLE)
        return "fragmented";
    if (!end)
        return "too short for its authentication or its fixed part";
    if (!pdu[24])
        return "asks for nothing";
    for (left = pdu[24]; left; left--) {
        if (end - at < CONTEXT_SIZE)
            return "too short for its presentation contexts";
        if ((end - at - CONTEXT_SIZE) / RPC_SYNTAX_SIZE < pdu[at + 2])
            return "too short for its transfer syntaxes";
        at += CONTEXT_SIZE + (size_t)pdu[at + 2] * RPC_SYNTAX_SIZE;
    }
    return NULL;
}

/* ---- judging ---- */

static rpc_firewall_verdict_t firewall_refuse(rpc_firewall_result_t *r,
                                              rpc_firewall_verdict_t verdict,
                                              rpc_firewall_cause_t cause, const char *why)
{
    r->cause = cause;
    r->why = why;
    return verdict;
}

static rpc_firewall_verdict_t firewall_end(rpc_firewall_result_t *r, rpc_firewall_cause_t cause,
                                           const char *why)
{
    return firewall_refuse(r, RPC_FIREWALL_END, cause, why);
}

/* Counts the contexts that ask for a refused interface; the first of them is reported. */
static rpc_firewall_verdict_t check_interfaces(const rpc_firewall_t *fw, const uint8_t *pdu,
                                               const dcerpc_header_t *h, rpc_firewall_result_t *r)
{
    contexts_t contexts = contexts_of(pdu);
    size_t at;

    while ((at = next_context(&contexts, pdu)) > 0) {
        rpc_interface_t asked;
        const char *nearest;
        int allowed;

        rpc_interface_read(pdu + at, h->little_endian, &asked);
        allowed = rpc_firewall_rules_allowed(fw->rules, fw->port, &asked, &nearest);
        if (!r->has_interface || (!allowed && !r->contexts)) {
            r->has_interface = 1;
            r->interface = asked;
            r->nearest = nearest;
        }
        r->contexts += !allowed;
    }
    return r->contexts ? firewall_refuse(r, RPC_FIREWALL_BLIND, RPC_FIREWALL_INTERFACE,
                                         "interface not allowed behind this port")
                       : RPC_FIREWALL_PASS;
}

/* NULL, or what is wrong with an authentication level. */
static const char *level_fault(const rpc_firewall_t *fw, unsigned level)
{
    if (fw->least_level <= RPC_AUTH_LEVEL_NONE)
        return NULL;
    if (!level)
        return "no authentication";
    if (level > LEVEL_HIGHEST)
        return "an authentication level that does not exist";
    return level < fw->least_level ? "authentication level too low" : NULL;
}

/* A bind or alter_context. */
static rpc_firewall_verdict_t check_bind(const rpc_firewall_t *fw, const uint8_t *pdu,
                                         const dcerpc_header_t *h, rpc_firewall_result_t *r)
{
    int old_context = h->ptype == DCERPC_ALTER && !h->auth_length;
    const char *wrong = read_bind_body(pdu, h);
    rpc_firewall_verdict_t verdict;

    if (wrong)
        return firewall_end(r, RPC_FIREWALL_BAD_PDU, wrong);
    verdict = check_interfaces(fw, pdu, h, r);
    wrong = level_fault(fw, old_context ? fw->level : r->level);
    if (!wrong)
        return verdict;
    r->contexts = pdu[24];
    return firewall_refuse(r, RPC_FIREWALL_BLIND, RPC_FIREWALL_LEVEL, wrong);
}

static rpc_firewall_verdict_t check_auth3(const rpc_firewall_t *fw, const dcerpc_header_t *h,
                                          rpc_firewall_result_t *r)
{
    const char *wrong = level_fault(fw, r->level);

    if (!trailer_at(h, DCERPC_HEADER_SIZE))
        return firewall_end(r, RPC_FIREWALL_BAD_PDU, "too short for its authentication");
    return wrong ? firewall_end(r, RPC_FIREWALL_LEVEL, wrong) : RPC_FIREWALL_PASS;
}

/* Every fragment has a verifier, and the server enforces the level that the verifier names. */
static rpc_firewall_verdict_t check_rpc_request(const rpc_firewall_t *fw, rpc_firewall_result_t *r)
{
    const char *wrong = fw->least_level >= RPC_AUTH_LEVEL_INTEGRITY ? level_fault(fw, r->level)
                                                                    : NULL;

    return wrong ? firewall_end(r, RPC_FIREWALL_LEVEL, wrong) : RPC_FIREWALL_PASS;
}

static rpc_firewall_verdict_t firewall_judge(const rpc_firewall_t *fw, const uint8_t *pdu,
                                             const dcerpc_header_t *h, rpc_firewall_result_t *r)
{
    switch (h->ptype) {
    case DCERPC_ALTER:
    case DCERPC_AUTH3:
    case DCERPC_REQUEST:
    case CO_CANCEL:
    case ORPHANED:
        if (!fw->bound)
            return firewall_end(r, RPC_FIREWALL_NOT_BOUND, "before a bind");
        break;
    case DCERPC_BIND:
        break;
    default:
        return firewall_end(r, RPC_FIREWALL_BAD_PTYPE, "not a PDU that clients send");
    }
    if (h->ptype == DCERPC_BIND || h->ptype == DCERPC_ALTER)
        return check_bind(fw, pdu, h, r);
    if (h->ptype == DCERPC_AUTH3)
        return check_auth3(fw, h, r);
    return h->ptype == DCERPC_REQUEST ? check_rpc_request(fw, r) : RPC_FIREWALL_PASS;
}

rpc_firewall_verdict_t rpc_firewall_check(rpc_firewall_t *fw, const uint8_t *pdu,
                                          const dcerpc_header_t *header,
                                          rpc_firewall_result_t *result)
{
    rpc_firewall_verdict_t verdict;

    memset(result, 0, sizeof(*result));
    if (!rpc_firewall_wants(fw, header->ptype))
        return RPC_FIREWALL_PASS;
    result->level = auth_level(pdu, header);
    verdict = fw->look == REMEMBERED ? RPC_FIREWALL_PASS : firewall_judge(fw, pdu, header, result);
    if (verdict == RPC_FIREWALL_END
        || (header->ptype != DCERPC_BIND && header->ptype != DCERPC_ALTER))
        return verdict;
    if (result->level > fw->level && result->level <= LEVEL_HIGHEST)
        fw->level = (uint8_t)result->level;
    if (!fw->bound) {
        fw->bound = 1;
        fw->look = interest(fw);
    }
    return verdict;
}

/* ---- blinding ---- */

void rpc_firewall_blind(const rpc_firewall_t *fw, uint8_t *pdu, const dcerpc_header_t *header,
                        const rpc_firewall_result_t *result)
{
    contexts_t contexts = contexts_of(pdu);
    rpc_interface_t nobody, asked;
    size_t at;

    memset(&nobody, 0, sizeof(nobody));
    rpc_uuid_parse(RPC_FIREWALL_NOBODY, RPC_UUID_TEXT, nobody.uuid);
    while ((at = next_context(&contexts, pdu)) > 0) {
        rpc_interface_read(pdu + at, header->little_endian, &asked);
        if (result->cause == RPC_FIREWALL_LEVEL
            || !rpc_firewall_rules_allowed(fw->rules, fw->port, &asked, NULL))
            rpc_interface_write(&nobody, header->little_endian, pdu + at);
    }
}
