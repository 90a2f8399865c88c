/* httpd/endpoint_listen.c: opening, keeping and closing listening sockets, in the parent. */
#include "httpd/endpoint_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <http_log.h>
#include <unixd.h>

#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

#define BACKLOG 4096

int rpc_listen_parse(apr_pool_t *pool, const char *name, const char **host, const char **port)
{
    apr_port_t number;
    char *address, *scope;

    if (apr_parse_addr_port(&address, &scope, &number, name, pool) != APR_SUCCESS || !address
        || scope || !number)
        return -1;
    *host = strcmp(address, "*") == 0 ? NULL : address;
    *port = apr_itoa(pool, number);
    return 0;
}

static int is_unix(const rpc_listen_t *l)
{
    return l->host[0] == '\0';
}

/* Only httpd's User may connect: mode 0600, and his. */
static int open_unix(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    mode_t mask = umask(0177);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), failed;

    apr_cpystrn(addr.sun_path, path, sizeof(addr.sun_path));
    unlink(path);
    failed = fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0
             || (geteuid() == 0 && chown(path, ap_unixd_config.user_id, (gid_t)-1) < 0)
             || listen(fd, BACKLOG) < 0;
    umask(mask);
    if (failed && fd >= 0) {
        int error = errno;

        close(fd);
        errno = error;
    }
    return failed ? -1 : fd;
}

static int open_address(const struct addrinfo *ai)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, off = 0;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  /* inherited by the legs */
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* "*" is one IPv6 socket for both families, or where there is no IPv6 one of IPv4. */
static int open_tcp(const char *name, apr_pool_t *ptemp)
{
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    struct addrinfo *all, *ai;
    const char *host, *port;
    int fd = -1;

    if (rpc_listen_parse(ptemp, name, &host, &port) != 0)
        return errno = EINVAL, -1;
    if (getaddrinfo(host ? host : "::", port, &hints, &all) != 0
        && (host || getaddrinfo("0.0.0.0", port, &hints, &all) != 0))
        return errno = EADDRNOTAVAIL, -1;
    for (ai = all; ai && fd < 0; ai = ai->ai_next)
        fd = open_address(ai);
    freeaddrinfo(all);
    if (fd < 0 && !host && errno != EADDRINUSE && getaddrinfo("0.0.0.0", port, &hints, &all) == 0) {
        fd = open_address(all);
        freeaddrinfo(all);
    }
    return fd;
}

static rpc_listen_t *find(rpc_listen_set_t *set, const char *name)
{
    int i;

    for (i = 0; i < set->count; i++) {
        if (set->at[i].fd >= 0 && strcmp(set->at[i].name, name) == 0)
            return &set->at[i];
    }
    return NULL;
}

static int same_target(const rpc_listen_t *a, const rpc_listen_t *b)
{
    return strcmp(a->host, b->host) == 0 && a->port == b->port && a->version1 == b->version1;
}

/* Children of before may hold a copy; shutting the socket down ends it for them, too. */
static void give_up(rpc_listen_set_t *set)
{
    int i;

    for (i = 0; i < set->count; i++) {
        if (set->at[i].fd < 0)
            continue;
        if (is_unix(&set->at[i]))
            unlink(set->at[i].name);
        shutdown(set->at[i].fd, SHUT_RDWR);
    }
    rpc_listen_close(set);
}

void rpc_listen_close(rpc_listen_set_t *set)
{
    while (set->count) {
        int fd = set->at[--set->count].fd;

        if (fd >= 0)
            close(fd);
    }
}

apr_status_t rpc_listen_update(rpc_listen_set_t *kept, const rpc_listen_set_t *wanted,
                               server_rec *s, int *changed)
{
    rpc_listen_set_t now = *wanted;
    int i;

    *changed = kept->count != wanted->count;
    for (i = 0; i < now.count; i++) {
        rpc_listen_t *l = &now.at[i], *old = find(kept, l->name);

        if (old) {
            l->fd = old->fd;
            old->fd = -1;
            *changed |= !same_target(l, old);
        }
    }
    give_up(kept);      /* what is left; an address may change hands among the others */
    *kept = now;
    for (i = 0; i < now.count; i++) {
        rpc_listen_t *l = &kept->at[i];

        if (l->fd >= 0)
            continue;
        *changed = 1;
        l->fd = is_unix(l) ? open_unix(l->name) : open_tcp(l->name, s->process->pconf);
        if (l->fd < 0) {
            apr_status_t rv = errno;

            ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s, "cannot listen at %s %s",
                         is_unix(l) ? "RpcEndpointSocket" : "RpcEndpointListen", l->name);
            return rv;
        }
    }
    return APR_SUCCESS;
}
