/* httpd/status_actions.h: what an administrator does on the status page: POST with action=
 *
 *   end       the virtual connections of connection=, user=, address= or server=, in all children
 *   drain     server=: no new virtual connections go there; after=: old ones end after so long
 *             ("90s", "10min", "2h"; a number alone is in minutes)
 *   undrain   server=: it is used again
 *
 * Each has to bear a token that only the page of the same user at the same address has told, so
 * that other sites cannot make a browser do it. Each is a notice in the log that says who did it.
 */
#ifndef RPC_STATUS_ACTIONS_H
#define RPC_STATUS_ACTIONS_H

#include "httpd/status_facts.h"

/* Makes the bell and the key of the tokens, once for the life of the server. */
apr_status_t rpc_status_actions_create(rpc_context_t *context);

/* The token for this request's user and address, in its pool; good for an hour or two. */
const char *rpc_status_token(const rpc_status_request_t *q);

/* Answers a POST: HTTP_SEE_OTHER, back to the page, or why not. */
int rpc_status_act(const rpc_status_request_t *q);

/* In the parent, now and then: ends what servers still have whose time of draining is over. */
void rpc_status_actions_monitor(const rpc_context_t *context, server_rec *s);

#endif
