/* httpd/directives.h: the table of the module's directives. httpd/config.h and the manual explain
 * what they mean and where they may stand.
 */
#ifndef RPC_DIRECTIVES_H
#define RPC_DIRECTIVES_H

#include <http_config.h>

#include "target/valid_ports.h"

extern const command_rec rpc_directives[];

/* Does any section of the configuration name an ncacn_ip_tcp backend, so that the endpoint process
 * is needed? They are counted while directives are read; pre_config resets the count before. */
void rpc_directives_reset(void);
int rpc_directives_need_endpoint(void);

/* At configtest, warns of each pattern of LIST that matches more than its reader may expect. LIST
 * begins with the entries of BASE, which have been checked before. */
void rpc_directive_surprises(const cmd_parms *cmd, const rpc_valid_ports_t *list,
                             const rpc_valid_ports_t *base);

#endif
