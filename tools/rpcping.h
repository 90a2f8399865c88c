/* rpcping: tells, layer by layer, whether an RPC server can be reached through an
 * RPC-over-HTTP proxy.
 *
 *   rpcping.c          one target, or the targets of a file
 *   rpcping_options.c  the command line
 *   rpcping_targets.c  what is tested: a URL and a server:port each, or a file of them
 *   rpcping_walk.c     the layers in order
 *   rpcping_bind.c     the layer of the bind: who has refused an interface
 *   rpcping_http.c     HTTP, TLS and authentication by libcurl: one channel, one request
 *   rpcping_answer.c   who has answered: the proxy, or another one behind it
 *   rpcping_explain.c  why a request failed: layer and words for people
 *   rpcping_vc.c       the client's half of [MS-RPCH] (3.2.2) and of DCE/RPC
 *   rpcping_limits.c   thresholds of time
 *   rpcping_report.c   the result for people and for monitoring; rpcping_json.c, for programs
 *
 * There is one thread. It waits only in ping_http_wait(), at most for the time that the user gave.
 */
#ifndef RPCPING_H
#define RPCPING_H

#include <curl/curl.h>
#include "wire/rts.h"
#include "wire/dcerpc.h"
#include "wire/flow.h"
#include "ndr.h"
#include "dce.h"

/* The layers in the order in which they are tried. The one that fails is the exit status. */
typedef enum {
    PING_OK = 0,
    PING_USAGE = 1,         /* of the command line; also out of memory */
    PING_ADDRESS = 2,       /* DNS, TCP */
    PING_TLS = 3,
    PING_AUTH = 4,          /* 401, 403 */
    PING_ECHO = 5,          /* something answers, but not as an RPC proxy */
    PING_CONNECTION = 6,    /* the virtual connection, so the server behind the proxy */
    PING_BIND = 7,
    PING_CALL = 8,
    PING_SLOW = 9,          /* all works, but not within --warning or --critical */
    PING_LAYERS
} ping_layer_t;

/* For people, and in lower case with _ for programs. */
const char *ping_layer_name(ping_layer_t layer);
const char *ping_layer_key(ping_layer_t layer);

/* What a monitoring system knows, by its exit statuses. */
typedef enum {
    PING_STATE_OK = 0, PING_STATE_WARNING = 1, PING_STATE_CRITICAL = 2, PING_STATE_UNKNOWN = 3
} ping_state_t;

const char *ping_state_name(ping_state_t state);

/* ---- the command line ---- */

/* -a any: the better of the two that take a password. */
#define PING_ANY_SCHEME (CURLAUTH_BASIC | CURLAUTH_NTLM)
#define PING_MAX_INTERFACES 16

/* "[@][start:][end]" of the monitoring plug-ins, in seconds. */
typedef struct ping_limit {
    const char *text;       /* as it was given; NULL: no limit */
    double start, end;
    int inside;             /* @: the alarm is inside the range, not outside of it */
} ping_limit_t;

/* Returns 0 when TEXT, which has to live as long as LIMIT, is no such range. */
int ping_limit_parse(ping_limit_t *limit, const char *text);
int ping_limit_alerts(const ping_limit_t *limit, double seconds);

typedef struct ping_options {
    char **copies;          /* the arguments, while the process list shows them without passwords */
    const char *user, *proxy, *netrc, *cacert, *path, *all;
    char *password;
    int insecure, quiet, nagios, json, verbose;
    unsigned long auth;     /* CURLAUTH_ bits */
    double timeout;         /* seconds, per layer */
    long count;             /* calls */
    double interval;        /* seconds between them */
    ping_limit_t warning, critical;     /* of the time that the test takes */
    ndr_syntax_t interface[PING_MAX_INTERFACES];    /* to bind to, beside mgmt */
    unsigned interfaces;
    const char *url, *server;           /* arguments; one may be missing with --all */
} ping_options_t;

/* What is tested. */
typedef struct ping_target {
    char *server;           /* "localhost:6001" */
    char *url;              /* whole, without user and password */
    char *host;             /* of the proxy, for messages */
    char *user, *password;  /* of the URL; NULL: those of the options */
    int tls;
} ping_target_t;

