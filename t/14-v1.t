# Version 1 (3.1): RPC_CONNECT, a mixed proxy that waits for the banner, then bytes both ways;
# and the endpoint as the server of such a proxy.

use strict;
use warnings;
use Test::More;
use RPCH::Httpd;
use RPCH::Poll qw(wait_for);
use RPCH::RPC qw(bind_pdu bind_ack_pdu request_pdu response_pdu rpc_parse);
use RPCH::Test;

use constant BANNER => 'ncacn_http/1.0';
my $endpoint_port = RPCH::Root::free_ports(2);
my $behind = tcp_server();      # the plain server behind the endpoint's address
my $v1_only = sub { my ($more) = @_; return <<"CONF" };
SetHandler rpcproxy
Require all granted
RpcAllowAnonymous On
RpcRequireTLS off
RpcProtocolVersions v1 $more
RpcValidPorts "127.0.0.1:1024-65535;tcp.contoso.test:1024-65535"
RpcBackend tcp.contoso.test ncacn_ip_tcp:127.0.0.1
CONF
my $httpd = RPCH::Httpd->new(conf => join '', "RpcProtocolVersions v1 v2\n",
    "RpcEndpointListen 127.0.0.1:$endpoint_port ncacn_ip_tcp:127.0.0.1[$behind->{port}]\n",
    '<LocationMatch "^/(one|hasty)?$">', "\n", $v1_only->(''), "</LocationMatch>\n",
    "<Location /hasty>\nRpcSetupTimeout 1\n</Location>\n",
    '<Location /rpc/rpcproxy.dll>', "\n", $v1_only->('v2'), "</Location>\n",
    RPCH::Httpd->location =~ s{/rpc/}{/two/}r =~ s{(SetHandler)}{RpcProtocolVersions v2\n$1}r)->start;

