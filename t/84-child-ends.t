# Children that end while others take their place: told to go in the first moments of their life, killed while
# connections are on their way to channels, retired by MaxConnectionsPerChild under load.

use strict;
use warnings;
use Test::More;
use POSIX ();
use RPCH::Compile qw(library preload);
use RPCH::File qw(put slurp);
use RPCH::Httpd;
use RPCH::Needs qw(missing modules);
use RPCH::Poll qw(wait_for turn);
use RPCH::Settle qw(is_endpoint);
use RPCH::Test;

my $server = server(echo => 1);
my %LIMITS = (
    event => "StartServers 4\nThreadsPerChild 4\nMinSpareThreads 12\nMaxSpareThreads 16\nMaxRequestWorkers 40\nServerLimit 20\n",
    prefork => "StartServers 6\nMinSpareServers 4\nMaxSpareServers 6\nMaxRequestWorkers 20\nServerLimit 20\n",
);
$LIMITS{worker} = $LIMITS{event};

sub session { my ($httpd) = @_; return plain(port => $httpd->{port}, target => $server->target) }
sub echoes {
    my ($c, $text) = @_;
    return $c->works("$text " . join ' ', map { $_ * 7919 } 1 .. 300);
}
sub knock { my ($httpd) = @_; return IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $httpd->{port}) }
sub is_alive { my ($pid) = @_; return eval { slurp("/proc/$pid/stat") !~ /\) Z / } }
sub lines { my ($httpd, $re) = @_; return scalar(() = $httpd->log('access_log') =~ /$re/mg) }

# ---- a stop ends a child whose main thread was the last to install its handler of SIGTERM ----
#
# With MaxConnectionsPerChild a child may retire before httpd's main thread has installed its handler,
# which does nothing. This library makes it so.
my $LATE = <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic int retired, installed, again, woken;

static void note(const char *what)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s-%d", getenv("LATE_DIR"), what, (int)getpid());
    close(open(path, O_CREAT | O_WRONLY, 0666));
}

static int is_main(void) { return syscall(SYS_gettid) == getpid(); }

static int is_over(void)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/over", getenv("LATE_DIR"));
    return access(path, F_OK) == 0;
}

int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    int (*real)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    int rv, ours = sig == SIGTERM && act && !is_main();
    /* httpd's, in a child: its parent's and the endpoint's processes have their handlers by now */
    int theirs = sig == SIGTERM && act && is_main() && access(getenv("LATE_DIR"), F_OK) == 0
                 && act->sa_handler != SIG_IGN && act->sa_handler != SIG_DFL;
    sigset_t blocked;

    if (theirs) {       /* all signals are blocked there, and nowhere else */
        sigprocmask(SIG_SETMASK, NULL, &blocked);
        theirs = sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGUSR2);
    }
    while (theirs && !retired && !is_over())
        usleep(10000);
    rv = real(sig, act, old);
    installed |= theirs && retired;
    if (ours && installed && !again++)
        note("heeded");
    retired |= ours;
    return rv;
}

/* The listener wakes the main thread, which has to wait in read() by then. */
int kill(pid_t pid, int sig)
{
    int (*real)(pid_t, int) = dlsym(RTLD_NEXT, "kill");
    int rv = real(pid, sig);

    if (pid == getpid() && sig == SIGTERM && !is_main())
        for (; !woken && !is_over(); rv = real(pid, sig))
            usleep(10000);
    return rv;
}

ssize_t read(int fd, void *buf, size_t size)
{
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    ssize_t n = real(fd, buf, size);

    if (installed && size == 1 && is_main())
        woken = 1;
    return n;
}
C

