# The endpoint process and its sockets: which server they belong to, what happens to them when servers
# start and stop, what configtest says about them, and what happens when the process dies or cannot
# start.

use strict;
use warnings;
use Test::More;
use RPCH::Compile qw(library preload);
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Root;
use RPCH::Test;

my $tcp = tcp_server();
my $shared = RPCH::Root::free_ports(1);
my $location = RPCH::Httpd->location;
# Children of older generations keep their slots while they have channels.
my @room = vars('mpm') eq 'prefork' ? () : (limits => "ServerLimit 12\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 300\nMinSpareThreads 25\nMaxSpareThreads 100\n");
my $listen = "RpcEndpointListen 127.0.0.1:$shared ncacn_ip_tcp:127.0.0.1[$tcp->{port}]\n";

sub client_of { my ($httpd) = @_; return plain(port => $httpd->{port}, target => "tcp.contoso.test:$tcp->{port}") }
sub is_open { my ($port) = @_; return IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port) ? 1 : 0 }
sub socket_of { my ($httpd) = @_; return "$httpd->{dir}/rpcproxy.sock.$httpd->{pid}" }
sub count { my ($httpd, $re) = @_; return scalar(() = $httpd->log =~ /$re/g) }
# The process that was started last. The log has its line as soon as it runs.
sub endpoint_pid {
    my ($httpd) = @_;
    my ($pid) = $httpd->log =~ /.*endpoint process (\d+) started/s or die "no endpoint process\n";
    return $pid;
}

# ---- graceful-stop, then start, while the old server still has channels ----
my $httpd = RPCH::Httpd->new(@room, conf => $listen . $location)->start;
{
    my $old = client_of($httpd)->connect;
    my ($old_pid, $old_socket) = ($httpd->{pid}, socket_of($httpd));
    ok(-S $old_socket, "the socket bears the parent's process id");
    is((stat _)[2] & 0777, 0600, 'and is for one user alone');
    $httpd->signal('WINCH');
    ok(eval { wait_for('the ports to be closed', sub { turn(0.02); !is_open($httpd->{port}) && !is_open($shared) }) },
       'graceful-stop closes RpcEndpointListen, as it does Listen');
    ok($old->works, 'while channels go on');
    wait_for('the PidFile to go', sub { turn(0.02); !-e "$httpd->{dir}/httpd.pid" });
    $httpd->start;
    isnt($httpd->{pid}, $old_pid, 'another server starts, in the same folders and at the same addresses');
    ok(client_of($httpd)->serves, 'it serves');
    ok(is_open($shared), 'at RpcEndpointListen, too');
    ok($old->works, 'the old one still does');
    $old->close;
    ok(eval { wait_for('the old server to end', sub { turn(0.02); !kill 0, $old_pid }) }, 'the old server ends');
    ok(!-e $old_socket, 'with its socket');
    ok(-S socket_of($httpd), "not with the new one's");
    ok(client_of($httpd)->serves, 'which still serves');
}

# ---- a second httpd in the same runtime folder ----
{
    my $second = RPCH::Httpd->new(conf => "DefaultRuntimeDir $httpd->{dir}\n$location")->start;
    ok(client_of($second)->serves, 'a second server in the same folder serves');
    $second->signal('TERM')->wait_gone;
    ok(-S socket_of($httpd), 'and takes nothing along that is not its own');
    ok(client_of($httpd)->serves, 'so the first one still serves');
    is(join(' ', map { s{.*/}{}r } glob "$httpd->{dir}/rpcproxy.sock*"), "rpcproxy.sock.$httpd->{pid}", 'with the one socket');
}

# ---- the socket's file is removed ----
{
    my $c = client_of($httpd)->connect;
    unlink socket_of($httpd) or die $!;
    is(client_of($httpd)->out_status, 503, 'the file of the socket is gone: 503');
    $httpd->restart;
    ok(-S socket_of($httpd), 'a restart makes another');
    ok(client_of($httpd)->serves, 'and new virtual connections open');
    ok($c->works, 'what was open goes on');
    $c->close;
    # When another file has taken the place of the socket, it is not touched
    unlink socket_of($httpd) or die $!;
    open my $fh, '>', socket_of($httpd) or die $!;
    close $fh;
    $httpd->restart;
    ok(-f socket_of($httpd), "somebody else's file is not removed");
    like($httpd->log, qr/cannot listen at RpcEndpointSocket \S+: the file belongs to another program: remove it, or name another path; httpd continues without it/, 'the log says what to do');
    is(client_of($httpd)->out_status, 503, 'meanwhile 503');
    ok(is_open($shared), 'RpcEndpointListen is not concerned');
    unlink socket_of($httpd) or die $!;
    $httpd->restart;
    ok(client_of($httpd)->serves, 'once that is done the next restart cures it');
}

