/* httpd/module_hook.h: the function that another module has registered for a hook of httpd.
 *
 * For a connection or a request that is rebuilt for the logs, one module is asked, not all.
 */
#ifndef RPC_MODULE_HOOK_H
#define RPC_MODULE_HOOK_H

#include <string.h>

#include <http_config.h>

/* What MODULE, by the name of its source ("mod_ssl.c"), has registered for HOOK; NULL: nothing.
 * httpd has a type of its own for each hook, hence a macro. */
#define RPC_MODULE_HOOK(hook, module) \
    ({ \
        apr_array_header_t *hooks_ = ap_hook_get_##hook(); \
        ap_HOOK_##hook##_t *found_ = NULL; \
        int i_; \
        for (i_ = 0; hooks_ && !found_ && i_ < hooks_->nelts; i_++) { \
            const ap_LINK_##hook##_t *at_ = &APR_ARRAY_IDX(hooks_, i_, ap_LINK_##hook##_t); \
            if (at_->szName && strcmp(at_->szName, module) == 0) \
                found_ = at_->pFunc; \
        } \
        found_; \
    })

#endif
