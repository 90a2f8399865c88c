/* rpc_row_index: finds the rows of a table in shared memory that have a key. A row may be entered
 * under one key of each kind. Like the table, the index has no lock: any process may die at any
 * instruction, and removing the rows of that process undoes what it had begun.
 *
 * A search that begins after an entry was added, and ends before it is removed, finds the entry.
 * All accesses are sequentially consistent.
 */
#ifndef RPC_ROW_INDEX_H
#define RPC_ROW_INDEX_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define RPC_ROW_INDEX_KINDS 8
/* The greatest number of rows. Numbers of rows are multiples of the unit, a power of two. */
#define RPC_ROW_INDEX_MAX (1u << 20)
#define RPC_ROW_INDEX_LEAST 1024u

typedef struct rpc_row_index {
    uint32_t rows;
    /* Shared, all zero at first. */
    _Atomic uint64_t *slots;
    _Atomic uint32_t *at;
    _Atomic uint8_t *reach;
} rpc_row_index_t;

/* The bytes that the index of a table of ROWS rows takes. */
size_t rpc_row_index_size(uint32_t rows);
/* BASE: zeroed memory of that size, which all processes share, aligned to 64 bytes. */
void rpc_row_index_init(rpc_row_index_t *index, void *base, uint32_t rows);

/* Enters ROW under KEY, which should look random, such as a hash. Only the owner of the row calls
 * this, and at most once for each KIND until the row is removed. */
void rpc_row_index_add(rpc_row_index_t *index, unsigned kind, uint64_t key, uint32_t row);
/* Removes ROW, if it was entered. Only the owner of the row calls this, or any process when the
 * owner is dead. */
void rpc_row_index_remove(rpc_row_index_t *index, unsigned kind, uint32_t row);

/* A walk over rows. It rarely returns a row of another key, so the caller compares the key of the
 * row itself. It returns no row twice while that stays entered. */
typedef struct rpc_row_walk {
    const rpc_row_index_t *index;
    unsigned kind;
    uint64_t hash, wanted;
    uint32_t mark, passed;                      /* slots that it has looked at */
    uint32_t first, count, home, reach, slot;   /* where it is */
} rpc_row_walk_t;

/* Begins a walk over the rows below MARK that are entered under KEY. */
rpc_row_walk_t rpc_row_index_walk(const rpc_row_index_t *index, unsigned kind, uint64_t key,
                                  uint32_t mark);
/* 1 and the next *ROW; 0: there is no other. */
int rpc_row_walk_next(rpc_row_walk_t *walk, uint32_t *row);

#endif
