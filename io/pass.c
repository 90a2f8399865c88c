/* io/pass.c: SOCK_SEQPACKET, and at most one descriptor in each message. */
#include "io/pass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define ROOM 262144     /* bytes of the socket's buffer: the longest message, a leg with all that
                         * was read from it, fits */

apr_status_t rpc_pass_pair(int pair[2])
{
    int i, room = ROOM;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return errno;
    for (i = 0; i < 2; i++)
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    return APR_SUCCESS;
}

apr_status_t rpc_pass_send(int socket, const struct iovec *parts, int count, int fd)
{
    char room[CMSG_SPACE(sizeof(int))];
    struct msghdr msg = { .msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count };
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *c;

        memset(room, 0, sizeof(room));
        msg.msg_control = room;
        msg.msg_controllen = sizeof(room);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    do {
        n = sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return APR_SUCCESS;
    return errno == EPIPE || errno == ECONNRESET ? APR_EOF : errno;
}

static int descriptor_of(struct msghdr *msg)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    int fd;

    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS
        || c->cmsg_len != CMSG_LEN(sizeof(fd)))
        return -1;
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

apr_status_t rpc_pass_receive(int socket, void *data, size_t *len, int *fd)
{
    char room[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { data, *len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room };
    ssize_t n;

    *fd = -1;
    do {    /* ECONNRESET: the peer ended with messages unread; its own messages are still there */
        msg.msg_controllen = sizeof(room);
        n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return errno;
    if (n == 0)
        return APR_EOF;
    *len = (size_t)n;
    *fd = descriptor_of(&msg);
    return APR_SUCCESS;
}
