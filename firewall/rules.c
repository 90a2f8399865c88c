/* firewall/rules.c: parses the rules of RpcAllowInterfaces and RpcProfile and applies them.
 *
 * parse_rule() splits a rule at its blanks; parse_ports() and rule_interface() check the elements,
 * with their columns in the whole text. A profile consists of rules in the same form. The rules are
 * an array that is searched from its beginning: a list is short and is used once for each bind.
 */
#include "firewall/rules.h"

#include <string.h>
#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_tables.h>


/* One interface of a rule. */
typedef struct allowed {
    rpc_interface_t interface;
    int any_version;
} allowed_t;

typedef struct rule {
    apr_port_t low, high;
    apr_array_header_t *interfaces; /* allowed_t */
    const char *text;               /* as written, with its directive */
} rule_t;

struct rpc_firewall_rules {
    apr_array_header_t *rules;      /* rule_t */
    /* a second set, which has to allow an interface as well; or NULL */
    const rpc_firewall_rules_t *and;
};

/* ---- one rule ---- */

static apr_status_t parse_ports(const rpc_syntax_t *x, const char *at, apr_size_t len, rule_t *rule)
{
    const char *dash = memchr(at, '-', len);
    apr_size_t low = dash ? (apr_size_t)(dash - at) : len;
    apr_status_t rv;

    if (!apr_isdigit(*at))
        return rpc_syntax_fail(x, at, len, "a port or a range of ports first, as in 6001 emsmdb");
    if (memchr(at, ',', len))
        return rpc_syntax_fail(x, at, len, "one port or one range; write a directive for each");
    if (dash && low + 1 == len)
        return rpc_syntax_fail(x, at, len, "a port on both sides of the '-'");
    if ((rv = rpc_syntax_port(x, at, low, &rule->low)) != APR_SUCCESS)
        return rv;
    rule->high = rule->low;
    if (!dash)
        return APR_SUCCESS;
    if ((rv = rpc_syntax_port(x, dash + 1, len - low - 1, &rule->high)) != APR_SUCCESS)
        return rv;
    if (rule->low > rule->high)
        return rpc_syntax_fail(x, at, len, "the lower port first, %d-%d", (int)rule->high,
                               (int)rule->low);
    return APR_SUCCESS;
}

/* Digits that fit a part of a version; the number of them, or 0. */
static apr_size_t version_part(const char *at, apr_size_t len, uint16_t *part)
{
    unsigned value = 0;
    apr_size_t i;

    for (i = 0; i < len && apr_isdigit(at[i]) && value <= 65535; i++)
        value = value * 10 + (unsigned)(at[i] - '0');
    *part = (uint16_t)value;
    return value <= 65535 ? i : 0;
}

/* "1.0" */
static apr_status_t parse_version(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                  rpc_interface_t *interface)
{
    apr_size_t major = version_part(at, len, &interface->major);

    if (major && major < len && at[major] == '.') {
        const char *minor = at + major + 1;
        apr_size_t left = len - major - 1;

        if (left && version_part(minor, left, &interface->minor) == left)
            return APR_SUCCESS;
    }
    return rpc_syntax_fail(x, at, len, "a version of two numbers after the '@', as in 1.0");
}

/* Text that looks like a UUID is checked as a UUID, so that the message for a mistake in it does
 * not ask for a name. */
static int looks_like_uuid(const char *at, apr_size_t len)
{
    apr_size_t i, dashes = 0;

    for (i = 0; i < len; i++) {
        if (!apr_isxdigit(at[i]) && at[i] != '-')
            return *at == '{';
        dashes += at[i] == '-';
    }
    return dashes == 4 || len > 30;
}

static apr_status_t rule_interface(const rpc_syntax_t *x, const char *at, apr_size_t len,
                                   allowed_t *allowed)
{
    const char *sign = memchr(at, '@', len);
    apr_size_t size = sign ? (apr_size_t)(sign - at) : len;
    const rpc_interface_info_t *info = rpc_interface_by_name(at, size);

    memset(allowed, 0, sizeof(*allowed));
    if (info)
        rpc_uuid_parse(info->uuid, RPC_UUID_TEXT, allowed->interface.uuid);
    else if (!rpc_uuid_parse(at, size, allowed->interface.uuid))
        return rpc_syntax_fail(x, at, size, "%s", looks_like_uuid(at, size)
            ? "a UUID such as 12345778-1234-abcd-ef00-0123456789ac, without braces"
            : "the name of an interface, such as emsmdb, nspi or samr, or its UUID");
    allowed->any_version = !sign;
    return sign ? parse_version(x, sign + 1, len - size - 1, &allowed->interface) : APR_SUCCESS;
}

