/* rpc_syntax: the small parsers that all grammars of the configuration share, and what they say
 * when a text is wrong. No httpd headers. Source: base/syntax.c
 */
#ifndef RPC_SYNTAX_H
#define RPC_SYNTAX_H

#include <apr_network_io.h>
#include <apr_pools.h>

#define RPC_BLANKS " \t\r\n\v\f"

/* What is wrong with a text, for a configtest message. COLUMN is where ELEMENT begins;
 * for something that is missing, ELEMENT is what lacks it. */
typedef struct rpc_syntax_error {
    int column;             /* from 1, within the whole text */
    const char *element;    /* the faulty element, in the pool */
    const char *expected;   /* "a port from 1 to 65535", ... */
} rpc_syntax_error_t;

/* The text that is being parsed. The functions below look at the LEN characters AT a place within
 * it. */
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
/* The LEN characters AT, a name, in POOL without the dot that may end it: it tells a resolver that
 * the name is whole, and names that differ by it alone are one. */
char *rpc_syntax_host(apr_pool_t *pool, const char *at, apr_size_t len);
/* Is this an IPv6 literal, without brackets, perhaps with a %zone? The length of the
 * address before the zone, its 16 bytes in ADDR; else 0. */
apr_size_t rpc_ipv6_parse(const char *at, apr_size_t len, unsigned char addr[16]);

#endif
