/* target/resolver.c: a list of names, each of which is
 *
 *   known     the last look-up has ended
 *   queued    until a thread is free and the shares allow it
 *   running   on a thread
 *
 * A thread lives as long as there is a name to look up. Each thread, the pool and each look-up hold
 * a reference to the resolver, which is freed with the last of them. The resolver's lock guards all
 * of this. It is held while the list is searched and while answers are posted to loops, so that no
 * answer is posted after the resolver has ended.
 *
 * A look-up can be cancelled at any time. If its answer has been posted already, the job that
 * brings the answer frees the look-up.
 */
#include "target/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_cstr.h>
#include <apr_strings.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/message_id.h"
#include "base/thread.h"

/* getaddrinfo() returns no time to live. Names that change usually have one of a minute or more. An
 * answer is kept for a shorter time, but long enough for a client that opens dozens of connections.
 * An old answer can cause a failed connect, after which it is dropped; but it can never allow an
 * address, because addresses are checked when they are used. */
#define GOOD_FOR apr_time_from_sec(30)
#define BAD_FOR apr_time_from_sec(5)
#define BAD_FOR_MAX apr_time_from_sec(30)
#define STALE_FOR apr_time_from_sec(3600)
#define PATIENCE apr_time_from_msec(1800)
#define NAMES 256
#define USER_MAX 128            /* characters of a user's name that count */

typedef enum { NAME_KNOWN, NAME_QUEUED, NAME_RUNNING } name_state_t;

typedef struct name name_t;
struct name {
    name_t *next, *prev;
    name_state_t state;
    char user[USER_MAX];        /* the user for whom the name is looked up, or "" */
    apr_time_t since;           /* queued */
    rpc_look_up_t *waiting;
    int error;                  /* EAI_* of the last look-up, which counts */
    apr_time_t until;           /* then */
    rpc_addresses_t good;       /* the last good answer */
    apr_time_t good_at;         /* 0: there is none */
    int stale;                  /* it is used in place of a new answer, which has been logged */
    char host[];
};

struct rpc_resolver {
    rpc_resolver_params_t params;
    pthread_mutex_t lock;       /* guards the fields below, all names, and NAME of look-ups */
    int holders;
    int ended;
    name_t *first, *last;       /* the name that was used last comes first */
    int count;
    int threads;                /* alive */
    int running;
    name_t *run[RPC_RESOLVER_THREADS];  /* that many */
};

struct rpc_look_up {
    rpc_resolver_t *resolver;
    rpc_loop_t *loop;
    rpc_look_up_done_t *done;
    void *ctx;
    /* the name that this look-up waits for; NULL: it is answered, or will not be */
    name_t *name;
    rpc_look_up_t *next, **link;
    int answered;               /* the job is on its way */
    /* this field and the following ones belong to the thread of the loop */
    int cancelled;
    rpc_resolved_t answer;        /* written before the job is posted */
    rpc_job_t bring;
    rpc_timer_t patience;
};

/* ---- the system ---- */

static int system_look_up(const char *host, int flags, rpc_addresses_t *addresses)
{
    struct addrinfo hints, *all, *ai;
    int err;

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addresses->count = 0;
    err = getaddrinfo(host, NULL, &hints, &all);
    if (err)
        return err;
    for (ai = all; ai && addresses->count < RPC_ADDRESSES_MAX; ai = ai->ai_next)
        addresses->count += rpc_address_set(&addresses->list[addresses->count], ai->ai_addr);
    freeaddrinfo(all);
    return addresses->count ? 0 : EAI_NONAME;
}

int rpc_resolve_literal(const char *host, rpc_addresses_t *addresses)
{
    return system_look_up(host, AI_NUMERICHOST, addresses) == 0;
}

static int usual_look_up(void *ctx, const char *host, rpc_addresses_t *addresses)
{
    return system_look_up(host, AI_ADDRCONFIG, addresses);
}

static apr_time_t usual_now(void *ctx)
{
    return rpc_clock_now();
}