/* Cuts the next element; its length, 0 at the end. */
static apr_size_t next_element(const char **at)
{
    *at += strspn(*at, RPC_BLANKS);
    return strcspn(*at, RPC_BLANKS);
}

static apr_status_t parse_interfaces(const rpc_syntax_t *x, const char *at, rule_t *rule)
{
    apr_size_t len;
    apr_status_t rv;

    rule->interfaces = apr_array_make(x->pool, 4, sizeof(allowed_t));
    while ((len = next_element(&at)) > 0) {
        if ((rv = rule_interface(x, at, len, apr_array_push(rule->interfaces))) != APR_SUCCESS)
            return rv;
        at += len;
    }
    return APR_SUCCESS;
}

static apr_status_t parse_rule(const rpc_syntax_t *x, rule_t *rule)
{
    const char *at = x->text, *end = x->text + strlen(x->text);
    apr_size_t len = next_element(&at);
    apr_status_t rv;

    if (len == 0)
        return rpc_syntax_fail(x, at, 0,
                               "a port and its interfaces, as in 6001 emsmdb async-emsmdb");
    while (end > at && apr_isspace(end[-1]))
        end--;
    rule->text = apr_pstrmemdup(x->pool, at, (apr_size_t)(end - at));
    if ((rv = parse_ports(x, at, len, rule)) != APR_SUCCESS)
        return rv;
    if (at + len == end)
        return rpc_syntax_fail(x, at, len, "an interface after the port, as in 6001 emsmdb");
    return parse_interfaces(x, at + len, rule);
}

/* ---- lists of rules ---- */

static rpc_firewall_rules_t *rules_copy(apr_pool_t *pool, const rpc_firewall_rules_t *base)
{
    rpc_firewall_rules_t *rules = apr_pcalloc(pool, sizeof(*rules));

    rules->rules = base ? apr_array_copy(pool, base->rules)
                        : apr_array_make(pool, 4, sizeof(rule_t));
    return rules;
}

const rpc_firewall_rules_t *rpc_firewall_rules_both(apr_pool_t *pool, const rpc_firewall_rules_t *a,
                                                    const rpc_firewall_rules_t *b)
{
    rpc_firewall_rules_t *both;

    if (!a || !b)
        return a ? a : b;
    both = apr_pmemdup(pool, a, sizeof(*a));
    both->and = rpc_firewall_rules_both(pool, a->and, b);
    return both;
}

const rpc_firewall_rules_t *rpc_firewall_rules_clone(apr_pool_t *pool,
                                                     const rpc_firewall_rules_t *rules)
{
    rpc_firewall_rules_t *clone;
    int i;

    if (!rules)
        return NULL;
    clone = rules_copy(pool, rules);
    for (i = 0; i < clone->rules->nelts; i++) {
        rule_t *rule = &APR_ARRAY_IDX(clone->rules, i, rule_t);

        rule->interfaces = apr_array_copy(pool, rule->interfaces);
        rule->text = apr_pstrdup(pool, rule->text);
    }
    clone->and = rpc_firewall_rules_clone(pool, rules->and);
    return clone;
}

/* The text of a rule. For a rule that another directive has made, the text has no ports. */
static int lists_equal(const apr_array_header_t *a, const apr_array_header_t *b)
{
    int i;

    if (a->nelts != b->nelts)
        return 0;
    for (i = 0; i < a->nelts; i++) {
        const rule_t *x = &APR_ARRAY_IDX(a, i, rule_t), *y = &APR_ARRAY_IDX(b, i, rule_t);

        if (x->low != y->low || x->high != y->high || strcmp(x->text, y->text) != 0)
            return 0;
    }
    return 1;
}

int rpc_firewall_rules_equal(const rpc_firewall_rules_t *a, const rpc_firewall_rules_t *b)
{
    for (; a && b && a != b; a = a->and, b = b->and)
        if (!lists_equal(a->rules, b->rules))
            return 0;
    return a == b;
}

