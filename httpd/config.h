/* rpc_config: the module's directives, where they may stand, how they merge.
 *
 * Per-directory settings may stand in server, <VirtualHost>, <Directory>, <Location> and
 * the like, never in .htaccess: what is reachable is the administrator's to say. They
 * merge as httpd users expect, inner over outer, unset falls through, with two lists:
 *
 *   RpcValidPorts  Several directives of one section add up. A section's list replaces
 *                  the outer one, unless it begins with "+", as Options does:
 *                      RpcValidPorts +exch2:6001      also RpcValidPorts + "exch2:6001"
 *                  Then it is added to the outer one. A section that mixes both is a
 *                  fault. "RpcValidPorts none" allows nothing.
 *   RpcBackend     The inner section's are looked at first, then the outer ones'.
 *
 *   RpcTargetNetworks, RpcSourceAddress
 *                  Those of one section add up, and replace the outer ones'.
 *
 * RpcAllowInterfaces and RpcProfile make one list: all of a section add up, and a section's list
 * replaces the outer one, for one that only adds could not take back. "RpcProfile none" adds
 * nothing: alone it lifts what is said further out. To it come NSPI and RFR, for the ports that
 * RpcNspiProtocolSequences names, and so a port named there has nothing else unless a rule names
 * it, too.
 *
 * Per-process settings belong to the main server alone. All of it is read-only after
 * configuration. Sizes are bytes or have a K, M or G behind; times are seconds or have
 * ms, s, min or h behind.
 */
#ifndef RPC_CONFIG_H
#define RPC_CONFIG_H

#include <httpd.h>
#include <http_config.h>
#include "shared/failed_targets.h"
#include "firewall/rules.h"
#include "target/sources.h"
#include "target/backend.h"

#define RPC_UNSET (-1)
#define RPC_TLS_BITS_DEFAULT 128

/* Versions of the protocol. */
#define RPC_V1 1
#define RPC_V2 2

/* Read these through the getters below; times are in microseconds. */
typedef struct rpc_dir_config {
    const rpc_valid_ports_t *valid_ports;   /* RpcValidPorts; NULL: unset, nothing allowed */
    int valid_ports_add;                    /* 1: to the outer list, 0: instead of it */
    apr_array_header_t *backends;           /* RpcBackend: rpc_backend_t *; NULL: unset */
    apr_array_header_t *nspi_ports;         /* RpcNspiProtocolSequences: apr_port_t; NULL: unset */
    apr_array_header_t *nspi_servers;       /* RpcNspiServers: const char *; NULL: unset */
    apr_port_t nspi_port;                   /* of RpcNspiServers; 0: as asked for */
    const rpc_firewall_rules_t *rules;      /* RpcAllowInterfaces, RpcProfile; NULL: unset */
    int min_auth_level;                     /* RpcMinAuthLevel: rpc_auth_level_t */
    const rpc_networks_t *networks;         /* RpcTargetNetworks; NULL: unset, see target/networks.h */
    rpc_sources_t *sources;                 /* RpcSourceAddress; NULL: the system's choice */
    int allow_anonymous;                    /* RpcAllowAnonymous */
    int require_tls;                        /* RpcRequireTLS: bits, 0 off */
    int versions;                           /* RpcProtocolVersions: RPC_V1, RPC_V2 */
    apr_int64_t receive_window;             /* RpcReceiveWindow, bytes */
    apr_int64_t connection_timeout;         /* RpcConnectionTimeout */
    apr_int64_t channel_lifetime;           /* RpcChannelLifetime, bytes */
    apr_int64_t connect_timeout;            /* RpcConnectTimeout */
    apr_int64_t first_pdu_timeout;          /* RpcFirstPduTimeout */
    apr_int64_t setup_timeout;              /* RpcSetupTimeout */
    apr_int64_t idle_timeout;               /* RpcIdleTimeout */
    apr_int64_t max_of_user;                /* RpcMaxChannelsPerUser; 0: no limit */
    apr_int64_t max_of_address;             /* RpcMaxChannelsPerAddress; 0: no limit */
    apr_int64_t max_failed;                 /* RpcMaxFailedTargets; 0: no limit */
    apr_int64_t failed_window;              /* and its time */
} rpc_dir_config_t;

typedef enum { RPC_CHECK_OFF, RPC_CHECK_CONNECT, RPC_CHECK_HANDSHAKE } rpc_check_t;