/* Did the look-up fail because this machine lacks memory or descriptors? The error code depends on
 * the source of nsswitch.conf that failed. */
static int is_local_error(int error)
{
    int fd;

    if (!error || error == EAI_MEMORY)
        return error != 0;
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
}

static int is_temporary(int error)
{
    return error != EAI_NONAME
#ifdef EAI_NODATA
        && error != EAI_NODATA
#endif
        ;
}

/* ---- the names of a resolver; from here on, under its lock ---- */

static apr_time_t now_of(const rpc_resolver_t *r)
{
    return r->params.now(r->params.ctx);
}

static void name_unlink(rpc_resolver_t *r, name_t *name)
{
    RPC_QUEUE_REMOVE(r, name);
    r->count--;
}

static void name_to_front(rpc_resolver_t *r, name_t *name)
{
    RPC_QUEUE_PUSH(r, name);
    r->count++;
}

static void name_drop(rpc_resolver_t *r, name_t *name)
{
    name_unlink(r, name);
    free(name);
}

/* A linear search is enough, because there are few names. */
static name_t *name_find(const rpc_resolver_t *r, const char *host)
{
    name_t *name = r->first;

    while (name && apr_cstr_casecmp(name->host, host) != 0)
        name = name->next;
    return name;
}

/* Makes room for one more name; 0: all names are waited for. Names without a good answer are
 * dropped first. */
static int make_room_for_name(rpc_resolver_t *r)
{
    name_t *name, *oldest = NULL;

    if (r->count < r->params.names)
        return 1;
    for (name = r->last; name && !(name->state == NAME_KNOWN && !name->good_at); name = name->prev)
        if (!oldest && name->state == NAME_KNOWN)
            oldest = name;
    if (!name)
        name = oldest;
    if (name)
        name_drop(r, name);
    return name != NULL;
}

static name_t *name_make(rpc_resolver_t *r, const char *host)
{
    size_t size = strlen(host) + 1;
    name_t *name = make_room_for_name(r) ? calloc(1, sizeof(*name) + size) : NULL;

    if (!name)
        return NULL;
    memcpy(name->host, host, size);
    name_to_front(r, name);
    return name;
}

static int has_good(const rpc_resolver_t *r, const name_t *name)
{
    return name->good_at && now_of(r) - name->good_at < STALE_FOR;
}

/* ---- shares ---- */

static int share(int of, int part)
{
    return of < part ? 1 : of / part;
}

static int is_below(const char *host, const char *domain)
{
    size_t hlen = strlen(host), dlen = strlen(domain);

    return hlen > dlen && apr_cstr_casecmp(host + hlen - dlen, domain) == 0;
}

/* May one more name below DOMAIN, which begins with a dot, run? For names without a dot it is
 * "". */
static int domain_has_room(const rpc_resolver_t *r, const char *domain, int most)
{
    int i, count = 0;

    for (i = 0; i < r->running; i++)
        count += *domain ? is_below(r->run[i]->host, domain) : !strchr(r->run[i]->host, '.');
    return count < most;
}

static int user_has_room(const rpc_resolver_t *r, const char *user)
{
    int i, count = 0;

    for (i = 0; *user && i < r->running; i++)
        count += apr_cstr_casecmp(r->run[i]->user, user) == 0;
    return count < share(r->params.threads, 4);
}

static int may_run(const rpc_resolver_t *r, const name_t *name)
{
    const char *domain = strchr(name->host, '.');
    int part = 4;

    if (!user_has_room(r, name->user)
        || (!domain && !domain_has_room(r, "", share(r->params.threads, 4))))
        return 0;
    for (; domain && domain[1]; domain = strchr(domain + 1, '.'), part = 2)
        if (!domain_has_room(r, domain, share(r->params.threads, part)))
            return 0;
    return 1;
}

/* The queued name that has waited longest among those that may run. */
static name_t *next_to_run(const rpc_resolver_t *r)
{
    name_t *name, *next = NULL;

    for (name = r->first; name; name = name->next)
        if (name->state == NAME_QUEUED && (!next || name->since < next->since) && may_run(r, name))
            next = name;
    return next;
}

