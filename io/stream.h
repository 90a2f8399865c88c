/* rpc_stream: a byte stream with back-pressure, read and written without blocking.
 *
 * There are two kinds: a plain socket (io/stream.c), and the client of an HTTP request
 * (io/client.h), perhaps with TLS. Tests add a fake one. The owner has one job; the stream
 * schedules it whenever something may have changed, and the owner then reads and writes until
 * nothing moves.
 *
 * A stream belongs to its loop's thread.
 */
#ifndef RPC_STREAM_H
#define RPC_STREAM_H

#include "io/loop.h"
#include "io/queue.h"

typedef struct rpc_stream rpc_stream_t;

/* The header of an HTTP answer, for streams that carry one; the body is written with
 * rpc_stream_put(). */
typedef struct rpc_answer {
    int status;             /* 200, 503 */
    const char *reason;     /* reason phrase */
    int http10;             /* the status line says HTTP/1.0 (2.1.2.1.3) */
    int64_t content_length; /* -1: none, the body ends with the connection */
} rpc_answer_t;

/* The most pieces that are written at once. */
#define RPC_STREAM_PIECES 16

typedef struct rpc_stream_class {
    const char *name;
    int socket;             /* the watch's descriptor is a socket, perhaps of TCP */
    /* Reads up to *LEN bytes. APR_SUCCESS with *LEN > 0; APR_EAGAIN: wait for the
     * owner's job; APR_EOF; or an error. */
    apr_status_t (*read)(rpc_stream_t *s, void *buf, size_t *len);
    /* Takes bytes of COUNT pieces, 1 to RPC_STREAM_PIECES, in their order; sets *LEN to how many it
     * has taken, less than all when it likes. APR_EAGAIN with *LEN 0: wait for the owner's job. The
     * pieces may lie in the loop's scratch, which is therefore not to be used here. */
    apr_status_t (*write)(rpc_stream_t *s, const struct iovec *pieces, int count, size_t *len);
    /* Writes output that lies below this stream (records of TLS). APR_EAGAIN: some is left, wait.
     * NULL: this kind of stream never has any. */
    apr_status_t (*push)(rpc_stream_t *s);
    /* Ends the stream and frees it: see rpc_stream_close(). */
    void (*close)(rpc_stream_t *s, int abort);
    /* Sends a response header; NULL for a stream that is not an HTTP exchange. */
    apr_status_t (*respond)(rpc_stream_t *s, const rpc_answer_t *answer);
    /* Sends the first line of a response that somebody else has made, STATUS and its PHRASE; the
     * fields follow by rpc_stream_put(), counted in S->header. A STATUS below 200, but for 101,
     * announces another. NULL as before. */
    apr_status_t (*pass)(rpc_stream_t *s, int status, const char *phrase);
    /* Sends end of file; calls FINISH before. NULL: this kind cannot. */
    void (*shut)(rpc_stream_t *s);
    /* Of kinds that are an rpc_socket_t. All output is out, and end of file follows; NULL: there is
     * nothing to say before that. */
    void (*finish)(rpc_stream_t *s);
    /* Frees what the kind has besides; NULL: nothing. */
    void (*release)(rpc_stream_t *s);
} rpc_stream_class_t;

struct rpc_stream {
    const rpc_stream_class_t *cls;
    rpc_loop_t *loop;
    rpc_job_t *owner;       /* scheduled when the stream may be read or written; when the peer has
                             * hung up, as an end (rpc_loop_schedule_end) */
    rpc_watch_t watch;
    rpc_bytes_t out;        /* bytes put and not yet taken by write */
    rpc_loan_t loan;        /* of those that are still in the loop's scratch */
    apr_status_t error;     /* first error of read or write, sticky */
    unsigned can_read:1;    /* sticky: since the last event no read has emptied it */
    unsigned can_write:1;
    unsigned hup:1;         /* the peer will send no more: read until end of file */
    unsigned dead:1;        /* the peer will not read either: reset, or timed out */
    unsigned eof:1;
    unsigned shuts:1;       /* nothing more will be put: end of file behind what is there */
    uint64_t received;      /* bytes read */
    uint64_t sent;          /* bytes written */
    size_t header;          /* how many of these are, or will be, a response's header */
};

/* Opens a stream over a connected or connecting non-blocking socket and watches it. The stream
 * owns FD, even when this function fails. NULL: out of memory, or epoll failed. */
