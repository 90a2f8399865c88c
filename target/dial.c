/* target/dial.c: one rpc_connect after the other. */
#include "target/dial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_errno.h>

#include "base/clock.h"
#include "base/message_id.h"

struct rpc_dial {
    rpc_loop_t *loop;
    rpc_dialer_t dialer;
    rpc_dial_params_t params;
    rpc_server_list_t servers;  /* in the order in which they are tried; their names and the Unix
                                 * path */
                                /* stand in TEXT */
    rpc_dial_done_t *done;
    void *ctx;
    rpc_connect_t *connecting;
    int next;                   /* the server to try next */
    const char *host;           /* being tried; the path of a Unix socket */
    uint16_t port;
    apr_status_t ours;          /* the error when a server failed for a local reason; or 0 */
    char tried[400];            /* the servers that failed, and why */
    char text[];
};

static size_t text_size(const rpc_dial_params_t *params)
{
    size_t size = params->unix_path ? strlen(params->unix_path) + 1 : 0;
    int i;

    for (i = 0; i < params->servers->count; i++)
        size += strlen(params->servers->at[i].host) + 1;
    return size;
}

static const char *copy_text(char **room, const char *text)
{
    char *copy = *room;
    size_t size = strlen(text) + 1;

    *room += size;
    return memcpy(copy, text, size);
}

static rpc_dial_t *dial_new(const rpc_dial_params_t *params)
{
    rpc_dial_t *d = calloc(1, sizeof(*d) + text_size(params));
    char *room;
    int i;

    if (!d)
        return NULL;
    room = d->text;
    d->params = *params;
    if (params->unix_path)
        d->host = d->params.unix_path = copy_text(&room, params->unix_path);
    for (i = 0; i < params->servers->count; i++) {
        d->servers.at[i] = params->servers->at[i];
        d->servers.at[i].host = copy_text(&room, params->servers->at[i].host);
    }
    d->servers.count = params->servers->count;
    rpc_server_list_prefer(&d->servers, params->first);
    return d;
}

/* Are there no more servers to try? Drained ones are not tried behind another; one that was chosen
 * as the first is. */
static int is_last(rpc_dial_t *d)
{
    while (d->next && d->next < d->servers.count
           && rpc_health_drains(d->dialer.health, d->servers.at[d->next].host,
                                (uint16_t)d->servers.at[d->next].port))
        d->next++;
    return d->next == d->servers.count;
}

/* Tells the caller the result, and all failures in one text. */
static void dial_finish(rpc_dial_t *d, rpc_reason_t reason, apr_status_t status, int fd)
{
    if (!reason && d->tried[0])
        rpc_log(d->params.log, RPC_LOG_WARN, 0, RPCNO(0006) "%s", d->tried);
    d->done(d->ctx, reason, status, fd, d->host, d->port, d->tried);
    free(d);
}

static void dial_connected(void *ctx, const rpc_connect_result_t *result);

static int try_next_server(rpc_dial_t *d)
{
    const rpc_binding_t *server = &d->servers.at[d->next++];
    rpc_connect_params_t params = {
        .resolver = d->dialer.resolver,
        .host = server->host,
        .port = server->port,
        .user = d->params.user,
        .timeout = d->params.timeout,
        .networks = d->params.networks,
        .sources = d->params.sources,
    };

    d->host = server->host;
    d->port = server->port;
    d->connecting = rpc_connect_start(d->loop, &params, dial_connected, d);
    return d->connecting != NULL;
}

/* Reports the result to rpc_health. An address that a rule refuses and a local failure say nothing
 * about the health of the server. */
static void report_health(rpc_dial_t *d, rpc_reason_t reason)
{
    if (!reason)
        rpc_health_good(d->dialer.health, d->host, d->port);
    else if (reason != RPC_REASON_ADDRESS_REFUSED && !rpc_reason_is_ours(reason))
        rpc_health_failed(d->dialer.health, d->host, d->port, rpc_clock_now());
}

/* Appends why this server failed. When there is no room left, later failures are left out. */
static void note_failure(rpc_dial_t *d, const rpc_connect_result_t *result)
{
    size_t used = strlen(d->tried), room = sizeof(d->tried) - used;
    const char *more = is_last(d) ? "" : "; the next server is tried";
    char text[120], why[RPC_HEALTH_WHY];

    apr_strerror(result->status, text, sizeof(text));
    snprintf(why, sizeof(why), "%s: %s", rpc_reason_info(result->reason)->text, text);
    rpc_health_explain(d->dialer.health, d->host, d->port, why);
    if (result->rule)
        snprintf(d->tried + used, room,
                 "%s%s port %u: %s is refused by RpcTargetNetworks, nearest is %s%s",
                 used ? ": " : "", d->host, d->port, result->address, result->rule, more);
    else
        snprintf(d->tried + used, room, "%s%s port %u: %s: %s%s", used ? ": " : "", d->host,
                 d->port, rpc_reason_info(result->reason)->text, text, more);
}

static void dial_connected(void *ctx, const rpc_connect_result_t *result)
{
    rpc_dial_t *d = ctx;

    d->connecting = NULL;
    report_health(d, result->reason);
    if (result->reason)
        note_failure(d, result);
    if (result->reason == RPC_REASON_LOCAL_FAILURE)
        d->ours = result->status;
    if (result->reason && is_last(d) && d->ours)
        dial_finish(d, RPC_REASON_LOCAL_FAILURE, d->ours, -1);
    else if (!result->reason || is_last(d))
        dial_finish(d, result->reason, result->status, result->fd);
    else if (!try_next_server(d))
        dial_finish(d, RPC_REASON_NO_MEMORY, APR_ENOMEM, -1);
}

/* Has the expected process opened the socket? Another program may have put its own in that
 * place. */
static int is_owners(const rpc_dial_t *d, int fd)
{
    struct ucred peer = { 0, 0, 0 };
    socklen_t len = sizeof(peer);

    return !d->params.unix_owner
           || (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer,
                          &len) == 0 && peer.pid == d->params.unix_owner);
}

static void unix_connected(void *ctx, rpc_reason_t reason, apr_status_t status, int fd)
{
    rpc_dial_t *d = ctx;
    char text[120];

    if (!reason && !is_owners(d, fd)) {
        close(fd);
        fd = -1;
        reason = RPC_REASON_LOCAL_FAILURE;
        status = APR_EACCES;
        snprintf(d->tried, sizeof(d->tried), "the socket at %s belongs to another program",
                 d->host);
    }
    else if (reason)
        snprintf(d->tried, sizeof(d->tried), "the endpoint process at %s: %s", d->host,
                 apr_strerror(status, text, sizeof(text)));
    dial_finish(d, reason, status, fd);
}

rpc_dial_t *rpc_dial_start(rpc_loop_t *loop, const rpc_dialer_t *dialer,
                           const rpc_dial_params_t *params, rpc_dial_done_t *done, void *ctx)
{
    rpc_dial_t *d = dial_new(params);

    if (!d)
        return NULL;
    d->loop = loop;
    d->dialer = *dialer;
    d->done = done;
    d->ctx = ctx;
    if (params->unix_path)
        d->connecting = rpc_connect_unix(loop, d->host, params->timeout, unix_connected, d);
    else
        try_next_server(d);
    if (!d->connecting) {
        free(d);
        return NULL;
    }
    return d;
}

void rpc_dial_cancel(rpc_dial_t *d)
{
    rpc_connect_cancel(d->connecting);
    free(d);
}
