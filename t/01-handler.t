# The content handler: which requests become channels, which are answered, which are refused, and
# what the log says about it.

use strict;
use warnings;
use Test::More;
use RPCH::PDU qw(rts);
use RPCH::Test;

my $RPC = '/rpc/rpcproxy.dll';
my %alice = (user => 'alice', password => 'secret');

# One request on a connection of its own; its answer.
sub ask {
    my ($which, $method, $uri, %opt) = @_;
    my $body = delete $opt{body};
    my $http = http($which)->request($method, $uri, %opt);
    $http->put($body) if defined $body;
    my $head = $http->head;
    $head->{connection} = $http if $head;
    return $head;
}

# Echo (2.1.2.1.5): any body of 0 to 16 bytes, both methods, one connection
my $echo = rts('Echo');
for my $which (qw(tls plain)) {
    my $http = http($which);
    for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
        for my $body ('', "\xf8\xe8\x18\x08", 'x' x 10, 'y' x 16) {
            my $n = length $body;
            $http->request($method, "$RPC?exch1:6001", %alice, length => $n)->put($body);
            my $head = $http->head or last;
            is($head->{line}, 'HTTP/1.1 200 Success', "$which $method echo of $n bytes");
            same_pdu($http->body, $echo, 'its body is the Echo PDU');
            is($head->{headers}{'content-length'}, 20, 'of 20 bytes');
            is($head->{headers}{'content-type'}, 'application/rpc', 'application/rpc');
        }
    }
    ok(!$http->{eof}, "$which: the connection has served all echoes");
    $http->close;
}

# An echo needs no target, whatever its query says; HTTP/1.0 as Samba speaks it
for my $uri ($RPC, "$RPC?nonsense", '/RPC/RpcProxy.dll?a:1', '/Rpc/RPCPROXY.DLL?a:1', '/rpcwithcert/rpcproxy.dll?a:1') {
    is_answer(ask(tls => 'RPC_OUT_DATA', $uri, %alice, length => 0), 200, "echo at $uri");
}
{
    my $http = http('tls');
    for (1, 2) {
        $http->request('RPC_IN_DATA', $RPC, %alice, length => 4, version => '1.0')->put('abcd');
        is($http->head->{status}, 200, 'echo by HTTP/1.0');
        is($http->head->{headers}{'content-length'}, 20, 'with a length');
        is($http->body, $echo, 'and kept alive');
    }
}

# 100 Continue is sent where a request announces a body, and not where it has none
for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
    my $http = http('tls')->request($method, $RPC, %alice, length => 4, headers => ['Expect: 100-continue']);
    is($http->continued, 'HTTP/1.1 100 Continue', "$method echo: 100 Continue before the body");
    is_answer($http->put('abcd')->head, 200, 'then the answer');
    $http->body;
    $http->request($method, $RPC, %alice, length => 0, headers => ['Expect: 100-continue']);
    is_answer($http->head, 200, 'no body: answered at once');
    is($http->body, $echo, 'with an Echo');
    $http->request($method, $RPC, %alice, length => 0);
    is_answer($http->head, 200, 'and the connection is kept');
}

# Authentication comes first; its 401 without a body keeps the connection, as NTLM will need
for my $expect ([], ['Expect: 100-continue']) {
    my $http = http('tls')->request('RPC_OUT_DATA', $RPC, length => 0, headers => $expect);
    is_answer($http->head, 401, "not authenticated @$expect");
    like($http->head->{headers}{'www-authenticate'}, qr/Basic realm="rpc"/, 'asked to');
    $http->body;
    $http->request('RPC_OUT_DATA', $RPC, %alice, length => 0);
    is_answer($http->head, 200, 'the same connection goes on');
}
is_answer(ask(tls => 'RPC_OUT_DATA', "$RPC?nowhere", length => 76, body => 'x' x 76), 401, 'no user: 401 before the target is looked at');
is_answer(ask(tls => 'RPC_OUT_DATA', "$RPC?exch1:1", user => 'alice', password => 'wrong', length => 0), 401, 'wrong password');
{
    my $http = http('tls')->request('RPC_IN_DATA', "$RPC?exch1:6001", length => 1 << 30);
    is_answer($http->head, 401, 'IN channel of 1 GiB without a user');
    ok(eval { $http->wait_eof }, 'its body is not waited for');
}

# Methods
for my $method (qw(GET POST RPC_CONNECT OPTIONS BREW)) {
    my $mark = mark();
    my $head = ask(tls => $method, "$RPC?exch1:6001", %alice, length => 0);
    is_answer($head, 405, "$method is not allowed");
    is(join(' ', grep { /RPC/ } sort split /, ?/, $head->{headers}{allow}), 'RPC_IN_DATA RPC_OUT_DATA', 'and the answer says what is');
    logged($mark, qr/$method refused: method:/, 'logged');
}

