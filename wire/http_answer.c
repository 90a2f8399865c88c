#include "wire/http_answer.h"

#include <string.h>

static rpc_answer_event_t fail(rpc_http_answer_t *a, const char *error)
{
    a->error = error;
    return RPC_ANSWER_ERROR;
}

static rpc_answer_event_t head_complete(rpc_http_answer_t *a)
{
    const rpc_http_head_t *head = &a->head;

    if (head->status < 200 && head->status != 101)
        return RPC_ANSWER_INTERIM;
    if (head->status == 101 && !a->upgrades)
        return fail(a, "a 101 that nobody has asked for");
    a->status = head->status;
    a->chunked = head->chunked;
    a->left = head->status == 204 || head->status == 304 ? 0 : head->status == 101 ? -1
              : head->length;
    return RPC_ANSWER_FINAL;
}

static rpc_answer_event_t take_head(rpc_http_answer_t *a, const uint8_t **data, size_t *len)
{
    if (a->head.complete)
        rpc_http_head_reset(&a->head);
    switch (rpc_http_head_take(&a->head, data, len)) {
    case RPC_HTTP_HEAD:
        return head_complete(a);
    case RPC_HTTP_ERROR:
        return fail(a, a->head.error);
    default:
        return RPC_ANSWER_MORE;
    }
}

/* As it is: all up to the end of the last chunk. */
static void skim_chunks(rpc_http_answer_t *a, const uint8_t **data, size_t *len)
{
    const uint8_t *run;

    while (rpc_chunks_next(&a->chunks, data, len, &run))
        ;
}

static size_t take_body(rpc_http_answer_t *a, const uint8_t **data, size_t *len,
                        const uint8_t **run)
{
    size_t n = *len;

    *run = *data;
    if (a->chunked && a->keeps_chunks) {
        skim_chunks(a, data, len);
        return (size_t)(*data - *run);
    }
    if (a->chunked)
        return rpc_chunks_next(&a->chunks, data, len, run);
    if (a->left >= 0 && (int64_t)n > a->left)
        n = (size_t)a->left;
    a->left -= a->left < 0 ? 0 : (int64_t)n;
    *data += n;
    *len -= n;
    return n;
}

rpc_answer_event_t rpc_http_answer_next(rpc_http_answer_t *a, const uint8_t **data, size_t *len,
                                        const uint8_t **run, size_t *run_len)
{
    if (a->error)
        return RPC_ANSWER_ERROR;
    if (!a->status)
        return *len ? take_head(a, data, len) : RPC_ANSWER_MORE;
    if (a->head.text)
        rpc_http_head_reset(&a->head);
    *run_len = take_body(a, data, len, run);
    if (*run_len)
        return RPC_ANSWER_BODY;
    if (a->chunks.error)
        return fail(a, a->chunks.error);
    return rpc_http_answer_is_complete(a) ? RPC_ANSWER_END : RPC_ANSWER_MORE;
}

int rpc_http_answer_is_complete(const rpc_http_answer_t *a)
{
    return a->status && (a->chunked ? a->chunks.done : a->left == 0);
}

void rpc_http_answer_reset(rpc_http_answer_t *a)
{
    rpc_http_head_reset(&a->head);
}
