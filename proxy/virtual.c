/* proxy/virtual.c: the life of a virtual channel, whatever its role.
 *
 *   rpc_virtual_open: connects a leg
 *     -> virtual_turn: reads clients and leg, gives each PDU to the role (proxy/inbound.c,
 *        proxy/outbound.c), drains what waits, flushes; repeats while anything moves
 *     -> rpc_virtual_free: one line in the log, an answer if none is out, all closed in order
 *
 * An end is only noted (rpc_virtual_end) and carried out later, in a turn that the loop gives to
 * ends (rpc_loop_schedule_end), so no function ever finds its objects gone.
 */
#include "proxy/virtual.h"
#include "base/list.h"
#include "proxy/answer.h"
#include "wire/farewell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

/* The number of rounds of reading and writing before the other channels get their turn. */
#define TURN_ROUNDS 4
#define WHY_MAX 480         /* bytes of the words why it ends */

const char *rpc_state_name(rpc_state_t state)
{
    static const char *const names[RPC_STATE_COUNT] = {
        [RPC_CONNECTING] = "Connecting", [RPC_OPENED] = "Opened", [RPC_FINISHED] = "Finished",
        [RPC_B3W] = "B3W", [RPC_WAIT_B2] = "Wait_B2", [RPC_OPENED_A5W] = "Opened_A5W",
        [RPC_C1W] = "C1W", [RPC_A11W] = "A11W", [RPC_B1_OR_C1W] = "B1OrC1W",
        [RPC_B1W] = "B1W", [RPC_R2C1W] = "R2C1W",
    };
    return names[state];
}

const rpc_log_t *rpc_virtual_log(const rpc_virtual_t *v)
{
    return v->current->spec->log;
}

/* ---- ends ---- */

static void show(const rpc_channel_t *ch)
{
    rpc_meter_show(&ch->spec->metered, ch->client->received, rpc_stream_sent(ch->client),
                   ch->heard);
}

void rpc_channel_free(rpc_channel_t *ch, rpc_reason_t reason, const char *why, int may_answer)
{
    const rpc_reason_info_t *info = rpc_reason_info(reason);
    rpc_stream_t *client = ch->client;
    char where[48];
    rpc_end_t end = { .reason = reason, .where = where, .why = why ? why : info->text,
                      .received = client->received, .sent = rpc_stream_sent(client) };

    snprintf(where, sizeof(where), "%s in %s",
             ch->spec->role == RPC_INBOUND ? "inbound" : "outbound",
             ch->virt ? rpc_state_name(ch->virt->state) : "Open_Start");
    if (may_answer && !ch->answered && info->rpc_error && !client->error && !client->dead)
        rpc_error_answer(client, reason);
    if (ch->awaits)
        ch->awaits->newcomer = NULL;
    rpc_loop_unschedule(ch->proxy->loop, &ch->turn);
    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    RPC_LIST_REMOVE(ch->proxy->channels, ch);
    dcerpc_framer_reset(&ch->framer);
    rpc_pdus_clear(&ch->held);
    free(ch->first);
    show(ch);
    ch->spec->ended(ch->spec->ctx, &end);
    rpc_stream_close(client, reason == RPC_REASON_CLIENT_ERROR);
    free(ch);
}

