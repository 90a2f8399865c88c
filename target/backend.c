/* target/backend.c: rpc_backend_parse() reads the RpcBackend directives, rpc_target_places() finds
 * the servers for a target with them.
 */
#include <stdlib.h>
#include <string.h>
#include <apr_cstr.h>
#include <apr_strings.h>
#include <apr_uri.h>
#include "target/backend.h"
#include "target/pattern.h"

/* What the host of a URL consists of, with a port. */
#define URL_HOST "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"

/* ---- RpcBackend ---- */

/* "weight=3" behind a binding. */
static apr_status_t parse_weight(const rpc_syntax_t *x, rpc_place_t *place)
{
    const char *digits = x->text + 7;
    apr_size_t len = strlen(digits);

    if (!place || place->weight)
        return rpc_syntax_fail(x, x->text, strlen(x->text), "a binding before the weight");
    if (!len || len > 4 || strspn(digits, "0123456789") != len || !(place->weight = atoi(digits)))
        return rpc_syntax_fail(x, x->text, strlen(x->text), "a weight from 1 to 9999");
    return APR_SUCCESS;
}

static int is_url(const char *text)
{
    return !apr_cstr_casecmpn(text, "https://", 8) || !apr_cstr_casecmpn(text, "http://", 7)
           || !apr_cstr_casecmpn(text, "balancer://", 11);
}

/* A host, perhaps a port, and whatever path and query. */
static apr_status_t parse_url(const rpc_syntax_t *x, const char *text, rpc_place_t *place)
{
    const char *host = strstr(text, "://") + 3, *end = host + strcspn(host, "/?");
    apr_uri_t uri;

    if (end == host || strspn(host, URL_HOST) < (size_t)(end - host) || *end == '?'
        || apr_uri_parse(x->pool, text, &uri) != APR_SUCCESS)
        return rpc_syntax_fail(x, text, strlen(text),
                               "scheme://host, perhaps with :port and /path");
    if (strcspn(text, "# \t") < strlen(text))
        return rpc_syntax_fail(x, text, strlen(text), "a URL without '#' and blanks");
    place->url = apr_pstrdup(x->pool, text);
    return APR_SUCCESS;
}

static apr_status_t parse_place(const rpc_syntax_t *x, rpc_backend_t *be, const char *text)
{
    rpc_place_t *place = &be->places[be->count];
    const char *name;
    apr_status_t rv;

    if (be->count == RPC_ROUTE_MAX)
        return rpc_syntax_fail(x, text, strlen(text), "at most %d servers", RPC_ROUTE_MAX);
    if (be->count && !is_url(text) != !be->places[0].url)
        return rpc_syntax_fail(x, text, strlen(text), "bindings alone, or URLs alone");
    if (!is_url(text) && strchr(text, '/'))     /* which no binding has */
        return rpc_syntax_fail(x, text, strlen(text),
                               "a URL of http://, https:// or balancer://");
    rv = is_url(text) ? parse_url(x, text, place)
                      : rpc_binding_parse(x->pool, text, &place->binding, x->err);
    if (rv != APR_SUCCESS)
        return rv;
    name = place->url ? place->url : place->binding.host;
    if (strchr(name, '*') && !strchr(be->pattern, '*'))
        return rpc_syntax_fail(x, text, strlen(text),
                               "a '*' in the first argument, whose text this one repeats");
    if (strchr(name, '*') != strrchr(name, '*'))
        return rpc_syntax_fail(x, text, strlen(text), "one '*' at most");
    if (be->count && place->binding.protseq != be->places[0].binding.protseq)
        return rpc_syntax_fail(x, text, strlen(text),
                               "the same protocol sequence as in the bindings before it");
    be->count++;
    return APR_SUCCESS;
}

/* If any server has a weight, the servers without one get the weight 1. */
static void complete_weights(rpc_backend_t *be)
{
    int i, any = 0;

    for (i = 0; i < be->count; i++)
        any |= be->places[i].weight;
    for (i = 0; any && i < be->count; i++) {
        if (be->places[i].weight)
            continue;
        be->places[i].weight = 1;
        be->lacks_weights = 1;
    }
}

static apr_status_t parse_places(apr_pool_t *pool, const char *const *args, int count,
                                 rpc_backend_t *be, rpc_syntax_error_t *err, int *arg)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; i < count && rv == APR_SUCCESS; i++) {
        rpc_syntax_t x = { pool, args[i], err };

        *arg = i + 2;
        if (!strncmp(args[i], "weight=", 7))
            rv = parse_weight(&x, be->count ? &be->places[be->count - 1] : NULL);
        else
            rv = parse_place(&x, be, args[i]);
    }
    complete_weights(be);
    return rv;
}

