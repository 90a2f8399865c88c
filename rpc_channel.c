/* rpc_channel.c: the life of a channel, whatever its role.
 *
 *   rpc_channel_start -> channel_turn: reads the first PDU, no byte more
 *     -> dispatch: asks whether the cookie is free for this user, target and host (claim(), which
 *        sees all children); R2 joins the virtual channel its cookie names; anything else makes a
 *        virtual channel, which connects a leg
 *     -> virtual_turn: reads clients and leg, gives each PDU to the role (proxy/inbound.c,
 *        proxy/outbound.c), drains what waits, flushes; repeats while anything moves
 *     -> virtual_free: one line in the log, an answer if none is out, all closed in order
 *
 * An end is only noted (rpc_virtual_end) and carried out at the end of the turn, so no
 * function ever finds its objects gone.
 */
#include "wire/error.h"
#include "proxy/mixed.h"
#include "proxy/virtual.h"

#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

/* Rounds of reading and writing before the other channels get their turn. */
#define TURN_ROUNDS 4

struct rpc_proxy {
    rpc_loop_t *loop;
    const rpc_dialer_t *dialer;
    rpc_proxy_t **siblings;
    unsigned count;
    /* One table a role: with a common one an IN_R1/A1 would meet the row of its own
     * connection's CONN/A1 and take R2 (fig. 16). */
    apr_hash_t *tables[2];
    rpc_channel_t *channels;
    rpc_mixed_t *mixed;         /* connections of version 1, which have no cookie */
};

static void virtual_turn(rpc_job_t *job);

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

