/* backend_test: the query that a client sends, string bindings, and RpcBackend, which maps a query
 * to bindings. */
#include <apr_general.h>
#include <apr_strings.h>
#include "target/backend.h"
#include "binding_text.h"
#include "fault.h"
#include "unit.h"

/* ---- queries ---- */

static const struct query {
    const char *query, *server;
    int port;
} good_queries[] = {
    { "exch1:6001", "exch1", 6001 },
    { "EXCH1.contoso.com:593", "EXCH1.contoso.com", 593 },
    { "localhost:3388", "localhost", 3388 },
    { "192.0.2.1:135", "192.0.2.1", 135 },
    { "exch1:1", "exch1", 1 },
    { "exch1:65535", "exch1", 65535 },
    { "exch1:006001", "exch1", 6001 },
    { "0f1e2d3c-0000-1111-2222-0123456789ab@contoso.com:6001",
      "0f1e2d3c-0000-1111-2222-0123456789ab@contoso.com", 6001 },
    { "0f1e%40contoso.com:6001", "0f1e@contoso.com", 6001 },
    { "exch1%3a6001", "exch1", 6001 },
    { "exch1%3A6001", "exch1", 6001 },
    { "exch1:%36001", "exch1", 6001 },
    { "a%2540b:1", "a%40b", 1 },                        /* decoded once */
    { "b%C3%BCcher:1", "b\xc3\xbc" "cher", 1 },
    { "fe80::1:6001", "fe80::1", 6001 },                /* split at the last colon */
    { "::1:6001", "::1", 6001 },
    { "1:2:3:4:5:6:7:8:6001", "1:2:3:4:5:6:7:8", 6001 },
    { "[fe80::1]:6001", "fe80::1", 6001 },
    { "%5BFE80::1%5d:6001", "FE80::1", 6001 },
    { "fe80::1%25eth0:6001", "fe80::1%eth0", 6001 },
    { "[::ffff:192.0.2.1]:135", "::ffff:192.0.2.1", 135 },
};

static const struct bad_query {
    const char *query, *fault;
} bad_queries[] = {
    { "", "no server:port" },
    { NULL, "no server:port" },
    { "exch1", "no port" },
    { "exch1:", "no port" },
    { ":", "no server" },
    { ":6001", "no server" },
    { "exch1:0", "1 to 65535" },
    { "exch1:65536", "1 to 65535" },
    { "exch1:0006001", "1 to 65535" },                  /* 7 digits */
    { "exch1:18446744073709557617", "1 to 65535" },
    { "exch1:x", "1 to 65535" },
    { "exch1:6001x", "1 to 65535" },
    { "exch1:-1", "1 to 65535" },
    { "exch1:6001-6002", "1 to 65535" },
    { "exch1:6001&x=y", "1 to 65535" },
    { "exch1:6001:6002", "not an IPv6 address" },
    { "fe80::1", "not an IPv6 address" },
    { "fe80::x:6001", "not an IPv6 address" },
    { "[exch1]:6001", "not an IPv6 address" },
    { "[192.0.2.1]:6001", "not an IPv6 address" },
    { "[]:6001", "no server" },
    { "[fe80::1:6001", "unbalanced" },
    { "fe80::1]:6001", "unbalanced" },
    { "[fe80::1]]:6001", "no ':'" },
    { "[[fe80::1]:6001", "unbalanced" },
    { "[fe80::1]:60[01", "unbalanced" },
    { "exch1:6001]", "unbalanced" },
    { "[fe80::1]", "no port" },
    { "[fe80::1]:", "no port" },
    { "[fe80::1]6001", "no ':'" },
    { "exch1%", "hexadecimal" },
    { "exch1%4", "hexadecimal" },
    { "exch1%4g:6001", "hexadecimal" },
    { "exch1%%34:6001", "hexadecimal" },
    { "exch1%00:6001", "control" },
    { "exch1:6001%00", "control" },
    { "exch1%0d%0aX:6001", "control" },
    { "exch1%7f:6001", "control" },
    { "exch1%20:6001", "blank" },
    { "exch1\t:6001", "control" },
};

