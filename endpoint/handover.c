/* endpoint/handover.c: the lines between an endpoint and its predecessors and successors. */
#include "endpoint/handover.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <apr_hash.h>
#include <apr_strings.h>

#include "base/message_id.h"
#include "io/pass.h"
#include "wire/preface.h"

/* The version of the messages. Endpoints with different versions pass no legs to each other. */
#define VERSION 2

/* A message begins with one of these. */
#define LINE_READY  'R'     /* and VERSION */
#define LINE_HAS    'H'     /* and cookies */
#define LINE_ALL    'A'
#define LINE_ENDED  'E'     /* and a cookie */
#define LINE_LEG    'L'     /* and the bytes read from it; with its descriptor */
#define LINE_LEG_ANY 'M'    /* the same, one that may be of version 1 */

#define COOKIES_MAX 1024    /* in one message */
/* A preface, a PDU, and the bytes that were read together with its end. */
#define MESSAGE_MAX (1 + RPC_PREFACE_MAX + 65536 + RPC_LOOP_SCRATCH)
/* The time in which an older endpoint has to send its cookies. Then the newest continues without
 * them. */
#define PATIENCE apr_time_from_sec(5)

typedef struct message message_t;
struct message {
    message_t *next;
    int fd;                 /* ours, or -1 */
    size_t len;
    uint8_t data[];
};

typedef struct line line_t;
struct line {
    rpc_handover_t *h;
    apr_pool_t *pool;       /* its own */
    rpc_watch_t watch;
    rpc_job_t turn;         /* reads */
    message_t *first, **last;   /* to be sent */
    apr_hash_t *cookies;    /* of an older endpoint; NULL: this line leads to a successor */
    rpc_timer_t patience;   /* for these */
    unsigned told:1;        /* all cookies have come, or have been sent */
    unsigned over:1;        /* it is closed when all that was read has been processed */
    line_t *next;
};

struct rpc_handover {
    rpc_endpoint_t *ep;
    rpc_loop_t *loop;
    rpc_handover_params_t params;
    rpc_endpoint_kin_t kin;
    apr_pool_t *pool;
    line_t *lines;
    unsigned held:1;        /* an older endpoint has not sent all its cookies */
    uint8_t message[MESSAGE_MAX];
};

/* ---- sending ---- */

int rpc_handover_pending(const rpc_handover_t *h)
{
    const line_t *line;

    for (line = h->lines; line; line = line->next)
        if (line->first)
            return 1;
    return 0;
}

static void drop_first(line_t *line)
{
    message_t *m = line->first;

    if (!(line->first = m->next))
        line->last = &line->first;
    if (m->fd >= 0)
        close(m->fd);
    free(m);
}

/* A message that cannot be sent is lost, because the other process has ended or memory is short.
 * The leg is closed then, so that its proxy notices. */
static void line_flush(line_t *line)
{
    rpc_handover_t *h = line->h;

    while (line->first) {
        struct iovec part = { line->first->data, line->first->len };
        apr_status_t rv = rpc_pass_send(line->watch.fd, &part, 1, line->first->fd);

        if (APR_STATUS_IS_EAGAIN(rv))
            return;
        if (rv != APR_SUCCESS && rv != APR_EOF)
            rpc_log(h->params.log, RPC_LOG_ERR, rv, RPCNO(0046) "endpoint: cannot hand a leg over");
        drop_first(line);
    }
}

/* Owns FD. */
static void line_put(line_t *line, char letter, const void *data, size_t len, int fd)
{
    message_t *m = malloc(sizeof(*m) + 1 + len);

    if (!m) {
        if (fd >= 0)
            close(fd);
        return;
    }
    m->next = NULL;
    m->fd = fd;
    m->len = 1 + len;
    m->data[0] = (uint8_t)letter;
    if (len)
        memcpy(m->data + 1, data, len);
    *line->last = m;
    line->last = &m->next;
    line_flush(line);
}

static void put_leg(void *to, const rpc_endpoint_leg_t *leg)
{
    line_put(to, leg->version1 ? LINE_LEG_ANY : LINE_LEG, leg->data, leg->len, leg->fd);
}

