/* firewall_fuzz: any rules and any PDUs. The first byte of an input chooses: 0, the rest is a rule;
 * above, which rules, port and level hold for the stream of PDUs that the rest is.
 *
 * A rule is accepted, or refused with its place; the text of an accepted rule is accepted again. A
 * PDU passes only if a second parser, simpler than the firewall's, finds it harmless. A bind that
 * is not harmless is blinded: only refused syntaxes change, and then it is harmless, too.
 */
#include "firewall/firewall.h"

#include <apr_general.h>
#include <apr_strings.h>

#include "fuzz.h"

#define BY "RpcAllowInterfaces "

static const char *const rule_sets[] = {
    "6001 emsmdb async-emsmdb@0.1", "6000-6010 12345778-1234-abcd-ef00-0123456789ac@1.0 mgmt",
    "1-65535 nspi",
};
static const rpc_auth_level_t levels[] = {
    RPC_AUTH_LEVEL_NONE, RPC_AUTH_LEVEL_CONNECT, RPC_AUTH_LEVEL_INTEGRITY, RPC_AUTH_LEVEL_PRIVACY
};

static apr_pool_t *new_pool(void)
{
    static int initialized;
    apr_pool_t *pool;

    if (!initialized++)
        apr_initialize();
    apr_pool_create(&pool, NULL);
    return pool;
}

static void read_rule(apr_pool_t *pool, const char *text)
{
    rpc_syntax_error_t err = { 0, NULL, NULL };
    rpc_firewall_rules_t *rules = NULL, *again = NULL;
    rpc_interface_t none;
    const char *nearest;
    int port, covered = 0;

    memset(&none, 0xff, sizeof(none));
    if (rpc_firewall_rules_parse(pool, text, NULL, &rules, &err) != APR_SUCCESS) {
        size_t len = strlen(text);

        MUST(!rules, "rules in spite of an error");
        MUST(err.expected && *err.expected, "an error without a word of what is expected");
        MUST(err.column >= 1 && (size_t)err.column <= len + 1, "column %d of %zu", err.column, len);
        MUST(!strncmp(text + err.column - 1, err.element, strlen(err.element)),
             "element \"%s\"", err.element);
        return;
    }
    for (port = 1; port <= 65535; port++) {
        int here = rpc_firewall_rules_cover(rules, (apr_port_t)port);

        if (!here || covered++)
            continue;
        if (!rpc_firewall_rules_allowed(rules, (apr_port_t)port, &none, &nearest))
            MUST(!strncmp(nearest, BY, strlen(BY))
                     && rpc_firewall_rules_parse(pool, nearest + strlen(BY), NULL, &again, &err)
                            == APR_SUCCESS,
                 "\"%s\" is not taken again: %s", nearest, err.expected);
    }
    MUST(covered, "a rule for no port");
}

/* ---- PDUs ---- */

static unsigned number(const uint8_t *at, int size, int little)
{
    unsigned value = 0;
    int i;

    for (i = 0; i < size; i++)
        value = value << 8 | at[little ? size - 1 - i : i];
    return value;
}

static void read_syntax(const uint8_t *wire, int little, rpc_interface_t *interface)
{
    uint8_t again[RPC_SYNTAX_SIZE];
    unsigned version = number(wire + 16, 4, little);

    rpc_interface_read(wire, little, interface);
    MUST(number(wire, 4, little) == number(interface->uuid, 4, 0), "UUID");
    MUST(number(wire + 4, 2, little) == number(interface->uuid + 4, 2, 0), "UUID");
    MUST(number(wire + 6, 2, little) == number(interface->uuid + 6, 2, 0), "UUID");
    MUST(interface->major == (version & 0xffff) && interface->minor == version >> 16, "version");
    rpc_interface_write(interface, little, again);
    MUST(!memcmp(again, wire, sizeof(again)), "not written as it was read");
}

static int is_nobody(const rpc_interface_t *interface)
{
    uint8_t uuid[16];

    rpc_uuid_parse(RPC_FIREWALL_NOBODY, RPC_UUID_TEXT, uuid);
    return !memcmp(uuid, interface->uuid, sizeof(uuid)) && !interface->major && !interface->minor;
}

static int level_is_enough(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h)
{
    size_t end = h->frag_length - 8 - (size_t)h->auth_length;

    if (fw->least_level <= RPC_AUTH_LEVEL_NONE)
        return 1;
    if (!h->auth_length)
        return h->ptype == DCERPC_ALTER && fw->level >= fw->least_level;
    return pdu[end] && pdu[end + 1] >= fw->least_level && pdu[end + 1] <= 6;
}

/* Are all contexts within the PDU, before its trailer, and allowed, or nobody's? And is what has
 * changed since BEFORE (or NULL) only what had to? */