static void test_queries(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof good_queries / sizeof *good_queries; i++) {
        const struct query *q = &good_queries[i];
        rpc_target_t target = { "", 0 };
        const char *fault = rpc_target_parse(pool, q->query, &target);

        ok(!fault && !strcmp(target.server, q->server) && target.port == q->port,
           "\"%s\" asks for %s, port %d", q->query, q->server, q->port);
    }
    for (i = 0; i < sizeof bad_queries / sizeof *bad_queries; i++) {
        const struct bad_query *q = &bad_queries[i];
        rpc_target_t target;
        const char *fault = rpc_target_parse(pool, q->query, &target);

        ok(fault && strstr(fault, q->fault), "\"%s\" has a fault: %s",
           q->query ? q->query : "(none)", fault ? fault : "none found");
    }
}

static void test_long_query(apr_pool_t *pool)
{
    rpc_target_t target;
    const char *fault;
    char text[1200];

    memset(text, 'a', sizeof text);
    strcpy(text + 1023, ":1");
    ok(!rpc_target_parse(pool, text, &target) && strlen(target.server) == 1023,
       "a server of 1,023 characters");
    memset(text, 'a', sizeof text);
    strcpy(text + 1024, ":1");
    fault = rpc_target_parse(pool, text, &target);
    ok(fault && strstr(fault, "1,024"), "none of 1,024");
}

/* ---- bindings ---- */

static const struct good_binding {
    const char *text;
    rpc_protseq_t protseq;
    const char *host;
    int port;
    const char *shown;
} good_bindings[] = {
    { "ncacn_http:mbx1[6001]", RPC_PROTSEQ_HTTP, "mbx1", 6001, "ncacn_http:mbx1[6001]" },
    { "ncacn_ip_tcp:dc1.samdom.example.com[135]", RPC_PROTSEQ_TCP, "dc1.samdom.example.com", 135,
      "ncacn_ip_tcp:dc1.samdom.example.com[135]" },
    { "NCACN_IP_TCP:dc1[135]", RPC_PROTSEQ_TCP, "dc1", 135, "ncacn_ip_tcp:dc1[135]" },
    { "Ncacn_Http:dc_1[1]", RPC_PROTSEQ_HTTP, "dc_1", 1, "ncacn_http:dc_1[1]" },
    { "ncacn_http:mbx1[65535]", RPC_PROTSEQ_HTTP, "mbx1", 65535, "ncacn_http:mbx1[65535]" },
    { "ncacn_http:mbx1[]", RPC_PROTSEQ_HTTP, "mbx1", 0, "ncacn_http:mbx1" },
    { "ncacn_http:mbx1", RPC_PROTSEQ_HTTP, "mbx1", 0, "ncacn_http:mbx1" },
    { "ncacn_http:192.0.2.1[593]", RPC_PROTSEQ_HTTP, "192.0.2.1", 593,
      "ncacn_http:192.0.2.1[593]" },
    { "ncacn_http:[::1][6001]", RPC_PROTSEQ_HTTP, "::1", 6001, "ncacn_http:[::1][6001]" },
    { "ncacn_http:::1[6001]", RPC_PROTSEQ_HTTP, "::1", 6001, "ncacn_http:[::1][6001]" },
    { "ncacn_http:[2001:db8::1]", RPC_PROTSEQ_HTTP, "2001:db8::1", 0, "ncacn_http:[2001:db8::1]" },
    { "ncacn_http:2001:db8::1", RPC_PROTSEQ_HTTP, "2001:db8::1", 0, "ncacn_http:[2001:db8::1]" },
    { "ncacn_ip_tcp:[fe80::1%eth0][]", RPC_PROTSEQ_TCP, "fe80::1%eth0", 0,
      "ncacn_ip_tcp:[fe80::1%eth0]" },
};

