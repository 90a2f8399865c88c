/* rpc_firewall: binds and what comes before them, looked at for the inbound proxy.
 *
 * FW->look says which PTYPEs are of interest now; rpc_firewall_check() has one function for
 * each of them. bind and alter_context share their layout: read_body() checks every length of
 * it once, after which the contexts are walked without further checks. Whoever finds something
 * wrong calls refuse(); the answer is written at the end, by kind of PDU and cause.
 */
#include "rpc_firewall.h"

#include <string.h>

/* PTYPEs that only matter here (C706 12.6.4). */
#define CO_CANCEL 18
#define ORPHANED  19

#define PFC_WHOLE           0x03    /* first and last fragment */
#define PFC_DID_NOT_EXECUTE 0x20

#define BODY_SIZE    28 /* of bind and alter_context, up to the first context */
#define CONTEXT_SIZE 24 /* a context up to its transfer syntaxes */
#define TRAILER_SIZE 8  /* sec_trailer, [MS-RPCE] 2.2.2.11 */
#define REQUEST_SIZE 24

/* provider_reject_reason of bind_nak, [MS-RPCE] 2.2.2.5 */
#define NAK_NOT_SPECIFIED  0
#define NAK_PROTOCOL_ERROR 4

/* p_cont_def_result_t and p_provider_reason_t, C706 12.6.3.1 */
#define PROVIDER_REJECTION          2
#define REASON_NOT_SPECIFIED        0
#define ABSTRACT_SYNTAX_UNSUPPORTED 1

/* status of a fault, [MS-RPCE] 3.3.3.4.1, C706 appendix E */
#define FAULT_ACCESS_DENIED  0x00000005
#define FAULT_PROTOCOL_ERROR 0x1c01000b
#define FAULT_SIZE           32

#define LEVEL_HIGHEST RPC_AUTH_LEVEL_PRIVACY

/* ---- what is of interest ---- */

static uint32_t interest(const rpc_firewall_t *fw)
{
    uint32_t quiet = 1u << DCERPC_RTS;  /* the roles' own */

    if (fw->least_level <= RPC_AUTH_LEVEL_NONE && !rpc_firewall_rules_cover(fw->rules, fw->port))
        return 0;
    if (fw->bound)
        quiet |= 1u << CO_CANCEL | 1u << ORPHANED;
    if (fw->bound && fw->least_level < RPC_AUTH_LEVEL_INTEGRITY)
        quiet |= 1u << DCERPC_REQUEST;
    return ~quiet;
}

void rpc_firewall_begin(rpc_firewall_t *fw, const rpc_firewall_rules_t *rules, apr_port_t port,
                        rpc_auth_level_t least, int bound)
{
    fw->rules = rules;
    fw->port = port;
    fw->least_level = (uint8_t)least;
    fw->bound = bound != 0;
    fw->look = interest(fw);
}

const char *rpc_firewall_cause_name(rpc_firewall_cause_t cause)
{
    static const char *const names[] = { "none", "interface", "level", "not-bound", "bad-ptype", "bad-pdu" };

    return cause < sizeof(names) / sizeof(names[0]) ? names[cause] : "?";
}

/* ---- reading ---- */

/* The contexts of a bind or alter_context, once every length is known to be right. */
typedef struct contexts {
    const uint8_t *next;
    unsigned left;
    int little_endian;
} contexts_t;

static uint16_t get16(const uint8_t *p, int little)
{
    return little ? (uint16_t)(p[0] | p[1] << 8) : (uint16_t)(p[0] << 8 | p[1]);
}

/* Where the authentication trailer begins, the end if there is none; 0 if it has no room
 * behind AFTER bytes. */
static size_t trailer_at(const dcerpc_header_t *h, size_t after)
{
    size_t need = h->auth_length ? TRAILER_SIZE + (size_t)h->auth_length : 0;

    return h->frag_length >= after + need ? h->frag_length - need : 0;
}

/* The auth_level asked for; 0 without authentication, which RPC_C_AUTHN_NONE is none of. */
static unsigned auth_level(const uint8_t *pdu, const dcerpc_header_t *h)
{
    const uint8_t *trailer;

    if (!h->auth_length || !trailer_at(h, DCERPC_HEADER_SIZE))
        return 0;
    trailer = pdu + trailer_at(h, DCERPC_HEADER_SIZE);
    return trailer[0] ? trailer[1] : 0;
}

static contexts_t contexts_of(const uint8_t *pdu, const dcerpc_header_t *h)
{
    contexts_t contexts = { pdu + BODY_SIZE, pdu[24], h->little_endian };

    return contexts;
}

