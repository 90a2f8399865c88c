# What this machine lacks is not held against a server, nor against the user who asked for it.

use strict;
use warnings;
use Errno qw(EMFILE ENFILE ENOBUFS EADDRNOTAVAIL ENOMEM EAGAIN EACCES ECONNREFUSED);
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
sub location {
    my ($path, $conf) = @_;
    my $users = vars('serverroot') . '/conf/users';
    return "<Location $path>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\nAuthUserFile $users\nRequire valid-user\n"
        . "RpcRequireTLS off\nRpcValidPorts *.test:1-65535\nRpcBackend *.tcp.test @{[ at('ncacn_ip_tcp', @tcp) ]}\n"
        . "RpcBackend *.test @{[ at('ncacn_http', @native) ]}\n$conf</Location>\n";
}
my $httpd = RPCH::Httpd->new(conf => location('/rpc/rpcproxy.dll', "RpcMaxFailedTargets 3\n")
                             . location('/rpcwithcert/rpcproxy.dll', "RpcMaxFailedTargets 0\n"));
$world->start($httpd);

# The server that a call to TARGET has reached first of all.
sub reached {
    my ($target, %arg) = @_;
    my @servers = $target =~ /tcp/ ? @tcp : @native;
    my %before = map { $_ => $_->connections } @servers;
    my $c = plain(port => $httpd->{port}, target => "$target:6001", %arg);
    my $answer = eval { $c->connect; $c->call($target =~ /tcp/ ? bind_pdu(call => 3) : request_pdu(1, 'call')) };
    $c->close;
    return defined $answer ? join ' ', map { $_->{host} } grep { $_->connections > $before{$_} } @servers : "none: $@";
}

my $n = 0;
for (['no descriptor', socket => EMFILE], ['none in the whole system', socket => ENFILE], ['no buffers', socket => ENOBUFS],
     ['no port', connect => EADDRNOTAVAIL], ['no port, as said by others', connect => EAGAIN], ['no memory', connect => ENOMEM],
     ['a policy', connect => EACCES]) {
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
    is(reached($target), '127.0.0.2', "$name: is held neither against the server nor against the user");
}

# ---- what is theirs is still theirs ----
$world->fail(connect => ECONNREFUSED);
my $c = plain(port => $httpd->{port}, target => 'refused.test:6001');
$c->open_out;
$c->send_a1;
is_rpc_error($c->out, '6ba', 'a refused connection', 0x5a0);
$c->close;
$world->works('connect');
ok($httpd->logs(qr/RPC_OUT_DATA \S*refused\.test:6001\S* .* connect-failed$/m, 'access_log'), 'is the server\'s');

# ---- the endpoint ----
my %other = (path => '/rpcwithcert/rpcproxy.dll', user => 'bob', password => 'hidden');
$world->fail(connect => EMFILE);
like(reached('a.tcp.test', %other), qr/^none/, 'the endpoint has no descriptor');
$world->works('connect');
ok($httpd->logs(qr/endpoint: .*local-failure/), 'as the log says');
is(reached('a.tcp.test', %other), '127.0.0.4', 'it holds that against no server');

# ---- health checks ----
{
    my $checked = RPCH::Httpd->new(conf => "RpcHealthCheck connect interval=1\n" . location('/rpc/rpcproxy.dll', ''));
    $world->fail(connect => EMFILE);
    $world->start($checked);
    ok($checked->logs(qr/no health check of 127\.0\.0\.2 port \d+: Too many open files/), 'a check without a descriptor');
    $world->works('connect');
    my $had = $native[0]->connections;
    wait_for('a check', sub { $native[0]->connections > $had + 1 });
    unlike($checked->log, qr/is avoided|is back/, 'has found out nothing');
}

$_->close for @native, @tcp;
done_testing;