static void must_be_harmless(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h,
                             const uint8_t *before)
{
    size_t end = h->frag_length, at = 28, seen = 0;
    int enough = level_is_enough(fw, pdu, h), i;

    if (h->auth_length)
        end -= 8 + (size_t)h->auth_length;
    MUST(end >= at && end <= h->frag_length, "%zu bytes before the trailer", end);
    MUST((h->flags & 3) == 3, "a fragment passed");
    for (i = 0; i < pdu[24]; i++) {
        rpc_interface_t interface, asked;

        MUST(at + 24 <= end, "context %d ends behind %zu", i, end);
        read_syntax(pdu + at + 4, h->little_endian, &interface);
        read_syntax((before ? before : pdu) + at + 4, h->little_endian, &asked);
        if (enough && rpc_firewall_rules_allowed(fw->rules, fw->port, &asked, NULL))
            MUST(!memcmp(&interface, &asked, sizeof(asked)), "context %d was allowed", i);
        else
            MUST(before && is_nobody(&interface), "context %d passed", i);
        MUST(!before || !memcmp(pdu + seen, before + seen, at + 4 - seen),
             "something else changed");
        seen = at + 24;
        at += 24 + 20 * (size_t)pdu[at + 2];
        MUST(at <= end, "context %d ends at %zu of %zu", i, at, end);
    }
    MUST(!before || !memcmp(pdu + seen, before + seen, h->frag_length - seen),
         "something behind changed");
}

static void must_be_blind(rpc_firewall_t *fw, uint8_t *pdu, const dcerpc_header_t *h,
                          const rpc_firewall_result_t *r)
{
    uint8_t *before = fuzz_copy(pdu, h->frag_length);
    rpc_firewall_result_t again;

    MUST(h->ptype == DCERPC_BIND || h->ptype == DCERPC_ALTER, "%s", dcerpc_ptype_name(h->ptype));
    MUST(r->contexts && r->contexts <= pdu[24] && r->has_interface, "%u contexts", r->contexts);
    rpc_firewall_blind(fw, pdu, h, r);
    must_be_harmless(fw, pdu, h, before);
    free(before);
    MUST(rpc_firewall_check(fw, pdu, h, &again) == RPC_FIREWALL_BLIND, "nobody is allowed");
    MUST(again.contexts == r->contexts && is_nobody(&again.interface), "not all were blinded");
}

/* A bind that no rule is about is only remembered. */
static int is_ruled(const rpc_firewall_t *fw)
{
    return fw->least_level > RPC_AUTH_LEVEL_NONE || rpc_firewall_rules_cover(fw->rules, fw->port);
}

static void read_pdu(rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h)
{
    uint8_t *copy = fuzz_copy(pdu, h->frag_length);
    int wanted = rpc_firewall_wants(fw, h->ptype), was_bound = fw->bound;
    int bind = h->ptype == DCERPC_BIND || h->ptype == DCERPC_ALTER;
    rpc_firewall_t before = *fw;
    rpc_firewall_result_t r;
    char text[RPC_INTERFACE_TEXT_MAX];

    switch (rpc_firewall_check(fw, copy, h, &r)) {
    case RPC_FIREWALL_PASS:
        MUST(r.cause == RPC_FIREWALL_OK && !r.why && !r.contexts, "passed, yet %s", r.why);
        MUST(!wanted || was_bound || h->ptype == DCERPC_BIND, "%s before a bind",
             dcerpc_ptype_name(h->ptype));
        if (wanted && bind && is_ruled(&before))
            must_be_harmless(&before, copy, h, NULL);
        break;
    case RPC_FIREWALL_BLIND:
        MUST(wanted && r.why && fw->bound, "blind without need");
        before.bound = 1;
        must_be_blind(&before, copy, h, &r);
        break;
    case RPC_FIREWALL_END:
        MUST(wanted && r.cause != RPC_FIREWALL_OK && r.why && fw->bound == was_bound,
             "refused for nothing");
        break;
    }
    if (r.has_interface)
        MUST(strlen(rpc_interface_text(&r.interface, text)) < sizeof(text), "%s", text);
    free(copy);
}

static void read_stream(apr_pool_t *pool, unsigned choice, const uint8_t *data, size_t len)
{
    dcerpc_framer_t framer = { NULL, 0, 0, NULL };
    rpc_firewall_rules_t *rules = NULL;
    rpc_syntax_error_t err;
    dcerpc_header_t header;
    const uint8_t *pdu;
    rpc_firewall_t fw;

    if (choice & 3)
        MUST(rpc_firewall_rules_parse(pool, rule_sets[(choice & 3) - 1], NULL, &rules, &err)
                 == APR_SUCCESS,
             "%s", err.expected);
    rpc_firewall_begin(&fw, rules, choice & 0x20 ? 7000 : 6001, levels[choice >> 2 & 3],
                       choice >> 4 & 1);
    while (dcerpc_framer_next(&framer, &data, &len, &pdu, &header) == DCERPC_FRAME_PDU)
        read_pdu(&fw, pdu, &header);
    dcerpc_framer_reset(&framer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool;

    if (!size)
        return 0;
    pool = new_pool();
    if (data[0])
        read_stream(pool, data[0], data + 1, size - 1);
    else {
        char *text = fuzz_text(data + 1, size - 1);

        read_rule(pool, text);
        free(text);
    }
    apr_pool_destroy(pool);
    return 0;
}
