# RpcHealthCheck: a server that fails a check is avoided before a client has had to wait for it, and is
# used again after the first check that succeeds.

use strict;
use warnings;
use Errno qw(EMFILE);
use Test::More;
use RPCH::Httpd;
use RPCH::PDU qw(rts);
use RPCH::Poll qw(wait_for turn);
use RPCH::Preload;
use RPCH::RPC qw(bind_pdu request_pdu);
use RPCH::Root;
use RPCH::Settle qw(is_endpoint);
use RPCH::Test;

my $users = vars('serverroot') . '/conf/users';
my %FEW = (limits => "ServerLimit 1\nStartServers 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n", mpm => vars('mpm') eq 'prefork' ? 'worker' : vars('mpm'));
sub httpd {
    my ($check, @conf) = @_;
    my %limits = ref $conf[-1] ? %{ pop @conf } : ();
    return RPCH::Httpd->new(%limits, conf => "$check\n<Location /rpc/rpcproxy.dll>\nSetHandler rpcproxy\nAuthType Basic\nAuthName rpc\n"
        . "AuthUserFile $users\nRequire valid-user\nRpcRequireTLS off\nRpcValidPorts *.contoso.test:1-65535\n"
        . join('', map { "$_\n" } @conf) . "</Location>\n");
}
sub at { return "ncacn_http:127.0.0.$_[0]" . "[$_[1]]" }