typedef struct ping_targets {
    ping_target_t *target;
    size_t count;
} ping_targets_t;

/* Takes passwords out of ARGV first of all. Returns 0 after ping_usage_error(). Free in either
 * case. */
int ping_options_parse(ping_options_t *o, int argc, char **argv);
void ping_options_free(ping_options_t *o);
/* What the first argument or a line of a file names. Each returns 0 after ping_usage_error(). */
int ping_targets_read(ping_targets_t *targets, const ping_options_t *o);
void ping_targets_free(ping_targets_t *targets);
/* A password for USER, from wherever one can be had; *PASSWORD is set only when it is NULL. */
int ping_password_complete(const ping_options_t *o, const char *user, char **password);

/* How errors of usage are to be told: as NAGIOS or JSON when one was asked for. Returns 0. */
__attribute__((format(printf, 2, 3)))
int ping_usage_error(const ping_options_t *o, const char *format, ...);

/* ---- what a test has shown ---- */

#define PING_TEXT_SIZE 768

/* Why something failed. */
typedef struct ping_reason {
    char text[PING_TEXT_SIZE];
    enum { PING_NO_CODE, PING_CODE_CURL, PING_CODE_HTTP, PING_CODE_RPC } kind;
    uint32_t code;          /* of libcurl, an HTTP status, an RPC status */
} ping_reason_t;

/* What the TLS handshake showed. */
typedef struct ping_tls {
    int known;
    char version[32], cipher[64], subject[256];
    char problem[128];      /* why the certificate is not trusted; empty when it is */
    int days_left;
} ping_tls_t;

/* Who has answered a request, as far as the answer tells. */
typedef struct ping_answerer {
    char server[128];       /* field Server; empty: not there */
    char via[256];          /* field Via: gateways that have passed the answer on */
    /* of the extended error information of an RPC error */
    enum { PING_NO_EEINFO, PING_EEINFO, PING_EEINFO_NAMELESS } eeinfo;  /* ... of mod_rpcproxy */
    int connecting;         /* the proxy could not connect to the server */
    char computer[64];
    uint32_t process;
} ping_answerer_t;

typedef enum { PING_NOT_TRIED, PING_WORKS, PING_FAILED } ping_outcome_t;

typedef struct ping_step {
    ping_outcome_t outcome;
    double ms;
    ping_reason_t reason;   /* of a layer that works: text alone */
} ping_step_t;

/* Who refuses a bind to an interface. */
typedef enum {
    PING_BOUND, PING_REJECTED, PING_BY_SERVER, PING_BY_FIREWALL
} ping_binding_t;

typedef struct ping_bound {
    ndr_syntax_t interface;
    int wanted;             /* without it the layer fails */
    ping_binding_t binding;
    uint16_t reason;        /* of the rejection */
} ping_bound_t;

typedef struct ping_result {
    const ping_options_t *options;
    const ping_target_t *target;
    ping_layer_t failed;
    ping_state_t state;
    ping_step_t step[PING_LAYERS];
    double ms;              /* all layers, without the pauses between calls */
    char ip[64];
    long port;
    ping_tls_t tls;
    char scheme[16], user[256];             /* empty: anonymous */
    ping_answerer_t echo;                   /* who answered the echo ... */
    ping_answerer_t refused;                /* ... and, if anybody, the request that failed */
    int answered;
    uint32_t window, in_timeout, out_timeout;   /* bytes and ms */
    unsigned frag;
    ping_bound_t bound[PING_MAX_INTERFACES + 1];
    unsigned bounds;
    ndr_syntax_t *interfaces;               /* of the server, by its own list */
    uint32_t interface_count;
    double call_min, call_max, call_sum;    /* ms */
    long calls;
} ping_result_t;

/* ---- one request ---- */

typedef struct ping_http {
    CURLM *multi;
    const ping_options_t *options;
    const ping_target_t *target;
    unsigned long auth;     /* the scheme in use, once known */
    ping_tls_t tls;
    const ping_answerer_t *echo;    /* for comparison; NULL: not there yet */
} ping_http_t;

