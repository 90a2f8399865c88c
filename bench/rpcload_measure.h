/* rpcload_measure: the measurements of rpcload. Each prints its results, one "name value" a line.
 */
#ifndef RPCLOAD_MEASURE_H
#define RPCLOAD_MEASURE_H

#include "rpcload.h"

typedef struct plan {
    load_t *load;
    proxy_t proxy;
    int count;              /* pings, MB, or virtual connections */
    int opening;            /* set-ups under way at a time */
    int ends_by_proxy;      /* crowd: the proxy is to end it */
} plan_t;

/* rpcload_work.c: one virtual connection at work */
void measure_ping(const plan_t *plan);
void measure_in(const plan_t *plan);
void measure_out(const plan_t *plan);
/* An echo about every millisecond, until the standard input ends. */
void measure_probe(const plan_t *plan);

/* rpcload_crowd.c: many virtual connections */

/* Opens COUNT; they are closed when the time has been taken. */
void measure_setups(const plan_t *plan);
/* The same, each closed as soon as it is open. */
void measure_storm(const plan_t *plan);
/* Opens COUNT, proves each by an echo, says "ready 1", and holds them until a line comes by the
 * standard input; then closes all at once. With ends_by_proxy it waits until the proxy has closed
 * them. */
void measure_crowd(const plan_t *plan);

void print_value(const char *name, double value);

#endif
