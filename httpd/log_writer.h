/* rpc_log_writer: a thread that writes lines, so that nobody else waits for a log.
 *
 * Lines wait in a queue that holds so many bytes and no more. What comes when it is full is dropped
 * and counted, and the log says how much when it takes lines again.
 */
#ifndef RPC_LOG_WRITER_H
#define RPC_LOG_WRITER_H

#include <apr_errno.h>
#include <apr_pools.h>
#include <apr_time.h>

typedef struct rpc_log_writer rpc_log_writer_t;

/* A line that waits, part of its owner's struct. Set write, drop and size; the rest is private. */
typedef struct rpc_line rpc_line_t;
struct rpc_line {
    void (*write)(rpc_line_t *line, apr_pool_t *pool);  /* writes and frees it. POOL is for the
                                                         * call */
    void (*drop)(rpc_line_t *line);     /* frees it */
    size_t size;                        /* bytes of memory that it holds */
    apr_time_t given;
    rpc_line_t *next;
};

/* Starts a thread, signals blocked, whose queue holds ROOM bytes. MISSING writes that so many lines
 * have been dropped; on the thread. Nothing of it is in a pool. */
apr_status_t rpc_log_writer_start(rpc_log_writer_t **writer, size_t room,
                                  void (*missing)(unsigned long lines));

/* Hands LINE over, which WRITER frees in any case. LINE may be NULL: one that there was no memory
 * for. Returns how many lines have been dropped without a word so far, this one included; 0: it
 * will be written. Any thread that no signal handler interrupts. */
unsigned long rpc_log_writer_give(rpc_log_writer_t *writer, rpc_line_t *line);

/* For how long LINE has waited. */
apr_interval_time_t rpc_line_age(const rpc_line_t *line);

/* Waits at most TIME until all lines are written, then ends the thread. What is left is lost, and
 * so is what comes later; returns how many lines are. WRITER itself stays, since the process
 * ends. */
unsigned long rpc_log_writer_finish(rpc_log_writer_t *writer, apr_interval_time_t time);

#endif
