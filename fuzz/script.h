/* script: how an input becomes a sequence of events, and RPC PDUs that differ from one another.
 *
 * An input is three bytes of settings and then steps of three bytes: what, who, how.
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <apr_pools.h>

#include "wire/dcerpc.h"
#include "base/log.h"
#include "wire/rts.h"

#include "fuzz.h"

#define SCRIPT_STEP 3
#define SCRIPT_STEPS_MAX 400

typedef struct script { const uint8_t *at, *end; } script_t;
typedef struct step { uint8_t op, who, arg; } step_t;

/* The next step; 0 at the end. */
int script_next(script_t *script, step_t *step);

/* With FUZZ_TRACE in the environment: each step, and all that is logged, on standard error. */
int script_tracing(void);
void script_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A log for the roles. */
void script_log(rpc_log_t *log);
/* A pool for one input; the parent of all is made once. */
apr_pool_t *script_pool(void);

/* ---- RPC PDUs, each with the number of its source and its own ---- */

#define TRAFFIC_MAX 512
#define TRAFFIC_MARKS 16

typedef struct traffic {
    unsigned sent;              /* PDUs made */
    unsigned arrived;           /* and come out at the other end */
    uint16_t size[TRAFFIC_MAX];
    uint8_t seen[TRAFFIC_MAX];
    unsigned marks[TRAFFIC_MARKS];  /* SENT at moments that divide the traffic */
    unsigned mark_count;
} traffic_t;

/* A size of PDU, from small to all that 16 bits allow. */
uint32_t traffic_size(unsigned choice);
/* Makes the next PDU of a source into BUF; 0 when it has made too many. */
size_t traffic_make(traffic_t *t, int source, uint32_t size, uint8_t *buf);
/* Gives the PDU in BUF, of another make, the next number of its source: in its call id. */
size_t traffic_stamp(traffic_t *t, int source, uint32_t size, uint8_t *buf);
/* Notes that what comes now is divided from what was sent before. */
void traffic_mark(traffic_t *t);
/* The source that a PDU names, or -1. */
int traffic_source(const uint8_t *pdu);
/* PDU, of SOURCE, has arrived: the next one, whole and unchanged. */
void traffic_arrive(traffic_t *t, int source, const uint8_t *pdu, uint32_t size);
/* The next one, whole; its bytes are the caller's to judge. Its number. */
unsigned traffic_arrive_any(traffic_t *t, int source, const uint8_t *pdu, uint32_t size);
/* The same where PDUs take several ways: on each without a gap, from NEXT on (-1: from any). */
void traffic_arrive_on(traffic_t *t, int source, int *next, const uint8_t *pdu, uint32_t size);
/* Has all up to one of the marks arrived, and no more? */
int traffic_at_mark(const traffic_t *t);

#endif
