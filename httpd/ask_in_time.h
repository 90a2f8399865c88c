/* rpc_ask_in_time: asks something that may never answer, such as a reverse look-up, without waiting
 * for ever.
 */
#ifndef RPC_ASK_IN_TIME_H
#define RPC_ASK_IN_TIME_H

#include <pthread.h>

#include <apr_time.h>

/* Who asks, one question at a time, so that no dead source keeps another from being asked. Static:
 * it outlives every question. */
typedef struct rpc_asker {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct rpc_question *question;      /* NULL: none is open */
    int abandoned;                      /* nobody waits for it any more */
} rpc_asker_t;
#define RPC_ASKER { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0 }

/* A question, part of its owner's struct. Set ask and forget. */
typedef struct rpc_question rpc_question_t;
struct rpc_question {
    void (*ask)(rpc_question_t *question);      /* on a thread of its own; uses no pool of the
                                                 * process */
    void (*forget)(rpc_question_t *question);   /* frees it */
    rpc_asker_t *asker;                         /* private */
};

/* 1: ask() has returned within TIME, and QUESTION is the caller's again. 0: it has not, or an
 * earlier one of ASKER still has not, and forget() is called some day. So a source that is dead
 * costs TIME once. On one thread for each ASKER. */
int rpc_ask_in_time(rpc_asker_t *asker, rpc_question_t *question, apr_interval_time_t time);

#endif
