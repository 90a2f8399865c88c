/* rpc_syntax: the small parsers that all grammars of the configuration share, and their error
 * messages. No httpd headers.
 */
#ifndef RPC_SYNTAX_H
#define RPC_SYNTAX_H

#include <apr_network_io.h>
#include <apr_pools.h>

#define RPC_BLANKS " \t\r\n\v\f"

/* What is wrong with a text, for a configtest message. COLUMN is where ELEMENT begins. When
 * something is missing, ELEMENT is the part in which it is missing. */
typedef struct rpc_syntax_error {
    int column;             /* from 1, within the whole text */
    const char *element;    /* the faulty element, in the pool */
    const char *expected;   /* "a port from 1 to 65535", ... */
} rpc_syntax_error_t;

/* The text that is being parsed. The functions below read LEN characters of it, which begin at
 * AT. */
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
/* A name or an IPv4 literal. SIGNS are the characters allowed in addition to letters, digits and
 * "-_.". */
apr_status_t rpc_syntax_name(const rpc_syntax_t *syntax, const char *at, apr_size_t len,
                             const char *signs);
/* A copy in POOL of the LEN characters of a name at AT, without the dot that may end it. The dot
 * tells a resolver that the name is complete; with and without it a name is the same. */
char *rpc_syntax_host(apr_pool_t *pool, const char *at, apr_size_t len);
/* Is this an IPv6 literal, without brackets, perhaps with a %zone? Returns the length of the
 * address before the zone and writes its 16 bytes to ADDR; else 0. */
apr_size_t rpc_ipv6_parse(const char *at, apr_size_t len, unsigned char addr[16]);

#endif
