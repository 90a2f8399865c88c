/* rpcping: tells, layer by layer, whether an RPC server can be reached through an
 * RPC-over-HTTP proxy.
 *
 *   rpcping.c          the layers in order, the report
 *   rpcping_options.c  the command line
 *   rpcping_http.c     HTTP, TLS and authentication by libcurl: one channel, one request
 *   rpcping_explain.c  why a request failed: layer and words for people
 *   rpcping_vc.c       the client's half of [MS-RPCH] (3.2.2) and of DCE/RPC
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
    PING_CALL = 8
} ping_layer_t;

/* -a any: the better of the two that take a password. */
#define PING_ANY_SCHEME (CURLAUTH_BASIC | CURLAUTH_NTLM)

typedef struct ping_options {
    char *user, *password;
    char *proxy, *netrc, *cacert;
    int insecure, quiet, nagios, verbose;
    unsigned long auth;     /* CURLAUTH_ bits */
    double timeout;         /* seconds, per layer */
    long count;             /* calls */
    double interval;        /* seconds between them */
    char *path;             /* of the proxy, "/rpc/rpcproxy.dll" */
    char *server;           /* "localhost:6001" */
    char *url;              /* whole */
    char *host;             /* of the proxy, for messages */
    int tls;
} ping_options_t;

/* Returns 0 after a message about what is wrong. Free in either case. */
int ping_options_parse(ping_options_t *o, int argc, char **argv);
void ping_options_free(ping_options_t *o);

/* What the TLS handshake showed. */
typedef struct ping_tls {
    int known;
    char version[32], cipher[64], subject[256];
    char problem[128];      /* why the certificate is not trusted; empty when it is */
    int days_left;
} ping_tls_t;

typedef struct ping_http {
    CURLM *multi;
    const ping_options_t *options;
    unsigned long auth;     /* the scheme in use, once known */
    ping_tls_t tls;
} ping_http_t;

/* One HTTP request. */
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
    char status_line[256];
    long status;            /* of the answer to the latest of them; 0: none yet */
    int done;               /* ended, RESULT says how */
    CURLcode result;
    char error[CURL_ERROR_SIZE];
    void (*take)(void *ctx, const uint8_t *data, size_t len);   /* body of a 200 */
    void *ctx;
} ping_channel_t;

/* Milliseconds of a monotonic clock. */
double ping_now(void);

int ping_http_start(ping_http_t *http, const ping_options_t *options);
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

/* Returns the layer at which CH failed, ELSE_LAYER when nothing shows an earlier one, and writes
 * the reason to TEXT. A channel that is not done has timed out. */
ping_layer_t ping_explain(const ping_channel_t *ch, ping_layer_t else_layer, char *text,
                          size_t size);

/* The virtual connection. */
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
void ping_vc_close(ping_vc_t *vc);
/* For ping_http_wait(): open, answered; each also true when the connection failed. */
int ping_vc_is_open(void *vc);
int ping_vc_is_answered(void *vc);
int ping_vc_failed(const ping_vc_t *vc);
/* Returns why it failed, or what is missing. To find this out, the function may wait once more for
 * as long as a layer may take. */
ping_layer_t ping_vc_explain(ping_vc_t *vc, ping_layer_t else_layer, char *text, size_t size);

/* Each of these sends one PDU and forgets the previous answer. They return 0 when out of memory. */
int ping_vc_bind(ping_vc_t *vc, const ndr_syntax_t *interface);
int ping_vc_request(ping_vc_t *vc, uint16_t opnum);

/* Checks the answer to a bind. Returns NULL and sets *FRAG to the fragment size; or returns TEXT,
 * which says what is wrong. */
const char *ping_bind_verdict(const ping_vc_t *vc, unsigned *frag, char *text, size_t size);
/* Returns NULL when the answer is a response, else TEXT with what it is. */
const char *ping_call_verdict(const ping_vc_t *vc, char *text, size_t size);

#endif
