/* endpoint/endpoint.c: legs and virtual connections, from their first byte to their end.
 *
 *   accept -> newcomer: banner out, preface in, first RTS PDU in
 *          -> the VC of its cookie (made by CONN/A2 or CONN/B2) takes it: endpoint/states.c
 *          -> the VC's turns relay: endpoint/relay.c
 *   or its first PDU is no RTS PDU: endpoint/v1.c takes it
 *
 * The endpoint connects to the target as soon as the first half is there. It sends CONN/C1 and
 * CONN/B3 only when both halves and the target are there, so a client that is told "open" has a
 * server. An error of a newcomer ends only the newcomer, so that nobody can end a stranger's VC by
 * knowing its cookie. An error on a leg of a VC ends the VC (3.2.5.5.13).
 */
#include "endpoint/vc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/address.h"
#include "base/list.h"
#include "base/message_id.h"

/* ---- virtual connections ---- */

static void vc_setup_timeout(rpc_timer_t *timer)
{
    rpc_vc_t *vc = RPC_OWNER_OF(timer, rpc_vc_t, setup);
    char state[64];

    rpc_vc_end(vc, RPC_REASON_SETUP_TIMEOUT, 0, "in %s", rpc_vc_state_text(vc, state));
}

static void endpoint_out_of_patience(rpc_timer_t *timer)
{
    rpc_vc_t *vc = RPC_OWNER_OF(timer, rpc_vc_t, patience);

    if (vc->target_ended)
        rpc_vc_end(vc, vc->target_ended, 0, "%zu bytes undelivered", vc->waiting.size);
    else
        rpc_vc_end(vc, RPC_REASON_LIFETIME_EXCEEDED, 0, "no successor of the OUT channel came");
}

/* PREFACE is the one of its first leg. */
static rpc_vc_t *vc_create(rpc_endpoint_t *ep, const rts_cookie_t *cookie,
                           const rpc_preface_t *preface)
{
    rpc_vc_t *vc = calloc(1, sizeof(*vc));

    if (!vc)
        return NULL;
    vc->ep = ep;
    vc->cookie = *cookie;
    vc->name = rpc_endpoint_name(ep, cookie);
    vc->setup_timeout = rpc_endpoint_setup_timeout(ep, preface);
    vc->receive_window = preface && preface->receive_window ? preface->receive_window
                                                            : ep->params.receive_window;
    vc->turn.run = rpc_vc_turn;
    vc->setup.fire = vc_setup_timeout;
    vc->patience.fire = endpoint_out_of_patience;
    vc->born = rpc_loop_now(ep->loop);
    RPC_LIST_PUSH(ep->vcs, vc);
    apr_hash_set(ep->table, &vc->cookie, sizeof(vc->cookie), vc);
    ep->count++;
    return vc;
}

static void target_connected(void *ctx, rpc_reason_t reason, apr_status_t status, int fd,
                             const char *host, uint16_t port, const char *tried)
{
    rpc_vc_t *vc = ctx;

    vc->connecting = NULL;
    if (reason) {
        rpc_vc_end(vc, reason, 0, "%s", tried);
        return;
    }
    vc->served = strdup(host);
    if (vc->ep->params.served)
        vc->ep->params.served(vc->ep->params.ctx, &vc->cookie, host, port);
    vc->target = rpc_stream_open(vc->ep->loop, fd, &vc->turn);
    if (!vc->target) {
        rpc_vc_end(vc, RPC_REASON_NO_MEMORY, 0, "%s", "");
        return;
    }
    rpc_stream_keepalive(vc->target, 0);
    rpc_vc_try_open(vc);
    rpc_loop_schedule(vc->ep->loop, &vc->turn);
}

/* Begins to connect to the target, unless that has been done. */
static void vc_connect(rpc_vc_t *vc)
{
    if (vc->connecting || vc->target)
        return;
    vc->connecting = rpc_endpoint_dial(vc->ep, vc->preface, target_connected, vc);
    if (!vc->connecting)
        rpc_vc_end(vc, RPC_REASON_NO_MEMORY, 0, "%s", "");
}

/* ---- newcomers ---- */

/* The silent legs of one listener. A leg of a listener at an address has to send its first PDU, a
 * leg of this server's proxies only its preface, which the proxy sends at once; its client may take
 * longer. */
