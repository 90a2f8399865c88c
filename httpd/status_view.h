/* httpd/status_view.h: what the status page shows of the live channels: the virtual connections,
 * with both halves in one, filtered and sorted.
 *
 * A view is made on a worker thread, from one walk over the board. It has a small entry for each
 * virtual connection; the texts of those that are shown are read from the board again, so a view of
 * 100,000 takes little memory. What has ended meanwhile is passed over.
 */
#ifndef RPC_STATUS_VIEW_H
#define RPC_STATUS_VIEW_H

#include <apr_hash.h>

#include "httpd/context.h"

#define RPC_VIEW_NO_ROW UINT32_MAX

typedef struct rpc_vc_view {
    uint64_t connection;            /* public id; 0: the channel has not said */
    uint32_t rows[2];               /* IN, or of version 1, and OUT; RPC_VIEW_NO_ROW: none */
    int64_t began, heard;           /* rpc_clock_now() */
    uint64_t in, out;               /* bytes of the channels that live */
    uint32_t state;                 /* rpc_board_state_t: the less advanced half's */
    uint32_t successors, refused;
    uint32_t channels;
    uint32_t version;               /* of the protocol */
    int matches;
    char key[24];                   /* of the column that it is sorted by */
} rpc_vc_view_t;

typedef enum {
    RPC_BY_USER, RPC_BY_CLIENT, RPC_BY_TARGET, RPC_BY_SERVER, RPC_BY_STATE, RPC_BY_SINCE, RPC_BY_IN,
    RPC_BY_OUT, RPC_BY_HEARD, RPC_BY_SUCCESSORS, RPC_BY_REFUSED, RPC_BY_COUNT
} rpc_view_column_t;

/* The name of a column in the query string. */
const char *rpc_view_column_name(rpc_view_column_t column);
const char *rpc_view_state_name(uint32_t state);

/* Which virtual connections; "" or 0: whichever. */
typedef struct rpc_view_filter {
    const char *find;               /* somewhere in a name, address, server or id, in any case */
    const char *user, *client, *target, *server;    /* exactly these */
    uint64_t connection;
    int state;                      /* rpc_board_state_t; -1: any */
    rpc_view_column_t by;
    int descending;
} rpc_view_filter_t;

/* The user or address with the most channels. */
typedef struct rpc_busiest {
    uint32_t count, row;            /* row: of one of the channels */
} rpc_busiest_t;

typedef struct rpc_view {
    rpc_vc_view_t *at;              /* those that match, sorted */
    size_t count;
    size_t all;                     /* virtual connections, matching or not */
    uint32_t channels;
    uint32_t states[RPC_ROLES][RPC_BOARD_STATES];   /* of these */
    rpc_busiest_t user, client, unpaired_user, unpaired_client;
    apr_hash_t *servers;            /* host[port] in lower case -> apr_size_t: channels */
} rpc_view_t;

/* In POOL; NULL: out of memory. */
rpc_view_t *rpc_view_make(const rpc_context_t *context, const rpc_view_filter_t *filter,
                          apr_pool_t *pool);

/* A row of the board with the server that the endpoint has told. 0: it is free. */
int rpc_view_row(const rpc_context_t *context, uint32_t row, rpc_board_view_t *view);
/* The texts of a virtual connection, from either half. 0: it has ended meanwhile. */
int rpc_view_texts(const rpc_context_t *context, const rpc_vc_view_t *vc, rpc_board_view_t *view);
/* Is the row, which is read, one that the exact texts of the filter name? */
int rpc_view_is(const rpc_view_filter_t *filter, const rpc_board_row_t *row);

#endif
