/* httpd/ask_in_time.c: one question at a time of this process, each on a thread of its own. */
#include "httpd/ask_in_time.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct asking {
    rpc_question_t *question;       /* NULL: none is open */
    unsigned abandoned:1;           /* nobody waits any more */
} open;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

static void *asking_thread(void *data)
{
    rpc_question_t *question = data;

    question->ask(question);
    pthread_mutex_lock(&lock);
    if (open.abandoned)
        question->forget(question);
    open.question = NULL;
    pthread_cond_signal(&answered);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* With the lock held. */
static int wait_for_answer(apr_interval_time_t time)
{
    struct timespec limit = rpc_clock_in(time);

    while (open.question)
        if (pthread_cond_clockwait(&answered, &lock, CLOCK_MONOTONIC, &limit) != 0
            && open.question) {
            open.abandoned = 1;
            return 0;
        }
    return 1;
}

int rpc_ask_in_time(rpc_question_t *question, apr_interval_time_t time)
{
    int rv = 0;

    pthread_mutex_lock(&lock);
    if (open.question)
        question->forget(question);
    else {
        open.question = question;
        open.abandoned = 0;
        if (rpc_thread_start_detached(asking_thread, question) == 0)
            rv = wait_for_answer(time);
        else {
            open.question = NULL;
            question->forget(question);
        }
    }
    pthread_mutex_unlock(&lock);
    return rv;
}
