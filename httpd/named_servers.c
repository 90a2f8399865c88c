/* httpd/named_servers.c: a list that lives as long as the configuration, as userdata of its pool. */
#include "httpd/named_servers.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <apr_cstr.h>
#include <http_log.h>

#include "httpd/module.h"
#include "target/connect.h"

APLOG_USE_MODULE(rpcproxy);

static const char list_key[] = "rpcproxy-servers";

static apr_array_header_t *list_of(apr_pool_t *pconf)
{
    void *list = NULL;

    apr_pool_userdata_get(&list, list_key, pconf);
    return list;
}

void rpc_servers_note(cmd_parms *cmd, const rpc_dir_config_t *dc, rpc_protseq_t protseq,
                      const char *host, apr_port_t port)
{
    apr_array_header_t *list = list_of(cmd->pool);

    if (strchr(host, '*'))
        return;
    if (!list) {
        list = apr_array_make(cmd->pool, 8, sizeof(rpc_named_server_t));
        apr_pool_userdata_setn(list, list_key, NULL, cmd->pool);
    }
    APR_ARRAY_PUSH(list, rpc_named_server_t)
        = (rpc_named_server_t){ host, port, protseq, dc, cmd->directive, cmd->server };
}

const apr_array_header_t *rpc_servers_named(apr_pool_t *pconf)
{
    return list_of(pconf);
}

/* ---- names ---- */

static int is_address(const char *host)
{
    unsigned char address[16];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* Has number I of LIST been named before? */
static int seen(const apr_array_header_t *list, int i)
{
    const char *host = APR_ARRAY_IDX(list, i, rpc_named_server_t).host;
    int k;

    for (k = 0; k < i; k++)
        if (apr_cstr_casecmp(APR_ARRAY_IDX(list, k, rpc_named_server_t).host, host) == 0)
            return 1;
    return 0;
}

void rpc_servers_check_names(apr_pool_t *pconf)
{
    const apr_array_header_t *list = list_of(pconf);
    rpc_addresses_t addresses;
    int i, error;

    for (i = 0; list && i < list->nelts; i++) {
        const rpc_named_server_t *named = &APR_ARRAY_IDX(list, i, rpc_named_server_t);

        if (is_address(named->host) || seen(list, i))
            continue;
        error = rpc_resolve(named->host, &addresses);
        if (error)
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, named->s, "%s in line %d of %s: \"%s\" does not "
                         "resolve (%s), and whoever is sent there will be told 503: correct the name, or "
                         "add it to the DNS or the hosts file", named->where->directive,
                         named->where->line_num, named->where->filename, named->host, gai_strerror(error));
    }
}
