/* rpc_error: the answer that refuses a channel as an RPC error, [MS-RPCH] 2.1.2.1.3:
 *
 *     HTTP/1.0 503 RPC Error: 6ba, EEInfo: <base64>
 *
 *     RPC EEInfo:<base64>
 *
 * EEInfo is one record of [MS-EERR]. It does not identify this machine or process. No httpd
 * headers.
 *
 * The answer is composed here and nowhere else. It has two senders. A request that has not become a
 * channel still belongs to httpd, whose filters write its answer (httpd/handler.c). A channel has
 * left httpd and has nothing but its stream (proxy/answer.c).
 */
#ifndef RPC_ERROR_H
#define RPC_ERROR_H

#include <stddef.h>

#include <apr_time.h>

#include "base/reason.h"

/* 2.1.2.1.3 allows 1,024 bytes; one record needs far less. */
#define RPC_ERROR_PHRASE_MAX 128
#define RPC_ERROR_BODY_MAX   128

typedef struct rpc_error {
    int status;                         /* 503 */
    char phrase[RPC_ERROR_PHRASE_MAX];  /* reason phrase */
    char body[RPC_ERROR_BODY_MAX];      /* message body, with its CRLF */
    size_t body_length;
} rpc_error_t;

/* Writes the answer for a reason whose rpc_error is not 0. WHEN is the time of the record.
 * Any thread. */
void rpc_error_write(rpc_error_t *error, rpc_reason_t reason, apr_time_t when);

#endif