# Opens a virtual connection and makes a call. Returns the server that the line of its end names; what
# connections the servers have does not tell, since checks go on.
sub reached {
    my ($httpd, $target, @servers) = @_;
    my $hosts = sub { return $httpd->log =~ /virtual connection ended: .* target=\Q$target\E server=([\d.]+)\[/g };
    my $ended = () = $hosts->();
    my $c = plain(port => $httpd->{port}, target => $target);
    my $answer = eval { $c->connect; $c->call($servers[0]->isa('RPCH::TCPServer') ? bind_pdu(call => 3) : request_pdu(1, 'call')) };
    my $why = $@;
    $c->close;
    return "no answer: $why" if !defined $answer;
    my @now;
    wait_for('the line of its end', sub { turn(0.02); (@now = $hosts->()) > $ended });
    return $now[-1];
}
sub down { my ($httpd, $host, $port, $why) = @_; return $httpd->logs(qr/\[rpcproxy:warn\].*health check: \Q$host\E port $port: .*$why.*; it is avoided until a check succeeds/) }
sub back { my ($httpd, $host, $port) = @_; return $httpd->logs(qr/\[rpcproxy:notice\].*health check: \Q$host\E port $port answers again/) }

# Waits until a round of checks that begins after this moment has ended its connection to SERVER.
sub round_of {
    my ($server) = @_;
    my $had = $server->connections;
    wait_for('a check', sub { $server->connections > $had });
    wait_for('its end', sub { !grep { !$_->{eof} && !$_->{closed} } @{ $server->{legs} || $server->{all} }[$had .. $server->connections - 1] });
    return;
}

# ---- a handshake ----
{
    my ($good, $silent) = (server(host => '127.0.0.2', echo => 1), server(host => '127.0.0.3', manual => 1));
    my $gone = RPCH::Root::free_ports(1);
    my $httpd = httpd('RpcHealthCheck handshake interval=1 timeout=3', "RpcBackend silent.contoso.test " . at(3, $silent->{port}) . ' ' . at(2, $good->{port}),
                      "RpcBackend gone.contoso.test:7001 " . at(4, $gone) . ' ' . at(2, $good->{port}),
                      "RpcBackend any.contoso.test " . at(5, ''), "RpcBackend *.star.contoso.test ncacn_http:*")->start;
    ok(down($httpd, '127.0.0.3', $silent->{port}, 'the server did not answer the handshake in time'), 'a server that takes connections and no more fails');
    ok(down($httpd, '127.0.0.4', $gone, 'Connection refused'), 'as does one that is not there');
    my ($in, $out) = $silent->pair;
    ok($in && $out, 'both were asked what a pair of proxies asks: CONN/A2 and CONN/B2');
    is(reached($httpd, 'gone.contoso.test:7001', $good), '127.0.0.2', 'the next in order is reached');
    unlike($httpd->log, qr/the next server is tried/, 'without a try of the first');
    unlike($httpd->log, qr/127\.0\.0\.2 port $good->{port}/, 'who passes is not spoken of');
    like($httpd->log, qr/no health check of 127\.0\.0\.5, because its port is the one that clients ask for/, 'nor checked who has no port');
    is(scalar(() = $httpd->log =~ /127\.0\.0\.3 port $silent->{port}: .*avoided/g), 1, 'one line for each that fails');

    my $late = server(host => '127.0.0.4', port => $gone, echo => 1);
    ok(back($httpd, '127.0.0.4', $gone), 'a server comes up: it is back');
    is(reached($httpd, 'gone.contoso.test:7001', $good, $late), '127.0.0.4', 'and first again');
    $silent->{manual} = 0;
    $silent->{echo} = 1;
    ok(back($httpd, '127.0.0.3', $silent->{port}), 'as is the other once it plays its part');
    is(reached($httpd, 'silent.contoso.test:6001', $good, $silent), '127.0.0.3', 'and first again');
    $late->close;
    wait_for('it to fail again', sub { turn(0.05); 2 == (() = $httpd->log =~ /127\.0\.0\.4 port $gone: .*avoided/g) });
    is(reached($httpd, 'gone.contoso.test:7001', $good), '127.0.0.2', 'one that goes is avoided again');
    unlike($httpd->log, qr/the next server is tried/, 'and still no client has paid for it');
}

# ---- what counts as an answer ----
for (['another PDU', sub { my ($leg) = @_; $leg->put(rts('Ping')) }, 'a PDU that does not belong to the handshake'],
     ['another protocol', sub { my ($leg) = @_; $leg->put("SSH-2.0-OpenSSH_9\r\n") }, 'the peer does not speak RPC over HTTP'],
     ['the end', sub { my ($leg) = @_; $leg->close }, 'closed without an answer']) {
    my ($name, $answer, $why) = @$_;
    my $server = server(host => '127.0.0.2', manual => 1);
    my $httpd = httpd('RpcHealthCheck handshake interval=1 timeout=20', 'RpcBackend x.contoso.test ' . at(2, $server->{port}))->start;
    wait_for('the finding', sub {
        $answer->($_) for splice @{ $server->{new} };
        turn(0.02);
        $httpd->log =~ /health check: 127\.0\.0\.2 port $server->{port}: .*\(.*\Q$why\E.*\)/;
    });
    pass("$name: fails");
    $server->close;
}
{
    my $server = server(host => '127.0.0.2', banner => 1, echo => 1);
    my $httpd = httpd('RpcHealthCheck handshake interval=1', 'RpcBackend x.contoso.test ' . at(2, $server->{port}))->start;
    round_of($server) for 1 .. 2;
    unlike($httpd->log, qr/health check/, 'the banner before the answer: passes');
}

# ---- a connection ----
{
    my $port = RPCH::Root::free_ports(1);
    my ($silent, $tcp) = (server(host => '127.0.0.3', manual => 1), tcp_server(host => '127.0.0.2', port => $port));
    my $httpd = httpd('RpcHealthCheck connect interval=1', 'RpcBackend x.contoso.test ' . at(3, $silent->{port}),
                      "RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.4[$port] ncacn_ip_tcp:127.0.0.2[$port]",
                      "RpcNspiProtocolSequences ncacn_http:$port", 'RpcNspiServers 127.0.0.5')->start;
    ok(down($httpd, $_, $port, 'Connection refused'), "$_ is not there") for '127.0.0.4', '127.0.0.5';
    round_of($silent) for 1 .. 2;
    unlike($httpd->log, qr/127\.0\.0\.3/, 'a connection is all that is asked for');
    is(reached($httpd, 'tcp.contoso.test:6001', $tcp), '127.0.0.2', 'what the endpoint connects to is checked, too');
    unlike($httpd->log, qr/the next server is tried/, 'and it knows');
    my $late = tcp_server(host => '127.0.0.4', port => $port);
    ok(back($httpd, '127.0.0.4', $port), 'back');
    is(reached($httpd, 'tcp.contoso.test:6001', $tcp, $late), '127.0.0.4', 'and first again');
    my $mark = -s "$httpd->{dir}/error_log";
    $httpd->signal('USR1');
    ok($httpd->logs(qr/resuming normal operations.*resuming normal operations/s), 'a graceful restart');
    round_of($late) for 1 .. 2;
    $late->close;
    wait_for('it to fail', sub { turn(0.05); substr($httpd->log, $mark) =~ /127\.0\.0\.4 port $port: .*avoided/ });
    pass('the next generation goes on with the checks');
}

# ---- an address that RpcTargetNetworks refuses does not count against the server ----
{
    my $server = server(host => '127.0.0.2', echo => 1);
    my $other = server(host => '127.0.0.3', echo => 1);
    my $httpd = httpd('RpcHealthCheck connect interval=1', 'RpcTargetNetworks 127.0.0.3 !127.0.0.2',
                      'RpcBackend x.contoso.test ' . at(2, $server->{port}) . ' ' . at(3, $other->{port}))->start;
    ok($httpd->logs(qr/health check: 127\.0\.0\.2 port $server->{port} was not checked: 127\.0\.0\.2 is refused by RpcTargetNetworks/), 'the section\'s rules count');
    round_of($other);
    is($server->connections, 0, 'and it is not asked');
}

# ---- a machine that has no more descriptors: the log says why there are no checks, and they begin when they can ----
SKIP: {
    my $world = RPCH::Preload->new or skip 'no compiler', 5;
    my $gone = RPCH::Root::free_ports(1);
    my $httpd = httpd('RpcHealthCheck connect interval=1', 'RpcBackend x.contoso.test ' . at(2, $gone), \%FEW);
    $world->fail(eventfd => EMFILE);
    $world->start($httpd);
    ok($httpd->logs(qr/\[rpcproxy:warn\].*RPC0155: the watchdog _rpcproxy_ cannot begin its round, and tries again/), 'a round that cannot begin');
    $world->works('eventfd');
    ok(down($httpd, '127.0.0.2', $gone, 'Connection refused'), 'begins later');
    $world->fail(once => EMFILE);
    kill KILL => grep { !is_endpoint($_) } $httpd->children;
    ok($httpd->logs(qr/\[rpcproxy:emerg\].*Too many open files.*RPC0070: cannot start the threads of the module/), 'a child that could make no rounds does not begin');
    my $late = tcp_server(host => '127.0.0.2', port => $gone);
    ok(back($httpd, '127.0.0.2', $gone), 'its successor makes them');
    is(scalar(() = $httpd->log =~ /RPC0155/g), 1, 'and the warning is not repeated');
}

done_testing;
