/* shared/tally.c: buckets count their own values only; who shows them adds up. */
#include "shared/tally.h"

#include <apr_shm.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock would be one process's alone");

#define MS(n) ((apr_interval_time_t)(n) * 1000)
#define S(n) apr_time_from_sec(n)

const apr_interval_time_t rpc_setup_bounds[RPC_TALLY_BUCKETS - 1] = {
    MS(1), MS(2), MS(5), MS(10), MS(20), MS(50), MS(100), MS(200), MS(500), S(1), S(2), S(5), S(10),
    S(30), S(60)
};

const apr_interval_time_t rpc_life_bounds[RPC_TALLY_BUCKETS - 1] = {
    MS(100), S(1), S(5), S(15), S(60), S(300), S(900), S(1800), S(3600), S(2 * 3600), S(4 * 3600),
    S(8 * 3600), S(12 * 3600), S(24 * 3600), S(7 * 24 * 3600)
};

apr_status_t rpc_tally_create(rpc_tally_t **tally, apr_pool_t *pool)
{
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, sizeof(rpc_tally_t), NULL, pool);

    if (rv != APR_SUCCESS)
        return rv;
    *tally = apr_shm_baseaddr_get(shm);     /* anonymous, so zeroed */
    atomic_store(&(*tally)->started, apr_time_now());
    return APR_SUCCESS;
}

static void observe(rpc_histogram_t *histogram, const apr_interval_time_t *bounds,
                    apr_interval_time_t took)
{
    int i = 0;

    while (i < RPC_TALLY_BUCKETS - 1 && took > bounds[i])
        i++;
    rpc_count(&histogram->upto[i]);
    atomic_fetch_add_explicit(&histogram->microseconds, (uint64_t)(took > 0 ? took : 0),
                              memory_order_relaxed);
}

void rpc_tally_setup(rpc_tally_t *tally, rpc_role_t role, apr_interval_time_t took)
{
    rpc_count(&tally->opened[role]);
    observe(&tally->setup[role], rpc_setup_bounds, took);
}

void rpc_tally_life(rpc_tally_t *tally, rpc_role_t role, apr_interval_time_t took)
{
    observe(&tally->life[role], rpc_life_bounds, took);
}
