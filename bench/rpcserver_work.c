/* rpcserver_work.c: the "RPC layer". Requests count or check what they carry at once; what is
 * long (BENCH_SOURCE, a pattern, the answer to a pattern's end) is made by work_pump() when
 * windows and lifetime have room for it.
 */
#include "rpcserver.h"

#include <stdio.h>
#include <string.h>

static void echo(vc_t *vc, const uint8_t *data, uint32_t size)
{
    uint8_t *copy = vc_respond(vc, size);

    memcpy(copy, data, size);
    copy[2] = DCERPC_RESPONSE;
}

static void sink(vc_t *vc, bench_op_t op, uint32_t size)
{
    work_t *w = &vc->work;
    uint8_t *answer;

    w->sunk += size;
    if (op == BENCH_SINK)
        return;
    answer = vc_respond(vc, BENCH_HEADER + 8);
    bench_pdu(answer, DCERPC_RESPONSE, op, BENCH_HEADER + 8);
    bench_put_u64(answer + BENCH_HEADER, w->sunk);
    w->sunk = 0;
}

static const char *begin(work_t *w, const uint8_t *data)
{
    if (w->patterns)
        return "a pattern begins within another";
    w->patterns = 1;
    w->from_client = (bench_pattern_t){ .seed = bench_get_u64(data + BENCH_HEADER),
                                        .size = bench_get_u64(data + BENCH_HEADER + 8) };
    w->to_client = (bench_pattern_t){ .seed = ~w->from_client.seed, .size = w->from_client.size };
    return NULL;
}

static const char *piece(work_t *w, const uint8_t *data, uint32_t size)
{
    if (!w->patterns || size != bench_pattern_next(&w->from_client))
        return "a piece of a pattern of another size than expected";
    if (!bench_pattern_check(&w->from_client, data + BENCH_HEADER, size - BENCH_HEADER))
        return "other bytes than those of the pattern";
    if (bench_op(data) == BENCH_PATTERN)
        return NULL;
    if (w->from_client.at != w->from_client.size)
        return "a pattern ends early";
    w->answer_due = 1;
    return NULL;
}

const char *work_request(vc_t *vc, const uint8_t *data, uint32_t size)
{
    work_t *w = &vc->work;
    bench_op_t op = bench_op(data);

    if (data[2] == DCERPC_BIND)
        return NULL;    /* it is for the proxies, and nobody waits for its answer */
    if (op == BENCH_PATTERN || op == BENCH_PATTERN_END)
        return piece(w, data, size);
    if (size < BENCH_HEADER + 16)
        return "a request too short";
    switch (op) {
    case BENCH_ECHO:
        echo(vc, data, size);
        return NULL;
    case BENCH_SINK:
    case BENCH_SINK_END:
        sink(vc, op, size);
        return NULL;
    case BENCH_SOURCE:
        w->source_left = bench_get_u64(data + BENCH_HEADER);
        w->source_size = data[BENCH_HEADER + 8] | (uint32_t)data[BENCH_HEADER + 9] << 8;
        return NULL;
    case BENCH_BEGIN:
        return begin(w, data);
    default:
        return "an unknown request";
    }
}

static int pump_source(vc_t *vc)
{
    work_t *w = &vc->work;
    int made = 0;

    while (w->source_left && vc_may_respond(vc, w->source_size)) {
        uint32_t size = w->source_left < w->source_size ? (uint32_t)w->source_left : w->source_size;

        bench_pdu(vc_respond(vc, size), DCERPC_RESPONSE, BENCH_SOURCE, (uint16_t)size);
        w->source_left -= size;
        made = 1;
    }
    return made;
}

static int pump_pattern(vc_t *vc)
{
    bench_pattern_t *p = &vc->work.to_client;
    uint32_t size;
    int made = 0;

    while ((size = bench_pattern_next(p)) != 0 && vc_may_respond(vc, size)) {
        uint8_t *pdu = vc_respond(vc, size);

        bench_pdu(pdu, DCERPC_RESPONSE, BENCH_PATTERN, (uint16_t)size);
        bench_pattern_make(p, pdu + BENCH_HEADER, size - BENCH_HEADER);
        made = 1;
    }
    return made;
}

static int pump_answer(vc_t *vc)
{
    work_t *w = &vc->work;
    uint8_t *pdu;

    if (!w->answer_due || !vc_may_respond(vc, BENCH_HEADER + 16))
        return 0;
    w->answer_due = 0;
    pdu = vc_respond(vc, BENCH_HEADER + 16);
    bench_pdu(pdu, DCERPC_RESPONSE, BENCH_PATTERN_END, BENCH_HEADER + 16);
    bench_put_u64(pdu + BENCH_HEADER, w->from_client.at);
    bench_put_u64(pdu + BENCH_HEADER + 8, w->from_client.hash);
    return 1;
}

int work_pump(vc_t *vc)
{
    int made = pump_source(vc);

    made |= pump_answer(vc);
    return pump_pattern(vc) | made;
}
