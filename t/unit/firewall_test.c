/* firewall_test: names and UUIDs of interfaces, the grammar of the rules, and what happens to
 * binds and other PDUs, byte by byte where a bind is changed.
 */
#include <apr_general.h>
#include <apr_strings.h>
#include "firewall/firewall.h"
#include "unit.h"

#define EMSMDB  "a4f1db00-ca47-1067-b31f-00dd010662da"
#define NSPI    "f5cc5a18-4264-101a-8c59-08002b2f8426"
#define UNNAMED "01234567-89ab-cdef-fedc-ba9876543210"

/* ---- interfaces ---- */

/* Every name, with the version that the specification of the interface prints. */
static const struct version { const char *name; int major, minor; } versions[] = {
    { "mgmt", 1, 0 }, { "epm", 3, 0 }, { "emsmdb", 0, 81 }, { "async-emsmdb", 0, 1 },
    { "rfr", 1, 0 }, { "nspi", 56, 0 }, { "tsgu", 1, 3 }, { "samr", 1, 0 }, { "lsarpc", 0, 0 },
    { "netlogon", 1, 0 }, { "drsuapi", 4, 0 }, { "dssetup", 0, 0 }, { "backupkey", 1, 0 },
    { "gkdi", 1, 0 }, { "icertpassage", 0, 0 }, { "dnsserver", 5, 0 }, { "dhcpsrv", 1, 0 },
    { "dhcpsrv2", 1, 0 }, { "srvsvc", 3, 0 }, { "wkssvc", 1, 0 }, { "dfs", 3, 0 },
    { "frsrpc", 1, 1 }, { "frstransport", 1, 0 }, { "efsrpc", 1, 0 }, { "lsaefsrpc", 1, 0 },
    { "fssagentrpc", 1, 0 }, { "witness", 1, 1 }, { "mdssvc", 2, 0 }, { "winreg", 1, 0 },
    { "svcctl", 2, 0 }, { "eventlog", 0, 0 }, { "eventlog6", 1, 0 }, { "atsvc", 1, 0 },
    { "sasec", 1, 0 }, { "itaskschedulerservice", 1, 0 }, { "spoolss", 1, 0 },
    { "iremotewinspool", 1, 0 }, { "initshutdown", 1, 0 }, { "w32time", 4, 1 },
    { "iobjectexporter", 0, 0 }, { "iactivation", 0, 0 }, { "iremotescmactivator", 0, 0 },
    { "unixinfo", 0, 0 }, { "rpcecho", 1, 0 },
};

static void test_table(void)
{
    size_t i;

    for (i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        const char *name = versions[i].name;
        const rpc_interface_info_t *row = rpc_interface_by_name(name, strlen(name));
        uint8_t uuid[16];

        ok(row && row->major == versions[i].major && row->minor == versions[i].minor, "%s@%d.%d",
           name, versions[i].major, versions[i].minor);
        ok(row && rpc_uuid_parse(row->uuid, strlen(row->uuid), uuid), "%s: its UUID is one", name);
        ok(row && rpc_interface_by_uuid(uuid) == row, "%s: found by UUID, which no other row has",
           name);
    }
    ok(!rpc_interface_by_name("emsmdbx", 7), "a name is compared whole");
    ok(!rpc_interface_by_name("emsmdb", 5), "a part of a name is none");
    ok(!rpc_interface_by_name("", 0), "no name is none");
    ok(rpc_interface_by_name("EmsMDB", 6) != NULL, "without case");
}

static void test_uuid(void)
{
    static const uint8_t text_order[16] = {
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
        0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10
    };
    static const uint8_t little[20] = {
        0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0xfe, 0xdc,
        0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 0x02, 0x01, 0x04, 0x03
    };
    static const uint8_t big[20] = {
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
        0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10,
        0x03, 0x04, 0x01, 0x02
    };
    static const char *const wrong[] = {
        "", "a4f1db00", EMSMDB "0", "a4f1db00-ca47-1067-b31f-00dd010662d",
        "a4f1db00-ca47-1067-b31f+00dd010662da",
        "a4f1db00-ca47-1067-b31f-00dd010662dg", "a4f1db0--ca47-1067-b31f-00dd010662da",
        "{4f1db00-ca47-1067-b31f-00dd010662da", "a4f1db00ca47-1067-b31f-00dd010662-da",
    };
    char text[RPC_INTERFACE_TEXT_MAX];
    rpc_interface_t interface;
    uint8_t uuid[16];
    size_t i;

    ok(rpc_uuid_parse(UNNAMED, 36, uuid), "a UUID");
    is_bytes(uuid, 16, text_order, 16, "in the order of its text");
    ok(rpc_uuid_parse("01234567-89AB-CDEF-FEDC-BA9876543210", 36, uuid)
       && !memcmp(uuid, text_order, 16), "without case");
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ok(!rpc_uuid_parse(wrong[i], strlen(wrong[i]), uuid), "no UUID: \"%s\"", wrong[i]);
    rpc_interface_read(little, 1, &interface);
    is_str(rpc_interface_text(&interface, text), UNNAMED "@258.772",
           "little-endian, without a name");
    rpc_interface_read(big, 0, &interface);
    is_str(rpc_interface_text(&interface, text), UNNAMED "@258.772", "big-endian, without a name");
    memset(&interface, 0, sizeof(interface));
    rpc_uuid_parse(EMSMDB, 36, interface.uuid);
    interface.minor = 81;
    is_str(rpc_interface_text(&interface, text), "emsmdb (" EMSMDB "@0.81)", "with a name");
    rpc_uuid_parse("86d35949-83c9-4044-b424-db363231fd0c", 36, interface.uuid);
    interface.major = interface.minor = 65535;
    is_str(rpc_interface_text(&interface, text),
           "itaskschedulerservice (86d35949-83c9-4044-b424-db363231fd0c@65535.65535)",
           "the longest text");
}

/* ---- rules ---- */

/* "name" or "uuid", with "@major.minor". */
static rpc_interface_t interface_of(const char *text)
{
    const char *sign = strchr(text, '@');
    size_t len = sign ? (size_t)(sign - text) : strlen(text);
    const rpc_interface_info_t *row = rpc_interface_by_name(text, len);
    rpc_interface_t interface;

    memset(&interface, 0, sizeof(interface));
    if (!rpc_uuid_parse(row ? row->uuid : text, RPC_UUID_TEXT, interface.uuid))
        abort();
    if (sign) {
        interface.major = (uint16_t)atoi(sign + 1);
        interface.minor = (uint16_t)atoi(strchr(sign, '.') + 1);
    }
    return interface;
}

/* Rules separated by ';'. */
static rpc_firewall_rules_t *rules_of(apr_pool_t *pool, const char *text)
{
    char *left = apr_pstrdup(pool, text), *state, *rule;
    rpc_firewall_rules_t *rules = NULL;
    rpc_syntax_error_t err;

    for (rule = apr_strtok(left, ";", &state); rule; rule = apr_strtok(NULL, ";", &state))
        if (rpc_firewall_rules_parse(pool, rule, rules, &rules, &err) != APR_SUCCESS) {
            ok(0, "rule \"%s\": %s, expected %s", rule, err.element, err.expected);
            exit(1);
        }
    return rules;
}

