/* httpd/mpm_limits.c: limits of the stock MPMs that matter for thousands of suspended connections. */
#include "httpd/mpm_limits.h"

#include <stdlib.h>

#include <ap_mpm.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>

#include "base/descriptors.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

static int query_mpm(int query)
{
    int value = 0;

    return ap_mpm_query(query, &value) == APR_SUCCESS ? value : 0;
}

/* The value of a directive at the top of the configuration. The event MPM offers no other way. */
static double directive(const char *name, double deflt)
{
    const ap_directive_t *d;

    for (d = ap_conftree; d; d = d->next) {
        if (ap_cstr_casecmp(d->directive, name) == 0)
            deflt = atof(d->args);
    }
    return deflt;
}

/* Event counts suspended connections against each child's asynchronous limit:
 * ThreadsPerChild + idle threads x AsyncRequestWorkerFactor. */
static void check_event(server_rec *s, int max_channels, int children, int threads, int restarts)
{
    double factor = directive("AsyncRequestWorkerFactor", 2);
    double room = children * threads * (1 + factor);

    if (room < max_channels)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "RpcMaxChannels is %d, but the event MPM stops accepting at about %.0f "
                     "connections: raise AsyncRequestWorkerFactor (now %g) to %d",
                     max_channels, room, factor,
                     (int)(1.2 * max_channels / (children * threads)) + 1);
    ap_log_error(APLOG_MARK, restarts < 1 ? APLOG_WARNING : APLOG_NOTICE, 0, s,
                 "channels outlive %d graceful restarts within RpcGracefulTimeout, because ServerLimit is %d and "
                 "MaxRequestWorkers / ThreadsPerChild is %d; one more restart ends the channels of the oldest "
                 "child%s", restarts, query_mpm(AP_MPMQ_HARD_LIMIT_DAEMONS), children,
                 restarts < 1 ? ": raise ServerLimit" : "");
    if (query_mpm(AP_MPMQ_MAX_SPARE_THREADS) < children * threads && children > 1)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "the MPM would take a child that is full of channels for idle and end it: raise "
                     "MaxSpareThreads (now %d) to MaxRequestWorkers (%d)",
                     query_mpm(AP_MPMQ_MAX_SPARE_THREADS), children * threads);
}

static void check_sync(server_rec *s, int max_channels, int workers)
{
    if (workers < max_channels)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "RpcMaxChannels is %d, but this MPM keeps a worker for each channel and "
                     "has %d: raise MaxRequestWorkers, lower RpcMaxChannels, or use the event MPM",
                     max_channels, workers);
}

/* Rounds up to a number that people would write. */
static unsigned long rounded(unsigned long files)
{
    unsigned long n = 1024;

    while (n < files)
        n *= 2;
    return n;
}

static void check_descriptors(server_rec *s, int max_channels, int children)
{
    unsigned long limit = rpc_descriptors_limit();
    /* A channel has its client's and its leg's. */
    unsigned long wanted = 2ul * (unsigned long)(max_channels / (children ? children : 1)) + RPC_DESCRIPTORS_KEPT;

    if (limit < wanted)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "RpcMaxChannels %d needs about %lu open files in each child, but the limit is %lu: "
                     "raise it (APACHE_ULIMIT_MAX_FILES=\"ulimit -n %lu\" in Debian's envvars, "
                     "elsewhere LimitNOFILE of the service)",
                     max_channels, wanted, limit, rounded(wanted));
}

/* A replacement channel that lands in another child takes R1, which not every client knows. */
static void check_children(server_rec *s, int children, int threads)
{
    if (children > 1)
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "channels are spread over %d children: sessions of clients that can replace a "
                     "channel only within one child (FreeRDP) end after RpcChannelLifetime bytes; set "
                     "MaxRequestWorkers %d, like ThreadsPerChild, so that one child has all channels",
                     children, threads);
}

/* Not ours to bound: until its request has come, a connection is httpd's. */
static void check_silence(server_rec *s)
{
    if (!ap_find_linked_module("mod_reqtimeout.c"))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "mod_reqtimeout is not loaded: a client that stops in the middle of a TLS handshake or a "
                     "request holds a worker for Timeout seconds; load it and set RequestReadTimeout");
}

void rpc_limits_check(server_rec *s, int max_channels, const rpc_room_t *room)
{
    int children = query_mpm(AP_MPMQ_MAX_DAEMONS), threads = query_mpm(AP_MPMQ_MAX_THREADS);

    if (threads < 1)
        threads = 1;
    if (query_mpm(AP_MPMQ_IS_ASYNC))
        check_event(s, max_channels, children, threads, rpc_room_restarts(room));
    else
        check_sync(s, max_channels, children * threads);
    check_descriptors(s, max_channels, children);
    check_children(s, children, threads);
    check_silence(s);
    if (query_mpm(AP_MPMQ_MAX_REQUESTS_DAEMON) > 0)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "MaxConnectionsPerChild %d ends children that still have channels: set it to 0",
                     query_mpm(AP_MPMQ_MAX_REQUESTS_DAEMON));
}
