/* endpoint/vc.c: functions for legs and virtual connections that every part of the endpoint uses:
 * they put bytes on a leg, take a leg away, end a virtual connection and log how it ended. They
 * call none of those parts.
 */
#include "endpoint/vc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/message_id.h"
#include "wire/farewell.h"

void rpc_endpoint_count_down(rpc_endpoint_t *ep)
{
    if (--ep->count == 0 && ep->params.idle && !ep->closing)
        ep->params.idle(ep->params.ctx);
}

void rpc_leg_end_wait(rpc_leg_t *leg)
{
    if (leg->waits)
        apr_hash_set(leg->ep->waiting, rts_cookie(leg->waits, 0), sizeof(rts_cookie_t), NULL);
    free(leg->waits);
    leg->waits = NULL;
}

void rpc_endpoint_wake(rpc_endpoint_t *ep, const rts_cookie_t *vc)
{
    rpc_leg_t *leg = apr_hash_get(ep->waiting, vc, sizeof(*vc));

    if (leg)
        rpc_loop_schedule(ep->loop, &leg->turn);
}

void rpc_endpoint_drop(rpc_endpoint_t *ep, rpc_stream_t *stream, int abort)
{
    if (!abort && rpc_stream_pending(stream))
        ep->drains = rpc_loop_now(ep->loop) + RPC_STREAM_DRAIN;
    rpc_stream_close(stream, abort);
}

/* ---- legs ---- */

void rpc_leg_free(rpc_leg_t *leg, int abort)
{
    rpc_timer_cancel(leg->ep->loop, &leg->timer);
    rpc_loop_unschedule(leg->ep->loop, &leg->turn);
    if (leg->stream)
        rpc_endpoint_drop(leg->ep, leg->stream, abort);
    dcerpc_framer_reset(&leg->framer);
    free(leg->preface);
    free(leg->head);
    rpc_leg_end_wait(leg);
    free(leg);
}

void rpc_leg_put(rpc_leg_t *leg, const uint8_t *data, uint32_t size, int for_client)
{
    rpc_vc_t *vc = leg->vc;

    if (rpc_stream_pending(leg->stream) + size > RPC_LEG_MAX + RPC_LOOP_SCRATCH) {
        rpc_vc_end(vc, RPC_REASON_BUFFER_FULL, 0, "the %s leg is not read",
                   leg->is_out ? "OUT" : "IN");
        return;
    }
    if (rpc_stream_put(leg->stream, data, size) != APR_SUCCESS)
        rpc_vc_end(vc, RPC_REASON_NO_MEMORY, 0, "%s", "");
    if (!leg->is_out || !for_client)
        return;
    leg->used += size;
    if (leg->used > leg->lifetime)
        rpc_vc_end(vc, RPC_REASON_LIFETIME_EXCEEDED, 0, "%s", "");
}

void rpc_leg_send(rpc_leg_t *leg, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    rpc_leg_put(leg, buf, (uint32_t)rts_write(pdu, buf, sizeof(buf)), 1);
}

int rpc_leg_farewell(rpc_leg_t *leg, rpc_reason_t reason, const char *why)
{
    uint8_t buf[RPC_FAREWELL_MAX];

    return leg->ours && leg->version2
           && rpc_stream_put(leg->stream, buf, rpc_farewell_write(reason, why, buf)) == APR_SUCCESS
           && rpc_stream_flush(leg->stream) == APR_SUCCESS;
}

void rpc_leg_retire(rpc_leg_t *leg)
{
    rpc_vc_t *vc = leg->vc;

    if (vc->in == leg)
        vc->in = NULL;
    if (vc->out_old == leg)
        vc->out_old = NULL;
    rpc_leg_farewell(leg, RPC_REASON_RECYCLED, rpc_reason_info(RPC_REASON_RECYCLED)->text);
    leg->retired = 1;
    leg->next = vc->retired;
    vc->retired = leg;
}

/* ---- virtual connections ---- */

const char *rpc_vc_state_text(const rpc_vc_t *vc, char buf[64])
{
    static const char *const opening[RPC_VC_STATE_COUNT] =
        { "Open_Start", "A2W", "B2W", "Connecting", "Opened" };
    static const char *const in[RPC_IN_STATE_COUNT] = { "-", "Opened", "A6W", "Opened_B1W" };
    static const char *const out[RPC_OUT_STATE_COUNT] =
        { "-", "Opened", "Opened_A4W", "Opened_A8W", "Opened_R2A8W" };

    if (vc->state == RPC_VC_OPENED)
        snprintf(buf, 64, "IN %s, OUT %s", in[vc->in_state], out[vc->out_state]);
    else
        snprintf(buf, 64, "%s", opening[vc->state]);
    return buf;
}

void rpc_vc_end(rpc_vc_t *vc, rpc_reason_t reason, apr_status_t status, const char *fmt, ...)
{
    rpc_endpoint_t *ep = vc->ep;
    va_list args;

    if (vc->reason)
        return;
    vc->reason = reason;
    vc->status = status;
    va_start(args, fmt);
    vsnprintf(vc->detail, sizeof(vc->detail), fmt, args);
    va_end(args);
    apr_hash_set(ep->table, &vc->cookie, sizeof(vc->cookie), NULL);
    rpc_endpoint_wake(ep, &vc->cookie);
    if (ep->kin && !ep->closing)
        ep->kin->ended(ep->kin->ctx, &vc->cookie);
    rpc_loop_schedule(ep->loop, &vc->turn);
}