static const struct bad_binding {
    const char *text;
    int column;
    const char *element, *help;
} bad_bindings[] = {
    { "", 1, "", "ncacn_http:server[6001]" },
    { "mbx1[6001]", 1, "mbx1[6001]", "ncacn_http:server[6001]" },
    { "mbx1:6001", 1, "mbx1", "ncacn_http or ncacn_ip_tcp" },
    { ":mbx1", 1, "", "ncacn_http or ncacn_ip_tcp" },
    { "ncacn_np:dc1[135]", 1, "ncacn_np", "ncacn_http or ncacn_ip_tcp" },
    { "ncacn_https:dc1", 1, "ncacn_https", "ncacn_http or ncacn_ip_tcp" },
    { "ncacn:dc1", 1, "ncacn", "ncacn_http or ncacn_ip_tcp" },
    { "12345678-1234-1234-1234-123456789012@ncacn_http:mbx1", 1,
      "12345678-1234-1234-1234-123456789012@",
      "without an object UUID" },
    { "ncacn_http:", 1, "ncacn_http:", "a host" },
    { "ncacn_http:[6001]", 12, "[6001]", "a host before" },
    { "ncacn_http:[]", 12, "[]", "a host before" },
    { "ncacn_http:[][6001]", 13, "", "IPv6 address" },
    { "ncacn_http:[mbx1][6001]", 13, "mbx1", "IPv6 address" },
    { "ncacn_http:[fe80::x]", 13, "fe80::x", "IPv6 address" },
    { "ncacn_http:[::1", 12, "[::1", "closing ']'" },
    { "ncacn_http:[::1]:6001", 17, ":6001", "in brackets" },
    { "ncacn_http:mbx1:6001", 16, ":6001", "[6001]" },
    { "ncacn_http:mbx1:x", 16, ":", "letters, digits" },
    { "ncacn_http:mb x1[6001]", 14, " ", "letters, digits" },
    { "ncacn_http:mbx1/rpc[6001]", 16, "/", "letters, digits" },
    { "ncacn_http:\\\\mbx1[6001]", 12, "\\", "letters, digits" },
    { "ncacn_http:user@mbx1[6001]", 16, "@", "letters, digits" },
    { "ncacn_http:mbx1..example[6001]", 16, "..", "one '.'" },
    { "ncacn_http:300.1.1.1[6001]", 12, "300.1.1.1", "IPv4" },
    { "ncacn_http:b\xc3\xbc[1]", 12, "b\xc3\xbc", "xn--" },
    { "ncacn_http:mbx1[6001", 16, "[6001", "closing ']'" },
    { "ncacn_http:mbx1[6001]x", 22, "x", "nothing after" },
    { "ncacn_http:mbx1[6001][6002]", 22, "[6002]", "nothing after" },
    { "ncacn_http:mbx1[6001,RpcProxy=gw:443]", 17, "6001,RpcProxy=gw:443", "without options" },
    { "ncacn_http:mbx1[endpoint=6001]", 17, "endpoint=6001", "without options" },
    { "ncacn_http:mbx1[0]", 17, "0", "1 to 65535" },
    { "ncacn_http:mbx1[65536]", 17, "65536", "1 to 65535" },
    { "ncacn_http:mbx1[6001-6002]", 17, "6001-6002", "1 to 65535" },
    { "ncacn_http:mbx1[ 6001]", 17, " 6001", "1 to 65535" },
    { "ncacn_ip_tcp:mbx1[x]", 19, "x", "1 to 65535" },
};

static void test_bindings(apr_pool_t *pool)
{
    rpc_syntax_error_t err;
    size_t i;

    for (i = 0; i < sizeof good_bindings / sizeof *good_bindings; i++) {
        const struct good_binding *g = &good_bindings[i];
        rpc_binding_t binding, again;
        apr_status_t rv = rpc_binding_parse(pool, g->text, &binding, &err);

        ok(rv == APR_SUCCESS && binding.protseq == g->protseq && !strcmp(binding.host, g->host)
           && binding.port == g->port, "%s is host %s, port %d", g->text, g->host, g->port);
        if (rv != APR_SUCCESS)
            continue;
        ok(!strcmp(binding_text(pool, &binding), g->shown), "and is shown as %s", g->shown);
        ok(rpc_binding_parse(pool, g->shown, &again, &err) == APR_SUCCESS
               && !strcmp(again.host, binding.host) && again.port == binding.port,
           "which parses to the same");
    }
    for (i = 0; i < sizeof bad_bindings / sizeof *bad_bindings; i++) {
        const struct bad_binding *b = &bad_bindings[i];
        rpc_binding_t binding;
        apr_status_t rv;

        err = (rpc_syntax_error_t) { 0, "", "" };
        rv = rpc_binding_parse(pool, b->text, &binding, &err);
        fault_is(b->text, rv, NULL, &err, b->column, b->element, b->help);
    }
}

