/* rpc_board: what people may know of the live channels: who, from where, to what, since when, how
 * much. The status page reads it; no decision depends on it.
 *
 * It stands beside the channel table: a channel's row has the same number in both. The table holds
 * keyed hashes and decides; the board holds names and is read. Only the owner of a row writes it:
 * the worker that makes the channel, and then the thread of its loop. Readers see a whole row or
 * none: each row has a counter that is odd while the row is being written. A row whose process has
 * died meanwhile stays unreadable until the parent has given it back.
 *
 * Texts are cut to the room they have. Knows no httpd. Any process that has inherited the memory.
 */
#ifndef RPC_BOARD_H
#define RPC_BOARD_H

#include <apr_pools.h>
#include <apr_time.h>

#include "base/meter.h"
#include "wire/role.h"

typedef struct rpc_board rpc_board_t;

/* Bytes of each text, with its NUL; their sum is a multiple of 8. A server is looked for by its
 * name, which is therefore never cut: 255 characters and [65535]. */
#define RPC_BOARD_USER 80
#define RPC_BOARD_CLIENT 48
#define RPC_BOARD_VHOST 64
#define RPC_BOARD_TARGET 80
#define RPC_BOARD_SERVER 264

typedef enum {
    RPC_BOARD_BEGINNING,        /* its first PDU has not come */
    RPC_BOARD_CONNECTING,       /* to a server */
    RPC_BOARD_WAITING,          /* connected; for the server's answer, or the other half */
    RPC_BOARD_OPEN,
    RPC_BOARD_STATES
} rpc_board_state_t;

/* The user, his address and the server that he asks for, as limits tell them apart. */
typedef enum { RPC_BOARD_OF_USER, RPC_BOARD_OF_ADDRESS, RPC_BOARD_OF_TARGET, RPC_BOARD_KEYS }
    rpc_board_key_t;

/* What a row says. */
typedef struct rpc_board_row {
    char user[RPC_BOARD_USER];          /* "": nobody */
    char client[RPC_BOARD_CLIENT];      /* address */
    char vhost[RPC_BOARD_VHOST];        /* name:port */
    char target[RPC_BOARD_TARGET];      /* server:port, as asked for */
    char server[RPC_BOARD_SERVER];      /* host[port] that was reached; "": none yet */
    uint64_t serial;                    /* of the channel; 0: the row is free */
    uint64_t connection;                /* the public id of its virtual connection; 0: not known */
    int64_t since;                      /* rpc_clock_now() when the channel came */
    int64_t began;                      /* the same of its virtual connection; 0: not known */
    uint64_t in_before, out_before;     /* where the meter stood at its beginning */
    uint64_t keys[RPC_BOARD_KEYS];      /* what limits count it by; 0: they do not */
    uint32_t role;                      /* rpc_role_t; RPC_MIXED is version 1, others version 2 */
    uint32_t state;                     /* rpc_board_state_t */
    uint32_t successors;                /* of the virtual connection, when this channel came */
    uint32_t refused;                   /* binds */
    uint32_t of_user, of_address;       /* the limits that hold for it; 0: none */
    uint32_t pid;                       /* of the child */
    uint32_t slot;                      /* of the virtual connection's sums (shared/sums.h) and 1;
                                         * 0: none */
} rpc_board_row_t;

/* A row and its meter, as read. */
typedef struct rpc_board_view {
    rpc_board_row_t row;
    uint64_t in, out;                   /* bytes of this channel */
    int64_t heard;
} rpc_board_view_t;

/* With room for the rows below MOST; fewer if the system refuses so much memory. The rows live as
 * long as the process and its children. */
apr_status_t rpc_board_create(rpc_board_t **board, uint32_t most, apr_pool_t *pool);

/* ---- the owner of a row ---- */

/* Row ROW is taken for a channel. FIRST: texts, connection, since, role, pid, where what is not
 * known yet is 0. Returns the channel's view of its meter. Rows beyond the board's are not
 * shown. */
rpc_metered_t rpc_board_enter(rpc_board_t *board, int row, const rpc_board_row_t *first);
/* Its first PDU has named the virtual connection, whose sums are at SLOT. */
void rpc_board_claimed(rpc_board_t *board, int row, uint64_t connection, int64_t began,
                       uint32_t successors, uint32_t slot);
/* The server that was reached; NULL: that of its endpoint is not known yet. */
void rpc_board_reached(rpc_board_t *board, int row, const char *server);
void rpc_board_opened(rpc_board_t *board, int row);
void rpc_board_refused(rpc_board_t *board, int row, uint32_t refused);
/* The sums are no longer this channel's to give back. */
void rpc_board_forget_slot(rpc_board_t *board, int row);
/* The row is free. Also for a dead owner, by whoever gives its rows back. */
void rpc_board_leave(rpc_board_t *board, int row);

/* ---- anybody ---- */

/* The rows below this number may be in use. */
uint32_t rpc_board_mark(const rpc_board_t *board);
/* 1 and *VIEW; 0: the row is free, or was being written all the time. */
int rpc_board_read(const rpc_board_t *board, uint32_t row, rpc_board_view_t *view);
/* The row of a dead process, perhaps half written. 0: it is free. */
int rpc_board_read_dead(const rpc_board_t *board, uint32_t row, rpc_board_view_t *view);
/* The channel with this serial number, if it still has the row, is to end. */
void rpc_board_end(rpc_board_t *board, uint32_t row, uint64_t serial);

/* Bytes of all channels that ever were, for counters that never fall. */
typedef struct rpc_board_bytes {
    uint64_t in, out;
} rpc_board_bytes_t;
rpc_board_bytes_t rpc_board_total(const rpc_board_t *board);

#endif
