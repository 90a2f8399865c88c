/* httpd/module.h: the module record, for the files that know httpd. */
#ifndef RPC_MODULE_H
#define RPC_MODULE_H

#include <httpd.h>
#include <http_config.h>

/* The only symbol httpd needs to see; everything else is compiled hidden. */
extern module AP_MODULE_DECLARE_DATA rpcproxy_module __attribute__((visibility("default")));

#endif
