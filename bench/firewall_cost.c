/* firewall_cost: what the firewall costs a PDU, in nanoseconds: the best of several rounds, less
 * what the loop costs by itself.
 */
#include "firewall/firewall.h"

#include <apr_general.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench_rpc.h"

#define ROUNDS 9
#define TIMES  2000000
#define PDU_SIZE BENCH_PIECE_MAX

/* Keeps the compiler from using what it knows about DATA. */
#define FORGET(data) __asm__ volatile("" : : "r"(data) : "memory")

typedef struct run {
    rpc_firewall_t fw;
    uint8_t pdu[PDU_SIZE];
    unsigned hits;
} run_t;

typedef void loop_t(run_t *run);

static void loop_alone(run_t *run)
{
    int i;

    for (i = 0; i < TIMES; i++) {
        FORGET(run);
        run->hits += dcerpc_ptype(run->pdu);
    }
}

/* The same call as in in_relay(). */
static void loop_wants(run_t *run)
{
    int i;

    for (i = 0; i < TIMES; i++) {
        FORGET(run);
        run->hits += (unsigned)rpc_firewall_wants(&run->fw, dcerpc_ptype(run->pdu));
    }
}

static void loop_check(run_t *run)
{
    rpc_firewall_result_t result;
    dcerpc_header_t header;
    int i;

    for (i = 0; i < TIMES; i++) {
        FORGET(run);
        dcerpc_header_parse(run->pdu, &header);
        run->hits += rpc_firewall_check(&run->fw, run->pdu, &header, &result);
    }
}

static double measure(run_t *run, loop_t *loop)
{
    struct timespec from, to;
    double best = 1e9;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        double ns;

        clock_gettime(CLOCK_MONOTONIC, &from);
        loop(run);
        clock_gettime(CLOCK_MONOTONIC, &to);
        ns = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec))
           / TIMES;
        best = ns < best ? ns : best;
    }
    return best;
}

static void print(run_t *run, const char *what, loop_t *loop)
{
    double alone = measure(run, loop_alone);

    printf("  %-58s %7.2f\n", what, measure(run, loop) - alone);
}

static void sealed_request(uint8_t *pdu)
{
    static const uint8_t trailer[8] = { 10, RPC_AUTH_LEVEL_PRIVACY, 0, 0, 1, 0, 0, 0 };

    bench_pdu(pdu, DCERPC_REQUEST, BENCH_ECHO, PDU_SIZE);
    pdu[10] = 16;   /* auth_length */
    memcpy(pdu + PDU_SIZE - 16 - sizeof(trailer), trailer, sizeof(trailer));
}

int main(void)
{
    static run_t run;
    rpc_firewall_rules_t *rules;
    rpc_syntax_error_t err;
    apr_pool_t *pool;

    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&pool, NULL) != APR_SUCCESS
        || rpc_firewall_rules_profile(pool, "samba", NULL, &rules, &err) != APR_SUCCESS
        || rpc_firewall_rules_parse(pool, "49152-65535 rpcecho", rules, &rules, &err)
               != APR_SUCCESS)
        bench_die("no rules");
    printf("firewall, ns a PDU of the client\n");
    sealed_request(run.pdu);
    rpc_firewall_begin(&run.fw, NULL, 49152, RPC_AUTH_LEVEL_NONE, 0);
    print(&run, "a request, no firewall", loop_wants);
    rpc_firewall_begin(&run.fw, rules, 49152, RPC_AUTH_LEVEL_NONE, 1);
    print(&run, "a request behind a bind, RpcProfile samba", loop_wants);
    rpc_firewall_begin(&run.fw, rules, 49152, RPC_AUTH_LEVEL_PRIVACY, 1);
    print(&run, "a request, RpcMinAuthLevel privacy", loop_check);
    bench_bind(run.pdu);
    rpc_firewall_begin(&run.fw, rules, 49152, RPC_AUTH_LEVEL_NONE, 0);
    print(&run, "a bind", loop_check);
    apr_pool_destroy(pool);
    return 0;
}
