/* delegate/kerberos.c: see delegate/kerberos.h. What another module has left for a request is of
 * use for that request alone, and not kept.
 *
 * libkrb5 cannot be interrupted. So the KDC is asked on a thread of its own, which is left behind
 * when it takes too long; if a ticket comes then, the user's next request finds it.
 */
#include "delegate/kerberos.h"

#include <pthread.h>

#include <apr_strings.h>

#include "base/clock.h"
#include "base/thread.h"
#include "delegate/gate.h"

#define TICKETS_MAX 1000                        /* of a child, about 30 KB each */
#define ANSWER_SECONDS 5                        /* that a request waits for the KDC */
#define MARGIN apr_time_from_sec(60)            /* a ticket is not used for the last minute */
#define KEPT_MAX apr_time_from_sec(3600)        /* what the directory has taken back ends by then */

struct delegate_kerberos {
    delegate_own_t *own;
    delegate_gate_t *gate;
    delegate_tickets_t *tickets;
};

static void release(delegate_kept_t *kept)
{
    delegate_gss_free((delegate_ticket_t *)kept);
}

/* In no pool of the process, for a thread that was left behind uses it until the process ends. */
delegate_kerberos_t *delegate_kerberos_make(void)
{
    static const delegate_gate_limits_t limits = {
        .at_once = 8, .patience = apr_time_from_sec(5), .pause = apr_time_from_sec(5)
    };
    delegate_kerberos_t *kerberos;
    apr_pool_t *pool;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS)
        return NULL;
    kerberos = apr_pcalloc(pool, sizeof(*kerberos));
    kerberos->own = delegate_own_make(pool);
    kerberos->gate = delegate_gate_make(pool, &limits);
    kerberos->tickets = delegate_tickets_make(pool, TICKETS_MAX, release);
    if (kerberos->own && kerberos->gate && kerberos->tickets)
        return kerberos;
    apr_pool_destroy(pool);
    return NULL;
}

/* No field of HTTP and no name of a principal has a line feed. */
static const char *key_of(const delegate_errand_t *errand)
{
    const delegate_who_t *who = &errand->who;

    return apr_pstrcat(errand->pool, errand->service, "\n",
                       who->domain == RPC_WHO_ANY_DOMAIN ? "any" : "", "\n",
                       who->principal ? who->principal : "", "\n", who->user, NULL);
}

/* By a ticket that was kept; NULL: there is none that is of use. */
static const char *kept_field(delegate_kerberos_t *kerberos, delegate_errand_t *errand,
                              const char *key)
{
    delegate_kept_t *kept = delegate_tickets_find(kerberos->tickets, key);
    apr_interval_time_t lifetime;
    const char *field;

    if (!kept)
        return NULL;
    field = delegate_gss_field(errand, (delegate_ticket_t *)kept, &lifetime);
    if (!field)
        delegate_tickets_forget(kerberos->tickets, key);
    delegate_tickets_done(kerberos->tickets, kept);
    return field;
}

/* By a ticket of the KDC, which is kept for KEY unless that is NULL. */
static const char *new_field(delegate_kerberos_t *kerberos, delegate_errand_t *errand,
                             const char *key)
{
    delegate_ticket_t *ticket = delegate_gss_fetch(kerberos->own, errand);
    apr_interval_time_t lifetime;
    const char *field;

    if (!ticket)
        return NULL;
    field = delegate_gss_field(errand, ticket, &lifetime);
    if (!field || !key || lifetime <= MARGIN) {
        delegate_gss_free(ticket);
        return field;
    }
    lifetime -= MARGIN;
    delegate_tickets_keep(kerberos->tickets, &ticket->kept, key,
                          lifetime < KEPT_MAX ? lifetime : KEPT_MAX);
    delegate_tickets_done(kerberos->tickets, &ticket->kept);
    return field;
}

/* ---- a thread that asks ---- */

/* In a pool of its own, with all that it points to. Whoever of the two that know it is last, frees
 * it: the thread, or the request. */
typedef struct inquiry {
    apr_pool_t *pool;
    delegate_kerberos_t *kerberos;
    delegate_errand_t errand;
    const char *key;
    const char *field;
    pthread_mutex_t lock;       /* guards what follows */
    pthread_cond_t over;
    int answered;
    int left;                   /* the request has gone */
} inquiry_t;

