/* io/timers.c: a pairing heap. It is a tree in which no timer is due before its parent; the
 * children of one parent are a list. To set or cancel a timer costs little, however many there are:
 * the order of those behind the first is found out when these come to the front.
 */
#include "io/timers.h"

/* Of two trees one: the root that is due later becomes the first child of the other. */
static rpc_timer_t *meld(rpc_timer_t *a, rpc_timer_t *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->due < a->due)
        return meld(b, a);
    b->next = a->child;
    if (b->next)
        b->next->link = &b->next;
    b->link = &a->child;
    a->child = b;
    return a;
}

/* Of the list that begins with CHILD one tree: two by two from its beginning, then all pairs. */
static rpc_timer_t *meld_all(rpc_timer_t *child)
{
    rpc_timer_t *pairs = NULL, *tree = NULL, *pair, *next;

    for (; child; child = next) {
        next = child->next ? child->next->next : NULL;
        pair = meld(child, child->next);
        pair->next = pairs;
        pairs = pair;
    }
    for (; pairs; pairs = next) {
        next = pairs->next;
        tree = meld(pairs, tree);
    }
    return tree;
}

static void put_first(rpc_timers_t *timers, rpc_timer_t *root)
{
    timers->first = root;
    if (root) {
        root->link = &timers->first;
        root->next = NULL;
    }
}

void rpc_timers_set(rpc_timers_t *timers, rpc_timer_t *timer, apr_time_t due)
{
    rpc_timers_cancel(timers, timer);
    timer->due = due;
    timer->child = NULL;
    put_first(timers, meld(timers->first, timer));
}

void rpc_timers_cancel(rpc_timers_t *timers, rpc_timer_t *timer)
{
    if (!timer->link)
        return;
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    timer->link = NULL;
    put_first(timers, meld(timers->first, meld_all(timer->child)));
}

rpc_timer_t *rpc_timers_first(const rpc_timers_t *timers)
{
    return timers->first;
}
