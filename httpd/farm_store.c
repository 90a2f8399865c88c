/* httpd/farm_store.c: hiredis without blocking, and poll(), so that a time holds for a call as a
 * whole.
 */
#include "httpd/farm_store.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_lib.h>
#include <apr_network_io.h>
#include <apr_strings.h>
#include <httpd.h>

#include "base/clock.h"
#include "httpd/ask_in_time.h"
#include "httpd/watchdog.h"
#include "shared/farm.h"

#define SCHEME "redis://"
#define PORT 6379
#define READS_MOST 4096     /* for a reply: 64 MB at most, since hiredis takes 16 KB at a time */

/* ---- the directive's argument ---- */

/* "[user]:password" of TEXT, up to END. */
static const char *parse_account(apr_pool_t *pool, const char *text, const char *end,
                                 rpc_store_t *store)
{
    char *user = apr_pstrmemdup(pool, text, (apr_size_t)(end - text));
    char *password = strchr(user, ':');

    if (!password || !password[1])
        return "a password before the \"@\", as in redis://:password@host:port";
    *password++ = '\0';
    if (ap_unescape_url(user) != OK || ap_unescape_url(password) != OK)
        return "user and password with %XX for what is special in URLs";
    store->user = *user ? user : NULL;
    store->password = password;
    return NULL;
}

static const char *parse_place(apr_pool_t *pool, const char *text, rpc_store_t *store)
{
    char *host, *scope;
    apr_port_t port;

    if (apr_parse_addr_port(&host, &scope, &port, text, pool) != APR_SUCCESS || !host || scope
        || strpbrk(text, "/?#") || (port == 0 && strchr(text, ':') && *text != '['))
        return apr_psprintf(pool, "host:port instead of \"%s\"; an IPv6 address stands in brackets",
                            text);
    store->host = host;
    store->port = apr_psprintf(pool, "%u", port ? port : PORT);
    store->name = apr_psprintf(pool, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, store->port);
    return NULL;
}

const char *rpc_store_parse(apr_pool_t *pool, const char *text, apr_array_header_t **stores)
{
    const char *places = text + strlen(SCHEME), *at, *wrong = NULL;
    rpc_store_t account = { .redis = NULL };
    char *place, *rest;

    if (ap_cstr_casecmpn(text, "rediss:", 7) == 0)
        return "redis://; for TLS let a tunnel such as stunnel listen on this machine";
    if (ap_cstr_casecmpn(text, SCHEME, strlen(SCHEME)) != 0)
        return "redis://host:port, or redis://:password@host:port";
    if ((at = strrchr(places, '@')) != NULL) {
        wrong = parse_account(pool, places, at, &account);
        places = at + 1;
    }
    *stores = apr_array_make(pool, 2, sizeof(rpc_store_t));
    place = apr_strtok(apr_pstrdup(pool, places), ",", &rest);
    for (; place && !wrong; place = apr_strtok(NULL, ",", &rest)) {
        rpc_store_t *store = apr_array_push(*stores);

        *store = account;
        wrong = parse_place(pool, place, store);
    }
    if (!wrong && (*stores)->nelts == 0)
        wrong = "a host behind redis://";
    if (!wrong && (*stores)->nelts > (int)RPC_FARM_STORES)
        wrong = apr_psprintf(pool, "at most %u stores", RPC_FARM_STORES);
    return wrong;
}

/* ---- the connection ---- */

static void fail(rpc_store_t *store, const char *why)
{
    apr_cpystrn(store->why, why, sizeof(store->why));
    if (store->redis)
        redisFree(store->redis);
    store->redis = NULL;
}

void rpc_store_close(rpc_store_t *store)
{
    fail(store, "");
}

/* 1: the socket is ready for EVENTS, or has failed. 0: it is UNTIL, or this child ends. */
static int ready(const rpc_store_t *store, short events, apr_time_t until)
{
    struct pollfd fds[] = { { .fd = store->redis->fd, .events = events },
                            { .fd = rpc_watchdog_bell(), .events = POLLIN } };
    apr_interval_time_t left = until - rpc_clock_now();
    int rv;

    do
        rv = poll(fds, 2, left > 0 ? (int)apr_time_msec(left) + (int)apr_time_sec(left) * 1000 : 0);
    while (rv < 0 && errno == EINTR);
    return rv > 0 && fds[0].revents;
}

