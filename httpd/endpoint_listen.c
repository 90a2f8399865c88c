/* httpd/endpoint_listen.c: opening, keeping and closing listening sockets, in the parent. */
#include "httpd/endpoint_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <http_log.h>
#include <unixd.h>

#include "base/message_id.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

#define BACKLOG 4096

/* -1, with errno as it was. */
static int close_failed(int fd)
{
    int error = errno;

    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

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

/* ---- the Unix socket ---- */

/* Does the path still lead to the socket? */
static int is_there(const rpc_listen_t *l)
{
    struct stat st;

    return lstat(l->name, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == l->dev
        && st.st_ino == l->ino;
}

/* The process id in the name was another's before. What it has left is removed, if it is a
 * socket at which nobody listens. 0: the name is taken. */
static int remove_remains(const struct sockaddr_un *addr)
{
    struct stat st;
    int fd, dead;

    if (lstat(addr->sun_path, &st) < 0)
        return 1;       /* bind() says what is wrong, if anything is */
    if (!S_ISSOCK(st.st_mode)
        || (fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
        return 0;
    dead = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 && errno == ECONNREFUSED;
    close(fd);
    return dead && unlink(addr->sun_path) == 0;
}

static const char *unix_hint(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "create the folder, or name another one";
    case EADDRINUSE:
        return "the file belongs to another program: remove it, or name another path";
    case EACCES:
    case EROFS:
        return "httpd may not write into the folder: name another one, or change its rights";
    case EPERM:
        return "httpd's User may write there, so that any script could put its own socket in this "
               "place: "
               "let only root write into the folder and those above it, or name another one";
    default:
        return "correct this, or name another path";
    }
}

static int bind_unix(int fd, const struct sockaddr_un *addr)
{
    mode_t mask = umask(0177);
    int rv = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));

    umask(mask);
    return rv;
}

/* Could httpd's User, or a group of that user, make a file in this folder? INNER: the folder is to
 * hold a file of that user, who may then rename or remove it whatever the sticky bit says. */
static int user_may_write(const struct stat *st, int inner)
{
    gid_t groups[64];
    int count = 64, i;

    if (st->st_uid == ap_unixd_config.user_id)
        return 1;
    if (!inner && (st->st_mode & S_ISVTX))
        return 0;
    if (st->st_mode & S_IWOTH)
        return 1;
    if (!(st->st_mode & S_IWGRP))
        return 0;
    if (!ap_unixd_config.user_name
        || getgrouplist(ap_unixd_config.user_name, ap_unixd_config.group_id, groups, &count) < 0)
        return st->st_gid == ap_unixd_config.group_id;
    for (i = 0; i < count; i++)
        if (st->st_gid == groups[i])
            return 1;
    return 0;
}

const char *rpc_listen_user_writes(const char *path, apr_pool_t *pool)
{
    char *folder = apr_pstrdup(pool, path), real[PATH_MAX], *slash = strrchr(folder, '/');
    struct stat st;
    int inner = 1;

    if (geteuid() != 0 || ap_unixd_config.user_id == 0 || !slash)
        return NULL;    /* nobody could do better: see doc/mod_rpcproxy.md */
    slash[slash == folder] = '\0';
    if (!realpath(folder, real))
        return NULL;    /* bind() says what is wrong */
    for (;; inner = 0) {
        if (stat(real, &st) == 0 && user_may_write(&st, inner))
            return apr_pstrdup(pool, real);
        slash = strrchr(real, '/');
        if (!slash[1])
            return NULL;
        slash[slash == real] = '\0';
    }
}

/* The socket that we have made becomes httpd's User's: that file itself, whatever its name leads
 * to by now. */
static int give_away(rpc_listen_t *l)
{
    int fd = open(l->name, O_PATH | O_NOFOLLOW | O_CLOEXEC), done;
    struct stat st;

    if (fd < 0)
        return -1;
    done = fstat(fd, &st);
    if (done == 0 && (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1))
        done = (errno = EADDRINUSE, -1);
    if (done == 0 && geteuid() == 0)
        done = fchownat(fd, "", ap_unixd_config.user_id, (gid_t)-1, AT_EMPTY_PATH);
    if (done < 0)
        return close_failed(fd);
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    close(fd);
    return 0;
}

/* Only httpd's User may connect: the socket has mode 0600 and belongs to that user. */
static int open_unix(rpc_listen_t *l, apr_pool_t *pool, const char **hint)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    apr_cpystrn(addr.sun_path, l->name, sizeof(addr.sun_path));
    if (fd >= 0 && rpc_listen_user_writes(l->name, pool))
        errno = EPERM;
    else if (fd >= 0 && !remove_remains(&addr))
        errno = EADDRINUSE;
    else if (fd >= 0 && bind_unix(fd, &addr) == 0 && give_away(l) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    *hint = unix_hint(errno);
    return close_failed(fd);
}

/* ---- TCP ---- */

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
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return close_failed(fd);
    return fd;
}