void rpc_virtual_end(rpc_virtual_t *v, rpc_reason_t reason, const char *fmt, ...)
{
    char why[WHY_MAX];
    va_list args;

    if (v->reason)
        return;
    v->reason = reason;
    va_start(args, fmt);
    apr_vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    v->why = strdup(why);
    rpc_log(rpc_virtual_log(v), RPC_LOG_DEBUG, 0, "%s channel in %s ends: %s: %s",
            v->role->name, rpc_state_name(v->state), rpc_reason_info(reason)->token, why);
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

void rpc_virtual_release(rpc_virtual_t *v, rpc_channel_t *ch, rpc_reason_t reason)
{
    ch->reason = reason;
    ch->released = v->released;
    v->released = ch;
}

/* Answers 503 where the client has had no answer yet. */
static void free_released(rpc_virtual_t *v)
{
    while (v->released) {
        rpc_channel_t *ch = v->released;

        v->released = ch->released;
        rpc_stream_flush(ch->client);
        rpc_channel_free(ch, ch->reason, NULL, 1);
    }
}

/* The newcomer checks again whether its turn has come. */
static void wake_newcomer(rpc_virtual_t *v)
{
    if (v->newcomer)
        rpc_loop_schedule(v->proxy->loop, &v->newcomer->turn);
}

/* A channel that comes now, or that waits for its turn, begins a new virtual channel. */
static void virtual_delist(rpc_virtual_t *v)
{
    if (v->in_table)
        apr_hash_set(v->proxy->tables[v->current->spec->role], v->cookie.b,
                     sizeof(v->cookie.b), NULL);
    v->in_table = 0;
    if (v->newcomer) {
        wake_newcomer(v);
        v->newcomer->awaits = NULL;
        v->newcomer = NULL;
    }
}

void rpc_virtual_free(rpc_virtual_t *v)
{
    int opening = v->state == RPC_CONNECTING || v->state == RPC_B3W || v->state == RPC_WAIT_B2
                  || v->state == RPC_A11W;

    virtual_delist(v);
    rpc_loop_unschedule(v->proxy->loop, &v->turn);
    rpc_timer_cancel(v->proxy->loop, &v->timer);
    if (v->connecting)
        rpc_dial_cancel(v->connecting);
    if (v->leg)
        rpc_stream_close(v->leg, v->reason == RPC_REASON_SERVER_ERROR);
    free_released(v);
    if (v->successor)
        rpc_channel_free(v->successor, v->reason, v->why, 1);
    rpc_channel_free(v->current, v->reason, v->why, opening);
    dcerpc_framer_reset(&v->leg_framer);
    rpc_pdus_clear(&v->waiting);
    free(v->farewell_why);
    free(v->why);
    free(v);
}

/* ---- output ---- */

static void put_bounded(rpc_virtual_t *v, rpc_stream_t *s, const uint8_t *data, uint32_t size,
                        const char *whom)
{
    if (rpc_stream_pending(s) + size > RPC_OUT_MAX + DCERPC_MAX_PDU)
        rpc_virtual_end(v, RPC_REASON_BUFFER_FULL, "the %s does not read", whom);
    else if (rpc_stream_put(s, data, size) != APR_SUCCESS)
        rpc_virtual_end(v, RPC_REASON_NO_MEMORY, "no memory to write to the %s", whom);
}

void rpc_put_leg(rpc_virtual_t *v, const uint8_t *data, uint32_t size)
{
    put_bounded(v, v->leg, data, size, "server");
}

void rpc_put_client(rpc_virtual_t *v, rpc_channel_t *ch, const uint8_t *data, uint32_t size)
{
    if (ch->body_left < size) {
        rpc_virtual_end(v, RPC_REASON_LIFETIME_EXCEEDED,
                        "%u bytes more than the Content-Length allows",
                        (unsigned)(size - ch->body_left));
        return;
    }
    ch->body_left -= size;
    ch->spoke = rpc_loop_now(v->proxy->loop);
    put_bounded(v, ch->client, data, size, "client");
}

void rpc_send_leg(rpc_virtual_t *v, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    rpc_put_leg(v, buf, (uint32_t)rts_write(pdu, buf, sizeof(buf)));
}

void rpc_send_client(rpc_virtual_t *v, rpc_channel_t *ch, const rts_pdu_t *pdu)
{
    uint8_t buf[RTS_MAX_SIZE];

    rpc_put_client(v, ch, buf, (uint32_t)rts_write(pdu, buf, sizeof(buf)));
}

void rpc_hold(rpc_virtual_t *v, rpc_pdus_t *queue, const uint8_t *pdu, uint32_t size, int counted)
{
    /* RPC PDUs are bounded by their window; this bounds the RTS PDUs among them. */
    if (!counted && queue->size > RPC_FLOW_WINDOW_MAX + RPC_OUT_MAX)
        rpc_virtual_end(v, RPC_REASON_BUFFER_FULL, "too many PDUs wait");
    else if (rpc_pdus_put(queue, pdu, size, counted) != 0)
        rpc_virtual_end(v, RPC_REASON_NO_MEMORY, "no memory to hold a PDU");
}

void rpc_answer_success(rpc_virtual_t *v, rpc_channel_t *ch)
{
    rpc_answer_t answer = { 200, "Success", 0, ch->spec->channel_lifetime };
    apr_status_t rv;

    ch->answered = 1;
    ch->spoke = rpc_loop_now(v->proxy->loop);
    ch->body_left = ch->spec->channel_lifetime;
    rv = ch->client->cls->respond(ch->client, &answer);
    if (rv != APR_SUCCESS)
        rpc_virtual_end(v, RPC_REASON_CLIENT_ERROR, "the response cannot be written");
}

/* ---- states ---- */

void rpc_channel_opened(const rpc_channel_t *ch)
{
    if (ch->spec->opened)
        ch->spec->opened(ch->spec->ctx);
}

void rpc_virtual_state(rpc_virtual_t *v, rpc_state_t state)
{
    rpc_log(rpc_virtual_log(v), RPC_LOG_DEBUG, 0, "%s channel: %s -> %s", v->role->name,
            rpc_state_name(v->state), rpc_state_name(state));
    v->state = state;
    if (state == RPC_OPENED)
        rpc_channel_opened(v->current);
    if (state == RPC_FINISHED)
        virtual_delist(v);  /* it continues at another proxy, and may come back here */
}

static void virtual_set_setup_timer(rpc_virtual_t *v, apr_interval_time_t limit)
{
    v->setup = limit;
    rpc_timer_set(v->proxy->loop, &v->timer, rpc_loop_now(v->proxy->loop) + limit);
}

static void virtual_setup_timeout(rpc_virtual_t *v)
{
    int said_nothing = v->leg && !v->banner && !v->first_from_leg;

    if (said_nothing && v->current->spec->leg.unix_path)    /* not even the banner */
        rpc_virtual_end(v, RPC_REASON_LOCAL_FAILURE, "the endpoint process does not answer");
    else
        rpc_virtual_end(v, RPC_REASON_SETUP_TIMEOUT, "nothing came for %d seconds",
                        (int)apr_time_sec(v->setup));
}

static void virtual_timer(rpc_timer_t *timer)
{
    rpc_virtual_t *v = RPC_OWNER_OF(timer, rpc_virtual_t, timer);
    apr_time_t due;

    if (!v->unplugged) {
        virtual_setup_timeout(v);
        return;
    }
    due = v->role->tick(v);
    if (due && !v->reason)
        rpc_timer_set(v->proxy->loop, timer, due);
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

void rpc_virtual_replay(rpc_virtual_t *v, rpc_channel_t *from, rpc_pdus_t *queue)
{
    rpc_pdus_t all = *queue;

    memset(queue, 0, sizeof(*queue));
    for (; all.first && !v->reason; rpc_pdus_drop(&all)) {
        rpc_queued_pdu_t p = rpc_pdus_peek(&all);

        if (!p.counted)
            v->role->forward(v, from, p.data, p.size);
        else
            v->role->relay(v, from, p.data, p.size);
    }
    rpc_pdus_clear(&all);
}

void rpc_virtual_unplug(rpc_virtual_t *v)
{
    apr_time_t due;

    v->unplugged = 1;
    rpc_virtual_replay(v, v->current, &v->waiting);
    due = v->role->tick(v);
    if (due)
        rpc_timer_set(v->proxy->loop, &v->timer, due);
    else
        rpc_timer_cancel(v->proxy->loop, &v->timer);
}

void rpc_virtual_wait(rpc_virtual_t *v)
{
    v->unplugged = 0;
    virtual_set_setup_timer(v, v->current->spec->setup_timeout);
}

/* ---- input ---- */

static void rts_pdu(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *data, uint32_t size)
{
    rts_pdu_t pdu;
    const char *wrong = rts_parse(data, size, &pdu);
    const char *whom = from ? "client" : "server";
    rts_pdu_id_t id;
    int destination;
    rpc_action_t *action;

    if (wrong) {
        rpc_virtual_end(v, RPC_REASON_BAD_PDU, "RTS PDU from the %s: %s", whom, wrong);
        return;
    }
    id = rts_identify(&pdu, from ? v->role->from_client : v->role->from_server);
    destination = rts_destination(&pdu);
    rpc_log(rpc_virtual_log(v), RPC_LOG_DEBUG, 0, "%s channel in %s: %s from the %s",
            v->role->name, rpc_state_name(v->state), rts_info(id)->name, whom);
    if (destination >= 0 && destination != v->role->mine) {
        if (v->role->may_forward(v, from, destination, id))
            v->role->forward(v, from, data, size);
        else
            rpc_virtual_end(v, RPC_REASON_PROTOCOL, "%s from the %s for destination %d",
                            rts_info(id)->name, whom, destination);
        return;
    }
    action = v->role->action(v, from, id);
    if (action)
        action(v, from, &pdu);
    else
        rpc_virtual_end(v, RPC_REASON_PROTOCOL, "%s from the %s is not allowed in %s",
                        rts_info(id)->name, whom, rpc_state_name(v->state));
}

/* The endpoint of this module says why it is about to close the leg. It has ended only when it is
 * closed: what was said before still goes its way. */
static int note_farewell(rpc_virtual_t *v, const uint8_t *pdu, uint32_t size)
{
    rpc_reason_t reason;
    const char *why = v->current->spec->leg.unix_path ? rpc_farewell_read(pdu, size, &reason)
                                                      : NULL;

    if (!why)
        return 0;
    v->farewell = reason ? reason : RPC_REASON_SERVER_REFUSED;
    free(v->farewell_why);
    v->farewell_why = strdup(why);
    return 1;
}

/* Has its server sent nothing, so that the channel is not open yet? */
static int awaits_server(const rpc_virtual_t *v)
{
    return v->state == RPC_C1W || v->state == RPC_A11W || v->state == RPC_B3W
        || v->state == RPC_WAIT_B2;
}

/* Our endpoint says before why it closes the leg: without that word the process has died. */
static void leg_closed(rpc_virtual_t *v)
{
    if (v->farewell)
        v->role->leg_ended(v, v->farewell, v->farewell_why ? v->farewell_why
                                                           : rpc_reason_info(v->farewell)->text);
    else if (v->current->spec->leg.unix_path)
        v->role->leg_ended(v, RPC_REASON_LOCAL_FAILURE, "the endpoint process has ended");
    else if (awaits_server(v))
        v->role->leg_ended(v, RPC_REASON_SERVER_REFUSED,
                           "the server closed the leg without an answer, "
                           "as one does that only speaks ncacn_ip_tcp (see RpcBackend)");
    else
        v->role->leg_ended(v, RPC_REASON_SERVER_CLOSED, "the server closed the leg");
}

/* Cuts what was read into PDUs and gives each to its place. FROM is NULL for the leg. */
static void take_bytes(rpc_virtual_t *v, rpc_channel_t *from, const uint8_t *data, size_t len)
{
    dcerpc_framer_t *framer = from ? &from->framer : &v->leg_framer;

    while (!v->reason && !(from && from->reason)) {
        const uint8_t *pdu;
        dcerpc_header_t header;

        switch (dcerpc_framer_next(framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            return;
        case DCERPC_FRAME_ERROR:
            rpc_virtual_end(v, RPC_REASON_BAD_PDU, "from the %s: %s",
                            from ? "client" : "server", framer->error);
            return;
        case DCERPC_FRAME_PDU:
            if (header.ptype == DCERPC_RTS)
                rts_pdu(v, from, pdu, header.frag_length);
            else if (from || !note_farewell(v, pdu, header.frag_length))
                v->role->rpc_pdu(v, from, pdu, header.frag_length);
        }
    }
}

static void end_failed(rpc_virtual_t *v, rpc_reason_t reason, const char *what, apr_status_t status)
{
    char text[120];

    rpc_virtual_end(v, reason, "%s failed: %s", what, apr_strerror(status, text, sizeof(text)));
}

static void client_gone(rpc_virtual_t *v, rpc_channel_t *ch)
{
    if (!ch->client->error && !ch->client->dead && v->role->client_ended(v, ch))
        return;
    if (ch->client->error)
        end_failed(v, RPC_REASON_CLIENT_ERROR, "reading from the client", ch->client->error);
    else if (ch->spec->role == RPC_INBOUND
             && (int64_t)ch->client->received >= ch->spec->content_length)
        rpc_virtual_end(v, RPC_REASON_CONTENT_USED_UP, "the request's Content-Length is used up");
    else
        rpc_virtual_end(v, RPC_REASON_CLIENT_CLOSED, "the client closed its connection");
}

static int read_client(rpc_virtual_t *v, rpc_channel_t *ch)
{
    uint8_t *buf = rpc_loop_scratch(v->proxy->loop);
    size_t len = v->reason ? 0 : v->role->client_room(v, ch);
    apr_status_t rv;

    if (!len) {
        ch->heard = rpc_loop_now(v->proxy->loop);   /* data may wait that is not read now */
        /* Without room an end of file stays unread. A client that is gone is noticed here. */
        if (ch->client->hup && !v->reason)
            client_gone(v, ch);
        return 0;
    }
    if (len > RPC_LOOP_SCRATCH)
        len = RPC_LOOP_SCRATCH;
    rv = rpc_stream_read(ch->client, buf, &len);
    if (rv == APR_SUCCESS) {
        ch->heard = rpc_loop_now(v->proxy->loop);
        take_bytes(v, ch, buf, len);
        return 1;
    }
    if (!APR_STATUS_IS_EAGAIN(rv))
        client_gone(v, ch);
    return 0;
}

/* Skips the legacy banner, which may come in pieces (2.1.2.2.1). */
static void virtual_skip_banner(rpc_virtual_t *v, const uint8_t **data, size_t *len)
{
    while (*len && v->banner < RTS_BANNER_SIZE && !v->first_from_leg
           && **data == (uint8_t)RTS_BANNER[v->banner]) {
        v->banner++;
        (*data)++;
        (*len)--;
    }
    if (*len)
        v->first_from_leg = 1;
}

static int read_leg(rpc_virtual_t *v)
{
    size_t len = RPC_LOOP_SCRATCH;
    const uint8_t *data;
    uint8_t *buf;
    apr_status_t rv;

    if (!v->leg || v->reason)
        return 0;
    buf = rpc_loop_scratch(v->proxy->loop);
    rpc_stream_read_rest(v->leg);   /* writing what lay in the scratch may have failed */
    rv = rpc_stream_read(v->leg, buf, &len);
    if (rv == APR_SUCCESS) {
        data = buf;
        virtual_skip_banner(v, &data, &len);
        take_bytes(v, NULL, data, len);
        return 1;
    }
    if (APR_STATUS_IS_EOF(rv) || APR_STATUS_IS_ECONNRESET(rv))
        leg_closed(v);              /* a reset: the server closed without reading the last acks */
    else if (!APR_STATUS_IS_EAGAIN(rv))
        end_failed(v, RPC_REASON_SERVER_ERROR, "reading from the server", rv);
    return 0;
}

/* ---- the turn ---- */

/* A server that has closed may have said something before, and our endpoint why it closes. */
static void leg_flush_failed(rpc_virtual_t *v, apr_status_t status)
{
    if (rpc_stream_read_rest(v->leg)) {
        while (read_leg(v))
            ;
    }
    end_failed(v, RPC_REASON_SERVER_ERROR, "writing to the server", status);
}

static int virtual_flush(rpc_virtual_t *v, rpc_stream_t *s)
{
    size_t before;
    apr_status_t rv;

    if (!s)
        return 0;
    before = rpc_stream_pending(s);
    rv = rpc_stream_flush(s);
    if (rv != APR_SUCCESS && s == v->leg)
        leg_flush_failed(v, rv);
    else if (rv != APR_SUCCESS)
        end_failed(v, RPC_REASON_CLIENT_ERROR, "writing to the client", rv);
    return rpc_stream_pending(s) < before;
}

static int turn_round(rpc_virtual_t *v)
{
    int moved = read_client(v, v->current);

    if (v->successor)
        moved |= read_client(v, v->successor);
    moved |= read_leg(v);
    if (v->unplugged && !v->reason)
        v->role->drain(v);
    moved |= virtual_flush(v, v->leg);
    moved |= virtual_flush(v, v->current->client);
    return moved;
}

static void virtual_finish(rpc_job_t *job)
{
    rpc_virtual_free(RPC_OWNER_OF(job, rpc_virtual_t, turn));
}

/* From now on nobody finds it, and nothing happens to it but its end. */
static void virtual_await_end(rpc_virtual_t *v)
{
    virtual_delist(v);
    rpc_timer_cancel(v->proxy->loop, &v->timer);
    if (v->connecting)
        rpc_dial_cancel(v->connecting);
    v->connecting = NULL;
    v->turn.run = virtual_finish;
    rpc_loop_schedule_end(v->proxy->loop, &v->turn);
}

static void virtual_turn(rpc_job_t *job)
{
    rpc_virtual_t *v = RPC_OWNER_OF(job, rpc_virtual_t, turn);
    int rounds = TURN_ROUNDS, moved;

    do {
        moved = turn_round(v);
    } while (moved && !v->reason && --rounds);
    show(v->current);
    if (v->successor)
        show(v->successor);
    free_released(v);
    wake_newcomer(v);
    if (v->reason)
        virtual_await_end(v);
    else if (moved)
        rpc_loop_schedule_more(v->proxy->loop, job);
}

/* ---- opening ---- */

static void virtual_connect_done(void *ctx, rpc_reason_t reason, apr_status_t status, int fd,
                                 const char *host, uint16_t port, const char *tried)
{
    rpc_virtual_t *v = ctx;
    const rpc_channel_spec_t *spec = v->current->spec;

    v->connecting = NULL;
    if (reason) {
        rpc_virtual_end(v, reason, "%s", tried);
        return;
    }
    v->leg = rpc_stream_open(v->proxy->loop, fd, &v->turn);
    if (!v->leg) {
        rpc_virtual_end(v, RPC_REASON_NO_MEMORY, "no memory for the leg");
        return;
    }
    /* The endpoint still has to connect, and needs the time for it. */
    if (!spec->leg.unix_path)
        virtual_set_setup_timer(v, spec->setup_timeout);
    if (spec->reached && !spec->leg.unix_path)
        spec->reached(spec->ctx, host, port);
    if (spec->preface_len)
        rpc_put_leg(v, spec->preface, (uint32_t)spec->preface_len);
    v->role->connected(v, v->current->first);
    free(v->current->first);
    v->current->first = NULL;
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

int rpc_virtual_open(rpc_channel_t *ch, const rpc_role_ops_t *role, int replacing)
{
    const rpc_channel_spec_t *spec = ch->spec;
    rpc_dial_params_t leg = spec->leg;
    rpc_loop_t *loop = ch->proxy->loop;
    rpc_virtual_t *v = calloc(1, sizeof(*v));

    if (!v)
        return 0;
    leg.first = ch->first_server;
    v->proxy = ch->proxy;
    v->role = role;
    v->current = ch;
    v->replacing = replacing;
    v->cookie = *rts_cookie(ch->first, 0);
    if (replacing)
        v->old_cookie = *rts_cookie(ch->first, 1);
    v->turn.run = virtual_turn;
    v->timer.fire = virtual_timer;
    ch->virt = v;
    ch->client->owner = &v->turn;
    v->in_table = 1;
    apr_hash_set(v->proxy->tables[spec->role], v->cookie.b, sizeof(v->cookie.b), v);
    virtual_set_setup_timer(v, spec->setup_timeout + leg.servers->count * leg.timeout);
    v->connecting = rpc_dial_start(loop, v->proxy->dialer, &leg, virtual_connect_done, v);
    if (!v->connecting)
        rpc_virtual_end(v, RPC_REASON_NO_MEMORY, "no memory to connect");
    rpc_loop_schedule(loop, &v->turn);  /* for the bytes that came after the first PDU */
    return 1;
}
