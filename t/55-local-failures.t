# A failure of this machine counts neither against a server nor against the user who asked for the server.

use strict;
use warnings;
use Errno qw(EMFILE ENFILE ENOBUFS EADDRNOTAVAIL ENOMEM EAGAIN EACCES ECONNREFUSED ENETUNREACH);
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(bind_pdu request_pdu);
use RPCH::Test;

my $world = RPCH::Preload->new or plan skip_all => 'no compiler';
my @native = map { server(host => "127.0.0.$_", echo => 1) } 2, 3;
my @tcp = map { tcp_server(host => "127.0.0.$_") } 4, 5;
sub at { my ($protseq, @servers) = @_; return join ' ', map { "$protseq:$_->{host}\[$_->{port}]" } @servers }
# MORE stands before the other patterns, because the first pattern that matches counts.
sub location {
    my ($path, $conf, $more) = @_;
    $more //= '';
    my $users = vars('serverroot') . '/conf/users';
    return "<Location $path>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\nRequire valid-user\n"
        . "RpcRequireTLS off\nRpcValidPorts *.test:1-65535\n${more}RpcBackend *.tcp.test @{[ at('ncacn_ip_tcp', @tcp) ]}\n"
        . "RpcBackend *.test @{[ at('ncacn_http', @native) ]}\n$conf</Location>\n";
}
my $httpd = RPCH::Httpd->new(conf => location('/rpc/rpcproxy.dll', "RpcMaxFailedTargets 3\n", join '', map { "RpcBackend $_.lost.test ncacn_http:$_.lost.test[$native[0]{port}]\n" } qw(a b))
                             . location('/rpcwithcert/rpcproxy.dll', "RpcMaxFailedTargets 0\n", "RpcBackend c.lost.test ncacn_http:none.lost.test[$native[0]{port}]\n"));
$world->start($httpd);

# The server that a call to TARGET reaches first.
sub reached {
    my ($target, %arg) = @_;
    my @servers = $target =~ /tcp/ ? @tcp : @native;
    my %before = map { $_ => $_->connections } @servers;
    my $c = plain(port => $httpd->{port}, target => "$target:6001", %arg);
    my $answer = eval { $c->connect; $c->call($target =~ /tcp/ ? bind_pdu(call => 3) : request_pdu(1, 'call')) };
    $c->close;
    return defined $answer ? join ' ', map { $_->{host} } grep { $_->connections > $before{$_} } @servers : "none: $@";
}

sub lines_of { my ($target) = @_; return grep { /:warn\]/ && /\Q$target\E/ } split /\n/, $httpd->log }