sub stop_late {
    my ($mpm) = @_;
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm} . "MaxConnectionsPerChild 1\n", conf => RPCH::Httpd->location);
    my $dir = "$httpd->{dir}/late";
    my $library = library($dir, $LATE) or skip 'no compiler', 5;
    {
        local $ENV{LD_PRELOAD} = preload($library);
        local $ENV{LATE_DIR} = $dir;
        mkdir $dir or die $!;
        chmod 0777, $dir or die $!;
        $httpd->start;
    }
    my $c = session($httpd);
    ok(eval { $c->connect; 1 }, "$mpm: a session in children that retire at once") or diag $@;
    my @pids = $httpd->log =~ /pid (\d+):.* channel of virtual connection/g;
    # Worker looks at its count of connections when the next one comes.
    ok(eval { wait_for('the handlers', sub { turn(0.02); knock($httpd) if $mpm eq 'worker'; !grep { !-e "$dir/heeded-$_" } @pids }) }, "$mpm: which heed their parent, though httpd was late");
    put("$dir/over");
    kill STOP => $httpd->{pid};     # it would repeat its signal
    kill TERM => @pids;
    ok(eval { wait_for('their end', sub { turn(0.02); !grep { is_alive($_) } @pids }) }, "$mpm: the first signal ends them") or diag $@;
    $httpd->signal('TERM');
    ok(eval { $httpd->wait_gone }, "$mpm: and the server stops");
    is(lines($httpd, qr{"RPC_(?:IN|OUT)_DATA .* (?:shutdown|server-closed)$}m), 2, "$mpm: each channel has its line");
    $c->close;
    return;
}
SKIP: { stop_late($_) for qw(event worker) }

# ---- MaxConnectionsPerChild and idle retirement under load: every byte is right; a child that is killed takes
# its own sessions with it, whose rows are free again ----
my $SESSIONS = 6;
for my $mpm (qw(event worker prefork)) {
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm} . "MaxConnectionsPerChild 3\n",
                                 conf => 'RpcMaxChannels ' . 2 * $SESSIONS . "\n" . RPCH::Httpd->location)->start;
    my (@c, $wrong);
    for my $n (1 .. $SESSIONS) {
        push @c, eval { session($httpd)->connect } // diag $@;
        $wrong += !echoes($_, $n) for @c;
    }
    is($wrong, 0, "$mpm: sessions echo while their children retire") or diag $httpd->log;
    wait_for('a line of each channel', sub { turn(0.02); 2 * $SESSIONS <= (() = $httpd->log =~ /DATA channel of virtual connection/g) });
    my %pids = map { $_ => 1 } $httpd->log =~ /pid (\d+):.* channel of virtual connection/g;
    cmp_ok(scalar(keys %pids), '>', 1, "$mpm: they are in several children");
    my ($victim) = grep { kill 0, $_ } sort { $a <=> $b } keys %pids;
    my %hit = map { $_ => 1 } $httpd->log =~ /pid $victim:.* channel of virtual connection (\w+)/g;
    kill KILL => $victim;
    ok(eval { wait_for('ends', sub { turn(0.02); keys %hit == grep { $_->in->{eof} && $_->out->{eof} } @c }) }, "$mpm: a child is killed, and its sessions end") or diag $@;
    my @left = grep { !$_->in->{eof} } @c;
    $wrong = grep { !echoes($_, 'later') } @left;
    is($wrong, 0, "$mpm: the others go on");
    wait_for('the parent to notice', sub { turn(0.02); !kill 0, $victim });     # then the rows are free
    my $new;
    ok(eval { wait_for('room', sub { turn(0.02); $new = session($httpd); eval { local $RPCH::Poll::TIMEOUT = 2; $new->connect; 1 } || ($new->close, 0)[1] }) }, "$mpm: there is room for another");
    $_->close for @c, $new // ();
    @{ $server->{new} } = @{ $server->{opened} } = ();
}

# ---- a graceful restart while httpd still has the connection: another module takes its time over the log ----
my $modules = modules();
SKIP: {
    skip 'no mod_perl', 3 if missing('mod_perl.so');
    reload_slow($_) for qw(event worker prefork);
}
sub reload_slow {
    my ($mpm) = @_;
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm});
    my $dir = "$httpd->{dir}/state";
    mkdir $dir or die $!;
    chmod 0777, $dir;
    put("$httpd->{dir}/Slow.pm", "package Slow;\nsub handler { open my \$fh, '>', '$dir/slow'; select undef, undef, undef, 0.02 until -e '$dir/go'; return 0 }\n1;\n");
    $httpd->configure("LoadModule perl_module $modules/mod_perl.so\nPerlSwitches -I$httpd->{dir}\nPerlLogHandler Slow\n" . RPCH::Httpd->location)->start;
    my $c = session($httpd);
    $c->open_in;
    $c->open_out;
    wait_for('the other module', sub { turn(0.02); -e "$dir/slow" });
    my $before = () = $httpd->log =~ /resuming normal operations/g;
    $httpd->signal('USR1');
    wait_for('the restart', sub { turn(0.02); $before < (() = $httpd->log =~ /resuming normal operations/g) });
    put("$dir/go");
    $c->send_a1->send_b1;
    ok(eval { $c->opened; echoes($c, 'after the restart') }, "$mpm: a restart while httpd still has the connection") or diag $@, $httpd->log;
    $c->close;
    return;
}

