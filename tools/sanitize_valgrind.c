/* Preloaded under valgrind. Mod_ssl seeds OpenSSL with what happens to lie on its stack, and no
 * byte of TLS is defined then: so that seed is dropped.
 *
 * Valgrind runs one thread at a time, and does not know that F_OFD_SETLKW may wait: the thread that
 * has the lock, as Kerberos has that of its replay cache, would never run again. So it is tried
 * again and again here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

void RAND_seed(const void *buf, int num)
{
}

static int lock(int fd, void *what)
{
    int rv;

    while ((rv = syscall(SYS_fcntl, fd, F_OFD_SETLK, what)) < 0
           && (errno == EAGAIN || errno == EACCES))
        usleep(10000);
    return rv;
}

int fcntl64(int fd, int command, ...)
{
    va_list more;
    void *argument;

    va_start(more, command);
    argument = va_arg(more, void *);
    va_end(more);
    return command == F_OFD_SETLKW ? lock(fd, argument) : syscall(SYS_fcntl, fd, command, argument);
}

int fcntl(int fd, int command, ...) __attribute__((alias("fcntl64")));