/* ---- RpcBackend ---- */

static const struct backend_case {
    const char *pattern, *binding;
    int low, high;              /* 0: a fault */
    const char *server;         /* or the faulty element */
    int arg, column;
} backend_cases[] = {
    { "dc1:135", "ncacn_ip_tcp:dc1[135]", 135, 135, "dc1", 0, 0 },
    { "dc1", "ncacn_http:x", 1, 65535, "dc1", 0, 0 },
    { "dc1:6001-6004", "ncacn_http:x", 6001, 6004, "dc1", 0, 0 },
    { "*@contoso.com:6001", "ncacn_http:x", 6001, 6001, "*@contoso.com", 0, 0 },
    { "*", "ncacn_http:x", 1, 65535, "*", 0, 0 },
    { "[fe80::1]", "ncacn_http:x", 1, 65535, "fe80::1", 0, 0 },
    { "[fe80::1]:80", "ncacn_http:x", 80, 80, "fe80::1", 0, 0 },
    { "fe80::1:80", "ncacn_http:x", 80, 80, "fe80::1", 0, 0 },
    { "2001:db8::5", "ncacn_http:x", 1, 65535, "2001:db8::5", 0, 0 },
    { "", "ncacn_http:x", 0, 0, "", 1, 1 },
    { "dc1:", "ncacn_http:x", 0, 0, "dc1:", 1, 1 },
    { "dc1:0", "ncacn_http:x", 0, 0, "0", 1, 5 },
    { "dc1:135;dc2:135", "ncacn_http:x", 0, 0, "dc1:135;dc2", 1, 1 },
    { "d*c1:135", "ncacn_http:x", 0, 0, "*", 1, 2 },
    { ":135", "ncacn_http:x", 0, 0, ":135", 1, 1 },
    { "dc1:135", "ncacn_np:x", 0, 0, "ncacn_np", 2, 1 },
    { "dc1:135", "ncacn_http:x[y]", 0, 0, "y", 2, 14 },
};

static void test_backend_parse(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof backend_cases / sizeof *backend_cases; i++) {
        const struct backend_case *c = &backend_cases[i];
        rpc_syntax_error_t err = { 0, "", "" };
        rpc_backend_t *be = NULL;
        int arg = 0;
        const char *args[] = { c->pattern, c->binding };
        apr_status_t rv = rpc_backend_parse(pool, args, 2, &be, &err, &arg);

        if (c->low)
            ok(rv == APR_SUCCESS && be->low == c->low && be->high == c->high
                   && !strcmp(be->pattern, c->server)
                   && !strcmp(be->text, apr_pstrcat(pool, c->pattern, " ", c->binding, NULL)),
               "%s covers ports %d to %d of %s", c->pattern, c->low, c->high, c->server);
        else
            ok(rv == APR_EINVAL && arg == c->arg && err.column == c->column
                   && !strcmp(err.element, c->server),
               "%s %s: argument %d, \"%s\" at column %d (is \"%s\" at %d)", c->pattern, c->binding,
               c->arg, c->server, c->column, err.element, err.column);
    }
}

