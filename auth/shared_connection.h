/* auth_ntlm_shared_connection: may other clients use the connection that a request came on?
 *
 * NTLM makes a connection one user's. A front end that keeps connections to this server, and sends
 * each request of all its clients on any of them, would serve a stranger as that user. What is
 * asked of here are the traces that a front end leaves, on the wire and where modules have read
 * them already. Worker threads.
 */
#ifndef AUTH_NTLM_SHARED_CONNECTION_H
#define AUTH_NTLM_SHARED_CONNECTION_H

#include <httpd.h>

/* Why NTLM must be neither offered nor taken for R; NULL: nothing is against it. With
 * AuthNtlmPinnedConnections On only HTTP/2 is. */
const char *auth_ntlm_why_shared(request_rec *r);
/* Who asks, as far as front ends tell it: the same for all requests of one client on a connection.
 * In r->pool. */
const char *auth_ntlm_asker(request_rec *r);
/* May later requests on r's connection be taken for the same client's? Connection: keep-alive is
 * for the next hop alone, so a client that sends it has no front end before it that ends
 * connections. */
int auth_ntlm_client_keeps(request_rec *r);
/* The hook that looks for the traces. */
void auth_ntlm_shared_register(apr_pool_t *p);

#endif
