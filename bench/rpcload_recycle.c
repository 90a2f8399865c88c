/* rpcload_recycle.c: the client's part of the replacement of channels ([MS-RPCH] 3.2.2.1, fig. 25
 * and 26). The machine or child that the new request comes to decides the form, R1 or R2; the
 * client learns it from IN_Rx/A4 and OUT_Rx/A6.
 *
 *   IN   nearly used up: new request with A1 -> A4 on OUT: A5 as the last on the old one,
 *        then RPC PDUs on the new one; the proxy closes the old one
 *   OUT  A2: new request with A3 -> A6 R1: A7 on IN -> A10, the last on the old one: A11 on the
 *        new one -> 200
 *                                -> A6 R2: A7 on IN, C1 on the new one -> B3, the last -> 200
 *
 * A channel takes whole PDUs only, and none beyond its Content-Length (2.1.2.1.7, 2.1.2.1.8).
 */
#include <stdlib.h>

#include "rpcload_vc.h"

/* RPC PDUs leave so many bytes of an IN channel free, for A5 and the acknowledgements before it. */
#define RESERVE 2048

static void to_gone(vc_t *vc, conn_t *c)
{
    c->is_gone = 1;
    c->next = vc->gone;
    vc->gone = c;
}

/* ---- IN ---- */

static void recycle_in(vc_t *vc)
{
    if (vc->in_state != IN_OPENED || !vc->proxy->speaks_http)
        return;
    vc->in_state = IN_A4W;
    vc->in_next = conn_open(vc, 0, 1);
}

void recycle_check_in(vc_t *vc)
{
    if (vc->in->used + vc->near_end > vc->in->lifetime)
        recycle_in(vc);
}

int recycle_in_room(vc_t *vc, uint32_t size)
{
    if (vc->in->used + size + RESERVE <= vc->in->lifetime)
        return 1;
    recycle_in(vc);
    return 0;
}

static void send_a1(conn_t *c)
{
    rts_pdu_t a1;

    conn_put_request(c, "RPC_IN_DATA", (unsigned)c->lifetime);
    rts_begin(&a1, RTS_IN_R1_A1);
    rts_set_cookie(&a1, 0, &c->vc->cookie);
    rts_set_cookie(&a1, 1, &c->vc->in->cookie);
    rts_set_cookie(&a1, 2, &c->cookie);
    conn_put_rts(c, &a1);
}

/* A4: in R1 it names the window of the new proxy; in R2 the old window stays. */
static void switch_in(conn_t *c, const rts_pdu_t *pdu, int r1)
{
    vc_t *vc = c->vc;
    conn_t *old = vc->in;
    rts_pdu_t a5;

    if (vc->in_state != IN_A4W)
        vc_fail(c, "unexpected", "IN_Rx/A4");
    rts_begin(&a5, RTS_IN_R1_A5);
    rts_set_cookie(&a5, 0, &vc->in_next->cookie);
    conn_put_rts(old, &a5);
    to_gone(vc, old);
    if (vc->reorders)
        conn_delay(old);
    vc->in = vc->in_next;
    vc->in_next = NULL;
    vc->in_state = IN_OPENED;
    rpc_flow_sender_start(&vc->hop1, r1 ? rts_u32(pdu, RTS_CMD_RECEIVE_WINDOW_SIZE, 0)
                                        : (uint32_t)vc->hop1.window);
    if (r1)
        vc->counts.in_r1++;
    else
        vc->counts.in_r2++;
}

/* ---- OUT ---- */

static void send_a3(conn_t *c)
{
    vc_t *vc = c->vc;
    rts_pdu_t a3;

    conn_put_request(c, "RPC_OUT_DATA", 120);
    rts_begin(&a3, RTS_OUT_R1_A3);
    rts_set_cookie(&a3, 0, &vc->cookie);
    rts_set_cookie(&a3, 1, &vc->out->cookie);
    rts_set_cookie(&a3, 2, &c->cookie);
    rts_set_u32(&a3, RTS_CMD_RECEIVE_WINDOW_SIZE, vc->load->window);
    conn_put_rts(c, &a3);
}

/* C1 or A11: the last PDU of a successor's request, which may be answered now. */
static void end_request(conn_t *c, rts_pdu_id_t id)
{
    rts_pdu_t pdu;

    rts_begin(&pdu, id);
    conn_put_rts(c, &pdu);
}

/* A6: from now on the client reads the successor, and tells the server so on the IN channel. */
static void ready_for_out(conn_t *c, int r1)
{
    vc_t *vc = c->vc;
    rts_pdu_t pdu;

    rts_begin(&pdu, r1 ? RTS_OUT_R1_A7 : RTS_OUT_R2_A7);
    rts_set_cookie(&pdu, 0, &vc->out_next->cookie);
    vc_put_in(vc, &pdu);
    vc->out_state = r1 ? OUT_A10W : OUT_B3W;
    if (!r1 && !vc->reorders)
        end_request(vc->out_next, RTS_OUT_R2_C1);
}

/* A10 or B3: the last PDU of the old channel. */
static void switch_out(conn_t *c, int r1)
{
    vc_t *vc = c->vc;

    to_gone(vc, c);
    vc->held_before += c->held;
    vc->out = vc->out_next;
    vc->out_next = NULL;
    vc->out_state = OUT_200W;
    if (r1)
        end_request(vc->out, RTS_OUT_R1_A11);
    else if (vc->reorders)
        end_request(vc->out, RTS_OUT_R2_C1);
}

void recycle_answered(conn_t *c)
{
    vc_t *vc = c->vc;

    if (c != vc->out || vc->out_state != OUT_200W)
        vc_fail(c, "answer", "before the old channel had said its last");
    vc->out_state = OUT_OPENED;
}

/* ---- both ---- */

void recycle_speak(conn_t *c)
{
    (c->is_out ? send_a3 : send_a1)(c);
}

/* B3 on the old channel and the 200 on its successor are sent at the same time, on two connections:
 * they come in any order, and a proxy in front of the proxy may change that order, too. */
int recycle_waits(conn_t *c)
{
    const vc_t *vc = c->vc;

    if (c == vc->out_next && vc->out_state == OUT_B3W)
        conn_read(vc->out);
    return c == vc->out_next && vc->out_state == OUT_B3W;
}

void recycle_after_input(vc_t *vc)
{
    if (vc->out_state == OUT_200W)
        conn_read(vc->out);
}

int recycle_rts(conn_t *c, const rts_pdu_t *pdu, rts_pdu_id_t id)
{
    vc_t *vc = c->vc;

    if (!vc->is_open || c != vc->out)
        return 0;
    if (id == RTS_IN_R1_A4 || id == RTS_IN_R2_A4)
        switch_in(c, pdu, id == RTS_IN_R1_A4);
    else if (id == RTS_OUT_R1_A2 && vc->out_state == OUT_OPENED) {
        vc->out_state = OUT_A6W;
        vc->out_next = conn_open(vc, 1, 1);
    }
    else if ((id == RTS_OUT_R1_A6 || id == RTS_OUT_R2_A6) && vc->out_state == OUT_A6W)
        ready_for_out(c, id == RTS_OUT_R1_A6);
    else if (id == RTS_OUT_R1_A10 && vc->out_state == OUT_A10W) {
        vc->counts.out_r1++;
        switch_out(c, 1);
    }
    else if (id == RTS_OUT_R2_B3 && vc->out_state == OUT_B3W) {
        vc->counts.out_r2++;
        switch_out(c, 0);
    }
    else
        return 0;
    return 1;
}