my $n = 0;
for (['no descriptor', socket => EMFILE], ['none in the whole system', socket => ENFILE], ['no buffers', socket => ENOBUFS],
     ['no port', connect => EADDRNOTAVAIL], ['no port, as said by others', connect => EAGAIN], ['no memory', connect => ENOMEM],
     ['a policy', connect => EACCES], ['no network', connect => ENETUNREACH]) {
    my ($name, $call, $errno) = @$_;
    my $target = 't' . ++$n . '.test';
    $world->fail($call, $errno);
    my $c = plain(port => $httpd->{port}, target => "$target:6001");
    $c->open_out;
    $c->send_a1;
    is_rpc_error($c->out, '6b9', "$name: refused for want of resources");
    $c->close;
    $world->works($call);
    ok($httpd->logs(qr/RPC_OUT_DATA \S*$target:6001\S* .* local-failure$/m, 'access_log'), "$name: by its own reason");
    is(scalar(lines_of($target)), 1, "$name: one line at warn") or diag $httpd->log;
    like((lines_of($target))[0] // '', qr/RPC_OUT_DATA channel to \Q$target:6001\E of user "alice" ended: local-failure, outbound in Connecting: \S+ port \d+: .*; client 127\.0\.0\.1, server 127\.0\.0\.\d\[\d+\]/, "$name: with all that is known");
    is(reached($target), '127.0.0.2', "$name: is held neither against the server nor against the user");
}

# ---- failures of a server still count against the server ----
$world->fail(connect => ECONNREFUSED);
my $c = plain(port => $httpd->{port}, target => 'refused.test:6001');
$c->open_out;
$c->send_a1;
is_rpc_error($c->out, '6ba', 'a refused connection', 0x5a0);
$c->close;
$world->works('connect');
ok($httpd->logs(qr/RPC_OUT_DATA \S*refused\.test:6001\S* .* connect-failed$/m, 'access_log'), 'is the server\'s');

$world->fail(later => EACCES);
$c = plain(port => $httpd->{port}, target => 'rejected.test:6001');
$c->open_out;
$c->send_a1;
is_rpc_error($c->out, '6ba', 'a connection that a firewall on its way rejects', 0x5a0);
$c->close;
$world->works('later');
ok($httpd->logs(qr/RPC_OUT_DATA \S*rejected\.test:6001\S* .* connect-failed$/m, 'access_log'), 'is not our doing');

# ---- no way out ----
# TCP has no way to a broadcast address. Of two families of addresses one may have no way at all.
my $unroutable = '127.255.255.255';
for (['a.lost.test', $unroutable, '6b9', undef, 'local-failure', 'no network here'],
     ['b.lost.test', "$unroutable 127.0.0.9", '6ba', 0x5a0, 'connect-failed', 'a way to one address, which refuses']) {
    my ($name, $addresses, $error, $location, $reason, $what) = @$_;
    $world->name($name, $addresses);
    my $c = plain(port => $httpd->{port}, target => "$name:6001");
    $c->open_out;
    $c->send_a1;
    is_rpc_error($c->out, $error, $what, $location);
    $c->close;
    ok($httpd->logs(qr/RPC_OUT_DATA \S*$name:6001\S* .* $reason$/m, 'access_log'), "$what: $reason");
}

# ---- no such name ----
$world->name('none.lost.test', 'none');
$c = plain(port => $httpd->{port}, target => 'c.lost.test:6001', path => '/rpcwithcert/rpcproxy.dll', user => 'bob', password => 'hidden');
$c->open_out;
$c->send_a1;
is_rpc_error($c->out, '6ba', 'a name that there is not', 0x5a0);
$c->close;
ok($httpd->logs(qr/RPC_OUT_DATA \S*c\.lost\.test:6001\S* .* resolve-failed$/m, 'access_log'), 'by its own reason');
is(scalar(lines_of('c.lost.test')), 1, 'one line at warn');
like((lines_of('c.lost.test'))[0] // '', qr/channel to c\.lost\.test:6001 of user "bob" ended: resolve-failed, .*none\.lost\.test.*; client 127\.0\.0\.1, server none\.lost\.test\[\d+\]/, 'with all that is known');

# ---- the endpoint ----
my %other = (path => '/rpcwithcert/rpcproxy.dll', user => 'bob', password => 'hidden');
$world->fail(connect => EMFILE);
like(reached('a.tcp.test', %other), qr/^none/, 'the endpoint has no descriptor');
$world->works('connect');
ok($httpd->logs(qr/endpoint: .*local-failure/), 'as the log says');
is(reached('a.tcp.test', %other), '127.0.0.4', 'it holds that against no server');

# ---- an endpoint process that cannot, does not answer, or dies ----
{
    # The targets do not answer, because their backlog is full
    my $full = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1) or die $@;
    listen $full, 0;
    my @queued = map { IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $full->sockport, Blocking => 0) } 1 .. 3;
    my $of_full = "RpcBackend *.full.test ncacn_ip_tcp:127.0.0.1[@{[ $full->sockport ]}]\n";
    my $httpd = RPCH::Httpd->new(conf => "RpcConnectTimeout 1\n" . location('/rpc/rpcproxy.dll', "RpcMaxFailedTargets 2\nRpcSetupTimeout 1\n", $of_full));
    $world->start($httpd);
    my $n = 0;
    my $pid = sub { my ($pid) = $httpd->log =~ /.*endpoint process (\d+) started/s; return $pid };
    my $begin = sub {
        my ($zone) = @_;
        my $c = plain(port => $httpd->{port}, target => 'e' . ++$n . ".$zone:6001");
        $c->open_in;
        $c->open_out;
        return $c->send_a1->send_b1;
    };
    my $is_ours = sub {
        my ($c, $zone, $says, $name) = @_;
        $c->in->wait_eof;
        $c->close;
        ok($httpd->logs(qr/RPC_IN_DATA \S*e$n\.$zone\S* .* local-failure$/m, 'access_log'), "$name: is ours");
        ok($httpd->logs(qr/channel to e$n\.$zone:6001 of user "alice" ended: local-failure, \w+ in \w+: $says;/), 'as the log says');
    };
    for my $lacks (1 .. 2) {
        $world->fail(connect => EMFILE);
        my $c = $begin->('tcp.test');
        $is_ours->($c, 'tcp.test', qr/127\.0\.0\.\d+ port \d+: .*Too many open files/, 'the endpoint has no descriptor');
        $world->works('connect');
    }
    {
        my $legs = sub { return scalar(() = $httpd->log =~ /endpoint: leg begins/g) };
        my $before = $legs->();
        my $c = $begin->('full.test');
        wait_for('the endpoint to have both halves', sub { turn(0.02); $legs->() == $before + 2 });
        kill KILL => $pid->();
        $is_ours->($c, 'full.test', 'the endpoint process has ended', 'it is killed');
        ok(eval { wait_for('the next', sub { turn(0.02); $httpd->log =~ /(?:endpoint process \d+ started.*){2}/s }) }, 'the next one starts');
    }
    {
        my $stopped = $pid->();
        kill STOP => $stopped;
        my $c = $begin->('tcp.test');
        $is_ours->($c, 'tcp.test', 'the endpoint process does not answer', 'it does not answer');
        kill CONT => $stopped;
    }
    {
        my $c = plain(port => $httpd->{port}, target => 'e' . ++$n . '.tcp.test:6001');
        is(eval { $c->connect; $c->call(bind_pdu()); 1 }, 1, 'the user has spent nothing of RpcMaxFailedTargets') or diag $@;
        $c->close;
    }
    my $c = $begin->('full.test');
    $c->in->wait_eof;
    $c->close;
    ok($httpd->logs(qr/channel to e$n\.full\.test:6001 of user "alice" ended: connect-timeout, .*127\.0\.0\.1 port \d+: the server did not answer in time/), 'a server that does not answer is still told from that');
}

# ---- health checks ----
{
    my $checked = RPCH::Httpd->new(conf => "RpcHealthCheck connect interval=1\n" . location('/rpc/rpcproxy.dll', ''));
    $world->fail(connect => EMFILE);
    $world->start($checked);
    ok($checked->logs(qr/health check: 127\.0\.0\.2 port \d+ was not checked: Too many open files/), 'a check without a descriptor');
    $world->works('connect');
    my $had = $native[0]->connections;
    wait_for('a check', sub { $native[0]->connections > $had + 1 });
    unlike($checked->log, qr/is avoided|answers again/, 'has found out nothing');
}

$_->close for @native, @tcp;
done_testing;