struct rpc_crowd {
    const rpc_endpoint_listener_t *via;     /* NULL: the Unix socket, or another endpoint */
    rpc_leg_t *oldest, *youngest;
    unsigned count;
    rpc_crowd_t *next;
};

static rpc_crowd_t *find_crowd(const rpc_endpoint_t *ep, const rpc_endpoint_listener_t *via)
{
    rpc_crowd_t *crowd = ep->crowds;

    while (crowd && crowd->via != via)
        crowd = crowd->next;
    return crowd;
}

static void join_crowd(rpc_leg_t *leg)
{
    rpc_endpoint_t *ep = leg->ep;
    rpc_crowd_t *crowd = find_crowd(ep, leg->via);

    if (!crowd) {       /* there are as many as listeners */
        crowd = apr_pcalloc(apr_hash_pool_get(ep->table), sizeof(*crowd));
        crowd->via = leg->via;
        crowd->next = ep->crowds;
        ep->crowds = crowd;
    }
    leg->crowd = crowd;
    leg->older = crowd->youngest;
    if (leg->older)
        leg->older->younger = leg;
    else
        crowd->oldest = leg;
    crowd->youngest = leg;
    crowd->count++;
}

/* The leg is not silent any more. */
static void leave_crowd(rpc_leg_t *leg)
{
    rpc_crowd_t *crowd = leg->crowd;

    if (!crowd)
        return;
    if (leg->older)
        leg->older->younger = leg->younger;
    else
        crowd->oldest = leg->younger;
    if (leg->younger)
        leg->younger->older = leg->older;
    else
        crowd->youngest = leg->older;
    crowd->count--;
    leg->crowd = NULL;
}

static void newcomer_unlink(rpc_leg_t *leg)
{
    rpc_endpoint_t *ep = leg->ep;

    RPC_LIST_REMOVE(ep->newcomers, leg);
    leave_crowd(leg);
}

static void newcomer_refuse(rpc_leg_t *leg, rpc_reason_t reason, int abort)
{
    rpc_endpoint_t *ep = leg->ep;
    char name[32];

    /* The proxies of this server log it. A proxy of version 1 would pass what is sent here to its
     * client. */
    rpc_log(ep->params.log, leg->ours ? RPC_LOG_INFO : rpc_endpoint_level(reason), 0,
            RPCNO(0038) "endpoint: leg of user \"%s\" to %s refused: %s; client %s%s",
            rpc_preface_user(leg->preface), leg->preface ? leg->preface->target : "unknown",
            rpc_reason_info(reason)->token, rpc_preface_client(leg->preface),
            rpc_endpoint_name_text(leg->name, name));
    rpc_leg_farewell(leg, reason == RPC_REASON_SHUTDOWN ? RPC_REASON_LOCAL_FAILURE : reason,
                     rpc_reason_info(reason)->text);
    newcomer_unlink(leg);
    rpc_leg_free(leg, abort);
    rpc_endpoint_count_down(ep);
}

static void newcomer_timeout(rpc_timer_t *timer)
{
    rpc_leg_t *leg = RPC_OWNER_OF(timer, rpc_leg_t, timer);

    newcomer_refuse(leg, leg->waits ? RPC_REASON_SETUP_TIMEOUT : RPC_REASON_FIRST_PDU_TIMEOUT, 0);
}

/* Returns the oldest silent leg of a listener, if the listener has as many as are allowed. */
static rpc_leg_t *one_too_many(const rpc_endpoint_t *ep, const rpc_endpoint_listener_t *via)
{
    const rpc_crowd_t *crowd = find_crowd(ep, via);

    if (!crowd || !ep->params.silent_max || crowd->count < ep->params.silent_max)
        return NULL;
    return crowd->oldest;
}

