/* rpc_config: the module's directives, where they may stand, how they merge.
 *
 * Per-directory settings may stand in server, <VirtualHost>, <Directory>, <Location> and
 * the like, never in .htaccess: the administrator decides what clients can reach. A setting
 * of an inner section replaces that of the outer one, and a setting that is missing is
 * inherited. The lists merge as follows:
 *
 *   RpcValidPorts  Several directives of one section add up. A section's list replaces
 *                  the outer one, unless it begins with "+", as Options does:
 *                      RpcValidPorts +exch2:6001      also RpcValidPorts + "exch2:6001"
 *                  Then it is added to the outer one. A section that mixes both is a
 *                  fault. "RpcValidPorts none" allows nothing.
 *   RpcBackend     Those of the inner section are tried first, then those of the outer ones.
 *
 *   RpcTargetNetworks, RpcSourceAddress
 *                  Those of one section add up, and replace those of the outer sections.
 *
 * RpcAllowInterfaces and RpcProfile make one list: all in one section add up, and a section's list
 * replaces the outer one, because a list that only adds could not take anything back. "RpcProfile
 * none" adds nothing: alone in a section it removes the rules of the outer sections. NSPI and RFR
 * are added at the ports that RpcNspiProtocolSequences names. So such a port allows no other
 * interface unless a rule names the port, too.
 *
 * Per-process settings belong to the main server only. Nothing changes after the configuration has
 * been read. Sizes are bytes or end in K, M or G; times are seconds or end in ms, s, min or h.
 */
#ifndef RPC_CONFIG_H
#define RPC_CONFIG_H

#include <httpd.h>
#include <http_config.h>
#include "httpd/numeric_directives.h"
#include "shared/failed_targets.h"
#include "firewall/rules.h"
#include "target/sources.h"
#include "target/backend.h"

#define RPC_HANDLER_NAME "rpcproxy"     /* of SetHandler */

#define RPC_UNSET (-1)
#define RPC_TLS_BITS_DEFAULT 128

/* Versions of the protocol. */
#define RPC_V1 1
#define RPC_V2 2

/* Numbers, sizes and times have a row in httpd/numeric_directives.h, which makes their fields. */
#define RPC_NUMBER_FIELD(field, ...) apr_int64_t field;

/* Read these through the getters below. */
typedef struct rpc_dir_config {
    int in_section;                         /* a section with directives of ours: what mod_proxy is
                                             * told to do there is policed */
    const void *proxied;                    /* the SetHandler that a ProxyPass stands beside, as
                                             * httpd keeps it; NULL: none */
    const rpc_valid_ports_t *valid_ports;   /* RpcValidPorts; NULL: unset, nothing allowed */
    int valid_ports_add;                    /* 1: adds to the outer list, 0: replaces it */
    apr_array_header_t *backends;           /* RpcBackend: rpc_backend_t *; NULL: unset */
    apr_array_header_t *nspi_ports;         /* RpcNspiProtocolSequences: apr_port_t; NULL: unset */
    apr_array_header_t *nspi_servers;       /* RpcNspiServers: const char *; NULL: unset */
    apr_port_t nspi_port;                   /* of RpcNspiServers; 0: as asked for */
    const rpc_firewall_rules_t *rules;      /* RpcAllowInterfaces, RpcProfile; NULL: unset */
    int min_auth_level;                     /* RpcMinAuthLevel: rpc_auth_level_t */
    const rpc_networks_t *networks;         /* RpcTargetNetworks; NULL: unset, see
                                             * target/networks.h */
    rpc_sources_t *sources;                 /* RpcSourceAddress; NULL: the system's choice */
    int allow_anonymous;                    /* RpcAllowAnonymous */
    int require_tls;                        /* RpcRequireTLS: bits, 0 off */
    int versions;                           /* RpcProtocolVersions: RPC_V1, RPC_V2 */
    int handles;                            /* SetHandler rpcproxy, for configtest */
    RPC_DIR_NUMBERS(RPC_NUMBER_FIELD)
    RPC_DIR_PARTS(RPC_NUMBER_FIELD)
} rpc_dir_config_t;

/* RPC_CHECK_ECHO: a handshake, and of a proxy behind us an echo. */
typedef enum {
    RPC_CHECK_OFF, RPC_CHECK_CONNECT, RPC_CHECK_HANDSHAKE, RPC_CHECK_ECHO
} rpc_check_t;

