/* The interfaces of rpcdemo: remote management (C706 appendix Q) and rpcecho, the test
 * interface of Samba. Each operation is one function over two NDR cursors; a table per
 * interface, in the order of the operation numbers.
 */
#include <string.h>
#include "rpcdemo.h"

#define STATUS_OK             0
#define STATUS_ACCESS_DENIED  5
#define STATUS_UNKNOWN_AUTHN  1747  /* RPC_S_UNKNOWN_AUTHN_SERVICE */

/* Are the arguments and the results complete? */
static uint32_t verdict(const demo_call_t *call)
{
    if (!ndr_in_ok(&call->in)) {
        return DCE_FAULT_BAD_STUB;
    }
    return ndr_out_ok(call->out) ? 0 : DCE_FAULT_NO_MEMORY;
}

static const ndr_syntax_t *const served[] = { &dce_syntax_mgmt, &dce_syntax_echo };
#define SERVED (sizeof(served) / sizeof(*served))

/* A pointer to a vector of pointers to interface identifiers. */
static uint32_t mgmt_inq_if_ids(demo_call_t *call)
{
    ndr_out_t *out = call->out;
    uint32_t i, referent = 0x00020000;

    ndr_out_u32(out, referent);
    ndr_out_u32(out, SERVED);   /* conformance */
    ndr_out_u32(out, SERVED);   /* count */
    for (i = 0; i < SERVED; i++) {
        ndr_out_u32(out, referent += 4);
    }
    for (i = 0; i < SERVED; i++) {
        ndr_out_align(out, 4);
        ndr_out_uuid(out, &served[i]->uuid);
        ndr_out_u16(out, served[i]->major);
        ndr_out_u16(out, served[i]->minor);
    }
    ndr_out_u32(out, STATUS_OK);
    return verdict(call);
}

static uint32_t mgmt_inq_stats(demo_call_t *call)
{
    const demo_stats_t *st = call->stats;
    const uint32_t values[] = { st->calls_in, st->calls_out, st->pdus_in, st->pdus_out };
    uint32_t i, count = ndr_in_u32(&call->in);

    if (count > 4) {
        count = 4;
    }
    ndr_out_u32(call->out, count);
    ndr_out_u32(call->out, count);  /* conformance */
    for (i = 0; i < count; i++) {
        ndr_out_u32(call->out, values[i]);
    }
    ndr_out_u32(call->out, STATUS_OK);
    return verdict(call);
}

static uint32_t mgmt_is_server_listening(demo_call_t *call)
{
    ndr_out_u32(call->out, STATUS_OK);
    ndr_out_u32(call->out, 1);
    return verdict(call);
}

/* Everybody may call the server, but nobody may stop it. */
static uint32_t mgmt_stop_server_listening(demo_call_t *call)
{
    ndr_out_u32(call->out, STATUS_ACCESS_DENIED);
    return verdict(call);
}

/* Without authentication there is no principal: the result is an empty string and a status. */
static uint32_t mgmt_inq_princ_name(demo_call_t *call)
{
    uint32_t size;

    ndr_in_u32(&call->in);      /* authn_proto */
    size = ndr_in_u32(&call->in);
    ndr_out_u32(call->out, size);
    ndr_out_u32(call->out, 0);
    ndr_out_u32(call->out, size > 0);
    if (size > 0) {
        ndr_out_u8(call->out, 0);
    }
    ndr_out_u32(call->out, STATUS_UNKNOWN_AUTHN);
    return verdict(call);
}

static uint32_t echo_add_one(demo_call_t *call)
{
    ndr_out_u32(call->out, ndr_in_u32(&call->in) + 1);
    return verdict(call);
}

/* Reads a length and a conformant array of that length; NULL: they do not agree. */
static const uint8_t *read_counted(demo_call_t *call, uint32_t *len)
{
    *len = ndr_in_u32(&call->in);
    if (*len > DEMO_MAX_DATA || ndr_in_u32(&call->in) != *len) {
        return NULL;
    }
    return ndr_in_bytes(&call->in, *len);
}

static uint32_t echo_echo_data(demo_call_t *call)
{
    uint32_t len;
    const uint8_t *data = read_counted(call, &len);

    if (!data) {
        return DCE_FAULT_BAD_STUB;
    }
    ndr_out_u32(call->out, len);
    ndr_out_bytes(call->out, data, len);
    return verdict(call);
}