sub ask {
    my ($uri, %opt) = @_;
    my $http = RPCH::HTTP->dial(port => $httpd->{port}, name => 'v1 client');
    return $http->request($opt{method} // 'RPC_CONNECT', $uri, %opt);
}
# The next N bytes that arrive.
sub got { my ($peer, $n) = @_; wait_for("$n bytes", sub { length $peer->{in} >= $n || $peer->{eof} }); return substr $peer->{in}, 0, $n, '' }

# The answer comes when the banner has come. The banner is not passed on, in whatever pieces it
# comes. Plain bytes follow.
for my $case (['/?%s', 'with the path of version 1'], ['/rpc/rpcproxy.dll?%s', 'with the path of version 2']) {
    my ($form, $name) = @$case;
    my $server = tcp_server(quiet => 1);
    my $c = ask(sprintf $form, "127.0.0.1:$server->{port}");
    my $early = bind_pdu();
    $c->put($early);            # before the banner: the proxy keeps them and does not forward them
    my $s = $server->connection;
    $s->put(substr BANNER, 0, 13);
    $s->flush;
    RPCH::Poll::turn(0.05);
    ok(!$c->{head} && !@{ $s->{got} }, "$name: nothing before the whole banner");
    $s->put('0' . bind_ack_pdu());
    my $head = $c->head;
    is($head->{line}, 'HTTP/1.1 200 OK', "$name: 200 with the banner");
    ok(!exists $head->{headers}{$_}, "$name: no $_") for qw(content-length transfer-encoding);
    is($head->{headers}{'x-accel-buffering'}, 'no', "$name: front ends are asked not to buffer");
    same_pdu(got($c, length bind_ack_pdu()), bind_ack_pdu(), "$name: the banner is swallowed, what follows comes");
    wait_for('the early PDU', sub { @{ $s->{got} } });
    same_pdu($s->{got}[0], $early, "$name: what the client said early arrives");
    my $big = request_pdu(7, 'x' x 60_000);
    $c->put($big) for 1 .. 20;
    wait_for('all of it', sub { @{ $s->{got} } == 21 });
    is(scalar(grep { $_ eq $big } @{ $s->{got} }), 20, "$name: 1.2 MB to the server");
    my $back = response_pdu('y' x 60_000);
    $s->put($back) for 1 .. 20;
    is(got($c, 20 * length $back), $back x 20, "$name: 1.2 MB back");
    my $mark = mark();
    $s->put('last words');
    $s->flush;
    $s->close;
    is(got($c, 10), 'last words', "$name: last words arrive");
    ok(eval { $c->wait_eof }, "$name: the server closes, so does the proxy");
    $_->close for $c, $server;
}
ok($httpd->logs(qr/mixed proxy in Opened ends: server-closed/), 'the log says so');
ok($httpd->logs(qr/^- "RPC_CONNECT \S+ HTTP\/1\.1" 200 \d{7} .* server-closed$/m, 'access_log'), 'the access log too');
{
    my $server = tcp_server(quiet => 1);
    my $c = ask("/?127.0.0.1:$server->{port}");
    my $s = $server->connection;
    $s->put(BANNER);
    $c->head;
    $c->close;
    ok(eval { $s->wait_eof }, 'the client closes, so does the proxy');
    ok($httpd->logs(qr/mixed proxy in Opened ends: client-closed/), 'the log says so');
}

# Failures
sub refused {
    my ($name, $c, $reason) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($code, $location) = $reason eq 'connect-failed' ? ('6ba', 0x5a0) : $reason eq 'protocol-error' ? ('6c0') : ('6ba');
    is_rpc_error($c, $code, $name, $location);
    ok($httpd->logs(qr/ends: $reason/), "$name: $reason in the log");
    return;
}
my $free = refused_port();
refused('nobody listens', ask("/?127.0.0.1:$free"), 'connect-failed');
{
    my $server = tcp_server(quiet => 1);
    my $c = ask("/hasty?127.0.0.1:$server->{port}");
    $server->connection;
    refused('a server without a banner', $c, 'setup-timeout');
    $c = ask("/?127.0.0.1:$server->{port}");
    $server->connection->put('ncacn_http/1.1');
    refused('another banner', $c, 'protocol-error');
    $c = ask("/?127.0.0.1:$server->{port}");
    $server->connection->close;
    refused('the server hangs up', $c, 'server-refused');
    $c = ask("/?127.0.0.1:$server->{port}");
    my $s = $server->connection;
    $c->close;
    ok(eval { $s->wait_eof }, 'the client hangs up before the banner');
    is_answer(ask("127.0.0.1:$server->{port}")->head, 400, 'a target without a path is not for modules');
    is_rpc_error(ask('/?10.0.0.1:6001'), '6ba', 'a target that is not allowed');
    is_answer(ask("/?127.0.0.1:$server->{port}", length => 100)->head, 400, 'RPC_CONNECT with a length');
    is_answer(ask("/?127.0.0.1:$server->{port}", headers => ['Transfer-Encoding: chunked'])->head, 400, 'chunked');
    my $head = ask("/two/rpcproxy.dll?127.0.0.1:$server->{port}", user => 'alice', password => 'secret')->head;
    is_answer($head, 405, 'where version 1 is not enabled');
    is(join(',', sort split /,\s*/, $head->{headers}{allow}), 'RPC_IN_DATA,RPC_OUT_DATA,TRACE', 'the answer says what is');
    $head = ask("/one?127.0.0.1:$server->{port}", method => 'RPC_IN_DATA', length => 1 << 30)->head;
    is_answer($head, 405, 'version 2 where it is not');
    is(join(',', sort split /,\s*/, $head->{headers}{allow}), 'RPC_CONNECT,TRACE', 'the answer says what is');
}

# The endpoint as the server, for our own proxy and on an address of its own
for my $target ("tcp.contoso.test:$behind->{port}", "127.0.0.1:$endpoint_port") {
    my $c = ask("/?$target");
    is_answer($c->head, 200, "$target: the endpoint says the banner");
    $c->put(bind_pdu());
    same_pdu(got($c, length bind_ack_pdu()), bind_ack_pdu(), "$target: a bind");
    $c->put(request_pdu(1, "stub$_", call => $_)) for 1 .. 50;
    my $want = join '', map { response_pdu("stub$_", call => $_) } 1 .. 50;
    is(got($c, length $want), $want, "$target: calls");
    $c->close;
    ok($httpd->logs(qr/endpoint: connection \(version 1\) of user "" to \Q$target\E .* ended: client-closed/), "$target: its log line");
}

# A stop of httpd ends these connections
{
    my $c = ask("/?tcp.contoso.test:$behind->{port}");
    $c->head;
    $c->put(bind_pdu());
    got($c, length bind_ack_pdu());
    $httpd->signal('TERM');
    ok(eval { $c->wait_eof }, 'httpd stops: the connection is closed');
    ok($httpd->wait_gone, 'and httpd is gone');
    unlike($httpd->log, qr/Segmentation|AH00052/, 'without a crash');
}

done_testing;
