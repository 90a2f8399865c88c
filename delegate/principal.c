/* delegate/principal.c: see delegate/principal.h. */
#include "delegate/principal.h"

#include <string.h>

#include <apr_strings.h>

/* Is TEXT one component of a principal, without a character that would have to be escaped? */
static int is_component(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;

    for (; *c; c++) {
        if (*c < 0x20 || *c == 0x7f || strchr("/\\@", *c))
            return 0;
    }
    return *text != '\0';
}

/* What krb5.conf says of HOST, or of the name of a domain; NULL: nothing. */
static const char *configured_realm(apr_pool_t *pool, krb5_context context, const char *host)
{
    char **realms = NULL;
    const char *realm = NULL;

    if (krb5_get_host_realm(context, host, &realms) != 0)
        return NULL;
    if (realms && realms[0] && *realms[0])
        realm = apr_pstrdup(pool, realms[0]);
    krb5_free_host_realm(context, realms);
    return realm;
}

static const char *default_realm(apr_pool_t *pool, krb5_context context)
{
    char *text = NULL;
    const char *realm;

    if (krb5_get_default_realm(context, &text) != 0)
        return NULL;
    realm = apr_pstrdup(pool, text);
    krb5_free_default_realm(context, text);
    return realm;
}

/* Splits NAME into the account, which is returned, and *DOMAIN, "" if there is none; *BEHIND: the
 * domain stood behind an at sign. */
static const char *split(apr_pool_t *pool, const char *name, const char **domain, int *behind)
{
    const char *backslash = strrchr(name, '\\'), *at = strrchr(name, '@');

    *behind = 0;
    *domain = "";
    if (backslash) {
        *domain = apr_pstrmemdup(pool, name, (apr_size_t)(backslash - name));
        return backslash + 1;
    }
    if (!at)
        return name;
    *behind = 1;
    *domain = at + 1;
    return apr_pstrmemdup(pool, name, (apr_size_t)(at - name));
}

const char *delegate_principal(apr_pool_t *pool, krb5_context context, const delegate_who_t *who,
                               delegate_principal_t *principal)
{
    const char *domain, *account, *realm;
    int behind;

    principal->enterprise = 0;
    if (who->principal && strchr(who->principal, '@')) {
        principal->text = who->principal;
        return NULL;
    }
    account = split(pool, who->principal ? who->principal : who->user, &domain, &behind);
    if (!is_component(account) || (*domain && !is_component(domain)))
        return "a name with one of the characters / \\ @ in the account, or without an account, "
               "is no user of Kerberos (with certificates, SSLUserName says which part of the "
               "certificate is the name)";
    if (*domain && behind && who->domain == RPC_WHO_WITH_DOMAIN) {
        principal->enterprise = 1;
        principal->text = apr_pstrcat(pool, account, "@", domain, NULL);
        return NULL;
    }
    if (*domain && who->domain == RPC_WHO_WITH_DOMAIN) {
        realm = configured_realm(pool, context, domain);
        if (!realm)
            return apr_psprintf(pool, "no realm is known for the domain %s: krb5.conf needs the "
                                "line \"%s = REALM\" in [domain_realm]", domain, domain);
    }
    else if (!(realm = default_realm(pool, context)))
        return "krb5.conf has no default_realm";
    principal->text = apr_pstrcat(pool, account, "@", realm, NULL);
    return NULL;
}

const char *delegate_service(apr_pool_t *pool, krb5_context context, const char *service)
{
    const char *host = strchr(service, '/') + 1, *realm;

    if (strchr(host, '@'))
        return service;
    realm = configured_realm(pool, context, host);
    if (!realm)
        realm = default_realm(pool, context);
    return realm ? apr_pstrcat(pool, service, "@", realm, NULL) : NULL;
}
