# Opening a virtual connection (CONN/A, /B, /C): byte for byte on all four connections, in any
# order and in any pieces.

use strict;
use warnings;
use Test::More;
use RPCH::PDU qw(rts decode);
use RPCH::RPC qw(bind_pdu request_pdu);
use RPCH::Test;

my $TIMEOUT = 120_000;
my $WINDOW = 262_144;
my $GIB = 1 << 30;

sub a2 { my ($c, %o) = @_; return rts('CONN/A2', vc => $c->{vc}, channel => $c->{out_cookie}, lifetime => $GIB, window => $WINDOW, %o) }
sub b2 {
    my ($c, %o) = @_;
    return rts('CONN/B2', vc => $c->{vc}, channel => $c->{in_cookie}, window => $WINDOW, timeout => $TIMEOUT,
               group => $c->{group}, address => '127.0.0.1', %o);
}

# A regular connection over TLS: only the PDUs of the specification, each on its own connection
for my $version ('1.1', '1.0') {
    my $server = server(manual => 1);
    my $c = client(target => $server->target, version => $version, raw => 1);
    my $access = mark('access_log');
    $c->open_in;
    $c->open_out;
    $c->send_a1;
    my $out_leg = $server->leg;
    same_pdu($out_leg->pdu, a2($c), "HTTP/$version: A1 makes an A2");
    my $head = $c->out->head;
    is($head->{line}, 'HTTP/1.1 200 Success', 'the answer does not wait for the server');
    is($head->{headers}{'content-type'}, 'application/rpc', 'its type');
    is($head->{headers}{'content-length'}, $GIB, 'its length is the lifetime announced in A2');
    ok(!exists $head->{headers}{'transfer-encoding'}, 'not chunked');
    same_pdu($c->out->pdu, rts('CONN/A3', timeout => $TIMEOUT), 'A3 follows at once');
    $c->send_b1;
    my $in_leg = $server->leg;
    same_pdu($in_leg->pdu, b2($c), 'B1 makes a B2');
    $out_leg->put(rts('CONN/C1', window => 65536, timeout => 600_000));
    same_pdu($c->out->pdu, rts('CONN/C2', window => 65536, timeout => 600_000), "C2 has C1's values");
    my $bind = bind_pdu();
    $c->in->put($bind);
    $in_leg->put(rts('CONN/B3', window => 65536));
    same_pdu($in_leg->pdu, $bind, 'an RPC PDU that came before B3 follows it');
    is($c->out->{in}, '', 'nothing else for the client');
    ok(!$c->in->{head} && !$c->in->{eof}, 'no answer on the IN channel');
    $_->close for $c, $server;
    accessed($access, qr/"RPC_OUT_DATA .*" 200 72 /, 'access log: 72 bytes of body went out');
    accessed($access, qr/"RPC_IN_DATA .*" \d+ 0 /, 'none on the IN channel');
}

# Order: each channel may be complete before the other begins
for my $first (qw(IN OUT)) {
    my $server = server(echo => 1);
    my $c = client(target => $server->target);
    if ($first eq 'IN') {
        $c->open_in;
        $c->send_b1;
        is(scalar(RPCH::Poll::wait_for('B2', sub { my ($vc) = values %{ $server->{vcs} }; $vc && $vc->{b2} && 1 })), 1, 'IN first: B2');
        $c->open_out;
        $c->send_a1;
    }
    else {
        $c->open_out;
        $c->send_a1;
        is_answer($c->out->head, 200, 'OUT first: answered without an IN channel');
        $c->open_in;
        $c->send_b1;
    }
    $c->opened;
    same_pdu($c->call(bind_pdu()), bind_pdu(), "$first first: open");
    $_->close for $c, $server;
}

# The header of the request and the first PDU come in one write, or more bytes follow the first PDU
{
    my $server = server(echo => 1);
    my $c = client(target => $server->target);
    $c->open_in;
    $c->in->put($c->b1 . bind_pdu());
    $c->open_out;
    $c->send_a1;
    $c->opened;
    same_pdu($c->recv, bind_pdu(), 'an RPC PDU right behind B1 waits for B3 and comes through');
    $_->close for $c, $server;
}

