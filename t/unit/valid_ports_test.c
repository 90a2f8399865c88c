/* valid_ports_test: the grammar of RpcValidPorts, its messages, and which targets it allows. */
#include <apr_general.h>
#include <apr_strings.h>
#include "target/valid_ports.h"
#include "fault.h"
#include "unit.h"

/* ---- lists that parse, and one question about each ---- */

static const struct question {
    const char *list, *server;
    int port;
    const char *allowed_by;     /* NULL: refused */
    const char *nearest;        /* when refused */
} questions[] = {
    { "exch1:6001", "exch1", 6001, "exch1:6001", NULL },
    { "exch1:6001", "EXCH1", 6001, "exch1:6001", NULL },
    { "Exch1:6001", "exch1", 6001, "Exch1:6001", NULL },
    { "exch1:6001;", "exch1", 6001, "exch1:6001", NULL },
    { " exch1:6001 ; ", "exch1", 6001, "exch1:6001", NULL },
    { "\texch1:6001\t", "exch1", 6001, "exch1:6001", NULL },
    { "exch1:6001", "exch1", 6002, NULL, "exch1:6001" },
    { "exch1:6001", "exch1", 6000, NULL, "exch1:6001" },
    { "exch1:6001", "exch", 6001, NULL, NULL },
    { "exch1:6001", "exch11", 6001, NULL, NULL },
    { "exch1:6001", "xexch1", 6001, NULL, NULL },
    { "exch1:6001", "exch1.", 6001, NULL, "exch1:6001" },
    /* ranges, both ends belong to them */
    { "exch1:6001-6004", "exch1", 6001, "exch1:6001-6004", NULL },
    { "exch1:6001-6004", "exch1", 6004, "exch1:6001-6004", NULL },
    { "exch1:6001-6004", "exch1", 6000, NULL, "exch1:6001-6004" },
    { "exch1:6001-6004", "exch1", 6005, NULL, "exch1:6001-6004" },
    { "exch1:1-65535", "exch1", 1, "exch1:1-65535", NULL },
    { "exch1:1-65535", "exch1", 65535, "exch1:1-65535", NULL },
    { "exch1:593-593", "exch1", 593, "exch1:593-593", NULL },
    { "exch1:00593", "exch1", 593, "exch1:00593", NULL },
    /* several entries */
    { "nb:6001;nb:6004;nb.a.example:6001", "nb", 6004, "nb:6004", NULL },
    { "nb:6001-6002; nb:6004; nb.a.example:6001", "NB.a.Example", 6001, "nb.a.example:6001", NULL },
    { "a:1;b:2;a:3", "a", 2, NULL, "a:1" },
    { "HOST:593;HOST:49152-65535", "host", 50000, "HOST:49152-65535", NULL },
    /* without DNS a short name is not the long one, but the log names the long one as nearest */
    { "rosco:593", "rosco.example.com", 593, NULL, "rosco:593" },
    { "rosco.example.com:593", "Rosco", 593, NULL, "rosco.example.com:593" },
    { "rosco.example.com:593", "roscoe", 593, NULL, NULL },
    { "rosco.example.com:593;rosco:1", "rosco", 593, NULL, "rosco:1" },
    { "a:1;rosco:593", "192.0.2.1", 593, NULL, NULL },
    /* IPv4 addresses are compared as text */
    { "192.0.2.1:135", "192.0.2.1", 135, "192.0.2.1:135", NULL },
    { "192.0.2.1:135", "192.0.2.2", 135, NULL, NULL },
    { "192.0.2.1:135", "192.0.2.10", 135, NULL, NULL },
    /* patterns */
    { "Data*:4000-8000", "data", 4000, "Data*:4000-8000", NULL },
    { "Data*:4000-8000", "DATABASE7", 8000, "Data*:4000-8000", NULL },
    { "Data*:4000-8000", "database7", 8001, NULL, "Data*:4000-8000" },
    { "Data*:4000-8000", "mydata", 4000, NULL, NULL },
    { "*@contoso.com:6001", "0f1e2d3c-aaaa-bbbb-cccc-0123456789ab@CONTOSO.com", 6001,
      "*@contoso.com:6001", NULL },
    { "*@contoso.com:6001", "x@notcontoso.com", 6001, NULL, NULL },
    { "*@contoso.com:6001", "x@contoso.com.evil.example", 6001, NULL, NULL },
    { "*@contoso.com:6001", "contoso.com", 6001, NULL, NULL },
    { "*.contoso.com:6001", "contoso.com", 6001, NULL, NULL },
    { "*.contoso.com:6001", "a.b.contoso.com", 6001, "*.contoso.com:6001", NULL },
    { "0f1e@contoso.com:6001", "0F1E@contoso.com", 6001, "0f1e@contoso.com:6001", NULL },
    { "192.0.2.*:135", "192.0.2.77", 135, "192.0.2.*:135", NULL },
    { "192.0.2.*:135", "192.0.20.7", 135, NULL, NULL },
    { "*:6001", "anything", 6001, "*:6001", NULL },
    { "*:6001", "2001:db8::1", 6001, "*:6001", NULL },
    { "*:6001", "anything", 6002, NULL, "*:6001" },
    /* a client cannot use a pattern */
    { "exch1:6001", "*", 6001, NULL, NULL },
    { "exch1:6001", "exch*", 6001, NULL, NULL },
    /* IPv6 addresses are compared as addresses, whatever their spelling */
    { "fe80::1:6001", "fe80::1", 6001, "fe80::1:6001", NULL },
    { "fe80::1:6001", "FE80:0:0::1", 6001, "fe80::1:6001", NULL },
    { "[fe80::1]:6001-6002", "fe80:0000:0000:0000:0000:0000:0000:0001", 6002, "[fe80::1]:6001-6002",
      NULL },
    { "[FE80::0.0.0.1]:6001", "fe80::1", 6001, "[FE80::0.0.0.1]:6001", NULL },
    { "[fe80::1]:6001", "fe80::2", 6001, NULL, NULL },
    { "[fe80::1]:6001", "fe80::1", 6002, NULL, "[fe80::1]:6001" },
    { "::1:6001", "::1", 6001, "::1:6001", NULL },
    { "1:2:3:4:5:6:7:8:6001", "1:2:3:4:5:6:7:8", 6001, "1:2:3:4:5:6:7:8:6001", NULL },
    { "[fe80::1%eth0]:6001", "FE80::1%eth0", 6001, "[fe80::1%eth0]:6001", NULL },
    { "[fe80::1%eth0]:6001", "fe80::1%eth1", 6001, NULL, NULL },
    { "[fe80::1%eth0]:6001", "fe80::1", 6001, NULL, NULL },
    { "[fe80::1]:6001", "fe80::1%eth0", 6001, NULL, NULL },
    { "[::ffff:192.0.2.1]:135", "192.0.2.1", 135, NULL, NULL },
    { "*1:6001", "::1", 6001, NULL, NULL },     /* a pattern for names */
    { "fe80*:6001", "fe80::1", 6001, NULL, NULL },
};