static const struct question {
    const char *rules;
    int port;
    const char *interface;
    int allowed;
    const char *nearest;    /* when not */
} questions[] = {
    { "6001 emsmdb", 6001, "emsmdb@0.81", 1, NULL },
    { "6001 EMSMDB", 6001, "emsmdb@7.7", 1, NULL },
    { " 6001\temsmdb  async-emsmdb ", 6001, "async-emsmdb@0.1", 1, NULL },
    { " 6001\temsmdb  async-emsmdb ", 6001, "samr@1.0", 0, "6001\temsmdb  async-emsmdb" },
    { "6001 " EMSMDB, 6001, "emsmdb@0.81", 1, NULL },
    { "6001 A4F1DB00-CA47-1067-B31F-00DD010662DA", 6001, "emsmdb@0.81", 1, NULL },
    { "6001 emsmdb", 6001, UNNAMED "@1.0", 0, "6001 emsmdb" },
    { "6001 " UNNAMED "@1.0", 6001, UNNAMED "@1.0", 1, NULL },
    /* a port that no rule names is not restricted */
    { "6001 emsmdb", 6002, "samr@1.0", 1, NULL },
    { "6001 emsmdb", 6000, "samr@1.0", 1, NULL },
    { "", 6001, "samr@1.0", 1, NULL },
    /* mgmt is no exception */
    { "6001 emsmdb", 6001, "mgmt@1.0", 0, "6001 emsmdb" },
    { "6001 emsmdb mgmt", 6001, "mgmt@1.0", 1, NULL },
    /* ranges, both ends belong to them */
    { "49152-65535 samr", 49151, "nspi@56.0", 1, NULL },
    { "49152-65535 samr", 49152, "nspi@56.0", 0, "49152-65535 samr" },
    { "49152-65535 samr", 65535, "nspi@56.0", 0, "49152-65535 samr" },
    { "49152-65535 samr", 65535, "samr@1.0", 1, NULL },
    { "1-1 samr", 1, "samr@1.0", 1, NULL },
    /* rules add up, ranges may overlap */
    { "6001 emsmdb;6001 mgmt", 6001, "mgmt@1.0", 1, NULL },
    { "6001 emsmdb;6001 mgmt", 6001, "emsmdb@0.81", 1, NULL },
    { "6001 emsmdb;6000-6010 mgmt", 6001, "mgmt@1.0", 1, NULL },
    { "6001 emsmdb;6000-6010 mgmt", 6002, "emsmdb@0.81", 0, "6001 emsmdb" },
    { "6000-6010 mgmt;6001 emsmdb", 6001, "emsmdb@0.81", 1, NULL },
    { "6001 emsmdb;6001 mgmt", 6001, "samr@1.0", 0, "6001 emsmdb" },
    /* the same major version, and a minor version up to that of the rule */
    { "3388 tsgu@1.3", 3388, "tsgu@1.3", 1, NULL },
    { "3388 tsgu@1.3", 3388, "tsgu@1.2", 1, NULL },
    { "3388 tsgu@1.3", 3388, "tsgu@1.0", 1, NULL },
    { "3388 tsgu@1.3", 3388, "tsgu@1.4", 0, "3388 tsgu@1.3" },
    { "3388 tsgu@1.3", 3388, "tsgu@0.3", 0, "3388 tsgu@1.3" },
    { "3388 tsgu@1.3", 3388, "tsgu@2.0", 0, "3388 tsgu@1.3" },
    { "3388 tsgu", 3388, "tsgu@2.0", 1, NULL },
    { "3388 tsgu@1.3 tsgu@2.0", 3388, "tsgu@2.0", 1, NULL },
    { "3388 tsgu@1.3 tsgu", 3388, "tsgu@65535.65535", 1, NULL },
    { "3388 tsgu@65535.65535", 3388, "tsgu@65535.65535", 1, NULL },
    { "3388 tsgu@0.0", 3388, "tsgu@0.0", 1, NULL },
    /* the nearest rule: this port with another version, then another port, then another rule of
     * this port */
    { "3388 epm;3389 tsgu;3388 tsgu@1.3", 3388, "tsgu@2.0", 0, "3388 tsgu@1.3" },
    { "3388 epm;3389 tsgu;3388 mgmt", 3388, "tsgu@1.3", 0, "3389 tsgu" },
    { "3388 epm;3389 tsgu@1.3;3388 mgmt", 3388, "tsgu@2.0", 0, "3388 epm" },
};

static void test_questions(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        const struct question *q = &questions[i];
        rpc_interface_t interface = interface_of(q->interface);
        const char *nearest = "unset";

        is_int(rpc_firewall_rules_allowed(rules_of(pool, q->rules), (apr_port_t)q->port, &interface,
                                          &nearest), q->allowed, "\"%s\": %s behind %d is %s",
               q->rules, q->interface, q->port, q->allowed ? "allowed" : "not allowed");
        is_str(nearest,
               q->nearest ? apr_pstrcat(pool, "RpcAllowInterfaces ", q->nearest, NULL) : NULL,
               "... nearest rule");
        is_int(rpc_firewall_rules_allowed(rules_of(pool, q->rules), (apr_port_t)q->port, &interface,
                                          NULL),
               q->allowed, "... the same without asking for it");
    }
}

#define A_NAME    "the name of an interface, such as emsmdb, nspi or samr, or its UUID"
#define A_UUID    "a UUID such as 12345778-1234-abcd-ef00-0123456789ac, without braces"
#define A_VERSION "a version of two numbers after the '@', as in 1.0"

static const struct slip {
    const char *text;
    int column;
    const char *element, *expected;
} slips[] = {
    { "", 1, "", "a port and its interfaces, as in 6001 emsmdb async-emsmdb" },
    { "  ", 3, "", "a port and its interfaces, as in 6001 emsmdb async-emsmdb" },
    { "6001", 1, "6001", "an interface after the port, as in 6001 emsmdb" },
    { " 6001 ", 2, "6001", "an interface after the port, as in 6001 emsmdb" },
    { "emsmdb", 1, "emsmdb", "a port or a range of ports first, as in 6001 emsmdb" },
    { "emsmdb 6001", 1, "emsmdb", "a port or a range of ports first, as in 6001 emsmdb" },
    { "-6001 emsmdb", 1, "-6001", "a port or a range of ports first, as in 6001 emsmdb" },
    { "* emsmdb", 1, "*", "a port or a range of ports first, as in 6001 emsmdb" },
    { "0 emsmdb", 1, "0", "a port from 1 to 65535" },
    { "65536 emsmdb", 1, "65536", "a port from 1 to 65535" },
    { "6001x emsmdb", 1, "6001x", "a port from 1 to 65535" },
    { "6001-70000 emsmdb", 6, "70000", "a port from 1 to 65535" },
    { "6001-6002-6003 emsmdb", 6, "6002-6003", "a port from 1 to 65535" },
    { "6001- emsmdb", 1, "6001-", "a port on both sides of the '-'" },
    { "6004-6001 emsmdb", 1, "6004-6001", "the lower port first, 6001-6004" },
    { "6001,6004 emsmdb", 1, "6001,6004", "one port or one range; write a directive for each" },
    { "6001 emsmdb emsmdbx", 13, "emsmdbx", A_NAME },
    { "6001 emsmdb,nspi", 6, "emsmdb,nspi", A_NAME },
    { "6001 beef", 6, "beef", A_NAME },
    { "6001 {" NSPI "}", 6, "{" NSPI "}", A_UUID },
    { "6001 f5cc5a18-4264-101a-8c59-08002b2f842", 6, "f5cc5a18-4264-101a-8c59-08002b2f842",
      A_UUID },
    { "6001 f5cc5a184264101a8c5908002b2f8426", 6, "f5cc5a184264101a8c5908002b2f8426", A_UUID },
    { "6001 @1.0", 6, "", A_NAME },
    { "6001 nspi@", 11, "", A_VERSION },
    { "6001 nspi@56", 11, "56", A_VERSION },
    { "6001 nspi@56.", 11, "56.", A_VERSION },
    { "6001 nspi@.0", 11, ".0", A_VERSION },
    { "6001 nspi@56.0.0", 11, "56.0.0", A_VERSION },
    { "6001 nspi@56.x", 11, "56.x", A_VERSION },
    { "6001 nspi@65536.0", 11, "65536.0", A_VERSION },
    { "6001 nspi@56.65536", 11, "56.65536", A_VERSION },
    { "6001 nspi@56.4294967296", 11, "56.4294967296", A_VERSION },
    { "6001 nspi@@56.0", 11, "@56.0", A_VERSION },
};