/* ---- lines ---- */

/* Reads legs as soon as all older endpoints have sent their cookies. */
static void go_on(rpc_handover_t *h)
{
    line_t *line;

    if (!h->held)
        return;
    for (line = h->lines; line; line = line->next)
        if (line->cookies && !line->told)
            return;
    h->held = 0;
    rpc_endpoint_hold(h->ep, 0);
    for (line = h->lines; line; line = line->next)
        rpc_loop_schedule(h->loop, &line->turn);
}

static void line_close(line_t *line)
{
    rpc_handover_t *h = line->h;
    line_t **at = &h->lines;

    while (*at != line)
        at = &(*at)->next;
    *at = line->next;
    rpc_watch_remove(h->loop, &line->watch);
    rpc_timer_cancel(h->loop, &line->patience);
    rpc_loop_unschedule(h->loop, &line->turn);
    while (line->first)
        drop_first(line);
    close(line->watch.fd);
    apr_pool_destroy(line->pool);
    go_on(h);
    h->params.flushed(h->params.ctx);
}

static void line_out_of_patience(rpc_timer_t *timer)
{
    line_t *line = RPC_OWNER_OF(timer, line_t, patience);

    rpc_log(line->h->params.log, RPC_LOG_WARN, 0,
            RPCNO(0047) "endpoint: an endpoint process of before the restart does not answer; legs "
            "for what it has may be refused");
    line->told = 1;
    go_on(line->h);
}

/* ---- a line to a successor ---- */

/* Cookies on their way into a message. */
typedef struct batch {
    line_t *line;
    size_t len;
    rts_cookie_t cookies[COOKIES_MAX];
} batch_t;

static void batch_put(batch_t *batch)
{
    if (batch->len)
        line_put(batch->line, LINE_HAS, batch->cookies, batch->len * sizeof(rts_cookie_t), -1);
    batch->len = 0;
}

static void batch_cookie(void *ctx, const rts_cookie_t *vc)
{
    batch_t *batch = ctx;

    batch->cookies[batch->len++] = *vc;
    if (batch->len == COOKIES_MAX)
        batch_put(batch);
}

/* The successor serves. If its messages have another version, no legs are passed either way. */
static void line_succeeded(line_t *line, const uint8_t *data, size_t len)
{
    rpc_handover_t *h = line->h;
    batch_t batch = { .line = line };

    h->params.succeeded(h->params.ctx);
    if (len != 1 || data[0] != VERSION) {
        rpc_log(h->params.log, RPC_LOG_NOTICE, 0,
                RPCNO(0048) "endpoint: the process after this one is of another version of the "
                "module: channels of virtual connections that are open here cannot be replaced any "
                "more");
        line->over = 1;
        return;
    }
    rpc_endpoint_each_vc(h->ep, batch_cookie, &batch);
    batch_put(&batch);
    line_put(line, LINE_ALL, NULL, 0, -1);
    line->told = 1;
    rpc_endpoint_retire(h->ep, put_leg, line);
}

static void ended(void *ctx, const rts_cookie_t *vc)
{
    rpc_handover_t *h = ctx;
    line_t *line;

    for (line = h->lines; line; line = line->next)
        if (!line->cookies && line->told)
            line_put(line, LINE_ENDED, vc, sizeof(*vc), -1);
}

/* ---- a line to an older endpoint ---- */

static void add_cookies(line_t *line, const uint8_t *data, size_t len)
{
    for (; len >= sizeof(rts_cookie_t); data += sizeof(rts_cookie_t), len -= sizeof(rts_cookie_t)) {
        rts_cookie_t *cookie = apr_pmemdup(line->pool, data, sizeof(*cookie));

        apr_hash_set(line->cookies, cookie, sizeof(*cookie), line);
    }
}

static void *owner(void *ctx, const rts_cookie_t *vc)
{
    const rpc_handover_t *h = ctx;
    line_t *line;

    for (line = h->lines; line; line = line->next)
        if (line->cookies && apr_hash_get(line->cookies, vc, sizeof(*vc)))
            return line;
    return NULL;
}

static void told_all(line_t *line)
{
    line->told = 1;
    rpc_timer_cancel(line->h->loop, &line->patience);
    go_on(line->h);
}

