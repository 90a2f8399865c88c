/* httpd/upstream_check.c: mod_ssl tells nobody what is configured, and whether it is. So the tree
 * of directives is asked: SSLProxy... may stand in the main server, in the virtual host, and in a
 * <Proxy> section for the URL.
 */
#include "httpd/upstream_check.h"

#include <apr_strings.h>
#include <http_config.h>
#include <http_log.h>
#include <util_cfgtree.h>

#include "base/message_id.h"
#include "httpd/module.h"

APLOG_USE_MODULE(rpcproxy);

static int is(const ap_directive_t *d, const char *name)
{
    return ap_cstr_casecmp(d->directive, name) == 0;
}

static int begins(const char *text, const char *with)
{
    return ap_cstr_casecmpn(text, with, strlen(with)) == 0;
}

static const ap_directive_t *siblings(const ap_directive_t *d)
{
    return d->parent ? d->parent->first_child : ap_conftree;
}

/* Is D a section whose settings hold for URL? One for a pattern is taken to match. */
static int is_proxy_section(const ap_directive_t *d, const char *url)
{
    const char *of = d->args + strspn(d->args, " \t\"");

    if (is(d, "<ProxyMatch"))
        return 1;
    return is(d, "<Proxy") && ap_cstr_casecmpn(url, of, strcspn(of, "*>\" \t")) == 0;
}

/* Is NAME set in the section LIST, for URL, and not off? */
static int is_set(const ap_directive_t *list, const char *name, const char *url)
{
    for (; list; list = list->next) {
        if (is(list, name) && ap_cstr_casecmp(list->args, "off") != 0)
            return 1;
        if (list->first_child && is_proxy_section(list, url)
            && is_set(list->first_child, name, url))
            return 1;
    }
    return 0;
}

static int is_set_around(const ap_directive_t *d, const char *name, const char *url)
{
    for (; d; d = d->parent)
        if (is_set(siblings(d), name, url))
            return 1;
    return 0;
}

/* Has the balancer URL a member with TLS, as far as LIST and <Proxy> sections in it tell? */
static int has_tls_member(const ap_directive_t *list, const char *url)
{
    for (; list; list = list->next) {
        if (is(list, "BalancerMember") && strstr(list->args, "https://")
            && (begins(list->args, url) || (list->parent && is_proxy_section(list->parent, url))))
            return 1;
        if (list->first_child && is_proxy_section(list, url)
            && has_tls_member(list->first_child, url))
            return 1;
    }
    return 0;
}

static int leads_to_tls(const ap_directive_t *d, const char *url)
{
    if (!begins(url, "balancer://"))
        return begins(url, "https://");
    for (; d; d = d->parent)
        if (has_tls_member(siblings(d), url))
            return 1;
    return 0;
}

static int fault(server_rec *s, const ap_directive_t *d, const char *url, const char *what)
{
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s,
                 RPCNO(0100) "%s %s in line %d of %s: %s", d->directive, url,
                 d->line_num, d->filename, what);
    return 0;
}

/* D sends requests to URL. */
static int check_url(server_rec *s, apr_pool_t *pool, const ap_directive_t *d, const char *url)
{
    const char *path = strstr(url, "://") + 3;
    const char *host = apr_pstrmemdup(pool, url, (apr_size_t)(path - url) + strcspn(path, "/?"));

    if (!leads_to_tls(d, host))
        return 1;
    if (!is_set_around(d, "SSLProxyEngine", host))
        return fault(s, d, url, "add SSLProxyEngine on, in the virtual host or in a <Proxy> "
                     "section");
    return is_set_around(d, "SSLProxyVerify", host)
           || fault(s, d, url, "nobody would verify the certificate there: add SSLProxyVerify "
                    "require and SSLProxyCACertificateFile; or SSLProxyVerify none, if any "
                    "certificate is to be trusted");
}

/* Does a section have directives of ours? */
static int is_ours(const ap_directive_t *list)
{
    while (list && !begins(list->directive, "Rpc"))
        list = list->next;
    return list != NULL;
}

static int check_list(server_rec *s, apr_pool_t *pool, const ap_directive_t *list)
{
    int fine = 1, ours = is_ours(list);

    for (; list; list = list->next) {
        const char *args = list->args, *word;

        if (is(list, "RpcBackend") || (ours && list->parent && is(list, "ProxyPass")))
            while (*(word = ap_getword_conf(pool, &args)))
                fine &= !strstr(word, "://") || check_url(s, pool, list, word);
        if (list->first_child)
            fine &= check_list(s, pool, list->first_child);
    }
    return fine;
}

int rpc_upstream_verified(apr_pool_t *pool, server_rec *s)
{
    return check_list(s, pool, ap_conftree);
}
