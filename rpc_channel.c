/* rpc_channel.c: how a channel of any role begins, up to its virtual channel.
 *
 *   rpc_channel_start -> channel_turn: reads the first PDU and no byte more
 *     -> go_home:  moves the channel to the I/O thread that its cookie's hash names
 *     -> dispatch: asks whether the cookie is free for this user, target and host (claim(), which
 *                  knows the channels of all children)
 *     -> place:    a successor (R2) joins the virtual channel that its cookie names; anything else
 *                  makes a virtual channel (proxy/virtual.c), which connects a leg
 */
#include "rpc_channel.h"

#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>

#include "base/list.h"
#include "proxy/answer.h"
#include "proxy/mixed.h"
#include "proxy/relay.h"
#include "proxy/virtual.h"

rpc_proxy_t *rpc_proxy_create(rpc_loop_t *loop, const rpc_dialer_t *dialer,
                              rpc_proxy_t **siblings, unsigned count, apr_pool_t *pool)
{
    rpc_proxy_t *proxy = apr_pcalloc(pool, sizeof(*proxy));

    proxy->loop = loop;
    proxy->dialer = dialer;
    proxy->siblings = siblings;
    proxy->count = count;
    proxy->tables[RPC_INBOUND] = apr_hash_make(pool);
    proxy->tables[RPC_OUTBOUND] = apr_hash_make(pool);
    return proxy;
}

static const rpc_role_ops_t *role_of(const rpc_channel_t *ch)
{
    return ch->spec->role == RPC_INBOUND ? &rpc_inbound_role : &rpc_outbound_role;
}

static void channel_finish(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);

    rpc_channel_free(ch, ch->reason, ch->why, 1);
}

/* Ends a channel that belongs to no virtual channel yet, in a turn for ends. */
static void channel_refuse(rpc_channel_t *ch, rpc_reason_t reason, const char *why)
{
    rpc_log(ch->spec->log, RPC_LOG_DEBUG, ch->client->error, "%s channel refused: %s: %s",
            role_of(ch)->name, rpc_reason_info(reason)->token, why);
    ch->reason = reason;
    ch->why = why;
    if (ch->awaits)
        ch->awaits->newcomer = NULL;
    ch->awaits = NULL;
    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    ch->turn.run = channel_finish;
    rpc_loop_schedule_end(ch->proxy->loop, &ch->turn);
}

/* ---- opening ---- */