const char *rpc_state_name(rpc_state_t state)
{
    static const char *const names[RPC_STATE_COUNT] = {
        [RPC_OPEN_START] = "Open_Start", [RPC_OPENED] = "Opened", [RPC_FINISHED] = "Finished",
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

static void channel_free(rpc_channel_t *ch, rpc_reason_t reason, int may_answer)
{
    const rpc_reason_info_t *info = rpc_reason_info(reason);
    rpc_stream_t *client = ch->client;

    if (may_answer && !ch->answered && info->rpc_error && !client->error && !client->eof)
        rpc_error_answer(client, reason);
    rpc_loop_unschedule(ch->proxy->loop, &ch->turn);
    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    if (ch->prev)
        ch->prev->next = ch->next;
    else
        ch->proxy->channels = ch->next;
    if (ch->next)
        ch->next->prev = ch->prev;
    dcerpc_framer_reset(&ch->framer);
    rpc_pdus_clear(&ch->held);
    ch->spec->ended(ch->spec->ctx, reason, client->received, client->sent);
    rpc_stream_close(client, reason == RPC_REASON_CLIENT_ERROR);
    free(ch);
}

/* Ends a channel that belongs to no virtual channel yet. */
static void channel_refuse(rpc_channel_t *ch, rpc_reason_t reason, const char *why)
{
    rpc_log(ch->spec->log, RPC_LOG_INFO, ch->client->error, "%s channel refused: %s: %s",
            role_of(ch)->name, rpc_reason_info(reason)->token, why);
    channel_free(ch, reason, 1);
}

void rpc_virtual_end(rpc_virtual_t *v, rpc_reason_t reason, const char *fmt, ...)
{
    char why[256];
    va_list args;

    if (v->reason)
        return;
    v->reason = reason;
    va_start(args, fmt);
    apr_vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    rpc_log(rpc_virtual_log(v), RPC_LOG_INFO, 0, "%s channel in %s ends: %s: %s",
            v->role->name, rpc_state_name(v->state), rpc_reason_info(reason)->token, why);
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

void rpc_virtual_release(rpc_virtual_t *v, rpc_channel_t *ch, rpc_reason_t reason)
{
    ch->reason = reason;
    ch->released = v->released;
    v->released = ch;
}

/* Those whose client still has to be told something are answered (503). */
static void free_released(rpc_virtual_t *v)
{
    while (v->released) {
        rpc_channel_t *ch = v->released;

        v->released = ch->released;
        rpc_stream_flush(ch->client);
        channel_free(ch, ch->reason, 1);
    }
}

static void virtual_delist(rpc_virtual_t *v)
{
    if (v->in_table)
        apr_hash_set(v->proxy->tables[v->current->spec->role], v->cookie.b,
                     sizeof(v->cookie.b), NULL);
    v->in_table = 0;
}

static void virtual_free(rpc_virtual_t *v)
{
    int opening = v->state == RPC_OPEN_START || v->state == RPC_B3W || v->state == RPC_WAIT_B2
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
        channel_free(v->successor, v->reason, 1);
    channel_free(v->current, v->reason, opening);
    dcerpc_framer_reset(&v->leg_framer);
    rpc_pdus_clear(&v->waiting);
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
    ch->body_left = ch->spec->channel_lifetime;
    rv = ch->client->cls->respond(ch->client, &answer);
    if (rv != APR_SUCCESS)
        rpc_virtual_end(v, RPC_REASON_CLIENT_ERROR, "the response cannot be written");
}

/* ---- states ---- */

static void channel_opened(const rpc_channel_t *ch)
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
        channel_opened(v->current);
}

static void virtual_timer(rpc_timer_t *timer)
{
    rpc_virtual_t *v = RPC_OWNER_OF(timer, rpc_virtual_t, timer);
    apr_time_t due;

    if (v->state == RPC_OPEN_START || !v->unplugged) {
        rpc_virtual_end(v, RPC_REASON_SETUP_TIMEOUT, "nothing came for %d seconds",
                        (int)apr_time_sec(v->current->spec->setup_timeout));
        return;
    }
    due = v->role->tick(v);
    if (!v->reason)
        rpc_timer_set(v->proxy->loop, timer, due);
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

void rpc_virtual_replay(rpc_virtual_t *v, rpc_channel_t *from, rpc_pdus_t *queue)
{
    rpc_pdus_t all = *queue;

    memset(queue, 0, sizeof(*queue));
    for (; all.first && !v->reason; rpc_pdus_drop(&all)) {
        rpc_queued_pdu_t *p = all.first;

        if (!p->counted)
            v->role->forward(v, from, p->data, p->size);
        else
            v->role->relay(v, from, p->data, p->size);
    }
    rpc_pdus_clear(&all);
}

void rpc_virtual_unplug(rpc_virtual_t *v)
{
    v->unplugged = 1;
    rpc_virtual_replay(v, v->current, &v->waiting);
    rpc_timer_set(v->proxy->loop, &v->timer, v->role->tick(v));
}

void rpc_virtual_wait(rpc_virtual_t *v)
{
    v->unplugged = 0;
    rpc_timer_set(v->proxy->loop, &v->timer,
                  rpc_loop_now(v->proxy->loop) + v->current->spec->setup_timeout);
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
            else
                v->role->rpc_pdu(v, from, pdu, header.frag_length);
        }
    }
}

static void client_gone(rpc_virtual_t *v, rpc_channel_t *ch)
{
    if (v->last_words && ch == v->current && ch->spec->role == RPC_INBOUND)
        return; /* it has said its last PDU; what waits is still delivered */
    if (ch->client->error)
        rpc_virtual_end(v, RPC_REASON_CLIENT_ERROR, "reading from the client failed");
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
        /* Full, so end of file would stay unread; a client that is gone is noticed here. */
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
static void skip_banner(rpc_virtual_t *v, const uint8_t **data, size_t *len)
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
    const uint8_t *data = rpc_loop_scratch(v->proxy->loop);
    size_t len = RPC_LOOP_SCRATCH;
    apr_status_t rv;

    if (!v->leg || v->reason)
        return 0;
    rv = rpc_stream_read(v->leg, rpc_loop_scratch(v->proxy->loop), &len);
    if (rv == APR_SUCCESS) {
        skip_banner(v, &data, &len);
        take_bytes(v, NULL, data, len);
        return 1;
    }
    if (APR_STATUS_IS_EOF(rv) || APR_STATUS_IS_ECONNRESET(rv))
        v->role->server_closed(v);  /* reset: closed without reading our last acks */
    else if (!APR_STATUS_IS_EAGAIN(rv))
        rpc_virtual_end(v, RPC_REASON_SERVER_ERROR, "reading from the server failed");
    return 0;
}

/* ---- the turn ---- */

static int flush(rpc_virtual_t *v, rpc_stream_t *s, rpc_reason_t reason)
{
    size_t before;

    if (!s)
        return 0;
    before = rpc_stream_pending(s);
    if (rpc_stream_flush(s) != APR_SUCCESS)
        rpc_virtual_end(v, reason, "writing failed");
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
    moved |= flush(v, v->leg, RPC_REASON_SERVER_ERROR);
    moved |= flush(v, v->current->client, RPC_REASON_CLIENT_ERROR);
    return moved;
}

static void virtual_turn(rpc_job_t *job)
{
    rpc_virtual_t *v = RPC_OWNER_OF(job, rpc_virtual_t, turn);
    int rounds = TURN_ROUNDS, moved;

    do {
        moved = turn_round(v);
    } while (moved && !v->reason && --rounds);
    free_released(v);
    if (v->reason)
        virtual_free(v);
    else if (moved)
        rpc_loop_schedule(v->proxy->loop, job);
}

/* ---- opening ---- */

static void connect_done(void *ctx, rpc_reason_t reason, apr_status_t status, int fd,
                         const char *host, uint16_t port)
{
    rpc_virtual_t *v = ctx;
    const rpc_channel_spec_t *spec = v->current->spec;

    v->connecting = NULL;
    if (reason) {
        char text[120];

        rpc_virtual_end(v, reason, "leg to %s port %u: %s", host, port,
                        apr_strerror(status, text, sizeof(text)));
        return;
    }
    v->leg = rpc_stream_open(v->proxy->loop, fd, &v->turn);
    if (!v->leg) {
        rpc_virtual_end(v, RPC_REASON_NO_MEMORY, "no memory for the leg");
        return;
    }
    if (spec->reached && !spec->leg.unix_path)
        spec->reached(spec->ctx, host, port);
    if (spec->preface_len)
        rpc_put_leg(v, spec->preface, (uint32_t)spec->preface_len);
    v->role->connected(v, &v->current->first);
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

static void virtual_open(rpc_channel_t *ch, int replacing)
{
    const rpc_channel_spec_t *spec = ch->spec;
    rpc_loop_t *loop = ch->proxy->loop;
    rpc_virtual_t *v = calloc(1, sizeof(*v));

    if (!v) {
        channel_refuse(ch, RPC_REASON_NO_MEMORY, "no memory for a virtual channel");
        return;
    }
    v->proxy = ch->proxy;
    v->role = role_of(ch);
    v->current = ch;
    v->replacing = replacing;
    v->cookie = *rts_cookie(&ch->first, 0);
    if (replacing)
        v->old_cookie = *rts_cookie(&ch->first, 1);
    v->turn.run = virtual_turn;
    v->timer.fire = virtual_timer;
    ch->virt = v;
    ch->client->owner = &v->turn;
    v->in_table = 1;
    apr_hash_set(v->proxy->tables[spec->role], v->cookie.b, sizeof(v->cookie.b), v);
    rpc_timer_set(loop, &v->timer, rpc_loop_now(loop) + spec->setup_timeout
                  + rpc_dial_count(spec->leg.hosts) * spec->leg.timeout);
    v->connecting = rpc_dial_start(loop, v->proxy->dialer, &spec->leg, connect_done, v);
    if (!v->connecting)
        rpc_virtual_end(v, RPC_REASON_NO_MEMORY, "no memory to connect");
}

/* A replacement whose virtual connection lives here: R2 (3.2.3.5.5.1, 3.2.4.5.6.1).
 * By the letter a wrong cookie ends the whole virtual connection; then anyone who has
 * seen a cookie could kill it, so only the newcomer is refused. */
static void attach(rpc_virtual_t *v, rpc_channel_t *ch)
{
    if (strcmp(v->current->spec->identity, ch->spec->identity) != 0) {
        channel_refuse(ch, RPC_REASON_PEER_MISMATCH, "another user's or target's connection");
        return;
    }
    if (v->state != RPC_OPENED || v->reason
        || !rts_cookie_equal(rts_cookie(&ch->first, 1), &v->current->cookie)) {
        channel_refuse(ch, RPC_REASON_UNKNOWN_COOKIE, "not the successor of a channel here");
        return;
    }
    /* Each successor may leave a window's worth; one after another would pile up. */
    if (v->waiting.size > 2 * RPC_FLOW_WINDOW_MAX) {
        channel_refuse(ch, RPC_REASON_BUFFER_FULL, "too much of its predecessors still waits");
        return;
    }
    ch->virt = v;
    ch->client->owner = &v->turn;
    v->successor = ch;
    channel_opened(ch);
    v->role->attached(v);
    rpc_loop_schedule(v->proxy->loop, &v->turn);
}

/* Does what the first PDU names belong to someone else? Then the channel is refused. */
static int claim(rpc_channel_t *ch, int replacing)
{
    const rpc_channel_spec_t *spec = ch->spec;
    rpc_reason_t reason = RPC_REASON_NONE;

    if (spec->claim)
        reason = spec->claim(spec->ctx, rts_cookie(&ch->first, 0), replacing);
    if (!reason)
        return 1;
    channel_refuse(ch, reason, reason == RPC_REASON_PEER_MISMATCH
                   ? "the virtual connection is another user's, target's or virtual host's"
                   : "the virtual connection has such a channel already");
    return 0;
}

/* On the home loop: the first PDU, known to be one of the role's two, decides. */
static void dispatch(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);
    const rpc_role_ops_t *role = role_of(ch);
    int replacing = rts_identify(&ch->first, role->from_client) == role->replacer;
    rpc_virtual_t *v = apr_hash_get(ch->proxy->tables[ch->spec->role],
                                    rts_cookie(&ch->first, 0)->b, sizeof(rts_cookie_t));

    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    ch->cookie = *rts_cookie(&ch->first, replacing ? 2 : 1);
    ch->heard = ch->spoke = rpc_loop_now(ch->proxy->loop);
    rpc_flow_receiver_start(&ch->hop1, ch->spec->receive_window);
    rpc_flow_sender_start(&ch->hop4, rts_u32(&ch->first, RTS_CMD_RECEIVE_WINDOW_SIZE, 0));
    if (!claim(ch, replacing))
        return;
    if (!v)
        virtual_open(ch, replacing);
    else if (replacing)
        attach(v, ch);
    else
        channel_refuse(ch, RPC_REASON_DUPLICATE_COOKIE, "the virtual connection exists already");
}

static void channel_link(rpc_channel_t *ch, rpc_proxy_t *proxy)
{
    ch->proxy = proxy;
    ch->prev = NULL;
    ch->next = proxy->channels;
    if (ch->next)
        ch->next->prev = ch;
    proxy->channels = ch;
}

/* Arrived on its home loop from another one. */
static void arrive(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);

    channel_link(ch, ch->proxy);
    ch->turn.run = dispatch;
    ch->client->can_read = ch->client->can_write = 1;
    if (rpc_watch_add(ch->proxy->loop, &ch->client->watch) != APR_SUCCESS)
        channel_refuse(ch, RPC_REASON_NO_MEMORY, "cannot be watched");
    else
        dispatch(job);
}

