/* httpd/section_check.h: configtest warns of settings of a section that have no effect together, or
 * another one than a reader expects. Each warning names the section, the setting and the cure.
 */
#ifndef RPC_SECTION_CHECK_H
#define RPC_SECTION_CHECK_H

#include <httpd.h>

/* From test_config, for S and all virtual hosts that follow it. Warnings only; POOL is for them. */
void rpc_sections_check(apr_pool_t *pool, server_rec *s);

#endif