static void test_slips(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        rpc_firewall_rules_t *rules = NULL;
        rpc_syntax_error_t err = { 0, NULL, NULL };

        is_int(rpc_firewall_rules_parse(pool, slips[i].text, NULL, &rules, &err), APR_EINVAL,
               "\"%s\" is refused", slips[i].text);
        is_int(err.column, slips[i].column, "... column");
        is_str(err.element, slips[i].element, "... element");
        is_str(err.expected, slips[i].expected, "... expected");
        ok(!rules, "... and there are no rules");
    }
}

static void test_lists(apr_pool_t *pool)
{
    rpc_firewall_rules_t *a = rules_of(pool, "6001 emsmdb"), *both;
    rpc_interface_t samr = interface_of("samr@1.0"), nspi = interface_of("nspi@56.0");
    const char *nearest;

    ok(!rpc_firewall_rules_cover(NULL, 6001), "no rules, no port");
    ok(rpc_firewall_rules_allowed(NULL, 6001, &samr, NULL), "no rules allow everything");
    both = rpc_firewall_rules_allow(pool, a, 6004, 6004, "nspi rfr", "RpcX");
    ok(both && rpc_firewall_rules_allowed(both, 6004, &nspi, NULL), "allowed from code");
    ok(both && !rpc_firewall_rules_allowed(both, 6004, &samr, &nearest), "... and nothing else");
    is_str(nearest, "RpcX: 6004 nspi rfr", "... nearest rule");
    ok(both && rpc_firewall_rules_cover(both, 6001) && !rpc_firewall_rules_cover(a, 6004),
       "... added to a list");
    both = rpc_firewall_rules_allow(pool, NULL, 100, 102, "nspi", "RpcX");
    ok(both && rpc_firewall_rules_cover(both, 101) && !rpc_firewall_rules_cover(both, 103),
       "... for a range");
    ok(!rpc_firewall_rules_allow(pool, NULL, 6004, 6004, "nspy", "RpcX"), "... an unknown name");
    ok(!rpc_firewall_rules_allow(pool, NULL, 6004, 6004, "", "RpcX"), "... no name");
    ok(!rpc_firewall_rules_allow(pool, NULL, 2, 1, "nspi", "RpcX"), "... no range");
    ok(!rpc_firewall_rules_allow(pool, NULL, 0, 0, "nspi", "RpcX"), "... no port");
}

/* Two sets of rules, which both have to allow an interface. */
static void test_both(apr_pool_t *pool)
{
    rpc_interface_t samr = interface_of("samr@1.0"), nspi = interface_of("nspi@56.0"),
                    rfr = interface_of("rfr@1.0");
    const rpc_firewall_rules_t *both;
    rpc_firewall_rules_t *rules = rules_of(pool, "6004 nspi rfr"), *only, *other;
    const char *nearest;
    rpc_syntax_error_t err;

    ok(!rpc_firewall_rules_both(pool, NULL, NULL), "both of nothing");
    ok(rpc_firewall_rules_only(pool, "nspi samr", &only, &err) == APR_SUCCESS,
       "interfaces whatever the port");
    ok(rpc_firewall_rules_only(pool, "rfr samr", &other, &err) == APR_SUCCESS, "others");
    ok(rpc_firewall_rules_both(pool, rules, NULL) == rules
           && rpc_firewall_rules_both(pool, NULL, only) == only,
       "both of one");
    both = rpc_firewall_rules_both(pool, rules, only);
    ok(rpc_firewall_rules_cover(both, 6004) && rpc_firewall_rules_cover(both, 1),
       "both: a port of either");
    ok(rpc_firewall_rules_allowed(both, 6004, &nspi, &nearest), "... what both allow");
    ok(!rpc_firewall_rules_allowed(both, 6004, &rfr, &nearest), "... not what only the first does");
    is_str(nearest, "Require rpc-interface nspi samr", "... nearest rule");
    ok(!rpc_firewall_rules_allowed(both, 6004, &samr, &nearest),
       "... not what only the second does");
    is_str(nearest, "RpcAllowInterfaces 6004 nspi rfr", "... nearest rule");
    ok(rpc_firewall_rules_allowed(both, 6001, &samr, NULL),
       "... where the first is silent the second decides");
    ok(!rpc_firewall_rules_allowed(both, 6001, &rfr, NULL), "... either way");
    ok(rpc_firewall_rules_allowed(rules, 6004, &rfr, NULL), "... and they are left as they were");
    both = rpc_firewall_rules_both(pool, both, other);
    ok(!rpc_firewall_rules_allowed(both, 6004, &nspi, NULL)
           && !rpc_firewall_rules_allowed(both, 6004, &rfr, NULL)
           && rpc_firewall_rules_allowed(both, 6001, &samr, NULL),
       "three of them");
    ok(rpc_firewall_rules_only(pool, "nspi nspy", &only, &err) == APR_EINVAL, "an unknown name");
    is_int(err.column, 6, "... column");
    ok(rpc_firewall_rules_only(pool, " ", &only, &err) == APR_EINVAL, "no name");
}

static const struct profile_case {
    const char *profile;
    int port;
    const char *allowed, *refused;  /* separated by blanks */
} profile_cases[] = {
    { "exchange", 593, "epm mgmt", "samr emsmdb" },
    { "exchange", 6001, "emsmdb async-emsmdb mgmt",
      "nspi rfr samr epm drsuapi winreg svcctl tsgu" },
    { "exchange", 6002, "rfr mgmt", "nspi emsmdb samr" },
    { "exchange", 6004, "mgmt", "nspi rfr emsmdb samr lsarpc drsuapi" },
    { "Exchange", 49152, "samr", "" },
    { "rdgateway", 3388, "tsgu mgmt", "emsmdb samr epm" },
    { "rdgateway", 593, "epm mgmt", "tsgu" },
    { "samba", 135, "epm mgmt", "samr" },
    { "samba", 593, "epm mgmt", "samr" },
    { "samba", 1024, "samr mgmt", "winreg svcctl epm" },
    { "samba", 49152, "samr lsarpc netlogon drsuapi srvsvc wkssvc dnsserver mgmt",
      "winreg svcctl atsvc itaskschedulerservice spoolss epm tsgu" },
    { "samba", 65535, "samr", "svcctl" },
};

