/* rpc_list: doubly linked lists, for elements with the fields next and prev.
 *
 * RPC_LIST_*: HEAD is an expression for the pointer to the first element; NULL: the list is empty.
 * RPC_QUEUE_*: Q points to a struct with the fields first and last, both NULL when the queue is
 * empty. So one can begin at either end, and append.
 *
 * An element is in one such list at most, and one thread at a time touches a list.
 */
#ifndef RPC_LIST_H
#define RPC_LIST_H

#include <stddef.h>

/* Puts E first. */
#define RPC_LIST_PUSH(head, e) \
    do { \
        (e)->prev = NULL; \
        (e)->next = (head); \
        if ((e)->next) \
            (e)->next->prev = (e); \
        (head) = (e); \
    } while (0)

/* Removes E, which is in the list. */
#define RPC_LIST_REMOVE(head, e) \
    do { \
        if ((e)->prev) \
            (e)->prev->next = (e)->next; \
        else \
            (head) = (e)->next; \
        if ((e)->next) \
            (e)->next->prev = (e)->prev; \
        (e)->next = (e)->prev = NULL; \
    } while (0)

/* Puts E first. */
#define RPC_QUEUE_PUSH(q, e) \
    do { \
        if (!(q)->first) \
            (q)->last = (e); \
        RPC_LIST_PUSH((q)->first, e); \
    } while (0)

/* Puts E last. */
#define RPC_QUEUE_APPEND(q, e) \
    do { \
        (e)->next = NULL; \
        (e)->prev = (q)->last; \
        if ((e)->prev) \
            (e)->prev->next = (e); \
        else \
            (q)->first = (e); \
        (q)->last = (e); \
    } while (0)

/* Removes E, which is in the queue. */
#define RPC_QUEUE_REMOVE(q, e) \
    do { \
        if ((q)->last == (e)) \
            (q)->last = (e)->prev; \
        RPC_LIST_REMOVE((q)->first, e); \
    } while (0)

#endif