/* RpcBackend with several bindings: the list that is made of it, or the place of the fault. */
static const struct list_case {
    const char *args[6];
    const char *places;         /* NULL: a fault */
    int arg;
    const char *element;
} list_cases[] = {
    { { "a", "ncacn_http:x", "ncacn_http:y[1]" }, "ncacn_http:x*0 ncacn_http:y[1]*0", 0, NULL },
    { { "a", "ncacn_http:x", "weight=3", "ncacn_http:y" }, "ncacn_http:x*3 ncacn_http:y*1", 0,
      NULL },
    { { "a*", "ncacn_http:*.corp", "ncacn_http:b*" }, "ncacn_http:*.corp*0 ncacn_http:b**0", 0,
      NULL },
    { { "a", "env=WHERE" }, "env WHERE", 0, NULL },
    { { "a", "ncacn_http:x", "ncacn_ip_tcp:y" }, NULL, 3, "ncacn_ip_tcp:y" },
    { { "a", "weight=3", "ncacn_http:x" }, NULL, 2, "weight=3" },
    { { "a", "ncacn_http:x", "weight=0" }, NULL, 3, "weight=0" },
    { { "a", "ncacn_http:x", "weight=12345" }, NULL, 3, "weight=12345" },
    { { "a", "ncacn_http:x", "weight=1", "weight=1" }, NULL, 4, "weight=1" },
    { { "a", "ncacn_http:*" }, NULL, 2, "ncacn_http:*" },
    { { "a*", "ncacn_http:*.*" }, NULL, 2, "ncacn_http:*.*" },
    { { "a", "env=" }, NULL, 2, "env=" },
    { { "a", "ncacn_http:x", "env=WHERE" }, NULL, 3, "env=WHERE" },
    { { "a", "https://x" }, "https://x*0", 0, NULL },
    { { "a", "HTTPS://x:444/rpc/rpcproxy.dll", "weight=2", "https://[::1]" },
      "HTTPS://x:444/rpc/rpcproxy.dll*2 https://[::1]*1", 0, NULL },
    { { "a*", "balancer://cas/rpc?*.corp:6001" }, "balancer://cas/rpc?*.corp:6001*0", 0, NULL },
    { { "a", "https://x", "ncacn_http:y" }, NULL, 3, "ncacn_http:y" },
    { { "a", "ncacn_http:y", "https://x" }, NULL, 3, "https://x" },
    { { "a", "https://" }, NULL, 2, "https://" },
    { { "a", "https:///rpc" }, NULL, 2, "https:///rpc" },
    { { "a", "http://x?a:1" }, NULL, 2, "http://x?a:1" },
    { { "a", "http://x y" }, NULL, 2, "http://x y" },
    { { "a", "http://user@x" }, NULL, 2, "http://user@x" },
    { { "a", "http://x/#y" }, NULL, 2, "http://x/#y" },
    { { "a", "http://x/?*:1" }, NULL, 2, "http://x/?*:1" },
};

static const char *places_text(apr_pool_t *pool, const rpc_backend_t *be)
{
    const char *text = be->env ? apr_pstrcat(pool, "env ", be->env, NULL) : "";
    int i;

    for (i = 0; i < be->count; i++)
        text = apr_psprintf(pool, "%s%s%s*%d", text, i ? " " : "",
                            be->places[i].url ? be->places[i].url
                                              : binding_text(pool, &be->places[i].binding),
                            be->places[i].weight);
    return text;
}

static void test_backend_lists(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof list_cases / sizeof *list_cases; i++) {
        const struct list_case *c = &list_cases[i];
        rpc_syntax_error_t err = { 0, "", "" };
        rpc_backend_t *be = NULL;
        int count = 0, arg = 0;

        while (c->args[count])
            count++;
        if (rpc_backend_parse(pool, c->args, count, &be, &err, &arg) == APR_SUCCESS)
            is_str(places_text(pool, be), c->places ? c->places : "a fault", "list %d", (int)i);
        else
            ok(!c->places && arg == c->arg, "list %d: argument %d is at fault (is %d: %s)", (int)i,
               c->arg, arg, err.element);
    }
}

/* In the order of the directives. The first pattern that matches decides. */
static const char *const backends_given[][2] = {
    { "*@contoso.com:6001", "ncacn_http:mbx1.contoso.com[6001]" },
    { "dc1:135", "ncacn_ip_tcp:dc1.samdom.example.com[135]" },
    { "dc1:49152-65535", "ncacn_ip_tcp:dc1.samdom.example.com[]" },
    { "localhost:3388", "ncacn_http:rdg.contoso.com[3388]" },
    { "[fe80::1]:6001", "ncacn_http:[::1]" },
    { "data*", "ncacn_http:db" },
    { "data1:1", "ncacn_http:never" },
    { "*.users@fabrikam.com", "ncacn_http:mbx-*.contoso.com" },
    { "nb*", "ncacn_http:nb*.corp.contoso.com[6001]" },
    { "mapped", "env=WHERE" },
    { "lost", "env=NOWHERE" },
    { "odd", "env=ODD" },
};