/* ---- receiving ---- */

static void line_take(line_t *line, const uint8_t *data, size_t len, int fd)
{
    uint8_t letter = *data++;

    len--;
    if ((letter == LINE_LEG || letter == LINE_LEG_ANY) && fd >= 0) {
        const rpc_endpoint_leg_t leg = { fd, letter == LINE_LEG_ANY, data, len };

        rpc_endpoint_adopt(line->h->ep, &leg);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (letter == LINE_READY && !line->cookies)
        line_succeeded(line, data, len);
    else if (letter == LINE_HAS && line->cookies)
        add_cookies(line, data, len);
    else if (letter == LINE_ALL && line->cookies)
        told_all(line);
    else if (letter == LINE_ENDED && line->cookies && len == sizeof(rts_cookie_t))
        apr_hash_set(line->cookies, data, len, NULL);
}

/* Legs from older endpoints wait in the line until all others have sent their cookies. */
static int may_read(const line_t *line)
{
    return !(line->cookies && line->told && line->h->held);
}

static void read_line(rpc_job_t *job)
{
    line_t *line = RPC_OWNER_OF(job, line_t, turn);
    rpc_handover_t *h = line->h;

    while (!line->over && may_read(line)) {
        size_t len = sizeof(h->message);
        int fd;
        apr_status_t rv = rpc_pass_receive(line->watch.fd, h->message, &len, &fd);

        if (APR_STATUS_IS_EAGAIN(rv))
            return;
        if (rv == APR_SUCCESS)
            line_take(line, h->message, len, fd);
        else
            line->over = 1;
    }
    if (line->over)
        line_close(line);
}

static void line_ready(rpc_watch_t *watch, uint32_t events)
{
    line_t *line = RPC_OWNER_OF(watch, line_t, watch);
    rpc_handover_t *h = line->h;

    line_flush(line);
    rpc_loop_schedule(h->loop, &line->turn);
    if (!line->first)
        h->params.flushed(h->params.ctx);
}

/* ---- the beginning ---- */

static line_t *line_open(rpc_handover_t *h, int fd)
{
    apr_pool_t *pool;
    line_t *line;

    if (apr_pool_create(&pool, h->pool) != APR_SUCCESS) {
        close(fd);
        return NULL;
    }
    line = apr_pcalloc(pool, sizeof(*line));
    line->h = h;
    line->pool = pool;
    line->last = &line->first;
    line->watch = (rpc_watch_t){ fd, line_ready };
    line->turn.run = read_line;
    line->patience.fire = line_out_of_patience;
    if (rpc_watch_add(h->loop, &line->watch) != APR_SUCCESS) {
        close(fd);
        apr_pool_destroy(pool);
        return NULL;
    }
    line->next = h->lines;
    h->lines = line;
    return line;
}

apr_status_t rpc_handover_follow(rpc_handover_t *h, int fd)
{
    static const uint8_t version = VERSION;
    line_t *line = line_open(h, fd);

    if (!line)
        return APR_ENOMEM;
    line->cookies = apr_hash_make(line->pool);
    rpc_timer_set(h->loop, &line->patience, rpc_loop_now(h->loop) + PATIENCE);
    h->held = 1;
    rpc_endpoint_hold(h->ep, 1);
    line_put(line, LINE_READY, &version, sizeof(version), -1);
    return APR_SUCCESS;
}

apr_status_t rpc_handover_offer(rpc_handover_t *h, int fd)
{
    return line_open(h, fd) ? APR_SUCCESS : APR_ENOMEM;
}

rpc_handover_t *rpc_handover_create(rpc_endpoint_t *ep, rpc_loop_t *loop,
                                    const rpc_handover_params_t *params, apr_pool_t *pool)
{
    rpc_handover_t *h = apr_pcalloc(pool, sizeof(*h));

    h->ep = ep;
    h->loop = loop;
    h->params = *params;
    h->pool = pool;
    h->kin = (rpc_endpoint_kin_t){ owner, put_leg, ended, h };
    rpc_endpoint_set_kin(ep, &h->kin);
    return h;
}