/* At most one line a minute says so, because there may be thousands. */
static void make_room_for_leg(rpc_endpoint_t *ep, const rpc_endpoint_listener_t *via)
{
    rpc_leg_t *leg = one_too_many(ep, via);
    apr_time_t now = rpc_loop_now(ep->loop);

    if (!leg)
        return;
    if (!ep->crowded || now - ep->crowded > apr_time_from_sec(60)) {
        rpc_log(ep->params.log, RPC_LOG_WARN, 0,
                RPCNO(0039) "endpoint: %u connections to %s%s say nothing: whenever "
                "another one comes the oldest of them is closed",
                ep->params.silent_max, via ? "RpcEndpointListen " : "the Unix socket",
                via ? via->name : "");
        ep->crowded = now;
    }
    newcomer_unlink(leg);
    rpc_leg_free(leg, 1);
    rpc_endpoint_count_down(ep);
}

int rpc_endpoint_is_full(const rpc_endpoint_t *ep, const rpc_endpoint_listener_t *via)
{
    return ep->held && one_too_many(ep, via);
}

/* The VC has taken the leg. */
static void newcomer_settle(rpc_leg_t *leg, rpc_vc_t *vc)
{
    newcomer_unlink(leg);
    rpc_timer_cancel(leg->ep->loop, &leg->timer);
    leg->vc = vc;
    leg->stream->owner = &vc->turn;
    if (!vc->preface) {
        vc->preface = leg->preface;
        vc->ours = leg->ours;
        leg->preface = NULL;
    }
    free(leg->preface);
    leg->preface = NULL;
    free(leg->head);
    leg->head = NULL;
    rpc_leg_end_wait(leg);
    leg->ep->count--;
    rpc_loop_schedule(leg->ep->loop, &vc->turn);
}

/* Appends to a preface that came in pieces. 0: that is not possible. */
static int keep_head(rpc_leg_t *leg, const uint8_t **data, size_t *len)
{
    size_t n = RPC_PREFACE_MAX - leg->head_len;

    if (!leg->head && !(leg->head = malloc(RPC_PREFACE_MAX)))
        return 0;
    if (n > *len)
        n = *len;
    memcpy(leg->head + leg->head_len, *data, n);
    leg->head_len += n;
    *data += n;
    *len -= n;
    return n > 0;
}

/* A program on this machine that connects to the Unix socket and is none of our proxies: a script
 * that wants to speak for a user, or a proxy of another version of the module. */