static const struct resolution {
    const char *server;
    int port;
    const char *binding;
    int backend;                /* index, or -1 */
} resolutions[] = {
    { "0f1e@Contoso.com", 6001, "ncacn_http:mbx1.contoso.com[6001]", 0 },
    { "0f1e@contoso.com", 6002, "ncacn_http:0f1e@contoso.com[6002]", -1 },
    { "DC1", 135, "ncacn_ip_tcp:dc1.samdom.example.com[135]", 1 },
    { "dc1", 49152, "ncacn_ip_tcp:dc1.samdom.example.com[49152]", 2 },
    { "dc1", 65535, "ncacn_ip_tcp:dc1.samdom.example.com[65535]", 2 },
    { "dc1", 49151, "ncacn_http:dc1[49151]", -1 },
    { "localhost", 3388, "ncacn_http:rdg.contoso.com[3388]", 3 },
    { "FE80:0::1", 6001, "ncacn_http:[::1][6001]", 4 },
    { "data1", 1, "ncacn_http:db[1]", 5 },
    { "a1.users@fabrikam.com", 6001, "ncacn_http:mbx-a1.contoso.com[6001]", 7 },
    { "a/1.users@fabrikam.com", 6001, NULL, 7 },
    { "nbEX1", 6002, "ncacn_http:nbEX1.corp.contoso.com[6001]", 8 },
    { "mapped", 135, "ncacn_ip_tcp:db1[135]", 9 },
    { "lost", 135, NULL, 10 },
    { "odd", 135, NULL, 11 },
    { "exch1", 6001, "ncacn_http:exch1[6001]", -1 },
    { "2001:db8::1", 6001, "ncacn_http:[2001:db8::1][6001]", -1 },
};

static const char *variable(void *ctx, const char *name)
{
    return !strcmp(name, "WHERE") ? "ncacn_ip_tcp:db1 ncacn_ip_tcp:db2[7]"
         : !strcmp(name, "ODD")   ? "what?"
                                  : NULL;
}

static void test_resolve(apr_pool_t *pool)
{
    apr_array_header_t *backends = apr_array_make(pool, 1, sizeof(rpc_backend_t *));
    const rpc_target_t exch1 = { "exch1", 6001 };
    rpc_directory_t directory = { .backends = backends, .variable = variable };
    const rpc_directory_t nothing = { .backends = NULL };
    rpc_place_t places[RPC_ROUTE_MAX];
    rpc_syntax_error_t err;
    const rpc_backend_t *be;
    const char *why;
    size_t i;
    int arg;

    for (i = 0; i < sizeof backends_given / sizeof *backends_given; i++)
        rpc_backend_parse(pool, backends_given[i], 2, (rpc_backend_t **)apr_array_push(backends),
                          &err, &arg);
    for (i = 0; i < sizeof resolutions / sizeof *resolutions; i++) {
        const struct resolution *r = &resolutions[i];
        rpc_target_t target = { r->server, (apr_port_t)r->port };

        if (rpc_target_places(pool, &directory, &target, places, &be, &why))
            is_str(binding_text(pool, &places[0].binding), r->binding ? r->binding : "nowhere",
                   "%s:%d is at %s", r->server, r->port, r->binding ? r->binding : "no place");
        else
            ok(!r->binding && why, "%s:%d is nowhere: %s", r->server, r->port, why);
        ok(be == (r->backend < 0 ? NULL : APR_ARRAY_IDX(backends, r->backend, rpc_backend_t *)),
           "%s:%d: the directive that says so", r->server, r->port);
    }
    ok(rpc_target_places(pool, &nothing, &exch1, places, NULL, &why) == 1
       && !strcmp(binding_text(pool, &places[0].binding), "ncacn_http:exch1[6001]"),
       "without RpcBackend, as asked for");
}

/* Which directive has a proxy behind us serve a target; whoever reads it sets what stands for its
 * URLs. */
