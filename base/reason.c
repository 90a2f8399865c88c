/* base/reason.c: the one table of reasons. RPC errors are error codes of Windows (6ba server
 * unavailable, 6bb too busy, 6b9 out of resources, 6c0 protocol error, 6ab invalid network address,
 * 5 access denied). Windows defines only when 6ba is used; this table decides about the others. The
 * one documented detection location says that an RPC over HTTP proxy could not connect to the
 * server.
 */
#include "base/reason.h"

#include <string.h>

#define CONNECT_ATTEMPT 0x5A0   /* [MS-EERR] 2.2.3 */

#define ROW_AT(reason, token, status, error, location, text) \
    [RPC_REASON_##reason] = { RPC_REASON_##reason, token, status, error, location, text }
#define ROW(reason, token, status, error, text) ROW_AT(reason, token, status, error, 0, text)

static const rpc_reason_info_t table[RPC_REASON_COUNT] = {
    ROW(NONE, "none", 0, 0, "has not ended"),
    ROW(CLIENT_CLOSED, "client-closed", 0, 0, "the client closed its connection"),
    ROW(SERVER_CLOSED, "server-closed", 0, 0, "the server closed its connection"),
    ROW(RECYCLED, "recycled", 0, 0, "replaced by a successor channel"),
    ROW(CONTENT_USED_UP, "content-used-up", 0, 0, "the request's Content-Length is used up"),
    ROW(SHUTDOWN, "shutdown", 0, 0, "httpd stops or restarts"),
    ROW(ADMINISTRATOR, "administrator", 503, 0x6ba, "an administrator has ended it"),
    ROW(SESSION_OVER, "session-over", 503, 0x6ba, "RpcMaxSessionTime is over"),
    ROW(METHOD, "method", 405, 0, "the method is not allowed here"),
    ROW(ANONYMOUS, "anonymous", 403, 0x5, "no authenticated user"),
    ROW(NOT_AUTHENTICATED, "not-authenticated", 401, 0, "a wrong password, or an unknown user"),
    ROW(NOT_AUTHORIZED, "not-authorized", 403, 0x5, "Require does not allow this user"),
    ROW(TLS_REQUIRED, "tls-required", 403, 0x5, "plain HTTP, or a weak cipher"),
    ROW(BAD_REQUEST, "bad-request", 400, 0, "the request cannot become a channel"),
    ROW(BAD_TARGET, "bad-target", 503, 0x6ab, "no usable server:port in the query"),
    ROW(TARGET_REFUSED, "target-refused", 503, 0x6ba, "the target is not allowed"),
    ROW(TOO_MANY_CHANNELS, "too-many-channels", 503, 0x6bb, "RpcMaxChannels is reached"),
    ROW(TOO_MANY_OF_USER, "too-many-of-user", 503, 0x6bb, "RpcMaxChannelsPerUser is reached"),
    ROW(TOO_MANY_OF_ADDRESS, "too-many-of-address", 503, 0x6bb,
        "RpcMaxChannelsPerAddress is reached"),
    ROW(TOO_MANY_UNPAIRED, "too-many-unpaired", 503, 0x6bb, "RpcMaxUnpairedChannels is reached"),
    ROW(TOO_MANY_UNPAIRED_OF_USER, "too-many-unpaired-of-user", 503, 0x6bb,
        "a user's share of RpcMaxUnpairedChannels is used up (RpcMaxUnpairedPerUser)"),
    ROW(TOO_MANY_UNPAIRED_OF_ADDRESS, "too-many-unpaired-of-address", 503, 0x6bb,
        "an address's share of RpcMaxUnpairedChannels is used up"),
    ROW(TOO_MANY_UNPAIRED_OF_TARGET, "too-many-unpaired-of-target", 503, 0x6bb,
        "a server's share of RpcMaxUnpairedChannels is used up"),
    ROW(TOO_MANY_FAILED, "too-many-failed", 503, 0x6ba, "RpcMaxFailedTargets is reached"),
    ROW(DRAINING, "server-draining", 503, 0x6bb, "an administrator drains the server"),
    ROW(STOPPING, "stopping", 503, 0x6bb, "this child accepts no more channels"),
    ROW(OTHER_MODULE, "other-module", 503, 0x6ba,
        "another module of httpd has read the body or answered"),
    ROW(FIRST_PDU_TIMEOUT, "first-pdu-timeout", 503, 0x6c0, "the first PDU did not come in time"),
    ROW_AT(RESOLVE_FAILED, "resolve-failed", 503, 0x6ba, CONNECT_ATTEMPT,
           "the server's name cannot be resolved"),
    ROW_AT(CONNECT_FAILED, "connect-failed", 503, 0x6ba, CONNECT_ATTEMPT,
           "the server cannot be reached"),
    ROW_AT(CONNECT_TIMEOUT, "connect-timeout", 503, 0x6ba, CONNECT_ATTEMPT,
           "the server did not answer in time"),
    ROW_AT(ADDRESS_REFUSED, "address-refused", 503, 0x6ba, CONNECT_ATTEMPT,
           "the server's address is not allowed"),
    ROW(SERVER_REFUSED, "server-refused", 503, 0x6ba, "the server closed its connection at once"),
    ROW(SETUP_TIMEOUT, "setup-timeout", 503, 0x6ba, "the other half or the server never came"),
    ROW(PEER_MISMATCH, "peer-mismatch", 503, 0x5,
        "the halves belong to different users or targets"),
    ROW(UPSTREAM_CHALLENGE, "upstream-challenge", 0, 0,
        "the proxy behind this one wants credentials"),
    ROW(UPSTREAM_LOGON, "upstream-logon", 502, 0x5,
        "the user could not be logged on to the proxy behind this one"),
    ROW(UPSTREAM_REFUSED, "upstream-refused", 0, 0, "the proxy behind this one has refused"),
    ROW(UPSTREAM_ANSWER, "upstream-answer", 502, 0x6ba,
        "the proxy behind this one has not answered as HTTP says"),
    ROW(UPSTREAM_SILENT, "upstream-silent", 504, 0x6ba,
        "the proxy behind this one did not answer in time"),
    ROW(PROTOCOL, "protocol-error", 503, 0x6c0, "a PDU came that is not allowed now"),
    ROW(BAD_PDU, "bad-pdu", 503, 0x6c0, "bytes came that are not a PDU"),
    ROW(WINDOW_OVERRUN, "window-overrun", 503, 0x6c0, "more was sent than the window allows"),
    ROW(INTERFACE_REFUSED, "interface-refused", 0, 0, "the interface of a bind is not allowed"),
    ROW(LEVEL_REFUSED, "level-refused", 503, 0x5,
        "the authentication level is below RpcMinAuthLevel"),
    ROW(PDU_TOO_BIG, "pdu-too-big", 503, 0x6c0, "a PDU is larger than the receiver's window"),
    ROW(BUFFER_FULL, "buffer-full", 503, 0x6bb, "a peer does not read what is sent to it"),
    ROW(UNKNOWN_COOKIE, "unknown-cookie", 503, 0x6c0, "no channel here has this successor"),
    ROW(DUPLICATE_COOKIE, "duplicate-cookie", 503, 0x6c0, "the virtual connection exists already"),
    ROW(LIFETIME_EXCEEDED, "lifetime-exceeded", 0, 0, "the OUT channel is used up"),
    ROW(IDLE_TIMEOUT, "idle-timeout", 503, 0x6ba, "the client was silent for RpcIdleTimeout"),
    ROW(CLIENT_ERROR, "client-error", 0, 0, "the client's connection failed"),
    ROW(SERVER_ERROR, "server-error", 503, 0x6ba, "the connection to the server failed"),
    ROW(NO_MEMORY, "no-memory", 503, 0x6b9, "out of memory"),
    ROW(LOCAL_FAILURE, "local-failure", 503, 0x6b9,
        "this machine lacks something that a connection needs"),
    ROW(CHILD_DIED, "child-died", 0, 0, "the process of httpd that served it has died"),
};

int rpc_reason_is_ours(rpc_reason_t reason)
{
    return reason == RPC_REASON_SHUTDOWN || reason == RPC_REASON_STOPPING
        || reason == RPC_REASON_ADMINISTRATOR || reason == RPC_REASON_SESSION_OVER
        || reason == RPC_REASON_DRAINING || reason == RPC_REASON_CHILD_DIED
        || reason == RPC_REASON_OTHER_MODULE || reason == RPC_REASON_NO_MEMORY
        || reason == RPC_REASON_LOCAL_FAILURE;
}

const rpc_reason_info_t *rpc_reason_info(rpc_reason_t reason)
{
    return &table[(unsigned)reason < RPC_REASON_COUNT ? reason : RPC_REASON_NONE];
}

/* A client may close its connection in any way, even by a reset. */
int rpc_reason_is_normal(rpc_reason_t reason)
{
    switch (reason) {
    case RPC_REASON_NONE:
    case RPC_REASON_CLIENT_CLOSED:
    case RPC_REASON_CLIENT_ERROR:
    case RPC_REASON_SERVER_CLOSED:
    case RPC_REASON_RECYCLED:
    case RPC_REASON_CONTENT_USED_UP:
    case RPC_REASON_SHUTDOWN:
    case RPC_REASON_UPSTREAM_CHALLENGE:
    case RPC_REASON_ADMINISTRATOR:
    case RPC_REASON_SESSION_OVER:
        return 1;
    default:
        return 0;
    }
}

const char *rpc_reason_by(rpc_reason_t reason)
{
    switch (reason) {
    case RPC_REASON_CLIENT_CLOSED:
    case RPC_REASON_CLIENT_ERROR:
    case RPC_REASON_CONTENT_USED_UP:
        return "client";
    case RPC_REASON_SERVER_CLOSED:
    case RPC_REASON_SERVER_REFUSED:
    case RPC_REASON_SERVER_ERROR:
        return "server";
    case RPC_REASON_ADMINISTRATOR:
        return "administrator";
    case RPC_REASON_SHUTDOWN:
    case RPC_REASON_CHILD_DIED:
        return "httpd";
    default:
        return "proxy";
    }
}

rpc_reason_t rpc_reason_named(const char *token)
{
    int i;

    for (i = 0; i < RPC_REASON_COUNT; i++) {
        if (strcmp(table[i].token, token) == 0)
            return (rpc_reason_t)i;
    }
    return RPC_REASON_NONE;
}