static void refuse_stranger(rpc_leg_t *leg)
{
    struct ucred peer = { 0, 0, 0 };
    socklen_t len = sizeof(peer);

    leg->refused = RPC_REASON_BAD_PDU;
    getsockopt(leg->stream->watch.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    rpc_log(leg->ep->params.log, RPC_LOG_WARN, 0,
            RPCNO(0040) "endpoint: a leg on the Unix socket is refused, for it begins without the "
            "secret of this server: process %ld of user id %ld, which has connected, is none of "
            "its proxies",
            (long)peer.pid, (long)peer.uid);
}

/* The preface is complete. */
static void know_preface(rpc_leg_t *leg, const rpc_preface_t *preface)
{
    if (!rpc_preface_has_secret(preface, leg->ep->params.secret))
        refuse_stranger(leg);
    else if (!(leg->preface = rpc_preface_copy(preface)))
        leg->refused = RPC_REASON_NO_MEMORY;
    else
        leave_crowd(leg);
}

/* Reads the preface from the start of the data. 1: it is complete. */
static int take_preface(rpc_leg_t *leg, const uint8_t **data, size_t *len)
{
    apr_pool_t *pool = leg->ep->scratch;
    size_t before = leg->head_len;
    const uint8_t *start = *data;
    size_t all = *len;
    rpc_preface_t preface;
    int used;

    if (before && !keep_head(leg, data, len)) {
        leg->refused = RPC_REASON_BAD_PDU;
        return 0;
    }
    used = before ? rpc_preface_read(leg->head, leg->head_len, &preface, pool)
                  : rpc_preface_read(*data, *len, &preface, pool);
    if (used > 0)
        know_preface(leg, &preface);
    apr_pool_clear(pool);
    if (used > 0) {
        *data = start + ((size_t)used - before);
        *len = all - ((size_t)used - before);
    }
    else if (used < 0)
        refuse_stranger(leg);
    else if (!before && *len && !keep_head(leg, data, len))
        leg->refused = RPC_REASON_NO_MEMORY;
    leg->ours = leg->preface != NULL;
    return leg->ours;
}

/* Returns the VC that a first PDU names. For the first half of a new VC it makes one. */
static rpc_reason_t find_vc(rpc_leg_t *leg, rts_pdu_id_t id, const rts_cookie_t *cookie,
                            rpc_vc_t **vc)
{
    *vc = apr_hash_get(leg->ep->table, cookie, sizeof(*cookie));
    if (*vc)
        return rpc_preface_equal((*vc)->preface, leg->preface) ? RPC_REASON_NONE
                                                              : RPC_REASON_PEER_MISMATCH;
    if ((id != RTS_CONN_A2 && id != RTS_CONN_B2) || leg->ep->retired)
        return RPC_REASON_UNKNOWN_COOKIE;
    *vc = vc_create(leg->ep, cookie, leg->preface);
    return *vc ? RPC_REASON_NONE : RPC_REASON_NO_MEMORY;
}

/* Refuses a lifetime that is too short for the replacement of the channel. */
static int acceptable(rts_pdu_id_t id, const rts_pdu_t *pdu)
{
    switch (id) {
    case RTS_CONN_A2:
    case RTS_OUT_R1_A4:
        return rts_u32(pdu, RTS_CMD_CHANNEL_LIFETIME, 0) >= RTS_LIFETIME_MIN;
    case RTS_CONN_B2:
    case RTS_IN_R1_A2:
        return 1;
    default:
        return 0;
    }
}

/* Its preface followed by these bytes, as another process would read them. NULL: no memory. */
static uint8_t *pack(const rpc_leg_t *leg, const struct iovec parts[2], size_t *size)
{
    uint8_t *bytes = malloc(RPC_PREFACE_MAX + parts[0].iov_len + parts[1].iov_len);
    int i;

    *size = 0;
    if (!bytes)
        return NULL;
    if (leg->preface) {
        rpc_preface_t preface = *leg->preface;

        preface.secret = leg->ep->params.secret;
        *size = rpc_preface_write(&preface, bytes, RPC_PREFACE_MAX);
    }
    for (i = 0; i < 2; i++) {
        if (parts[i].iov_len)
            memcpy(bytes + *size, parts[i].iov_base, parts[i].iov_len);
        *size += parts[i].iov_len;
    }
    return bytes;
}

/* The connection goes to another endpoint, together with the bytes that were read from it, in
 * PARTS. */
static void newcomer_pass(rpc_leg_t *leg, void (*pass)(void *, const rpc_endpoint_leg_t *),
                          void *owner, const struct iovec parts[2])
{
    rpc_endpoint_leg_t packed = { .version1 = leg->version1 };
    uint8_t *bytes = pack(leg, parts, &packed.len);

    if (!bytes)
        leg->refused = RPC_REASON_NO_MEMORY;
    else if (rpc_stream_flush(leg->stream) != APR_SUCCESS || rpc_stream_pending(leg->stream))
        leg->refused = RPC_REASON_CLIENT_ERROR;     /* not even the banner has been written */
    else {
        packed.data = bytes;
        packed.fd = rpc_stream_detach(leg->stream);
        leg->stream = NULL;
        pass(owner, &packed);
    }
    free(bytes);
}

/* 1: the virtual connection belongs to another endpoint, and now the leg does, too. */
static int is_of_kin(rpc_leg_t *leg, const rts_cookie_t *cookie, const struct iovec parts[2])
{
    const rpc_endpoint_kin_t *kin = leg->ep->kin;
    void *owner;

    if (!kin || apr_hash_get(leg->ep->table, cookie, sizeof(*cookie))
        || !(owner = kin->owner(kin->ctx, cookie)))
        return 0;
    newcomer_pass(leg, kin->pass, owner, parts);
    return 1;
}

/* One leg of a VC may wait, if it has sent nothing more. */
static rpc_reason_t newcomer_wait(rpc_leg_t *leg, const rts_pdu_t *pdu, size_t len)
{
    rpc_endpoint_t *ep = leg->ep;

    if (leg->waits)
        return RPC_REASON_NONE;
    if (apr_hash_get(ep->waiting, rts_cookie(pdu, 0), sizeof(rts_cookie_t)))
        return RPC_REASON_PROTOCOL;
    if (len)
        return RPC_REASON_PROTOCOL;
    leg->waits = malloc(sizeof(*pdu));
    if (!leg->waits)
        return RPC_REASON_NO_MEMORY;
    *leg->waits = *pdu;
    apr_hash_set(ep->waiting, rts_cookie(leg->waits, 0), sizeof(rts_cookie_t), leg);
    leave_crowd(leg);
    rpc_timer_set(ep->loop, &leg->timer,
                  rpc_loop_now(ep->loop) + rpc_endpoint_setup_timeout(ep, leg->preface));
    rpc_log(ep->params.log, RPC_LOG_DEBUG, 0,
            "endpoint: leg waits until the replacement before it is over");
    return RPC_REASON_NONE;
}

/* LEN bytes came after its first PDU. */
static rpc_reason_t join(rpc_leg_t *leg, rts_pdu_id_t id, const rts_pdu_t *pdu, size_t len)
{
    rpc_vc_t *vc;
    rpc_reason_t reason = find_vc(leg, id, rts_cookie(pdu, 0), &vc);

    if (reason)
        return reason;
    if (rpc_vc_must_wait(vc, id, pdu))
        return newcomer_wait(leg, pdu, len);
    reason = rpc_vc_join(vc, leg, id, pdu);
    if (reason)
        return reason;
    newcomer_settle(leg, vc);
    vc_connect(vc);
    return RPC_REASON_NONE;
}

/* The first RTS PDU of a leg (3.2.5.5.3, .4, .5, .9), and what came behind it. */
static rpc_reason_t endpoint_first_pdu(rpc_leg_t *leg, const dcerpc_header_t *header,
                                       const uint8_t *data, const uint8_t *rest, size_t len)
{
    const struct iovec parts[2] = { { (void *)data, header->frag_length }, { (void *)rest, len } };
    const rpc_log_t *log = leg->ep->params.log;
    rts_pdu_id_t id;
    rts_pdu_t pdu;

    leg->version2 = 1;
    if (rts_parse(data, header->frag_length, &pdu))
        return RPC_REASON_BAD_PDU;
    leg->is_out = (pdu.flags & RTS_FLAG_OUT_CHANNEL) != 0;
    id = rts_identify(&pdu, leg->is_out ? RTS_HOP_OP_S : RTS_HOP_IP_S);
    if (!acceptable(id, &pdu))
        return RPC_REASON_PROTOCOL;
    leg->name = rpc_endpoint_name(leg->ep, rts_cookie(&pdu, 0));
    rpc_log(log, RPC_LOG_DEBUG, 0,
            "endpoint: leg begins with %s, virtual connection %016" APR_UINT64_T_HEX_FMT,
            rts_info(id)->name, (apr_uint64_t)leg->name);
    if (is_of_kin(leg, rts_cookie(&pdu, 0), parts))
        return leg->refused;
    return join(leg, id, &pdu, len);
}

/* The first PDU is not an RTS PDU: a mixed proxy passes on what its client sends (3.1.3). PDU and
 * REST are not adjacent when the PDU came in pieces. */
static rpc_reason_t first_of_v1(rpc_leg_t *leg, const uint8_t *pdu, size_t size,
                                const uint8_t *rest, size_t len)
{
    rpc_v1_t *v1;

    if (!leg->version1)
        return RPC_REASON_PROTOCOL;
    v1 = rpc_v1_start(leg);
    if (!v1)
        return RPC_REASON_NO_MEMORY;
    if (rpc_v1_input(v1, pdu, size) != 0 || rpc_v1_input(v1, rest, len) != 0)
        rpc_v1_end(v1, RPC_REASON_NO_MEMORY, 0, 1);
    return RPC_REASON_NONE;
}

static void newcomer_input(rpc_leg_t *leg, const uint8_t *data, size_t len)
{
    dcerpc_header_t header;
    const uint8_t *pdu;

    if (!leg->preface && !take_preface(leg, &data, &len))
        return;
    switch (dcerpc_framer_next(&leg->framer, &data, &len, &pdu, &header)) {
    case DCERPC_FRAME_MORE:
        return;
    case DCERPC_FRAME_ERROR:
        leg->refused = RPC_REASON_BAD_PDU;
        return;
    case DCERPC_FRAME_PDU:
        if (header.ptype != DCERPC_RTS) {
            leg->refused = first_of_v1(leg, pdu, header.frag_length, data, len);
            return;
        }
        leg->refused = endpoint_first_pdu(leg, &header, pdu, data, len);
        break;
    }
    if (leg->vc)
        rpc_vc_input(leg, data, len);
}

/* The connection now belongs to version 1 or to another endpoint. */
static void newcomer_gone(rpc_leg_t *leg)
{
    rpc_endpoint_t *ep = leg->ep;

    newcomer_unlink(leg);
    rpc_leg_free(leg, 0);
    rpc_endpoint_count_down(ep);
}

/* Decides what becomes of it. MORE: there may be more to read. */
static void newcomer_after(rpc_leg_t *leg, int more)
{
    if (leg->vc)
        return; /* it belongs to its VC from now on */
    if (!leg->stream) {
        newcomer_gone(leg);
        return;
    }
    rpc_stream_flush(leg->stream);
    if (leg->refused)
        newcomer_refuse(leg, leg->refused, 0);
    else if (more)
        rpc_loop_schedule(leg->ep->loop, &leg->turn);
}

static void leg_newcomer_turn(rpc_job_t *job)
{
    rpc_leg_t *leg = RPC_OWNER_OF(job, rpc_leg_t, turn);
    uint8_t *buf = rpc_loop_scratch(leg->ep->loop);
    size_t len = RPC_LOOP_SCRATCH;
    apr_status_t rv;

    if (leg->waits) {
        leg->refused = leg->stream->hup ? RPC_REASON_CLIENT_CLOSED
                                        : join(leg, RTS_IN_R1_A2, leg->waits, 0);
        newcomer_after(leg, 0);
        return;
    }
    rv = leg->ep->held ? APR_EAGAIN : rpc_stream_read(leg->stream, buf, &len);
    if (rv == APR_SUCCESS)
        newcomer_input(leg, buf, len);
    else if (!APR_STATUS_IS_EAGAIN(rv))
        leg->refused = RPC_REASON_CLIENT_CLOSED;
    newcomer_after(leg, rv == APR_SUCCESS);
}

/* ---- the endpoint ---- */

/* Only the proxy knows its client: "behind proxy 192.0.2.9". */
#define BEHIND_MAX (RPC_ADDRESS_TEXT + 16)

static void behind_whom(int fd, char text[BEHIND_MAX])
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    char address[RPC_ADDRESS_TEXT];
    rpc_address_t proxy;

    text[0] = '\0';
    if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0
        && rpc_address_set(&proxy, (struct sockaddr *)&peer))
        snprintf(text, BEHIND_MAX, "behind proxy %s", rpc_address_text(&proxy, address));
}

