/* One connection's protocol (C706 12.6, [MS-RPCE] 2.2.2), a function per PDU type:
 *
 *   bind, alter_context   contexts accepted or rejected one by one
 *   request               fragments gathered, then the operation runs, then one reply
 *   orphaned              forgets the call being gathered
 *
 * There is no authentication: a bind with an authentication gets a bind_nak. There is one call at a
 * time (concurrent multiplexing is never granted), so a connection has at most one reply.
 */
#include <stdio.h>
#include <string.h>
#include "rpcdemo.h"

#define PTYPE_CANCEL   18
#define PTYPE_ORPHANED 19
#define NAK_UNSPECIFIED  0
#define NAK_AUTH_TYPE    8

void demo_session_start(demo_session_t *s, demo_stats_t *stats, uint16_t port,
                        uint16_t max_frag, uint32_t group)
{
    memset(s, 0, sizeof(*s));
    s->stats = stats;
    s->port = port;
    s->max_frag = max_frag;
    s->xmit_frag = DCE_MIN_FRAG;
    s->group = group;
}

void demo_session_free(demo_session_t *s)
{
    ndr_out_free(&s->request.stub);
    ndr_out_free(&s->reply.data);
}

/* Replies */

int demo_reply_pending(const demo_reply_t *reply)
{
    return reply->sent < reply->total;
}

/* The PDU in reply.data is finished. Returns 0 when memory ran out. */
static int reply_pdu(demo_session_t *s)
{
    demo_reply_t *r = &s->reply;

    if (!ndr_out_ok(&r->data)) {
        return 0;
    }
    dce_finish(&r->data);
    r->chunk = r->sent = 0;
    r->total = r->data.len;
    s->stats->pdus_out++;
    return 1;
}

/* The stub in reply.data becomes a response, in as many fragments as the client's
 * limit asks for. Stub fragments are multiples of 8 bytes, which keeps the alignment. */
static void reply_response(demo_session_t *s)
{
    demo_reply_t *r = &s->reply;
    size_t frags;

    r->chunk = (size_t)(s->xmit_frag - DCE_REQUEST_HEADER) & ~(size_t)7;
    frags = r->data.len ? (r->data.len + r->chunk - 1) / r->chunk : 1;
    r->sent = 0;
    r->total = r->data.len + frags * DCE_REQUEST_HEADER;
    r->call_id = s->request.call_id;
    r->context = s->request.context;
    s->stats->pdus_out += (uint32_t)frags;
    s->stats->calls_out++;
}

static int reply_fault(demo_session_t *s, uint32_t call_id, uint16_t context, uint32_t status,
                       uint8_t flags)
{
    ndr_out_t *out = &s->reply.data;

    ndr_out_free(out);
    dce_begin(out, DCERPC_FAULT, DCERPC_WHOLE | flags, call_id);
    ndr_out_u32(out, 32);       /* alloc_hint */
    ndr_out_u16(out, context);
    ndr_out_u16(out, 0);        /* cancel_count, reserved */
    ndr_out_u32(out, status);
    ndr_out_u32(out, 0);
    return reply_pdu(s);
}

/* A fault that ends the connection, because client and server no longer agree about its state. */
static int reply_fatal(demo_session_t *s, uint32_t call_id)
{
    reply_fault(s, call_id, 0, DCE_FAULT_PROTOCOL, DCE_PFC_DID_NOT_EXECUTE);
    return 0;
}

static void fragment_header(const demo_reply_t *r, size_t frag, size_t len, uint8_t *at)
{
    size_t begin = frag * r->chunk, left = r->data.len - begin;
    uint8_t flags = (uint8_t)((frag == 0 ? DCE_PFC_FIRST : 0) | (len == left ? DCE_PFC_LAST : 0));

    dcerpc_header_write(at, DCERPC_RESPONSE, flags, (uint16_t)(DCE_REQUEST_HEADER + len),
                        r->call_id);
    at[16] = (uint8_t)left;     /* alloc_hint: what this fragment and the rest need */
    at[17] = (uint8_t)(left >> 8);
    at[18] = (uint8_t)(left >> 16);
    at[19] = (uint8_t)(left >> 24);
    at[20] = (uint8_t)r->context;
    at[21] = (uint8_t)(r->context >> 8);
    at[22] = at[23] = 0;
}

static void add_iov(demo_iov_t *v, uint8_t *base, size_t len, size_t *skip)
{
    size_t skipped = *skip < len ? *skip : len;

    *skip -= skipped;
    if (len > skipped) {
        v->iov[v->count].iov_base = base + skipped;
        v->iov[v->count++].iov_len = len - skipped;
    }
}