/* The abstract syntax of the next context; 0 behind the last. */
static int next_context(contexts_t *c, rpc_interface_t *interface)
{
    if (!c->left)
        return 0;
    rpc_interface_read(c->next + 4, c->little_endian, interface);
    c->next += CONTEXT_SIZE + (size_t)c->next[2] * RPC_SYNTAX_SIZE;
    c->left--;
    return 1;
}

/* NULL if a bind or alter_context holds what its counts say, else what is wrong. */
static const char *read_body(const uint8_t *pdu, const dcerpc_header_t *h)
{
    size_t end = trailer_at(h, BODY_SIZE), at = BODY_SIZE;
    unsigned left;

    if ((h->flags & PFC_WHOLE) != PFC_WHOLE)
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

static int refuse(rpc_firewall_result_t *r, rpc_firewall_cause_t cause, const char *why)
{
    r->cause = cause;
    r->why = why;
    r->ends = 1;
    return 0;
}

/* Every context must ask for something allowed; the first that does not is the one reported. */
static int check_interfaces(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h,
                            rpc_firewall_result_t *r)
{
    contexts_t contexts = contexts_of(pdu, h);
    rpc_interface_t asked;

    while (next_context(&contexts, &asked)) {
        int allowed = rpc_firewall_rules_allowed(fw->rules, fw->port, &asked, &r->nearest);

        if (!allowed || !r->has_interface)
            r->interface = asked;
        r->has_interface = 1;
        if (!allowed)
            return refuse(r, RPC_FIREWALL_INTERFACE, "interface not allowed behind this port");
    }
    return 1;
}

static int check_level(const rpc_firewall_t *fw, rpc_firewall_result_t *r)
{
    if (fw->least_level <= RPC_AUTH_LEVEL_NONE)
        return 1;
    if (!r->level)
        return refuse(r, RPC_FIREWALL_LEVEL, "no authentication");
    if (r->level > LEVEL_HIGHEST)
        return refuse(r, RPC_FIREWALL_LEVEL, "an authentication level that does not exist");
    if (r->level < fw->least_level)
        return refuse(r, RPC_FIREWALL_LEVEL, "authentication level too low");
    return 1;
}

static int check_bind(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h,
                      rpc_firewall_result_t *r)
{
    const char *wrong = read_body(pdu, h);

    if (wrong)
        return refuse(r, RPC_FIREWALL_BAD_PDU, wrong);
    return check_interfaces(fw, pdu, h, r) && check_level(fw, r);
}

/* Without a trailer an alter_context goes by a security context that exists, and whose level
 * was seen when it was made. */
static int check_alter(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h,
                       rpc_firewall_result_t *r)
{
    const char *wrong = read_body(pdu, h);

    if (wrong)
        return refuse(r, RPC_FIREWALL_BAD_PDU, wrong);
    if (!check_interfaces(fw, pdu, h, r)) {
        r->ends = 0;
        return 0;
    }
    return !h->auth_length || check_level(fw, r);
}

static int check_auth3(const rpc_firewall_t *fw, const dcerpc_header_t *h, rpc_firewall_result_t *r)
{
    if (!trailer_at(h, DCERPC_HEADER_SIZE))
        return refuse(r, RPC_FIREWALL_BAD_PDU, "too short for its authentication");
    return check_level(fw, r);
}

static int check_request(const rpc_firewall_t *fw, const dcerpc_header_t *h, rpc_firewall_result_t *r)
{
    if (fw->least_level >= RPC_AUTH_LEVEL_INTEGRITY && !h->auth_length)
        return refuse(r, RPC_FIREWALL_LEVEL, "neither signed nor sealed");
    return 1;
}

static int judge(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h,
                 rpc_firewall_result_t *r)
{
    switch (h->ptype) {
    case DCERPC_BIND:
        return check_bind(fw, pdu, h, r);
    case DCERPC_ALTER:
        return fw->bound ? check_alter(fw, pdu, h, r) : refuse(r, RPC_FIREWALL_NOT_BOUND, "before a bind");
    case DCERPC_AUTH3:
        return fw->bound ? check_auth3(fw, h, r) : refuse(r, RPC_FIREWALL_NOT_BOUND, "before a bind");
    case DCERPC_REQUEST:
        return fw->bound ? check_request(fw, h, r) : refuse(r, RPC_FIREWALL_NOT_BOUND, "before a bind");
    case CO_CANCEL:
    case ORPHANED:
        return fw->bound ? 1 : refuse(r, RPC_FIREWALL_NOT_BOUND, "before a bind");
    default:
        return refuse(r, RPC_FIREWALL_BAD_PTYPE, "not a PDU that clients send");
    }
}

/* ---- answering ---- */

typedef struct writer {
    rpc_firewall_result_t *result;
    int little_endian;
} writer_t;

static void put8(const writer_t *w, unsigned value)
{
    w->result->answer[w->result->answer_len++] = (uint8_t)value;
}

static void put16(const writer_t *w, unsigned value)
{
    put8(w, w->little_endian ? value : value >> 8);
    put8(w, w->little_endian ? value >> 8 : value);
}

static void put32(const writer_t *w, uint32_t value)
{
    put16(w, w->little_endian ? value & 0xffff : value >> 16);
    put16(w, w->little_endian ? value >> 16 : value & 0xffff);
}

static void put_zeros(const writer_t *w, int count)
{
    while (count--)
        put8(w, 0);
}

/* In the client's byte order and minor version. */
static void put_header(const writer_t *w, const dcerpc_header_t *asked, unsigned ptype, unsigned flags,
                       unsigned frag_length)
{
    put8(w, 5);
    put8(w, asked->version_minor);
    put8(w, ptype);
    put8(w, flags);
    put8(w, w->little_endian ? 0x10 : 0);
    put_zeros(w, 3);
    put16(w, frag_length);
    put16(w, 0);
    put32(w, asked->call_id);
}

/* C706 12.6.4.5; padded as Windows does it. */
static void answer_nak(const writer_t *w, const dcerpc_header_t *h, unsigned reason)
{
    put_header(w, h, DCERPC_BIND_NAK, PFC_WHOLE, 24);
    put16(w, reason);
    put8(w, 1);     /* versions supported: the one asked for */
    put8(w, 5);
    put8(w, h->version_minor);
    put_zeros(w, 3);
}

/* C706 12.6.4.7 */
static void answer_fault(const writer_t *w, const uint8_t *pdu, const dcerpc_header_t *h, uint32_t status)
{
    unsigned context = h->ptype == DCERPC_REQUEST && h->frag_length >= REQUEST_SIZE
                       ? get16(pdu + 20, h->little_endian) : 0;

    put_header(w, h, DCERPC_FAULT, PFC_WHOLE | PFC_DID_NOT_EXECUTE, FAULT_SIZE);
    put32(w, FAULT_SIZE);
    put16(w, context);
    put_zeros(w, 2);
    put32(w, status);
    put_zeros(w, 4);
}

/* C706 12.6.4.2. The rest cannot go on alone, so that no context is accepted; those that are
 * allowed are told no reason and may be asked for again. */
static void answer_alter(const writer_t *w, const rpc_firewall_t *fw, const uint8_t *pdu,
                         const dcerpc_header_t *h)
{
    contexts_t contexts = contexts_of(pdu, h);
    rpc_interface_t asked;

    put_header(w, h, DCERPC_ALTER_RESP, PFC_WHOLE, 32 + contexts.left * 24);
    memcpy(w->result->answer + w->result->answer_len, pdu + 16, 8); /* fragment sizes, association */
    w->result->answer_len += 8;
    put_zeros(w, 4);        /* no secondary address, aligned */
    put8(w, contexts.left);
    put_zeros(w, 3);
    while (next_context(&contexts, &asked)) {
        put16(w, PROVIDER_REJECTION);
        put16(w, rpc_firewall_rules_allowed(fw->rules, fw->port, &asked, NULL) ? REASON_NOT_SPECIFIED
                                                                               : ABSTRACT_SYNTAX_UNSUPPORTED);
        put_zeros(w, RPC_SYNTAX_SIZE);
    }
}

static void answer(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h,
                   rpc_firewall_result_t *r)
{
    writer_t w = { r, h->little_endian };

    if (h->ptype == DCERPC_BIND)
        answer_nak(&w, h, r->cause == RPC_FIREWALL_BAD_PDU ? NAK_PROTOCOL_ERROR : NAK_NOT_SPECIFIED);
    else if (h->ptype == DCERPC_ALTER && r->cause == RPC_FIREWALL_INTERFACE)
        answer_alter(&w, fw, pdu, h);
    else if (h->ptype == DCERPC_ALTER || h->ptype == DCERPC_REQUEST)
        answer_fault(&w, pdu, h, r->cause == RPC_FIREWALL_LEVEL ? FAULT_ACCESS_DENIED : FAULT_PROTOCOL_ERROR);
}

int rpc_firewall_check(rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *header,
                       rpc_firewall_result_t *result)
{
    memset(result, 0, offsetof(rpc_firewall_result_t, answer));
    if (!rpc_firewall_wants(fw, header->ptype))
        return 1;
    result->level = auth_level(pdu, header);
    if (!judge(fw, pdu, header, result)) {
        answer(fw, pdu, header, result);
        return 0;
    }
    if (header->ptype == DCERPC_BIND && !fw->bound) {
        fw->bound = 1;
        fw->look = interest(fw);
    }
    return 1;
}