static const char *copy(apr_pool_t *pool, const char *text)
{
    return text ? apr_pstrdup(pool, text) : NULL;
}

static apr_status_t inquiry_end(void *data)
{
    inquiry_t *q = data;

    pthread_cond_destroy(&q->over);
    pthread_mutex_destroy(&q->lock);
    return APR_SUCCESS;
}

static inquiry_t *inquiry_make(delegate_kerberos_t *kerberos, const delegate_errand_t *errand,
                               const char *key)
{
    apr_pool_t *pool;
    inquiry_t *q;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS)
        return NULL;
    q = apr_pcalloc(pool, sizeof(*q));
    q->pool = pool;
    q->kerberos = kerberos;
    q->key = copy(pool, key);
    q->errand = (delegate_errand_t){
        .pool = pool,
        .who = { copy(pool, errand->who.user), copy(pool, errand->who.principal),
                 errand->who.domain },
        .service = copy(pool, errand->service), .ccache = copy(pool, errand->ccache),
    };
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->over, NULL);
    apr_pool_cleanup_register(pool, q, inquiry_end, apr_pool_cleanup_null);
    return q;
}

static void *inquire(void *data)
{
    inquiry_t *q = data;
    int left;

    q->field = new_field(q->kerberos, &q->errand, q->key);
    delegate_gate_leave(q->kerberos->gate,
                        q->field || q->errand.fault.kind != DELEGATE_SILENT);
    pthread_mutex_lock(&q->lock);
    q->answered = 1;
    left = q->left;
    pthread_cond_signal(&q->over);
    pthread_mutex_unlock(&q->lock);
    if (left)
        apr_pool_destroy(q->pool);
    return NULL;
}

/* 1: there is an answer. 0: Q is not the caller's any more. */
static int await_answer(inquiry_t *q)
{
    struct timespec until = rpc_clock_in(apr_time_from_sec(ANSWER_SECONDS));
    int answered, late = 0;

    pthread_mutex_lock(&q->lock);
    while (!q->answered && !late)
        late = pthread_cond_clockwait(&q->over, &q->lock, CLOCK_MONOTONIC, &until);
    answered = q->answered;
    q->left = !answered;
    pthread_mutex_unlock(&q->lock);
    return answered;
}

/* What Q has found out, for ERRAND. */
static const char *take_answer(const inquiry_t *q, delegate_errand_t *errand)
{
    const delegate_names_t *names = &q->errand.names;
    apr_pool_t *pool = errand->pool;

    errand->names = (delegate_names_t){ copy(pool, names->client), copy(pool, names->service),
                                        copy(pool, names->own), copy(pool, names->keytab) };
    errand->fault = delegate_fault(q->errand.fault.kind, copy(pool, q->errand.fault.why));
    return copy(pool, q->field);
}

/* Within the gate, which the thread leaves. */
static const char *ask_in_time(delegate_kerberos_t *kerberos, delegate_errand_t *errand,
                               const char *key)
{
    inquiry_t *q = inquiry_make(kerberos, errand, key);
    const char *field;

    if (!q || rpc_thread_start_detached(inquire, q) != 0) {
        errand->fault = delegate_fault(DELEGATE_BROKEN, "there is no memory, or no thread");
        delegate_gate_leave(kerberos->gate, 1);
        if (q)
            apr_pool_destroy(q->pool);
        return NULL;
    }
    if (!await_answer(q)) {
        errand->fault = delegate_fault(DELEGATE_SILENT,
                                       apr_psprintf(errand->pool, "no KDC has answered within %d "
                                                    "seconds", ANSWER_SECONDS));
        return NULL;
    }
    field = take_answer(q, errand);
    apr_pool_destroy(q->pool);
    return field;
}

const char *delegate_kerberos_field(delegate_kerberos_t *kerberos, delegate_errand_t *errand)
{
    const char *key = errand->ccache ? NULL : key_of(errand);
    const char *field = key ? kept_field(kerberos, errand, key) : NULL, *why;

    if (field)
        return field;
    why = delegate_gate_enter(kerberos->gate);
    if (why) {
        errand->fault = delegate_fault(DELEGATE_SILENT, why);
        return NULL;
    }
    return ask_in_time(kerberos, errand, key);
}

void delegate_kerberos_refused(delegate_kerberos_t *kerberos, const delegate_errand_t *errand)
{
    if (!errand->ccache)
        delegate_tickets_forget(kerberos->tickets, key_of(errand));
}
