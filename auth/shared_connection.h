/* auth_ntlm_shared_connection: may other clients use the connection that a request came on?
 *
 * NTLM binds a connection to one user. A front end that keeps connections to this server open and
 * sends the requests of all its clients on any of them would serve a stranger as that user. These
 * functions look for the traces that a front end leaves: in the request, and where other modules
 * have read them from the request already. Worker threads.
 */
#ifndef AUTH_NTLM_SHARED_CONNECTION_H
#define AUTH_NTLM_SHARED_CONNECTION_H

#include <httpd.h>

/* Why NTLM must be neither offered nor accepted for R; NULL when it may be. With
 * AuthNtlmPinnedConnections On, HTTP/2 is the only such reason. */
const char *auth_ntlm_why_shared(request_rec *r);
/* A text that identifies the client, as far as front ends name it. It is the same for all requests
 * of one client on a connection. In r->pool. */
const char *auth_ntlm_asker(request_rec *r);
/* May later requests on r's connection be taken for requests of the same client? The field
 * "Connection: keep-alive" is for the next hop alone. So when a client's field arrives here, there
 * is no front end that ends the client's connection. */
int auth_ntlm_client_keeps(request_rec *r);
/* The hook that looks for the traces. */
void auth_ntlm_shared_register(apr_pool_t *p);

#endif
