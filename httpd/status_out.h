/* httpd/status_out.h: texts of the status page, escaped for the place where they stand. Names come
 * from clients, so they may hold anything; bytes that are not UTF-8 are shown as U+FFFD.
 */
#ifndef RPC_STATUS_OUT_H
#define RPC_STATUS_OUT_H

#include <httpd.h>

void rpc_out_html(request_rec *r, const char *text);    /* between tags, and in "..." */
void rpc_out_json(request_rec *r, const char *text);    /* a string, with its quotes */
void rpc_out_label(request_rec *r, const char *text);   /* the value of a label, with its quotes */
void rpc_out_query(request_rec *r, const char *text);   /* a value in a query string, in HTML */

#endif
