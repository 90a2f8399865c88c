/* rpc_tls: TLS on a socket after the handshake, read and written without blocking.
 *
 * The session is one that mod_ssl has made. It gets a BIO of ours, on the socket itself: whatever
 * OpenSSL writes is taken, sent or kept, so that nothing OpenSSL has begun ever has to be repeated,
 * and a read may write (an answer to a KeyUpdate). Knows no stream; io/client.c makes one of it.
 * All of it belongs to one thread at a time.
 */
#ifndef RPC_TLS_H
#define RPC_TLS_H

#include <stdint.h>
#include <sys/uio.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <apr_errno.h>

#include "io/queue.h"

#define RPC_TLS_RECORD 16384    /* bytes in a record, at most */
#define RPC_TLS_HEADER 5        /* bytes before each */

typedef struct rpc_tls {
    SSL *ssl;                   /* NULL: not in use */
    int fd;                     /* the caller's */
    unsigned drained:1;         /* the last read from the socket brought less than was asked for */
    unsigned tired:1;           /* the last read has stopped although there was more */
    unsigned more:1;            /* another record follows at once */
    unsigned eof:1;             /* of the socket */
    uint8_t turns;              /* reads from the socket that are left to the read of the stream */
    apr_status_t error;         /* of the socket, sticky */
    uint8_t header[RPC_TLS_HEADER], header_len;     /* of the next record, read with the last */
    rpc_bytes_t unsent;         /* records that the socket has not taken */
    uint64_t in, out;           /* bytes on the socket */
} rpc_tls_t;

/* What all BIOs of a process share; NULL: out of memory. Freed by BIO_meth_free(). */
BIO_METHOD *rpc_tls_method(void);

/* What all sessions of a process share. */
typedef struct rpc_tls_kind {
    BIO_METHOD *method;         /* of rpc_tls_method() */
    void *app_data;             /* for callbacks of whoever has made the sessions */
} rpc_tls_kind_t;

/* Takes SSL over, whose handshake is complete; FD is its socket, and does not block. TLS is zeroed.
 * 0: out of memory, and SSL stays the caller's. */
int rpc_tls_adopt(rpc_tls_t *tls, SSL *ssl, int fd, const rpc_tls_kind_t *kind);

/* Reads until BUF is full or there is no more; *LEN in and out. As the read of a stream
 * (io/stream.h); a connection that ends without a good-bye has ended. EPROTO: the peer breaks the
 * rules of TLS; ENOBUFS: it makes OpenSSL answer, again and again, and does not read. */
apr_status_t rpc_tls_read(rpc_tls_t *tls, void *buf, size_t *len);
/* Has the last read taken all that there was? */
int rpc_tls_drained(const rpc_tls_t *tls);
/* Has it stopped early, lest others wait? Records may be tiny, or bring nothing at all (KeyUpdate),
 * and a peer can send them as fast as they are read. No event will tell of the rest. */
int rpc_tls_tired(const rpc_tls_t *tls);

/* As the write of a stream, and its push. */
apr_status_t rpc_tls_write(rpc_tls_t *tls, const struct iovec *pieces, int count, size_t *len);
apr_status_t rpc_tls_push(rpc_tls_t *tls);

/* Tells the peer that no more follows. */
void rpc_tls_goodbye(rpc_tls_t *tls);
/* Frees the session; nothing is sent. */
void rpc_tls_free(rpc_tls_t *tls);

#endif
