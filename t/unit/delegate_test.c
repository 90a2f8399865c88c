/* delegate_test: which principal a user is, tickets that are kept, who may ask the KDC, and the
 * field that carries a token.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <krb5.h>

#include "delegate/fault.h"
#include "delegate/gate.h"
#include "delegate/negotiate.h"
#include "delegate/principal.h"
#include "delegate/tickets.h"

#include "unit.h"

/* ---- principals ---- */

static const char krb5_conf[] =
    "[libdefaults]\ndefault_realm = A.TEST\ndns_lookup_realm = false\n"
    "[realms]\nA.TEST = {\nkdc = 127.0.0.1:1\n}\n"
    "[domain_realm]\n.b.test = B.TEST\nsales = B.TEST\n";

typedef struct user {
    const char *user, *gss;
    rpc_who_domain_t domain;
    const char *principal;      /* NULL: nobody */
    int enterprise;
} user_t;

static const user_t users[] = {
    { "alice", NULL, RPC_WHO_WITH_DOMAIN, "alice@A.TEST", 0 },
    { "Alice", NULL, RPC_WHO_WITH_DOMAIN, "Alice@A.TEST", 0 },
    { "al ice", NULL, RPC_WHO_WITH_DOMAIN, "al ice@A.TEST", 0 },
    { "SALES\\alice", NULL, RPC_WHO_WITH_DOMAIN, "alice@B.TEST", 0 },
    { "sales\\alice", NULL, RPC_WHO_WITH_DOMAIN, "alice@B.TEST", 0 },
    { "OTHER\\alice", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "A.TEST\\alice", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "\\alice", NULL, RPC_WHO_WITH_DOMAIN, "alice@A.TEST", 0 },
    { "alice@b.test", NULL, RPC_WHO_WITH_DOMAIN, "alice@b.test", 1 },
    { "alice@A.TEST", NULL, RPC_WHO_WITH_DOMAIN, "alice@A.TEST", 1 },
    { "SALES\\alice", NULL, RPC_WHO_ANY_DOMAIN, "alice@A.TEST", 0 },
    { "OTHER\\alice", NULL, RPC_WHO_ANY_DOMAIN, "alice@A.TEST", 0 },
    { "alice@b.test", NULL, RPC_WHO_ANY_DOMAIN, "alice@A.TEST", 0 },
    { "alice", "alice@B.TEST", RPC_WHO_ANY_DOMAIN, "alice@B.TEST", 0 },
    { "alice", "alice/admin@B.TEST", RPC_WHO_WITH_DOMAIN, "alice/admin@B.TEST", 0 },
    { "alice", "SALES\\alice", RPC_WHO_WITH_DOMAIN, "alice@B.TEST", 0 },
    { "HTTP/cas.test", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "HTTP/cas.test@A.TEST", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "alice@A.TEST@b.test", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "SALES\\alice@b.test", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "a\\b\\alice", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "alice\t", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "/O=Contoso/CN=alice", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "SALES\\", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "@b.test", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
    { "alice@", NULL, RPC_WHO_WITH_DOMAIN, "alice@A.TEST", 0 },
    { "", NULL, RPC_WHO_WITH_DOMAIN, NULL, 0 },
};

static void test_principals(apr_pool_t *pool, krb5_context context)
{
    size_t i;

    for (i = 0; i < sizeof(users) / sizeof(*users); i++) {
        const user_t *u = &users[i];
        const delegate_who_t who = { u->user, u->gss, u->domain };
        delegate_principal_t principal = { NULL, 0 };
        const char *fault = delegate_principal(pool, context, &who, &principal);

        if (!u->principal)
            ok(fault != NULL, "\"%s\" is nobody", u->user);
        else {
            is_str(fault ? fault : principal.text, u->principal, "\"%s\" as %s", u->user,
                   u->gss ? u->gss : "it is");
            is_int(principal.enterprise, u->enterprise, "\"%s\" is %s", u->user,
                   u->enterprise ? "a UPN" : "an account");
        }
    }
    is_str(delegate_service(pool, context, "HTTP/cas.b.test"), "HTTP/cas.b.test@B.TEST",
           "the realm of a host");
    is_str(delegate_service(pool, context, "HTTP/cas.other"), "HTTP/cas.other@A.TEST",
           "else the default realm");
    is_str(delegate_service(pool, context, "HTTP/cas.b.test@C.TEST"), "HTTP/cas.b.test@C.TEST",
           "or what is written");
}

/* ---- tickets ---- */

static int released;

static void release(delegate_kept_t *ticket)
{
    released++;
    free(ticket);
}

static delegate_kept_t *keep(delegate_tickets_t *tickets, const char *key, int seconds)
{
    delegate_kept_t *ticket = calloc(1, sizeof(*ticket));

    delegate_tickets_keep(tickets, ticket, key, apr_time_from_sec(seconds));
    delegate_tickets_done(tickets, ticket);
    return ticket;
}

static int is_kept(delegate_tickets_t *tickets, const char *key)
{
    delegate_kept_t *ticket = delegate_tickets_find(tickets, key);

    if (ticket)
        delegate_tickets_done(tickets, ticket);
    return ticket != NULL;
}

static void test_tickets(apr_pool_t *parent)
{
    apr_pool_t *pool;
    delegate_tickets_t *tickets;
    delegate_kept_t *used;
    char key[] = "0";

    apr_pool_create(&pool, parent);
    tickets = delegate_tickets_make(pool, 3, release);
    ok(!is_kept(tickets, "a"), "nothing is kept");
    used = keep(tickets, "a", 60);
    ok(delegate_tickets_find(tickets, "a") == used, "a ticket is found");
    keep(tickets, "b", 60);
    keep(tickets, "c", 60);
    is_int(released, 0, "three are kept");
    ok(is_kept(tickets, "b"), "b is used");
    keep(tickets, "d", 60);
    ok(!is_kept(tickets, "a") && is_kept(tickets, "b") && is_kept(tickets, "c"),
       "the one that was not used for the longest time makes room");
    is_int(released, 0, "but is not freed while somebody uses it");
    delegate_tickets_done(tickets, used);
    is_int(released, 1, "and then is");
    keep(tickets, "b", 60);
    is_int(released, 2, "a new one takes the place of the old one");
    keep(tickets, "b", 0);
    ok(!is_kept(tickets, "b"), "one that has ended is not found");
    is_int(released, 4, "and is freed");
    used = delegate_tickets_find(tickets, "c");
    delegate_tickets_forget(tickets, "c");
    ok(!is_kept(tickets, "c"), "one that is forgotten is not found");
    is_int(released, 4, "but still used");
    delegate_tickets_done(tickets, used);
    delegate_tickets_forget(tickets, "c");
    for (key[0] = '0'; key[0] < '0' + 10; key[0]++)
        keep(tickets, key, 60);
    ok(is_kept(tickets, "7") && is_kept(tickets, "8") && is_kept(tickets, "9")
       && !is_kept(tickets, "6"), "never more than three");
    apr_pool_destroy(pool);
    is_int(released, 16, "at the end all are freed");
}

/* ---- the gate ---- */

typedef struct visitor {
    delegate_gate_t *gate;
    const char *why;
} visitor_t;

static void *visit(void *data)
{
    visitor_t *visitor = data;

    visitor->why = delegate_gate_enter(visitor->gate);
    if (!visitor->why)
        delegate_gate_leave(visitor->gate, 1);
    return NULL;
}

static void test_gate(apr_pool_t *pool)
{
    static const delegate_gate_limits_t impatient = { 2, 1, apr_time_from_sec(3600) };
    static const delegate_gate_limits_t patient = { 1, apr_time_from_sec(3600), 0 };
    delegate_gate_t *gate = delegate_gate_make(pool, &impatient);
    visitor_t visitor;
    pthread_t thread;

    ok(!delegate_gate_enter(gate) && !delegate_gate_enter(gate), "two may ask at once");
    is_str(delegate_gate_enter(gate), "too many others wait for the KDC", "a third may not");
    delegate_gate_leave(gate, 1);
    ok(!delegate_gate_enter(gate), "when one has left he may");
    delegate_gate_leave(gate, 0);
    is_str(delegate_gate_enter(gate), "no KDC has answered a moment ago",
           "nobody asks a KDC that is down");
    delegate_gate_leave(gate, 1);
    ok(!delegate_gate_enter(gate), "until somebody has had an answer");
    delegate_gate_leave(gate, 1);

    gate = delegate_gate_make(pool, &patient);
    ok(!delegate_gate_enter(gate), "one asks");
    visitor = (visitor_t){ gate, "not run" };
    pthread_create(&thread, NULL, visit, &visitor);
    delegate_gate_leave(gate, 1);
    pthread_join(thread, NULL);
    ok(!visitor.why, "who waits has his turn");
    ok(!delegate_gate_enter(gate), "one asks");
    delegate_gate_leave(gate, 0);
    ok(!delegate_gate_enter(gate), "after the pause one tries again");
    is_str(delegate_gate_enter(gate), "no KDC has answered a moment ago", "and no more than one");
    delegate_gate_leave(gate, 1);
}

/* ---- what has failed ---- */

/* Those that no test of servers makes: what the KDC says of clocks, passwords and realms. */
static void test_faults(apr_pool_t *pool)
{
    static const delegate_names_t names = { "alice", "HTTP/cas.test", "HTTP/a.test", "a.keytab" };
    static const struct {
        delegate_step_t step;
        krb5_error_code code;
        delegate_kind_t kind;
        const char *says;
    } cases[] = {
        { DELEGATE_OWN, KRB5KRB_AP_ERR_SKEW, DELEGATE_BROKEN, "the clocks of this machine" },
        { DELEGATE_PROXY, KRB5_KDCREP_SKEW, DELEGATE_BROKEN, "the clocks of this machine" },
        { DELEGATE_OWN, KRB5KDC_ERR_PREAUTH_FAILED, DELEGATE_BROKEN,
          "the KDC has another key than a.keytab" },
        { DELEGATE_OWN, KRB5_REALM_UNKNOWN, DELEGATE_BROKEN, "krb5.conf has no KDC for the realm" },
        { DELEGATE_OWN, KRB5_KDC_UNREACH, DELEGATE_SILENT, "no KDC of the realm answers" },
        { DELEGATE_SELF, KRB5KDC_ERR_KEY_EXP, DELEGATE_REFUSED,
          "the password of alice has expired" },
        { DELEGATE_SELF, KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, DELEGATE_BROKEN,
          "the KDC knows no service HTTP/a.test" },
        { DELEGATE_PROXY, KRB5KRB_AP_ERR_TKT_EXPIRED, DELEGATE_REFUSED,
          "the ticket of alice has expired" },
        { DELEGATE_SELF, KRB5KDC_ERR_BADOPTION, DELEGATE_BROKEN,
          "no ticket of alice for this server: " },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        delegate_fault_t fault = delegate_fault_of(pool, cases[i].step, &names, 1, GSS_S_FAILURE,
                                                   (OM_uint32)cases[i].code);

        is_int((int)fault.kind, (int)cases[i].kind, "%s", cases[i].says);
        ok(strncmp(fault.why, cases[i].says, strlen(cases[i].says)) == 0, "%s", fault.why);
    }
}

/* ---- the field ---- */

static void test_field(apr_pool_t *pool)
{
    char *token = apr_pcalloc(pool, 70000);

    /* 60 17 OID SPNEGO, a0 [30 [a0 [30 [OID Kerberos]] a2 [04 "abc"]]] */
    is_str(delegate_negotiate(pool, "abc", 3),
           "Negotiate YCIGBisGAQUFAqAYMBagDTALBgkqhkiG9xIBAgKiBQQDYWJj", "a short token");
    is_int((int)strlen(delegate_negotiate(pool, token, 70000)), 10 + (70000 + 48 + 2) / 3 * 4,
           "a long one");
}

int main(void)
{
    apr_pool_t *pool;
    const char *file;
    krb5_context context;
    FILE *conf;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    file = apr_psprintf(pool, "%s/delegate_test-%ld.conf",
                        getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
                        (long)getpid());
    conf = fopen(file, "w");
    if (!conf || fputs(krb5_conf, conf) < 0 || fclose(conf) != 0)
        abort();
    setenv("KRB5_CONFIG", file, 1);
    if (krb5_init_context(&context) != 0)
        abort();
    test_principals(pool, context);
    test_tickets(pool);
    test_gate(pool);
    test_faults(pool);
    test_field(pool);
    krb5_free_context(context);
    unlink(file);
    apr_pool_destroy(pool);
    apr_terminate();
    return unit_done();
}
