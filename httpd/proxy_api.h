/* rpc_proxy_api: what we call of mod_proxy.
 *
 * mod_proxy is a module of its own, loaded before us, behind us, or not at all. So we are not
 * linked with it; its symbols are looked up when all modules have been loaded.
 */
#ifndef RPC_PROXY_API_H
#define RPC_PROXY_API_H

#include <mod_proxy.h>

#define RPC_PROXY_API(ROW) \
    ROW(proxy_hook_scheme_handler) \
    ROW(proxy_hook_pre_request) \
    ROW(ap_proxy_get_worker) \
    ROW(ap_proxy_define_worker) \
    ROW(ap_proxy_initialize_worker) \
    ROW(ap_proxy_get_balancer) \
    ROW(ap_proxy_define_balancer) \
    ROW(ap_proxy_balancer_get_best_worker) \
    ROW(ap_proxy_acquire_connection) \
    ROW(ap_proxy_release_connection) \
    ROW(ap_proxy_determine_connection) \
    ROW(ap_proxy_connect_backend) \
    ROW(ap_proxy_connection_create_ex) \
    ROW(ap_proxy_create_hdrbrgd) \
    ROW(ap_proxy_location_reverse_map) \
    ROW(ap_proxy_cookie_reverse_map)

#define RPC_PROXY_FUNCTION(name) __typeof__(name) *name;

typedef struct rpc_proxy_api {
    RPC_PROXY_API(RPC_PROXY_FUNCTION)
    module *proxy_module;
} rpc_proxy_api_t;

/* NULL: mod_proxy is not loaded, or lacks something. From pre_config on. */
const rpc_proxy_api_t *rpc_proxy_api(void);

/* Looks for mod_proxy. From pre_config. */
const rpc_proxy_api_t *rpc_proxy_api_find(void);

/* The settings of mod_proxy for a server and for a section. */
#define rpc_proxy_server_conf(api, s) \
    ((proxy_server_conf *)ap_get_module_config((s)->module_config, (api)->proxy_module))
#define rpc_proxy_dir_conf(api, section) \
    ((proxy_dir_conf *)ap_get_module_config(section, (api)->proxy_module))

/* The URL of a worker. Before 2.4.53 httpd has the shorter field alone. */
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 124)
#define rpc_proxy_worker_url(worker) ((worker)->s->name_ex)
#else
#define rpc_proxy_worker_url(worker) ((worker)->s->name)
#endif

#endif
