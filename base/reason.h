/* rpc_reason: why a channel was refused or ended.
 *
 * One table serves the log, the HTTP answer, the access log and the tests, so
 * that a reason has one name everywhere. No httpd headers.
 */
#ifndef RPC_REASON_H
#define RPC_REASON_H

typedef enum {
    RPC_REASON_NONE = 0,            /* has not ended */
    /* ordinary ends */
    RPC_REASON_CLIENT_CLOSED,       /* the client closed its connection */
    RPC_REASON_SERVER_CLOSED,       /* the server closed the leg */
    RPC_REASON_RECYCLED,            /* replaced by a successor channel */
    RPC_REASON_CONTENT_USED_UP,     /* Content-Length reached, no successor */
    RPC_REASON_SHUTDOWN,            /* httpd stops or restarts */
    RPC_REASON_ADMINISTRATOR,       /* ended from the status page */
    RPC_REASON_SESSION_OVER,        /* RpcMaxSessionTime */
    /* refusals before a channel exists */
    RPC_REASON_METHOD,              /* not RPC_IN_DATA or RPC_OUT_DATA */
    RPC_REASON_ANONYMOUS,           /* no authenticated user */
    RPC_REASON_NOT_AUTHENTICATED,   /* a wrong password, or an unknown user */
    RPC_REASON_NOT_AUTHORIZED,      /* Require */
    RPC_REASON_TLS_REQUIRED,        /* plain HTTP, or a cipher too weak */
    RPC_REASON_BAD_REQUEST,         /* HTTP/2, chunked, no Content-Length ... */
    RPC_REASON_BAD_TARGET,          /* no server:port in the query */
    RPC_REASON_TARGET_REFUSED,      /* not in RpcValidPorts */
    RPC_REASON_TOO_MANY_CHANNELS,   /* RpcMaxChannels */
    RPC_REASON_TOO_MANY_OF_USER,    /* RpcMaxChannelsPerUser */
    RPC_REASON_TOO_MANY_OF_ADDRESS, /* RpcMaxChannelsPerAddress */
    RPC_REASON_TOO_MANY_UNPAIRED,   /* RpcMaxUnpairedChannels */
    RPC_REASON_TOO_MANY_UNPAIRED_OF_USER,       /* RpcMaxUnpairedPerUser */
    RPC_REASON_TOO_MANY_UNPAIRED_OF_ADDRESS,    /* the shares that go with it */
    RPC_REASON_TOO_MANY_UNPAIRED_OF_TARGET,
    RPC_REASON_TOO_MANY_FAILED,     /* RpcMaxFailedTargets; the client sees the same as
                                     * TARGET_REFUSED */
    RPC_REASON_DRAINING,            /* all servers of the target are drained */
    RPC_REASON_STOPPING,            /* this child takes no more channels */
    RPC_REASON_OTHER_MODULE,        /* another module has read the body, or has answered */
    /* failures while opening */
    RPC_REASON_FIRST_PDU_TIMEOUT,   /* no first PDU in time */
    RPC_REASON_RESOLVE_FAILED,
    RPC_REASON_CONNECT_FAILED,
    RPC_REASON_CONNECT_TIMEOUT,
    RPC_REASON_ADDRESS_REFUSED,     /* RpcTargetNetworks: none of the server's addresses */
    RPC_REASON_SERVER_REFUSED,      /* the server closed the leg before it answered */
    RPC_REASON_SETUP_TIMEOUT,       /* the server or the other half did not answer */
    RPC_REASON_PEER_MISMATCH,       /* halves of different users or targets */
    /* a proxy behind us */
    RPC_REASON_UPSTREAM_CHALLENGE,  /* its 401 went to the client: an ordinary end */
    RPC_REASON_UPSTREAM_LOGON,      /* by RpcBackendAuth: no ticket, or its 401 */
    RPC_REASON_UPSTREAM_REFUSED,    /* its 403, 503 ... went to the client */
    RPC_REASON_UPSTREAM_ANSWER,     /* what it sent is no answer, or an answer cut short */
    RPC_REASON_UPSTREAM_SILENT,     /* its answer did not come in time */
    /* failures later */
    RPC_REASON_PROTOCOL,            /* a PDU not allowed in this state */
    RPC_REASON_BAD_PDU,             /* bytes that are no PDU */
    RPC_REASON_WINDOW_OVERRUN,      /* a server sent more than our window */
    RPC_REASON_INTERFACE_REFUSED,   /* RpcAllowInterfaces: of a bind; the channel goes on */
    RPC_REASON_LEVEL_REFUSED,       /* below RpcMinAuthLevel; a bind: the channel goes on */
    RPC_REASON_PDU_TOO_BIG,         /* larger than the peer's whole window */
    RPC_REASON_BUFFER_FULL,         /* RTS PDUs pile up for a peer that does not read */
    RPC_REASON_UNKNOWN_COOKIE,      /* successor of a channel that is not there */
    RPC_REASON_DUPLICATE_COOKIE,    /* virtual connection cookie already live */
    RPC_REASON_LIFETIME_EXCEEDED,   /* would write past the OUT Content-Length */
    RPC_REASON_IDLE_TIMEOUT,        /* nothing was received for RpcIdleTimeout */
    RPC_REASON_CLIENT_ERROR,        /* read or write error, client side */
    RPC_REASON_SERVER_ERROR,        /* read or write error on the leg */
    RPC_REASON_NO_MEMORY,
    RPC_REASON_LOCAL_FAILURE,       /* out of descriptors, ports ...: not the server's fault */
    RPC_REASON_CHILD_DIED,          /* the process of the channel; its parent says so */
    RPC_REASON_COUNT
} rpc_reason_t;

typedef struct rpc_reason_info {
    rpc_reason_t reason;
    const char *token;      /* in logs and %{RPC_REASON}e: "target-refused" */
    int http_status;        /* of the answer, when headers are not out yet; 0: none */
    unsigned rpc_error;     /* in "RPC Error: %x"; 0: not an RPC error answer */
    unsigned location;      /* DetectionLocation of its EEInfo ([MS-EERR] 2.2.3); 0: none */
    const char *text;       /* for people, one line */
} rpc_reason_info_t;

/* Is the cause this machine, so that neither the server nor the user is to blame? */
int rpc_reason_is_ours(rpc_reason_t reason);

/* Is this an ordinary end, about which nobody needs to ask? Any thread. */
int rpc_reason_is_normal(rpc_reason_t reason);

/* Who has ended it: "client", "server", "administrator", "httpd", or "proxy". Any thread. */
const char *rpc_reason_by(rpc_reason_t reason);

/* The reason with this token; RPC_REASON_NONE when there is none. Any thread. */
rpc_reason_t rpc_reason_named(const char *token);

/* The row of a reason; never NULL. Any thread. */
const rpc_reason_info_t *rpc_reason_info(rpc_reason_t reason);

#endif
