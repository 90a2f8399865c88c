/* httpd/ask_in_time.c: each question on a thread of its own, which is left behind when it takes too
 * long. */
#include "httpd/ask_in_time.h"

#include "base/clock.h"
#include "base/thread.h"

static void *asking_thread(void *data)
{
    rpc_question_t *question = data;
    rpc_asker_t *asker = question->asker;

    question->ask(question);
    pthread_mutex_lock(&asker->lock);
    if (asker->abandoned)
        question->forget(question);
    asker->question = NULL;
    pthread_cond_signal(&asker->answered);
    pthread_mutex_unlock(&asker->lock);
    return NULL;
}

/* With the lock held. */
static int wait_for_answer(rpc_asker_t *asker, apr_interval_time_t time)
{
    struct timespec limit = rpc_clock_in(time);

    while (asker->question)
        if (pthread_cond_clockwait(&asker->answered, &asker->lock, CLOCK_MONOTONIC, &limit) != 0
            && asker->question) {
            asker->abandoned = 1;
            return 0;
        }
    return 1;
}

int rpc_ask_in_time(rpc_asker_t *asker, rpc_question_t *question, apr_interval_time_t time)
{
    int rv = 0;

    pthread_mutex_lock(&asker->lock);
    if (asker->question)
        question->forget(question);
    else {
        question->asker = asker;
        asker->question = question;
        asker->abandoned = 0;
        if (rpc_thread_start_detached(asking_thread, question) == 0)
            rv = wait_for_answer(asker, time);
        else {
            asker->question = NULL;
            question->forget(question);
        }
    }
    pthread_mutex_unlock(&asker->lock);
    return rv;
}
