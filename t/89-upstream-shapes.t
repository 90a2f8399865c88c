# What of a request reaches a proxy behind, and what of its answer the client: fields of one connection,
# bodies whose length two readers could see differently, what follows a request, and who is excluded.

use strict;
use warnings;
use Test::More;
use RPCH::HTTP;
use RPCH::Httpd;
use RPCH::Needs qw(needs_modules);
use RPCH::Poll qw(turn wait_for);
use RPCH::Root;
use RPCH::RPC qw(request_pdu);
use RPCH::TCPServer;
use RPCH::Test;
use RPCH::WebServer;

my $modules = needs_modules(qw(proxy proxy_http));

my ($RPC, $RDG) = qw(/rpc/rpcproxy.dll /remoteDesktopGateway/);
my $server = server(echo => 1);
my $behind = RPCH::TCPServer->new(raw => 1);        # each byte that it gets is in {in}
my $v6 = have_ipv6() ? RPCH::WebServer->new(host => '::1', answer => sub { return RPCH::WebServer::echo() }) : undef;
my $url = "http://127.0.0.1:$behind->{port}";

sub section { my ($path, @lines) = @_; return join "\n", "<Location $path>", 'SetHandler rpcproxy', 'RpcRequireTLS off', @lines, '</Location>', '' }
my $ANY = 'RpcValidPorts "*:6001"';
my %place = (
    rpc => section($RPC, "RpcBackend * $url", $ANY) . section($RDG, "RpcBackend * $url"),
    via => "ProxyVia Full\nProxyPreserveHost On\n" . section($RPC, "RpcBackend * $url", $ANY),
    excluded => "ProxyPass / $url/\n"
        . section($RPC, 'ProxyPass !', qq(RpcValidPorts "127.0.0.1:$server->{port}"), 'RpcAllowAnonymous On'),
    excluded_first => "ProxyPass $RPC !\nProxyPass / $url/\n"
        . section($RPC, qq(RpcValidPorts "127.0.0.1:$server->{port}"), 'RpcAllowAnonymous On'),
    denied => "<Proxy $url/*>\nRequire all denied\n</Proxy>\n" . section($RPC, "RpcBackend * $url", $ANY),
    $v6 ? (v6 => section($RPC, "RpcBackend * http://[::1]:$v6->{port}", $ANY)) : (),
);
my %port = map { $_ => RPCH::Root::free_ports(1) } sort keys %place;
my $front = RPCH::Httpd->new(conf => join '', (map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http)),
    map { "Listen 127.0.0.1:$port{$_}\n<VirtualHost 127.0.0.1:$port{$_}>\nServerName localhost\n$place{$_}</VirtualHost>\n" } sort keys %place)->start;

# ---- clients that write what they like ----

