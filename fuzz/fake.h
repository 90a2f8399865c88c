/* fake: a world without sockets, threads and clocks, for targets that drive whole roles. It
 * replaces io/loop.c (fake_loop.c), target/connect.c (fake_connect.c) and what rpc_stream_open()
 * opens (fake_stream.c). The same script has the same course every time.
 *
 * A peer is the far end of one stream. Its number is the stream's "descriptor". Readiness is
 * told once, at a change, as epoll does edge-triggered.
 */
#ifndef FAKE_H
#define FAKE_H

#include "target/connect.h"
#include "io/loop.h"
#include "io/queue.h"
#include "io/stream.h"

#include "fuzz.h"

#define FAKE_PEERS 64
#define FAKE_LOOPS 2
#define FAKE_EVER INT64_MAX     /* room that never ends */

typedef struct fake_world fake_world_t;
typedef struct fake_peer fake_peer_t;

struct fake_peer {
    fake_world_t *world;
    int number;
    rpc_stream_t *stream;       /* NULL before it is opened and after it is closed */
    int opened, closed, aborted, shut;
    rpc_bytes_t in;             /* for the stream to read */
    uint64_t taken;             /* bytes it has read */
    uint64_t length;            /* end of file after so many; 0: no limit */
    size_t chunk;               /* about as many in one read; 0: no limit */
    int eof;                    /* after IN */
    apr_status_t read_error, write_error;
    int64_t room;               /* what the peer still takes */
    int http;                   /* the stream has httpd's filters below it */
    rpc_bytes_t below;          /* taken from the stream, held by those */
    uint32_t events;            /* not told yet */
    int watched;
    /* Bytes have arrived at the peer. */
    void (*heard)(fake_peer_t *peer, const uint8_t *data, size_t len);
    /* A response header has been sent. */
    void (*responded)(fake_peer_t *peer, const rpc_answer_t *answer);
    void *ctx;
};

struct fake_world {
    apr_time_t now;
    rpc_loop_t *loops[FAKE_LOOPS];
    fake_peer_t *peers[FAKE_PEERS];
    int peer_count;
    uint64_t moved;             /* bytes, by all */
    rpc_connect_t *connects;    /* pending */
    int hold_connects;          /* 1: they wait for fake_connected() */
    /* A connection to PORT: the peer it leads to; NULL: refused. */
    fake_peer_t *(*connected)(fake_world_t *world, int port);
    void *ctx;
};

/* ---- fake_loop.c ---- */

fake_world_t *fake_world_new(apr_pool_t *pool);
/* All must be over: no timer set, no job queued, no stream open. */
void fake_world_free(fake_world_t *world);
/* One turn of each loop; 1 when there was anything to do. */
int fake_turn(fake_world_t *world);
/* Turns until nothing is left to do; fails when that does not come. */
void fake_settle(fake_world_t *world);
/* Lets time pass, timers in order. */
void fake_advance(fake_world_t *world, apr_interval_time_t time);

/* ---- fake_stream.c ---- */

/* A new peer; NULL when there are too many. */
fake_peer_t *fake_peer_new(fake_world_t *world, int http);
/* A client's stream at this peer. */
rpc_stream_t *fake_open_http(fake_peer_t *peer, rpc_loop_t *loop);
/* The peer speaks, closes, fails, takes ROOM bytes from now on. */
void fake_say(fake_peer_t *peer, const void *data, size_t len);
void fake_eof(fake_peer_t *peer);
void fake_fail(fake_peer_t *peer, int reading, int writing);
void fake_take(fake_peer_t *peer, int64_t room);
/* Is there anybody who listens? */
int fake_alive(const fake_peer_t *peer);
/* For fake_loop.c: tells what has happened. */
void fake_tell(fake_peer_t *peer);
rpc_stream_t *__wrap_rpc_stream_open(rpc_loop_t *loop, int fd, rpc_job_t *owner);

/* ---- fake_connect.c ---- */

/* Ends the NTH pending connect; OK 0: refused. */
void fake_connected(fake_world_t *world, int nth, int ok);

/* Which world a loop is of. */
fake_world_t *fake_world_of(const rpc_loop_t *loop);

#endif