# ---- the parent ends well, too: when it releases what lives as long as the process, the modules are gone ----
for my $mpm (qw(event worker prefork)) {
    my $httpd = RPCH::Httpd->new(mpm => $mpm, limits => $LIMITS{$mpm}, conf => RPCH::Httpd->location);
    defined(my $pid = fork) or die "fork: $!\n";
    if (!$pid) {
        POSIX::setsid();    # when httpd stops, it sends the signal to its process group
        exec "exec $httpd->{httpd} -f $httpd->{dir}/httpd.conf -DFOREGROUND 2>$httpd->{dir}/said" or POSIX::_exit(127);
    }
    $httpd->{pid} = $pid;
    ok(eval { wait_for('its start', sub { turn(0.02); $httpd->log =~ /resuming normal operations/ }) }, "$mpm: a server in the foreground") or diag $@;
    $httpd->restart->signal('TERM');
    waitpid $pid, 0;
    is($?, 0, "$mpm: a restart, a stop, and its parent has ended by itself");
}

# ---- prefork: a signal that comes within malloc() ----
#
# Prefork ends a child in the handler of the signal. This library has the signal come within malloc(), which
# has a lock then: whoever calls free() waits for ever. It does so when the child next calls malloc(), or before
# the child knows that accept() has brought a connection. It comes twice, as at a stop.
my $WITHIN = <<'C';
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void __libc_free(void *);

static volatile int32_t *armed;
/* volatile: gcc believes that kill() calls nothing of this file */
static __thread volatile int within __attribute__((tls_model("initial-exec")));

enum { IN_MALLOC = 1, IN_ACCEPT };

static void come(int32_t where)
{
    if (armed && *armed == where && !__libc_single_threaded && syscall(SYS_gettid) == getpid()
        && __atomic_exchange_n(armed, 0, __ATOMIC_SEQ_CST)) {
        within = 1;
        kill(getpid(), SIGTERM);
        kill(getpid(), SIGTERM);
        within = 0;
    }
}

__attribute__((constructor)) static void open_armed(void)
{
    int fd = open(getenv("ARMED"), O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    armed = map == MAP_FAILED ? NULL : map;
    close(fd);
}

void *malloc(size_t size)
{
    come(IN_MALLOC);
    return __libc_malloc(size);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    int new = syscall(SYS_accept4, fd, address, size, flags);

    if (new >= 0)
        come(IN_ACCEPT);
    return new;
}

void free(void *at)
{
    while (within)
        usleep(10000);
    __libc_free(at);
}
C
SKIP: {
    my $tls = RPCH::Root::free_ports(1);
    my $httpd = RPCH::Httpd->new(mpm => 'prefork', limits => "StartServers 2\nMinSpareServers 2\nMaxSpareServers 3\nMaxRequestWorkers 2\nServerLimit 2\n");
    my $library = library("$httpd->{dir}/within", $WITHIN) or skip 'no compiler', 5;
    put("$httpd->{dir}/armed", "\0" x 4096);
    chmod 0666, "$httpd->{dir}/armed";
    $httpd->configure(RPCH::Httpd->location . RPCH::Httpd->tls_host($tls));
    {
        local $ENV{LD_PRELOAD} = preload($library);
        local $ENV{ARMED} = "$httpd->{dir}/armed";
        $httpd->start;
    }
    my $c = session($httpd)->connect;
    ok(echoes($c, 'before'), 'prefork: a session');
    my $arm = sub { open my $fh, '+<', "$httpd->{dir}/armed" or die $!; syswrite $fh, pack 'l', $_[0]; return };
    # A session of TLS is made for a client that says next to nothing (without a byte Linux keeps the connection
    # back, because httpd asks for TCP_DEFER_ACCEPT).
    for my $where ($ENV{RPCH_SANITIZER} ? () : ['malloc()', 1], ['accept()', 2]) {   # its malloc() comes before ours
        my ($what, $armed) = @$where;
        wait_for('two children', sub { turn(0.02); 2 == grep { !is_endpoint($_) } $httpd->children });
        my @before = $httpd->children;
        $arm->($armed);
        my $silent = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $tls);
        syswrite $silent, "\x16";
        ok(eval { wait_for('the end', sub { turn(0.02); grep { !is_alive($_) } @before }) }, "prefork: a signal within $what ends the child, although its client is silent") or diag $@;
        $arm->(0);
        $silent->close;
    }
    $httpd->signal('TERM');
    ok(eval { $httpd->wait_gone }, 'prefork: and the server stops');
    unlike($httpd->log, qr/SIGKILL|exit signal/, 'prefork: nobody is killed');
    $c->close;
}