static void go_home(rpc_channel_t *ch)
{
    unsigned hash = (unsigned)rts_cookie(&ch->first, 0)->b[15];
    rpc_proxy_t *home = ch->proxy->siblings[hash % ch->proxy->count];

    if (home == ch->proxy) {
        dispatch(&ch->turn);
        return;
    }
    rpc_timer_cancel(ch->proxy->loop, &ch->timer);
    rpc_loop_unschedule(ch->proxy->loop, &ch->turn);
    rpc_watch_remove(ch->proxy->loop, &ch->client->watch);
    if (ch->prev)
        ch->prev->next = ch->next;
    else
        ch->proxy->channels = ch->next;
    if (ch->next)
        ch->next->prev = ch->prev;
    ch->proxy = home;
    ch->client->loop = home->loop;
    ch->turn.run = arrive;
    rpc_loop_post(home->loop, &ch->turn);
}

static void first_pdu(rpc_channel_t *ch, const uint8_t *data, const dcerpc_header_t *header)
{
    const rpc_role_ops_t *role = role_of(ch);
    const char *wrong = header->ptype == DCERPC_RTS
        ? rts_parse(data, header->frag_length, &ch->first) : "the first PDU is no RTS PDU";
    rts_pdu_id_t id;

    if (wrong) {
        channel_refuse(ch, RPC_REASON_BAD_PDU, wrong);
        return;
    }
    id = rts_identify(&ch->first, role->from_client);
    rpc_log(ch->spec->log, RPC_LOG_DEBUG, 0, "%s channel: %s from the client", role->name,
            rts_info(id)->name);
    if (id == role->opener || id == role->replacer)
        go_home(ch);
    else
        channel_refuse(ch, RPC_REASON_PROTOCOL, "the first PDU opens no channel of this kind");
}