/* "env=NAME" stands alone behind the pattern. */
static apr_status_t parse_env(apr_pool_t *pool, const char *const *args, int count,
                              rpc_backend_t *be, rpc_syntax_error_t *err, int *arg)
{
    const char *text = args[1], *more = count > 2 ? args[2] : "";

    *arg = count > 2 ? 3 : 2;
    if (count > 2)
        return rpc_syntax_fail(&(rpc_syntax_t){ pool, more, err }, more, strlen(more),
                               "nothing after env=NAME, because the variable names the servers");
    if (!text[4])
        return rpc_syntax_fail(&(rpc_syntax_t){ pool, text, err }, text, strlen(text),
                               "the name of a variable after env=, as in env=RPC_PLACE");
    be->env = text + 4;
    return APR_SUCCESS;
}

apr_status_t rpc_backend_parse(apr_pool_t *pool, const char *const *args, int count,
                               rpc_backend_t **backend, rpc_syntax_error_t *err, int *arg)
{
    rpc_backend_t *be = apr_pcalloc(pool, sizeof *be);
    rpc_valid_port_t entry;
    apr_status_t rv;
    int i;

    *arg = 1;
    if ((rv = rpc_valid_port_parse(pool, args[0], 1, &entry, err)) != APR_SUCCESS)
        return rv;
    be->pattern = entry.server;
    be->low = entry.low;
    be->high = entry.high;
    rv = !strncmp(args[1], "env=", 4) ? parse_env(pool, args, count, be, err, arg)
                                      : parse_places(pool, args + 1, count - 1, be, err, arg);
    if (rv != APR_SUCCESS)
        return rv;
    be->text = args[0];
    for (i = 1; i < count; i++)
        be->text = apr_pstrcat(pool, be->text, " ", args[i], NULL);
    *backend = be;
    return APR_SUCCESS;
}

/* ---- where a target is ---- */

int rpc_nspi_port(const rpc_nspi_t *nspi, apr_port_t port)
{
    int i;

    for (i = 0; nspi->ports && i < nspi->ports->nelts; i++) {
        if (APR_ARRAY_IDX(nspi->ports, i, apr_port_t) == port)
            return 1;
    }
    return 0;
}

/* Fills in the port and the star. Returns 0 when the part of the client's name that matches the
 * star may not become part of another name. */
static int complete_binding(apr_pool_t *pool, const rpc_backend_t *be, const rpc_target_t *target,
                            rpc_place_t *place)
{
    char *star = strchr(place->binding.host, '*');

    if (!place->binding.port)
        place->binding.port = target->port;
    if (star) {
        const char *text = rpc_pattern_captured(pool, be->pattern, target->server);

        if (!text)
            return 0;
        place->binding.host = apr_pstrcat(pool,
                                          apr_pstrmemdup(pool, place->binding.host,
                                                         (apr_size_t)(star - place->binding.host)),
                                          text, star + 1, NULL);
    }
    place->named = !star;
    return 1;
}

/* The bindings that a variable of the request names, written as for RpcBackend, or separated by
 * commas, because the values of a RewriteMap have no blanks. */
static const rpc_backend_t *from_variable(apr_pool_t *pool, const rpc_directory_t *directory,
                                          const rpc_backend_t *be, const char **why)
{
    const char *value = directory->variable ? directory->variable(directory->ctx, be->env) : NULL,
               *word;
    const char *args[2 * RPC_ROUTE_MAX + 1] = { be->pattern };
    rpc_syntax_error_t err;
    rpc_backend_t *found;
    int count = 1, arg;
    char *state;

    if (!value || !*value) {
        *why = apr_psprintf(pool, "RpcBackend %s: the variable is not set", be->text);
        return NULL;
    }
    for (word = apr_strtok(apr_pstrdup(pool, value), " \t,", &state);
         word && count <= 2 * RPC_ROUTE_MAX; word = apr_strtok(NULL, " \t,", &state))
        args[count++] = word;
    if (count > 1 && rpc_backend_parse(pool, args, count, &found, &err, &arg) == APR_SUCCESS
        && !found->env && !found->places[0].url)
        return found;
    *why = apr_psprintf(pool, "RpcBackend %s: \"%s\" is not a list of bindings", be->text, value);
    return NULL;
}

