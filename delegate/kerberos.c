/* delegate/kerberos.c: see delegate/kerberos.h. What another module has left for a request is of
 * use for that request alone, and not kept.
 */
#include "delegate/kerberos.h"

#include <apr_strings.h>

#include "delegate/gate.h"

#define TICKETS_MAX 1000                        /* of a child, about 30 KB each */
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

delegate_kerberos_t *delegate_kerberos_make(apr_pool_t *pool)
{
    static const delegate_gate_limits_t limits = {
        .at_once = 8, .patience = apr_time_from_sec(5), .pause = apr_time_from_sec(5)
    };
    delegate_kerberos_t *kerberos = apr_pcalloc(pool, sizeof(*kerberos));

    kerberos->own = delegate_own_make(pool);
    kerberos->gate = delegate_gate_make(pool, &limits);
    kerberos->tickets = delegate_tickets_make(pool, TICKETS_MAX, release);
    return kerberos->own && kerberos->gate && kerberos->tickets ? kerberos : NULL;
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
    field = new_field(kerberos, errand, key);
    delegate_gate_leave(kerberos->gate, field || errand->fault.kind != DELEGATE_SILENT);
    return field;
}

void delegate_kerberos_refused(delegate_kerberos_t *kerberos, const delegate_errand_t *errand)
{
    if (!errand->ccache)
        delegate_tickets_forget(kerberos->tickets, key_of(errand));
}
