/* delegate_fault: why there is no ticket, as one sentence for the log that names what is missing.
 *
 * No httpd headers, no state. Any thread.
 */
#ifndef DELEGATE_FAULT_H
#define DELEGATE_FAULT_H

#include <apr_pools.h>
#include <gssapi/gssapi.h>

typedef enum {
    DELEGATE_REFUSED,       /* the KDC knows better, or there is nobody to act for */
    DELEGATE_BROKEN,        /* something here, or in the directory, is not set up */
    DELEGATE_SILENT         /* no KDC answers */
} delegate_kind_t;

/* What was being done. */
typedef enum {
    DELEGATE_OWN,           /* this server's own ticket, by its keytab */
    DELEGATE_SELF,          /* S4U2Self: the user's ticket for this server */
    DELEGATE_LEFT,          /* the user's ticket that another module has left */
    DELEGATE_PROXY          /* S4U2Proxy: the user's ticket for the server behind */
} delegate_step_t;

/* The names that sentences have; NULL: not known yet. */
typedef struct delegate_names {
    const char *client;     /* the principal of the user */
    const char *service;    /* of the server behind */
    const char *own;        /* of this server */
    const char *keytab;
} delegate_names_t;

typedef struct delegate_fault {
    delegate_kind_t kind;
    const char *why;
} delegate_fault_t;

/* The fault for a failure of GSSAPI at STEP, in POOL. FORWARDABLE: whether the user's ticket for
 * this server may be shown to the KDC (DELEGATE_PROXY). */
delegate_fault_t delegate_fault_of(apr_pool_t *pool, delegate_step_t step,
                                   const delegate_names_t *names, int forwardable, OM_uint32 major,
                                   OM_uint32 minor);

/* A fault that is no failure of GSSAPI. */
static inline delegate_fault_t delegate_fault(delegate_kind_t kind, const char *why)
{
    return (delegate_fault_t){ kind, why };
}

#endif