# The first PDU is split at each of its bytes, and each half is a packet of its own
for my $kind (qw(A1 B1)) {
    my $server = server(manual => 1);
    my $good = 0;
    my $size = $kind eq 'A1' ? 76 : 104;
    for my $at (1 .. $size - 1) {
        my $c = plain(target => $server->target);
        my ($ch, $pdu, $want) = $kind eq 'A1' ? ($c->open_out, $c->a1, a2($c)) : ($c->open_in, $c->b1, b2($c));
        $ch->put(substr $pdu, 0, $at)->flush;
        # When an echo on another connection is answered, the proxy has read the first half
        my $other = http('plain')->request('RPC_OUT_DATA', '/rpc/rpcproxy.dll', $c->options(length => 0));
        $other->body;
        $other->close;
        $ch->put(substr $pdu, $at)->flush;
        my $leg = $server->leg;
        $good++ if ($leg->pdu // '') eq $want;
        $leg->close;
        $c->close;
    }
    is($good, $size - 1, "$kind in two pieces, whatever the place");
    $server->close;
}
{
    my $server = server(echo => 1);
    my $c = client(target => $server->target);
    $c->open_in->dribble($c->b1, 1);
    $c->open_out->dribble($c->a1, 1);
    $c->opened;
    same_pdu($c->call(bind_pdu()), bind_pdu(), 'a byte at a time, over TLS');
    $_->close for $c, $server;
}

# 100-continue on both channels, before any PDU
{
    my $server = server(echo => 1);
    my $c = client(target => $server->target, headers => ['Expect: 100-continue']);
    $c->open_in;
    is($c->in->continued, 'HTTP/1.1 100 Continue', 'IN: 100 Continue');
    $c->open_out;
    is($c->out->continued, 'HTTP/1.1 100 Continue', 'OUT: 100 Continue before the answer');
    $c->send_b1->send_a1->opened;
    same_pdu($c->call(bind_pdu()), bind_pdu(), 'and the connection opens');
    is(scalar @{ $c->out->{interim} }, 1, 'one 100 only');
    $_->close for $c, $server;
}

# The legacy banner is ignored, whole or in pieces
for my $pieces ([14], [1], [7, 7]) {
    my $server = server(manual => 1);
    my $c = client(target => $server->target);
    $c->open_in;
    $c->open_out;
    $c->send_a1->send_b1;
    my ($in, $out) = $server->pair;
    $_->dribble('ncacn_http/1.0', @$pieces) for $in, $out;
    $out->put(rts('CONN/C1', window => $WINDOW, timeout => $TIMEOUT));
    $in->put(rts('CONN/B3', window => 65536));
    $c->opened;
    my $bind = bind_pdu();
    $c->send($bind);
    $in->expect('CONN/B2');
    same_pdu($in->pdu, $bind, "a banner in pieces of @$pieces");
    $_->close for $c, $server;
}

# Names of targets
SKIP: {
    skip 'no IPv6 here', 2 if !have_ipv6();
    my $server = server(host => '::1', echo => 1);
    for my $target ("[::1]:$server->{port}", "::1:$server->{port}") {
        my $c = client(target => $target)->connect;
        same_pdu($c->call(bind_pdu()), bind_pdu(), "IPv6 target $target");
        $c->close;
    }
    $server->close;
}
{
    my $server = server(echo => 1, banner => 1);
    for my $name ('5e1f7b3a-0001-4c2f-9c1e-0123456789ab@contoso.test', '5E1F7B3A-0001-4C2F-9C1E-0123456789AB%40Contoso.Test') {
        my $c = client(target => "$name:$server->{port}")->connect;
        same_pdu($c->call(bind_pdu()), bind_pdu(), "RpcBackend serves $name");
        $c->close;
    }
    my $c = client(target => $server->target, path => '/RPC/RpcProxy.DLL')->connect;
    same_pdu($c->call(bind_pdu()), bind_pdu(), 'the path in another case');
    $c->close;
    $c = client(target => $server->target, user => 'RPCSRV\\alice')->connect;
    same_pdu($c->call(bind_pdu()), bind_pdu(), 'a user with a domain');
    $_->close for $c, $server;
}

# What the proxy announces: values of directives, and the client's MinConnTimeout
{
    my $server = server(manual => 1);
    my $c = client(target => $server->target, path => '/small/rpcproxy.dll', raw => 1);
    $c->open_out;
    $c->open_in;
    $c->send_a1;
    my $leg = $server->leg;
    same_pdu($leg->pdu, a2($c, lifetime => 131_072, window => 8192), 'RpcChannelLifetime and RpcReceiveWindow in A2');
    is($c->out->head->{headers}{'content-length'}, 131_072, 'and in the answer');
    same_pdu($c->out->pdu, rts('CONN/A3', timeout => 240_000), 'RpcConnectionTimeout in A3');
    $c->send_b1;
    same_pdu($server->leg->pdu, b2($c, window => 8192, timeout => 240_000), 'and in B2');
    $c->close;
    $c = client(target => $server->target, headers => ['Pragma: ResourceTypeUuid=44e265dd-7daf-42cd-8560-3cdb6e7a2729,MinConnTimeout=900'], raw => 1);
    $c->open_out;
    $c->send_a1;
    is_answer($c->out->head, 200, 'MinConnTimeout');
    same_pdu($c->out->pdu, rts('CONN/A3', timeout => 900_000), 'is the time-out of A3');
    $_->close for $c, $server;
}

done_testing;
