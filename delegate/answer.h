/* delegate_answer: what the server behind answers where this server logs on to it. Its
 * WWW-Authenticate is meant for us, and its 401 is no question to the client, who has logged on
 * here: it becomes an error of this server.
 */
#ifndef DELEGATE_ANSWER_H
#define DELEGATE_ANSWER_H

#include <httpd.h>

/* Returns the status that the client gets instead of 401, once the log has its line. OFFERED: the
 * answer's WWW-Authenticate; "none". */
typedef int (*delegate_refused_t)(request_rec *r, const char *offered, void *data);

/* From register_hooks. */
void delegate_answer_register(apr_pool_t *p);

/* Watches the answer to R. */
void delegate_answer_watch(request_rec *r, delegate_refused_t refused, void *data);

/* The status for a STATUS that mod_proxy returns without having sent an answer
 * (ProxyErrorOverride). */
int delegate_answer_status(request_rec *r, int status, delegate_refused_t refused, void *data);

#endif