/* What a preface would contain. */
static rpc_preface_t *preface_of(const rpc_endpoint_t *ep, int fd,
                                 const rpc_endpoint_listener_t *via)
{
    char client[BEHIND_MAX];
    const rpc_preface_t preface = { .host = via->host, .port = via->port, .target = via->name,
                                    .user = "", .client = client, .vhost = via->name,
                                    .networks = ep->params.networks,
                                    .sources = ep->params.sources };

    behind_whom(fd, client);
    return rpc_preface_copy(&preface);
}

/* Owns FD, also on failure, which is logged. */
static rpc_leg_t *newcomer_create(rpc_endpoint_t *ep, int fd, const rpc_endpoint_listener_t *via)
{
    rpc_leg_t *leg = calloc(1, sizeof(*leg));

    if (leg && (!via || (leg->preface = preface_of(ep, fd, via))))
        leg->stream = rpc_stream_open(ep->loop, fd, &leg->turn);
    else
        close(fd);
    if (!leg || !leg->stream) {
        if (leg)
            free(leg->preface);
        free(leg);
        rpc_log(ep->params.log, RPC_LOG_ERR, APR_ENOMEM, RPCNO(0041) "endpoint: cannot take a leg");
        return NULL;
    }
    rpc_stream_keepalive(leg->stream, 0);
    leg->ep = ep;
    leg->via = via;
    leg->version1 = !via || via->version1;
    leg->turn.run = leg_newcomer_turn;
    leg->timer.fire = newcomer_timeout;
    RPC_LIST_PUSH(ep->newcomers, leg);
    join_crowd(leg);
    ep->count++;
    rpc_timer_set(ep->loop, &leg->timer, rpc_loop_now(ep->loop) + ep->params.setup_timeout);
    rpc_loop_schedule(ep->loop, &leg->turn);
    return leg;
}

