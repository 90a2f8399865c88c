/* rpc_status.c: rows are claimed and freed by compare-and-swap on the pid, so no lock is
 * shared with a child that may die at any moment.
 */
#include "rpc_status.h"

#include <unistd.h>

#include <apr_atomic.h>
#include <apr_shm.h>
#include <ap_mpm.h>
#include <http_config.h>

typedef struct status_row {
    volatile apr_uint32_t pid;      /* 0: free */
    volatile apr_uint32_t channels;
} status_row_t;

/* Per process; the rows are shared. */
typedef struct status {
    apr_uint32_t count;
    status_row_t *rows;
    status_row_t *mine;
} status_t;

static status_t *status;    /* per-process context, set in post_config */

apr_status_t rpc_status_init(apr_pool_t *pconf, server_rec *s)
{
    static const char key[] = "rpcproxy-status";
    apr_pool_t *forever = s->process->pool;
    apr_shm_t *shm;
    apr_status_t rv;
    int children = 1;

    status = ap_retained_data_get(key);
    if (status)
        return APR_SUCCESS;
    status = ap_retained_data_create(key, sizeof(*status));
    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &children);
    /* Children of several generations may live side by side. */
    status->count = (apr_uint32_t)children * 4 + 64;
    rv = apr_shm_create(&shm, status->count * sizeof(status_row_t), NULL, forever);
    if (rv == APR_SUCCESS) {
        status->rows = apr_shm_baseaddr_get(shm);
        memset(status->rows, 0, status->count * sizeof(status_row_t));
    }
    return rv;
}

void rpc_status_child_init(void)
{
    apr_uint32_t i, pid = (apr_uint32_t)getpid();

    status->mine = NULL;
    for (i = 0; i < status->count; i++) {
        if (apr_atomic_cas32(&status->rows[i].pid, pid, 0) == 0) {
            status->mine = &status->rows[i];
            apr_atomic_set32(&status->mine->channels, 0);
            return;
        }
    }
}

void rpc_status_child_gone(pid_t pid)
{
    apr_uint32_t i;

    for (i = 0; status && i < status->count; i++) {
        status_row_t *row = &status->rows[i];

        if (apr_atomic_read32(&row->pid) == (apr_uint32_t)pid) {
            apr_atomic_set32(&row->channels, 0);
            apr_atomic_set32(&row->pid, 0);
        }
    }
}

apr_uint32_t rpc_status_channels(void)
{
    apr_uint32_t i, sum = 0;

    for (i = 0; i < status->count; i++)
        sum += apr_atomic_read32(&status->rows[i].channels);
    return sum;
}

int rpc_status_enter(int max)
{
    if (!status->mine)
        return 0;
    apr_atomic_inc32(&status->mine->channels);
    if (rpc_status_channels() <= (apr_uint32_t)max)
        return 1;
    rpc_status_leave();
    return 0;
}

void rpc_status_leave(void)
{
    apr_atomic_dec32(&status->mine->channels);
}
