/* delegate_kerberos: the Authorization field for a user and a server behind. Tickets are kept, and
 * few threads of a child wait for the KDC. One for each child; any thread.
 */
#ifndef DELEGATE_KERBEROS_H
#define DELEGATE_KERBEROS_H

#include "delegate/gss.h"

typedef struct delegate_kerberos delegate_kerberos_t;

/* Lives as long as the process. NULL: no memory. */
delegate_kerberos_t *delegate_kerberos_make(void);

/* A new token each time, for one request. NULL: the errand's fault says why. May wait some seconds
 * for the KDC, and no longer. */
const char *delegate_kerberos_field(delegate_kerberos_t *kerberos, delegate_errand_t *errand);

/* The server behind has refused a token: the next one is made with a ticket that is fetched
 * anew. */
void delegate_kerberos_refused(delegate_kerberos_t *kerberos, const delegate_errand_t *errand);

#endif