typedef struct ping_channel {
    ping_http_t *http;
    CURL *easy;
    struct curl_slist *headers;
    const char *method;
    ndr_out_t body;         /* queued to be sent */
    size_t taken;           /* of it, by libcurl */
    int paused;             /* libcurl waits for more body */
    int tls_begun;          /* the TCP connection is there, the handshake has begun */
    unsigned requests;      /* heads sent: an authentication may take several */
    int identified;         /* the latest has named a user */
    char status_line[1088]; /* 2.1.2.1.3 has 1,024 bytes for the phrase */
    long status;            /* of the answer to the latest of them; 0: none yet */
    ping_answerer_t answerer;
    int done;               /* ended, RESULT says how */
    CURLcode result;
    char error[CURL_ERROR_SIZE];
    void (*take)(void *ctx, const uint8_t *data, size_t len);   /* body of a 200 */
    void *ctx;
} ping_channel_t;

/* Milliseconds of a monotonic clock. */
double ping_now(void);

int ping_http_start(ping_http_t *http, const ping_options_t *options, const ping_target_t *target);
void ping_http_end(ping_http_t *http);
/* Runs transfers until SATISFIED(ctx) or the time UNTIL (ms). Returns whether it is satisfied. */
int ping_http_wait(ping_http_t *http, double until, int (*satisfied)(void *ctx), void *ctx);

/* A request with a body of LENGTH bytes in all, of which DATA is the beginning. libcurl
 * notices that the peer closed a channel in mid-body only when it sends again. */
ping_channel_t *ping_channel_open(ping_http_t *http, const char *method, curl_off_t length,
                                  const void *data, size_t len,
                                  void (*take)(void *ctx, const uint8_t *data, size_t len),
                                  void *ctx);
void ping_channel_send(ping_channel_t *ch, const void *data, size_t len);
void ping_channel_close(ping_channel_t *ch);
/* Is the answer a final refusal? While libcurl authenticates, a 401 asks for its next message. */
int ping_channel_refused(const ping_channel_t *ch);

/* ---- who has answered ---- */

/* A line of an answer's head, its status line included. */
void ping_answerer_take(ping_answerer_t *who, const char *line, size_t len);
/* "Apache, behind front.example.com (Via)": TEXT, empty when nothing is known. */
const char *ping_answerer_text(const ping_answerer_t *who, char *text, size_t size);
/* Appends to the reason who has answered, and what follows when the echo was answered by somebody
 * else. ECHO may be NULL. */
void ping_answerer_explain(const ping_answerer_t *who, const ping_answerer_t *echo,
                           ping_reason_t *why);

/* Returns the layer at which CH failed, ELSE_LAYER when nothing shows an earlier one, and writes
 * the reason to *WHY. A channel that is not done has timed out. */
ping_layer_t ping_explain(const ping_channel_t *ch, ping_layer_t else_layer, ping_reason_t *why);

/* Writes the text of a reason; the code stays. */
__attribute__((format(printf, 2, 3)))
void ping_reason(ping_reason_t *why, const char *format, ...);
__attribute__((format(printf, 2, 3)))
void ping_reason_add(ping_reason_t *why, const char *format, ...);

/* ---- the virtual connection ---- */

typedef struct ping_vc {
    ping_http_t *http;
    ping_channel_t *in, *out;
    ping_channel_t *probe;          /* asks whether something in between buffers; mostly NULL */
    rts_cookie_t cookie, in_cookie, out_cookie, group;
    dcerpc_framer_t framer;
    rpc_flow_sender_t sender;       /* hop C->IP */
    rpc_flow_receiver_t receiver;   /* hop OP->C */
    int a3, c2;                     /* seen */
    uint32_t out_timeout, in_timeout, window;   /* announced, ms and bytes */
    const char *error;              /* the peer broke the protocol */
    uint32_t call_id;
    int answered;                   /* the answer to call_id is here whole */
    uint8_t ptype;                  /* of the answer */
    int little_endian;
    ndr_out_t answer;               /* its body behind the common header; stub of a response */
} ping_vc_t;