static void test_profile(apr_pool_t *pool, const struct profile_case *c, const char *names,
                         int allowed)
{
    char *left = apr_pstrdup(pool, names), *state, *name;
    rpc_firewall_rules_t *rules = NULL;
    const char *nearest;
    rpc_syntax_error_t err;

    is_int(rpc_firewall_rules_profile(pool, c->profile, NULL, &rules, &err), APR_SUCCESS,
           "profile %s", c->profile);
    for (name = apr_strtok(left, " ", &state); name; name = apr_strtok(NULL, " ", &state)) {
        rpc_interface_t interface = interface_of(name);

        is_int(rpc_firewall_rules_allowed(rules, (apr_port_t)c->port, &interface, &nearest),
               allowed, "... %s behind %d is %s", name, c->port,
               allowed ? "allowed" : "not allowed");
        ok(allowed || (nearest && !strncmp(nearest, "RpcProfile ", 11)), "... nearest: %s",
           nearest ? nearest : "none");
    }
}

static void test_profiles(apr_pool_t *pool)
{
    rpc_firewall_rules_t *rules = NULL;
    rpc_syntax_error_t err;
    size_t i;

    for (i = 0; i < sizeof(profile_cases) / sizeof(profile_cases[0]); i++) {
        test_profile(pool, &profile_cases[i], profile_cases[i].allowed, 1);
        test_profile(pool, &profile_cases[i], profile_cases[i].refused, 0);
    }
    is_int(rpc_firewall_rules_profile(pool, "windows", NULL, &rules, &err), APR_EINVAL,
           "an unknown profile");
    is_str(err.expected, "exchange, rdgateway, samba or none", "... expected");
    is_str(err.element, "windows", "... element");
    ok(!rules, "... no rules");
    is_int(rpc_firewall_rules_profile(pool, "None", NULL, &rules, &err), APR_SUCCESS,
           "profile none");
    ok(rules && !rpc_firewall_rules_cover(rules, 6001), "... no rule, and yet a set of them");
}

static void test_levels(apr_pool_t *pool)
{
    static const struct { const char *text; int level; } levels[] = {
        { "none", 1 }, { "connect", 2 }, { "integrity", 5 }, { "privacy", 6 }, { "Privacy", 6 },
        { "call", 0 }, { "pkt", 0 }, { "default", 0 }, { "", 0 }, { "privacy ", 0 },
    };
    rpc_syntax_error_t err;
    size_t i;

    for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        rpc_auth_level_t level = (rpc_auth_level_t)0;

        is_int(rpc_auth_level_parse(pool, levels[i].text, &level, &err),
               levels[i].level ? APR_SUCCESS : APR_EINVAL, "level \"%s\"", levels[i].text);
        is_int(level, levels[i].level, "... is %d", levels[i].level);
    }
    is_str(err.expected, "none, connect, integrity or privacy", "what is expected of a level");
    is_str(rpc_auth_level_name(6), "privacy", "a level's name");
    is_str(rpc_auth_level_name(3), "call", "a level that no directive names");
    is_str(rpc_auth_level_name(7), "unknown", "a level that does not exist");
}

/* ---- PDUs ---- */

typedef struct maker {
    int big, minor, ptype, flags;
    unsigned auth_type, auth_level, auth_value; /* AUTH_VALUE: bytes of the token; 0: no trailer */
    uint8_t data[8192];
    size_t len;
} maker_t;

static void add(maker_t *m, unsigned value, int size)
{
    int i;

    for (i = 0; i < size; i++)
        m->data[m->len++] = (uint8_t)(value >> 8 * (m->big ? size - 1 - i : i));
}

static void add_syntax(maker_t *m, const char *text)
{
    rpc_interface_t interface = interface_of(text);
    const uint8_t *u = interface.uuid;
    int i;

    add(m, (unsigned)u[0] << 24 | (unsigned)u[1] << 16 | (unsigned)u[2] << 8 | u[3], 4);
    add(m, (unsigned)u[4] << 8 | u[5], 2);
    add(m, (unsigned)u[6] << 8 | u[7], 2);
    for (i = 8; i < 16; i++)
        add(m, u[i], 1);
    add(m, (unsigned)interface.minor << 16 | interface.major, 4);
}

static void begin(maker_t *m)
{
    m->len = 0;
    add(m, 5, 1);
    add(m, (unsigned)m->minor, 1);
    add(m, (unsigned)m->ptype, 1);
    add(m, (unsigned)m->flags, 1);
    add(m, m->big ? 0 : 0x10, 1);
    m->data[m->len++] = 0;
    add(m, 0, 2);
    add(m, 0, 4);               /* lengths: finish() */
    add(m, 0x0a0b0c0d, 4);
}

static void set_lengths(maker_t *m, size_t frag_length, size_t auth_length)
{
    size_t len = m->len;

    m->len = 8;
    add(m, (unsigned)frag_length, 2);
    add(m, (unsigned)auth_length, 2);
    m->len = len;
}

static void finish(maker_t *m)
{
    if (m->auth_value) {
        add(m, m->auth_type, 1);
        add(m, m->auth_level, 1);
        add(m, 0, 2);
        add(m, 79231, 4);
        memset(m->data + m->len, 0xaa, m->auth_value);
        m->len += m->auth_value;
    }
    set_lengths(m, m->len, m->auth_value);
}

#define NDR   "8a885d04-1ceb-11c9-9fe8-08002b104860@2.0"
#define NDR64 "71710533-beba-4937-8319-b5dbef9ccc36@1.0"
#define BTFN  "6cb71c2c-9812-4540-0300-000000000000@1.0"

/* A bind or alter_context for INTERFACES, separated by blanks, the way Windows asks: a context
 * with NDR and NDR64 for each, one with bind time feature negotiation at the end. */
static void make_bind(maker_t *m, apr_pool_t *pool, const char *interfaces)
{
    char *left = apr_pstrdup(pool, interfaces), *state, *name, *last = NULL;
    unsigned count = 0;

    begin(m);
    add(m, 5840, 2);
    add(m, 4280, 2);
    add(m, 0x01020304, 4);
    add(m, 0, 4);
    for (name = apr_strtok(left, " ", &state); name; name = apr_strtok(NULL, " ", &state)) {
        last = name;
        add(m, count++, 2);
        add(m, 2, 1);
        add(m, 0, 1);
        add_syntax(m, name);
        add_syntax(m, NDR);
        add_syntax(m, NDR64);
    }
    if (last) {
        add(m, count++, 2);
        add(m, 1, 1);
        add(m, 0, 1);
        add_syntax(m, last);
        add_syntax(m, BTFN);
    }
    m->data[24] = (uint8_t)count;
    finish(m);
}

static void make_request(maker_t *m)
{
    begin(m);
    add(m, 8, 4);
    add(m, 0x1234, 2);
    add(m, 7, 2);
    add(m, 0, 4);
    add(m, 0, 4);
    finish(m);
}

static maker_t maker(int ptype, int big)
{
    maker_t m;

    memset(&m, 0, sizeof(m));
    m.ptype = ptype;
    m.big = big;
    m.flags = 3;
    m.auth_type = 10;
    return m;
}

/* The PDU that was refused last, as rpc_firewall_blind() has changed it. */
static uint8_t *blinded;

/* Gives a copy of exactly this size to the firewall, and calls rpc_firewall_blind() when the
 * firewall says so. */
