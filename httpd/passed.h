/* rpc_passed: a password that a proxy behind us checks (base/passed_on.h). Its verdict comes on a
 * loop; to count it may mean to wait for a lock or for a distant cache, so a thread of its own does
 * that.
 */
#ifndef RPC_PASSED_H
#define RPC_PASSED_H

#include "httpd/log_record.h"

/* Starts the thread, if mod_auth_ntlm is loaded; it ends with POOL, the child's, after a moment for
 * what still waits. From child_init, before the engine is started, so that it ends after it. */
apr_status_t rpc_passed_start(apr_pool_t *pool);

/* On R's worker: the password that R brings, to be freed with free(); NULL: none that counts. */
void *rpc_passed_take(request_rec *r);

/* The proxy behind has answered with STATUS to the request of RECORD, which PASSED was taken of.
 * Frees PASSED. Any thread. */
void rpc_passed_answered(rpc_record_t *record, void *passed, int status);

#endif