static void attach(rpc_virtual_t *v, rpc_channel_t *ch)
{
    if (ch->awaits)
        v->newcomer = NULL;
    ch->awaits = NULL;
    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    ch->virt = v;
    ch->client->owner = &v->turn;
    v->successor = ch;
    free(ch->first);
    ch->first = NULL;
    rpc_channel_opened(ch);
    v->role->attached(v);
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

static void waited_too_long(rpc_timer_t *timer)
{
    channel_refuse(RPC_OWNER_OF(timer, rpc_channel_t, timer), RPC_REASON_SETUP_TIMEOUT,
                   "the replacement before it has not been completed");
}

/* One successor may wait for its turn. No byte of it is read meanwhile. */
static void await_turn(rpc_virtual_t *v, rpc_channel_t *ch)
{
    if (v->newcomer == ch)
        return;
    if (v->newcomer) {
        channel_refuse(ch, RPC_REASON_UNKNOWN_COOKIE, "another successor is already waiting");
        return;
    }
    rpc_log(ch->spec->log, RPC_LOG_DEBUG, 0,
            "%s channel waits until the replacement before it is over", v->role->name);
    v->newcomer = ch;
    ch->awaits = v;
    ch->timer.fire = waited_too_long;
    rpc_timer_set(ch->proxy->loop, &ch->timer,
                  rpc_loop_now(ch->proxy->loop) + ch->spec->setup_timeout);
}

/* Is it possible that V's current channel will soon learn that it has been replaced at another
 * proxy? */
static int may_move_away(const rpc_virtual_t *v)
{
    if (v->state != RPC_OPENED)
        return !v->successor;
    return v->current->client->can_read || (v->leg && v->leg->can_read);
}

/* CH replaces a channel of V, which lives here: R2 (3.2.3.5.5.1, 3.2.4.5.6.1). If the channel to be
 * replaced is itself still replacing another one, CH waits: its client is ahead of this proxy. The
 * specification ends the whole virtual connection when a cookie is wrong. Then anybody who has seen
 * a cookie could end it, so only the newcomer is refused here. */
static void replace(rpc_virtual_t *v, rpc_channel_t *ch)
{
    const rpc_channel_t *newest = v->successor ? v->successor : v->current;
    int follows = rts_cookie_equal(rts_cookie(ch->first, 1), &newest->cookie);

    if (strcmp(v->current->spec->identity, ch->spec->identity) != 0)
        channel_refuse(ch, RPC_REASON_PEER_MISMATCH,
                       "the virtual connection is another user's or target's");
    else if (v->reason || (!follows && !may_move_away(v)))
        channel_refuse(ch, RPC_REASON_UNKNOWN_COOKIE,
                       "its predecessor is not a channel of this proxy");
    /* Each channel may leave a full window of bytes that still wait. A limit keeps quick
     * replacements from adding these up. */
    else if (follows && v->state == RPC_OPENED && v->waiting.size <= 2 * RPC_FLOW_WINDOW_MAX)
        attach(v, ch);
    else
        await_turn(v, ch);
}

/* The words for why the channel table refuses a channel. */
static const char *claim_fault(rpc_reason_t reason)
{
    switch (reason) {
    case RPC_REASON_PEER_MISMATCH:
        return "the virtual connection is another user's, target's or virtual host's";
    case RPC_REASON_DUPLICATE_COOKIE:
        return "the virtual connection has such a channel already";
    default:
        return rpc_reason_info(reason)->text;
    }
}

static int claim_cookie(rpc_channel_t *ch, int replacing)
{
    const rpc_channel_spec_t *spec = ch->spec;
    rpc_reason_t reason = RPC_REASON_NONE;

    if (spec->claim)
        reason = spec->claim(spec->ctx, rts_cookie(ch->first, 0), replacing, &ch->first_server);
    if (!reason)
        return 1;
    channel_refuse(ch, reason, claim_fault(reason));
    return 0;
}

/* Joins the channel to the virtual channel of its cookie, makes one, or refuses. */
static void place(rpc_channel_t *ch, int replacing)
{
    rpc_virtual_t *v = apr_hash_get(ch->proxy->tables[ch->spec->role],
                                    rts_cookie(ch->first, 0)->b, sizeof(rts_cookie_t));

    if (v && replacing)
        replace(v, ch);
    else if (v)
        channel_refuse(ch, RPC_REASON_DUPLICATE_COOKIE, "the virtual connection exists already");
    else if (rpc_virtual_open(ch, role_of(ch), replacing))
        rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    else
        channel_refuse(ch, RPC_REASON_NO_MEMORY, "no memory for a virtual channel");
}

/* The turn of a channel that waits for its place: its client or the virtual channel has changed. */
static void channel_newcomer_turn(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);

    if (ch->client->hup || ch->client->error)
        channel_refuse(ch, RPC_REASON_CLIENT_CLOSED,
                       "the client closed its connection before its turn came");
    else
        place(ch, 1);
}

