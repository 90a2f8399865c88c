/* httpd/endpoint_secret.c: one secret for the whole life of the server. */
#include "httpd/endpoint_secret.h"

#include <string.h>

#include <apr_general.h>
#include <httpd.h>
#include <http_config.h>

#include "wire/preface.h"

/* The number is that of the struct's layout: another version of the module never misreads it. */
#define KEPT_NAME "rpcproxy-endpoint-secret-1"

typedef struct kept_secret {
    char mark[8];       /* by which who may read the parent's memory, as the tests do, finds it */
    uint8_t bytes[RPC_PREFACE_SECRET];
} kept_secret_t;

apr_status_t rpc_endpoint_secret_make(void)
{
    uint8_t bytes[RPC_PREFACE_SECRET];
    kept_secret_t *kept;
    apr_status_t rv;

    if (rpc_endpoint_secret())
        return APR_SUCCESS;
    rv = apr_generate_random_bytes(bytes, sizeof(bytes));
    if (rv != APR_SUCCESS)
        return rv;
    kept = ap_retained_data_create(KEPT_NAME, sizeof(*kept));
    memcpy(kept->mark, "RPXY key", sizeof(kept->mark));
    memcpy(kept->bytes, bytes, sizeof(bytes));
    return APR_SUCCESS;
}

const uint8_t *rpc_endpoint_secret(void)
{
    const kept_secret_t *kept = ap_retained_data_get(KEPT_NAME);

    return kept ? kept->bytes : NULL;
}
