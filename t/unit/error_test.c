/* error_test: the refusal of a channel, byte for byte. The record was checked against an
 * independent encoder of the [MS-EERR] IDL.
 */
#include "wire/error.h"

#include "unit.h"

/* Of the error 6ba, in base64. */
#define EEINFO "ARAIAMzMzMwwAAAAAAAAAAAAAgAAAAAAAAAAAAIAAgAAAAAAAAAAAAAA" \
               "BWk2wNUBDgAAALoGAACgBQAAAAAAAA=="

/* 2020-01-01 00:00:00 UTC */
#define WHEN APR_INT64_C(1577836800000000)

static void test_known(void)
{
    rpc_error_t error;

    rpc_error_write(&error, RPC_REASON_CONNECT_FAILED, WHEN);
    is_str(error.phrase, "RPC Error: 6ba, EEInfo: " EEINFO,
           "nobody listens: phrase");
    is_str(error.body, "RPC EEInfo:" EEINFO "\r\n",
           "nobody listens: body");
    is_int(error.status, 503, "nobody listens: status");
}

static void test_all(void)
{
    rpc_error_t error;
    char want[40];
    int i;

    for (i = 0; i < RPC_REASON_COUNT; i++) {
        const rpc_reason_info_t *info = rpc_reason_info((rpc_reason_t)i);

        if (!info->rpc_error)
            continue;
        rpc_error_write(&error, (rpc_reason_t)i, WHEN);
        snprintf(want, sizeof(want), "RPC Error: %x, EEInfo: ARAIAMzMzMww", info->rpc_error);
        ok(strncmp(error.phrase, want, strlen(want)) == 0, "%s: %s", info->token, want);
        is_int(error.body_length, strlen(error.body), "%s: length", info->token);
        ok(strstr(error.body, "\r\n") == error.body + strlen(error.body) - 2, "%s: body",
           info->token);
    }
}

int main(void)
{
    test_known();
    test_all();
    return unit_done();
}
