/* httpd/mpm_limits.c: limits of the stock MPMs that matter for channels, which have no worker of
 * httpd. */
#include "httpd/mpm_limits.h"

#include <ap_mpm.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>

#include "base/descriptors.h"
#include "base/message_id.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

static int query_mpm(int query)
{
    int value = 0;

    return ap_mpm_query(query, &value) == APR_SUCCESS ? value : 0;
}

/* Only event keeps a slot for each child that retires; see httpd/scoreboard_room.h. */
static void check_restarts(server_rec *s, int children, int restarts)
{
    ap_log_error(APLOG_MARK, restarts < 1 ? APLOG_WARNING : APLOG_NOTICE, 0, s,
                 RPCNO(0071) "channels outlive %d graceful restarts within RpcGracefulTimeout, "
                 "because ServerLimit is %d and MaxRequestWorkers / ThreadsPerChild is %d; one "
                 "more restart ends the channels of the oldest child%s",
                 restarts, query_mpm(AP_MPMQ_HARD_LIMIT_DAEMONS), children,
                 restarts < 1 ? ": raise ServerLimit" : "");
}

static void warn_of_retiring(server_rec *s, const char *name, int is, const char *wanted_name,
                             int wanted)
{
    if (is < wanted)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     RPCNO(0072) "%s is %d: the MPM will end children that look idle, and the "
                     "channels of a child that it ends live on for RpcGracefulTimeout at most; "
                     "raise %s to %s (%d)",
                     name, is, name, wanted_name, wanted);
}

static void check_retiring(server_rec *s, int children, int threads)
{
    if (children > 1 && query_mpm(AP_MPMQ_IS_THREADED))
        warn_of_retiring(s, "MaxSpareThreads", query_mpm(AP_MPMQ_MAX_SPARE_THREADS),
                         "MaxRequestWorkers", children * threads);
    else if (children > 1)
        warn_of_retiring(s, "MaxSpareServers", query_mpm(AP_MPMQ_MAX_SPARE_DAEMONS),
                         "MaxRequestWorkers", children);
    if (query_mpm(AP_MPMQ_MAX_REQUESTS_DAEMON) > 0)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     RPCNO(0073) "MaxConnectionsPerChild %d ends children that still have "
                     "channels, which live on for RpcGracefulTimeout at most: set it to 0",
                     query_mpm(AP_MPMQ_MAX_REQUESTS_DAEMON));
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
    unsigned long wanted = 2ul * (unsigned long)(max_channels / (children ? children : 1))
                         + RPC_DESCRIPTORS_KEPT;

    if (limit < wanted)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     RPCNO(0074) "RpcMaxChannels %d needs about %lu open files in each child, but "
                     "the limit is %lu: raise it (APACHE_ULIMIT_MAX_FILES=\"ulimit -n %lu\" in "
                     "Debian's envvars, elsewhere LimitNOFILE of the service)",
                     max_channels, wanted, limit, rounded(wanted));
}

/* A replacement channel that lands in another child takes R1, which not every client knows. */
static void check_children(server_rec *s, int children, int threads)
{
    if (children > 1 && !query_mpm(AP_MPMQ_IS_THREADED))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     RPCNO(0075) "channels are spread over %d children: sessions of clients that "
                     "can replace a channel only within one child (FreeRDP) end after "
                     "RpcChannelLifetime bytes; the event MPM has room for all channels in one "
                     "child",
                     children);
    else if (children > 1)
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     RPCNO(0076) "channels are spread over %d children: sessions of clients that "
                     "can replace a channel only within one child (FreeRDP) end after "
                     "RpcChannelLifetime bytes; set MaxRequestWorkers %d, like ThreadsPerChild, so "
                     "that one child has all channels",
                     children, threads);
}

/* Not ours to bound: until its request has come, a connection is httpd's. */
static void check_silence(server_rec *s)
{
    if (!ap_find_linked_module("mod_reqtimeout.c"))
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     RPCNO(0077) "mod_reqtimeout is not loaded: a client that stops in the middle "
                     "of a TLS handshake or a request holds a worker for Timeout seconds; load it "
                     "and set RequestReadTimeout");
}

void rpc_limits_check(server_rec *s, int max_channels, const rpc_room_t *room)
{
    int children = query_mpm(AP_MPMQ_MAX_DAEMONS), threads = query_mpm(AP_MPMQ_MAX_THREADS);

    if (threads < 1)
        threads = 1;
    if (query_mpm(AP_MPMQ_IS_ASYNC))
        check_restarts(s, children, rpc_room_restarts(room));
    check_retiring(s, children, threads);
    check_descriptors(s, max_channels, children);
    check_children(s, children, threads);
    check_silence(s);
}