uint64_t rpc_endpoint_name(const rpc_endpoint_t *ep, const rts_cookie_t *vc)
{
    return ep->params.name ? ep->params.name(ep->params.ctx, vc) : 0;
}

const char *rpc_endpoint_name_text(uint64_t name, char buf[32])
{
    buf[0] = '\0';
    if (name)
        snprintf(buf, 32, "; connection=%016" PRIx64, name);
    return buf;
}

int rpc_endpoint_level(rpc_reason_t reason)
{
    return rpc_reason_is_normal(reason) ? RPC_LOG_INFO : RPC_LOG_WARN;
}

apr_interval_time_t rpc_endpoint_setup_timeout(const rpc_endpoint_t *ep,
                                               const rpc_preface_t *preface)
{
    return preface && preface->setup_timeout ? apr_time_from_msec(preface->setup_timeout)
                                             : ep->params.setup_timeout;
}

/* Has the proxy of the leg been told that the channel is open? */
static int is_open(const rpc_leg_t *leg)
{
    const rpc_vc_t *vc = leg->vc;

    return vc->state == RPC_VC_OPENED && leg != vc->in_next && leg != vc->out_next;
}

/* A failure is one for all legs. When the server or one half has closed in order, the channels that
 * were open end with it, and the others are refused. */
static rpc_reason_t farewell_reason(const rpc_leg_t *leg)
{
    rpc_reason_t reason = leg->vc->reason;

    if (!rpc_reason_is_normal(reason))
        return reason;
    if (reason == RPC_REASON_SHUTDOWN)
        return is_open(leg) ? reason : RPC_REASON_LOCAL_FAILURE;
    return is_open(leg) ? RPC_REASON_SERVER_CLOSED : RPC_REASON_SERVER_REFUSED;
}

/* Tells all proxies of this server. Returns how many of them will receive it. */
static int say_farewell(const rpc_vc_t *vc)
{
    rpc_leg_t *const legs[] = { vc->in, vc->out, vc->in_next, vc->out_next, vc->out_old };
    const char *why = vc->detail[0] ? vc->detail : rpc_reason_info(vc->reason)->text;
    char gone[sizeof(vc->detail) + 32];
    int said = 0;
    size_t i;

    if (rpc_reason_is_normal(vc->reason)) {
        snprintf(gone, sizeof(gone), "the virtual connection ended: %s", why);
        why = gone;
    }
    for (i = 0; i < sizeof(legs) / sizeof(legs[0]); i++)
        said += legs[i] && rpc_leg_farewell(legs[i], farewell_reason(legs[i]), why);
    return said;
}

/* How loud the end is. This server's proxies have a line at info for the whole virtual connection,
 * and a failure that they are told is logged by them, with what only they know. */
static int level_of(const rpc_vc_t *vc, int said)
{
    if (!rpc_reason_is_normal(vc->reason) && !said)
        return RPC_LOG_WARN;
    return vc->ours ? RPC_LOG_DEBUG : RPC_LOG_INFO;
}

static void vc_log_end(const rpc_vc_t *vc, int said)
{
    const rpc_preface_t *p = vc->preface;
    const rpc_stream_t *target = vc->target;
    apr_time_t lived = rpc_loop_now(vc->ep->loop) - vc->born;
    char name[32];

    rpc_log(vc->ep->params.log, level_of(vc, said), vc->status,
            RPCNO(0042) "endpoint: virtual connection of user \"%s\" to %s (%s port %u) ended: "
            "%s%s%s; client %s, %" APR_UINT64_T_FMT " bytes in, %" APR_UINT64_T_FMT " bytes out, "
            "%d.%03d s%s",
            rpc_preface_user(p), p->target, vc->served ? vc->served : p->host, p->port,
            rpc_reason_info(vc->reason)->token, vc->detail[0] ? ", " : "", vc->detail,
            rpc_preface_client(p), target ? target->sent : 0, target ? target->received : 0,
            (int)apr_time_sec(lived), (int)apr_time_msec(lived),
            rpc_endpoint_name_text(vc->name, name));
}

static void leg_drop(rpc_leg_t **leg, int abort)
{
    if (*leg)
        rpc_leg_free(*leg, abort);
    *leg = NULL;
}

static void close_streams(rpc_vc_t *vc, int abort)
{
    rpc_leg_t *leg;

    leg_drop(&vc->in, abort);
    leg_drop(&vc->out, abort);
    leg_drop(&vc->in_next, abort);
    leg_drop(&vc->out_next, abort);
    leg_drop(&vc->out_old, abort);
    while ((leg = vc->retired)) {
        vc->retired = leg->next;
        rpc_leg_free(leg, abort);
    }
    if (vc->connecting)
        rpc_dial_cancel(vc->connecting);
    if (vc->target)
        rpc_endpoint_drop(vc->ep, vc->target, abort);
}

void rpc_vc_finish(rpc_vc_t *vc, int abort)
{
    rpc_endpoint_t *ep = vc->ep;

    vc_log_end(vc, say_farewell(vc));
    close_streams(vc, abort);
    rpc_timer_cancel(ep->loop, &vc->setup);
    rpc_timer_cancel(ep->loop, &vc->patience);
    rpc_loop_unschedule(ep->loop, &vc->turn);
    dcerpc_framer_reset(&vc->target_framer);
    rpc_pdus_clear(&vc->waiting);
    rpc_pdus_clear(&vc->late);
    RPC_LIST_REMOVE(ep->vcs, vc);
    free(vc->served);
    free(vc->preface);
    free(vc);
    rpc_endpoint_count_down(ep);
}
