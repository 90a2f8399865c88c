/* rpc_dial.c: one rpc_connect after the other. */
#include "rpc_dial.h"

#include <stdlib.h>
#include <string.h>

#include <apr_errno.h>

struct rpc_dial {
    rpc_loop_t *loop;
    rpc_dialer_t dialer;
    const rpc_log_t *log;
    rpc_dial_done_t *done;
    void *ctx;
    apr_interval_time_t timeout;
    rpc_connect_t *connecting;
    char *next;                 /* of HOSTS, which is taken apart; NULL: none is left */
    const char *host;           /* being tried */
    uint16_t port, default_port;
    char hosts[];
};

static rpc_dial_t *dial_new(rpc_loop_t *loop, const char *hosts, apr_interval_time_t timeout,
                            rpc_dial_done_t *done, void *ctx)
{
    size_t size = strlen(hosts) + 1;
    rpc_dial_t *d = calloc(1, sizeof(*d) + size);

    if (!d)
        return NULL;
    d->loop = loop;
    d->timeout = timeout;
    d->done = done;
    d->ctx = ctx;
    memcpy(d->hosts, hosts, size);
    d->host = d->hosts;
    d->next = d->hosts;
    return d;
}

static void finish(rpc_dial_t *d, rpc_reason_t reason, apr_status_t status, int fd)
{
    d->done(d->ctx, reason, status, fd, d->host, d->port);
    free(d);
}

/* Cuts the next server off the list. */
static void take_next(rpc_dial_t *d)
{
    char *comma = strchr(d->next, ','), *bracket;

    if (comma)
        *comma = '\0';
    d->host = d->next;
    d->port = d->default_port;
    d->next = comma ? comma + 1 : NULL;
    bracket = strchr(d->host, '[');
    if (bracket) {
        *bracket = '\0';
        d->port = (uint16_t)atoi(bracket + 1);
    }
}

static void connected(void *ctx, rpc_reason_t reason, apr_status_t status, int fd);

static int try_next(rpc_dial_t *d)
{
    take_next(d);
    d->connecting = rpc_connect_tcp(d->loop, d->dialer.resolver, d->host, d->port, d->timeout, connected, d);
    return d->connecting != NULL;
}

static void connected(void *ctx, rpc_reason_t reason, apr_status_t status, int fd)
{
    rpc_dial_t *d = ctx;
    char text[120];

    d->connecting = NULL;
    if (!reason) {
        rpc_health_good(d->dialer.health, d->host, d->port);
        finish(d, reason, status, fd);
        return;
    }
    rpc_health_failed(d->dialer.health, d->host, d->port, apr_time_now());
    if (!d->next) {
        finish(d, reason, status, fd);
        return;
    }
    rpc_log(d->log, RPC_LOG_WARN, 0, "%s port %u: %s: %s; the next server is tried", d->host, d->port,
            rpc_reason_info(reason)->text, apr_strerror(status, text, sizeof(text)));
    if (!try_next(d))
        finish(d, RPC_REASON_NO_MEMORY, APR_ENOMEM, -1);
}

rpc_dial_t *rpc_dial_tcp(rpc_loop_t *loop, const rpc_dialer_t *dialer, const rpc_log_t *log,
                         const char *hosts, uint16_t port, apr_interval_time_t timeout,
                         rpc_dial_done_t *done, void *ctx)
{
    rpc_dial_t *d = dial_new(loop, hosts, timeout, done, ctx);

    if (!d)
        return NULL;
    d->dialer = *dialer;
    d->log = log;
    d->default_port = port;
    if (!try_next(d)) {
        free(d);
        return NULL;
    }
    return d;
}

static void unix_connected(void *ctx, rpc_reason_t reason, apr_status_t status, int fd)
{
    finish(ctx, reason, status, fd);
}

rpc_dial_t *rpc_dial_unix(rpc_loop_t *loop, const char *path, apr_interval_time_t timeout,
                          rpc_dial_done_t *done, void *ctx)
{
    rpc_dial_t *d = dial_new(loop, path, timeout, done, ctx);

    if (!d)
        return NULL;
    d->connecting = rpc_connect_unix(loop, path, timeout, unix_connected, d);
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

int rpc_dial_count(const char *hosts)
{
    int count = 1;

    for (; *hosts; hosts++)
        count += *hosts == ',';
    return count;
}
