/* httpd/interned.c: a list and a table that only grow. */
#include "httpd/interned.h"

#include <pthread.h>
#include <stdlib.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_tables.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    apr_pool_t *pool;
    apr_array_header_t *rules;      /* const rpc_firewall_rules_t * */
    apr_hash_t *networks;           /* by their text */
} kept;

void rpc_interned_start(apr_pool_t *pool)
{
    apr_pool_create(&kept.pool, pool);
    kept.rules = apr_array_make(kept.pool, 8, sizeof(const rpc_firewall_rules_t *));
    kept.networks = apr_hash_make(kept.pool);
}

static const rpc_firewall_rules_t *find_rules(const rpc_firewall_rules_t *rules)
{
    int i;

    for (i = 0; i < kept.rules->nelts; i++) {
        const rpc_firewall_rules_t *known = APR_ARRAY_IDX(kept.rules, i,
                                                          const rpc_firewall_rules_t *);

        if (rpc_firewall_rules_equal(known, rules))
            return known;
    }
    rules = rpc_firewall_rules_clone(kept.pool, rules);
    APR_ARRAY_PUSH(kept.rules, const rpc_firewall_rules_t *) = rules;
    return rules;
}

const rpc_firewall_rules_t *rpc_interned_rules(const rpc_firewall_rules_t *rules)
{
    if (!rules)
        return NULL;
    pthread_mutex_lock(&lock);
    rules = find_rules(rules);
    pthread_mutex_unlock(&lock);
    return rules;
}

/* A list of networks is what its text says. */
static const rpc_networks_t *find_networks(const rpc_networks_t *networks)
{
    const char *text = rpc_networks_text(networks);
    rpc_networks_t *known = apr_hash_get(kept.networks, text, APR_HASH_KEY_STRING);
    rpc_syntax_error_t err;

    if (known)
        return known;
    text = apr_pstrdup(kept.pool, text);
    if (rpc_networks_parse(kept.pool, text, NULL, &known, &err) != APR_SUCCESS)
        abort();    /* it has been parsed before */
    apr_hash_set(kept.networks, text, APR_HASH_KEY_STRING, known);
    return known;
}

const rpc_networks_t *rpc_interned_networks(const rpc_networks_t *networks)
{
    if (!networks)
        return NULL;
    pthread_mutex_lock(&lock);
    networks = find_networks(networks);
    pthread_mutex_unlock(&lock);
    return networks;
}
