/* server_list_test: lists of servers, their text in the preface and the log, and back. */
#include "target/server_list.h"
#include "unit.h"

static rpc_binding_t tcp(const char *host, apr_port_t port)
{
    rpc_binding_t server = { RPC_PROTSEQ_TCP, host, port };

    return server;
}

static void test_text(apr_pool_t *pool)
{
    rpc_server_list_t list = { 3, { tcp("gc1", 6001), tcp("::1", 6002), tcp("10.0.0.1", 135) } };

    is_str(rpc_server_list_text(pool, &list), "gc1[6001],::1[6002],10.0.0.1[135]",
           "all in their order");
    is_str(rpc_server_list_first(pool, &list), "gc1[6001]", "the first alone");
    rpc_server_list_prefer(&list, 2);
    is_str(rpc_server_list_text(pool, &list), "10.0.0.1[135],gc1[6001],::1[6002]",
           "the last is preferred, the others keep their order");
    rpc_server_list_prefer(&list, 0);
    is_str(rpc_server_list_text(pool, &list), "10.0.0.1[135],gc1[6001],::1[6002]",
           "the first stays the first");
    rpc_server_list_prefer(&list, 1);
    is_str(rpc_server_list_text(pool, &list), "gc1[6001],10.0.0.1[135],::1[6002]",
           "one in the middle");
}

static void test_good_texts(apr_pool_t *pool)
{
    static const struct {
        const char *text, *again;
    } good[] = {
        { "gc1[6001]", "gc1[6001]" },
        { "gc1", "gc1[135]" },
        { "::1", "::1[135]" },
        { "fe80::1%eth0[49152],gc2,gc3[65535]", "fe80::1%eth0[49152],gc2[135],gc3[65535]" },
        { "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p[1]",
          "a[135],b[135],c[135],d[135],e[135],f[135],g[135],h[135],i[135],j[135],k[135],l[135],"
           "m[135],n[135],"
          "o[135],p[1]" },
    };
    rpc_server_list_t list;
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ok(rpc_server_list_read(pool, good[i].text, 135, &list) == APR_SUCCESS, "%s is read",
           good[i].text);
        is_str(rpc_server_list_text(pool, &list), good[i].again, "with the port that it lacks");
        ok(list.at[0].protseq == RPC_PROTSEQ_TCP, "the endpoint connects by TCP");
    }
}

static void test_bad_texts(apr_pool_t *pool)
{
    static const char *const bad[] = {
        "", ",", "gc1,", ",gc1", "gc1,,gc2", "[6001]", "gc1[", "gc1[]", "gc1[6001", "gc1[6001]x",
        "gc1[0]", "gc1[65536]", "gc1[99999999999999999999]", "gc1[-1]", "gc1[ 1]", "gc1[1][2]",
        "gc1[6001,gc2]",
        "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q",
    };
    rpc_server_list_t list;
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ok(rpc_server_list_read(pool, bad[i], 135, &list) == APR_EINVAL, "\"%s\" is not read",
           bad[i]);
}

int main(void)
{
    apr_pool_t *pool;

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&pool, NULL);
    test_text(pool);
    test_good_texts(pool);
    test_bad_texts(pool);
    apr_pool_destroy(pool);
    return unit_done();
}