/* Adds the rule TEXT, which BY has made. */
static apr_status_t add_rule(apr_pool_t *pool, const char *by, const char *text,
                             const rpc_firewall_rules_t *base, rpc_firewall_rules_t **rules,
                             rpc_syntax_error_t *err)
{
    rpc_syntax_t x = { pool, text, err };
    apr_status_t rv;
    rule_t rule;

    if ((rv = parse_rule(&x, &rule)) != APR_SUCCESS)
        return rv;
    rule.text = apr_pstrcat(pool, by, " ", rule.text, NULL);
    *rules = rules_copy(pool, base);
    APR_ARRAY_PUSH((*rules)->rules, rule_t) = rule;
    return APR_SUCCESS;
}

apr_status_t rpc_firewall_rules_parse(apr_pool_t *pool, const char *text,
                                      const rpc_firewall_rules_t *base,
                                      rpc_firewall_rules_t **rules, rpc_syntax_error_t *err)
{
    return add_rule(pool, "RpcAllowInterfaces", text, base, rules, err);
}

rpc_firewall_rules_t *rpc_firewall_rules_allow(apr_pool_t *pool, const rpc_firewall_rules_t *base,
                                               apr_port_t low, apr_port_t high,
                                               const char *interfaces, const char *by)
{
    const char *text = low == high
                         ? apr_psprintf(pool, "%d %s", (int)low, interfaces)
                         : apr_psprintf(pool, "%d-%d %s", (int)low, (int)high, interfaces);
    rpc_firewall_rules_t *rules;
    rpc_syntax_error_t err;

    by = apr_pstrcat(pool, by, ":", NULL);
    return add_rule(pool, by, text, base, &rules, &err) == APR_SUCCESS ? rules : NULL;
}

apr_status_t rpc_firewall_rules_only(apr_pool_t *pool, const char *interfaces,
                                     rpc_firewall_rules_t **rules, rpc_syntax_error_t *err)
{
    rpc_syntax_t x = { pool, interfaces, err };
    rule_t rule = { .low = 1, .high = 65535 };
    apr_status_t rv;

    if ((rv = parse_interfaces(&x, interfaces, &rule)) != APR_SUCCESS)
        return rv;
    if (!rule.interfaces->nelts)
        return rpc_syntax_fail(&x, interfaces, 0, "interfaces, such as emsmdb or samr");
    rule.text = apr_pstrcat(pool, "Require rpc-interface ", interfaces, NULL);
    *rules = rules_copy(pool, NULL);
    APR_ARRAY_PUSH((*rules)->rules, rule_t) = rule;
    return APR_SUCCESS;
}

/* ---- profiles ---- */

/* The interfaces that the clients of each product need, without those for administration. Exchange
 * has its address book at port 6004, which RpcNspiProtocolSequences opens (httpd/config.h). Samba
 * has its services on dynamic ports. */
static const struct profile {
    const char *name, *rule;
} profiles[] = {
    { "exchange", "593 epm mgmt" },
    { "exchange", "6001 emsmdb async-emsmdb mgmt" },
    { "exchange", "6002 rfr mgmt" },
    { "exchange", "6004 mgmt" },
    { "rdgateway", "593 epm mgmt" },
    { "rdgateway", "3388 tsgu mgmt" },
    { "samba", "135 epm mgmt" },
    { "samba", "593 epm mgmt" },
    { "samba",
      "1024-1300 samr lsarpc netlogon drsuapi dssetup backupkey dnsserver srvsvc wkssvc mgmt" },
    { "samba",
      "49152-65535 samr lsarpc netlogon drsuapi dssetup backupkey dnsserver srvsvc wkssvc mgmt" },
};

apr_status_t rpc_firewall_rules_profile(apr_pool_t *pool, const char *name,
                                        const rpc_firewall_rules_t *base,
                                        rpc_firewall_rules_t **rules, rpc_syntax_error_t *err)
{
    rpc_syntax_t x = { pool, name, err };
    rpc_firewall_rules_t *result = rules_copy(pool, base);
    apr_status_t rv;
    apr_size_t i;
    int found = !apr_cstr_casecmp(name, "none");

    for (i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
        if (apr_cstr_casecmp(profiles[i].name, name))
            continue;
        rv = add_rule(pool, apr_pstrcat(pool, "RpcProfile ", profiles[i].name, ":", NULL),
                      profiles[i].rule, result, &result, err);
        if (rv != APR_SUCCESS)
            return rv;
        found = 1;
    }
    if (!found)
        return rpc_syntax_fail(&x, name, strlen(name), "exchange, rdgateway, samba or none");
    *rules = result;
    return APR_SUCCESS;
}

