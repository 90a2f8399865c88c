/* rpc_secure: a connected socket, in clear or with TLS, as a stream. io/client.h builds on what is
 * here; by itself it is the connection to a proxy behind us.
 */
#ifndef RPC_SECURE_H
#define RPC_SECURE_H

#include "io/stream.h"
#include "io/tls.h"

/* A stream on FD, which does not block, with the session SSL, whose handshake is complete; NULL: in
 * clear. It belongs to no loop yet: rpc_secure_join(), or rpc_secure_drop(). Any thread. NULL: out
 * of memory, and FD and SSL stay the caller's. */
rpc_stream_t *rpc_secure_create(int fd, SSL *ssl, const rpc_tls_kind_t *kind);
/* Of a stream that has joined no loop: what it writes first when it has. APR_ENOMEM. */
apr_status_t rpc_secure_put(rpc_stream_t *s, const void *data, size_t len);
/* On LOOP's thread: the stream is LOOP's from now on. Fails with the errors of epoll. */
apr_status_t rpc_secure_join(rpc_stream_t *s, rpc_loop_t *loop);
/* Closes a stream that has joined no loop. */
void rpc_secure_drop(rpc_stream_t *s);

/* Of a stream that has joined no loop, on a thread that may wait, until UNTIL (rpc_clock_now()) at
 * the latest: APR_TIMEUP. The first sends all of DATA; the second reads as the read of a stream. */
apr_status_t rpc_secure_send(rpc_stream_t *s, const void *data, size_t len, apr_time_t until);
apr_status_t rpc_secure_receive(rpc_stream_t *s, void *buf, size_t *len, apr_time_t until);

/* Gives back what was received: it is read again, before all else. APR_ENOMEM: it is lost. */
apr_status_t rpc_secure_unread(rpc_stream_t *s, const void *data, size_t len);

/* For kinds of rpc_socket_t with a TLS of their own: the read and the write of the class. What lies
 * AHEAD has been read before, and comes first. */
apr_status_t rpc_secure_read(rpc_stream_t *s, rpc_tls_t *tls, rpc_bytes_t *ahead, void *buf,
                             size_t *len);
apr_status_t rpc_secure_write(rpc_stream_t *s, rpc_tls_t *tls, const struct iovec *pieces,
                              int count, size_t *len);

#endif
