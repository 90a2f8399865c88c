/* httpd/endpoint_check.c: configtest tries to open the sockets of RpcEndpointSocket and
 * RpcEndpointListen as a start would. This server may be running and have them open already.
 */
#include "httpd/endpoint_parent.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <http_log.h>
#include <mpm_common.h>

#include "base/message_id.h"
#include "httpd/endpoint_listen.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

#define INODES_MAX 64

/* The owner of a port at which a process listens. */
typedef enum { PORT_UNKNOWN, PORT_FOREIGN, PORT_OURS } port_owner_t;

/* Adds the sockets that listen at PORT, whatever their address. */
static int listeners_at(const char *table, unsigned port, unsigned long *inodes, int count)
{
    FILE *file = fopen(table, "re");
    unsigned local, state;
    unsigned long inode;
    char line[512];

    while (file && count < INODES_MAX && fgets(line, sizeof(line), file)) {
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*d %*d %lu",
                   &local, &state, &inode) == 3 && state == 0x0a && local == port)
            inodes[count++] = inode;
    }
    if (file)
        fclose(file);
    return count;
}

static int holds_socket(const char *link, const unsigned long *inodes, int count)
{
    char text[64];
    ssize_t len = readlink(link, text, sizeof(text) - 1);
    unsigned long inode;
    int i;

    if (len <= 0)
        return 0;
    text[len] = '\0';
    if (sscanf(text, "socket:[%lu]", &inode) != 1)
        return 0;
    for (i = 0; i < count; i++)
        if (inodes[i] == inode)
            return 1;
    return 0;
}

/* Does the server that the PidFile names have one of these sockets? */
static port_owner_t owner_of(const char *port, apr_pool_t *p)
{
    unsigned long inodes[INODES_MAX];
    unsigned number = (unsigned)atoi(port);
    int v4 = listeners_at("/proc/net/tcp", number, inodes, 0);
    int count = listeners_at("/proc/net/tcp6", number, inodes, v4);
    port_owner_t owner = PORT_FOREIGN;
    struct dirent *entry;
    const char *folder;
    pid_t pid;
    DIR *dir;

    if (ap_read_pid(p, ap_pid_fname, &pid) != APR_SUCCESS)
        return PORT_FOREIGN;        /* this server does not run */
    folder = apr_psprintf(p, "/proc/%" APR_PID_T_FMT "/fd", pid);
    if (!count || !(dir = opendir(folder)))
        return count && errno == ENOENT ? PORT_FOREIGN : PORT_UNKNOWN;
    while (owner == PORT_FOREIGN && (entry = readdir(dir)))
        if (holds_socket(apr_pstrcat(p, folder, "/", entry->d_name, NULL), inodes, count))
            owner = PORT_OURS;
    closedir(dir);
    return owner;
}

static int check_listen(const char *name, apr_pool_t *p, server_rec *s)
{
    const char *hint, *host, *port;
    int fd = rpc_listen_open_tcp(name, p, &hint), error = errno;
    port_owner_t owner = PORT_FOREIGN;

    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (error == EADDRINUSE && rpc_listen_parse(p, name, &host, &port) == 0)
        owner = owner_of(port, p);
    if (owner == PORT_OURS)
        return 0;
    ap_log_error(APLOG_MARK, owner == PORT_UNKNOWN ? APLOG_WARNING : APLOG_ERR, error, s,
                 RPCNO(0064) "cannot listen at RpcEndpointListen %s: %s",
                 name, owner == PORT_UNKNOWN
                 ? "only root can find out whether this httpd itself uses the address" : hint);
    return owner != PORT_UNKNOWN;
}

static int check_socket(const char *path, apr_pool_t *p, server_rec *s)
{
    const char *slash = strrchr(path, '/');
    const char *folder = slash > path ? apr_pstrmemdup(p, path, (apr_size_t)(slash - path)) : "/";
    const char *open = rpc_listen_user_writes(path, p);

    if (strlen(path) > RPC_LISTEN_PATH_MAX)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     RPCNO(0065) "RpcEndpointSocket %s: the path of a socket may have up to %d "
                     "characters here: name a shorter path",
                     path, RPC_LISTEN_PATH_MAX);
    else if (access(apr_pstrcat(p, folder, "/.", NULL), F_OK) < 0)
        ap_log_error(APLOG_MARK, APLOG_ERR, errno, s,
                     RPCNO(0066) "RpcEndpointSocket %s: create the folder %s, or name "
                     "another one",
                     path, folder);
    else if (access(folder, W_OK | X_OK) < 0)
        ap_log_error(APLOG_MARK, APLOG_ERR, errno, s,
                     RPCNO(0067) "RpcEndpointSocket %s: httpd may not write into the folder %s: "
                     "change its rights, or name another one", path, folder);
    else if (open)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     RPCNO(0068) "RpcEndpointSocket %s: httpd's User may write into the folder "
                     "%s, so that any script could put its own socket in this place: let only root "
                     "write there (chown root, chmod go-w), or name another folder", path, open);
    else
        return 0;
    return 1;
}

int rpc_endpointd_check(apr_pool_t *p, server_rec *s, const rpc_endpointd_params_t *params)
{
    int faults, i;

    if (!params->wanted)
        return 0;
    faults = check_socket(rpc_endpointd_base(p, params), p, s);
    for (i = 0; params->listen && i < params->listen->nelts; i++)
        faults += check_listen(APR_ARRAY_IDX(params->listen, i, rpc_listen_t).name, p, s);
    return faults;
}
