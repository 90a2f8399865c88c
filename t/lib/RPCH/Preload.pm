package RPCH::Preload;

# Replaces what a private httpd learns from its machine: names, clocks, sockets. A library that is loaded
# before all others reads the replacements from files, so that a test can change them while httpd runs.
#
#   name NAME     the answer of getaddrinfo() for NAME and names below it: one or two addresses, "hang"
#                 (until the file says something else), "fail" or "none"
#   host ADDRESS  the answer of getnameinfo() for this address: a name, or "hang"
#   shift_by      moves the two clocks, by seconds; whoever waits in epoll_wait() notices at once
#   fail CALL     socket() or connect() for TCP fail with this errno; "later" is the error that SO_ERROR
#                 tells after connect(). "once" makes the next eventfd() of a process's main thread fail,
#                 "eventfd" those of other threads
#
# All other names and addresses get the answers of the system.

use strict;
use warnings;
use RPCH::Compile qw(library preload);
use RPCH::Test qw(vars);

my $SOURCE = <<'C';
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The text of a file of the test's folder; 0: there is none. */
static int told(const char *kind, const char *name, char *text, size_t size)
{
    const char *folder = getenv("RPCH_PRELOAD");
    char path[512];
    ssize_t n;
    int fd;

    if (!folder || strchr(name, '/'))
        return 0;
    snprintf(path, sizeof(path), "%s/%s-%s", folder, kind, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return 0;
    text[n] = '\0';
    return 1;
}

static void forget(const char *kind, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s-%s", getenv("RPCH_PRELOAD"), kind, name);
    unlink(path);
}

static void tell(const char *line)
{
    const char *folder = getenv("RPCH_PRELOAD");
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/asked", folder ? folder : "");
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return;
    dprintf(fd, "%s\n", line);
    close(fd);
}

/* ---- names ---- */

static int told_of_name(const char *name, char *text, size_t size)
{
    for (; name; name = strchr(name, '.') ? strchr(name, '.') + 1 : NULL)
        if (*name && told("name", name, text, size))
            return 1;
    return 0;
}

static int first_and_second(char *first, const char *service, const struct addrinfo *hints, struct addrinfo **all)
{
    char *second = strchr(first, ' ');
    int error;

    if (second)
        *second++ = '\0';
    error = REAL(getaddrinfo)(first, service, hints, all);
    return error || !second ? error : REAL(getaddrinfo)(second, service, hints, &(*all)->ai_next);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **all)
{
    char text[64];

    if (!name || (hints && hints->ai_flags & AI_NUMERICHOST) || !told_of_name(name, text, sizeof(text)))
        return REAL(getaddrinfo)(name, service, hints, all);
    tell(name);
    while (strcmp(text, "hang") == 0) {
        usleep(10000);
        if (!told_of_name(name, text, sizeof(text)))
            return EAI_NONAME;
    }
    if (strcmp(text, "fail") == 0)
        return EAI_AGAIN;
    if (strcmp(text, "none") == 0)
        return EAI_NONAME;
    return first_and_second(text, service, hints, all);
}

int getnameinfo(const struct sockaddr *restrict of, socklen_t size, char *restrict host, socklen_t room,
                char *restrict service, socklen_t service_room, int flags)
{
    char address[64] = "", text[64];

    if (of->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)of)->sin_addr, address, sizeof(address));
    if (!host || flags & NI_NUMERICHOST || !*address || !told("host", address, text, sizeof(text)))
        return REAL(getnameinfo)(of, size, host, room, service, service_room, flags);
    tell(address);
    while (strcmp(text, "hang") == 0) {
        usleep(10000);
        if (!told("host", address, text, sizeof(text)))
            return EAI_NONAME;
    }
    snprintf(host, room, "%s", text);
    return 0;
}

/* ---- clocks ---- */

static long long shift_of(int clock)
{
    static volatile long long *shifts;
    const char *folder = getenv("RPCH_PRELOAD");

    if (!shifts && folder) {
        char path[512];
        void *map;
        int fd;

        snprintf(path, sizeof(path), "%s/clocks", folder);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        map = fd < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof(*shifts), PROT_READ, MAP_SHARED, fd, 0);
        if (fd >= 0)
            close(fd);
        if (map != MAP_FAILED)
            shifts = map;
    }
    return shifts ? shifts[clock] : 0;
}

/* Not by dlsym(), within which a sanitizer asks for the time. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rv = (int)syscall(SYS_clock_gettime, id, ts);

    if (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC)
        ts->tv_sec += shift_of(id == CLOCK_MONOTONIC);
    return rv;
}

/* The kernel knows nothing of the shift. */
int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t id,
                           const struct timespec *limit)
{
    struct timespec kernel = *limit;

    if (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC)
        kernel.tv_sec -= shift_of(id == CLOCK_MONOTONIC);
    return REAL(pthread_cond_clockwait)(cond, mutex, id, &kernel);
}

