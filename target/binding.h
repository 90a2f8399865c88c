/* rpc_binding: DCE string bindings, as far as a proxy needs them:
 *   ncacn_http:host[port]   ncacn_ip_tcp:host[port]
 * HOST is a DNS name, an IPv4 literal or an IPv6 literal (bare or in brackets); an
 * empty port, "[]" or no brackets, means the port asked for. A "*" in a name is for RpcBackend,
 * which puts there what the "*" of its pattern stands for. No httpd headers.
 */
#ifndef RPC_BINDING_H
#define RPC_BINDING_H

#include <apr_network_io.h>
#include <apr_pools.h>

typedef enum { RPC_PROTSEQ_HTTP, RPC_PROTSEQ_TCP } rpc_protseq_t;

typedef struct rpc_binding {
    rpc_protseq_t protseq;
    const char *host;       /* without brackets */
    apr_port_t port;        /* 0: the port asked for */
} rpc_binding_t;

/* What is wrong with a text, for a configtest message. COLUMN is where ELEMENT begins;
 * for something that is missing, ELEMENT is what lacks it. */
typedef struct rpc_syntax_error {
    int column;             /* from 1, within the whole text */
    const char *element;    /* the faulty element, in the pool */
    const char *expected;   /* "a port from 1 to 65535", ... */
} rpc_syntax_error_t;

/* Parses TEXT. APR_SUCCESS, or APR_EINVAL with *ERR filled in. Strings in POOL. */
apr_status_t rpc_binding_parse(apr_pool_t *pool, const char *text,
                               rpc_binding_t *binding, rpc_syntax_error_t *err);
/* The binding as text, "ncacn_ip_tcp:dc1[135]". */
const char *rpc_binding_text(apr_pool_t *pool, const rpc_binding_t *binding);

/* For the parsers of bindings, ValidPorts and RpcBackend: the text being parsed. The
 * functions below look at the LEN characters AT a place within it. */
typedef struct rpc_syntax {
    apr_pool_t *pool;
    const char *text;
    rpc_syntax_error_t *err;
} rpc_syntax_t;

/* Fills in the error, EXPECTED from FMT; returns APR_EINVAL. */
apr_status_t rpc_syntax_fail(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                             const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A port from 1 to 65535, in digits. */
apr_status_t rpc_syntax_port(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                             apr_port_t *port);
/* A name or an IPv4 literal; SIGNS are characters welcome beside letters, digits, "-_.". */
apr_status_t rpc_syntax_name(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                             const char *signs);
/* Is this an IPv6 literal, without brackets, perhaps with a %zone? The length of the
 * address before the zone, its 16 bytes in ADDR; else 0. */
apr_size_t rpc_ipv6_parse(const char *at, apr_size_t len, unsigned char addr[16]);

#endif
