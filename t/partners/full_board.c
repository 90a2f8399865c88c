/* A mod_rpcproxy whose board is full from the start: linked from the module's own objects, with
 * --wrap=rpc_board_create. For t/83-status-many.t, which asks it for its page.
 */
#include <stdio.h>

#include "base/clock.h"
#include "shared/board.h"

#define CONNECTIONS 100000u

apr_status_t __real_rpc_board_create(rpc_board_t **board, uint32_t most, apr_pool_t *pool);
apr_status_t __wrap_rpc_board_create(rpc_board_t **board, uint32_t most, apr_pool_t *pool);

/* Rows from the end, so that channels which come find theirs free. */
static void enter(rpc_board_t *board, uint32_t n, rpc_role_t role)
{
    rpc_board_row_t row = { .since = rpc_clock_now(), .role = role, .pid = 1 };
    int at = (int)(1000 + 2 * n + (role == RPC_OUTBOUND));

    snprintf(row.user, sizeof(row.user), "CONTOSO\\user%u", n / 10);
    snprintf(row.client, sizeof(row.client), "10.%u.%u.%u", n >> 16 & 255, n >> 8 & 255, n & 255);
    snprintf(row.target, sizeof(row.target), "mailbox.contoso.test:6001");
    snprintf(row.vhost, sizeof(row.vhost), "mail.contoso.test:443");
    row.keys[RPC_BOARD_OF_USER] = n / 10 + 1;
    row.keys[RPC_BOARD_OF_ADDRESS] = n + 1;
    row.keys[RPC_BOARD_OF_TARGET] = 1;
    rpc_board_enter(board, at, &row);
    rpc_board_claimed(board, at, (n + 1) * 0x9e3779b97f4a7c15u, row.since, 0, 0);
    rpc_board_reached(board, at, "mbx1.contoso.test[6001]");
    rpc_board_opened(board, at);
}

apr_status_t __wrap_rpc_board_create(rpc_board_t **board, uint32_t most, apr_pool_t *pool)
{
    apr_status_t rv = __real_rpc_board_create(board, most, pool);
    uint32_t n;

    for (n = 0; rv == APR_SUCCESS && n < CONNECTIONS; n++) {
        enter(*board, n, RPC_INBOUND);
        enter(*board, n, RPC_OUTBOUND);
    }
    return rv;
}