static uint32_t echo_sink_data(demo_call_t *call)
{
    uint32_t len;
    return read_counted(call, &len) ? 0 : DCE_FAULT_BAD_STUB;
}

/* 00 01 02 ... ff 00 ...; made by copying twice as much each time, because benchmarks call it */
static void fill_pattern(uint8_t *p, size_t len)
{
    size_t done, i;

    for (i = 0; i < len && i < 256; i++) {
        p[i] = (uint8_t)i;
    }
    for (done = i; done < len; done += i) {
        i = done < len - done ? done : len - done;
        memcpy(p + done, p, i);
    }
}

static uint32_t echo_source_data(demo_call_t *call)
{
    uint32_t len = ndr_in_u32(&call->in);
    uint8_t *p;

    if (!ndr_in_ok(&call->in) || len > DEMO_MAX_DATA) {
        return DCE_FAULT_BAD_STUB;
    }
    ndr_out_u32(call->out, len);
    p = ndr_out_room(call->out, len);
    if (p) {
        fill_pattern(p, len);
    }
    return verdict(call);
}

/* A UTF-16 string in, a pointer to a UTF-16 string out. */
static uint32_t echo_test_call(demo_call_t *call)
{
    static const char answer[] = "rpcdemo heard you";
    uint32_t max = ndr_in_u32(&call->in), offset = ndr_in_u32(&call->in),
             actual = ndr_in_u32(&call->in);
    size_t i;

    if (offset != 0 || actual > max || actual > DEMO_MAX_DATA
        || !ndr_in_bytes(&call->in, 2 * (size_t)actual)) {
        return DCE_FAULT_BAD_STUB;
    }
    ndr_out_u32(call->out, 0x00020000);
    ndr_out_u32(call->out, sizeof(answer));
    ndr_out_u32(call->out, 0);
    ndr_out_u32(call->out, sizeof(answer));
    for (i = 0; i < sizeof(answer); i++) {
        ndr_out_u16(call->out, (uint16_t)answer[i]);
    }
    return verdict(call);
}

static uint32_t echo_test_sleep(demo_call_t *call)
{
    uint32_t seconds = ndr_in_u32(&call->in);

    call->delay = seconds < DEMO_MAX_SLEEP ? seconds : DEMO_MAX_SLEEP;
    ndr_out_u32(call->out, call->delay);
    return verdict(call);
}

/* A structure with a conformant array; the result has twice its size and contains zeros. */
static uint32_t echo_test_surrounding(demo_call_t *call)
{
    uint32_t max = ndr_in_u32(&call->in), x = ndr_in_u32(&call->in);
    uint8_t *p;

    if (max != x || x > DEMO_MAX_DATA / 4 || !ndr_in_bytes(&call->in, 2 * (size_t)x)) {
        return DCE_FAULT_BAD_STUB;
    }
    ndr_out_u32(call->out, 2 * x);
    ndr_out_u32(call->out, 2 * x);
    p = ndr_out_room(call->out, 4 * (size_t)x);
    if (p) {
        memset(p, 0, 4 * (size_t)x);
    }
    return verdict(call);
}

static uint32_t echo_test_double_pointer(demo_call_t *call)
{
    uint16_t value = 0;

    if (ndr_in_u32(&call->in) != 0 && ndr_in_u32(&call->in) != 0) {
        value = ndr_in_u16(&call->in);
    }
    ndr_out_u16(call->out, value);
    return verdict(call);
}

static demo_operation_t *const mgmt_operations[] = {
    mgmt_inq_if_ids, mgmt_inq_stats, mgmt_is_server_listening,
    mgmt_stop_server_listening, mgmt_inq_princ_name,
};
static demo_operation_t *const echo_operations[] = {
    echo_add_one, echo_echo_data, echo_sink_data, echo_source_data, echo_test_call,
    NULL /* TestCall2 */, echo_test_sleep, NULL /* TestEnum */, echo_test_surrounding,
    echo_test_double_pointer,
};

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
static const demo_interface_t interfaces[] = {
    { &dce_syntax_mgmt, COUNT(mgmt_operations), mgmt_operations },
    { &dce_syntax_echo, COUNT(echo_operations), echo_operations },
};

const demo_interface_t *demo_interface_find(const ndr_syntax_t *syntax)
{
    size_t i;

    for (i = 0; i < COUNT(interfaces); i++) {
        if (dce_syntax_serves(interfaces[i].syntax, syntax)) {
            return &interfaces[i];
        }
    }
    return NULL;
}