static int may_queue(const rpc_resolver_t *r, const char *user)
{
    const name_t *name;
    int count = 0;

    for (name = r->first; *user && name; name = name->next)
        count += name->state == NAME_QUEUED && apr_cstr_casecmp(name->user, user) == 0;
    return count < share(r->params.names, 4);
}

/* ---- answers ---- */

static void leave_name(rpc_look_up_t *l)
{
    *l->link = l->next;
    if (l->next)
        l->next->link = l->link;
    l->name = NULL;
}

static void wait_for_name(name_t *name, rpc_look_up_t *l)
{
    l->name = name;
    l->link = &name->waiting;
    l->next = name->waiting;
    if (name->waiting)
        name->waiting->link = &l->next;
    name->waiting = l;
}

static void set_answer(rpc_look_up_t *l, rpc_reason_t reason, int error)
{
    l->answer = (rpc_resolved_t){ .reason = reason, .error = error };
}

/* Gives the last good answer when no new one comes (ERROR 0), or the new one is a temporary
 * error. */
static void give_old(name_t *name, rpc_look_up_t *l, int error)
{
    rpc_resolver_t *r = l->resolver;

    l->answer = (rpc_resolved_t){ .reason = RPC_REASON_NONE, .addresses = name->good };
    if (name->stale)
        return;
    name->stale = 1;
    if (r->params.log)
        rpc_log(r->params.log, RPC_LOG_WARN, 0,
                RPCNO(0007) "the name %s cannot be looked up (%s): until it can, the "
                "addresses that it had %d seconds ago are used, for up to an hour",
                name->host, error ? gai_strerror(error) : "no answer yet",
                (int)apr_time_sec(now_of(r) - name->good_at));
}

/* Gives the result of the last look-up to L. */
static void give_answer(name_t *name, rpc_look_up_t *l, rpc_reason_t reason, int error)
{
    if (!reason)
        l->answer = (rpc_resolved_t){ .reason = RPC_REASON_NONE, .addresses = name->good };
    else if (has_good(l->resolver, name))
        give_old(name, l, error);
    else
        set_answer(l, reason, error);
}

static void note_good(rpc_resolver_t *r, name_t *name, const rpc_addresses_t *found)
{
    name->good = *found;
    name->good_at = now_of(r);
    name->until = name->good_at + GOOD_FOR;
    if (name->stale && r->params.log)
        rpc_log(r->params.log, RPC_LOG_NOTICE, 0,
                RPCNO(0008) "the name %s can be looked up again", name->host);
    name->stale = 0;
}

static void note_bad(rpc_resolver_t *r, name_t *name, int error, apr_interval_time_t took)
{
    if (!is_temporary(error))
        name->good_at = name->stale = 0;
    name->until = now_of(r) + (took < BAD_FOR ? BAD_FOR : took > BAD_FOR_MAX ? BAD_FOR_MAX : took);
}

/* A look-up has ended: its result goes to all that wait for it. */
static void end_look_up(name_t *name, rpc_reason_t reason, int error)
{
    rpc_look_up_t *l;

    name->state = NAME_KNOWN;
    name->error = error;
    while ((l = name->waiting)) {
        leave_name(l);
        give_answer(name, l, reason, error);
        l->answered = 1;
        rpc_loop_post(l->loop, &l->bring);
    }
}

/* ---- threads ---- */

