/* base/descriptors.h: how close this process is to its limit of open files.
 *
 * A child of the event MPM that fails to accept a connection for want of a descriptor retires, and
 * when all children have done so the parent gives up: the whole server ends. So channels must leave
 * some.
 */
#ifndef RPC_DESCRIPTORS_H
#define RPC_DESCRIPTORS_H

/* Descriptors that are kept for the rest of the process, if its limit is 400 or more; else in
 * proportion. Legs leave all of them. A client's connection may take half of them, because it may
 * be a successor channel, which needs no leg. */
#define RPC_DESCRIPTORS_KEPT 100
#define RPC_DESCRIPTORS_KEPT_BY_CLIENTS (RPC_DESCRIPTORS_KEPT / 2)

/* The limit (RLIMIT_NOFILE); ULONG_MAX when there is none. Any thread. */
unsigned long rpc_descriptors_limit(void);

/* Is FD one of the last KEPT descriptors? The system gives the lowest free number, so the number
 * tells how many are open. Any thread. */
int rpc_descriptors_short(int fd, unsigned kept);

#endif
