/* rpcdemo: a small DCE/RPC server over ncacn_ip_tcp, for trying the proxy, for its
 * tests and for its benchmarks.
 *
 *   rpcdemo.c            listens, polls, moves bytes; one thread, never blocks
 *   rpcdemo_session.c    one connection's protocol: PDUs in, at most one reply out
 *   rpcdemo_interface.c  the interfaces mgmt and rpcecho
 *   ndr.c, dce.c         data representation, PDU headers
 *
 * Memory is bounded: a connection holds one call that is being assembled, one reply, and the input
 * of one read that waits for this reply. An idle connection holds no buffer.
 */
#ifndef RPCDEMO_H
#define RPCDEMO_H

#include <sys/uio.h>
#include "wire/dcerpc.h"
#include "ndr.h"
#include "dce.h"

#define DEMO_MAX_STUB     (16 * 1024 * 1024)    /* of one request, all fragments */
#define DEMO_MAX_DATA     10000000              /* of rpcecho's counted arrays, as its IDL says */
#define DEMO_MAX_CONTEXTS 16                    /* presentation contexts per connection */
#define DEMO_MAX_SLEEP    60                    /* seconds, TestSleep */

/* The counters of mgmt inq_stats, in its order. */
typedef struct demo_stats {
    uint32_t calls_in, calls_out, pdus_in, pdus_out;
} demo_stats_t;

/* One call of an operation. */
typedef struct demo_call {
    ndr_in_t in;                /* arguments */
    ndr_out_t *out;             /* results, empty at first */
    const demo_stats_t *stats;
    uint32_t delay;             /* seconds to hold the reply back, set by the operation */
} demo_call_t;

/* Reads the arguments and writes the results. Returns 0 or the status of a fault. */
typedef uint32_t demo_operation_t(demo_call_t *call);

typedef struct demo_interface {
    const ndr_syntax_t *syntax;
    unsigned count;
    demo_operation_t *const *operations;    /* NULL where one is not implemented */
} demo_interface_t;

/* The interface that serves SYNTAX, or NULL. */
const demo_interface_t *demo_interface_find(const ndr_syntax_t *syntax);

/* What is sent to the client: one whole PDU, or the stub of a response, which is cut into fragments
 * when it is sent. */
typedef struct demo_reply {
    ndr_out_t data;
    size_t chunk;               /* stub bytes per fragment; 0: DATA is a whole PDU */
    size_t total, sent;         /* bytes on the wire; nothing to send when equal */
    uint32_t call_id;
    uint16_t context;
} demo_reply_t;

typedef struct demo_session {
    demo_stats_t *stats;
    uint16_t port;              /* secondary address in bind_ack */
    uint16_t max_frag;          /* our limit, both ways */
    uint16_t xmit_frag;         /* what this client takes */
    uint32_t group;             /* association group */
    int bound;
    struct { uint16_t id; const demo_interface_t *interface; } context[DEMO_MAX_CONTEXTS];
    unsigned contexts;
    struct {                    /* the request being assembled */
        int active, little_endian, too_big;
        uint32_t call_id;
        uint16_t context, opnum;
        ndr_out_t stub;
    } request;
    demo_reply_t reply;
    uint32_t delay;             /* seconds to hold this reply back */
} demo_session_t;

void demo_session_start(demo_session_t *s, demo_stats_t *stats, uint16_t port,
                        uint16_t max_frag, uint32_t group);
void demo_session_free(demo_session_t *s);

/* Takes one whole PDU. To be called only while no reply waits. May set S->reply and S->delay.
 * Returns 0 when the connection is to be closed once the reply is sent. */
int demo_session_pdu(demo_session_t *s, const uint8_t *pdu, const dcerpc_header_t *header);

/* Is something left to send? */
int demo_reply_pending(const demo_reply_t *reply);
#define DEMO_IOV_FRAGS 32
typedef struct demo_iov {
    struct iovec iov[2 * DEMO_IOV_FRAGS];
    int count;
    uint8_t header[DEMO_IOV_FRAGS][DCE_REQUEST_HEADER];
} demo_iov_t;
/* The next bytes to write, at most DEMO_IOV_FRAGS fragments. */
void demo_reply_iov(const demo_reply_t *reply, demo_iov_t *iov);
/* N bytes of them have been written. When all of the reply has been sent, its memory is freed. */
void demo_reply_sent(demo_reply_t *reply, size_t n);

#endif
