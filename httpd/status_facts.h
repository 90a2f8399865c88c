/* httpd/status_facts.h: one request for the status page, and what all of its formats say: limits,
 * servers, times. (httpd/status_page.h says which sources make the page.)
 */
#ifndef RPC_STATUS_FACTS_H
#define RPC_STATUS_FACTS_H

#include <httpd.h>

#include "httpd/config.h"
#include "httpd/context.h"
#include "shared/view.h"

/* What was asked for, and when. */
typedef struct rpc_status_query {
    rpc_view_filter_t filter;
    const char *find_text, *state_text;     /* as written */
    apr_size_t rows, page;                  /* virtual connections of a page; its number, from 1 */
    int refresh;                            /* seconds; 0: never */
    int farm;                               /* the farm alone */
} rpc_status_query_t;

typedef struct rpc_status_request {
    request_rec *r;
    const rpc_context_t *context;
    const rpc_server_config_t *sc;
    rpc_status_query_t query;
    rpc_view_t *view;
    const char *token;                      /* for the buttons of the page for people */
    apr_time_t now;                         /* time of day */
    apr_time_t clock;                       /* rpc_clock_now() */
} rpc_status_request_t;

/* What was given for NAME in a query or a form; "": nothing. */
const char *rpc_status_value(const apr_table_t *given, const char *name);

/* A time of rpc_clock_now() as one of the day. */
apr_time_t rpc_status_day(const rpc_status_request_t *q, apr_time_t clock);

/* What is limited: how many there are, may be, and were at most. */
typedef struct rpc_status_limit {
    const char *directive, *what, *who;     /* WHO: the user or address with the most; "": all */
    uint64_t used, allowed;                 /* ALLOWED 0: no limit */
    uint64_t most;
} rpc_status_limit_t;
void rpc_status_limits(const rpc_status_request_t *q, rpc_status_limit_t limits[RPC_LIMITS]);

/* The word for a server's state: "up", "avoided", "suspect", "down" or "draining". */
const char *rpc_status_server_state(const rpc_health_view_t *server);
/* Channels at that server. */
apr_size_t rpc_status_server_channels(const rpc_status_request_t *q,
                                      const rpc_health_view_t *server);

/* The farm as this machine knows it, in the request's pool; NULL: RpcSharedStore is not set. */
const rpc_farm_facts_t *rpc_status_farm(const rpc_status_request_t *q);
/* All machines together. */
rpc_farm_sums_t rpc_status_farm_sums(const rpc_farm_facts_t *farm);
/* The word for a store's state: "up", "away" or "unknown". */
const char *rpc_status_store_state(const rpc_farm_store_t *store);

/* The formats. Each is in a source of its name. */
void rpc_status_html(const rpc_status_request_t *q);
void rpc_status_json(const rpc_status_request_t *q);
/* OLD: the text format of Prometheus; else OpenMetrics. */
void rpc_status_metrics(const rpc_status_request_t *q, int old);

#endif