void rpc_endpoint_accept(rpc_endpoint_t *ep, int fd, const rpc_endpoint_listener_t *via)
{
    rpc_leg_t *leg;

    make_room_for_leg(ep, via);
    leg = newcomer_create(ep, fd, via);
    if (leg)
        rpc_stream_put(leg->stream, RTS_BANNER, RTS_BANNER_SIZE);   /* 2.1.2.2.1 */
}

/* ---- others ---- */

void rpc_endpoint_set_kin(rpc_endpoint_t *ep, const rpc_endpoint_kin_t *kin)
{
    ep->kin = kin;
}

void rpc_endpoint_hold(rpc_endpoint_t *ep, int hold)
{
    rpc_leg_t *leg;

    ep->held = hold != 0;
    for (leg = ep->newcomers; leg && !hold; leg = leg->next)
        rpc_loop_schedule(ep->loop, &leg->turn);
}

void rpc_endpoint_adopt(rpc_endpoint_t *ep, const rpc_endpoint_leg_t *packed)
{
    rpc_leg_t *leg = newcomer_create(ep, packed->fd, NULL);

    if (!leg)
        return;
    leg->version1 = packed->version1 != 0;
    if (packed->len)
        newcomer_input(leg, packed->data, packed->len);
    newcomer_after(leg, 1);
}

