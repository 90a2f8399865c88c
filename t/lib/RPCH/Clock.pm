package RPCH::Clock;

# A private httpd whose monotonic clock runs faster, so that minutes of idleness pass in a test.
# Time-outs of sockets and of the kernel are not changed.

use strict;
use warnings;
use RPCH::Test qw(vars);

my $SOURCE = <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long base;     /* the moment from which on the clock is fast */

int clock_gettime(clockid_t id, struct timespec *ts)
{
    long long now;
    int rv = (int)syscall(SYS_clock_gettime, id, ts);   /* within dlsym() a sanitizer asks for the time */

    if (id != CLOCK_MONOTONIC)
        return rv;
    now = ts->tv_sec * 1000000000LL + ts->tv_nsec;
    if (!base)
        base = now;
    now = base + (now - base) * SPEED;
    ts->tv_sec = now / 1000000000;
    ts->tv_nsec = now % 1000000000;
    return rv;
}

/* The kernel knows only its own clock. */
int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t id,
                           const struct timespec *limit)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    long long at = limit->tv_sec * 1000000000LL + limit->tv_nsec;
    struct timespec kernel = *limit;

    if (!real)
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *))
               dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    if (id == CLOCK_MONOTONIC && base) {
        at = base + (at - base) / SPEED;
        kernel = (struct timespec){ at / 1000000000, at % 1000000000 };
    }
    return real(cond, mutex, id, &kernel);
}

int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
    static int (*real)(int, struct epoll_event *, int, int);

    if (!real)
        real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    return real(fd, events, n, timeout > 0 ? timeout / SPEED + 1 : timeout);
}
C

# Starts HTTPD with a clock that is SPEED times as fast. Returns false when the library cannot be built.
sub start {
    my ($class, $httpd, $speed) = @_;
    my $base = vars('serverroot') . "/conf/clock-$$-$speed";
    open my $fh, '>', "$base.c" or die "$base.c: $!\n";
    print $fh $SOURCE;
    close $fh or die "$base.c: $!\n";
    system("cc -shared -fPIC -O1 -DSPEED=$speed -o $base.so $base.c -ldl 2>/dev/null") == 0 or return;
    # The library of a sanitizer has to be the first
    local $ENV{LD_PRELOAD} = join ':', grep { defined } $ENV{LD_PRELOAD}, "$base.so";
    return $httpd->start;
}

1;
