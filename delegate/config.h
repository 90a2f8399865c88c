/* delegate_config: the directive RpcBackendAuth. */
#ifndef DELEGATE_CONFIG_H
#define DELEGATE_CONFIG_H

#include <httpd.h>
#include <http_config.h>

typedef enum {
    DELEGATE_UNSET,         /* as in the enclosing section; outside of all: as httpd does */
    DELEGATE_PASSTHROUGH, DELEGATE_BASIC, DELEGATE_KERBEROS
} delegate_mode_t;

/* One for each directory section. */
typedef struct delegate_config {
    delegate_mode_t mode;
    const char *service;    /* of DELEGATE_KERBEROS: "HTTP/host", "HTTP/host@REALM"; NULL: HTTP/ and
                             * the host of the backend's URL */
} delegate_config_t;

void *delegate_create_dir(apr_pool_t *p, char *dir);
void *delegate_merge_dir(apr_pool_t *p, void *base, void *add);

/* Whether a virtual host has a section with DELEGATE_KERBEROS. */
void *delegate_create_server(apr_pool_t *p, server_rec *s);
int delegate_server_has_kerberos(const server_rec *s);

extern const command_rec delegate_commands[];
extern module AP_MODULE_DECLARE_DATA rpc_backend_auth_module
    __attribute__((visibility("default")));

#endif
