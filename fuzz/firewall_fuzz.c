/* firewall_fuzz: any rules and any PDUs. The first byte of an input chooses: 0, the rest is a rule;
 * above, which rules, port and level hold for the stream of PDUs that the rest is.
 *
 * A rule is taken or refused with its place; one that is taken can be taken again. A PDU passes
 * only if a second reading of it, plainer than the firewall's own, finds it harmless; the answer
 * to one that does not is a PDU itself.
 */
#include "rpc_firewall.h"

#include <apr_general.h>
#include <apr_strings.h>

#include "fuzz.h"

static const char *const rule_sets[] = {
    "6001 emsmdb async-emsmdb@0.1", "6000-6010 12345778-1234-abcd-ef00-0123456789ac@1.0 mgmt", "1-65535 nspi",
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
            MUST(rpc_firewall_rules_parse(pool, nearest, NULL, &again, &err) == APR_SUCCESS,
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

/* Are all contexts within the PDU, before its trailer, and allowed? */
static void must_be_harmless(const rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h)
{
    size_t end = h->frag_length, at = 28;
    int little = h->little_endian, i;

    if (h->auth_length)
        end -= 8 + (size_t)h->auth_length;
    MUST(end >= at && end <= h->frag_length, "%zu bytes before the trailer", end);
    MUST((h->flags & 3) == 3, "a fragment passed");
    for (i = 0; i < pdu[24]; i++) {
        rpc_interface_t interface;
        uint8_t wire[20];
        unsigned version;

        MUST(at + 24 <= end, "context %d ends behind %zu", i, end);
        rpc_interface_read(pdu + at + 4, little, &interface);
        memcpy(wire, pdu + at + 4, 20);
        MUST(number(wire, 4, little) == number(interface.uuid, 4, 0), "UUID");
        MUST(number(wire + 4, 2, little) == number(interface.uuid + 4, 2, 0), "UUID");
        MUST(number(wire + 6, 2, little) == number(interface.uuid + 6, 2, 0), "UUID");
        version = number(wire + 16, 4, little);
        MUST(interface.major == (version & 0xffff) && interface.minor == version >> 16, "version");
        MUST(rpc_firewall_rules_allowed(fw->rules, fw->port, &interface, NULL), "context %d passed", i);
        at += 24 + 20 * (size_t)pdu[at + 2];
        MUST(at <= end, "context %d ends at %zu of %zu", i, at, end);
    }
    if (fw->least_level > RPC_AUTH_LEVEL_NONE && (h->auth_length || h->ptype == DCERPC_BIND)) {
        MUST(h->auth_length && pdu[end], "without authentication");
        MUST(pdu[end + 1] >= fw->least_level && pdu[end + 1] <= 6, "level %u", pdu[end + 1]);
    }
}

static void must_be_answer(const rpc_firewall_result_t *r, const dcerpc_header_t *asked)
{
    dcerpc_header_t header;
    const char *wrong;

    MUST(r->cause != RPC_FIREWALL_OK && r->why, "refused without a reason");
    MUST(r->ends || (asked->ptype == DCERPC_ALTER && r->cause == RPC_FIREWALL_INTERFACE), "goes on");
    if (!r->answer_len) {
        MUST(r->ends && asked->ptype != DCERPC_BIND && asked->ptype != DCERPC_ALTER, "no answer");
        return;
    }
    MUST(r->answer_len <= RPC_FIREWALL_ANSWER_MAX, "%zu bytes", r->answer_len);
    wrong = dcerpc_header_parse(r->answer, &header);
    MUST(!wrong, "%s", wrong);
    MUST(header.frag_length == r->answer_len, "%u of %zu", header.frag_length, r->answer_len);
    MUST(header.call_id == asked->call_id && header.auth_length == 0, "call_id %u", (unsigned)header.call_id);
    MUST(header.little_endian == asked->little_endian, "byte order");
}

static void read_pdu(rpc_firewall_t *fw, const uint8_t *pdu, const dcerpc_header_t *h)
{
    uint8_t *copy = fuzz_copy(pdu, h->frag_length);
    rpc_firewall_result_t *r = malloc(sizeof(*r));
    char text[RPC_INTERFACE_TEXT_MAX];
    int wanted = rpc_firewall_wants(fw, h->ptype), was_bound = fw->bound;

    MUST(r, "out of memory");
    if (rpc_firewall_check(fw, copy, h, r)) {
        MUST(r->cause == RPC_FIREWALL_OK && !r->why && !r->ends && !r->answer_len, "passed, yet %s", r->why);
        MUST(!wanted || was_bound || h->ptype == DCERPC_BIND, "%s before a bind",
             dcerpc_ptype_name(h->ptype));
        if (wanted && (h->ptype == DCERPC_BIND || h->ptype == DCERPC_ALTER))
            must_be_harmless(fw, copy, h);
    } else {
        MUST(wanted && fw->bound == was_bound, "refused though of no interest");
        must_be_answer(r, h);
    }
    if (r->has_interface)
        MUST(strlen(rpc_interface_text(&r->interface, text)) < sizeof(text), "%s", text);
    free(r);
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
        MUST(rpc_firewall_rules_parse(pool, rule_sets[(choice & 3) - 1], NULL, &rules, &err) == APR_SUCCESS,
             "%s", err.expected);
    rpc_firewall_begin(&fw, rules, choice & 0x20 ? 7000 : 6001, levels[choice >> 2 & 3], choice >> 4 & 1);
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
