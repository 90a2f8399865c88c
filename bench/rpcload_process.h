/* rpcload_process: what a proxy's processes use. A proxy is a process with all its descendants, so
 * that httpd counts as a whole under every MPM. Each function ends the program when they have gone.
 */
#ifndef RPCLOAD_PROCESS_H
#define RPCLOAD_PROCESS_H

#include <sys/types.h>

double bench_now(void);                     /* seconds, of a clock that only goes on */
double process_cpu(pid_t pid);              /* seconds, exact */
void process_times(pid_t pid, double *user, double *sys); /* seconds, in steps of 10 ms */
double process_pss_kb(pid_t pid);
int process_descriptors(pid_t pid);
int process_threads(pid_t pid);

#endif