static void test_upstream(apr_pool_t *pool)
{
    static const char *const given[][2] = {
        { "dc1", "ncacn_http:dc1" }, { "exch*", "https://cas" }, { "*", "https://others" }
    };
    const rpc_target_t exch = { "exch1", 6001 }, dc = { "dc1", 135 }, other = { "x", 1 };
    apr_array_header_t *backends = apr_array_make(pool, 3, sizeof(rpc_backend_t *));
    rpc_directory_t directory = { .backends = backends }, nothing = { .backends = NULL };
    rpc_place_t places[RPC_ROUTE_MAX];
    rpc_syntax_error_t err;
    rpc_backend_t *be[3];
    const char *why;
    int i, arg;

    for (i = 0; i < 3; i++) {
        rpc_backend_parse(pool, given[i], 2, &be[i], &err, &arg);
        APR_ARRAY_PUSH(backends, rpc_backend_t *) = be[i];
        be[i]->upstream = i ? given[i][1] : NULL;
    }
    ok(rpc_target_upstream(&directory, &exch) == be[1], "the first that matches serves");
    ok(rpc_target_upstream(&directory, &other) == be[2], "behind it another");
    ok(!rpc_target_upstream(&directory, &dc), "a binding before it has none");
    ok(rpc_target_upstream(&directory, NULL) == be[1], "the first of all serves an echo");
    ok(!rpc_target_upstream(&nothing, NULL), "nothing configured, nobody serves");
    ok(!rpc_target_places(pool, &directory, &exch, places, NULL, &why) && why,
       "it has no place for a leg of ours: %s", why);
}

static void test_nspi(apr_pool_t *pool)
{
    apr_array_header_t *ports = apr_array_make(pool, 1, sizeof(apr_port_t));
    apr_array_header_t *servers = apr_array_make(pool, 2, sizeof(const char *));
    apr_array_header_t *backends = apr_array_make(pool, 1, sizeof(rpc_backend_t *));
    rpc_directory_t directory = { .backends = backends, .nspi = { ports, NULL, 0 } };
    const char *const gc2[] = { "gc2", "ncacn_http:10.0.0.2[7004]" };
    const rpc_target_t book = { "exch1", 6004 }, mail = { "exch1", 6001 };
    rpc_place_t places[RPC_ROUTE_MAX];
    rpc_syntax_error_t err;
    const char *why;
    int arg;

    APR_ARRAY_PUSH(ports, apr_port_t) = 6004;
    rpc_backend_parse(pool, gc2, 2, (rpc_backend_t **)apr_array_push(backends), &err, &arg);
    ok(rpc_target_places(pool, &directory, &book, places, NULL, &why) == 1
           && !strcmp(places[0].binding.host, "exch1"),
       "an NSPI port without RpcNspiServers: the server asked for");
    APR_ARRAY_PUSH(servers, const char *) = "gc1";
    APR_ARRAY_PUSH(servers, const char *) = "gc2";
    directory.nspi.servers = servers;
    is_int(rpc_target_places(pool, &directory, &book, places, NULL, &why), 2,
           "with it: the global catalogs");
    is_str(binding_text(pool, &places[0].binding), "ncacn_http:gc1[6004]",
           "one at the port asked for");
    is_str(binding_text(pool, &places[1].binding), "ncacn_http:10.0.0.2[7004]",
           "one where its backend is");
    ok(places[0].weight == 1 && places[1].weight == 1, "in equal shares");
    directory.nspi.port = 6005;
    rpc_target_places(pool, &directory, &book, places, NULL, &why);
    is_int(places[0].binding.port, 6005, "at the port of RpcNspiServers");
    rpc_target_places(pool, &directory, &mail, places, NULL, &why);
    is_str(binding_text(pool, &places[0].binding), "ncacn_http:exch1[6001]",
           "other ports are not theirs");
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&pool, NULL);
    test_queries(pool);
    test_long_query(pool);
    test_bindings(pool);
    test_backend_parse(pool);
    test_backend_lists(pool);
    test_nspi(pool);
    test_resolve(pool);
    test_upstream(pool);
    return unit_done();
}