/* Starts both channels (3.2.2.4.1.2). Returns 0 when out of memory. */
int ping_vc_open(ping_vc_t *vc, ping_http_t *http);
/* VC may be zeroed: then nothing happens. */
void ping_vc_close(ping_vc_t *vc);
/* For ping_http_wait(): open, answered; each also true when the connection failed. */
int ping_vc_is_open(void *vc);
int ping_vc_is_answered(void *vc);
int ping_vc_failed(const ping_vc_t *vc);
/* The channel whose answer gives the reason for a failure; NULL: no answer does. */
const ping_channel_t *ping_vc_refusal(const ping_vc_t *vc);
/* Returns why it failed, or what is missing. To find this out, the function may wait once more for
 * as long as a layer may take. */
ping_layer_t ping_vc_explain(ping_vc_t *vc, ping_layer_t else_layer, ping_reason_t *why);

/* Each of these sends one PDU and forgets the previous answer. They return 0 when out of memory. */
int ping_vc_bind(ping_vc_t *vc, const ping_bound_t *bound, unsigned count);
int ping_vc_request(ping_vc_t *vc, uint16_t opnum);

/* Reads the answer to a bind, one result for each context asked for. Returns 0 and the reason in
 * *WHY when the whole bind was refused or the answer is malformed. */
int ping_vc_read_bind(const ping_vc_t *vc, ping_bound_t *bound, unsigned count, unsigned *frag,
                      ping_reason_t *why);
/* Returns 1 when the answer is a response, else 0 and in *WHY what it is. */
int ping_vc_read_call(const ping_vc_t *vc, ping_reason_t *why);

/* ---- the layers ---- */

typedef void (*ping_tell_t)(const ping_result_t *result, ping_layer_t layer);

/* A walk through the layers. */
typedef struct ping {
    const ping_options_t *options;
    ping_result_t *result;
    ping_tell_t tell;       /* NULL: nobody wants to know */
    double paused;          /* ms between calls */
    ping_http_t http;
    ping_vc_t vc;
} ping_t;

/* Tests one target. Free the result. */
void ping_walk(ping_result_t *result, const ping_options_t *options, const ping_target_t *target,
               ping_tell_t tell);
void ping_result_free(ping_result_t *result);

/* Notes what a layer came to, and tells it. */
__attribute__((format(printf, 4, 5)))
void ping_works(ping_t *p, ping_layer_t layer, double ms, const char *format, ...);
/* ... and ends the walk: returns 0. SINCE is when the layer began. */
int ping_fails(ping_t *p, ping_layer_t layer, double since, const ping_reason_t *why);

/* These return 1, or 0 with the layer that failed and the reason. *LAYER is at first the layer that
 * has failed if nothing shows an earlier one. */
int ping_connect(ping_t *p, ping_layer_t *layer, ping_reason_t *why);
int ping_await_answer(ping_t *p, ping_layer_t *layer, ping_reason_t *why);
/* Asks mgmt, on a bound connection, for the interfaces of the server. */
int ping_ask_interfaces(ping_t *p, ping_layer_t *layer, ping_reason_t *why);
int ping_out_of_memory(ping_layer_t *layer, ping_reason_t *why);

/* The layer of the bind. Returns 0 when the walk is over. */
int ping_walk_bind(ping_t *p);
/* Is mgmt bound, so that it can be called? */
int ping_has_mgmt(const ping_result_t *result);

/* "emsmdb 0.81", or the UUID and version. Returns TEXT. */
#define PING_INTERFACE_TEXT 64
const char *ping_interface_text(const ndr_syntax_t *interface, char text[PING_INTERFACE_TEXT]);

/* ---- reports ---- */

/* The one that the options ask for: start() before all, layer() at the end of each layer, target()
 * behind each target, end() behind all. Any may be NULL. */
typedef struct ping_report {
    void (*start)(const ping_targets_t *targets);
    ping_tell_t layer;
    void (*target)(const ping_result_t *result);
    void (*end)(const ping_result_t *results, size_t count);
} ping_report_t;

const ping_report_t *ping_report_of(const ping_options_t *o);
/* Milliseconds; 0: no call was answered. */
double ping_mean_call(const ping_result_t *result);
void ping_json_target(const ping_result_t *result);
void ping_json_usage(const char *message);
/* Prints TEXT in one line, without the character that performance data begins with. */
void ping_print_line(const char *text);
/* The state of COUNT targets: the worst of them all. */
ping_state_t ping_worst_state(const ping_result_t *results, size_t count);

#endif
