/* rpc_names.c: a list that lives as long as the configuration, as userdata of its pool. */
#include "rpc_names.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <apr_cstr.h>
#include <apr_strings.h>
#include <http_log.h>

#include "mod_rpcproxy.h"
#include "rpc_connect.h"

APLOG_USE_MODULE(rpcproxy);

typedef struct named {
    const char *host;
    const ap_directive_t *where;
    server_rec *s;
} named_t;

static const char list_key[] = "rpcproxy-names";

static apr_array_header_t *list_of(apr_pool_t *pconf)
{
    void *list = NULL;

    apr_pool_userdata_get(&list, list_key, pconf);
    return list;
}

static int is_address(const char *host)
{
    unsigned char address[16];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

void rpc_names_note(cmd_parms *cmd, const char *host)
{
    apr_array_header_t *list = list_of(cmd->pool);
    int i;

    if (strchr(host, '*') || is_address(host))
        return;
    if (!list) {
        list = apr_array_make(cmd->pool, 8, sizeof(named_t));
        apr_pool_userdata_setn(list, list_key, NULL, cmd->pool);
    }
    for (i = 0; i < list->nelts; i++)
        if (apr_cstr_casecmp(APR_ARRAY_IDX(list, i, named_t).host, host) == 0)
            return;
    APR_ARRAY_PUSH(list, named_t) = (named_t){ host, cmd->directive, cmd->server };
}

void rpc_names_check(apr_pool_t *pconf)
{
    const apr_array_header_t *list = list_of(pconf);
    rpc_addresses_t addresses;
    int i, error;

    for (i = 0; list && i < list->nelts; i++) {
        const named_t *named = &APR_ARRAY_IDX(list, i, named_t);

        error = rpc_resolve(named->host, &addresses);
        if (error)
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, named->s, "%s in line %d of %s: \"%s\" does not "
                         "resolve (%s), and whoever is sent there will be told 503: correct the name, or "
                         "add it to the DNS or the hosts file", named->where->directive,
                         named->where->line_num, named->where->filename, named->host, gai_strerror(error));
    }
}
