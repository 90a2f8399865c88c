/* auth_ntlm_targets: for which server did the client make its response? MsvAvTargetName ([MS-NLMP]
 * 2.2.2.1) names the service that the client has connected to, such as HTTP/mail.example.com, and
 * the hash of the password protects it. A response for another server has been relayed. Worker
 * threads.
 */
#ifndef AUTH_NTLM_TARGETS_H
#define AUTH_NTLM_TARGETS_H

#include <httpd.h>
#include <http_config.h>

#include "ntlm/ntlmssp.h"

struct auth_ntlm_config;

/* Is NAME a name of this server? AuthNtlmTargets of CFG, the configuration for R, decides. Without
 * that directive the service has to be HTTP, and the host has to be a name of httpd (ServerName,
 * ServerAlias, <VirtualHost>), a name for which the certificate of the connection is valid, or the
 * address that the client has connected to. TOLD holds the names that the challenge has told the
 * client. An empty name is accepted. */
int auth_ntlm_is_target(request_rec *r, const struct auth_ntlm_config *cfg, const char *name,
                        const ntlmssp_target_t *told);

/* Checks one argument of AuthNtlmTargets and adds it to *LIST. Returns NULL, or what is wrong. */
const char *auth_ntlm_add_target(cmd_parms *cmd, apr_array_header_t **list, const char *arg);

#endif