/* Drops a reference; the last one frees the resolver with its lock. */
static void resolver_release(rpc_resolver_t *r)
{
    int last = --r->holders == 0;

    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static int ensure_thread(rpc_resolver_t *r);

/* Releases the lock while the system looks the name up. */
static void run_look_up(rpc_resolver_t *r, name_t *name)
{
    rpc_addresses_t found = { .count = 0 };
    apr_time_t begun = now_of(r);
    int error, ours, i;

    name->state = NAME_RUNNING;
    r->run[r->running++] = name;
    ensure_thread(r);
    pthread_mutex_unlock(&r->lock);
    error = r->params.look_up(r->params.ctx, name->host, &found);
    if (!error && !found.count)
        error = EAI_NONAME;
    ours = is_local_error(error);
    pthread_mutex_lock(&r->lock);
    for (i = 0; r->run[i] != name; i++)
        ;
    r->run[i] = r->run[--r->running];
    if (r->ended)
        free(name);             /* the list is gone */
    else {
        if (!error)
            note_good(r, name, &found);
        else if (ours)
            name->until = 0;
        else
            note_bad(r, name, error, now_of(r) - begun);
        end_look_up(name, !error ? RPC_REASON_NONE : ours ? RPC_REASON_LOCAL_FAILURE
                                                          : RPC_REASON_RESOLVE_FAILED, error);
    }
}

static void *look_up_thread(void *data)
{
    rpc_resolver_t *r = data;
    name_t *name;

    pthread_mutex_lock(&r->lock);
    while (!r->ended && (name = next_to_run(r)))
        run_look_up(r, name);
    r->threads--;
    resolver_release(r);
    return NULL;
}

/* Starts one more thread if it would have a name to look up. 0: there is no thread at all. */
static int ensure_thread(rpc_resolver_t *r)
{
    if (r->threads < r->params.threads && next_to_run(r)) {
        r->threads++;
        r->holders++;
        if (rpc_thread_start_detached(look_up_thread, r) != 0) {
            r->threads--;
            r->holders--;
        }
    }
    return r->threads > 0;
}

/* ---- asking ---- */

/* 0: NAME will not be looked up now. */
static int queue_name(rpc_resolver_t *r, name_t *name, const char *user)
{
    if (!may_queue(r, user))
        return 0;
    name->state = NAME_QUEUED;
    name->since = now_of(r);
    apr_cpystrn(name->user, user, sizeof(name->user));
    if (ensure_thread(r))
        return 1;
    name->state = NAME_KNOWN;
    return 0;
}

/* Answers L and returns 1, or lets L wait and returns 0. */
static int resolver_ask(rpc_resolver_t *r, rpc_look_up_t *l, const char *host, const char *user)
{
    name_t *name = r->ended ? NULL : name_find(r, host);
    apr_interval_time_t waited;

    if (!name && (r->ended || !(name = name_make(r, host)))) {
        set_answer(l, RPC_REASON_LOCAL_FAILURE, EAI_AGAIN);
        return 1;
    }
    name_unlink(r, name);
    name_to_front(r, name);
    if (name->state == NAME_KNOWN && now_of(r) < name->until) {
        give_answer(name, l, name->error ? RPC_REASON_RESOLVE_FAILED : RPC_REASON_NONE,
                    name->error);
        return 1;
    }
    if (name->state == NAME_KNOWN && !queue_name(r, name, user)) {
        give_answer(name, l, RPC_REASON_LOCAL_FAILURE, EAI_AGAIN);
        return 1;
    }
    waited = now_of(r) - name->since;
    if (has_good(r, name) && waited >= PATIENCE) {
        give_old(name, l, 0);
        return 1;
    }
    wait_for_name(name, l);
    if (has_good(r, name))
        rpc_timer_set(l->loop, &l->patience, rpc_loop_now(l->loop) + PATIENCE - waited);
    return 0;
}

/* Nobody waits for this name any more. If nothing is known about it, it is not looked up. */
static void drop_unwanted(rpc_resolver_t *r, name_t *name)
{
    if (name->state != NAME_QUEUED || name->waiting)
        return;
    name->state = NAME_KNOWN;
    if (!name->good_at)
        name_drop(r, name);
}

/* ---- on the loop's thread ---- */

static void look_up_free(rpc_look_up_t *l)
{
    rpc_timer_cancel(l->loop, &l->patience);
    rpc_loop_unschedule(l->loop, &l->bring);
    pthread_mutex_lock(&l->resolver->lock);
    resolver_release(l->resolver);
    free(l);
}

static void bring(rpc_job_t *job)
{
    rpc_look_up_t *l = RPC_OWNER_OF(job, rpc_look_up_t, bring);
    rpc_resolved_t answer = l->answer;
    rpc_look_up_done_t *done = l->cancelled ? NULL : l->done;
    void *ctx = l->ctx;

    look_up_free(l);
    if (done)
        done(ctx, &answer);
}

static void patience_over(rpc_timer_t *timer)
{
    rpc_look_up_t *l = RPC_OWNER_OF(timer, rpc_look_up_t, patience);
    name_t *name;

    pthread_mutex_lock(&l->resolver->lock);
    name = l->name;
    if (name && has_good(l->resolver, name)) {
        leave_name(l);
        give_old(name, l, 0);
        rpc_loop_schedule(l->loop, &l->bring);
    }
    pthread_mutex_unlock(&l->resolver->lock);
}

rpc_look_up_t *rpc_look_up_start(rpc_resolver_t *r, rpc_loop_t *loop, const char *host,
                                 const char *user, rpc_look_up_done_t *done, void *ctx)
{
    rpc_look_up_t *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->resolver = r;
    l->loop = loop;
    l->done = done;
    l->ctx = ctx;
    l->bring.run = bring;
    l->patience.fire = patience_over;
    pthread_mutex_lock(&r->lock);
    r->holders++;
    if (resolver_ask(r, l, host, user ? user : ""))
        rpc_loop_schedule(loop, &l->bring);
    pthread_mutex_unlock(&r->lock);
    return l;
}

rpc_reason_t rpc_look_up_cancel(rpc_look_up_t *l)
{
    rpc_resolver_t *r = l->resolver;
    rpc_reason_t reason = RPC_REASON_RESOLVE_FAILED;
    name_t *name;
    int answered;

    pthread_mutex_lock(&r->lock);
    name = l->name;
    answered = l->answered;
    if (name) {
        if (name->state == NAME_QUEUED)
            reason = RPC_REASON_LOCAL_FAILURE;
        leave_name(l);
        drop_unwanted(r, name);
    }
    pthread_mutex_unlock(&r->lock);
    if (answered)
        l->cancelled = 1;
    else
        look_up_free(l);
    return reason;
}

void rpc_resolver_forget(rpc_resolver_t *r, const char *host)
{
    name_t *name;

    pthread_mutex_lock(&r->lock);
    name = r->ended ? NULL : name_find(r, host);
    if (name && name->state == NAME_KNOWN && !name->error)
        name->until = 0;
    pthread_mutex_unlock(&r->lock);
}

/* ---- beginning and end ---- */

static apr_status_t resolver_end(void *data)
{
    rpc_resolver_t *r = data;
    name_t *name;

    pthread_mutex_lock(&r->lock);
    r->ended = 1;
    while ((name = r->first)) {
        while (name->waiting)
            leave_name(name->waiting);
        name_unlink(r, name);
        if (name->state != NAME_RUNNING)
            free(name);         /* else its thread does */
    }
    resolver_release(r);
    return APR_SUCCESS;
}

apr_status_t rpc_resolver_make(rpc_resolver_t **out, const rpc_resolver_params_t *params,
                               apr_pool_t *pool)
{
    rpc_resolver_t *r = calloc(1, sizeof(*r));

    if (!r)
        return APR_ENOMEM;
    r->params = *params;
    if (!r->params.threads || r->params.threads > RPC_RESOLVER_THREADS)
        r->params.threads = RPC_RESOLVER_THREADS;
    if (!r->params.names)
        r->params.names = NAMES;
    if (!r->params.look_up)
        r->params.look_up = usual_look_up;
    if (!r->params.now)
        r->params.now = usual_now;
    pthread_mutex_init(&r->lock, NULL);
    r->holders = 1;
    apr_pool_pre_cleanup_register(pool, r, resolver_end);
    *out = r;
    return APR_SUCCESS;
}