/* A look-up that may never end. */
typedef struct look_up {
    rpc_question_t question;        /* first: it is freed by its address */
    struct addrinfo *found;
    char host[256], port[8];
} look_up_t;

static void ask_resolver(rpc_question_t *question)
{
    static const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    look_up_t *l = (look_up_t *)question;

    if (getaddrinfo(l->host, l->port, &hints, &l->found) != 0)
        l->found = NULL;
}

static void forget_look_up(rpc_question_t *question)
{
    look_up_t *l = (look_up_t *)question;

    if (l->found)
        freeaddrinfo(l->found);
    free(l);
}

/* The first address of the store, as text. 0: there is none in TIME. */
static int find_address(const rpc_store_t *store, char address[NI_MAXHOST],
                        apr_interval_time_t time)
{
    static rpc_asker_t asker = RPC_ASKER;
    look_up_t *l = calloc(1, sizeof(*l));
    int found;

    if (!l)
        return 0;
    l->question.ask = ask_resolver;
    l->question.forget = forget_look_up;
    apr_cpystrn(l->host, store->host, sizeof(l->host));
    apr_cpystrn(l->port, store->port, sizeof(l->port));
    if (!rpc_ask_in_time(&asker, &l->question, time))
        return 0;
    found = l->found && getnameinfo(l->found->ai_addr, l->found->ai_addrlen, address, NI_MAXHOST,
                                    NULL, 0, NI_NUMERICHOST) == 0;
    forget_look_up(&l->question);
    return found;
}

static int log_on(rpc_store_t *store, apr_time_t until)
{
    redisReply *reply;

    if (!store->password)
        return 1;
    if (store->user)
        redisAppendCommand(store->redis, "AUTH %s %s", store->user, store->password);
    else
        redisAppendCommand(store->redis, "AUTH %s", store->password);
    reply = rpc_store_reply(store, until);
    freeReplyObject(reply);
    return reply != NULL;
}

int rpc_store_open(rpc_store_t *store, apr_interval_time_t time)
{
    apr_time_t until = rpc_clock_now() + time;
    char address[NI_MAXHOST];
    int error = 0;
    socklen_t size = sizeof(error);

    if (!find_address(store, address, time)) {
        fail(store, "its name cannot be looked up");
        return 0;
    }
    store->redis = redisConnectNonBlock(address, atoi(store->port));
    if (!store->redis || store->redis->err) {
        fail(store, store->redis ? store->redis->errstr : "out of memory");
        return 0;
    }
    if (!ready(store, POLLOUT, until)) {
        fail(store, "no connection in time");
        return 0;
    }
    getsockopt(store->redis->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        fail(store, strerror(error));
        return 0;
    }
    return log_on(store, until);
}

/* Writes what waits. */
static int flush(rpc_store_t *store, apr_time_t until)
{
    int done = 0;

    while (!done) {
        if (redisBufferWrite(store->redis, &done) != REDIS_OK)
            return 0;
        if (!done && !ready(store, POLLOUT, until))
            return 0;
    }
    return 1;
}

redisReply *rpc_store_reply(rpc_store_t *store, apr_time_t until)
{
    void *reply = NULL;
    char why[sizeof(store->why)];
    int reads = READS_MOST;

    if (!store->redis)
        return NULL;
    if (!flush(store, until))
        goto failed;
    while (redisGetReplyFromReader(store->redis, &reply) == REDIS_OK && !reply)
        if (reads-- == 0 || !ready(store, POLLIN, until)
            || redisBufferRead(store->redis) != REDIS_OK)
            break;
    if (reply && ((redisReply *)reply)->type != REDIS_REPLY_ERROR)
        return reply;
failed:
    apr_cpystrn(why, reply ? ((redisReply *)reply)->str : store->redis->err ? store->redis->errstr
                : reads < 0 ? "its answer is too long" : "no answer in time", sizeof(why));
    freeReplyObject(reply);
    fail(store, why);
    return NULL;
}
