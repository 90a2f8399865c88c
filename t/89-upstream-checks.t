# Which proxies behind are asked whether they are there, by whom, and what an administrator takes out of
# use: RpcHealthCheck echo, mod_proxy_hcheck, balancer-manager.

use strict;
use warnings;
use IO::Socket::IP;
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(missing needs_modules);
use RPCH::PDU qw(rts);
use RPCH::Poll qw(turn wait_for);
use RPCH::Preload;
use RPCH::Root;
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(proxy proxy_http proxy_balancer slotmem_shm lbmethod_byrequests));
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

# ---- a child that ends waits for no probe: neither for an answer nor for a name ----
SKIP: {
    my $world = RPCH::Preload->new or skip 'no compiler', 3;
    my $silent = RPCH::WebServer->new(answer => sub { return });
    $world->name('hangs.test', 'hang');
    my $front = RPCH::Httpd->new(conf => $LOAD . "RpcHealthCheck echo interval=1 timeout=60\n"
        . section("RpcBackend silent @{[ url($silent) ]}", 'RpcBackend hangs http://hangs.test:81'));
    $world->start($front);
    ok(eval { wait_for('both probes', sub { turn(0.02); open_requests($silent) && grep { $_ eq 'hangs.test' } $world->asked }) } ? 1 : 0,
       'one probe waits for an answer, one for a name');
    $front->signal('TERM');
    ok(eval { $front->wait_gone }, 'httpd stops');
    unlike($front->log, qr/while a round of the watchdog|SIGKILL|exit signal/, 'and no child has waited for them');
    $silent->close;
}

