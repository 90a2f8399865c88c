/* auth_ntlm_targets: whom did the client mean to answer? MsvAvTargetName ([MS-NLMP] 2.2.2.1) is the
 * service that it has connected to, such as HTTP/mail.example.com, under its password's hash; an
 * answer that was made for another server has been relayed. Worker threads.
 */
#ifndef AUTH_NTLM_TARGETS_H
#define AUTH_NTLM_TARGETS_H

#include <httpd.h>
#include <http_config.h>

#include "ntlm/ntlmssp.h"

struct auth_ntlm_config;

/* Is NAME this server's? By AuthNtlmTargets of CFG, the configuration that holds for R; without it
 * the service has to be HTTP, and the host what httpd calls itself here (ServerName, ServerAlias,
 * <VirtualHost>), a name that the certificate of the connection is good for, or the address that the
 * client has connected to. TOLD: what the client was told of this server. An empty name says nothing,
 * and is nothing against it. */
int auth_ntlm_is_target(request_rec *r, const struct auth_ntlm_config *cfg, const char *name,
                        const ntlmssp_target_t *told);

/* Directive: one argument of AuthNtlmTargets, checked and added to *LIST. NULL, or what is wrong. */
const char *auth_ntlm_add_target(cmd_parms *cmd, apr_array_header_t **list, const char *arg);

#endif