static int places_of(apr_pool_t *pool, const rpc_directory_t *directory, const rpc_backend_t *be,
                     const rpc_target_t *target, rpc_place_t *places, const char **why)
{
    const rpc_backend_t *from = be->env ? from_variable(pool, directory, be, why) : be;
    int i;

    if (!from)
        return 0;
    if (from->places[0].url) {
        *why = apr_psprintf(pool, "RpcBackend %s: another module has kept mod_proxy from passing "
                            "the request on", from->text);
        return 0;
    }
    for (i = 0; i < from->count; i++) {
        places[i] = from->places[i];
        if (!complete_binding(pool, from, target, &places[i])) {
            *why = apr_psprintf(pool,
                                "RpcBackend %s: the text that '*' matches must consist of letters, "
                                "digits, '-' and '_', because a dot would lead to another domain",
                                be->text);
            return 0;
        }
        places[i].named &= from == be;      /* a variable may contain text from the client */
    }
    return from->count;
}

static const rpc_backend_t *find_backend(const apr_array_header_t *backends,
                                         const rpc_target_t *target)
{
    int i;

    for (i = 0; backends && i < backends->nelts; i++) {
        const rpc_backend_t *be = APR_ARRAY_IDX(backends, i, const rpc_backend_t *);

        if (target->port >= be->low && target->port <= be->high
            && rpc_pattern_match(be->pattern, target->server))
            return be;
    }
    return NULL;
}

static const rpc_backend_t *first_upstream(const apr_array_header_t *backends)
{
    int i;

    for (i = 0; backends && i < backends->nelts; i++) {
        const rpc_backend_t *be = APR_ARRAY_IDX(backends, i, const rpc_backend_t *);

        if (be->upstream)
            return be;
    }
    return NULL;
}

/* Global catalogs have a RpcBackend of their own, whose URLs may be several. */
static const rpc_backend_t *nspi_upstream(const rpc_directory_t *directory,
                                          const rpc_target_t *target)
{
    const rpc_nspi_t *nspi = &directory->nspi;
    int i;

    for (i = 0; i < nspi->servers->nelts; i++) {
        rpc_target_t gc = { APR_ARRAY_IDX(nspi->servers, i, const char *),
                            nspi->port ? nspi->port : target->port };
        const rpc_backend_t *be = find_backend(directory->backends, &gc);

        if (be && be->upstream)
            return be;
    }
    return NULL;
}

const rpc_backend_t *rpc_target_upstream(const rpc_directory_t *directory,
                                         const rpc_target_t *target)
{
    const rpc_backend_t *be;

    if (!target)
        return first_upstream(directory->backends);
    if (directory->nspi.servers && rpc_nspi_port(&directory->nspi, target->port))
        return nspi_upstream(directory, target);
    be = find_backend(directory->backends, target);
    return be && be->upstream ? be : NULL;
}

static int server_places(apr_pool_t *pool, const rpc_directory_t *directory,
                         const rpc_target_t *target, rpc_place_t *places,
                         const rpc_backend_t **backend, const char **why)
{
    const rpc_backend_t *be = find_backend(directory->backends, target);

    if (backend)
        *backend = be;
    if (be)
        return places_of(pool, directory, be, target, places, why);
    places[0] = (rpc_place_t){ .binding = { RPC_PROTSEQ_HTTP, target->server, target->port } };
    return 1;
}

/* The place of each global catalog, by its own RpcBackend; each has an equal share of the
 * clients. */
static int nspi_places(apr_pool_t *pool, const rpc_directory_t *directory,
                       const rpc_target_t *target, rpc_place_t *places,
                       const rpc_backend_t **backend, const char **why)
{
    const rpc_nspi_t *nspi = &directory->nspi;
    int i, count = 0;

    for (i = 0; i < nspi->servers->nelts && count < RPC_ROUTE_MAX; i++) {
        rpc_target_t gc = { APR_ARRAY_IDX(nspi->servers, i,
                                          const char *), nspi->port ? nspi->port : target->port };
        rpc_place_t found[RPC_ROUTE_MAX];

        if (!server_places(pool, directory, &gc, found, backend, why))
            return 0;
        if (count && found[0].binding.protseq != places[0].binding.protseq)
            continue;
        places[count] = found[0];
        places[count].named = 1;
        places[count++].weight = 1;
    }
    return count;
}

int rpc_target_places(apr_pool_t *pool, const rpc_directory_t *directory,
                      const rpc_target_t *target, rpc_place_t *places,
                      const rpc_backend_t **backend, const char **why)
{
    *why = NULL;
    if (directory->nspi.servers && rpc_nspi_port(&directory->nspi, target->port))
        return nspi_places(pool, directory, target, places, backend, why);
    return server_places(pool, directory, target, places, backend, why);
}