/* Open_Start: reads just the first PDU, so that what follows is read where it belongs. */
static void channel_turn(rpc_job_t *job)
{
    rpc_channel_t *ch = RPC_OWNER_OF(job, rpc_channel_t, turn);
    uint8_t *buf = rpc_loop_scratch(ch->proxy->loop);

    for (;;) {
        const uint8_t *data = buf, *pdu;
        dcerpc_header_t header;
        size_t len = dcerpc_framer_missing(&ch->framer);
        apr_status_t rv;

        if (!len)
            len = DCERPC_HEADER_SIZE;
        rv = rpc_stream_read(ch->client, buf, &len);
        if (APR_STATUS_IS_EAGAIN(rv))
            return;
        if (rv != APR_SUCCESS) {
            channel_refuse(ch, APR_STATUS_IS_EOF(rv) ? RPC_REASON_CLIENT_CLOSED
                           : RPC_REASON_CLIENT_ERROR, "gone before its first PDU");
            return;
        }
        switch (dcerpc_framer_next(&ch->framer, &data, &len, &pdu, &header)) {
        case DCERPC_FRAME_MORE:
            break;
        case DCERPC_FRAME_PDU:
            first_pdu(ch, pdu, &header);
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
                   "no first PDU in time");
}

void rpc_channel_start(rpc_proxy_t *proxy, rpc_stream_t *client, const rpc_channel_spec_t *spec)
{
    rpc_channel_t *ch;

    if (spec->role == RPC_MIXED) {
        rpc_mixed_start(proxy->loop, proxy->dialer, &proxy->mixed, client, spec);
        return;
    }
    ch = calloc(1, sizeof(*ch));
    if (!ch) {
        spec->ended(spec->ctx, RPC_REASON_NO_MEMORY, 0, 0);
        rpc_stream_close(client, 1);
        return;
    }
    ch->spec = spec;
    ch->client = client;
    ch->turn.run = channel_turn;
    ch->timer.fire = channel_late;
    channel_link(ch, proxy);
    client->owner = &ch->turn;
    rpc_timer_set(proxy->loop, &ch->timer, rpc_loop_now(proxy->loop) + spec->setup_timeout);
    rpc_loop_schedule(proxy->loop, &ch->turn);
}

void rpc_proxy_end_all(rpc_proxy_t *proxy, rpc_reason_t reason)
{
    while (proxy->mixed)
        rpc_mixed_end(&proxy->mixed, reason);
    while (proxy->channels) {
        rpc_channel_t *ch = proxy->channels;

        if (ch->virt) {
            rpc_virtual_end(ch->virt, reason, "%s", rpc_reason_info(reason)->text);
            virtual_free(ch->virt);
        }
        else
            channel_refuse(ch, reason, rpc_reason_info(reason)->text);
    }
}
