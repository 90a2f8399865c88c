/* rpc_ask_in_time: asks something that may never answer, such as a reverse look-up, without waiting
 * for ever.
 */
#ifndef RPC_ASK_IN_TIME_H
#define RPC_ASK_IN_TIME_H

#include <apr_time.h>

/* A question, part of its owner's struct. Set ask and forget. */
typedef struct rpc_question rpc_question_t;
struct rpc_question {
    void (*ask)(rpc_question_t *question);      /* on a thread of its own; uses no pool of the
                                                 * process */
    void (*forget)(rpc_question_t *question);   /* frees it */
};

/* 1: ask() has returned within TIME, and QUESTION is the caller's again. 0: it has not, or an
 * earlier one still has not, and forget() is called some day. So a source that is dead costs TIME
 * once. */
int rpc_ask_in_time(rpc_question_t *question, apr_interval_time_t time);

#endif
