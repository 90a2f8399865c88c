/* rpc_list: doubly linked lists without a tail, for elements with the fields next and prev.
 *
 * HEAD is an expression for the pointer to the first element; NULL: the list is empty. An element
 * is in one such list at most, and the owner of the list is the only thread that touches it.
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

/* Takes E, which is in the list, out of it. */
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

#endif
