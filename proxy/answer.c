/* proxy/answer.c: the bytes are those of wire/error.c. */
#include "proxy/answer.h"

#include <string.h>

#include "wire/error.h"

void rpc_error_answer(rpc_stream_t *client, rpc_reason_t reason)
{
    rpc_error_t error;
    rpc_answer_t answer = { rpc_reason_info(reason)->http_status, error.phrase, 1, 0 };

    rpc_error_write(&error, reason, apr_time_now());
    answer.content_length = (int64_t)strlen(error.body);
    if (client->cls->respond(client, &answer) == APR_SUCCESS)
        rpc_stream_put(client, error.body, strlen(error.body));
}