void demo_reply_iov(const demo_reply_t *r, demo_iov_t *v)
{
    size_t per_frag = r->chunk + DCE_REQUEST_HEADER, frag = r->sent / per_frag;
    size_t skip = r->chunk ? r->sent % per_frag : r->sent;
    int i;

    v->count = 0;
    if (!r->chunk) {
        add_iov(v, r->data.data, r->data.len, &skip);
        return;
    }
    for (i = 0; i < DEMO_IOV_FRAGS; i++, frag++) {
        size_t begin = frag * r->chunk, left = r->data.len - begin;
        size_t len = left < r->chunk ? left : r->chunk;

        fragment_header(r, frag, len, v->header[i]);
        add_iov(v, v->header[i], DCE_REQUEST_HEADER, &skip);
        if (len > 0) {
            add_iov(v, r->data.data + begin, len, &skip);
        }
        if (len == left) {
            return;
        }
    }
}

void demo_reply_sent(demo_reply_t *r, size_t n)
{
    r->sent += n;
    if (!demo_reply_pending(r)) {
        ndr_out_free(&r->data);
        memset(r, 0, sizeof(*r));
    }
}

/* bind and alter_context */

static int context_find(const demo_session_t *s, uint16_t id)
{
    unsigned i;

    for (i = 0; i < s->contexts; i++) {
        if (s->context[i].id == id) {
            return (int)i;
        }
    }
    return -1;
}

/* DCE_ACCEPTED (0), or the reason of the provider's rejection. */
static uint16_t context_add(demo_session_t *s, uint16_t id, const ndr_syntax_t *abstract,
                            int has_ndr)
{
    const demo_interface_t *interface = demo_interface_find(abstract);
    int at = context_find(s, id);

    if (!interface) {
        return DCE_NO_INTERFACE;
    }
    if (!has_ndr) {
        return DCE_NO_SYNTAX;
    }
    if (at < 0) {
        if (s->contexts == DEMO_MAX_CONTEXTS) {
            return DCE_LOCAL_LIMIT;
        }
        at = (int)s->contexts++;
    }
    s->context[at].id = id;
    s->context[at].interface = interface;
    return DCE_ACCEPTED;
}

/* One p_cont_elem_t in, one p_result_t out. */
static void negotiate_context(demo_session_t *s, ndr_in_t *in, ndr_out_t *out)
{
    static const ndr_syntax_t none;
    ndr_syntax_t abstract, transfer;
    uint16_t id = ndr_in_u16(in), reason;
    unsigned transfers = ndr_in_u8(in), has_ndr = 0;

    ndr_in_u8(in);
    ndr_in_syntax(in, &abstract);
    while (transfers-- > 0 && ndr_in_ok(in)) {
        ndr_in_syntax(in, &transfer);
        has_ndr |= (unsigned)dce_syntax_serves(&dce_syntax_ndr, &transfer);
    }
    if (!ndr_in_ok(in)) {
        return;
    }
    reason = context_add(s, id, &abstract, (int)has_ndr);
    ndr_out_u16(out, reason ? DCE_PROVIDER_REJECTION : DCE_ACCEPTED);
    ndr_out_u16(out, reason);
    ndr_out_syntax(out, reason ? &none : &dce_syntax_ndr);
}

static int reply_nak(demo_session_t *s, uint32_t call_id, uint16_t reason)
{
    ndr_out_t *out = &s->reply.data;

    ndr_out_free(out);
    dce_begin(out, DCERPC_BIND_NAK, DCERPC_WHOLE, call_id);
    ndr_out_u16(out, reason);
    ndr_out_u8(out, 1);         /* the versions we speak: 5.0 */
    ndr_out_u8(out, 5);
    ndr_out_u8(out, 0);
    return reply_pdu(s);
}

static uint16_t clamp_frag(uint16_t asked, uint16_t limit)
{
    uint16_t value = asked < limit ? asked : limit;
    return value < DCE_MIN_FRAG ? DCE_MIN_FRAG : value;
}

static void write_secondary_address(ndr_out_t *out, uint16_t port, int bind)
{
    char text[8];
    int len = bind ? snprintf(text, sizeof(text), "%u", port) + 1 : 0;

    ndr_out_u16(out, (uint16_t)len);
    ndr_out_bytes(out, text, (size_t)len);
    ndr_out_align(out, 4);
}

static int take_bind(demo_session_t *s, ndr_in_t *in, const dcerpc_header_t *h)
{
    ndr_out_t *out = &s->reply.data;
    int bind = h->ptype == DCERPC_BIND;
    uint16_t xmit = ndr_in_u16(in), recv = ndr_in_u16(in);
    uint32_t group = ndr_in_u32(in);
    unsigned i, count = ndr_in_u8(in);

    if (bind ? s->bound : !s->bound) {
        return reply_fatal(s, h->call_id);
    }
    if (h->auth_length > 0) {
        return reply_nak(s, h->call_id, NAK_AUTH_TYPE);
    }
    if (bind) {
        s->xmit_frag = clamp_frag(recv, s->max_frag);
    }
    s->group = bind && group ? group : s->group;
    dce_begin(out, bind ? DCERPC_BIND_ACK : DCERPC_ALTER_RESP, DCERPC_WHOLE, h->call_id);
    ndr_out_u16(out, s->xmit_frag);
    ndr_out_u16(out, clamp_frag(xmit, s->max_frag));
    ndr_out_u32(out, s->group);
    write_secondary_address(out, s->port, bind);
    ndr_out_u32(out, count);    /* n_results and three reserved bytes */
    ndr_in_align(in, 4);
    for (i = 0; i < count && ndr_in_ok(in); i++) {
        negotiate_context(s, in, out);
    }
    if (!ndr_in_ok(in) || count == 0 || (h->flags & DCERPC_WHOLE) != DCERPC_WHOLE) {
        s->contexts = 0;
        return reply_nak(s, h->call_id, NAK_UNSPECIFIED);
    }
    s->bound = 1;
    return reply_pdu(s);
}

