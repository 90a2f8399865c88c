/* proxy/answer.c: sends what wire/error.c has composed; httpd writes the fields of the header. */
#include "proxy/answer.h"

#include "wire/error.h"

void rpc_error_answer(rpc_stream_t *client, rpc_reason_t reason)
{
    rpc_error_t error;
    rpc_answer_t answer;

    rpc_error_write(&error, reason, apr_time_now());
    answer = (rpc_answer_t){ error.status, error.phrase, 1, (int64_t)error.body_length };
    if (client->cls->respond(client, &answer) == APR_SUCCESS)
        rpc_stream_put(client, error.body, error.body_length);
}