/* On the home loop: the first PDU is one of the two that open a channel of this role. */
static void dispatch(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);
    const rpc_role_ops_t *role = role_of(ch);
    int replacing = rts_identify(ch->first, role->from_client) == role->replacer;

    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    ch->turn.run = channel_newcomer_turn;
    ch->cookie = *rts_cookie(ch->first, replacing ? 2 : 1);
    ch->heard = ch->spoke = rpc_loop_now(ch->proxy->loop);
    rpc_flow_receiver_start(&ch->hop1, ch->spec->receive_window);
    rpc_flow_sender_start(&ch->hop4, rts_u32(ch->first, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
    /* An order that came while the channel was between two loops has found it on neither. */
    if (rpc_meter_verdict(&ch->spec->metered, rpc_loop_now(ch->proxy->loop)))
        channel_refuse(ch, RPC_REASON_ADMINISTRATOR,
                       rpc_reason_info(RPC_REASON_ADMINISTRATOR)->text);
    else if (claim_cookie(ch, replacing))
        place(ch, replacing);
}

static void channel_link(rpc_channel_t *ch, rpc_proxy_t *proxy)
{
    ch->proxy = proxy;
    RPC_LIST_PUSH(proxy->channels, ch);
}

/* The channel has come to its home loop from another loop. */
static void channel_arrive(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);

    channel_link(ch, ch->proxy);
    ch->turn.run = dispatch;
    ch->client->can_read = ch->client->can_write = 1;
    if (rpc_watch_add(ch->proxy->loop, &ch->client->watch) != APR_SUCCESS)
        channel_refuse(ch, RPC_REASON_NO_MEMORY, "the I/O thread cannot watch its connection");
    else
        dispatch(job);
}

static void go_home(rpc_channel_t *ch)
{
    unsigned hash = (unsigned)rts_cookie(ch->first, 0)->b[15];
    rpc_proxy_t *home = ch->proxy->siblings[hash % ch->proxy->count];

    if (home == ch->proxy) {
        dispatch(&ch->turn);
        return;
    }
    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    rpc_loop_unschedule(ch->proxy->loop, &ch->turn);
    rpc_watch_remove(ch->proxy->loop, &ch->client->watch);
    RPC_LIST_REMOVE(ch->proxy->channels, ch);
    ch->proxy = home;
    ch->client->loop = home->loop;
    ch->turn.run = channel_arrive;
    rpc_loop_post(home->loop, &ch->turn);
}

static void channel_first_pdu(rpc_channel_t *ch, const uint8_t *data, const dcerpc_header_t *header)
{
    const rpc_role_ops_t *role = role_of(ch);
    const char *wrong;
    rts_pdu_id_t id;

    ch->first = malloc(sizeof(*ch->first));
    if (!ch->first) {
        channel_refuse(ch, RPC_REASON_NO_MEMORY, "no memory for its first PDU");
        return;
    }
    wrong = header->ptype == DCERPC_RTS ? rts_parse(data, header->frag_length, ch->first)
                                        : "the first PDU is no RTS PDU";
    if (wrong) {
        channel_refuse(ch, RPC_REASON_BAD_PDU, wrong);
        return;
    }
    id = rts_identify(ch->first, role->from_client);
    rpc_log(ch->spec->log, RPC_LOG_DEBUG, 0, "%s channel: %s from the client", role->name,
            rts_info(id)->name);
    if (id == role->opener || id == role->replacer)
        go_home(ch);
    else
        channel_refuse(ch, RPC_REASON_PROTOCOL, "the first PDU opens no channel of this kind");
}

/* A client that has sent a part of a PDU and then closed its sending side can still read
 * the answer. */
static void first_pdu_failed(rpc_channel_t *ch, apr_status_t status)
{
    int closed = APR_STATUS_IS_EOF(status);

    if (closed && ch->client->received && !ch->client->dead) {
        rpc_error_answer(ch->client, RPC_REASON_PROTOCOL);
        ch->answered = 1;
    }
    channel_refuse(ch, closed ? RPC_REASON_CLIENT_CLOSED : RPC_REASON_CLIENT_ERROR,
                   "the client closed its connection before its first PDU was complete");
}

