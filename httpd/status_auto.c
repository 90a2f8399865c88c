/* httpd/status_auto.c: mod_status asks its optional hook. In ?auto each line is "Name: number". */
#include "httpd/status_auto.h"

#include <apr_optional_hooks.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <mod_status.h>

typedef struct line {
    const char *name, *text;
    uint64_t number;
} line_t;

#define LINES 9

static const rpc_context_t *context;

static uint64_t sum(const _Atomic uint64_t *counts, int count)
{
    uint64_t all = 0;

    while (count)
        all += atomic_load(&counts[--count]);
    return all;
}

static void collect(line_t lines[LINES])
{
    rpc_status_counts_t now = rpc_status_count(context->live);
    rpc_board_bytes_t bytes = rpc_board_total(context->board);
    const rpc_tally_t *tally = context->tally;
    const line_t all[LINES] = {
        { "RpcChannels", "channels", now.channels },
        { "RpcUnpaired", "channels that wait for their server", now.unpaired },
        { "RpcChannelsMost", "channels at most",
          rpc_status_most(context->live, RPC_LIMIT_CHANNELS) },
        { "RpcChannelsBegun", "channels since the start", sum(tally->begun, RPC_ROLES) },
        { "RpcConnectionsEnded", "virtual connections that have ended",
          atomic_load(&tally->connections) },
        { "RpcRefused", "requests refused", sum(tally->refused, RPC_REASON_COUNT) },
        { "RpcBindsRefused", "binds refused", atomic_load(&tally->binds_refused) },
        { "RpcBytesIn", "bytes from clients", bytes.in },
        { "RpcBytesOut", "bytes to clients", bytes.out },
    };

    memcpy(lines, all, sizeof(all));
}

static int tell_status(request_rec *r, int flags)
{
    line_t lines[LINES];
    int i;

    if (!context->live)
        return DECLINED;
    collect(lines);
    if (!(flags & AP_STATUS_SHORT))
        ap_rputs("<hr />\n<h2>RPC over HTTP (mod_rpcproxy)</h2>\n<dl>\n", r);
    for (i = 0; i < LINES; i++)
        ap_rprintf(r, flags & AP_STATUS_SHORT ? "%s: %" APR_UINT64_T_FMT "\n"
                                              : "<dt>%s: %" APR_UINT64_T_FMT "</dt>\n",
                   flags & AP_STATUS_SHORT ? lines[i].name : lines[i].text,
                   (apr_uint64_t)lines[i].number);
    if (!(flags & AP_STATUS_SHORT))
        ap_rputs("</dl>\n", r);
    return OK;
}

void rpc_status_auto_register(apr_pool_t *p, const rpc_context_t *of_server)
{
    context = of_server;
    APR_OPTIONAL_HOOK(ap, status_hook, tell_status, NULL, NULL, APR_HOOK_MIDDLE);
}