void rpc_endpoint_each_vc(rpc_endpoint_t *ep, void (*tell)(void *ctx, const rts_cookie_t *vc),
                          void *ctx)
{
    const rpc_vc_t *vc;

    for (vc = ep->vcs; vc; vc = vc->next)
        if (!vc->reason)
            tell(ctx, &vc->cookie);
}

void rpc_endpoint_retire(rpc_endpoint_t *ep,
                         void (*pass)(void *owner, const rpc_endpoint_leg_t *leg), void *owner)
{
    rpc_leg_t *leg, *next;

    ep->retired = 1;
    for (leg = ep->newcomers; leg; leg = next) {
        struct iovec parts[2] = { { leg->framer.partial, leg->framer.have }, { NULL, 0 } };

        next = leg->next;
        if (leg->waits)
            continue;           /* it belongs to a virtual connection of this endpoint */
        if (!leg->preface)      /* not complete yet */
            parts[0] = (struct iovec){ leg->head, leg->head_len };
        newcomer_pass(leg, pass, owner, parts);
        newcomer_after(leg, 0);
    }
}

unsigned rpc_endpoint_count(const rpc_endpoint_t *ep)
{
    return ep->count;
}

apr_time_t rpc_endpoint_drains(const rpc_endpoint_t *ep)
{
    return ep->drains;
}

void rpc_endpoint_close(rpc_endpoint_t *ep)
{
    ep->closing = 1;
    while (ep->newcomers)
        newcomer_refuse(ep->newcomers, RPC_REASON_SHUTDOWN, 1);
    while (ep->v1s)
        rpc_v1_end(ep->v1s, RPC_REASON_SHUTDOWN, 0, 1);
    while (ep->vcs) {
        rpc_vc_end(ep->vcs, RPC_REASON_SHUTDOWN, 0, "%s", "");
        rpc_vc_finish(ep->vcs, 1);
    }
    ep->closing = 0;
}

rpc_endpoint_t *rpc_endpoint_create(rpc_loop_t *loop, const rpc_endpoint_params_t *params,
                                    apr_pool_t *pool)
{
    rpc_endpoint_t *ep = apr_pcalloc(pool, sizeof(*ep));

    ep->loop = loop;
    ep->params = *params;
    ep->params.networks = params->networks ? params->networks : "";
    ep->params.sources = params->sources ? params->sources : "";
    ep->table = apr_hash_make(pool);
    ep->waiting = apr_hash_make(pool);
    ep->rules = apr_hash_make(pool);
    apr_pool_create(&ep->scratch, pool);
    return ep;
}