static rpc_firewall_verdict_t check(rpc_firewall_t *fw, const maker_t *m, rpc_firewall_result_t *r)
{
    uint8_t *pdu = unit_copy(m->data, m->len);
    dcerpc_header_t header;
    const char *wrong = dcerpc_header_parse(pdu, &header);
    rpc_firewall_verdict_t verdict;

    if (wrong || header.frag_length != m->len) {
        ok(0, "the test's own PDU: %s", wrong ? wrong : "length");
        exit(1);
    }
    memset(r, 0xee, sizeof(*r));
    verdict = rpc_firewall_check(fw, pdu, &header, r);
    if ((verdict == RPC_FIREWALL_PASS) != (r->cause == RPC_FIREWALL_OK)
        || (verdict == RPC_FIREWALL_PASS) != !r->why
        || (verdict == RPC_FIREWALL_BLIND) != (r->contexts > 0) || memcmp(pdu, m->data, m->len))
        ok(0, "a result that contradicts itself");
    free(blinded);
    blinded = NULL;
    if (verdict == RPC_FIREWALL_BLIND) {
        rpc_firewall_blind(fw, pdu, &header, r);
        blinded = pdu;
    } else
        free(pdu);
    return verdict;
}

static int passes(rpc_firewall_t *fw, const maker_t *m, rpc_firewall_result_t *r)
{
    return check(fw, m, r) == RPC_FIREWALL_PASS;
}

static int ends(rpc_firewall_t *fw, const maker_t *m, rpc_firewall_result_t *r)
{
    return check(fw, m, r) == RPC_FIREWALL_END;
}

/* ---- what becomes of a bind, byte by byte ---- */

/* RPC_FIREWALL_NOBODY, version 0.0 */
static const uint8_t nobody[2][20] = {
    { 0x78, 0xbd, 0xf9, 0x02, 0x73, 0xf3, 0xfc, 0x4f,
      0x81, 0x44, 0xaf, 0xed, 0xe8, 0xf9, 0x6e, 0xa8 },
    { 0x02, 0xf9, 0xbd, 0x78, 0xf3, 0x73, 0x4f, 0xfc,
      0x81, 0x44, 0xaf, 0xed, 0xe8, 0xf9, 0x6e, 0xa8 },
};

/* Tests that M is unchanged except for the contexts in WHICH, which has a bit for each. */
static void is_blinded(const maker_t *m, unsigned which, const char *name)
{
    maker_t want = *m;
    size_t at = 28;
    int i;

    for (i = 0; i < m->data[24]; i++) {
        if (which >> i & 1)
            memcpy(want.data + at + 4, nobody[m->big], 20);
        at += 24 + 20 * (size_t)m->data[at + 2];
    }
    is_bytes(blinded, blinded ? m->len : 0, want.data, want.len, "%s, %s", name,
             m->big ? "big-endian" : "little-endian");
}

static void test_bind(apr_pool_t *pool, int big)
{
    rpc_firewall_rules_t *rules = rules_of(pool, "6001 emsmdb async-emsmdb;6004 nspi");
    maker_t m = maker(DCERPC_BIND, big);
    rpc_firewall_result_t r;
    rpc_firewall_t fw;
    rpc_interface_t samr = interface_of("samr@1.0"), emsmdb = interface_of("emsmdb@0.81");

    m.minor = big;
    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 0);
    make_bind(&m, pool, "emsmdb@0.81");
    ok(passes(&fw, &m, &r), "a bind for emsmdb passes");
    ok(r.has_interface && !memcmp(&r.interface, &emsmdb, sizeof(emsmdb)),
       "... its interface is told");
    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 0);
    make_bind(&m, pool, "emsmdb@0.81 async-emsmdb@0.1");
    ok(passes(&fw, &m, &r), "a bind for two that are allowed passes");
    rpc_firewall_begin(&fw, rules, 6002, RPC_AUTH_LEVEL_NONE, 0);
    make_bind(&m, pool, "samr@1.0");
    ok(passes(&fw, &m, &r), "where no rule is all pass");

    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 0);
    m.auth_level = 5;
    m.auth_value = 33;
    make_bind(&m, pool, "emsmdb@0.81 samr@1.0 async-emsmdb@0.1 winreg@1.0");
    is_int(check(&fw, &m, &r), RPC_FIREWALL_BLIND,
           "a bind for some that are and some that are not");
    is_int(r.cause, RPC_FIREWALL_INTERFACE, "... cause");
    ok(r.has_interface && !memcmp(&r.interface, &samr, sizeof(samr)),
       "... the first refused one is told");
    is_int(r.contexts, 3, "... the number of refused contexts");
    is_str(r.nearest, "RpcAllowInterfaces 6001 emsmdb async-emsmdb", "... and the rule");
    is_blinded(&m, 1u << 1 | 1u << 3 | 1u << 4, "... only these ask for nobody");
    memcpy(m.data, blinded, m.len);
    is_int(check(&fw, &m, &r), RPC_FIREWALL_BLIND, "... which is no interface that a rule allows");
    is_blinded(&m, 0, "... and stays what it is");
    m.auth_value = 0;
    make_bind(&m, pool, "nspi@56.0");
    is_int(check(&fw, &m, &r), RPC_FIREWALL_BLIND, "an interface of another port");
    is_str(r.nearest, "RpcAllowInterfaces 6004 nspi", "... nearest rule");
    is_blinded(&m, 3, "... all contexts");
    m.ptype = DCERPC_REQUEST;
    make_request(&m);
    ok(passes(&fw, &m, &r), "... behind it requests are the server's to refuse");
}

static void test_alter(apr_pool_t *pool, int big)
{
    rpc_firewall_rules_t *rules = rules_of(pool, "6001 emsmdb async-emsmdb");
    maker_t m = maker(DCERPC_ALTER, big);
    rpc_firewall_result_t r;
    rpc_firewall_t fw;

    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 0);
    make_bind(&m, pool, "emsmdb@0.81");
    ok(ends(&fw, &m, &r) && r.cause == RPC_FIREWALL_NOT_BOUND, "an alter_context before a bind");
    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 1);
    ok(passes(&fw, &m, &r), "an alter_context for emsmdb passes");
    m.minor = big;
    make_bind(&m, pool, "emsmdb@0.81 samr@1.0");
    is_int(check(&fw, &m, &r), RPC_FIREWALL_BLIND, "one for samr, too, does not");
    is_int(r.cause, RPC_FIREWALL_INTERFACE, "... cause");
    is_blinded(&m, 1u << 1 | 1u << 2, "... as that of nobody");
    ok(!rpc_firewall_wants(&fw, DCERPC_REQUEST), "... and what was bound before still is");
    make_bind(&m, pool, "");
    ok(ends(&fw, &m, &r) && r.cause == RPC_FIREWALL_BAD_PDU, "an alter_context for nothing");
}

