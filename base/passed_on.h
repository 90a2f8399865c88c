/* passed_on: what mod_auth_ntlm wants to hear of a request whose password a server behind checks,
 * when that server's answer comes after httpd has let go of the request. Optional functions, for
 * either module may be loaded without the other.
 */
#ifndef PASSED_ON_H
#define PASSED_ON_H

#include <apr_optional.h>

struct request_rec;

/* On the worker of R, which httpd is about to let go of: the password in it, to be asked about by
 * the other function. One block, to be freed with free(); NULL: there is none that counts. */
APR_DECLARE_OPTIONAL_FN(void *, auth_passed_on, (struct request_rec *r));

/* The server behind has answered with STATUS to the request that PASSED was taken of. R stands for
 * that request: client, server and a pool. Logs, and may wait; any thread but a loop's. */
APR_DECLARE_OPTIONAL_FN(void, auth_passed_answered, (struct request_rec *r, const void *passed,
                                                     int status));

#endif
