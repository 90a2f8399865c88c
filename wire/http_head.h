/* rpc_http_head: the head of an answer of HTTP/1 (RFC 9112), as it comes: status line and fields.
 *
 * What is read is also what goes on to a client, so a head that two readers could understand in two
 * ways is refused. Bytes only; memory by malloc, and only while there is a head.
 */
#ifndef RPC_HTTP_HEAD_H
#define RPC_HTTP_HEAD_H

#include <stddef.h>
#include <stdint.h>

#define RPC_HTTP_HEAD_MAX   32768   /* bytes; a ticket of Kerberos in it may be large */
#define RPC_HTTP_FIELDS_MAX 200

/* Zero it to start; rpc_http_head_reset() frees. */
typedef struct rpc_http_head {
    char *text;             /* what has come; malloc'ed */
    size_t size;
    size_t line;            /* where its last line begins */
    size_t fields;          /* where its first field begins */
    int count;              /* of fields */
    const char *error;      /* what is wrong with it; NULL: nothing so far */
    int complete;           /* then, of all of it: */
    int minor;              /* of its version: 1 in HTTP/1.1 */
    int status;             /* 100 to 999 */
    const char *phrase;     /* perhaps empty */
    int64_t length;         /* Content-Length; -1: none that counts */
    int chunked;            /* the only transfer coding that is taken */
} rpc_http_head_t;

typedef enum { RPC_HTTP_MORE, RPC_HTTP_HEAD, RPC_HTTP_ERROR } rpc_http_t;

/* Takes bytes from *DATA and *LEN, which both move, up to the end of the head. */
rpc_http_t rpc_http_head_take(rpc_http_head_t *head, const uint8_t **data, size_t *len);

/* Ready for the next head. */
void rpc_http_head_reset(rpc_http_head_t *head);

/* A field of a complete head; within its text. */
typedef struct rpc_http_field {
    const char *name, *value;
    size_t name_size, value_size;
} rpc_http_field_t;

/* Sets FIELD to the one at *AT, which moves on; 0 at first. Returns 0 when there are no more. */
int rpc_http_field_next(const rpc_http_head_t *head, size_t *at, rpc_http_field_t *field);
int rpc_http_field_is(const rpc_http_field_t *field, const char *name);

/* Does FIELD concern this connection only (RFC 9110, 7.6.1)? */
int rpc_http_field_is_of_hop(const rpc_http_head_t *head, const rpc_http_field_t *field);

#endif