/* ---- levels ---- */

static const char *const level_names[] = {
    "default", "none", "connect", "call", "pkt", "integrity", "privacy"
};

const char *rpc_auth_level_name(unsigned level)
{
    return level < sizeof(level_names) / sizeof(level_names[0]) ? level_names[level] : "unknown";
}

apr_status_t rpc_auth_level_parse(apr_pool_t *pool, const char *text, rpc_auth_level_t *level,
                                  rpc_syntax_error_t *err)
{
    static const rpc_auth_level_t levels[] = { RPC_AUTH_LEVEL_NONE, RPC_AUTH_LEVEL_CONNECT,
                                               RPC_AUTH_LEVEL_INTEGRITY, RPC_AUTH_LEVEL_PRIVACY };
    rpc_syntax_t x = { pool, text, err };
    apr_size_t i;

    for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (!apr_cstr_casecmp(level_names[levels[i]], text)) {
            *level = levels[i];
            return APR_SUCCESS;
        }
    return rpc_syntax_fail(&x, text, strlen(text), "none, connect, integrity or privacy");
}

/* ---- asking ---- */

static int rule_has_port(const rule_t *rule, apr_port_t port)
{
    return rule->low <= port && port <= rule->high;
}

const char *rpc_firewall_rules_entry(const rpc_firewall_rules_t *rules, int i, apr_port_t *low,
                                     apr_port_t *high)
{
    const rule_t *rule;

    if (!rules || i >= rules->rules->nelts)
        return NULL;
    rule = &APR_ARRAY_IDX(rules->rules, i, rule_t);
    *low = rule->low;
    *high = rule->high;
    return rule->text;
}

int rpc_firewall_rules_cover(const rpc_firewall_rules_t *rules, apr_port_t port)
{
    int i;

    if (!rules)
        return 0;
    for (i = 0; i < rules->rules->nelts; i++)
        if (rule_has_port(&APR_ARRAY_IDX(rules->rules, i, rule_t), port))
            return 1;
    return rpc_firewall_rules_cover(rules->and, port);
}

/* 2: the rule allows the interface; 1: only another version of it; 0: neither. */
static int rule_match(const rule_t *rule, const rpc_interface_t *asked)
{
    int best = 0, i;

    for (i = 0; i < rule->interfaces->nelts && best < 2; i++) {
        const allowed_t *allowed = &APR_ARRAY_IDX(rule->interfaces, i, allowed_t);

        if (memcmp(allowed->interface.uuid, asked->uuid, sizeof(asked->uuid)))
            continue;
        best = 1;
        if (allowed->any_version || (allowed->interface.major == asked->major
                                     && allowed->interface.minor >= asked->minor))
            best = 2;
    }
    return best;
}

/* Judges by one set of rules. NEAREST is NULL, or the place for the nearest rule. */
static int set_allows(const rpc_firewall_rules_t *rules, apr_port_t port,
                      const rpc_interface_t *interface, const char **nearest)
{
    const char *found = NULL;
    int covered = 0, best = 0, i;

    for (i = 0; i < rules->rules->nelts; i++) {
        const rule_t *rule = &APR_ARRAY_IDX(rules->rules, i, rule_t);
        int here = rule_has_port(rule, port), match = rule_match(rule, interface), near;

        if (here && match == 2)
            return 1;
        covered |= here;
        near = here ? (match ? 3 : 1) : (match == 2 ? 2 : 0);
        if (near > best) {
            best = near;
            found = rule->text;
        }
    }
    if (covered && nearest)
        *nearest = found;
    return !covered;
}

int rpc_firewall_rules_allowed(const rpc_firewall_rules_t *rules, apr_port_t port,
                               const rpc_interface_t *interface, const char **nearest)
{
    if (nearest)
        *nearest = NULL;
    for (; rules; rules = rules->and)
        if (!set_allows(rules, port, interface, nearest))
            return 0;
    return 1;
}
