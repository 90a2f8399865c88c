/* auth_ntlm_config: for the module record. Source: auth/config.c */
#ifndef AUTH_NTLM_CONFIG_H
#define AUTH_NTLM_CONFIG_H

#include "auth_ntlm.h"

void *auth_ntlm_create_dir(apr_pool_t *p, char *dir);
void *auth_ntlm_merge_dir(apr_pool_t *p, void *base, void *add);
extern const command_rec auth_ntlm_commands[];

#endif
