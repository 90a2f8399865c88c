/* rpc_front_field: the fields by which a front end betrays that a request has come through it. No
 * httpd headers; any thread.
 */
#ifndef RPC_FRONT_FIELDS_H
#define RPC_FRONT_FIELDS_H

/* Do proxies, balancers and content networks add a field of this NAME? Clients send none. */
int rpc_front_field(const char *name);

#endif
