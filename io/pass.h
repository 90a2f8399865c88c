/* rpc_pass: whole messages between two processes, each with a descriptor where there is one to
 * hand over (SCM_RIGHTS). Nothing here waits.
 */
#ifndef RPC_PASS_H
#define RPC_PASS_H

#include <stddef.h>
#include <sys/uio.h>
#include <apr_errno.h>

/* A connected pair of sockets that keep messages apart. The error of socketpair(). */
apr_status_t rpc_pass_pair(int pair[2]);

/* Sends the COUNT parts of PARTS as one message. FD, or -1: none, stays the caller's. APR_EAGAIN:
 * no room now; APR_EOF: nobody is at the other end any more. */
apr_status_t rpc_pass_send(int socket, const struct iovec *parts, int count, int fd);

/* Receives one message of up to *LEN bytes; what is longer is cut. *FD is the caller's from here,
 * -1: there was none. APR_EAGAIN: no message now; APR_EOF: there will be none any more. */
apr_status_t rpc_pass_receive(int socket, void *data, size_t *len, int *fd);

#endif
