/* httpd/directives.h: the table of the module's directives. What they mean and where they may stand
 * is said in httpd/config.h, and in README.
 */
#ifndef RPC_DIRECTIVES_H
#define RPC_DIRECTIVES_H

#include <http_config.h>

#include "target/valid_ports.h"

extern const command_rec rpc_directives[];

/* Does any section of the configuration name an ncacn_ip_tcp backend, so that the endpoint's process
 * is needed? Counted while directives are read; reset before, in pre_config. */
void rpc_directives_reset(void);
int rpc_directives_need_endpoint(void);

/* At configtest: a warning for each pattern of LIST that takes more than it seems; those of BASE,
 * which LIST begins with, had theirs. */
void rpc_directive_surprises(const cmd_parms *cmd, const rpc_valid_ports_t *list, const rpc_valid_ports_t *base);

#endif
