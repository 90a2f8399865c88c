/* rpc_pass: whole messages between two processes. A message can hand over a descriptor
 * (SCM_RIGHTS). These functions never wait.
 */
#ifndef RPC_PASS_H
#define RPC_PASS_H

#include <stddef.h>
#include <sys/uio.h>
#include <apr_errno.h>

/* Makes a connected pair of sockets that keep messages apart. Returns the error of socketpair(). */
apr_status_t rpc_pass_pair(int pair[2]);

/* Sends the COUNT parts of PARTS as one message, with the descriptor FD (-1: none), which stays the
 * caller's. APR_EAGAIN: there is no room now; APR_EOF: the other end has closed. */
apr_status_t rpc_pass_send(int socket, const struct iovec *parts, int count, int fd);

/* Receives one message of up to *LEN bytes; a longer one is cut. The caller owns *FD, which is -1
 * when the message had no descriptor. APR_EAGAIN: there is no message now; APR_EOF: there will be
 * no more messages. */
apr_status_t rpc_pass_receive(int socket, void *data, size_t *len, int *fd);

#endif