static void test_requests(apr_pool_t *pool, int big)
{
    rpc_firewall_rules_t *rules = rules_of(pool, "6001 emsmdb");
    maker_t m = maker(DCERPC_REQUEST, big);
    rpc_firewall_result_t r;
    rpc_firewall_t fw;
    unsigned level;

    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 0);
    ok(rpc_firewall_wants(&fw, DCERPC_REQUEST), "requests are of interest before a bind");
    begin(&m);
    finish(&m);
    ok(ends(&fw, &m, &r) && r.cause == RPC_FIREWALL_NOT_BOUND, "a request before a bind");

    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_INTEGRITY, 1);
    ok(rpc_firewall_wants(&fw, DCERPC_REQUEST),
       "requests are of interest where they must be signed");
    make_request(&m);
    ok(ends(&fw, &m, &r) && r.cause == RPC_FIREWALL_LEVEL, "a request without verifier");
    m.auth_value = 16;
    for (level = 0; level < 8; level++) {
        m.auth_level = level;
        make_request(&m);
        is_int(passes(&fw, &m, &r), level == 5 || level == 6, "a request with one of level %u",
               level);
    }
    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_CONNECT, 1);
    ok(!rpc_firewall_wants(&fw, DCERPC_REQUEST), "requests are of no interest otherwise");
    m.auth_value = 0;
    make_request(&m);
    ok(passes(&fw, &m, &r), "... and pass");
}

/* ---- what is of interest ---- */

static void test_interest(apr_pool_t *pool)
{
    static const int legal[] = { DCERPC_REQUEST, DCERPC_BIND, DCERPC_ALTER, DCERPC_AUTH3, 18, 19 };
    rpc_firewall_rules_t *rules = rules_of(pool, "6001 emsmdb");
    rpc_firewall_result_t r;
    rpc_firewall_t fw;
    int ptype, i;

    rpc_firewall_begin(&fw, rules, 6002, RPC_AUTH_LEVEL_NONE, 0);
    for (ptype = 0; ptype < 256; ptype++)
        if (rpc_firewall_wants(&fw, (uint8_t)ptype)
            != (ptype == DCERPC_BIND || ptype == DCERPC_ALTER))
            ok(0, "without rule and level PTYPE %d is of no interest, but for binds", ptype);
    rpc_firewall_begin(&fw, NULL, 6002, RPC_AUTH_LEVEL_CONNECT, 0);
    ok(rpc_firewall_wants(&fw, DCERPC_BIND), "a level alone makes binds interesting");
    for (ptype = 0; ptype <= DCERPC_RTS; ptype++) {
        maker_t m = maker(ptype, 0);
        int is_legal = ptype == DCERPC_RTS;

        begin(&m);
        finish(&m);
        for (i = 0; i < (int)(sizeof(legal) / sizeof(legal[0])); i++)
            is_legal |= legal[i] == ptype;
        if (is_legal)
            continue;
        rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 1);
        ok(rpc_firewall_wants(&fw, (uint8_t)ptype) && ends(&fw, &m, &r)
               && r.cause == RPC_FIREWALL_BAD_PTYPE,
           "%s is not for clients to send", dcerpc_ptype_name((uint8_t)ptype));
    }
    for (ptype = DCERPC_AUTH3; ptype <= 19; ptype++) {
        maker_t m = maker(ptype, 0);

        begin(&m);
        finish(&m);
        rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 0);
        ok(ends(&fw, &m, &r), "%s before a bind", dcerpc_ptype_name((uint8_t)ptype));
        rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 1);
        is_int(passes(&fw, &m, &r), ptype != 17, "%s behind one",
               dcerpc_ptype_name((uint8_t)ptype));
    }
    ok(!rpc_firewall_wants(&fw, DCERPC_RTS), "RTS PDUs are of no interest");
}

/* A bind decides which PDUs are checked from then on. */
static void test_binding(apr_pool_t *pool)
{
    maker_t m = maker(DCERPC_BIND, 0);
    rpc_firewall_result_t r;
    rpc_firewall_t fw;

    rpc_firewall_begin(&fw, rules_of(pool, "6001 emsmdb"), 6001, RPC_AUTH_LEVEL_NONE, 0);
    make_bind(&m, pool, "emsmdb@0.81");
    ok(passes(&fw, &m, &r) && !rpc_firewall_wants(&fw, DCERPC_REQUEST),
       "behind a bind requests are free");
    ok(rpc_firewall_wants(&fw, DCERPC_ALTER) && rpc_firewall_wants(&fw, DCERPC_BIND)
       && rpc_firewall_wants(&fw, DCERPC_AUTH3), "... but not what may change it");
    ok(!rpc_firewall_wants(&fw, 18) && !rpc_firewall_wants(&fw, 19),
       "... and cancels are free, too");
    make_bind(&m, pool, "samr@1.0");
    ok(!passes(&fw, &m, &r), "... nor is another bind");
}

/* ---- levels on the wire ---- */

static const struct level_case {
    rpc_auth_level_t least;
    unsigned type, level, token;    /* TOKEN 0: no trailer */
    int pass;
} level_cases[] = {
    { RPC_AUTH_LEVEL_NONE, 0, 0, 0, 1 },        { RPC_AUTH_LEVEL_NONE, 10, 1, 8, 1 },
    { RPC_AUTH_LEVEL_NONE, 10, 99, 8, 1 },      { RPC_AUTH_LEVEL_CONNECT, 0, 0, 0, 0 },
    { RPC_AUTH_LEVEL_CONNECT, 10, 0, 8, 0 },    { RPC_AUTH_LEVEL_CONNECT, 10, 1, 8, 0 },
    { RPC_AUTH_LEVEL_CONNECT, 10, 2, 8, 1 },    { RPC_AUTH_LEVEL_CONNECT, 9, 3, 1, 1 },
    { RPC_AUTH_LEVEL_CONNECT, 0, 6, 8, 0 },     { RPC_AUTH_LEVEL_CONNECT, 10, 7, 8, 0 },
    { RPC_AUTH_LEVEL_CONNECT, 10, 255, 8, 0 },  { RPC_AUTH_LEVEL_INTEGRITY, 10, 2, 8, 0 },
    { RPC_AUTH_LEVEL_INTEGRITY, 10, 4, 8, 0 },  { RPC_AUTH_LEVEL_INTEGRITY, 10, 5, 8, 1 },
    { RPC_AUTH_LEVEL_INTEGRITY, 16, 6, 900, 1 }, { RPC_AUTH_LEVEL_PRIVACY, 10, 5, 8, 0 },
    { RPC_AUTH_LEVEL_PRIVACY, 10, 6, 8, 1 },    { RPC_AUTH_LEVEL_PRIVACY, 0, 0, 0, 0 },
};

static void make_auth3(maker_t *m)
{
    begin(m);
    add(m, 0, 4);
    finish(m);
}

/* An alter_context without a trailer has the level of the bind before. On a successor this may not
 * be known. */
static void test_level(apr_pool_t *pool, const struct level_case *c, int ptype)
{
    int old = ptype == DCERPC_ALTER && !c->token && c->least != RPC_AUTH_LEVEL_CONNECT, big;

    for (big = 0; big < 2; big++) {
        maker_t m = maker(ptype, big);
        rpc_firewall_result_t r;
        rpc_firewall_t fw;

        m.auth_type = c->type;
        m.auth_level = c->level;
        m.auth_value = c->token;
        rpc_firewall_begin(&fw, NULL, 6001, c->least, ptype != DCERPC_BIND);
        if (ptype == DCERPC_AUTH3)
            make_auth3(&m);
        else
            make_bind(&m, pool, "emsmdb@0.81 samr@1.0");
        is_int(check(&fw, &m, &r), c->pass || old ? RPC_FIREWALL_PASS
               : ptype == DCERPC_AUTH3 ? RPC_FIREWALL_END : RPC_FIREWALL_BLIND,
               "%s, level %u of type %u, %u bytes, at least %s", dcerpc_ptype_name((uint8_t)ptype),
               c->level,
               c->type, c->token, rpc_auth_level_name(c->least));
        if (c->pass || old)
            continue;
        is_int(r.cause, RPC_FIREWALL_LEVEL, "... cause");
        is_int(r.level, c->type ? c->level : 0, "... level");
        if (ptype != DCERPC_AUTH3)
            is_blinded(&m, 7, "... for no interface at all");
    }
}

