/* rpc_view: what the board says of the virtual connections: both halves in one row, counted,
 * filtered and sorted, for the status page.
 *
 * A view takes 16 bytes for each channel that lives, and RPC_VIEW_MOST rows at a time, whatever the
 * size of the table: rows are read from the board again whenever they are wanted. So what ends
 * meanwhile is passed over, and what changes in the column that rows are sorted by may be missed or
 * come twice. Knows no httpd. One thread for each view; it never waits for the owner of a row.
 */
#ifndef RPC_VIEW_H
#define RPC_VIEW_H

#include <stddef.h>

#include "shared/board.h"
#include "shared/sums.h"
#include "shared/tally.h"

#define RPC_VIEW_NO_ROW UINT32_MAX

typedef struct rpc_vc_view {
    uint64_t connection;            /* public id; 0: the channel has not said */
    uint32_t rows[2];               /* IN, or of version 1, and OUT; RPC_VIEW_NO_ROW: none */
    int64_t came[2];                /* when these did; a successor after its predecessor */
    int64_t began, heard;           /* rpc_clock_now() */
    uint64_t in, out;               /* bytes of the channels that live */
    uint32_t state;                 /* rpc_board_state_t: the less advanced half's */
    uint32_t successors, refused;
    uint32_t channels;
    uint32_t version;               /* of the protocol */
    int matches;
    char key[24];                   /* of the column that it is sorted by, if that is a text */
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

/* The user, address or target with the most channels. */
typedef struct rpc_busiest {
    uint32_t count, row;            /* row: of one of the channels */
} rpc_busiest_t;

/* A channel, by one of its names. */
typedef struct rpc_view_item {
    uint64_t key;                   /* hash of a name, or the public id */
    uint32_t row;
    uint32_t n;                     /* 1: it is open; of a server: its channels */
} rpc_view_item_t;

typedef struct rpc_view {
    uint32_t channels;
    uint32_t states[RPC_ROLES][RPC_BOARD_STATES];   /* of these */
    rpc_busiest_t user, client, unpaired_user, unpaired_client, unpaired_target;
    size_t all, matching;           /* virtual connections */
    rpc_vc_view_t *at;              /* those that rpc_view_next() has found, sorted */
    size_t count;
    /* view.c's own. */
    const rpc_board_t *board;
    const rpc_sums_t *sums;
    const rpc_view_filter_t *filter;
    rpc_view_item_t *items, *servers;
    size_t item_count, item_room, server_count, room;
    rpc_vc_view_t last;             /* what was found before is not behind it */
    int more;                       /* LAST is one */
} rpc_view_t;

/* Counts what is there. FILTER stays as long as the view, which lives in POOL. NULL: out of
 * memory. */
rpc_view_t *rpc_view_make(const rpc_board_t *board, const rpc_sums_t *sums,
                          const rpc_view_filter_t *filter, apr_pool_t *pool);
/* The next virtual connections that match, MOST at most, into AT and COUNT. 0: there is none, or
 * memory has run out. */
#define RPC_VIEW_MOST 16384u
size_t rpc_view_next(rpc_view_t *view, size_t most);
/* Passes over so many. */
void rpc_view_skip(rpc_view_t *view, size_t count);
/* Channels at a server, "host[port]". */
size_t rpc_view_at_server(const rpc_view_t *view, const char *server);

/* A row of the board with the server that the endpoint has told. 0: it is free. */
int rpc_view_row(const rpc_board_t *board, const rpc_sums_t *sums, uint32_t row,
                 rpc_board_view_t *view);
/* The texts of a virtual connection, from either half. 0: it has ended meanwhile. */
int rpc_view_texts(const rpc_view_t *view, const rpc_vc_view_t *vc, rpc_board_view_t *texts);
/* Is the row, which is read, one that the exact texts of the filter name? */
int rpc_view_is(const rpc_view_filter_t *filter, const rpc_board_row_t *row);

#endif