/* Open_Start: reads only the first PDU, so that the bytes behind it are read on the home loop. */
static void channel_turn(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);

    for (;;) {
        uint8_t *buf = rpc_loop_scratch(ch->proxy->loop);
        const uint8_t *data = buf, *pdu;
        dcerpc_header_t header;
        size_t len = dcerpc_framer_missing(&ch->framer);
        apr_status_t rv;

        if ((int64_t)ch->client->received >= ch->spec->content_length) {
            channel_refuse(ch, RPC_REASON_PROTOCOL, "the request's body ends within the first PDU");
            return;
        }
        if (!len)
            len = DCERPC_HEADER_SIZE;
        rv = rpc_stream_read(ch->client, buf, &len);
        if (APR_STATUS_IS_EAGAIN(rv))
            return;
        if (rv != APR_SUCCESS) {
            first_pdu_failed(ch, rv);
            return;
        }
        switch (dcerpc_framer_next(&ch->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            break;
        case DCERPC_FRAME_PDU:
            channel_first_pdu(ch, pdu, &header);
            return;
        case DCERPC_FRAME_ERROR:
            channel_refuse(ch, RPC_REASON_BAD_PDU, ch->framer.error);
            return;
        }
    }
}

static void channel_late(rpc_timer_t *timer)
{
    channel_refuse(RPC_OWNER_OF(timer, rpc_channel_t, timer), RPC_REASON_FIRST_PDU_TIMEOUT,
                   "the first PDU did not come in time");
}

void rpc_channel_start(rpc_proxy_t *proxy, rpc_stream_t *client, const rpc_channel_spec_t *spec)
{
    rpc_channel_t *ch;

    rpc_stream_notice_death(client, 2 * spec->connection_timeout);
    if (spec->upstream.stream) {
        rpc_relay_start(proxy->loop, &proxy->relays, client, spec);
        return;
    }
    if (spec->role == RPC_MIXED) {
        rpc_mixed_start(proxy->loop, proxy->dialer, &proxy->mixed, client, spec);
        return;
    }
    ch = calloc(1, sizeof(*ch));
    if (!ch) {
        spec->ended(spec->ctx, &(rpc_end_t){ .reason = RPC_REASON_NO_MEMORY,
                                             .why = "no memory for a channel" });
        rpc_stream_close(client, 1);
        return;
    }
    ch->spec = spec;
    ch->client = client;
    ch->turn.run = channel_turn;
    ch->timer.fire = channel_late;
    channel_link(ch, proxy);
    client->owner = &ch->turn;
    rpc_timer_set(proxy->loop, &ch->timer, rpc_loop_now(proxy->loop) + spec->first_pdu_timeout);
    rpc_loop_schedule(proxy->loop, &ch->turn);
}

/* Nothing is freed here: each has its end in a turn of its own. */
void rpc_proxy_end_due(rpc_proxy_t *proxy, apr_time_t now)
{
    rpc_channel_t *ch;

    for (ch = proxy->channels; ch; ch = ch->next) {
        rpc_reason_t reason = rpc_meter_verdict(&ch->spec->metered, now);

        if (reason && ch->virt)
            rpc_virtual_end(ch->virt, reason, "%s", rpc_reason_info(reason)->text);
        else if (reason && !ch->reason)
            channel_refuse(ch, reason, rpc_reason_info(reason)->text);
    }
    rpc_mixed_end_due(proxy->mixed, now);
    rpc_relay_end_due(proxy->relays, now);
}

unsigned rpc_proxy_end_all(rpc_proxy_t *proxy, rpc_reason_t reason)
{
    unsigned count = 0;

    for (; proxy->mixed; count++)
        rpc_mixed_end(&proxy->mixed, reason);
    for (; proxy->relays; count++)
        rpc_relay_end(&proxy->relays, reason);
    for (; proxy->channels; count++) {
        rpc_channel_t *ch = proxy->channels;

        if (ch->virt) {
            rpc_virtual_end(ch->virt, reason, "%s", rpc_reason_info(reason)->text);
            rpc_virtual_free(ch->virt);
            continue;
        }
        if (!ch->reason)
            channel_refuse(ch, reason, rpc_reason_info(reason)->text);
        channel_finish(&ch->turn);
    }
    return count;
}
