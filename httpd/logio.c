/* httpd/logio.c: mod_logio lets others add to its counts, but not read them.
 *
 * Its record of a connection, which its hook makes, begins with both. Whether it still does is
 * tried out with each one that is made here: only then is one of a live connection read.
 */
#include "httpd/logio.h"

#include <apr_optional.h>
#include <http_config.h>
#include <http_connection.h>
#include <mod_log_config.h>
#include <http_core.h>

#include "httpd/module_hook.h"

#define TRIED_IN 3
#define TRIED_OUT 5

APR_DECLARE_OPTIONAL_FN(void, ap_logio_add_bytes_in, (conn_rec *c, apr_off_t bytes));

static const char NAME[] = "mod_logio.c";

static apr_off_t *counts_of(const conn_rec *c)
{
    module *logio = ap_find_linked_module(NAME);

    return logio ? ap_get_module_config(c->conn_config, logio) : NULL;
}

static void add_counts(conn_rec *c, apr_off_t in, apr_off_t out)
{
    APR_OPTIONAL_FN_TYPE(ap_logio_add_bytes_in) *add_in
        = APR_RETRIEVE_OPTIONAL_FN(ap_logio_add_bytes_in);
    APR_OPTIONAL_FN_TYPE(ap_logio_add_bytes_out) *add_out
        = APR_RETRIEVE_OPTIONAL_FN(ap_logio_add_bytes_out);

    if (add_in && add_out) {
        add_in(c, in);
        add_out(c, out);
    }
}

/* mod_logio's own hook, and nobody else's. */
static void make_record(conn_rec *c)
{
    ap_HOOK_pre_connection_t *hook = RPC_MODULE_HOOK(pre_connection, NAME);

    if (hook)
        hook(c, NULL);
}

static int begins_with_both(conn_rec *live)
{
    conn_rec *c = apr_pcalloc(live->pool, sizeof(*c));
    const apr_off_t *counts;

    c->pool = live->pool;
    c->conn_config = ap_create_conn_config(live->pool);
    make_record(c);
    counts = counts_of(c);
    if (!counts)
        return 0;
    add_counts(c, TRIED_IN, TRIED_OUT);
    return counts[0] == TRIED_IN && counts[1] == TRIED_OUT;
}

void rpc_logio_read(conn_rec *c, apr_off_t *in, apr_off_t *out)
{
    const apr_off_t *counts = counts_of(c);

    *in = *out = 0;
    if (!counts || !begins_with_both(c))
        return;
    *in = counts[0];
    *out = counts[1];
}

void rpc_logio_write(conn_rec *c, apr_off_t in, apr_off_t out)
{
    if (!ap_find_linked_module(NAME))
        return;
    make_record(c);
    if (counts_of(c))
        add_counts(c, in, out);
}
