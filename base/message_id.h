/* The ids of our messages: "RPC0001: " in front of each line of the error log that an administrator
 * may act upon, and of each error and warning of configtest, as APLOGNO() does it in httpd.
 *
 * An id never changes and is never used again. doc/messages.md has a row for each, and keeps that
 * of a message that is gone. Lines at debug and trace have none. `make check` holds all this.
 *
 * To add a message take the next number, write its row, and raise the number here.
 */
#ifndef RPC_MESSAGE_ID_H
#define RPC_MESSAGE_ID_H

#define RPC_NEXT_NO 0156

#define RPCNO(n) "RPC" #n ": "

#endif