/* A context that a bind was refused is not allowed by an alter_context without authentication. */
static void test_old_context(apr_pool_t *pool, rpc_auth_level_t least, unsigned level)
{
    maker_t bind = maker(DCERPC_BIND, 0), alter = maker(DCERPC_ALTER, 0),
            auth3 = maker(DCERPC_AUTH3, 0);
    int enough = level >= (unsigned)least;
    rpc_firewall_result_t r;
    rpc_firewall_t fw;

    bind.auth_level = auth3.auth_level = level;
    bind.auth_value = level ? 8 : 0;
    auth3.auth_value = 8;
    make_bind(&bind, pool, "emsmdb@0.81");
    make_bind(&alter, pool, "emsmdb@0.81");
    make_auth3(&auth3);
    rpc_firewall_begin(&fw, NULL, 6001, least, 0);
    is_int(passes(&fw, &bind, &r), enough, "a bind of level %u where %s is the least", level,
           rpc_auth_level_name(least));
    is_int(passes(&fw, &alter, &r), enough,
           "... an alter_context without authentication behind it");
    is_int(passes(&fw, &auth3, &r), enough, "... an auth3");
    rpc_firewall_renew(&fw, NULL, least);
    is_int(passes(&fw, &alter, &r), enough, "... on a successor");
    alter.auth_level = 6;
    alter.auth_value = 8;
    make_bind(&alter, pool, "emsmdb@0.81");
    ok(passes(&fw, &alter, &r), "... with authentication");
    alter.auth_value = 0;
    make_bind(&alter, pool, "emsmdb@0.81");
    ok(passes(&fw, &alter, &r), "... and without, behind that");
}

/* What is known of a virtual connection that began at another proxy. */
static void test_recall(apr_pool_t *pool)
{
    static const rpc_auth_level_t least[] = { RPC_AUTH_LEVEL_NONE, RPC_AUTH_LEVEL_CONNECT,
                                              RPC_AUTH_LEVEL_INTEGRITY,
                                              RPC_AUTH_LEVEL_PRIVACY };
    maker_t alter = maker(DCERPC_ALTER, 0), request = maker(DCERPC_REQUEST, 0);
    const rpc_firewall_rules_t *rules = rules_of(pool, "6001 emsmdb");
    rpc_firewall_result_t r;
    rpc_firewall_t fw;
    unsigned i, level;

    make_bind(&alter, pool, "emsmdb@0.81");
    request.auth_level = 6;
    request.auth_value = 8;
    make_request(&request);
    for (i = 0; i < 4; i++) {
        rpc_firewall_begin(&fw, rules, 6001, least[i], 1);
        ok(passes(&fw, &request, &r), "nothing is known, %s: requests pass",
           rpc_auth_level_name(least[i]));
        is_int(passes(&fw, &alter, &r), least[i] != RPC_AUTH_LEVEL_CONNECT,
               "... an alter_context without authentication");
        rpc_firewall_begin(&fw, rules, 6001, least[i], 1);
        rpc_firewall_recall(&fw, 0, 0);
        ok(ends(&fw, &request, &r) && r.cause == RPC_FIREWALL_NOT_BOUND,
           "nothing was bound: a request");
        ok(ends(&fw, &alter, &r) && r.cause == RPC_FIREWALL_NOT_BOUND, "... an alter_context");
        for (level = 0; level <= 6; level++) {
            rpc_firewall_begin(&fw, rules, 6001, least[i], 1);
            rpc_firewall_recall(&fw, 1, level);
            ok(passes(&fw, &request, &r), "bound at level %u: a request of level 6", level);
            is_int(passes(&fw, &alter, &r),
                   least[i] == RPC_AUTH_LEVEL_NONE || level >= (unsigned)least[i],
                   "... an alter_context without authentication");
        }
    }
}

/* A successor of a channel that has bound no interface, or that was free to bind any. */
static void test_successors(apr_pool_t *pool)
{
    maker_t bind = maker(DCERPC_BIND, 0), request = maker(DCERPC_REQUEST, 0);
    const rpc_firewall_rules_t *rules = rules_of(pool, "6001 emsmdb");
    const rpc_firewall_rules_t *same = rules_of(pool, "6001 emsmdb");
    const rpc_firewall_rules_t *both = rpc_firewall_rules_both(pool, rules,
                                                               rules_of(pool, "6001 emsmdb rfr"));
    rpc_firewall_result_t r;
    rpc_firewall_t fw;

    make_bind(&bind, pool, "emsmdb@0.81");
    make_request(&request);
    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 0);
    rpc_firewall_renew(&fw, same, RPC_AUTH_LEVEL_NONE);
    ok(ends(&fw, &request, &r) && r.cause == RPC_FIREWALL_NOT_BOUND,
       "a request on a successor, without a bind");
    ok(passes(&fw, &bind, &r), "... a bind");
    rpc_firewall_renew(&fw, rules, RPC_AUTH_LEVEL_NONE);
    ok(passes(&fw, &request, &r), "... then requests, on the next one, too");
    rpc_firewall_renew(&fw, both, RPC_AUTH_LEVEL_NONE);
    ok(ends(&fw, &request, &r), "another rule beside it: a bind has to come first");
    rpc_firewall_renew(&fw, rules, RPC_AUTH_LEVEL_NONE);
    ok(ends(&fw, &request, &r), "... and without it again");
    ok(passes(&fw, &bind, &r), "... a bind");
    rpc_firewall_renew(&fw, rules, RPC_AUTH_LEVEL_CONNECT);
    ok(ends(&fw, &request, &r), "... nor does what was bound count under a least level");

    rpc_firewall_begin(&fw, NULL, 6001, RPC_AUTH_LEVEL_NONE, 0);
    ok(passes(&fw, &bind, &r) && fw.bound, "without rules a bind is remembered");
    ok(rpc_firewall_rules_equal(NULL, NULL) && rpc_firewall_rules_equal(rules, same)
           && !rpc_firewall_rules_equal(rules, NULL) && !rpc_firewall_rules_equal(NULL, rules)
           && !rpc_firewall_rules_equal(rules, both) && !rpc_firewall_rules_equal(both, rules)
           && !rpc_firewall_rules_equal(rules, rules_of(pool, "6001 emsmdb;6001 rfr"))
           && !rpc_firewall_rules_equal(rules, rules_of(pool, "6001 rfr"))
           && !rpc_firewall_rules_equal(rules, rules_of(pool, "6002 emsmdb")),
       "which rules are the same");
}

