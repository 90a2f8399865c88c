/* rpc_request_copy: what the logs may ask of a request and of its connection, in one block of
 * memory that belongs to neither, and a request that is rebuilt from it.
 */
#ifndef RPC_REQUEST_COPY_H
#define RPC_REQUEST_COPY_H

#include <httpd.h>

#include "httpd/log_names.h"

/* Where a value stands. */
typedef enum {
    RPC_FIELD_IN, RPC_FIELD_OUT, RPC_FIELD_ENV, RPC_FIELD_NOTE, RPC_FIELD_SSL
} rpc_field_where_t;

typedef struct rpc_field {
    rpc_field_where_t where;
    const char *name, *value;
} rpc_field_t;

typedef struct rpc_copied_address {
    int family;                 /* 0: there is none */
    apr_port_t port;
    unsigned char bytes[16];
} rpc_copied_address_t;

/* A request_rec. */
typedef struct rpc_copied_request {
    apr_time_t request_time;
    const char *the_request;    /* without a password in the URI */
    const char *method, *protocol, *hostname, *uri, *filename, *path_info, *args, *handler;
    const char *user, *auth_type, *content_type;
    const char *log_id;
    int status, method_number, proto_num, had_log_id;
    int field_count;
    const rpc_field_t *fields;
} rpc_copied_request_t;

typedef struct rpc_request_copy {
    size_t size;                /* of the block */
    server_rec *server, *base_server;
    rpc_copied_address_t local, client, useragent;
    const char *local_ip, *client_ip, *useragent_ip;
    const char *local_host, *remote_host, *useragent_host, *remote_logname;
    const char *scheme;         /* of the connection, as the next two */
    const char *log_id;
    apr_port_t default_port;
    long id;
    int keepalives, is_tls, had_log_id;
    int useragent_is_client;    /* and not one whom a front end names */
    unsigned hostname_lookups, use_canonical_name, use_canonical_phys_port;
    apr_off_t in, out;          /* bytes of the connection for this request, before the copy */
    rpc_copied_request_t request;
    const rpc_copied_request_t *first;  /* that was redirected to it within httpd; NULL: none was */
} rpc_request_copy_t;

/* On R's worker. What the logs call the connection (%{...}x, %l) is asked now. To be freed with
 * free(); NULL: out of memory. */
rpc_request_copy_t *rpc_request_copy(request_rec *r, const rpc_log_names_t *names);

/* A request, with a connection of its own, as the hooks and functions of logs want them, in POOL.
 * COPY must live as long. Any thread. */
request_rec *rpc_request_rebuild(const rpc_request_copy_t *copy, apr_pool_t *pool);

/* Adds FIELD to R, instead of one of that name, if there is one. Its strings are not copied. */
void rpc_request_set_field(request_rec *r, const rpc_field_t *field);

/* The value of an SSL_... variable; NULL: the copy has none. */
const char *rpc_request_copy_ssl(const rpc_request_copy_t *copy, const char *name);

#endif
