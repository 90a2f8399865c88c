/* delegate_gss: tickets of users for servers behind, by MIT's libgssapi.
 *
 * Only the mechanism Kerberos is used, with explicit credentials each time, and the identity is
 * looked at when tickets come and once more in each token. (What is acquired for Kerberos and used
 * with SPNEGO is replaced without a word by the process's default credentials: the server behind
 * then sees this server instead of the user.)
 *
 * No httpd headers. Functions that ask the KDC wait for it.
 */
#ifndef DELEGATE_GSS_H
#define DELEGATE_GSS_H

#include <gssapi/gssapi.h>

#include "delegate/fault.h"
#include "delegate/principal.h"
#include "delegate/tickets.h"

/* For whom, to which server; and what has come of it. All in POOL. */
typedef struct delegate_errand {
    apr_pool_t *pool;
    delegate_who_t who;
    const char *service;        /* "HTTP/host", "HTTP/host@REALM" */
    const char *ccache;         /* with tickets of the user, by another module; NULL: S4U2Self */
    delegate_names_t names;     /* filled in on the way */
    delegate_fault_t fault;     /* when something has failed */
} delegate_errand_t;

typedef struct delegate_ticket {
    delegate_kept_t kept;
    gss_cred_id_t credentials;  /* of the user */
    gss_name_t service;
    char *client, *service_text;    /* the principals; malloc'ed */
} delegate_ticket_t;

/* This server's own tickets, in the memory of the child. */
typedef struct delegate_own delegate_own_t;

/* Lives as long as POOL. NULL: no memory. */
delegate_own_t *delegate_own_make(apr_pool_t *pool);

/* The user's credentials for ERRAND, not for its service yet. NULL: its fault. Asks the KDC. */
delegate_ticket_t *delegate_gss_fetch(delegate_own_t *own, delegate_errand_t *errand);

/* A token of TICKET's user for its service, in the errand's pool, as an Authorization field.
 * *LIFETIME: the ticket's. NULL: the errand's fault. The first time the KDC is asked, then not. */
const char *delegate_gss_field(delegate_errand_t *errand, delegate_ticket_t *ticket,
                               apr_interval_time_t *lifetime);

void delegate_gss_free(delegate_ticket_t *ticket);

/* What is wrong with the keytab that the environment names; NULL: it has keys. */
const char *delegate_gss_keytab_fault(apr_pool_t *pool);

#endif