/* The main server's; every virtual host sees the same. */
typedef struct rpc_server_config {
    apr_int64_t max_channels;               /* RpcMaxChannels, whole server */
    apr_int64_t max_unpaired;               /* RpcMaxUnpairedChannels, whole server; 0: no limit */
    apr_int64_t max_unpaired_of_user;       /* RpcMaxUnpairedPerUser; 0: no shares */
    apr_int64_t io_threads;                 /* RpcIOThreads, per child */
    int check;                              /* RpcHealthCheck: rpc_check_t */
    apr_int64_t check_interval, check_timeout;
    apr_int64_t graceful_timeout;           /* RpcGracefulTimeout; 0: no limit */
    const char *endpoint_socket;            /* RpcEndpointSocket, full path; NULL: default */
    apr_array_header_t *endpoint_listen;    /* RpcEndpointListen: rpc_listen_t, without version1;
                                               NULL: none */
} rpc_server_config_t;

/* Effective values, defaults filled in. */
const rpc_valid_ports_t *rpc_config_valid_ports(const rpc_dir_config_t *dc);
/* Without VARIABLE. */
rpc_directory_t rpc_config_directory(const rpc_dir_config_t *dc);
/* Which interfaces may be asked for behind PORT, in POOL; NULL: all. */
const rpc_firewall_rules_t *rpc_config_rules(apr_pool_t *pool, const rpc_dir_config_t *dc, apr_port_t port);
rpc_auth_level_t rpc_config_min_auth_level(const rpc_dir_config_t *dc); /* RPC_AUTH_LEVEL_NONE */
int rpc_config_allow_anonymous(const rpc_dir_config_t *dc);     /* 0 */
int rpc_config_require_tls(const rpc_dir_config_t *dc);         /* 128 */
int rpc_config_versions(const rpc_dir_config_t *dc);            /* RPC_V2 */
apr_uint32_t rpc_config_receive_window(const rpc_dir_config_t *dc);     /* 262144 */
apr_uint32_t rpc_config_connection_timeout(const rpc_dir_config_t *dc); /* ms; 120 s */
apr_uint32_t rpc_config_channel_lifetime(const rpc_dir_config_t *dc);   /* 1 GiB */
apr_interval_time_t rpc_config_connect_timeout(const rpc_dir_config_t *dc); /* 10 s */
/* Clients send their first PDU with the request, or as soon as they are told to continue: 10 s are a few
 * lost packets on a slow link. Never more than the set-up time. */
apr_interval_time_t rpc_config_first_pdu_timeout(const rpc_dir_config_t *dc);
apr_interval_time_t rpc_config_setup_timeout(const rpc_dir_config_t *dc);   /* 60 s */
/* 0: never; at least what a client that pings by the book needs. */
apr_interval_time_t rpc_config_idle_timeout(const rpc_dir_config_t *dc);

/* How many channels there may be; 0: no limit. All count those of the whole server, by what one
 * machine sees; the two of a directory hold for requests there.
 *
 * An Outlook has about 20 channels, more with each mailbox, and as many again for a moment while
 * it replaces them, so 200 are plenty for a user who is a person. By address there is no limit by
 * default, for a whole office may come from one.
 *
 * An unpaired channel is one whose server has not answered yet; that takes a moment, or, of
 * clients that leave a half alone and of servers that hang, RpcSetupTimeout. By default these
 * leave half of RpcMaxChannels to the others. A small server's rush after a restart is not cut:
 * 100 are allowed in any case.
 *
 * Of these nobody may have all. A user has a tenth, and 50 in any case; an address, where several
 * users may be, an eighth of the rest on top of that; a server that users at several addresses want,
 * a quarter. So each share is larger than the one before: a user who has used up his has not used up
 * that of his office, nor that of the server. */
int rpc_config_max_of_user(const rpc_dir_config_t *dc);         /* 200 */
int rpc_config_max_of_address(const rpc_dir_config_t *dc);      /* 0 */
rpc_budget_limit_t rpc_config_failed_targets(const rpc_dir_config_t *dc);   /* 100 in 60 s */
/* How often, and how long a server has, both may be NULL. */
rpc_check_t rpc_config_check(const rpc_server_config_t *sc, apr_interval_time_t *interval,
                             apr_interval_time_t *timeout);     /* RPC_CHECK_OFF; 10 s, 3 s */
int rpc_config_max_channels(const rpc_server_config_t *sc);     /* 10000 */

typedef struct rpc_unpaired {
    int all, of_user, of_address, of_target;                    /* 0: no limit */
} rpc_unpaired_t;

rpc_unpaired_t rpc_config_unpaired(const rpc_server_config_t *sc);

int rpc_config_io_threads(const rpc_server_config_t *sc);       /* 1 */
apr_interval_time_t rpc_config_graceful_timeout(const rpc_server_config_t *sc); /* 1 h; 0 no limit */

void *rpc_config_create_dir(apr_pool_t *p, char *dir);
void *rpc_config_merge_dir(apr_pool_t *p, void *base, void *add);
void *rpc_config_create_server(apr_pool_t *p, server_rec *s);
void *rpc_config_merge_server(apr_pool_t *p, void *base, void *add);

#endif