static const char *text_of(const rpc_valid_port_t *entry)
{
    return entry ? entry->text : NULL;
}

static void test_questions(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof questions / sizeof *questions; i++) {
        const struct question *q = &questions[i];
        const rpc_valid_port_t *entry, *nearest = NULL;
        rpc_valid_ports_t *list = NULL;
        rpc_syntax_error_t err = { 0, NULL, NULL };
        apr_status_t rv = rpc_valid_ports_parse(pool, q->list, NULL, &list, &err);

        ok(rv == APR_SUCCESS, "\"%s\" parses", q->list);
        if (rv != APR_SUCCESS)
            continue;
        entry = rpc_valid_ports_match(list, q->server, (apr_port_t)q->port, &nearest);
        is_str(text_of(entry), q->allowed_by, "\"%s\": %s:%d is %s", q->list, q->server, q->port,
               q->allowed_by ? "allowed" : "refused");
        if (!q->allowed_by)
            is_str(text_of(nearest), q->nearest, "nearest is %s", q->nearest ? q->nearest : "none");
    }
}

/* ---- lists that do not, with element, column and a word of the help ---- */

static const struct fault {
    const char *list;
    int column;
    const char *element, *help;
} faults[] = {
    { "", 1, "", "server:6001-6002" },
    { "   ", 4, "", "server:6001-6002" },
    { ";", 1, ";", "before the ';'" },
    { "a:1;;b:2", 5, ";", "before the ';'" },
    { "a:1; ; b:2", 6, ";", "before the ';'" },
    /* servers */
    { ":6001", 1, ":6001", "a server before" },
    { "a:1; :6001", 6, ":6001", "a server before" },
    { "http://exch1:443", 1, "http://", "without scheme" },
    { "a:1;https://exch1:443", 5, "https://", "without scheme" },
    { "exch1:6001:6002", 1, "exch1:6001", "IPv6 address" },
    { "exch1::6001", 1, "exch1:", "IPv6 address" },
    { "fe80::g:6001", 1, "fe80::g", "IPv6 address" },
    { "exch1/x:6001", 6, "/", "letters, digits" },
    { "a:1;exch 1:6001", 10, "1:6001", "no blank" },
    { "exch1 :6001", 7, ":6001", "no blank" },
    { "exch1:6001 exch2:6001", 12, "exch2:6001", "';' between two" },
    { "exch1: 6001", 8, "6001", "no blank" },
    { "exch1,exch2:6001", 6, ",", "';' between two" },
    { "exch1..contoso.com:6001", 6, "..", "one '.'" },
    { "b\xc3\xbc" "cher.example:6001", 1, "b\xc3\xbc" "cher.example", "xn--" },
    { "exch\001:6001", 5, "\001", "letters, digits" },
    { "+exch1:6001", 1, "+", "letters, digits" },
    { "192.0.2.256:135", 1, "192.0.2.256", "IPv4 address" },
    { "192.0.2:135", 1, "192.0.2", "IPv4 address" },
    { "a:1; 192.0.2.1.2:135", 6, "192.0.2.1.2", "IPv4 address" },
    { "ex*ch:6001", 3, "*", "beginning or the end" },
    { "**:6001", 2, "*", "beginning or the end" },
    { "*x*:6001", 3, "*", "beginning or the end" },
    { "a:1;x**:6001", 6, "*", "beginning or the end" },
    { "fe80::*:6001", 1, "fe80::*", "IPv6 address" },
    /* brackets */
    { "[fe80::1:6001", 1, "[fe80::1:6001", "closing ']'" },
    { "a:1;[fe80::x]:6001", 6, "fe80::x", "IPv6 address in" },
    { "[exch1]:6001", 2, "exch1", "IPv6 address in" },
    { "[]:6001", 2, "", "IPv6 address in" },
    { "[fe80::1]6001", 10, "6001", "':' and a port" },
    { "[fe80::1]", 1, "[fe80::1]", "[fe80::1]:6001" },
    { "[fe80::1]:", 1, "[fe80::1]:", "[fe80::1]:6001" },
    { "[192.0.2.1]:135", 2, "192.0.2.1", "IPv6 address in" },
    { "[fe80::1%]:135", 2, "fe80::1%", "IPv6 address in" },
    { "[fe80::1%a/b]:135", 2, "fe80::1%a/b", "IPv6 address in" },
    { "exch1]:135", 6, "]", "letters, digits" },
    /* no port */
    { "exch1", 1, "exch1", "exch1:6001" },
    { "exch1:", 1, "exch1:", "exch1:6001" },
    { "a:1;  exch1 ;b:2", 7, "exch1", "exch1:6001" },
    { "2001:db8::5", 1, "2001:db8::5", "[2001:db8::5]:6001" },
    { "::1", 1, "::1", "[::1]:6001" },
    /* ports */
    { "exch1:0", 7, "0", "1 to 65535" },
    { "exch1:65536", 7, "65536", "1 to 65535" },
    { "exch1:70000", 7, "70000", "1 to 65535" },
    { "exch1:4294973297", 7, "4294973297", "1 to 65535" },
    { "exch1:18446744073709557617", 7, "18446744073709557617", "1 to 65535" },
    { "exch1:x", 7, "x", "1 to 65535" },
    { "exch1:6001x", 7, "6001x", "1 to 65535" },
    { "exch1:+6001", 7, "+6001", "1 to 65535" },
    { "exch1:*", 7, "*", "1 to 65535" },
    { "exch1:0x1771", 7, "0x1771", "1 to 65535" },
    { "a:1;exch1:6001,6004", 11, "6001,6004", "exch1:6001;exch1:6004" },
    { "exch1:6002-6001", 7, "6002-6001", "6001-6002" },
    { "exch1:-6001", 7, "-6001", "both sides" },
    { "exch1:6001-", 7, "6001-", "both sides" },
    { "exch1:-", 7, "-", "both sides" },
    { "exch1:6001-6002-6003", 12, "6002-6003", "1 to 65535" },
    { "exch1:0-6002", 7, "0", "1 to 65535" },
    { "exch1:6001-65536", 12, "65536", "1 to 65535" },
    { "nb:6001-6002;nb.contoso.com:6001-6002;gc1:600400", 43, "600400", "1 to 65535" },
    { "[fe80::1]:99999", 11, "99999", "1 to 65535" },
};