/* Nor does it end a wait when the clock is moved. */
int epoll_wait(int fd, struct epoll_event *events, int room, int timeout)
{
    const int piece = 10;
    long long shift = shift_of(1);
    int n;

    for (;;) {
        n = REAL(epoll_wait)(fd, events, room, timeout > piece ? piece : timeout);
        timeout -= timeout > piece ? piece : timeout;
        if (n || timeout <= 0 || shift_of(1) != shift)
            return n;
    }
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    int rv = REAL(gettimeofday)(tv, zone);

    tv->tv_sec += shift_of(0);
    return rv;
}

time_t time(time_t *out)
{
    time_t now = REAL(time)(NULL) + shift_of(0);

    if (out)
        *out = now;
    return now;
}

/* ---- sockets ---- */

int socket(int family, int type, int protocol)
{
    char text[64];

    if ((family == AF_INET || family == AF_INET6) && (type & 0xf) == SOCK_STREAM && told("fail", "socket", text, sizeof(text))) {
        errno = atoi(text);
        return -1;
    }
    return REAL(socket)(family, type, protocol);
}

int connect(int fd, const struct sockaddr *to, socklen_t size)
{
    char text[64];

    if ((to->sa_family == AF_INET || to->sa_family == AF_INET6) && told("fail", "connect", text, sizeof(text))) {
        errno = atoi(text);
        return -1;
    }
    return REAL(connect)(fd, to, size);
}

int eventfd(unsigned count, int flags)
{
    int of_main = syscall(SYS_gettid) == getpid();
    char text[64];

    if (!told("fail", of_main ? "once" : "eventfd", text, sizeof(text)))
        return REAL(eventfd)(count, flags);
    if (of_main)
        forget("fail", "once");
    errno = atoi(text);
    return -1;
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict size)
{
    int rv = REAL(getsockopt)(fd, level, name, value, size);
    struct sockaddr_storage at;
    socklen_t room = sizeof(at);
    char text[64];

    if (rv == 0 && level == SOL_SOCKET && name == SO_ERROR && told("fail", "later", text, sizeof(text))
        && getsockname(fd, (struct sockaddr *)&at, &room) == 0 && at.ss_family == AF_INET)
        *(int *)value = atoi(text);
    return rv;
}
C

# Builds the library in a folder of its own. Returns nothing when it cannot be built.
sub new {
    my ($class) = @_;
    my $dir = vars('serverroot') . "/preload-$$";
    mkdir $dir or die "$dir: $!\n";
    chmod 0777, $dir;
    my $self = bless { dir => $dir, owner => $$ }, $class;
    $self->write('asked', '');
    chmod 0666, "$dir/asked";
    $self->{shifts} = [0, 0];
    $self->write('clocks', pack 'q2', 0, 0);
    $self->{library} = library("$dir/library", $SOURCE) or return;
    return $self;
}

sub write {
    my ($self, $name, $text) = @_;
    open my $fh, '>', "$self->{dir}/.new" or die "$self->{dir}: $!\n";
    print $fh $text;
    close $fh or die "$self->{dir}: $!\n";
    return rename "$self->{dir}/.new", "$self->{dir}/$name";
}

# What DO starts has this library.
sub within {
    my ($self, $do) = @_;
    local $ENV{LD_PRELOAD} = preload($self->{library});
    local $ENV{RPCH_PRELOAD} = $self->{dir};
    return $do->();
}

# Starts an httpd (RPCH::Httpd) with this library.
sub start { my ($self, $httpd) = @_; return $self->within(sub { $httpd->start }) }

sub name { my ($self, $name, $what) = @_; return $self->write("name-$name", $what) }
sub host { my ($self, $address, $what) = @_; return $self->write("host-$address", $what) }
sub asked { my ($self) = @_; open my $fh, '<', "$self->{dir}/asked" or return; chomp(my @names = <$fh>); return @names }
sub fail { my ($self, $call, $errno) = @_; return $self->write("fail-$call", $errno) }
sub works { my ($self, $call) = @_; return unlink "$self->{dir}/fail-$call" }

# Moves the time of day and the monotonic clock by these seconds. The file is changed in place, because
# httpd has mapped it.
sub shift_by {
    my ($self, $wall, $monotonic) = @_;
    $self->{shifts}[0] += $wall;
    $self->{shifts}[1] += $monotonic;
    open my $fh, '+<', "$self->{dir}/clocks" or die "$self->{dir}: $!\n";
    syswrite $fh, pack 'q2', @{ $self->{shifts} };
    return close $fh;
}
sub pass { my ($self, $seconds) = @_; return $self->shift_by($seconds, $seconds) }

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    unlink glob("$self->{dir}/*"), "$self->{dir}/.new";
    return rmdir $self->{dir};
}

1;
