/* script.c: steps, traces, and PDUs whose bytes follow from their source and number. */
#include "script.h"

#include <apr_general.h>

int script_next(script_t *script, step_t *step)
{
    if (script->end - script->at < SCRIPT_STEP)
        return 0;
    step->op = script->at[0];
    step->who = script->at[1];
    step->arg = script->at[2];
    script->at += SCRIPT_STEP;
    return 1;
}

int script_tracing(void)
{
    static int tracing = -1;

    if (tracing < 0)
        tracing = getenv("FUZZ_TRACE") != NULL;
    return tracing;
}

void script_trace(const char *fmt, ...)
{
    va_list args;

    if (!script_tracing())
        return;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

static void log_line(const rpc_log_t *log, int level, apr_status_t status, const char *text)
{
    script_trace("    %s", text);
}

void script_log(rpc_log_t *log)
{
    log->write = log_line;
    log->level = script_tracing() ? RPC_LOG_TRACE : RPC_LOG_INFO;
    log->ctx = NULL;
}

apr_pool_t *script_pool(void)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;

    if (!parent
        && (apr_initialize() != APR_SUCCESS || apr_pool_create(&parent, NULL) != APR_SUCCESS))
        abort();
    if (apr_pool_create(&pool, parent) != APR_SUCCESS)
        abort();
    return pool;
}

/* ---- traffic ---- */

uint32_t traffic_size(unsigned choice)
{
    static const uint16_t sizes[] = { 16, 24, 100, 1000, 1024, 2000, 4088, 4096,
                                      5840, 8191, 8192, 8193, 16384, 32768, 65500, 65535 };

    return sizes[choice % (sizeof(sizes) / sizeof(sizes[0]))];
}

static uint8_t byte_at(int source, unsigned serial, size_t i)
{
    return (uint8_t)(source * 37 + (int)serial * 11 + (int)i + (int)(i >> 8));
}

size_t traffic_stamp(traffic_t *t, int source, uint32_t size, uint8_t *buf)
{
    if (t->sent == TRAFFIC_MAX)
        return 0;
    buf[12] = (uint8_t)t->sent;
    buf[13] = (uint8_t)(t->sent >> 8);
    buf[14] = (uint8_t)source;
    buf[15] = 0x5a;
    t->size[t->sent++] = (uint16_t)size;
    return size;
}

size_t traffic_make(traffic_t *t, int source, uint32_t size, uint8_t *buf)
{
    size_t i;

    dcerpc_header_write(buf, DCERPC_REQUEST, DCERPC_WHOLE, (uint16_t)size, 0);
    for (i = DCERPC_HEADER_SIZE; i < size; i++)
        buf[i] = byte_at(source, t->sent, i);
    return traffic_stamp(t, source, size, buf);
}

void traffic_mark(traffic_t *t)
{
    if (t->mark_count < TRAFFIC_MARKS)
        t->marks[t->mark_count++] = t->sent;
}

int traffic_source(const uint8_t *pdu)
{
    return pdu[15] == 0x5a ? pdu[14] : -1;
}

/* Notes its number, which is returned. */
static unsigned arrive(traffic_t *t, int source, int *next, const uint8_t *pdu, uint32_t size)
{
    unsigned serial = pdu[12] | (unsigned)pdu[13] << 8;

    if (*next < 0)
        *next = (int)serial;
    MUST((int)serial == *next, "PDU %u of %d, not %d", serial, source, *next);
    MUST(serial < t->sent && size == t->size[serial], "PDU %u of %d: %u bytes", serial, source,
         size);
    MUST(!t->seen[serial], "PDU %u of %d twice", serial, source);
    t->seen[serial] = 1;
    t->arrived++;
    *next += 1;
    return serial;
}

void traffic_arrive_on(traffic_t *t, int source, int *next, const uint8_t *pdu, uint32_t size)
{
    unsigned serial = arrive(t, source, next, pdu, size);
    size_t i;

    for (i = DCERPC_HEADER_SIZE; i < size; i++)
        MUST(pdu[i] == byte_at(source, serial, i), "byte %zu of PDU %u of %d", i, serial, source);
}

void traffic_arrive(traffic_t *t, int source, const uint8_t *pdu, uint32_t size)
{
    int next = (int)t->arrived;

    traffic_arrive_on(t, source, &next, pdu, size);
}

unsigned traffic_arrive_any(traffic_t *t, int source, const uint8_t *pdu, uint32_t size)
{
    int next = (int)t->arrived;

    return arrive(t, source, &next, pdu, size);
}

int traffic_at_mark(const traffic_t *t)
{
    unsigned i;

    for (i = 0; i < t->mark_count; i++) {
        if (t->marks[i] == t->arrived)
            return 1;
    }
    return t->mark_count == TRAFFIC_MARKS;
}