static const char *tcp_hint(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "another program listens there: stop it, or choose another port";
    case EADDRNOTAVAIL:
        return "this machine does not have this address: name one that it has, or * for all of "
               "them";
    case EACCES:
        return "only root may use this port: start httpd as root, or choose a port above 1023";
    default:
        return "correct this, or name another address";
    }
}

/* "*" opens one IPv6 socket for both families, or an IPv4 socket when there is no IPv6. */
int rpc_listen_open_tcp(const char *name, apr_pool_t *pool, const char **hint)
{
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
    struct addrinfo *all, *ai;
    const char *host, *port;
    int fd = -1, error;

    *hint = "name an address of this machine";
    if (rpc_listen_parse(pool, name, &host, &port) != 0)
        return errno = EINVAL, -1;
    error = getaddrinfo(host ? host : "::", port, &hints, &all);
    if (error && (host || getaddrinfo("0.0.0.0", port, &hints, &all) != 0)) {
        *hint = apr_psprintf(pool, "the name does not resolve (%s): write an address",
                             gai_strerror(error));
        return errno = EADDRNOTAVAIL, -1;
    }
    for (ai = all; ai && fd < 0; ai = ai->ai_next)
        fd = open_address(ai);
    freeaddrinfo(all);
    if (fd < 0 && !host && errno != EADDRINUSE && getaddrinfo("0.0.0.0", port, &hints, &all) == 0) {
        fd = open_address(all);
        freeaddrinfo(all);
    }
    *hint = tcp_hint(errno);
    return fd;
}

/* ---- sets of them ---- */

/* Does the listener still work? Its path may be gone, and it may have been shut down. */
static int is_whole(const rpc_listen_t *l)
{
    int listens = 0;
    socklen_t len = sizeof(listens);

    if (l->fd < 0 || getsockopt(l->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || !listens)
        return 0;
    return !is_unix(l) || is_there(l);
}

static rpc_listen_t *find_listener(rpc_listen_set_t *set, const char *name)
{
    int i;

    for (i = 0; i < set->count; i++) {
        if (strcmp(set->at[i].name, name) == 0 && is_whole(&set->at[i]))
            return &set->at[i];
    }
    return NULL;
}

void rpc_listen_shut_tcp(const rpc_listen_set_t *set)
{
    int i;

    for (i = 0; i < set->count; i++) {
        if (set->at[i].fd >= 0 && !is_unix(&set->at[i]))
            shutdown(set->at[i].fd, SHUT_RDWR);
    }
}

/* Endpoint processes, and for a moment children, hold copies of a socket; shutting it down ends it
 * for them, too. */
static void give_up_listeners(rpc_listen_set_t *set)
{
    int i;

    for (i = 0; i < set->count; i++) {
        if (set->at[i].fd < 0)
            continue;
        if (is_unix(&set->at[i]) && is_there(&set->at[i]))
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

static apr_status_t open_listener(rpc_listen_t *l, server_rec *s, int level)
{
    const char *hint = "";
    apr_status_t rv;

    l->fd = is_unix(l) ? open_unix(l, s->process->pconf, &hint)
                       : rpc_listen_open_tcp(l->name, s->process->pconf, &hint);
    if (l->fd >= 0)
        return APR_SUCCESS;
    rv = errno;
    ap_log_error(APLOG_MARK, level, rv, s, RPCNO(0063) "cannot listen at %s %s: %s%s",
                 is_unix(l) ? "RpcEndpointSocket" : "RpcEndpointListen", l->name, hint,
                 level == APLOG_ERR ? "; httpd continues without it until a restart" : "");
    return rv;
}

apr_status_t rpc_listen_update(rpc_listen_set_t *kept, const rpc_listen_set_t *wanted,
                               server_rec *s, int level)
{
    rpc_listen_set_t now = *wanted;
    apr_status_t first = APR_SUCCESS;
    int i;

    for (i = 0; i < now.count; i++) {
        rpc_listen_t *l = &now.at[i], *old = find_listener(kept, l->name);

        if (!old)
            continue;
        l->fd = old->fd;
        l->dev = old->dev;
        l->ino = old->ino;
        old->fd = -1;
    }
    give_up_listeners(kept);    /* what is left; an address may change hands among the others */
    *kept = now;
    for (i = 0; i < now.count; i++) {
        if (kept->at[i].fd < 0) {
            apr_status_t rv = open_listener(&kept->at[i], s, level);

            first = first ? first : rv;
        }
    }
    return first;
}