sub dial { my ($place) = @_; return RPCH::HTTP->dial(port => $port{ $place // 'rpc' }, name => $place // 'rpc') }
sub raw {
    my ($method, $uri, $fields, $body) = @_;
    return join("\r\n", "$method $uri HTTP/1.1", 'Host: localhost', @$fields) . "\r\n\r\n" . ($body // '');
}
# The next request at the proxy behind, as bytes up to its body.
sub asked {
    my ($peer) = @_;
    my $up = $peer // $behind->connection;
    wait_for('a request behind', sub { $up->{in} =~ /\r\n\r\n/ || $up->{eof} });
    $up->{in} =~ s/^(.*?\r\n)\r\n//s;
    $up->{head} = $1 // '';
    return $up;
}
sub status { my ($http) = @_; my $head = $http->head; return $head ? $head->{status} : 'closed' }

# A request that is refused, with nothing sent on.
sub refused {
    my ($want, $name, @request) = @_;
    my $before = $behind->connections;
    my $http = dial()->put(raw(@request));
    like(status($http), $want, "$name: refused");
    turn(0.05);
    is($behind->connections, $before, "$name: nothing reaches the proxy behind");
    $http->close;
    return;
}
my $smuggled = "GET /owa/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
refused(qr/^400$/, "RPC_IN_DATA, $_->[0]", 'RPC_IN_DATA', "$RPC?mail:6001", $_->[1], $smuggled) for
    ['chunked', ['Transfer-Encoding: chunked']],
    ['chunked, and a length', ['Transfer-Encoding: chunked', 'Content-Length: 1000']],
    ['two lengths', ['Content-Length: 1000', 'Content-Length: 4']],
    ['a length with a sign', ['Content-Length: +1000']];
refused(qr/^(?:400|501|403)$/, "RDG_IN_DATA, $_", 'RDG_IN_DATA', $RDG, ["Transfer-Encoding: $_"], "5\r\nhello\r\n") for 'chunked, chunked', 'identity', 'xchunked';
my @UPGRADE = ('Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: abc');
refused(qr/^400$/, "a WebSocket, $_->[0]", 'GET', $RDG, [@UPGRADE, $_->[1]], $smuggled) for
    ['a length', 'Content-Length: 40'], ['chunked', 'Transfer-Encoding: chunked'];
refused(qr/^400$/, 'RDG_OUT_DATA and a WebSocket, a length', 'RDG_OUT_DATA', $RDG, [@UPGRADE, 'Content-Length: 40'], $smuggled);

refused(qr/^400$/, 'a WebSocket, and a backslash that leads elsewhere for IIS', 'GET', "$RDG..%5Cowa", \@UPGRADE);

# "Connection" takes fields out; not the one that says where the body ends.
for my $what ('Content-Length', 'Transfer-Encoding') {
    my @length = $what eq 'Content-Length' ? 'Content-Length: 1000' : 'Transfer-Encoding: chunked';
    my $http = dial()->put(raw('RDG_IN_DATA', $RDG, ["Connection: keep-alive, $what", @length], "28\r\n$smuggled\r\n"));
    my $up = eval { asked() };
    like($up ? $up->{head} : 'nothing', qr/^\Q$length[0]\E\r$/mi, "Connection: $what: it goes on all the same");
    $_->close for $http, $up || ();
}

# ---- the fields of a request ----
{
    my $http = dial()->put(raw('RPC_IN_DATA', "$RPC?mail:6001", [
        'Content-Length: 0', 'Connection: X-Once, keep-alive', 'X-Once: here', 'Keep-Alive: 300', 'Proxy-Connection: x', 'TE: trailers',
        'Upgrade: h2c', "X-Folded: a\r\n b", 'X-Twice: 1', 'X-Twice: 2', 'X-Forwarded-For: 192.0.2.1', 'Proxy-Authorization: Basic x', 'Expect: 100-continue']));
    my $up = asked();
    unlike($up->{head}, qr/^$_:/mi, "$_ is of one connection") for qw(X-Once Keep-Alive Proxy-Connection TE Upgrade Expect);
    like($up->{head}, qr/^X-Folded: a +b\r$/m, 'a field in two lines is one line');
    like($up->{head}, qr/^X-Twice: 1, ?2\r$/m, 'a field that comes twice');
    like($up->{head}, qr/^X-Forwarded-For: 192\.0\.2\.1, 127\.0\.0\.1\r$/m, 'X-Forwarded-For grows');
    like($up->{head}, qr/^Host: 127\.0\.0\.1:$behind->{port}\r$/m, 'Host is the proxy behind');
    unlike($up->{head}, qr/[^\r]\n|\r[^\n]/, 'each line ends with CR LF');
    $up->put(RPCH::WebServer::echo());
    is(status($http), 200, 'it is answered');
    $_->close for $http, $up;
    $http = dial('via')->put(raw('RPC_IN_DATA', "$RPC?mail:6001", ['Content-Length: 0']));
    $up = asked();
    like($up->{head}, qr/^Via: 1\.1 localhost(?::\d+)? \(Apache/m, 'ProxyVia Full');
    like($up->{head}, qr/^Host: localhost\r$/m, 'ProxyPreserveHost');
    $up->put(RPCH::WebServer::echo());
    like($http->head->{headers}{via} // '', qr/^1\.1 localhost/, 'ProxyVia Full, of an answer');
    $_->close for $http, $up;
}

# ---- what follows a request ----
{
    # Two requests in one write: the second is judged as the first was.
    my $http = dial()->put(raw('RPC_IN_DATA', "$RPC?mail:6001", ['Content-Length: 4'], 'echo') . raw('RPC_IN_DATA', "$RPC?mail:1", ['Content-Length: 0']));
    my $up = asked();
    is($up->{in}, 'echo', 'two requests in one write: the first has its body alone');
    $up->put(RPCH::WebServer::echo());
    is(status($http), 200, 'two requests in one write: the first');
    $http->body;
    $http->{head} = undef;
    $http->received;
    is(status($http), 503, 'the second is refused, since its port is');
    is($up->{in}, 'echo', 'and has not gone on');
    $_->close for $http, $up;

    # An echo and a channel in one write: each byte of the channel arrives.
    my $c = plain(port => $port{rpc}, target => 'mail:6001', user => undef, raw => 1);
    my $pdus = $c->b1 . request_pdu(1, 'x' x 2000);
    $http = dial()->put(raw('RPC_IN_DATA', "$RPC?mail:6001", ['Connection: keep-alive', 'Content-Length: 0'])
                        . raw('RPC_IN_DATA', "$RPC?mail:6001", ['Content-Length: 1073741824'], $pdus));
    $up = asked();
    $up->put(RPCH::WebServer::echo());
    is(status($http), 200, 'an echo and a channel in one write: the echo');
    my $next = eval { wait_for('the channel', sub { $up->{in} =~ /\r\n\r\n/ || @{ $behind->{new} } }); asked(length $up->{in} ? $up : undef) };
    wait_for('its PDUs', sub { length $next->{in} >= length $pdus || $next->{eof} });
    ok($next->{in} eq $pdus, 'the channel, with all its bytes');
    $_->close for $http, $up, $next;

    $http = dial()->put(raw('RDG_IN_DATA', $RDG, ['Content-Length: 20'], 'x' x 20 . $smuggled));
    $up = asked();
    $up->put("HTTP/1.1 200 OK\r\n\r\n");
    is(status($http), 200, 'RDG_IN_DATA of 20 bytes, and a request behind it');
    is($up->{in}, 'x' x 20, 'which has not gone on');
    $_->close for $http, $up;

    $http = dial()->put(raw('RDG_IN_DATA', $RDG, ['Transfer-Encoding: chunked'], "3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n$smuggled"));
    $up = asked();
    wait_for('the trailer', sub { $up->{in} =~ /\r\n\r\n/ });
    $up->put("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    is(status($http), 200, 'RDG_IN_DATA in chunks, and a request behind them');
    $http->wait_eof;
    $up->wait_eof;
    is($up->{in}, "3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n", 'which has not gone on');
    $_->close for $http, $up;
}

# ---- chunks that two readers could understand in two ways ----
for my $bad ("5\nhello\r\n", "0x5\r\nhello\r\n", " 5\r\nhello\r\n", "+5\r\nhello\r\n", "5\r\nhelloXX", "10000000000000005\r\nhello", "5;\n\r\nhello\r\n", "0\r\nX : y\n\n") {
    my $http = dial()->put(raw('RDG_IN_DATA', $RDG, ['Transfer-Encoding: chunked'], "3\r\nabc\r\n"));
    my $up = asked();
    wait_for('a good chunk', sub { length $up->{in} >= 8 });
    $http->put($bad . $smuggled);
    ok(eval { $up->wait_eof }, 'a chunk that is none ends the channel: ' . unpack 'H*', $bad) or diag $up->{in};
    unlike($up->{in}, qr/owa/, 'and nothing behind it goes on');
    $_->close for $http, $up;
}

# ---- answers ----
my %LENGTH = (echo => 0, OUT => 76, IN => 1 << 30);
sub ask {
    my ($what, %opt) = @_;
    my $http = $opt{http} // dial();
    $http->request($what =~ /OUT$/ ? "RPC_OUT_DATA" : 'RPC_IN_DATA', "$RPC?mail:6001", length => $LENGTH{$what});
    return ($http, asked($opt{up}));
}
for my $what (qw(echo OUT IN)) {
    my ($http, $up) = ask($what);
    $up->put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nanything");
    is(status($http), 502, "$what: 101 that nobody has asked for");
    $_->close for $http, $up;
    for (['a field in two lines', "X-A: b\r\n c"], ['a CR within a field', "X-A: b\rSet-Cookie: c=d"], ['a blank before the colon', 'X-A : b'], ['no field', 'X-A']) {
        ($http, $up) = ask($what);
        $up->put("HTTP/1.1 403 No\r\n$_->[1]\r\nContent-Length: 0\r\n\r\n");
        is(status($http), 502, "$what: $_->[0]");
        $_->close for $http, $up;
    }
    ($http, $up) = ask($what);
    $up->put("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 403\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n"
             . "Content-Length: 1\r\n\r\n2\r\ngo\r\n0\r\n\r\n");
    is(status($http), 403, "$what: two interim answers, no phrase, and two lengths");
    is($http->{head}{headers}{'set-cookie'}, 'a=1, b=2', "$what: two cookies");
    isnt($http->{head}{headers}{'content-length'}, 1, "$what: chunks count");
    $_->close for $http, $up;
    for my $status (204, 304) {
        ($http, $up) = ask($what);
        $up->put("HTTP/1.1 $status Nothing\r\nContent-Length: 100\r\n\r\n");
        is(status($http), $status, "$what: $status has no body");
        $http->close;
        ok(eval { $up->wait_eof }, "$what: and the connection behind ends with the client's");
        $up->close;
    }
}
{
    my $http = dial()->put(raw('RDG_OUT_DATA', $RDG, ['Connection: keep-alive']));
    my $up = asked();
    $up->put("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nanything");
    is(status($http), 502, 'RDG_OUT_DATA: 101 that nobody has asked for');
    $_->close for $http, $up;
}

# ---- a connection that is kept ----
my $CHALLENGE = RPCH::WebServer::answer('401 Who', '', 'WWW-Authenticate: NTLM AAAA');
{
    my ($http, $up) = ask('echo');
    $up->put($CHALLENGE);
    is(status($http), 401, 'a challenge');
    $up->close;                                         # as IIS does after a while
    ($http, my $next) = ask('echo', http => $http);     # on another connection
    $next->put(RPCH::WebServer::echo());
    is(status($http), 200, 'the proxy behind has closed the connection that was kept: the next request has a new one');
    $_->close for $http, $next;
    ($http, $up) = ask('echo');
    $up->put($CHALLENGE =~ s/\r\n/\r\nConnection: close\r\n/r);
    is($http->head->{headers}{connection}, 'close', 'a challenge with Connection: close: so is the answer');
    $http->wait_eof;
    $_->close for $http, $up;
    ($http, $up) = ask('echo');
    $up->put($CHALLENGE . "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-User: mallory\r\n\r\n");
    is(status($http), 401, 'a challenge, and another answer behind it');
    ($http, $next) = ask('echo', http => $http);
    $next->put(RPCH::WebServer::echo());
    is($http->head->{headers}{'x-user'}, undef, 'which is none to the next request');
    $_->close for $http, $up, $next;
}

# ---- who is excluded ----
for my $name (qw(excluded excluded_first)) {
    ok(plain(port => $port{$name}, target => $server->target, user => undef)->serves, "$name: ProxyPass ! leaves channels here");
}
is(status(dial('denied')->request('RPC_IN_DATA', "$RPC?mail:6001", length => 0)), 403, '<Proxy>: Require all denied');
SKIP: {
    skip 'no IPv6', 1 if !$v6;
    is(status(dial('v6')->request('RPC_IN_DATA', "$RPC?mail:6001", length => 0)), 200, 'a proxy behind by an address of IPv6');
}
for (['unix:/run/rpc.sock|http://localhost/', qr{expected a URL of http://, https:// or balancer://}, 'a Unix socket'], ['http://[::1', qr/expected scheme:/, 'half an address']) {
    my ($say, $re, $name) = @$_;
    my ($status, $out) = RPCH::Httpd->new(conf => join '', (map { "LoadModule ${_}_module $modules/mod_$_.so\n" } qw(proxy proxy_http)), section($RPC, "RpcBackend * $say", $ANY))->configtest;
    ok($status && $out =~ /RpcBackend: "\Q$say\E" at column 1: $re/, "configtest: $name") || diag $out;
}

$_->close for $server, $behind, $v6 || ();
done_testing;
