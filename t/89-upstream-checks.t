# Which proxies behind are asked whether they are there, by whom, and what an administrator takes out of
# use: RpcHealthCheck echo, mod_proxy_hcheck, balancer-manager.

use strict;
use warnings;
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::Test;
use RPCH::WebServer;

chomp(my $modules = qx(@{[ vars('apxs') ]} -q LIBEXECDIR));
-e "$modules/mod_$_.so" or plan(skip_all => "no mod_$_") for qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests);
my $LOAD = join '', map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests);

my $RPC = '/rpc/rpcproxy.dll';
sub section { my (@lines) = @_; return join "\n", "<Location $RPC>", 'SetHandler rpcproxy', 'RpcRequireTLS off', 'RpcValidPorts *:6001', @lines, '</Location>', '' }
sub url { my ($double) = @_; return "http://127.0.0.1:$double->{port}" }

# The name of the double that answers an echo of target SERVER.
sub served_by {
    my ($front, $server) = @_;
    my $http = RPCH::HTTP->dial(port => $front->{port}, name => 'client')->request('RPC_IN_DATA', "$RPC?$server:6001", length => 0);
    my $head = $http->head or return 'closed';
    $http->body;
    $http->close;
    return $head->{reason};
}
sub serves_in_the_end {
    my ($front, $server, $who, $name) = @_;
    return ok(eval { wait_for($name, sub { turn(0.05); served_by($front, $server) eq $who }) } ? 1 : 0, $name);
}
# What a double has been asked for and not yet answered.
sub open_requests { my ($double) = @_; return grep { $_->{n} && !$_->{eof} && !$_->{closed} } @{ $double->{peers} } }

# ---- RpcHealthCheck echo: all at once ----
{
    my @hung = map { RPCH::WebServer->new(answer => sub { return }) } 1 .. 3;
    my $front = RPCH::Httpd->new(conf => $LOAD . "RpcHealthCheck echo interval=1 timeout=20\n"
        . section("RpcBackend two @{[ map { url($_) } @hung[0, 1] ]}", "RpcBackend one @{[ url($hung[2]) ]}"))->start;
    ok(eval { wait_for('three probes', sub { turn(0.02); 3 == grep { open_requests($_) } @hung }) } ? 1 : 0,
       'proxies that hang, of a balancer and a single one, are asked side by side');
    $_->{answer} = sub { return RPCH::WebServer::answer('404 Not Here', '') } for @hung;
    $_->put(RPCH::WebServer::answer('404 Not Here', '')) for map { open_requests($_) } @hung;
    ok($front->logs(qr{rpcproxy:warn\].*health check: the proxy at @{[ url($hung[2]) ]}: it answers HTTP/1\.1 404; requests still go there, for it is the only one}),
       'a single proxy that fails: the log tells');
    ok($front->logs(qr{health check: the proxy at @{[ url($_) ]}: it answers HTTP/1\.1 404; it is avoided until a check succeeds}), 'a member that fails is avoided') for @hung[0, 1];
    $_->{answer} = sub { return RPCH::WebServer::echo() } for @hung;
    ok($front->logs(qr{health check: the proxy at @{[ url($_) ]} answers again}), 'one that answers again') for @hung;
    is(served_by($front, $_), 'Success', "$_: a client is served") for qw(one two);
    $_->close for @hung;
}

# ---- mod_proxy_hcheck, and balancer-manager ----
my $hcheck = -e "$modules/mod_proxy_hcheck.so";
my %ill;
my %double = map { my $name = $_; $name => RPCH::WebServer->new(answer => sub {
    my ($request) = @_;
    return RPCH::WebServer::answer('503 Ill', '') if $ill{$name} && $request->{method} =~ /^(?:GET|OPTIONS|HEAD)$/;
    return RPCH::WebServer::answer("200 $name", 'healthy');
}) } qw(A B);
sub balancer {
    my ($name, $check) = @_;
    my @set = ($check ? "hcinterval=1 hcpasses=1 hcfails=1 $check" : '', '');
    return "<Proxy balancer://$name>\nBalancerMember @{[ url($double{A}) ]} lbset=0 $set[0]\nBalancerMember @{[ url($double{B}) ]} lbset=1\n</Proxy>\n";
}
my %method = (get => 'hcmethod=GET hcuri=/rpc/healthcheck.htm', options => 'hcmethod=OPTIONS hcuri=/rpc/rpcproxy.dll');
my $front = RPCH::Httpd->new(conf => join '', $LOAD, $hcheck ? "LoadModule proxy_hcheck_module $modules/mod_proxy_hcheck.so\n" : '',
    balancer('by-hand'), $hcheck ? map({ balancer("by-$_", $method{$_}) } sort keys %method) : (),
    "<Location /manager>\nSetHandler balancer-manager\nRequire local\n</Location>\n",
    section(map { "RpcBackend $_ balancer://by-$_" } 'hand', $hcheck ? sort keys %method : ()))->start;

SKIP: {
    skip 'no mod_proxy_hcheck', 6 if !$hcheck;
    is(served_by($front, $_), 'A', "$_: the first member serves") for sort keys %method;
    $ill{A} = 1;
    serves_in_the_end($front, $_, 'B', "mod_proxy_hcheck, $_: a member that fails is avoided") for sort keys %method;
    $ill{A} = 0;
    serves_in_the_end($front, $_, 'A', "mod_proxy_hcheck, $_: and is back") for sort keys %method;
}

sub manager {
    my ($body) = @_;
    my $http = RPCH::HTTP->dial(port => $front->{port}, name => 'manager');
    $http->request(defined $body ? 'POST' : 'GET', '/manager', version => '1.0', host => "localhost:$front->{port}",
        defined $body ? (length => length $body, headers => ["Referer: http://localhost:$front->{port}/manager", 'Content-Type: application/x-www-form-urlencoded']) : ());
    $http->put($body) if defined $body;
    $http->head;
    my $page = $http->body(1 << 20);
    $http->close;
    return $page;
}
sub set_disabled {
    my ($on) = @_;
    my $port = $double{A}->{port};
    my ($query) = manager() =~ m{href=["']/manager\?(b=by-hand&(?:amp;)?w=[^"']*127\.0\.0\.1[^"']*?${port}\b[^"']*)["']};
    return manager(($query // '') =~ s/&amp;/&/gr . "&w_status_D=$on");
}
is(served_by($front, 'hand'), 'A', 'balancer-manager: the first member serves');
set_disabled(1);
is(served_by($front, 'hand'), 'B', 'balancer-manager: a member that is disabled does not');
set_disabled(0);
is(served_by($front, 'hand'), 'A', 'balancer-manager: until it is enabled');

diag $front->log if $ENV{SHOW};
$_->close for values %double;
done_testing;
