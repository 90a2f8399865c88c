/* rpcping_vc.c: the client's half of a virtual connection. It sends CONN/A1 and CONN/B1, receives
 * CONN/A3 and CONN/C2, and then exchanges RPC PDUs within both windows. Above this is the part of
 * DCE/RPC that a bind and a call without arguments need: one call at a time, whose answer is
 * assembled as a whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "rpcping.h"

/* The values of Windows: doc/protocol.md, "Windows values" */
#define IN_LENGTH      1073741824       /* 2.1.2.1.1 */
#define OUT_LENGTH     76               /* a CONN/A1 */
#define OUT_WINDOW     65536
#define KEEPALIVE      300000           /* ms, 2.2.3.5.6 */
#define MAX_ANSWER     (4 * 1024 * 1024)
#define MAX_FRAG       5840
#define GRACE          500              /* ms for a reason to arrive */

static void random_cookie(rts_cookie_t *cookie)
{
    if (getrandom(cookie->b, sizeof(cookie->b), 0) != (ssize_t)sizeof(cookie->b)) {
        abort();    /* 16 bytes never come short once the kernel has started */
    }
}

static void trace(const ping_vc_t *vc, const char *direction, const char *name, size_t len)
{
    if (vc->http->options->verbose) {
        fprintf(stderr, "    %s %s, %zu bytes\n", direction, name, len);
    }
}

static void trace_rts(const ping_vc_t *vc, const char *direction, const rts_pdu_t *pdu,
                      rts_hop_t hop, size_t len)
{
    trace(vc, direction, rts_info(rts_identify(pdu, hop))->name, len);
}

static int send_pdu(ping_vc_t *vc, const void *pdu, size_t len)
{
    ping_channel_send(vc->in, pdu, len);
    return ndr_out_ok(&vc->in->body);
}

/* Receiving: RTS PDUs */

static void acknowledge(ping_vc_t *vc)
{
    rts_pdu_t pdu;
    rts_ack_t ack = { .cookie = vc->out_cookie };
    uint8_t buf[RTS_MAX_SIZE];
    size_t len;

    rpc_flow_ack(&vc->receiver, &ack.bytes_received, &ack.available_window);
    rts_begin(&pdu, RTS_FLOW_CONTROL_ACK_WITH_DESTINATION);
    rts_set_u32(&pdu, RTS_CMD_DESTINATION, RTS_FD_OUT_PROXY);
    rts_set_ack(&pdu, &ack);
    len = rts_write(&pdu, buf, sizeof(buf));
    trace_rts(vc, "IN  ->", &pdu, RTS_HOP_C_IP, len);
    send_pdu(vc, buf, len);
}

static void take_a3(ping_vc_t *vc, const rts_pdu_t *pdu)
{
    vc->out_timeout = rts_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 0);
    vc->a3 = 1;
}

static void take_c2(ping_vc_t *vc, const rts_pdu_t *pdu)
{
    vc->window = rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0);
    vc->in_timeout = rts_u32(pdu, RTS_CMD_CONNECTION_TIMEOUT, 0);
    rpc_flow_sender_start(&vc->sender, vc->window);
    vc->c2 = 1;
}

static void take_ack(ping_vc_t *vc, const rts_pdu_t *pdu)
{
    const rts_ack_t *ack = rts_ack(pdu);

    if (vc->c2 && ack && rts_cookie_equal(&ack->cookie, &vc->in_cookie)) {
        rpc_flow_acked(&vc->sender, ack->bytes_received, ack->available_window);
    }
}

static void take_rts(ping_vc_t *vc, const uint8_t *data, size_t len)
{
    rts_pdu_t pdu;
    rts_pdu_id_t id;

    vc->error = rts_parse(data, len, &pdu);
    if (vc->error) {
        return;
    }
    id = rts_identify(&pdu, RTS_HOP_OP_C);
    trace(vc, "OUT <-", rts_info(id)->name, len);
    if (id == RTS_PING) {
        return;
    }
    if (id == RTS_CONN_A3 && !vc->a3) {
        take_a3(vc, &pdu);
    }
    else if (id == RTS_CONN_C2 && vc->a3 && !vc->c2) {
        take_c2(vc, &pdu);
    }
    else if (id == RTS_FLOW_CONTROL_ACK_WITH_DESTINATION) {
        take_ack(vc, &pdu);
    }
    else {
        vc->error = "an RTS PDU that does not belong here";
    }
}

/* Receiving: RPC PDUs */

