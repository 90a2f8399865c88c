/* rpc_http_answer: the answer to a request of HTTP/1, as it comes: heads before the last, the last
 * head, its body, its end. Bytes only; memory as wire/http_head.h says.
 */
#ifndef RPC_HTTP_ANSWER_H
#define RPC_HTTP_ANSWER_H

#include "wire/chunks.h"
#include "wire/http_head.h"

/* Zero it to start; rpc_http_answer_reset() frees. */
typedef struct rpc_http_answer {
    rpc_http_head_t head;       /* while it comes, and from INTERIM or FINAL to the next call */
    int upgrades;               /* set by the owner: a 101 is wanted, and the last */
    int keeps_chunks;           /* set by the owner behind FINAL: a chunked body is given as it
                                 * is */
    int status;                 /* of the last head; 0: not yet */
    int64_t left;               /* of the body; -1: to its last chunk, or the connection's end */
    int chunked;
    rpc_chunks_t chunks;
    const char *error;          /* what is wrong; NULL: nothing so far */
} rpc_http_answer_t;

typedef enum {
    RPC_ANSWER_MORE,            /* all bytes are taken */
    RPC_ANSWER_INTERIM,         /* HEAD has a status below 200: another follows */
    RPC_ANSWER_FINAL,           /* HEAD is the last */
    RPC_ANSWER_BODY,            /* *RUN is some of the body */
    RPC_ANSWER_END,             /* the body is complete; what follows it is not taken */
    RPC_ANSWER_ERROR
} rpc_answer_event_t;

/* Takes bytes from *DATA and *LEN, which both move, up to the next event. The run of a BODY lies
 * within them. */
rpc_answer_event_t rpc_http_answer_next(rpc_http_answer_t *a, const uint8_t **data, size_t *len,
                                        const uint8_t **run, size_t *run_len);

/* Have its head and its whole body come? */
int rpc_http_answer_is_complete(const rpc_http_answer_t *a);

void rpc_http_answer_reset(rpc_http_answer_t *a);

#endif