/* A successor is judged by its own rules. */
static void test_renewal(apr_pool_t *pool)
{
    maker_t m = maker(DCERPC_ALTER, 0);
    rpc_firewall_result_t r;
    rpc_firewall_t fw;

    make_bind(&m, pool, "samr@1.0");
    rpc_firewall_begin(&fw, NULL, 6001, RPC_AUTH_LEVEL_NONE, 0);
    rpc_firewall_renew(&fw, rules_of(pool, "6001 emsmdb"), RPC_AUTH_LEVEL_NONE);
    ok(!passes(&fw, &m, &r), "a successor with rules, its predecessor had none");
    m.ptype = DCERPC_REQUEST;
    make_request(&m);
    ok(ends(&fw, &m, &r), "... has nothing bound by its rules");
    rpc_firewall_renew(&fw, NULL, RPC_AUTH_LEVEL_NONE);
    ok(passes(&fw, &m, &r), "a successor without rules");
}

static void test_wire_levels(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof(level_cases) / sizeof(level_cases[0]); i++) {
        test_level(pool, &level_cases[i], DCERPC_BIND);
        test_level(pool, &level_cases[i], DCERPC_ALTER);
        if (level_cases[i].least != RPC_AUTH_LEVEL_NONE)
            test_level(pool, &level_cases[i], DCERPC_AUTH3);
    }
    for (i = 0; i <= 6; i++) {
        test_old_context(pool, RPC_AUTH_LEVEL_CONNECT, (unsigned)i);
        test_old_context(pool, RPC_AUTH_LEVEL_INTEGRITY, (unsigned)i);
    }
    test_renewal(pool);
    test_recall(pool);
    test_successors(pool);
}

/* ---- lengths ---- */

/* Is this PDU refused as malformed? */
static int is_bad(maker_t *m, rpc_firewall_result_t *r)
{
    rpc_firewall_t fw;

    rpc_firewall_begin(&fw, NULL, 6001, RPC_AUTH_LEVEL_CONNECT, m->ptype != DCERPC_BIND);
    return ends(&fw, m, r) && r->cause == RPC_FIREWALL_BAD_PDU;
}

/* Every shorter PDU, with a frag_length that fits, and with the count of contexts unchanged. */
static void test_truncations(apr_pool_t *pool, int ptype, int big, unsigned token)
{
    maker_t m = maker(ptype, big), cut;
    rpc_firewall_result_t r;
    size_t len;
    int bad = 0, refused = 0;

    m.auth_level = 6;
    m.auth_value = token;
    make_bind(&m, pool, "emsmdb@0.81 nspi@56.0");
    for (len = DCERPC_HEADER_SIZE + token; len < m.len; len++) {
        cut = m;
        cut.len = len;
        set_lengths(&cut, len, token);
        refused++;
        bad += is_bad(&cut, &r);
    }
    is_int(bad, refused, "%s cut anywhere, %s, %u bytes of token: all %d are refused",
           dcerpc_ptype_name((uint8_t)ptype), big ? "big-endian" : "little-endian", token, refused);
}

static void test_lengths(apr_pool_t *pool, int ptype)
{
    maker_t m = maker(ptype, 0), wrong;
    rpc_firewall_result_t r;
    rpc_firewall_t fw;
    unsigned n;

    m.auth_level = 6;
    m.auth_value = 20;
    make_bind(&m, pool, "emsmdb@0.81");
    ok(!is_bad(&m, &r), "a sound %s", dcerpc_ptype_name((uint8_t)ptype));
    for (n = 3; n < 256; n += 14) {
        wrong = m;
        wrong.data[24] = (uint8_t)n;
        ok(is_bad(&wrong, &r), "%u contexts are announced", n);
        wrong = m;
        wrong.data[30] = (uint8_t)n;
        ok(is_bad(&wrong, &r), "%u transfer syntaxes are announced", n);
    }
    for (n = 0; n < 4; n++) {
        wrong = m;
        wrong.data[3] = (uint8_t)(n | 0x04);
        is_int(is_bad(&wrong, &r), n != 3, "fragment flags %u", n);
    }
    wrong = m;
    wrong.data[24] = 0;
    ok(is_bad(&wrong, &r), "no context");
    for (n = 21; n < 128; n++) {    /* the bytes of the trailer are missing to the contexts */
        wrong = m;
        set_lengths(&wrong, m.len, n);
        if (!is_bad(&wrong, &r))
            ok(0, "auth_length %u of %u", n, (unsigned)m.len);
    }
    wrong = m;
    set_lengths(&wrong, m.len, m.len - 16);
    ok(is_bad(&wrong, &r), "auth_length up to the header");
    wrong = m;
    wrong.data[24] = 1;     /* the bytes that are left belong to no context */
    ok(!is_bad(&wrong, &r), "fewer contexts than there is room for");
    rpc_firewall_begin(&fw, rules_of(pool, "6001 emsmdb"), 6001, RPC_AUTH_LEVEL_NONE, 1);
    ok(passes(&fw, &wrong, &r), "... and only those are looked at");
}

static void test_many_contexts(apr_pool_t *pool)
{
    maker_t *m = calloc(1, sizeof(*m));
    rpc_firewall_rules_t *rules = rules_of(pool, "6001 emsmdb");
    rpc_firewall_result_t *r = malloc(sizeof(*r));
    rpc_firewall_t fw;
    int i;

    *m = maker(DCERPC_ALTER, 0);
    begin(m);
    add(m, 0, 4);
    add(m, 0, 4);
    add(m, 255, 4);
    for (i = 0; i < 255; i++) {
        add(m, (unsigned)i, 4);
        add_syntax(m, i == 254 ? "samr@1.0" : "emsmdb@0.81");
    }
    finish(m);
    rpc_firewall_begin(&fw, rules, 6001, RPC_AUTH_LEVEL_NONE, 1);
    is_int(check(&fw, m, r), RPC_FIREWALL_BLIND, "255 contexts, the last one not allowed");
    ok(r->contexts == 1 && !memcmp(blinded, m->data, m->len - 20)
       && !memcmp(blinded + m->len - 20, nobody[0], 20), "... only that is changed");
    free(r);
    free(m);
}

static void test_auth3(void)
{
    maker_t m = maker(DCERPC_AUTH3, 0);
    rpc_firewall_result_t r;
    size_t token;

    m.auth_level = 6;
    m.auth_value = 20;
    begin(&m);
    add(&m, 0, 4);
    finish(&m);
    ok(!is_bad(&m, &r), "a sound auth3");
    for (token = 25; token <= m.len - DCERPC_HEADER_SIZE; token++) {
        set_lengths(&m, m.len, token);
        ok(is_bad(&m, &r), "auth3 of %d bytes with auth_length %d", (int)m.len, (int)token);
    }
}

int main(void)
{
    apr_pool_t *pool;
    int big;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    test_table();
    test_uuid();
    test_questions(pool);
    test_slips(pool);
    test_lists(pool);
    test_both(pool);
    test_profiles(pool);
    test_levels(pool);
    for (big = 0; big < 2; big++) {
        test_bind(pool, big);
        test_alter(pool, big);
        test_requests(pool, big);
        test_truncations(pool, DCERPC_BIND, big, 0);
        test_truncations(pool, DCERPC_BIND, big, 33);
        test_truncations(pool, DCERPC_ALTER, big, 0);
        test_truncations(pool, DCERPC_ALTER, big, 33);
    }
    test_interest(pool);
    test_binding(pool);
    test_wire_levels(pool);
    test_lengths(pool, DCERPC_BIND);
    test_lengths(pool, DCERPC_ALTER);
    test_many_contexts(pool);
    test_auth3();
    apr_pool_destroy(pool);
    apr_terminate();
    return unit_done();
}
