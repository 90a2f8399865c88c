/* proxy/bind_filter.c: rpc_firewall_check() judges; a refused bind goes on blinded, in a copy, and
 * is told to the channel's owner; all else that is refused is a reason for the channel's end.
 */
#include "proxy/bind_filter.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

static rpc_reason_t reason_of(rpc_firewall_cause_t cause)
{
    switch (cause) {
    case RPC_FIREWALL_INTERFACE:
        return RPC_REASON_INTERFACE_REFUSED;
    case RPC_FIREWALL_LEVEL:
        return RPC_REASON_LEVEL_REFUSED;
    case RPC_FIREWALL_NOT_BOUND:
    case RPC_FIREWALL_BAD_PTYPE:
        return RPC_REASON_PROTOCOL;
    case RPC_FIREWALL_BAD_PDU:
        return RPC_REASON_BAD_PDU;
    default:
        return RPC_REASON_NONE;
    }
}

/* What was wrong: "authentication level too low: connect, RpcMinAuthLevel is privacy" */
static void explain(const rpc_firewall_t *fw, const rpc_firewall_result_t *r, char *buf,
                    size_t size)
{
    if (r->cause == RPC_FIREWALL_LEVEL)
        apr_snprintf(buf, size, "%s: %s, RpcMinAuthLevel is %s", r->why,
                     r->level ? rpc_auth_level_name(r->level) : "none",
                     rpc_auth_level_name(fw->least_level));
    else if (r->cause == RPC_FIREWALL_INTERFACE)
        apr_snprintf(buf, size, "nearest rule is %s", r->nearest ? r->nearest : "none");
    else
        apr_snprintf(buf, size, "%s", r->why);
}

static void report_refused_bind(const rpc_firewall_t *fw, const rpc_channel_spec_t *spec,
                                const dcerpc_header_t *h,
                                const rpc_firewall_result_t *r)
{
    char text[1024], why[768], more[32] = "", name[RPC_INTERFACE_TEXT_MAX];
    rpc_reason_t reason = reason_of(r->cause);

    if (!spec->refused)
        return;
    if (r->contexts > 1)
        apr_snprintf(more, sizeof(more), " in %u contexts", r->contexts);
    explain(fw, r, why, sizeof(why));
    apr_snprintf(text, sizeof(text), "%s to %s%s refused: %s: %s", dcerpc_ptype_name(h->ptype),
                 rpc_interface_text(&r->interface, name), more,
                 rpc_reason_info(reason)->token, why);
    spec->refused(spec->ctx, reason, text);
}

static void blind(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h,
                  const rpc_firewall_result_t *r, rpc_filtered_t *filtered)
{
    filtered->instead = malloc(h->frag_length);
    if (!filtered->instead) {
        filtered->reason = RPC_REASON_NO_MEMORY;
        apr_cpystrn(filtered->why, "no memory for a refused bind", sizeof(filtered->why));
        return;
    }
    memcpy(filtered->instead, pdu, h->frag_length);
    rpc_firewall_blind(fw, filtered->instead, h, r);
}

void rpc_filter(rpc_firewall_t *fw, const rpc_channel_spec_t *spec, const uint8_t *pdu,
                rpc_filtered_t *filtered)
{
    unsigned level = fw->level, bound = fw->bound;
    rpc_firewall_result_t result;
    rpc_firewall_verdict_t verdict;
    dcerpc_header_t header;

    filtered->reason = RPC_REASON_NONE;
    filtered->instead = NULL;
    dcerpc_header_parse(pdu, &header);      /* the framer has done it before, so it is sound */
    verdict = rpc_firewall_check(fw, pdu, &header, &result);
    if ((fw->level != level || fw->bound != bound) && spec->bound)
        spec->bound(spec->ctx, fw->level);
    if (verdict == RPC_FIREWALL_BLIND) {
        report_refused_bind(fw, spec, &header, &result);
        blind(fw, pdu, &header, &result, filtered);
    }
    else if (verdict == RPC_FIREWALL_END) {
        char why[RPC_FILTER_WHY_MAX - 32];

        filtered->reason = reason_of(result.cause);
        explain(fw, &result, why, sizeof(why));
        apr_snprintf(filtered->why, sizeof(filtered->why), "%s from the client: %s",
                     dcerpc_ptype_name(header.ptype), why);
    }
}