/* request */

static int run_operation(demo_session_t *s)
{
    int at = context_find(s, s->request.context);
    const demo_interface_t *interface = at < 0 ? NULL : s->context[at].interface;
    demo_call_t call = { .out = &s->reply.data, .stats = s->stats };
    uint32_t status;

    if (!interface) {
        return reply_fault(s, s->request.call_id, s->request.context, DCE_FAULT_UNKNOWN_IF,
                           DCE_PFC_DID_NOT_EXECUTE);
    }
    if (s->request.opnum >= interface->count || !interface->operations[s->request.opnum]) {
        return reply_fault(s, s->request.call_id, s->request.context, DCE_FAULT_OP_RANGE,
                           DCE_PFC_DID_NOT_EXECUTE);
    }
    ndr_in_start(&call.in, s->request.stub.data, s->request.stub.len, s->request.little_endian);
    status = interface->operations[s->request.opnum](&call);
    if (status) {
        return reply_fault(s, s->request.call_id, s->request.context, status, 0);
    }
    s->delay = call.delay;
    reply_response(s);
    return 1;
}

static int finish_request(demo_session_t *s)
{
    int open;

    s->stats->calls_in++;
    s->request.active = 0;
    if (s->request.too_big || !ndr_out_ok(&s->request.stub)) {
        open = reply_fault(s, s->request.call_id, s->request.context, DCE_FAULT_NO_MEMORY,
                           DCE_PFC_DID_NOT_EXECUTE);
    }
    else {
        open = run_operation(s);
    }
    ndr_out_free(&s->request.stub);
    return open;
}

/* Bounds the size of the stub. A call that is too big is read to its end, but not kept. */
static void gather(demo_session_t *s, ndr_in_t *in)
{
    size_t len = ndr_in_left(in);

    if (len > DEMO_MAX_STUB - s->request.stub.len) {
        s->request.too_big = 1;
    }
    if (!s->request.too_big) {
        ndr_out_bytes(&s->request.stub, ndr_in_bytes(in, len), len);
    }
}

static int take_request(demo_session_t *s, ndr_in_t *in, const dcerpc_header_t *h)
{
    uint16_t context, opnum;
    int first = (h->flags & DCE_PFC_FIRST) != 0;

    ndr_in_u32(in);             /* alloc_hint: a hint, not needed */
    context = ndr_in_u16(in);
    opnum = ndr_in_u16(in);
    if (h->flags & DCE_PFC_OBJECT) {
        ndr_in_bytes(in, 16);
    }
    if (!ndr_in_ok(in) || !s->bound || h->auth_length > 0 || first == s->request.active
        || (!first && h->call_id != s->request.call_id)) {
        return reply_fatal(s, h->call_id);
    }
    if (first) {
        s->request.active = 1;
        s->request.too_big = 0;
        s->request.little_endian = h->little_endian;
        s->request.call_id = h->call_id;
        s->request.context = context;
        s->request.opnum = opnum;
    }
    gather(s, in);
    return h->flags & DCE_PFC_LAST ? finish_request(s) : 1;
}

static int take_orphaned(demo_session_t *s, const dcerpc_header_t *h)
{
    if (s->request.active && s->request.call_id == h->call_id) {
        s->request.active = 0;
        ndr_out_free(&s->request.stub);
    }
    return 1;
}

int demo_session_pdu(demo_session_t *s, const uint8_t *pdu, const dcerpc_header_t *h)
{
    ndr_in_t in;

    s->stats->pdus_in++;
    s->delay = 0;
    ndr_in_start(&in, pdu, h->frag_length, h->little_endian);
    ndr_in_bytes(&in, DCERPC_HEADER_SIZE);
    switch (h->ptype) {
    case DCERPC_BIND:
    case DCERPC_ALTER:
        return take_bind(s, &in, h);
    case DCERPC_REQUEST:
        return take_request(s, &in, h);
    case PTYPE_ORPHANED:
        return take_orphaned(s, h);
    case PTYPE_CANCEL:
        return 1;               /* too late for every call we know */
    default:
        return 0;               /* RTS, a response, ...: not for a TCP server */
    }
}
