/* httpd/numeric_directives.h: the directives that set a number, a size or a time, one row each.
 *
 * A row has the field of the configuration, the directive, the scale of its argument (rpc_scale_t),
 * the lowest and the highest value, RPC_OR_ZERO where 0 is allowed as well, and the default.
 * RPC_UNSET as default means that the getter computes it. Fields are apr_int64_t; times are
 * microseconds. httpd/config.[ch] make the fields, the merging and the getters from these rows,
 * httpd/directives.c the command table and the configtest messages. What `httpd -L` says of a
 * directive comes from its entry in doc/mod_rpcproxy.md, which t/unit/manual_test.c compares with
 * the numbers here.
 */
#ifndef RPC_NUMERIC_DIRECTIVES_H
#define RPC_NUMERIC_DIRECTIVES_H

#include <apr_time.h>

#include "shared/failed_targets.h"
#include "wire/flow.h"
#include "wire/rts.h"

typedef enum { RPC_COUNT, RPC_SIZE, RPC_TIME } rpc_scale_t;

#define RPC_NOT_ZERO 0
#define RPC_OR_ZERO 1

#define RPC_SECONDS(n) ((n) * APR_USEC_PER_SEC)
#define RPC_CHANNELS_MAX 1000000    /* that a limit can be set to */

/* For each section. Limits of channels are at least 2, because a virtual connection has two. */
#define RPC_DIR_NUMBERS(ROW) \
    ROW(receive_window, RpcReceiveWindow, RPC_SIZE, \
        RPC_FLOW_WINDOW_MIN, RPC_FLOW_WINDOW_MAX, RPC_NOT_ZERO, RPC_FLOW_WINDOW_MAX) \
    ROW(connection_timeout, RpcConnectionTimeout, RPC_TIME, \
        RPC_SECONDS(RTS_TIMEOUT_MIN_SECONDS), RPC_SECONDS(RTS_TIMEOUT_MAX_SECONDS), RPC_NOT_ZERO, \
        RPC_SECONDS(RTS_TIMEOUT_MIN_SECONDS)) \
    ROW(channel_lifetime, RpcChannelLifetime, RPC_SIZE, \
        RTS_LIFETIME_MIN, RTS_LIFETIME_MAX, RPC_NOT_ZERO, 1024 * 1024 * 1024) \
    ROW(connect_timeout, RpcConnectTimeout, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(600), RPC_NOT_ZERO, RPC_SECONDS(10)) \
    ROW(first_pdu_timeout, RpcFirstPduTimeout, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(3600), RPC_NOT_ZERO, RPC_SECONDS(10)) \
    ROW(setup_timeout, RpcSetupTimeout, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(3600), RPC_NOT_ZERO, RPC_SECONDS(60)) \
    ROW(idle_timeout, RpcIdleTimeout, RPC_TIME, \
        RPC_SECONDS(240), RPC_SECONDS(86400), RPC_OR_ZERO, 0) \
    ROW(session_time, RpcMaxSessionTime, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(2592000), RPC_OR_ZERO, 0) \
    ROW(max_of_user, RpcMaxChannelsPerUser, RPC_COUNT, \
        2, RPC_CHANNELS_MAX, RPC_OR_ZERO, 200) \
    ROW(max_of_address, RpcMaxChannelsPerAddress, RPC_COUNT, \
        2, RPC_CHANNELS_MAX, RPC_OR_ZERO, 0)

/* The arguments of directives of a section that take two. */
#define RPC_DIR_PARTS(ROW) \
    ROW(max_failed, RpcMaxFailedTargets, RPC_COUNT, 1, RPC_BUDGET_MAX, RPC_OR_ZERO, 100) \
    ROW(failed_window, RpcMaxFailedTargets, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(3600), RPC_NOT_ZERO, RPC_SECONDS(60))

/* For the main server. */
#define RPC_SERVER_NUMBERS(ROW) \
    ROW(max_channels, RpcMaxChannels, RPC_COUNT, 1, RPC_CHANNELS_MAX, RPC_NOT_ZERO, 10000) \
    ROW(max_unpaired, RpcMaxUnpairedChannels, RPC_COUNT, \
        2, RPC_CHANNELS_MAX, RPC_OR_ZERO, RPC_UNSET) \
    ROW(max_unpaired_of_user, RpcMaxUnpairedPerUser, RPC_COUNT, \
        2, RPC_CHANNELS_MAX, RPC_OR_ZERO, RPC_UNSET) \
    ROW(io_threads, RpcIOThreads, RPC_COUNT, 1, 64, RPC_NOT_ZERO, 1) \
    ROW(graceful_timeout, RpcGracefulTimeout, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(604800), RPC_OR_ZERO, RPC_SECONDS(3600))

/* RpcHealthCheck's options. */
#define RPC_SERVER_PARTS(ROW) \
    ROW(check_interval, RpcHealthCheck, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(3600), RPC_NOT_ZERO, RPC_SECONDS(10)) \
    ROW(check_timeout, RpcHealthCheck, RPC_TIME, \
        RPC_SECONDS(1), RPC_SECONDS(60), RPC_NOT_ZERO, RPC_SECONDS(3))

#endif