# ---- RpcEndpointListen: all addresses are taken out; an address is in use ----
{
    $httpd->restart($location);
    ok(eval { wait_for('the port to be closed', sub { turn(0.02); !is_open($shared) }) }, 'RpcEndpointListen taken out: a graceful restart closes the port');
    my $busy = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => $shared, Listen => 5, ReuseAddr => 1) or die $@;
    my ($status, $out) = $httpd->configure($listen . $location)->configtest;
    isnt($status, 0, 'configtest: an address that another program has');
    like($out, qr/Address already in use: .*cannot listen at RpcEndpointListen 127\.0\.0\.1:$shared: another program listens there: stop it, or choose another port/, 'and what to do');
    $httpd->restart;
    ok(client_of($httpd)->serves, 'a restart without configtest goes on without it');
    like($httpd->log, qr/\[rpcproxy:error\] .*cannot listen at RpcEndpointListen 127\.0\.0\.1:$shared: .*; httpd continues without it until a restart/, 'which is an error in the log');
    close $busy;
    $httpd->restart;
    ok(is_open($shared), 'the next restart has it');
    ($status, $out) = $httpd->configtest;
    is($status, 0, 'configtest while this server itself has it: fine') or diag $out;
}

# ---- configtest ----
{
    my $n = 0;
    my $test = RPCH::Httpd->new;
    my $room = 98 - length $test->{dir};
    for my $case (["RpcEndpointSocket $test->{dir}/nowhere/rpc.sock", qr{RpcEndpointSocket \S+/nowhere/rpc\.sock: create the folder \S+/nowhere, or name another}, 'no folder'],
                  ["RpcEndpointSocket $test->{dir}/httpd.conf/rpc.sock", qr{Not a directory: .*create the folder}, 'a file for a folder'],
                  ["RpcEndpointSocket $test->{dir}/" . 'x' x ($room + 1), qr{a path of up to 99 characters, the limit for sockets}, 'too long a path'],
                  ["RpcEndpointListen 192.0.2.1:" . RPCH::Root::free_ports(1) . ' ncacn_ip_tcp:127.0.0.1[135]', qr{this machine does not have this address: name one that it has, or \* for all of them}, "another machine's address"],
                  [$> == 0 ? () : ("RpcEndpointSocket /proc/rpc.sock", qr{httpd may not write into the folder /proc: change its rights, or name another}, 'a folder of others')]) {
        my ($conf, $says, $name) = @$case or next;
        my ($status, $out) = $test->configure("$conf\n$location")->configtest;
        isnt($status, 0, "configtest: $name");
        like($out, $says, 'and what to do');
        next if $name eq 'too long a path';
        ($status) = $test->run('-k start');
        isnt($status, 0, 'a start says so, too') if $conf =~ /Listen/;
        $test->{pid} = undef;
        if ($conf !~ /Listen/) {
            ok(eval { wait_for('the end', sub { turn(0.02); !-e "$test->{dir}/httpd.pid" && $test->log =~ /cannot listen at RpcEndpointSocket/ }) }, 'a start says so, too');
        }
        unlink "$test->{dir}/error_log";
    }
    my ($status) = $test->configure("RpcEndpointSocket $test->{dir}/" . 'x' x $room . "\n$location")->configtest;
    is($status, 0, 'a path of 99 characters will do');
    # A restart with an address that is in use
    $httpd->restart("RpcEndpointSocket $test->{dir}/nowhere/rpc.sock\n$location");
    is(client_of($httpd)->out_status, 503, 'a restart that cannot have RpcEndpointSocket: the server lives, 503');
    $httpd->restart($location);
    ok(client_of($httpd)->serves, 'and is cured by the next');
}