static void test_faults(apr_pool_t *pool)
{
    size_t i;

    for (i = 0; i < sizeof faults / sizeof *faults; i++) {
        const struct fault *f = &faults[i];
        rpc_valid_ports_t *list = NULL;
        rpc_syntax_error_t err = { 0, "", "" };
        apr_status_t rv = rpc_valid_ports_parse(pool, f->list, NULL, &list, &err);

        fault_is(f->list, rv, list, &err, f->column, f->element, f->help);
    }
}

static void test_long_names(apr_pool_t *pool)
{
    rpc_valid_ports_t *list;
    rpc_syntax_error_t err;
    char text[1200];

    memset(text, 'a', sizeof text);
    strcpy(text + 1023, ":1");
    ok(rpc_valid_ports_parse(pool, text, NULL, &list, &err) == APR_SUCCESS,
       "a server of 1,023 characters");
    memset(text, 'a', sizeof text);
    strcpy(text + 1024, ":1");
    ok(rpc_valid_ports_parse(pool, text, NULL, &list, &err) == APR_EINVAL && err.column == 1
       && strstr(err.expected, "1023"), "none of 1,024");
}

static void test_adding(apr_pool_t *pool)
{
    rpc_valid_ports_t *one, *two, *both;
    rpc_syntax_error_t err;

    rpc_valid_ports_parse(pool, "a:1", NULL, &one, &err);
    rpc_valid_ports_parse(pool, "b:2", one, &two, &err);
    ok(rpc_valid_ports_match(two, "a", 1, NULL) && rpc_valid_ports_match(two, "b", 2, NULL),
       "a list adds to its base");
    ok(!rpc_valid_ports_match(one, "b", 2, NULL), "the base stays as it was");
    rpc_valid_ports_parse(pool, "c:3", NULL, &one, &err);
    both = rpc_valid_ports_join(pool, one, two);
    ok(rpc_valid_ports_match(both, "a", 1, NULL) && rpc_valid_ports_match(both, "c", 3, NULL),
       "two lists joined");
    ok(!rpc_valid_ports_match(one, "a", 1, NULL) && !rpc_valid_ports_match(two, "c", 3, NULL),
       "joining leaves both as they were");
    both = rpc_valid_ports_join(pool, NULL, NULL);
    ok(both && !rpc_valid_ports_match(both, "a", 1, NULL), "nothing joined allows nothing");
}

static void test_no_list(void)
{
    rpc_valid_port_t entry;
    const rpc_valid_port_t *nearest = &entry;

    ok(!rpc_valid_ports_match(NULL, "exch1", 6001, &nearest) && !nearest, "no list allows nothing");
    ok(!rpc_valid_ports_match(NULL, "exch1", 6001, NULL), "and need not say what is near");
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&pool, NULL);
    test_questions(pool);
    test_faults(pool);
    test_long_names(pool);
    test_adding(pool);
    test_no_list();
    return unit_done();
}
