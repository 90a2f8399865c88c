/* httpd/watchdog.c: see httpd/watchdog.h. */
#include "httpd/watchdog.h"

#include <http_log.h>

#include "base/message_id.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

int rpc_watchdog_possible(void)
{
    return APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance) != NULL;
}

apr_status_t rpc_watchdog_start(apr_pool_t *pconf, server_rec *s, const char *name,
                                apr_interval_time_t interval, const void *data,
                                ap_watchdog_callback_fn_t *on_watch)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get
        = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *call
        = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *watchdog;
    apr_status_t rv = get(&watchdog, name, 0, 1, pconf);

    if (rv == APR_SUCCESS)
        rv = call(watchdog, interval, data, on_watch);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s,
                     RPCNO(0024) "cannot start the watchdog %s", name);
    return rv;
}