# ---- RpcHealthCheck echo over TLS: the certificate is verified as for a client's request ----
SKIP: {
    skip 'no mod_ssl', 6 if missing('mod_ssl.so');
    my $conf = vars('serverroot') . '/conf';
    my %tls = (answer => sub { return RPCH::WebServer::echo() }, tls => { SSL_cert_file => "$conf/server.crt", SSL_key_file => "$conf/server.key" });
    my ($single, $member) = map { RPCH::WebServer->new(%tls) } 1 .. 2;
    my $misnamed = RPCH::WebServer->new(%tls, host => '127.0.0.2');
    my $verify = "SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile $conf/server.crt\n";
    my @host = map { RPCH::Root::free_ports(1) } 1 .. 2;
    my $front = RPCH::Httpd->new(conf => join '', $LOAD, "RpcHealthCheck echo interval=1 timeout=20\n",
        "Listen 127.0.0.1:$host[0]\n<VirtualHost 127.0.0.1:$host[0]>\n$verify",
        section("RpcBackend single https://localhost:$single->{port}", "RpcBackend misnamed https://127.0.0.2:$misnamed->{port}"), "</VirtualHost>\n",
        "Listen 127.0.0.1:$host[1]\n<VirtualHost 127.0.0.1:$host[1]>\n<Proxy balancer://safe>\nBalancerMember https://localhost:$member->{port}\n$verify</Proxy>\n",
        section('RpcBackend safe balancer://safe'), "</VirtualHost>\n")->start;
    ok($front->logs(qr{health check: the proxy at https://127\.0\.0\.2:$misnamed->{port}: its certificate is for another name}), 'TLS: a certificate that is no good');
    is(scalar(grep { $_->{n} } @{ $misnamed->{peers} }), 0, 'TLS: and is told nothing');
    my $asked = sub { my ($double) = @_; return scalar grep { $_->{n} } @{ $double->{peers} } };
    for (['a single proxy', $single], ['a member, with the settings of its <Proxy>', $member]) {
        my ($name, $double) = @$_;
        ok(eval { wait_for('two probes', sub { turn(0.02); $asked->($double) >= 2 }) } ? 1 : 0, "TLS: $name is asked") or diag $front->log;
        unlike($front->log, qr/the proxy at \S+:$double->{port}\b/, "TLS: $name answers");
    }
    $_->close for $single, $member, $misnamed;
}

# ---- mod_proxy_hcheck, and balancer-manager ----
my $hcheck = !missing('mod_proxy_hcheck.so');
my (%ill, $channel);
my %double = map { my $name = $_; $name => RPCH::WebServer->new(answer => sub {
    my ($request, $peer) = @_;
    return RPCH::WebServer::answer('503 Ill', '') if $ill{$name} && $request->{method} =~ /^(?:GET|OPTIONS|HEAD)$/;
    if ($request->{method} eq 'RPC_OUT_DATA') { $channel = $peer; return "HTTP/1.1 200 $name\r\nContent-Type: application/rpc\r\n\r\n" }
    return RPCH::WebServer::answer("200 $name", 'healthy');
}) } qw(A B);
# A port that nobody else can take, and at which nobody listens yet.
my $later = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Type => Socket::SOCK_STREAM()) or die "no port: $@\n";
my $T = 'http://127.0.0.1:' . $later->sockport;
sub balancer {
    my ($name, $check) = @_;
    my @set = ($check ? "hcinterval=1 hcpasses=1 hcfails=1 $check" : '', '');
    return "<Proxy balancer://$name>\nBalancerMember @{[ url($double{A}) ]} lbset=0 $set[0]\nBalancerMember @{[ url($double{B}) ]} lbset=1\n</Proxy>\n";
}
my %method = (get => 'hcmethod=GET hcuri=/rpc/healthcheck.htm', options => 'hcmethod=OPTIONS hcuri=/rpc/rpcproxy.dll');
my $TCP = "<Proxy balancer://by-tcp>\nBalancerMember $T lbset=0 hcinterval=1 hcpasses=1 hcfails=1 hcmethod=TCP\nBalancerMember @{[ url($double{B}) ]} lbset=1\n</Proxy>\n";
my $standby = "<Proxy balancer://by-standby>\nBalancerMember @{[ url($double{A}) ]}\nBalancerMember @{[ url($double{B}) ]} status=+H\n</Proxy>\n";
my $front = RPCH::Httpd->new(conf => join '', $LOAD, $hcheck ? "LoadModule proxy_hcheck_module $modules/mod_proxy_hcheck.so\n" : '',
    balancer('by-hand'), $standby, $hcheck ? $TCP : (), $hcheck ? map({ balancer("by-$_", $method{$_}) } sort keys %method) : (),
    "<Location /manager>\nSetHandler balancer-manager\nRequire local\n</Location>\n",
    section(map { "RpcBackend $_ balancer://by-$_" } qw(hand standby), $hcheck ? ('tcp', sort keys %method) : ()))->start;

SKIP: {
    skip 'no mod_proxy_hcheck', 11 if !$hcheck;
    ok($front->logs(qr/Health check DISABLING \Q$T\E/i), 'mod_proxy_hcheck, TCP: a member at whose port nobody listens');
    is(served_by($front, 'tcp'), 'B', 'the other one serves');
    unlike($front->log, qr/the proxy at \S+ is not used/, 'without a try of the first');
    $later->listen(64);
    my $up = RPCH::WebServer->new(fh => $later, answer => sub { return RPCH::WebServer::answer('200 T', 'healthy') });
    ok(eval { wait_for('the first member', sub { turn(0.05); $front->log =~ /Health check ENABLING \Q$T\E/i }) }, 'somebody listens') or diag $front->log;
    is(served_by($front, 'tcp'), 'T', 'and serves');
    $up->close;
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
# Sets (1) or clears (0) a flag of member A: D, disabled; N, drains; S, stopped.
sub set {
    my ($balancer, $flag, $on) = @_;
    my $port = $double{A}->{port};
    my ($query) = manager() =~ m{href=["']/manager\?(b=\Q$balancer\E&(?:amp;)?w=[^"']*127\.0\.0\.1[^"']*?${port}\b[^"']*)["']};
    return manager(($query // '') =~ s/&amp;/&/gr . "&w_status_$flag=$on");
}
is(served_by($front, 'hand'), 'A', 'balancer-manager: the first member serves');
my $c = plain(port => $front->{port}, target => 'hand:6001', user => undef, raw => 1);
my $out = $c->open_out;
$c->send_a1;
is($out->head->{reason}, 'A', 'a channel by it');
for (['D', 'is disabled'], ['N', 'drains'], ['S', 'is stopped']) {
    my ($flag, $name) = @$_;
    set('by-hand', $flag, 1);
    is(served_by($front, 'hand'), 'B', "balancer-manager: a member that $name gets no more clients");
    $channel->put(my $pdu = $flag eq 'D' ? rts('CONN/A3', timeout => 120_000) : rts('Ping'));
    is($out->pdu, $pdu, 'but its channel lives on');
    set('by-hand', $flag, 0);
    is(served_by($front, 'hand'), 'A', "until it $name no more");
}
is(served_by($front, 'standby'), 'A', 'a member that is hot-standby waits');
set('by-standby', 'D', 1);
is(served_by($front, 'standby'), 'B', 'until there is no other');
set('by-standby', 'D', 0);
is(served_by($front, 'standby'), 'A', 'and rests again');
$c->close;

diag $front->log if $ENV{SHOW};
$_->close for values %double;
done_testing;
