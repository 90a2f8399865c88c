/* rpc_front_field: the fields of a request that show that it has come through a front end. No httpd
 * headers; any thread. */
#ifndef RPC_FRONT_FIELDS_H
#define RPC_FRONT_FIELDS_H

/* Do proxies, load balancers or content networks add a field of this NAME? Clients themselves do
 * not send such fields. */
int rpc_front_field(const char *name);

#endif