rpc_stream_t *rpc_stream_open(rpc_loop_t *loop, int fd, rpc_job_t *owner);

/* Sets up the common part of a stream of any kind (used by the kinds). */
void rpc_stream_init(rpc_stream_t *s, const rpc_stream_class_t *cls, rpc_loop_t *loop,
                     int fd, rpc_job_t *owner);

/* Reads like the read of the class, and remembers end of file and errors. */
apr_status_t rpc_stream_read(rpc_stream_t *s, void *buf, size_t *len);

/* A write has failed because the peer has closed or is gone. What the peer had sent before is
 * read from now on, to its end; nothing more is written. 1: that is so; 0: the write failed for
 * another reason. */
int rpc_stream_read_rest(rpc_stream_t *s);

/* Queues bytes to be written by the next flush. APR_ENOMEM is the only error. Callers bound what
 * they put by rpc_stream_pending(). What lies in the loop's scratch is not copied before the
 * scratch is used again, and then only what the peer does not take; it must not be changed any
 * more. */
apr_status_t rpc_stream_put(rpc_stream_t *s, const void *data, size_t len);
/* Writes what can be written now. APR_SUCCESS also when some is left. */
apr_status_t rpc_stream_flush(rpc_stream_t *s);
/* Nothing more will be put. When all has been written the peer sees end of file; it may go on
 * sending. */
void rpc_stream_shut(rpc_stream_t *s);
/* Bytes that the owner has put and that were written. */
uint64_t rpc_stream_sent(const rpc_stream_t *s);
/* Bytes put and not yet written. */
size_t rpc_stream_pending(const rpc_stream_t *s);
/* After a flush: has all output reached the kernel, also the output below this stream? */
int rpc_stream_drained(const rpc_stream_t *s);

/* Has the peer of a Unix socket closed it, or ended? Not so if it has only shut down its sending
 * side. */
int rpc_stream_is_hung_up(const rpc_stream_t *s);

/* Sends TCP keep-alive probes after INTERVAL of silence; 0 means 300 seconds ([MS-RPCH]
 * 2.2.3.5.6). This function and the next do nothing on a stream that is not TCP. */
void rpc_stream_keepalive(rpc_stream_t *s, apr_interval_time_t interval);
/* The stream fails when the peer's TCP answers neither probes nor data for PATIENCE. A quiet
 * peer whose TCP answers probes is not affected. */
void rpc_stream_notice_death(rpc_stream_t *s, apr_interval_time_t patience);

/* While so many bytes wait to be written to a stream, its owner reads no more from the other
 * side. */
#define RPC_STREAM_HIGH 65536
/* Ends the owner's use of the stream; the owner's job is not scheduled any more. ABORT 0:
 * bytes that were put are still written, for at most RPC_STREAM_DRAIN, and then the connection
 * is closed in order; the stream frees itself. ABORT 1: the connection is closed at once, and
 * unsent bytes are lost. */
void rpc_stream_close(rpc_stream_t *s, int abort);
#define RPC_STREAM_DRAIN apr_time_from_sec(10)

/* Closes at once what is still being written on LOOP after rpc_stream_close(), since LOOP ends. */
void rpc_streams_abandon(rpc_loop_t *loop);

/* A stream on a socket of its own, which the kinds of it begin with. It is malloc'ed. */
typedef struct rpc_socket {
    rpc_stream_t s;
    rpc_job_t drain;        /* the stream's own job, after its owner has closed it */
    rpc_timer_t patience;
    int shut;               /* our end of file is sent, and we wait for the peer's */
    struct rpc_socket *next, *prev;     /* those that close */
} rpc_socket_t;

void rpc_socket_init(rpc_socket_t *sock, const rpc_stream_class_t *cls, rpc_loop_t *loop, int fd,
                     rpc_job_t *owner);
/* The functions of the class, for its kinds. */
apr_status_t rpc_socket_read(rpc_stream_t *s, void *buf, size_t *len);
apr_status_t rpc_socket_write(rpc_stream_t *s, const struct iovec *pieces, int count, size_t *len);
void rpc_socket_shut(rpc_stream_t *s);
void rpc_socket_close(rpc_stream_t *s, int abort);

/* Frees the stream of a plain socket and returns its descriptor, which is not watched any more and
 * belongs to the caller. Bytes put and not written are lost. */
int rpc_stream_detach(rpc_stream_t *s);

#endif
