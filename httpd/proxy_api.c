/* httpd/proxy_api.c: see httpd/proxy_api.h. */
#include "httpd/proxy_api.h"

#include <dlfcn.h>

static rpc_proxy_api_t api;     /* changed by pre_config alone, before there are threads */

#define FIND(name) \
    api.name = (__typeof__(name) *)dlsym(RTLD_DEFAULT, #name); \
    found &= api.name != NULL;

const rpc_proxy_api_t *rpc_proxy_api_find(void)
{
    int found = 1;

    RPC_PROXY_API(FIND)
    api.proxy_module = found ? dlsym(RTLD_DEFAULT, "proxy_module") : NULL;
    return rpc_proxy_api();
}

const rpc_proxy_api_t *rpc_proxy_api(void)
{
    return api.proxy_module ? &api : NULL;
}
