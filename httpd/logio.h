/* rpc_logio: the bytes that mod_logio counts on a connection (%I, %O), carried over to a rebuilt
 * one.
 */
#ifndef RPC_LOGIO_H
#define RPC_LOGIO_H

#include <httpd.h>

/* The bytes of C so far; 0 without mod_logio. */
void rpc_logio_read(conn_rec *c, apr_off_t *in, apr_off_t *out);

/* Gives C, which no hook has seen, these counts. */
void rpc_logio_write(conn_rec *c, apr_off_t in, apr_off_t out);

#endif