# ---- prefork: a signal to a script that has not begun ----
#
# When mod_cgi has forked, the new process has all that the child has, and its handlers. This library has the
# signal come before it becomes the script. Then the child waits for a server that does not answer: a signal ends
# it, as nothing else would for a minute.
my $BEFORE = <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

int execve(const char *path, char *const args[], char *const env[])
{
    int (*real)(const char *, char *const *, char *const *) = dlsym(RTLD_NEXT, "execve");

    if (strstr(path, "/told.cgi"))
        kill(getpid(), SIGTERM);
    return real(path, args, env);
}
C
SKIP: {
    skip 'no mod_cgi or mod_proxy_http', 5 if grep { !-e "$modules/$_" } qw(mod_cgi.so mod_proxy_http.so);
    my $silent = IO::Socket::IP->new(Listen => 5, LocalHost => '127.0.0.1', LocalPort => 0, Timeout => 30) or die $!;
    my $httpd = RPCH::Httpd->new(mpm => 'prefork', limits => "StartServers 1\nMinSpareServers 1\nMaxSpareServers 2\nMaxRequestWorkers 1\nServerLimit 1\n");
    my $library = library("$httpd->{dir}/before", $BEFORE) or skip 'no compiler', 5;
    put("$httpd->{dir}/told.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nit has begun\\n'\n");
    chmod 0755, "$httpd->{dir}/told.cgi";
    $httpd->configure(join('', map { "<IfModule !${_}_module>\nLoadModule ${_}_module $modules/mod_$_.so\n</IfModule>\n" } qw(alias cgi proxy proxy_http))
                      . "ScriptAlias /told.cgi $httpd->{dir}/told.cgi\n"
                      . "<Directory $httpd->{dir}>\nRequire all granted\n</Directory>\nProxyPass /silent http://127.0.0.1:" . $silent->sockport . "/\n" . RPCH::Httpd->location);
    {
        local $ENV{LD_PRELOAD} = preload($library);
        $httpd->start;
    }
    my $c = knock($httpd);
    syswrite $c, "GET /told.cgi HTTP/1.1\r\nHost: localhost\r\n\r\n";
    my $answer = '';
    1 while $answer !~ /\r\n\r\n/ && sysread $c, $answer, 65536, length $answer;
    SKIP: {
        skip 'ThreadSanitizer keeps signals back in a process that was forked', 1 if ($ENV{RPCH_SANITIZER} // '') eq 'thread';
        like($answer, qr{^HTTP/1.1 500 }, 'prefork: a signal ends a script that has not begun');
    }
    $c->close;      # a 500 has ended it
    $c = knock($httpd);
    syswrite $c, "GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n";
    my $behind = $silent->accept;
    ok($behind && sysread($behind, my $head, 1), 'prefork: its child goes on');
    my ($child) = grep { !is_endpoint($_) } $httpd->children;
    kill STOP => $httpd->{pid};     # it would repeat its signal
    kill TERM => $child;
    ok(eval { wait_for('its end', sub { turn(0.02); !is_alive($child) }) }, 'prefork: one signal ends a child that waits for a server') or diag $@;
    kill CONT => $httpd->{pid};
    $httpd->signal('TERM');
    ok(eval { $httpd->wait_gone }, 'prefork: and the server stops');
    unlike($httpd->log, qr/SIGKILL|exit signal/, 'prefork: nobody is killed');
    $_->close for $c, $behind, $silent;
}

$server->close;
done_testing;