# A request with 17 bytes is not an echo but a channel, so its target is checked
is_rpc_error(ask(tls => 'RPC_OUT_DATA', '/narrow/rpcproxy.dll?exch1:1', %alice, length => 17)->{connection}, '6ba', '17 bytes');

# For a target that RpcValidPorts does not allow, the log names the rule that comes closest
my @refused = (
    ['exch1:6003', 'exch1:6001-6002'], ['EXCH1:593', 'exch1:6001-6002'], ['exch1.contoso.test:6004', 'exch1.contoso.test:6001-6002'],
    ['exch1.other.test:6001', 'exch1'], ['mail:6001', 'none'], ['127.0.0.1:6001', 'none'], ['[::1]:6001', 'none'],
);
for (@refused) {
    my ($target, $nearest) = @$_;
    for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
        my ($mark, $access) = (mark(), mark('access_log'));
        is_rpc_error(ask(tls => $method, "/narrow/rpcproxy.dll?$target", %alice, length => 76)->{connection},
                     '6ba', "$method $target");
        my $name = $target =~ s/^\[(.*)\]/$1/r;
        logged($mark, qr/\Q$method\E refused: target-refused: \Q$name\E is not in RpcValidPorts, nearest is \Q$nearest\E/i,
               "its log line names $nearest");
        accessed($access, qr/^alice "$method \S+ HTTP\/1\.1" 503 101 .* target-refused$/, 'its access log line');
    }
}

# Queries that name no target
for my $query ('', '?', '?exch1', '?exch1:', '?:6001', '?exch1:0', '?exch1:65536', '?exch1:6001x', '?exch1:1234567',
               '?[::1:6001', '?%zz:6001', '?ex%00ch1:6001', '?' . 'a' x 1024 . ':6001') {
    my $mark = mark();
    is_rpc_error(ask(tls => 'RPC_OUT_DATA', "/narrow/rpcproxy.dll$query", %alice, length => 76)->{connection}, '6ab',
                 'query "' . substr($query, 0, 20) . '"');
    logged($mark, qr/refused: bad-target: /, 'logged');
}

# Names are decoded once and compared without case. The allowed target is then looked up, and it
# does not exist.
for my $target ('EXCH1:6001', 'exch1:6002', 'Exch1.Contoso.Test:6001', '%65xch1:6001') {
    my $mark = mark();
    my $head = ask(tls => 'RPC_OUT_DATA', "/narrow/rpcproxy.dll?$target", %alice, length => 76, body => RPCH::Client->new->a1);
    is_rpc_error($head->{connection}, '6ba', "$target passes, and cannot be resolved", 0x5a0);
    logged($mark, qr/resolve-failed/, 'logged');
}

# Requests without a user
{
    my $mark = mark();
    my $server = server(manual => 1);
    is_answer(ask(tls => 'RPC_OUT_DATA', '/nobody/rpcproxy.dll?' . $server->target, length => 76), 403, 'no user at all: 403');
    logged($mark, qr/refused: anonymous: /, 'logged');
    is_answer(ask(tls => 'RPC_OUT_DATA', '/nobody/rpcproxy.dll', length => 0), 403, 'an echo neither');
    my $client = client(user => undef, path => '/anonymous/rpcproxy.dll', target => $server->target);
    $client->open_out;
    $client->send_a1;
    is_answer($client->out->head, 200, 'RpcAllowAnonymous lets it through');
    $server->leg->expect('CONN/A2');
    $_->close for $client, $server;
}

# TLS
for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
    my $mark = mark();
    is_answer(ask(main => $method, "$RPC?exch1:6001", %alice, length => 76), 403, "$method over plain HTTP");
    logged($mark, qr/$method refused: tls-required: the client uses plain HTTP/, 'logged');
}
is_answer(ask(main => 'RPC_OUT_DATA', $RPC, %alice, length => 0), 403, 'an echo over plain HTTP');
{
    my $mark = mark();
    is_answer(ask(tls => 'RPC_OUT_DATA', '/strong/rpcproxy.dll?127.0.0.1:6001', %alice, length => 76), 403, 'a cipher too weak');
    logged($mark, qr/refused: tls-required: the cipher has \d+ bits, but RpcRequireTLS wants 512/, 'logged');
}

# Chunked bodies have no place in this protocol
for my $method (qw(RPC_IN_DATA RPC_OUT_DATA)) {
    my $mark = mark();
    is_answer(ask(tls => $method, "$RPC?127.0.0.1:6001", %alice, headers => ['Transfer-Encoding: chunked']), 400,
              "chunked $method");
    logged($mark, qr/refused: bad-request: /, 'logged');
}
is_answer(ask(tls => 'RPC_IN_DATA', "$RPC?127.0.0.1:6001", %alice, length => 'many'), 400, 'a Content-Length that is none');

# Other URLs of the server are not affected
is_answer(ask(main => 'GET', '/index.html'), 200, 'an ordinary page beside it');

done_testing;