/* The settings of the main server, which hold for every virtual host. */
typedef struct rpc_server_config {
    RPC_SERVER_NUMBERS(RPC_NUMBER_FIELD)
    RPC_SERVER_PARTS(RPC_NUMBER_FIELD)
    int check;                              /* RpcHealthCheck: rpc_check_t */
    const char *endpoint_socket;            /* RpcEndpointSocket, full path; NULL: default */
    apr_array_header_t *endpoint_listen;    /* RpcEndpointListen: rpc_listen_t, without version1;
                                               NULL: none */
    apr_array_header_t *stores;             /* RpcSharedStore: rpc_store_t; NULL: none */
    const uint8_t *store_secret;            /* RpcSharedStoreSecret: RPC_FARM_SECRET bytes; NULL */
} rpc_server_config_t;

/* Effective values, defaults filled in. httpd/numeric_directives.h has the ranges and defaults of
 * the numbers. */
const rpc_valid_ports_t *rpc_config_valid_ports(const rpc_dir_config_t *dc);
/* Without VARIABLE. */
rpc_directory_t rpc_config_directory(const rpc_dir_config_t *dc);
/* The rules for the interfaces that clients may ask for at PORT, in POOL; NULL: all are allowed. */
const rpc_firewall_rules_t *rpc_config_rules(apr_pool_t *pool, const rpc_dir_config_t *dc,
                                             apr_port_t port);
rpc_auth_level_t rpc_config_min_auth_level(const rpc_dir_config_t *dc); /* RPC_AUTH_LEVEL_NONE */
int rpc_config_allow_anonymous(const rpc_dir_config_t *dc);     /* 0 */
int rpc_config_require_tls(const rpc_dir_config_t *dc);         /* 128 */
int rpc_config_versions(const rpc_dir_config_t *dc);            /* RPC_V2 */
apr_uint32_t rpc_config_receive_window(const rpc_dir_config_t *dc);
apr_interval_time_t rpc_config_connection_timeout(const rpc_dir_config_t *dc);
apr_uint32_t rpc_config_channel_lifetime(const rpc_dir_config_t *dc);
apr_interval_time_t rpc_config_connect_timeout(const rpc_dir_config_t *dc);
/* Clients send their first PDU with the request, or as soon as the proxy tells them to continue:
 * the default of 10 s allows for a few lost packets on a slow link. At most the set-up time. */
apr_interval_time_t rpc_config_first_pdu_timeout(const rpc_dir_config_t *dc);
apr_interval_time_t rpc_config_setup_timeout(const rpc_dir_config_t *dc);
/* 0: never; otherwise at least the time between two pings of a client that follows [MS-RPCH]. */
apr_interval_time_t rpc_config_idle_timeout(const rpc_dir_config_t *dc);

apr_interval_time_t rpc_config_session_time(const rpc_dir_config_t *dc);    /* 0: without limit */

/* The greatest numbers of channels; 0: no limit. All of them count the channels of the whole server
 * on this machine; the two of a directory hold for requests there.
 *
 * Outlook has about 20 channels, more for each mailbox, and twice as many for a moment while it
 * replaces them, so 200 are enough for a user who is a person. By default there is no limit for an
 * address, because a whole office may come from one.
 *
 * A channel is unpaired until its server has answered. This takes a moment, or RpcSetupTimeout when
 * a client opens only one half or the server hangs. By default unpaired channels may use half of
 * RpcMaxChannels. 100 are always allowed, so that a small server can serve the rush after a
 * restart.
 *
 * Nobody may use all unpaired channels. A user may have a tenth of them, and always 50. An address,
 * where several users may be, may have that and an eighth of the rest; a server that users at
 * several addresses want, a quarter. So each share is larger than the one before: a user who has
 * reached the limit of a user has not reached that of the office or of the server. */
int rpc_config_max_of_user(const rpc_dir_config_t *dc);
int rpc_config_max_of_address(const rpc_dir_config_t *dc);
rpc_budget_limit_t rpc_config_failed_targets(const rpc_dir_config_t *dc);
/* INTERVAL is the time between two checks, TIMEOUT the time a server has; both may be NULL. */
rpc_check_t rpc_config_check(const rpc_server_config_t *sc, apr_interval_time_t *interval,
                             apr_interval_time_t *timeout);     /* RPC_CHECK_OFF */
int rpc_config_max_channels(const rpc_server_config_t *sc);

typedef struct rpc_unpaired {
    int all, of_user, of_address, of_target;                    /* 0: no limit */
} rpc_unpaired_t;

rpc_unpaired_t rpc_config_unpaired(const rpc_server_config_t *sc);

int rpc_config_io_threads(const rpc_server_config_t *sc);
apr_interval_time_t rpc_config_graceful_timeout(const rpc_server_config_t *sc);

void *rpc_config_create_dir(apr_pool_t *p, char *dir);
void *rpc_config_merge_dir(apr_pool_t *p, void *base, void *add);
void *rpc_config_create_server(apr_pool_t *p, server_rec *s);
void *rpc_config_merge_server(apr_pool_t *p, void *base, void *add);

#endif