/* Of a response, which may come in fragments, only the stub is kept; other PDUs are kept whole. */
static void take_rpc(ping_vc_t *vc, const uint8_t *pdu, const dcerpc_header_t *h)
{
    size_t skip = h->ptype == DCERPC_RESPONSE ? DCE_REQUEST_HEADER : DCERPC_HEADER_SIZE;
    size_t end = (size_t)h->frag_length - h->auth_length;

    trace(vc, "OUT <-", dcerpc_ptype_name(h->ptype), h->frag_length);
    if (!vc->c2) {
        vc->error = "an RPC PDU before CONN/C2";
    }
    else if (rpc_flow_received(&vc->receiver, h->frag_length)) {
        vc->error = "more data than the window allows";
    }
    else if (h->call_id != vc->call_id || vc->answered || end < skip
             || vc->answer.len + end - skip > MAX_ANSWER) {
        vc->error = "an answer that nobody asked for, or a malformed one";
    }
    if (vc->error) {
        return;
    }
    if (rpc_flow_consumed(&vc->receiver, h->frag_length)) {
        acknowledge(vc);
    }
    vc->ptype = h->ptype;
    vc->little_endian = h->little_endian;
    ndr_out_bytes(&vc->answer, pdu + skip, end - skip);
    vc->answered = (h->flags & DCE_PFC_LAST) != 0;
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
    ping_vc_t *vc = ctx;
    const uint8_t *pdu;
    dcerpc_header_t header;

    while (len > 0 && !vc->error) {
        switch (dcerpc_framer_next(&vc->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            break;
        case DCERPC_FRAME_ERROR:
            vc->error = vc->framer.error;
            break;
        case DCERPC_FRAME_PDU:
            if (header.ptype == DCERPC_RTS) {
                take_rts(vc, pdu, header.frag_length);
            }
            else {
                take_rpc(vc, pdu, &header);
            }
            break;
        }
    }
}

/* Opening */

static size_t make_a1(const ping_vc_t *vc, uint8_t *buf, size_t cap)
{
    rts_pdu_t pdu;
    size_t len;

    rts_begin(&pdu, RTS_CONN_A1);
    rts_set_cookie(&pdu, 0, &vc->cookie);
    rts_set_cookie(&pdu, 1, &vc->out_cookie);
    rts_set_u32(&pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, OUT_WINDOW);
    len = rts_write(&pdu, buf, cap);
    trace_rts(vc, "OUT ->", &pdu, RTS_HOP_C_OP, len);
    return len;
}

static size_t make_b1(const ping_vc_t *vc, uint8_t *buf, size_t cap)
{
    rts_pdu_t pdu;
    size_t len;

    rts_begin(&pdu, RTS_CONN_B1);
    rts_set_cookie(&pdu, 0, &vc->cookie);
    rts_set_cookie(&pdu, 1, &vc->in_cookie);
    rts_set_u32(&pdu, RTS_CMD_CHANNEL_LIFETIME, IN_LENGTH);
    rts_set_u32(&pdu, RTS_CMD_CLIENT_KEEPALIVE, KEEPALIVE);
    rts_set_group(&pdu, &vc->group);
    len = rts_write(&pdu, buf, cap);
    trace_rts(vc, "IN  ->", &pdu, RTS_HOP_C_IP, len);
    return len;
}

int ping_vc_open(ping_vc_t *vc, ping_http_t *http)
{
    uint8_t buf[RTS_MAX_SIZE];
    size_t len;

    memset(vc, 0, sizeof(*vc));
    vc->http = http;
    random_cookie(&vc->cookie);
    random_cookie(&vc->in_cookie);
    random_cookie(&vc->out_cookie);
    random_cookie(&vc->group);
    rpc_flow_receiver_start(&vc->receiver, OUT_WINDOW);
    len = make_b1(vc, buf, sizeof(buf));
    vc->in = ping_channel_open(http, "RPC_IN_DATA", IN_LENGTH, buf, len, NULL, NULL);
    len = make_a1(vc, buf, sizeof(buf));
    vc->out = ping_channel_open(http, "RPC_OUT_DATA", OUT_LENGTH, buf, len, on_data, vc);
    return vc->in && vc->out;
}

void ping_vc_close(ping_vc_t *vc)
{
    ping_channel_close(vc->in);
    ping_channel_close(vc->out);
    ping_channel_close(vc->probe);
    dcerpc_framer_reset(&vc->framer);
    ndr_out_free(&vc->answer);
}

/* An answer to the IN channel is always a failure (2.1.2.1.3). */
int ping_vc_failed(const ping_vc_t *vc)
{
    return vc->error || vc->in->done || vc->out->done || ping_channel_refused(vc->in)
        || ping_channel_refused(vc->out);
}

int ping_vc_is_open(void *ctx)
{
    const ping_vc_t *vc = ctx;
    return vc->c2 || ping_vc_failed(vc);
}

int ping_vc_is_answered(void *ctx)
{
    const ping_vc_t *vc = ctx;
    return vc->answered || ping_vc_failed(vc);
}

static int has_status(void *ctx)
{
    const ping_vc_t *vc = ctx;
    return ping_channel_refused(vc->in) || ping_channel_refused(vc->out)
        || (vc->in->done && vc->out->done);
}

/* Both requests have been sent, and nothing shows what has become of them. */
static int is_silent(const ping_vc_t *vc)
{
    return !vc->c2 && !ping_vc_failed(vc) && vc->in->requests && vc->out->requests;
}

static int probe_is_over(void *ctx)
{
    const ping_vc_t *vc = ctx;
    return vc->probe->done || ping_channel_refused(vc->probe) || vc->c2 || ping_vc_failed(vc);
}

/* Something between this machine and the proxy may keep a request until all of its body is there,
 * which never happens for a channel. A proxy that sees the first bytes of a request refuses it at
 * once when they are not a PDU. So silence after such a request shows that the proxy did not see
 * it. */
static int requests_are_kept(ping_vc_t *vc)
{
    static const uint8_t no_pdu[DCERPC_HEADER_SIZE];
    double until = ping_now() + vc->http->options->timeout * 1000;

    if (!vc->probe) {
        vc->probe = ping_channel_open(vc->http, "RPC_IN_DATA", IN_LENGTH, no_pdu, sizeof(no_pdu),
                                      NULL, NULL);
    }
    return vc->probe && !ping_http_wait(vc->http, until, probe_is_over, vc);
}

/* The echo has worked, and now nothing comes at LAYER. */
static const char *what_is_missing(const ping_vc_t *vc, ping_layer_t layer, int kept)
{
    if (vc->c2 && layer == PING_CONNECTION) {
        return "the virtual connection opened later than the time allows (a longer -t helps)";
    }
    if (vc->c2) {
        return "the virtual connection is open, but no answer comes from the server";
    }
    if (kept) {
        return "the echo works, but what is sent on a channel does not arrive: something in "
               "between buffers requests until they are whole (nginx: proxy_request_buffering off)";
    }
    if (vc->a3) {
        return "the outbound proxy answered (CONN/A3) but the server did not complete the "
               "connection (no CONN/C2): it does not speak ncacn_http, or the inbound half never "
               "reached the same server";
    }
    return "the echo works and requests arrive, but the OUT channel gets no answer: something in "
           "between buffers answers (nginx: proxy_buffering off), or the proxy still tries to "
           "reach the server (a longer -t tells)";
}

/* Names what came last before the outbound proxy closed the connection. */
static const char *how_far(const ping_vc_t *vc)
{
    return vc->c2 ? "CONN/C2: the server behind it closed, or refused the call"
        : vc->a3 ? "CONN/A3: the server cannot be reached, or does not speak ncacn_http"
        : "its 200 answer";
}

/* A channel with an error status gives the best reason. */
const ping_channel_t *ping_vc_refusal(const ping_vc_t *vc)
{
    if (vc->error || !vc->in || !vc->out) {
        return NULL;
    }
    if (vc->in->status >= 300 || !vc->in->requests || (vc->in->done && !vc->out->done)) {
        return vc->in;
    }
    if (vc->out->status >= 300 || !vc->out->requests || (vc->out->done && vc->out->status != 200)) {
        return vc->out;
    }
    return NULL;
}

/* When one channel was only closed, the status of the other one may still come. */
ping_layer_t ping_vc_explain(ping_vc_t *vc, ping_layer_t else_layer, ping_reason_t *why)
{
    int kept = is_silent(vc) && requests_are_kept(vc);
    const ping_channel_t *refusal;

    memset(why, 0, sizeof(*why));
    if (vc->error) {
        ping_reason(why, "the proxy or server broke the protocol: %s", vc->error);
        return else_layer;
    }
    if (vc->in->done || vc->out->done) {
        ping_http_wait(vc->http, ping_now() + GRACE, has_status, vc);
    }
    refusal = ping_vc_refusal(vc);
    if (refusal) {
        return ping_explain(refusal, else_layer, why);
    }
    if (vc->out->done) {
        ping_reason(why, "the outbound proxy closed the connection after %s", how_far(vc));
    }
    else {
        ping_reason(why, "%s, in %g s", what_is_missing(vc, else_layer, kept),
                    vc->http->options->timeout);
    }
    return else_layer;
}

/* Calls */

static int start_call(ping_vc_t *vc, ndr_out_t *pdu, const char *name)
{
    int sent = 0;

    dce_finish(pdu);
    ndr_out_free(&vc->answer);
    vc->answered = 0;
    if (ndr_out_ok(pdu)) {
        if (vc->c2 && !rpc_flow_may_send(&vc->sender, (uint32_t)pdu->len)) {
            vc->error = "the inbound proxy does not acknowledge, its window is used up";
        }
        else {
            trace(vc, "IN  ->", name, pdu->len);
            rpc_flow_sent(&vc->sender, (uint32_t)pdu->len);
            sent = send_pdu(vc, pdu->data, pdu->len);
        }
    }
    sent = sent || vc->error;   /* an error of the peer is reported as such */
    ndr_out_free(pdu);
    return sent;
}

int ping_vc_bind(ping_vc_t *vc, const ping_bound_t *bound, unsigned count)
{
    ndr_out_t pdu = { 0 };
    unsigned i;

    dce_begin(&pdu, DCERPC_BIND, DCERPC_WHOLE, ++vc->call_id);
    ndr_out_u16(&pdu, MAX_FRAG);
    ndr_out_u16(&pdu, MAX_FRAG);
    ndr_out_u32(&pdu, 0);           /* a new association group */
    ndr_out_u32(&pdu, count);       /* contexts, three reserved bytes */
    for (i = 0; i < count; i++) {
        ndr_out_u16(&pdu, (uint16_t)i); /* its id */
        ndr_out_u16(&pdu, 1);           /* one transfer syntax, a reserved byte */
        ndr_out_syntax(&pdu, &bound[i].interface);
        ndr_out_syntax(&pdu, &dce_syntax_ndr);
    }
    return start_call(vc, &pdu, "bind");
}

int ping_vc_request(ping_vc_t *vc, uint16_t opnum)
{
    ndr_out_t pdu = { 0 };

    dce_begin(&pdu, DCERPC_REQUEST, DCERPC_WHOLE, ++vc->call_id);
    ndr_out_u32(&pdu, 0);           /* alloc_hint */
    ndr_out_u16(&pdu, 0);           /* context */
    ndr_out_u16(&pdu, opnum);
    return start_call(vc, &pdu, "request");
}

static void explain_fault(ndr_in_t *in, ping_reason_t *why)
{
    const char *words;

    ndr_in_bytes(in, 8);            /* alloc_hint, context, cancel_count */
    why->code = ndr_in_u32(in);
    why->kind = PING_CODE_RPC;
    words = dce_status_text(why->code);
    ping_reason(why, "fault %08x: %s", why->code, words ? words : "not known to this program");
}

/* Is there no bind_ack? Then *WHY says what there is. */
static int is_no_ack(const ping_vc_t *vc, ndr_in_t *in, ping_reason_t *why)
{
    if (vc->ptype == DCERPC_FAULT) {
        explain_fault(in, why);
    }
    else if (vc->ptype == DCERPC_BIND_NAK) {
        uint16_t reason = ndr_in_u16(in);

        ping_reason(why, "bind_nak: %s%s", dce_nak_text(reason), reason ? ""
                    : "; the server refuses the interfaces, or the proxy's firewall has done so");
    }
    return vc->ptype == DCERPC_FAULT || vc->ptype == DCERPC_BIND_NAK;
}

int ping_vc_read_bind(const ping_vc_t *vc, ping_bound_t *bound, unsigned count, unsigned *frag,
                      ping_reason_t *why)
{
    unsigned i, results;
    ndr_syntax_t syntax;
    ndr_in_t in;

    memset(why, 0, sizeof(*why));
    ndr_in_start(&in, vc->answer.data, vc->answer.len, vc->little_endian);
    if (is_no_ack(vc, &in, why)) {
        return 0;
    }
    ndr_in_u16(&in);
    *frag = ndr_in_u16(&in);
    ndr_in_u32(&in);                /* group */
    ndr_in_bytes(&in, ndr_in_u16(&in));
    ndr_in_align(&in, 4);
    results = ndr_in_u8(&in);
    ndr_in_bytes(&in, 3);
    for (i = 0; i < count; i++) {
        uint16_t result = ndr_in_u16(&in);

        bound[i].reason = ndr_in_u16(&in);
        bound[i].binding = result == DCE_ACCEPTED ? PING_BOUND : PING_REJECTED;
        ndr_in_syntax(&in, &syntax);
    }
    if (vc->ptype != DCERPC_BIND_ACK || results != count || !ndr_in_ok(&in)) {
        ping_reason(why, "a malformed answer (%s)", dcerpc_ptype_name(vc->ptype));
        return 0;
    }
    return 1;
}

int ping_vc_read_call(const ping_vc_t *vc, ping_reason_t *why)
{
    ndr_in_t in;

    memset(why, 0, sizeof(*why));
    if (vc->ptype == DCERPC_RESPONSE) {
        return 1;
    }
    ndr_in_start(&in, vc->answer.data, vc->answer.len, vc->little_endian);
    if (vc->ptype == DCERPC_FAULT) {
        explain_fault(&in, why);
    }
    else {
        ping_reason(why, "an unexpected answer (%s)", dcerpc_ptype_name(vc->ptype));
    }
    return 0;
}