# ---- a process that dies, and one that dies again and again ----
{
    my $first = endpoint_pid($httpd);
    my $mark = length $httpd->log;
    kill KILL => $first;
    ok($httpd->logs(qr/endpoint process $first died \(exit code or signal 9\): httpd starts another one/), 'killed once: another is started');
    ok(eval { wait_for('it', sub { client_of($httpd)->serves }) }, 'and serves');
    my $second = endpoint_pid($httpd);
    kill KILL => $second;
    ok($httpd->logs(qr/endpoint process $second died .* like those before it: the next one is started in 1 s/), 'killed again at once: the next one takes its time');
    is(client_of($httpd)->out_status, 503, 'until then its clients are told 503');
    ok($httpd->logs(qr/endpoint: process \d+ serves, after 1 failed attempts/), 'it says when it begins');
    ok(client_of($httpd)->serves, 'and serves');
}

# ---- a process that cannot start: there are no descriptors, or fork() fails ----
SKIP: {
    my $flag = "$httpd->{dir}/fails";
    my $library = failing($flag) or skip 'no compiler', 1;
    my $fails = sub { my ($what) = @_; open my $fh, '>', $flag or die $!; print $fh $what; close $fh };
    my $start = sub { local $ENV{LD_PRELOAD} = preload($library); return RPCH::Httpd->new(@room, conf => $location)->start };

    $fails->('epoll');
    my $starved = $start->();
    ok($starved->logs(qr/Too many open files: .*endpoint: cannot start; it is tried again with pauses of up to a minute; until then its clients are answered 503/), 'EMFILE');
    is(client_of($starved)->out_status, 503, 'meanwhile 503');
    unlink $flag;
    ok($starved->logs(qr/endpoint: process \d+ serves, after \d+ failed attempts/), 'when there are descriptors again, it begins');
    ok(client_of($starved)->serves, 'and serves');
    is(count($starved, qr/endpoint: cannot start/), 1, 'with one line at the beginning');
    is(count($starved, qr/serves, after/), 1, 'and one at the end');

    # At a restart the process of before continues
    my $c = client_of($starved)->connect;
    $fails->('epoll');
    $starved->restart;
    ok($starved->logs(qr/endpoint: cannot start; .*; until then the process from before the restart serves/), 'EMFILE at a restart');
    ok(client_of($starved)->serves, 'the process of before serves');
    unlink $flag;
    ok(eval { wait_for('the new one', sub { turn(0.05); count($starved, qr/serves, after/) == 2 }) }, 'until the new one can');
    ok(client_of($starved)->serves && $c->works, 'nobody has noticed');

    # fork
    $fails->('fork');
    $starved->restart;
    ok($starved->logs(qr/Resource temporarily unavailable: .*cannot start the endpoint process; .*; until then the process from before the restart serves/), 'EAGAIN at a restart');
    ok(client_of($starved)->serves, 'the process of before serves');
    my $pid = endpoint_pid($starved);
    kill KILL => $pid;
    ok(eval { wait_for('503', sub { turn(0.02); client_of($starved)->out_status eq 503 }) }, 'nobody is left: 503');
    is(count($starved, qr/cannot start the endpoint process/), 1, 'with one line');
    unlink $flag;
    ok(eval { wait_for('the next', sub { turn(0.05); count($starved, qr/serves, after/) == 3 }) }, 'in the end it is started');
    ok(client_of($starved)->serves, 'and serves');
    ok($c->works, 'one of before all that goes on');
    $c->close;
    unlike($starved->log, qr/AH00488|Segmentation|exit signal (?!Killed)/, 'in order');
}

$tcp->close;
done_testing;

# A library to preload. The file FLAG says which call fails: "epoll" is epoll_create1() of an endpoint
# process, "fork" is apr_proc_fork(). Returns nothing when there is no compiler.
sub failing {
    my ($flag) = @_;
    return library(vars('serverroot') . "/conf/failing-$$", <<'C', qq(-DFLAG='"$flag"'));
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

static int fails(const char *what)
{
    char text[8] = "";
    int fd = open(FLAG, O_RDONLY);

    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof(text) - 1) < 0)
        text[0] = '\0';
    close(fd);
    return strcmp(text, what) == 0;
}

int epoll_create1(int flags)
{
    static int (*real)(int);
    char name[16] = "";

    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "epoll_create1");
    prctl(PR_GET_NAME, name);
    if (strcmp(name, "rpc-endpoint") == 0 && fails("epoll"))
        return errno = EMFILE, -1;
    return real(flags);
}

/* By which the endpoint process is started. It returns the errno of fork(). */
int apr_proc_fork(void *proc, void *pool)
{
    int (*real)(void *, void *) = (int (*)(void *, void *))dlsym(RTLD_NEXT, "apr_proc_fork");

    return fails("fork") ? EAGAIN : real(proc, pool);
}
C
}
